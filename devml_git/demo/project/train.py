"""Train the model that params.yaml names; write models/clf.* and metrics.json."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
from ruamel.yaml import YAML
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from evaluate import JOBLIB, WEIGHTS, evaluate, read_images, scale

Model = LogisticRegression | MLPClassifier


def fit(params: dict, pixels: np.ndarray, labels: np.ndarray) -> Model:
    """Return the trained model."""
    if params["model"] == "linear":
        return LogisticRegression(C=params["linear"]["C"], max_iter=1000).fit(pixels, labels)
    model = MLPClassifier(params["mlp"]["hidden"], random_state=params["seed"])
    for _ in range(params["mlp"]["epochs"]):
        model.partial_fit(pixels, labels, classes=range(10))
    return model


def tensors(model: Model) -> dict[str, np.ndarray]:
    """Return the weights, layer by layer."""
    if isinstance(model, LogisticRegression):
        layers = [(model.coef_.T, model.intercept_)]
    else:
        layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    named = {}
    for i, (weight, bias) in enumerate(layers):
        named[f"layer{i}.weight"] = np.ascontiguousarray(weight)
        named[f"layer{i}.bias"] = np.ascontiguousarray(bias)
    return named


def main() -> None:
    """Train, save in both formats, and measure what was saved."""
    params = YAML(typ="safe").load(Path("params.yaml"))
    pixels, labels = read_images("train")
    model = fit(params, scale(pixels), labels)
    WEIGHTS.parent.mkdir(exist_ok=True)
    joblib.dump(model, JOBLIB)
    save_file(tensors(model), WEIGHTS)
    metrics = evaluate()
    Path("metrics.json").write_text(metrics + "\n", encoding="utf-8")
    print(f"{params['model']} model, {len(labels)} images: {metrics}")


if __name__ == "__main__":
    main()

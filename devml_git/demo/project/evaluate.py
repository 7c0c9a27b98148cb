"""Measure the model in models/ on the test images in data/, and print what metrics.json holds.

    python evaluate.py | diff - metrics.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
import numpy as np
from safetensors.numpy import load_file

JOBLIB = Path("models/clf.joblib")
WEIGHTS = Path("models/clf.safetensors")


def read_images(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels (one row per image, 0 to 16) and the labels of "train" or "test"."""
    files = sorted(Path("data/digits", split).glob("?/*.npy"))
    pixels = np.stack([np.load(file).reshape(64) for file in files])
    return pixels, np.array([int(file.parent.name) for file in files])


def scale(pixels: np.ndarray) -> np.ndarray:
    """Return pixels from 0 to 1."""
    return pixels / 16


def forward(tensors: dict[str, np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """Return the ten probabilities for each image, from the bare weights.

    einsum and not `@`: its sums have one order, whatever the number of threads.
    """
    x = pixels
    last = len(tensors) // 2 - 1
    for i in range(last + 1):
        x = np.einsum("ij,jk->ik", x, tensors[f"layer{i}.weight"]) + tensors[f"layer{i}.bias"]
        if i < last:
            x = np.maximum(x, 0)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def evaluate() -> str:
    """Return the metrics as one line of JSON. Exits if the two saved forms disagree."""
    pixels, labels = read_images("test")
    pixels = scale(pixels)
    found = forward(load_file(WEIGHTS), pixels)
    by_joblib = joblib.load(JOBLIB).predict_proba(pixels)
    if not np.allclose(found, by_joblib, rtol=1e-9, atol=1e-12):
        sys.exit(f"{WEIGHTS} and {JOBLIB} are not the same model")
    right = found[np.arange(len(labels)), labels]
    accuracy = float((found.argmax(axis=1) == labels).mean())
    log_loss = float(-np.log(np.maximum(right, 1e-15)).mean())
    return json.dumps({"accuracy": accuracy, "log_loss": log_loss})


if __name__ == "__main__":
    print(evaluate())

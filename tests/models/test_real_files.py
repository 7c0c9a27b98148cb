"""Files that the real libraries wrote, read as those libraries read them (write.py).

The files are in git, so no library is needed; `make test-models` writes them anew, and sets
DEVML_MODEL_FILES to where.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from devml_git import models

COMMITTED = Path(__file__).parent / "files"
FILES = Path(os.environ.get("DEVML_MODEL_FILES", COMMITTED))
EXPECTED = json.loads((FILES / "expected.json").read_text("utf-8"))
HDF5 = {"hdf5", "keras"}


def opened(name: str) -> models.Model:
    if name.endswith(".index.json"):
        return models.read_sharded(FILES / name, {f.name: f for f in FILES.iterdir()})
    model = models.read(FILES / name, name)
    assert model is not None
    return model


@pytest.mark.parametrize("name", EXPECTED)
def test_tensors_are_those_that_the_library_reads(name: str) -> None:
    with opened(name) as model:
        assert model.format == EXPECTED[name]["format"]
        rows = EXPECTED[name]["tensors"]
        assert {n: (t.dtype, list(t.shape)) for n, t in model.tensors.items()} == {
            n: (r["dtype"], r["shape"]) for n, r in rows.items()
        }
        for tensor, row in rows.items():
            check(model, tensor, row)


def check(model: models.Model, name: str, row: dict[str, object]) -> None:
    tensor, array, raw = model.tensors[name], model.array(name), model.raw(name)
    assert raw.dtype == np.uint8
    assert raw.ndim == 1
    assert raw.nbytes == array.nbytes == tensor.nbytes
    assert not array.flags.writeable
    assert not raw.flags.writeable
    packed = array.dtype == np.uint8 and tensor.dtype != "uint8"
    assert packed or (array.dtype.name, array.shape) == (tensor.dtype, tensor.shape)
    little = array.astype(array.dtype.newbyteorder("<")) if array.dtype.kind in "iufc" else array
    assert hashlib.sha256(little.tobytes()).hexdigest() == row["sha256"], name
    blocks = b"".join(b.astype(little.dtype).tobytes() for b in model.blocks(name, 16))
    assert blocks == little.tobytes()
    if "sum" in row:
        wide = array.astype("f8")
        found = wide.sum(), wide.mean(), wide.min(), wide.max()
        assert found == pytest.approx([row[k] for k in ("sum", "mean", "min", "max")])


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_handed_out_outlives_the_model(name: str) -> None:
    model = opened(name)
    arrays = {n: model.array(n) for n in model.tensors}
    before = {n: a.tobytes() for n, a in arrays.items()}
    model.close()
    assert {n: a.tobytes() for n, a in arrays.items()} == before


@pytest.mark.parametrize("name", EXPECTED)
def test_metadata_and_notes_are_fit_for_json(name: str) -> None:
    with opened(name) as model:
        text = json.dumps([dict(model.metadata), model.notes], allow_nan=False)
        tensors = json.dumps([t.to_dict() for t in model.tensors.values()], allow_nan=False)
    assert text.isprintable()
    assert tensors.isprintable()


if FILES != COMMITTED:  # `make test-models`: nothing to compare otherwise

    def test_files_written_anew_have_the_same_tensors() -> None:
        committed = json.loads((COMMITTED / "expected.json").read_text("utf-8"))

        def shapes(
            expected: dict[str, dict[str, dict[str, dict[str, object]]]],
        ) -> dict[str, object]:
            return {
                name: {n: (t["dtype"], t["shape"]) for n, t in file["tensors"].items()}
                for name, file in expected.items()
            }

        assert shapes(committed) == shapes(EXPECTED)


def test_metadata_says_what_the_file_says() -> None:
    def metadata(name: str) -> dict[str, object]:
        with opened(name) as model:
            return dict(model.metadata)

    assert metadata("plain.safetensors") == {"trained": "yes", "ü": "ß"}
    assert metadata("m.safetensors.index.json") == {"total_size": 144}
    gguf = metadata("quantised.gguf")
    assert gguf["llama.block_count"] == 3
    assert gguf["few"] == [1, 2, 3]
    assert gguf["tokenizer.ggml.tokens"]["values"] == 100
    onnx = metadata("weights.onnx")
    assert onnx["operators"] == {"MatMul": 1, "Relu": 1}
    assert (onnx["inputs"], onnx["outputs"], onnx["opset"]) == (["x"], ["z"], {"ai.onnx": 21})
    assert onnx["properties.trained"] == "yes"
    checkpoint = metadata("checkpoint.ckpt")["values"]
    assert (checkpoint["epoch"], checkpoint["loss"], checkpoint["name"]) == (3, 0.25, "run 7")
    line = metadata("line-4.pkl")
    assert line["classes"][0] == "sklearn.linear_model._logistic.LogisticRegression"
    assert line["values"]["C"] == 0.5
    assert metadata("net.keras")["config.config.name"] == "net"
    assert metadata("sets.h5") == {"epoch": 3}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("legacy.pt", "before 1.6"),
        ("script.pt", "TorchScript"),
        ("module.pt", "torch.nn.modules.linear.Linear"),
        ("objects.npy", "Python objects"),
        ("deflated.npz", "objects is an array of Python objects"),
        ("weights.onnx", "texts are not read"),
        ("beside.onnx", "beside the model"),
        ("sets.h5", "links to other places"),
        ("sets.h5", "lies in other files"),
    ],
)
def test_what_is_not_read_is_said(name: str, words: str) -> None:
    with opened(name) as model:
        assert words in " ".join(model.notes)


def test_weights_beside_an_onnx_model_are_listed_and_not_followed() -> None:
    with opened("beside.onnx") as model:
        assert model.tensors["raw.f2"].shape == (2, 3)
        with pytest.raises(models.Unreadable, match="in a file beside"):
            model.array("raw.f2")


def test_without_h5py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    for name in ("sets.h5", "net.keras"):
        with opened(name) as model:
            assert "devml-git[hdf5]" in model.notes[0]
            assert not model.tensors


def test_missing_shard_is_a_note() -> None:
    name = "m-00001-of-00002.safetensors"
    with models.read_sharded(FILES / "m.safetensors.index.json", {name: FILES / name}) as model:
        assert list(model.tensors) == ["a"]
        assert model.notes == ("m-00002-of-00002.safetensors is not here: 2 tensors not read",)

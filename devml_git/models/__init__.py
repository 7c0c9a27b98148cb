"""Model files of many formats, read as named tensors; no code of a file is ever run.

`read` opens one file, `read_sharded` a model in several. What a file is, its first bytes decide;
its name only says what it should have been. Of a hostile file nothing worse comes than Unreadable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devml_git.models.model import Model, Tensor, Unreadable
from devml_git.models.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Model", "Tensor", "Unreadable", "read", "read_sharded"]

_HEAD = 64  # bytes
# Endings that stand for one format and no other: a file so named that is none is an error
_ENDINGS = {
    ".safetensors": "safetensors", ".npy": "NumPy", ".npz": "NumPy", ".pt": "torch",
    ".pth": "torch", ".onnx": "ONNX", ".gguf": "GGUF", ".keras": "Keras", ".h5": "HDF5",
    ".hdf5": "HDF5", ".joblib": "joblib", ".pkl": "pickle", ".pickle": "pickle",
}  # fmt: skip


def read(path: Path, name: str) -> Model | None:
    """Open the model file at `path`, which is called `name`; None: no model format we know.

    Raises Unreadable for a file that is truncated, hostile, no regular file, or named like a model
    and none.
    """
    source = Source(path, name)
    try:
        model = _read(source)
        ending = next((e for e in _ENDINGS if name.lower().endswith(e)), None)
        if model is None and ending is not None:
            what = "it is empty" if not source.size else f"it is no {_ENDINGS[ending]} file"
            raise source.wrong(f"{what}, nor one of another format of models")
    except BaseException:
        source.close()
        raise
    if model is None:
        source.close()
    return model


def _read(source: Source) -> Model | None:
    head = source.read(0, min(_HEAD, source.size))
    reader = _by_magic(head)
    return reader(source) if reader is not None else None


def _by_magic(head: bytes) -> Callable[[Source], Model | None] | None:
    from devml_git.models import archive, npy, safetensor

    if head.startswith(npy.MAGIC):
        return npy.read
    if head.startswith(archive.MAGICS):
        return _read_zip
    if safetensor.is_safetensors(head):
        return safetensor.read
    return None


def _read_zip(source: Source) -> Model | None:
    from devml_git.models import archive, npy

    members = archive.Archive(source)
    if npy.is_npz(members):
        return npy.read_npz(members)
    return None


def read_sharded(index: Path, members: Mapping[str, Path]) -> Model:
    """Open a model in several files: `index` is its *.index.json, `members` its files by name.

    Raises Unreadable where the index or a shard is damaged, or they do not fit each other; a shard
    that is not among `members` is a note.
    """
    from devml_git.models import sharded

    return sharded.read(index, members, read)

"""Model files of many formats, read as named tensors; no code of a file is ever run.

`read` opens one file, `read_sharded` a model in several. What a file is, its first bytes decide;
its name only says what it should have been. Of a hostile file nothing worse comes than Unreadable.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from devml_git.models.model import MAX_TENSORS, Model, Tensor, TooMany, Unreadable
from devml_git.models.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = [
    "MAX_TENSORS",
    "Model",
    "Tensor",
    "TooMany",
    "Unreadable",
    "read",
    "read_sharded",
    "shards",
]

_HEAD = 64  # bytes
# Endings that stand for one format and no other: a file so named that is none is an error
_ENDINGS = {
    ".safetensors": "safetensors", ".npy": "NumPy", ".npz": "NumPy", ".pt": "torch",
    ".pth": "torch", ".onnx": "ONNX", ".gguf": "GGUF", ".keras": "Keras", ".h5": "HDF5",
    ".hdf5": "HDF5", ".joblib": "joblib", ".pkl": "pickle", ".pickle": "pickle",
}  # fmt: skip


def read(path: Path, name: str, *, steady: bool = True, most: int = MAX_TENSORS) -> Model | None:
    """Open the model file at `path`, which is called `name`; None: no model format we know.

    A file that is not `steady` may be cut short meanwhile: it is read, not mapped into memory.
    `most` is how many tensors it may have.

    Raises Unreadable for a file that is truncated, hostile, no regular file, or named like a model
    and none.
    """
    source = Source(path, name, steady=steady, most=most)
    try:
        ending = next((e for e in _ENDINGS if name.lower().endswith(e)), None)
        if not source.size and ending is not None:
            raise source.wrong("it is empty")
        model = _read(source)
        if model is None and ending is not None:
            raise source.wrong(f"it is no {_ENDINGS[ending]} file, nor a model of another format")
    except BaseException:
        source.close()
        raise
    if model is None:
        source.close()
    else:
        model.size = source.size
    return model


def _read(source: Source) -> Model | None:
    from devml_git.models import hdf_file, onnx_file

    head = source.read(0, min(_HEAD, source.size))
    reader = _by_magic(head, source.name)
    if reader is not None:
        return reader(source)
    if hdf_file.is_hdf5(source):
        return hdf_file.read(source)
    # ONNX has no magic: what it is, only the whole of it tells
    sure = source.name.lower().endswith(".onnx")
    return onnx_file.read(source, sure=sure) if sure or onnx_file.may_be_onnx(head) else None


def _by_magic(head: bytes, name: str) -> Callable[[Source], Model | None] | None:
    from devml_git.models import archive, gguf_file, npy, pickles, safetensor, torch_file

    if head.startswith(npy.MAGIC):
        return npy.read
    if head.startswith(archive.MAGICS):
        return _read_zip
    if safetensor.is_safetensors(head):
        return safetensor.read
    if head.startswith(gguf_file.MAGIC):
        return gguf_file.read
    if head.startswith(torch_file.LEGACY_MAGIC):
        return torch_file.read_legacy
    if pickles.is_pickle(head) or pickles.may_be_pickle(head, name):
        return pickles.read
    return None


def _read_zip(source: Source) -> Model | None:
    from devml_git.models import archive, hdf_file, npy, torch_file

    members = archive.Archive(source)
    if npy.is_npz(members):
        return npy.read_npz(members)
    if hdf_file.is_keras(members):
        return hdf_file.read_keras(members)
    described = torch_file.pickle_of(members)
    if described is not None:
        return torch_file.read(members, described)
    return None


def read_sharded(index: Path, members: Mapping[str, Path], *, steady: bool = True) -> Model:
    """Open a model in several files: `index` is its *.index.json, `members` its files by name.

    Raises Unreadable where the index or a shard is damaged, or they do not fit each other; a shard
    that is not among `members` is a note.
    """
    from devml_git.models import sharded

    source = Source(index, index.name, steady=steady, most=sharded.MAX_TENSORS)
    return sharded.read(source, members, functools.partial(read, steady=steady))


def shards(index: Path) -> list[str]:
    """Return the files that a model's *.index.json names, as it names them. Raises Unreadable."""
    from devml_git.models import sharded

    return sharded.files(index)

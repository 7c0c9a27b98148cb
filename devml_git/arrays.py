"""A model's tensors as a mapping of names to NumPy arrays, read when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from devml_git.amounts import counted, human

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from numpy.typing import NDArray

    from devml_git.models import Model, Tensor


class Tensors(Mapping[str, "NDArray[Any]"]):
    """A model's tensors by name, as NumPy arrays. Each is read when it is asked for.

    Memory-mapped and read-only where the format allows (safetensors, npy, uncompressed npz and
    torch): a tensor takes memory once its numbers are looked at. bfloat16 and float8 have
    ml_dtypes' types; quantised blocks of GGUF come as their bytes.

    `format` is the file's, `metadata` what it says beside its tensors, `info` each tensor's name,
    dtype, shape and stored bytes, without reading it; `notes` say what could not be read. Arrays
    stay valid after `close`. Threads may share it.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.format = model.format
        self.metadata: Mapping[str, Any] = model.metadata
        self.info: Mapping[str, Tensor] = model.tensors
        self.notes = model.notes

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._model.array(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.info)

    def __len__(self) -> int:
        return len(self.info)

    def __contains__(self, name: object) -> bool:
        return name in self.info

    def __repr__(self) -> str:
        size = human(sum(t.nbytes for t in self.info.values()))
        return f"<Tensors: {self.format}, {counted(len(self), 'tensor')}, {size}>"

    def close(self) -> None:
        """Close the file, or files; nothing more can be read then."""
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

"""Pickles and joblib's files: arrays, plain values and the classes they name. Nothing is run.

joblib (joblib/numpy_pickle.py of 1.6) puts the bytes of an array behind the opcode that gives
its NumpyArrayWrapper a state, aligned by padding whose length the first byte says; it compresses
the whole file by zlib, gzip, bz2, lzma or xz.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from devml_git.amounts import counted
from devml_git.models.described import Beyond, Made, Malformed
from devml_git.models.inflate import Damaged, inflating, is_compressed
from devml_git.models.model import Listing, Model
from devml_git.models.opcodes import interpret
from devml_git.models.pickled import ArrayWorld, Leaf, classes, laid_out, plain_name, values, walk

if TYPE_CHECKING:
    from devml_git.models.model import Bytes
    from devml_git.models.source import Source

_PROTO = 0x80
_MOST_INFLATED = 256 << 20  # bytes
_PIECE = 1 << 20
_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
_MAX_INNER = 50  # arrays of objects
_MOST_INNER = 100_000  # opcodes of one
_LZ4 = b"\x04\x22\x4d\x18"
_ENDINGS = (".joblib", ".pkl", ".pickle", ".sav", ".jl")
_OLD = (b"(", b"c", b"]", b"}", b"I", b"F", b"S", b"V")  # how protocols 0 and 1 begin


def is_pickle(head: bytes | bytearray) -> bool:
    """Whether a file begins as pickles of protocol 2 and later do."""
    return len(head) > 1 and head[0] == _PROTO and 2 <= head[1] <= 5  # noqa: PLR2004


def may_be_pickle(head: bytes, name: str) -> bool:
    """Whether a file begins as a compressed or old pickle may, and is named like one."""
    named = any(ending in name.lower() for ending in _ENDINGS)
    return named and (is_compressed(head) or head.startswith((*_OLD, _LZ4)))


def read(source: Source) -> Model | None:
    """Read what a pickle describes; None if it is another thing, compressed. Raises Unreadable."""
    head = source.read(0, min(source.size, 16))
    if head.startswith(_LZ4):
        return Model("pickle", {}, notes=("compressed by lz4: not read",), closing=(source.close,))
    if not is_compressed(head):
        return _read(source, source.view(0, source.size))
    try:
        with inflating(head, source.stream()) as stream:
            data = bytearray()
            while len(data) <= _MOST_INFLATED and (piece := stream.read(_PIECE)):
                data += piece
    except Damaged as e:
        raise source.wrong(f"its compressed data is damaged: {e}") from e
    if len(data) > _MOST_INFLATED:
        note = f"decompressed it has more than {_MOST_INFLATED >> 20} MB: not read"
        return Model("pickle", {}, notes=(note,), closing=(source.close,))
    import numpy as np

    return (
        _read(source, np.frombuffer(data, np.uint8))
        if is_pickle(data) or data.startswith(_OLD)
        else None
    )


def _read(source: Source, data: Bytes) -> Model:
    listing = Listing(source)
    world = _JoblibWorld(data, listing)
    notes: list[str] = []
    end = len(data)
    found: list[tuple[str, object]] = []
    try:
        value, end = interpret(data, world)
        found += walk(value)
    except Beyond as e:
        notes.append(f"only the classes it names first are listed: {e}")
    except Malformed as e:
        raise source.wrong(f"its pickle is damaged or hostile: {e}") from e
    for name, value in found:
        if isinstance(value, Leaf):
            listing.add(
                name or "array", value.dtype, value.shape, value.nbytes, value.raw, value.form
            )
    if end < len(data) and not notes:
        notes.append(f"not read: {counted(len(data) - end, 'byte')} after the pickle")
    metadata: dict[str, Any] = {
        "classes": classes(world.named),
        "values": values(found),
    }
    return Model("pickle", listing, metadata=metadata, notes=notes, closing=(source.close,))


class _JoblibWorld(ArrayWorld):
    """A world in which the bytes of joblib's arrays stand between the opcodes."""

    def __init__(self, data: Bytes, listing: Listing) -> None:
        super().__init__(data, listing)
        self._inner = 0

    def build(self, made: object, state: object, at: int) -> int:
        """Go over the bytes of an array that a NumpyArrayWrapper announces."""
        if not isinstance(made, Made) or plain_name(made.kind) != _WRAPPER:
            return super().build(made, state, at)
        said = (
            {key: value for key, value in state if isinstance(key, str)}
            if isinstance(state, list)
            else {}
        )
        if _is_object(said.get("dtype")):
            return self._objects(made, at)
        number = self.number_type(said.get("dtype"))
        if number is None:
            raise Beyond("what follows an array of a type that is not known is not read")
        shape = self.listing.shape("array", said.get("shape"))
        if said.get("numpy_array_alignment_bytes") is not None:
            at += 1 + int(self.data[at])
        nbytes = math.prod(shape) * number.itemsize
        if at + nbytes > len(self.data):
            raise Malformed("it is truncated within an array")
        raw = functools.partial(self._stored, at, nbytes)
        made.state = laid_out(raw, number, shape, fortran=said.get("order") == "F")
        made.args = ()
        return at + nbytes

    def _objects(self, made: Made, at: int) -> int:
        """Read an array of objects: joblib pickles it in a pickle of its own."""
        self._inner += 1
        if self._inner > _MAX_INNER:
            raise Beyond("it has too many pickles within the pickle")
        made.state, end = interpret(self.data, self, at, most=_MOST_INNER)
        made.args = ()
        return end

    def _stored(self, at: int, nbytes: int) -> Bytes:
        return self.data[at : at + nbytes]


def _is_object(dtype: object) -> bool:
    return isinstance(dtype, Made) and dtype.args[:1] in [("O8",), ("O4",), ("O",)]

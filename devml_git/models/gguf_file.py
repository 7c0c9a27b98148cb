"""GGUF, the files of llama.cpp: key-value pairs, a list of tensors, then their bytes.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3; the types
and their block sizes: the `gguf` package 0.19, `constants.py`. Quantised types are seen as bytes.
"""

from __future__ import annotations

import hashlib
import math
import struct
from typing import TYPE_CHECKING, Any

from devml_git.amounts import counted
from devml_git.gate import shown
from devml_git.models.model import MAX_TENSORS, Listing, Model, clean

if TYPE_CHECKING:
    import io

    from devml_git.models.source import Source

MAGIC = b"GGUF"
# By ggml's number: name, elements in a block, bytes of a block
TYPES = {
    0: ("float32", 1, 4), 1: ("float16", 1, 2), 30: ("bfloat16", 1, 2), 28: ("float64", 1, 8),
    24: ("int8", 1, 1), 25: ("int16", 1, 2), 26: ("int32", 1, 4), 27: ("int64", 1, 8),
    2: ("q4_0", 32, 18), 3: ("q4_1", 32, 20), 4: ("q4_2", 16, 10), 5: ("q4_3", 16, 12),
    6: ("q5_0", 32, 22), 7: ("q5_1", 32, 24), 8: ("q8_0", 32, 34), 9: ("q8_1", 32, 40),
    10: ("q2_k", 256, 84), 11: ("q3_k", 256, 110), 12: ("q4_k", 256, 144), 13: ("q5_k", 256, 176),
    14: ("q6_k", 256, 210), 15: ("q8_k", 256, 292), 16: ("iq2_xxs", 256, 66),
    17: ("iq2_xs", 256, 74), 18: ("iq3_xxs", 256, 98), 19: ("iq1_s", 256, 50),
    20: ("iq4_nl", 32, 18), 21: ("iq3_s", 256, 110), 22: ("iq2_s", 256, 82),
    23: ("iq4_xs", 256, 136), 29: ("iq1_m", 256, 56), 31: ("q4_0_4_4", 32, 18),
    32: ("q4_0_4_8", 32, 18), 33: ("q4_0_8_8", 32, 18), 34: ("tq1_0", 256, 54),
    35: ("tq2_0", 256, 66), 36: ("iq4_nl_4_4", 32, 18), 37: ("iq4_nl_4_8", 32, 18),
    38: ("iq4_nl_8_8", 32, 18), 39: ("mxfp4", 32, 17), 40: ("nvfp4", 64, 36), 41: ("q1_0", 128, 18),
}  # fmt: skip
# By the format's number of a value's type: how it is unpacked
_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_TEXT, _ARRAY = 8, 9
_MAX_PAIRS = 100_000
_MAX_VALUES = 5_000_000  # in all arrays: a vocabulary has some 250,000
_MAX_TEXT = 16 << 20  # bytes
_SHOWN_TEXT = 2000  # characters; longer ones are told by length and hash
_SHOWN_VALUES = 64
_MAX_NESTED = 4
_MAX_DIMENSIONS = 8
_ALIGNMENT = "general.alignment"
_NATURAL = 32  # bytes
_MAX_ALIGNMENT = 1 << 20


def read(source: Source) -> Model:
    """Read the key-value pairs and the list of tensors. Raises Unreadable."""
    with source.stream() as stream:
        reader = _Reader(source, stream)
        version, tensors, pairs = reader.begin()
        metadata = {"gguf.version": version} | reader.pairs(pairs)
        found = [reader.tensor() for _ in range(tensors)]
        end = stream.tell()
    alignment = metadata.get(_ALIGNMENT, _NATURAL)
    if not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT:
        raise source.wrong("its alignment is no number that can be")
    start = -(-end // alignment) * alignment
    listing = Listing(source)
    spans = []
    for name, shape, kind, offset in found:
        dtype, elements, width = TYPES[kind]
        nbytes = _blocks(source, name, listing.shape(name, shape), elements) * width
        if offset % alignment or start + offset + nbytes > source.size:
            raise source.wrong(f"tensor '{shown(name)}' lies beyond the end, or is not aligned")
        raw = source.lying(start + offset, nbytes)
        listing.add(name, dtype, shape, nbytes, raw)
        spans.append((offset, offset + nbytes, name))
    _check_overlaps(source, spans)
    return Model("gguf", listing, metadata=metadata, closing=(source.close,))


def _blocks(source: Source, name: str, shape: tuple[int, ...], elements: int) -> int:
    """Return how many blocks a tensor has: its rows are whole blocks."""
    if shape and shape[-1] % elements:
        raise source.wrong(f"tensor '{shown(name)}' has rows that are no whole blocks")
    return math.prod(shape) // elements


def _check_overlaps(source: Source, spans: list[tuple[int, int, str]]) -> None:
    at = 0
    for start, end, name in sorted(spans):
        if start < at:
            raise source.wrong(f"tensor '{shown(name)}' overlaps another tensor")
        at = end


class _Reader:
    """The header, read from its beginning; what it counts is bounded before it is believed."""

    def __init__(self, source: Source, stream: io.BufferedReader) -> None:
        self._source = source
        self._stream = stream
        self._values_left = _MAX_VALUES

    def begin(self) -> tuple[int, int, int]:
        """Return version, number of tensors, number of key-value pairs."""
        self._stream.read(len(MAGIC))
        version = self.number("<I")
        if version not in {2, 3}:
            big = int.from_bytes(version.to_bytes(4, "little"), "big") in {2, 3}
            what = "in big-endian order" if big else f"of version {version}"
            raise self._source.wrong(f"a GGUF file {what}; versions 2 and 3 are read")
        tensors, pairs = self.number("<Q"), self.number("<Q")
        if self._source.most < tensors <= MAX_TENSORS:
            raise self._source.too_many()
        if tensors > MAX_TENSORS or pairs > _MAX_PAIRS:
            raise self._source.wrong(
                f"it claims {counted(tensors, 'tensor')} and {counted(pairs, 'key-value pair')}"
            )
        return version, tensors, pairs

    def number(self, form: str) -> Any:  # noqa: ANN401 - a number of that form
        """Return one number."""
        size = struct.calcsize(form)
        return struct.unpack(form, self._exactly(size))[0]

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise self._source.wrong("it ends within its header: truncated")
        return data

    def text(self) -> str:
        """Return one text; bytes that are no UTF-8 are escaped."""
        length = self.number("<Q")
        if length > _MAX_TEXT:
            raise self._source.wrong(f"its header has a text of {counted(length, 'byte')}")
        return self._exactly(length).decode("utf-8", "backslashreplace")

    def pairs(self, count: int) -> dict[str, Any]:
        """Return the key-value pairs, what is long told by its length and hash."""
        found: dict[str, Any] = {}
        for _ in range(count):
            key = clean(self.text())
            if key in found:
                raise self._source.wrong(f"it has the key '{shown(key)}' twice")
            found[key] = self._value(self.number("<I"), 0)
        return found

    def _value(self, kind: int, depth: int) -> Any:  # noqa: ANN401 - whatever JSON has
        if kind == _TEXT:
            text = self.text()
            return text if len(text) <= _SHOWN_TEXT else _digest(text.encode(), len(text))
        if kind == _ARRAY and depth < _MAX_NESTED:
            return self._array(depth)
        if kind not in _NUMBERS:
            raise self._source.wrong(f"its header has a value of the unknown type {kind}")
        value = self.number(_NUMBERS[kind])
        return value if not isinstance(value, float) or math.isfinite(value) else str(value)

    def _array(self, depth: int) -> Any:  # noqa: ANN401 - whatever JSON has
        kind, count = self.number("<I"), self.number("<Q")
        self._values_left -= count
        if self._values_left < 0:
            raise self._source.wrong(f"its header has arrays of more than {_MAX_VALUES} values")
        if count <= _SHOWN_VALUES:
            return [self._value(kind, depth + 1) for _ in range(count)]
        if kind in _NUMBERS:
            return _digest(self._exactly(count * struct.calcsize(_NUMBERS[kind])), count)
        digest = hashlib.sha256()
        for _ in range(count):
            digest.update(repr(self._value(kind, depth + 1)).encode("utf-8", "backslashreplace"))
        return {"values": count, "sha256": digest.hexdigest()}

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Return the next tensor's name, shape (outermost dimension first), type and offset."""
        name = self.text()
        dimensions = self.number("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise self._source.wrong(f"tensor '{shown(name)}' claims {dimensions} dimensions")
        shape = tuple(reversed([self.number("<Q") for _ in range(dimensions)]))
        kind, offset = self.number("<I"), self.number("<Q")
        if kind not in TYPES:
            raise self._source.wrong(f"tensor '{shown(name)}' has the unknown type {kind}")
        return name, shape, kind, offset


def _digest(data: bytes, count: int) -> dict[str, Any]:
    return {"values": count, "sha256": hashlib.sha256(data).hexdigest()}

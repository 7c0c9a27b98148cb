"""Protocol buffers' wire format, read without a schema: fields by number.

https://protobuf.dev/programming-guides/encoding/. A message is walked over, not built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from devml_git.models.model import Bytes

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_MAX_FIELD = 1 << 29
_MAX_NUMBERS = 3_000_000  # a graph of 10,000 nodes has some 500,000
_LONGEST_VARINT = 10  # bytes
_SIGN, _TWO_TO_64 = 1 << 63, 1 << 64


class Malformed(Exception):
    """These bytes are no message."""


class _Wire:
    """All the bytes, and how many numbers may still be read of them."""

    __slots__ = ("data", "left")

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.left = _MAX_NUMBERS


class Span:
    """A part of the file, from `start` to `end`; as text or message it is read when asked for."""

    __slots__ = ("_wire", "end", "start")

    def __init__(self, wire: _Wire, start: int, end: int) -> None:
        self._wire = wire
        self.start = start
        self.end = end

    def text(self, most: int) -> str:
        """Return the bytes as text, at most so many of them; what is no UTF-8 is escaped."""
        return bytes(self._wire.data[self.start : min(self.end, self.start + most)]).decode(
            "utf-8", "backslashreplace"
        )

    def fields(self) -> Iterator[tuple[int, int | Span]]:
        """Yield (number, value) of a message's fields: an int, or a Span of bytes.

        Fixed32 and fixed64 are Spans, too. Raises Malformed.
        """
        at = self.start
        while at < self.end:
            tag, at = self._varint(at)
            kind, number = tag & 7, tag >> 3
            if not 0 < number < _MAX_FIELD:
                raise Malformed
            if kind == _VARINT:
                value, at = self._varint(at)
                yield number, value
                continue
            if kind == _BYTES:
                length, at = self._varint(at)
            elif kind in _WIDTHS:
                length = _WIDTHS[kind]
            else:
                raise Malformed
            if at + length > self.end:
                raise Malformed
            yield number, Span(self._wire, at, at + length)
            at += length

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        self._wire.left -= 1
        if self._wire.left < 0:
            raise Malformed
        for place in range(at, min(at + _LONGEST_VARINT, self.end)):
            byte = self._wire.data[place]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004
                return value % _TWO_TO_64, place + 1
            shift += 7
        raise Malformed

    def varints(self) -> Iterator[int]:
        """Yield the numbers of a packed field. Raises Malformed."""
        at = self.start
        while at < self.end:
            value, at = self._varint(at)
            yield value


def whole(data: Bytes) -> Span:
    """Return all of a file as one message."""
    return Span(_Wire(data.data), 0, len(data))


def decoded(packed: Bytes) -> NDArray[np.uint64]:
    """Return the numbers of a packed field of varints, all at once. Raises Malformed."""
    import numpy as np

    last = np.flatnonzero(packed < 0x80)  # noqa: PLR2004
    if packed.size and (not last.size or last[-1] != packed.size - 1):
        raise Malformed
    first = np.concatenate([np.zeros(1, last.dtype), last[:-1] + 1])[: last.size]
    longest = int((last - first).max(initial=0)) + 1
    if longest > _LONGEST_VARINT:
        raise Malformed
    numbers = np.zeros(last.size, np.uint64)
    for place in range(longest):
        there = first + place <= last
        low = packed[np.minimum(first + place, last)].astype(np.uint64) & np.uint64(0x7F)
        numbers |= np.where(there, low << np.uint64(7 * place), np.uint64(0))
    return numbers


def signed(value: int) -> int:
    """Return a varint as the signed number of 64 bits that it stands for."""
    return value - _TWO_TO_64 if value >= _SIGN else value

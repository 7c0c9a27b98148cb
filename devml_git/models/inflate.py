"""Compressed bytes, decompressed piece by piece within a bound: a bomb costs what was allowed."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 1 << 18  # bytes
_LZMA_MEMORY = 256 << 20  # bytes: a header may ask for a dictionary of 4 GB
_EITHER_HEADER = 32 + zlib.MAX_WBITS  # zlib's or gzip's


class Damaged(Exception):
    """The compressed data is not what it should be; the text says why."""


class _Decompressor(Protocol):
    """What zlib, bz2 and lzma have in common, seen the way bz2 and lzma do it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """zlib's decompressor with the manners of the other two."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class Inflating(io.RawIOBase):
    """The decompressed bytes of a stream; reading raises Damaged where it is broken or cut off."""

    def __init__(self, compressed: io.BufferedReader, decompressor: _Decompressor) -> None:
        self._compressed = compressed
        self._inner = decompressor

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Fill a part of the buffer; return how many bytes, 0 at the end."""
        while not self._inner.eof:
            data = self._compressed.read(_CHUNK) if self._inner.needs_input else b""
            try:
                piece = self._inner.decompress(data, len(buffer))
            except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError) as e:
                raise Damaged(str(e)) from e
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)
            if not data and self._inner.needs_input and not self._inner.eof:
                raise Damaged("the compressed data ends too early")
        return 0


_BY_MAGIC: tuple[tuple[bytes, Callable[[], _Decompressor]], ...] = (
    (b"\x1f\x8b", lambda: _Zlib(_EITHER_HEADER)),
    (b"\x78\x01", lambda: _Zlib(_EITHER_HEADER)),
    (b"\x78\x5e", lambda: _Zlib(_EITHER_HEADER)),
    (b"\x78\x9c", lambda: _Zlib(_EITHER_HEADER)),
    (b"\x78\xda", lambda: _Zlib(_EITHER_HEADER)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)),
    (b"\x5d\x00\x00", lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)),
)


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins so is compressed by zlib, gzip, bz2, xz or lzma."""
    return any(head.startswith(magic) for magic, _ in _BY_MAGIC)


def inflating(head: bytes, compressed: io.BufferedReader) -> io.BufferedReader:
    """Return the decompressed stream of a file that begins with `head` (see is_compressed)."""
    make = next(make for magic, make in _BY_MAGIC if head.startswith(magic))
    return io.BufferedReader(Inflating(compressed, make()), _CHUNK)


def deflated(compressed: io.BufferedReader) -> io.BufferedReader:
    """Return the decompressed stream of raw deflate data, as members of zip archives have it."""
    return io.BufferedReader(Inflating(compressed, _Zlib(-zlib.MAX_WBITS)), _CHUNK)

"""One open model file, mapped into memory: nothing is read before it is looked at."""

from __future__ import annotations

import io
import mmap
import os
import stat
from typing import TYPE_CHECKING

from devml_git.models.model import Unreadable

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Protocol

    from devml_git.models.model import Bytes

    class _Writable(Protocol):
        def __len__(self) -> int: ...
        def __setitem__(self, key: slice, value: bytes, /) -> None: ...


_BUFFER = 256 << 10  # bytes
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Source:
    """A regular file, mapped read-only; `name` is what errors call it, `size` its bytes.

    A named pipe, device or directory is refused and does not hang. A link is followed: DVC links
    workspace files to its cache. Raises Unreadable.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        try:
            fd = os.open(path, _FLAGS)
        except OSError as e:
            raise self.wrong(e.strerror or "it cannot be opened") from e
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise self.wrong("it is not a regular file")
            self.size = status.st_size
            self._map = mmap.mmap(fd, self.size, access=mmap.ACCESS_READ) if self.size else None
        except (OSError, ValueError) as e:
            raise self.wrong(f"it cannot be mapped into memory ({e})") from e
        finally:
            os.close(fd)

    def wrong(self, why: str) -> Unreadable:
        """Return the error to raise: this file cannot be read, and why."""
        return Unreadable(self.name, why)

    def read(self, offset: int, length: int) -> bytes:
        """Return a copy of these bytes; raises Unreadable where the file ends before."""
        self._check(offset, length)
        return self._map[offset : offset + length] if self._map is not None and length else b""

    def view(self, offset: int, length: int) -> Bytes:
        """Return these bytes as they are mapped, flat and read-only; raises as `read`."""
        import numpy as np

        self._check(offset, length)
        if self._map is None or not length:
            return np.frombuffer(b"", np.uint8)
        return np.frombuffer(self._map, np.uint8, length, offset)

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise self.wrong("it ends too early: it is truncated, or says what it does not hold")
        # what is mapped beyond the end of a file that shrank kills the process that looks at it
        if self._map is not None and self._map.size() < offset + length:
            raise self.wrong("it became shorter while it was read")

    def stream(self, offset: int = 0, length: int | None = None) -> io.BufferedReader:
        """Return a part of the file (default: to its end) as a file of its own, to be read."""
        length = self.size - offset if length is None else length
        self._check(offset, length)
        return io.BufferedReader(_Window(self, offset, length), _BUFFER)

    def close(self) -> None:
        """Unmap the file, unless somebody still holds a view: then the last view unmaps it."""
        if self._map is not None:
            try:
                self._map.close()
            except BufferError:
                self._map = None


class _Window(io.RawIOBase):
    """A part of a source that reads and seeks like a file."""

    def __init__(self, source: Source, offset: int, length: int) -> None:
        self._source = source
        self._offset = offset
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: _Writable, /) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._length - self._at))
        buffer[:count] = self._source.read(self._offset + self._at, count)
        self._at += count
        return count

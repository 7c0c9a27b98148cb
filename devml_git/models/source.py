"""One open model file, mapped into memory or read: nothing is read before it is looked at."""

from __future__ import annotations

import io
import mmap
import os
import stat
from typing import TYPE_CHECKING

from devml_git.amounts import counted
from devml_git.models.model import MAX_TENSORS, Lying, TooMany, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Protocol

    from devml_git.models.model import Bytes

    class _Writable(Protocol):
        def __len__(self) -> int: ...
        def __setitem__(self, key: slice, value: bytes, /) -> None: ...


_BUFFER = 256 << 10  # bytes
_COPIED = 256 << 20  # bytes that one view of a file which is not mapped may copy
_SHORTER = "it became shorter while it was read"
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Source:
    """A regular file, mapped read-only; `name` is what errors call it, `size` its bytes.

    `steady` says that nobody writes it, as nobody writes an object of the cache. Else it is read:
    who looks at mapped memory that is gone from the file, is killed. `most` is how many tensors
    may be in it.

    A named pipe, device or directory is refused and does not hang. A link is followed: DVC links
    workspace files to its cache. Raises Unreadable.
    """

    def __init__(
        self, path: Path, name: str, *, steady: bool = True, most: int = MAX_TENSORS
    ) -> None:
        self.name = name
        self.steady = steady
        self.most = most
        self._fd = -1
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
            if not steady:
                self._fd = os.dup(fd)
        except (OSError, ValueError) as e:
            raise self.wrong(f"it cannot be mapped into memory ({e})") from e
        finally:
            os.close(fd)

    def wrong(self, why: str) -> Unreadable:
        """Return the error to raise: this file cannot be read, and why."""
        return Unreadable(self.name, why)

    def too_many(self) -> TooMany:
        """Return the error to raise: more tensors than are looked at."""
        return TooMany(self.name, f"it has more than {counted(self.most, 'tensor')}")

    def read(self, offset: int, length: int) -> bytes:
        """Return a copy of these bytes; raises Unreadable where the file ends before."""
        self._check(offset, length)
        if self._fd >= 0:
            return self._copied(offset, length)
        return self._map[offset : offset + length] if self._map is not None and length else b""

    def _copied(self, offset: int, length: int) -> bytes:
        parts = []
        while length and (part := os.pread(self._fd, length, offset)):
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        if length:
            raise self.wrong(_SHORTER)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def view(self, offset: int, length: int) -> Bytes:
        """Return these bytes as they are mapped, flat and read-only; raises as `read`.

        Of a file that is not steady, they are a copy, up to 256 MB.
        """
        import numpy as np

        self._check(offset, length)
        if self._fd >= 0 and length <= _COPIED:
            return np.frombuffer(self._copied(offset, length), np.uint8)
        if self._map is None or not length:
            return np.frombuffer(b"", np.uint8)
        return np.frombuffer(self._map, np.uint8, length, offset)

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise self.wrong("it ends too early: it is truncated, or says what it does not hold")
        # what is mapped beyond the end of a file that shrank kills the process that looks at it
        if self._map is not None and self._map.size() < offset + length:
            raise self.wrong(_SHORTER)

    def lying(self, offset: int, length: int) -> Lying:
        """Return these bytes, to be had when they are asked for, in parts, too."""
        return Lying(self.view, offset, length, mapped=self.steady)

    def stream(self, offset: int = 0, length: int | None = None) -> io.BufferedReader:
        """Return a part of the file (default: to its end) as a file of its own, to be read."""
        length = self.size - offset if length is None else length
        self._check(offset, length)
        return window(lambda at, count: self.read(offset + at, count), length)

    def close(self) -> None:
        """Unmap the file, unless somebody still holds a view: then the last view unmaps it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._map is not None:
            try:
                self._map.close()
            except BufferError:
                self._map = None


def window(read: Callable[[int, int], bytes], length: int) -> io.BufferedReader:
    """Return bytes, of which `read` gets as many as it is told from where, as a file."""
    return io.BufferedReader(_Window(read, length), _BUFFER)


class _Window(io.RawIOBase):
    """Bytes that read and seek like a file."""

    def __init__(self, read: Callable[[int, int], bytes], length: int) -> None:
        self._read = read
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
        buffer[:count] = self._read(self._at, count)
        self._at += count
        return count

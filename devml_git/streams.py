"""Bytes: read, copied while they are hashed, compared, in parallel. Hashes as DVC computes them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

from devml_git.errors import StorageFailed
from devml_git.gate import shown
from devml_git.nouns import LEGACY
from devml_git.place import storage_error, write_all
from devml_git.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor, Future
    from pathlib import Path

CHUNK = 1 << 20
SMALL = 1 << 20  # read into memory and hashed there
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_LEGACY_BLOCK = 512  # dvc_data/hashfile/istextfile.py
_TEXT = bytes(range(32, 127)) + b"\n\r\t\f\b"
_NONTEXT_SHARE = 0.30
_stop = threading.Event()


class Digest(NamedTuple):
    """What bytes hash to: DVC's hash, the SHA-256 if it was wanted (hex digits), their length."""

    oid: str
    sha256: str | None
    length: int


def digest_of(data: bytes, *, second: bool) -> Digest:
    """Hash bytes that are in memory; `second`: by SHA-256, too."""
    return Digest(
        hashlib.md5(data, usedforsecurity=False).hexdigest(),
        hashlib.sha256(data).hexdigest() if second else None,
        len(data),
    )


def open_source(path: str, name: str, above: int | None = None) -> int:
    """Open a workspace file for reading; a named pipe does not hang it. Raises StorageFailed.

    `path` may be relative to an open directory, `above`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, flags, dir_fd=above)
    except FileNotFoundError as e:
        raise StorageFailed(
            f"{shown(name)} vanished while it was read",
            hint="wait until whatever writes it is done, then run the same command again",
        ) from e
    except OSError as e:
        raise storage_error(e, name) from e


def read_all(fd: int, most: int) -> bytes:
    """Read up to `most` bytes."""
    parts = []
    while most > 0 and (part := os.read(fd, most)):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def copy_hashing(
    src: int, out: int, hash_name: str, progress: Progress, *, second: bool = False
) -> Digest:
    """Copy an open file, hashing what is written; `second`: by SHA-256, too.

    Where the file system can share blocks (FICLONE), the clone is made first and then hashed:
    it cannot change any more.
    """
    if _clone(src, out):
        return hash_file(out, hash_name, progress, second=second)
    digest = _Hasher(hash_name, second=second)
    if os.fstat(src).st_size <= SMALL:
        data = read_all(src, SMALL + CHUNK)
        if len(data) <= SMALL:
            digest.update(data)
            write_all(out, data)
            progress.advance(len(data))
            return digest.digest()
        os.lseek(src, 0, os.SEEK_SET)  # it has grown meanwhile
    with digest.beside():
        for chunk in _chunks(src):
            digest.update_beside(chunk)
            write_all(out, chunk)
            progress.advance(len(chunk))
    return digest.digest()


def _clone(src: int, out: int) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(out, _FICLONE, src)
    except OSError:
        return False
    return True


def hash_file(
    fd: int, hash_name: str, progress: Progress = SILENT, *, second: bool = False
) -> Digest:
    """Hash an open file, from its beginning; `second`: by SHA-256, too."""
    digest = _Hasher(hash_name, second=second)
    os.lseek(fd, 0, os.SEEK_SET)
    beside = second and os.fstat(fd).st_size > SMALL
    with digest.beside() if beside else contextlib.nullcontext():
        for chunk in _chunks(fd):
            (digest.update_beside if beside else digest.update)(chunk)
            progress.advance(len(chunk))
    return digest.digest()


def _chunks(fd: int) -> Iterator[bytes]:
    """Yield a file's bytes, one more than it has now at most: one that keeps growing must end."""
    left = os.fstat(fd).st_size + 1
    while left and (chunk := os.read(fd, min(CHUNK, left))):
        if _stop.is_set():  # a thread whose work is no longer wanted
            raise InterruptedError
        left -= len(chunk)
        yield chunk


class _Dos2Unix:
    """DVC 1 and 2's `md5-dos2unix`: each chunk that looks like text is hashed with LF."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)

    def update(self, chunk: bytes) -> None:
        if not chunk:
            return
        block = chunk[:_LEGACY_BLOCK]
        nontext = len(block.translate(None, _TEXT))
        is_text = b"\0" not in block and nontext / len(block) <= _NONTEXT_SHARE
        self._md5.update(chunk.replace(b"\r\n", b"\n") if is_text else chunk)

    def hexdigest(self) -> str:
        return self._md5.hexdigest()


class _Hasher:
    """Both hashes over the same bytes. Hashing frees the GIL, as reading and writing do."""

    def __init__(self, hash_name: str, *, second: bool) -> None:
        md5 = hashlib.md5(usedforsecurity=False)
        self._first: hashlib._Hash | _Dos2Unix = _Dos2Unix() if hash_name == LEGACY else md5
        self._second = hashlib.sha256() if second else None
        self._length = 0
        self._pool: Executor | None = None
        self._hashing: list[Future[None]] = []

    def update(self, chunk: bytes) -> None:
        self._length += len(chunk)
        self._first.update(chunk)
        if self._second is not None:
            self._second.update(chunk)

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Hash in threads of their own, while the caller reads and writes."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=1 if self._second is None else 2) as self._pool:
            yield
            self._wait()

    def update_beside(self, chunk: bytes) -> None:
        """Begin with a chunk once the one before is done."""
        assert self._pool is not None
        self._wait()
        self._length += len(chunk)
        hashes = (self._first, self._second) if self._second is not None else (self._first,)
        self._hashing = [self._pool.submit(one.update, chunk) for one in hashes]

    def _wait(self) -> None:
        for future in self._hashing:
            future.result()

    def digest(self) -> Digest:
        second = None if self._second is None else self._second.hexdigest()
        return Digest(self._first.hexdigest(), second, self._length)


def legacy_hash(fd: int) -> str:
    """Return an open file's `md5-dos2unix`, as DVC 1 and 2 computed it; closes it."""
    try:
        return hash_file(fd, LEGACY).oid
    finally:
        os.close(fd)


def same_bytes(one: int, two: int) -> bool:
    """Whether two open files have the same content, compared byte by byte."""
    a, b = os.fstat(one), os.fstat(two)
    if (a.st_ino, a.st_dev) == (b.st_ino, b.st_dev):
        return True
    if a.st_size != b.st_size:
        return False
    while True:
        left, right = os.read(one, CHUNK), os.read(two, CHUNK)
        if left != right:
            return False
        if not left:
            return True


def same_files(one: Path, two: Path) -> bool:
    """Whether two files have the same bytes. Raises OSError."""
    left = os.open(one, os.O_RDONLY)
    try:
        right = os.open(two, os.O_RDONLY)
        try:
            return same_bytes(left, right)
        finally:
            os.close(right)
    finally:
        os.close(left)


def fsync_directory(path: Path) -> None:
    """Make a directory's entries durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def in_parallel(work: Callable[[int], object], order: Sequence[int], sizes: Sequence[int]) -> None:
    """Run `work` for each index of `order`; in threads where hashing, which frees the GIL, counts.

    `sizes` are in bytes, by index. The first error ends it and is raised.
    """
    large = any(size > SMALL for size in sizes)
    if not large or len(order) < 2:  # noqa: PLR2004
        for item in order:
            work(item)
        return
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(work, item) for item in order]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            _stop.set()  # a Ctrl-C must not wait for the copy of a large model
            raise
        finally:
            for future in futures:
                future.cancel()
            wait(futures)
            _stop.clear()

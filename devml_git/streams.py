"""Bytes: read, copied while they are hashed, compared, in parallel. Hashes as DVC computes them."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from typing import TYPE_CHECKING

from devml_git.errors import StorageFailed
from devml_git.gate import shown
from devml_git.nouns import LEGACY
from devml_git.place import storage_error, write_all
from devml_git.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

CHUNK = 1 << 20
SMALL = 1 << 20  # read into memory and hashed there
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_LEGACY_BLOCK = 512  # dvc_data/hashfile/istextfile.py
_TEXT = bytes(range(32, 127)) + b"\n\r\t\f\b"
_NONTEXT_SHARE = 0.30
_stop = threading.Event()


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


def copy_hashing(src: int, out: int, hash_name: str, progress: Progress) -> tuple[str, int]:
    """Copy an open file, hashing what is written; return hash and length.

    Where the file system can share blocks (FICLONE), the clone is made first and then hashed:
    it cannot change any more.
    """
    if _clone(src, out):
        length = os.fstat(out).st_size
        return hash_file(out, hash_name, progress), length
    digest = _hasher(hash_name)
    length = 0
    if os.fstat(src).st_size <= SMALL:
        data = read_all(src, SMALL + CHUNK)
        if len(data) <= SMALL:
            digest.update(data)
            write_all(out, data)
            progress.advance(len(data))
            return digest.hexdigest(), len(data)
        os.lseek(src, 0, os.SEEK_SET)  # it has grown meanwhile
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=1) as beside:  # hashing and writing both free the GIL
        hashed: Future[None] | None = None
        for chunk in _chunks(src):
            if hashed is not None:
                hashed.result()
            hashed = beside.submit(digest.update, chunk)
            write_all(out, chunk)
            length += len(chunk)
            progress.advance(len(chunk))
        if hashed is not None:
            hashed.result()
    return digest.hexdigest(), length


def _clone(src: int, out: int) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(out, _FICLONE, src)
    except OSError:
        return False
    return True


def hash_file(fd: int, hash_name: str, progress: Progress = SILENT) -> str:
    """Return the hash of an open file, from its beginning (hex digits)."""
    digest = _hasher(hash_name)
    os.lseek(fd, 0, os.SEEK_SET)
    for chunk in _chunks(fd):
        digest.update(chunk)
        progress.advance(len(chunk))
    return digest.hexdigest()


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


def _hasher(hash_name: str) -> hashlib._Hash | _Dos2Unix:
    return _Dos2Unix() if hash_name == LEGACY else hashlib.md5(usedforsecurity=False)


def legacy_hash(fd: int) -> str:
    """Return an open file's `md5-dos2unix`, as DVC 1 and 2 computed it; closes it."""
    try:
        return hash_file(fd, LEGACY)
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

"""Places in the workspace, reached without following a link (P9).

Every write walks from the workspace's root, one directory at a time, with O_NOFOLLOW, and ends
in a rename: a link that somebody puts in the way is refused, not followed (git-lfs
CVE-2025-26625, gitoxide CVE-2026-44471).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devml_git.errors import Refused, StorageFailed
from devml_git.gate import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FILE_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_DIR_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)

# Kernel clocks tick every 1 to 10 ms: a change this close to the hashing could carry its time.
RACY_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class Stat:
    """What must not have changed for a file's recorded hash to be believed (times in ns)."""

    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int
    dev: int

    @classmethod
    def of(cls, st: os.stat_result) -> Stat:
        """Return the part of a stat result that is compared."""
        return cls(st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino, st.st_dev)

    @property
    def newest_ns(self) -> int:
        """The later of mtime and ctime, in ns."""
        return max(self.mtime_ns, self.ctime_ns)

    def racy(self, hashed_ns: int) -> bool:
        """Whether a change right after `hashed_ns` might leave these very times behind."""
        return self.newest_ns > hashed_ns - RACY_NS


def wait_out_the_grain(newest_ns: int) -> None:
    """Sleep until a change from now on is sure to show in a file whose ctime is `newest_ns`."""
    left = newest_ns + RACY_NS - time.time_ns()
    if 0 < left <= RACY_NS:  # a time in the future is no grain; such a file stays racy
        time.sleep((left + 1_000_000) / 1e9)


class Absent(Exception):
    """A directory on the way does not exist."""


@contextlib.contextmanager
def directory(root: Path, relative: str, *, create: bool = False) -> Iterator[int]:
    """Open a directory below `root` (POSIX path, "" for the root) and yield its descriptor.

    Raises Absent when a part is missing (and `create` is off), Refused when one is a link or no
    directory, StorageFailed for other errors.
    """
    fd = os.open(root, _DIR_FLAGS & ~getattr(os, "O_NOFOLLOW", 0))
    try:
        for part in relative.split("/") if relative else ():
            inner = _step(fd, part, relative, create=create)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _step(fd: int, part: str, relative: str, *, create: bool) -> int:
    if create:
        with contextlib.suppress(FileExistsError):
            try:
                os.mkdir(part, dir_fd=fd)
            except OSError as e:
                if not isinstance(e, FileExistsError):
                    raise storage_error(e, relative) from e
                raise
    try:
        return os.open(part, _DIR_FLAGS, dir_fd=fd)
    except FileNotFoundError as e:
        raise Absent(relative) from e
    except OSError as e:
        if e.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise Refused(
                f"{shown(relative)}: '{shown(part)}' is a link or no directory; not followed"
            ) from e
        raise storage_error(e, relative) from e


@contextlib.contextmanager
def parent(root: Path, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """Open the directory that `path` lies in; yield its descriptor and the last name."""
    above, _, name = path.rpartition("/")
    with directory(root, above, create=create) as fd:
        yield fd, name


def lstat(fd: int, name: str) -> os.stat_result | None:
    """Return the stat of a name in an open directory, or None when there is none."""
    try:
        return os.lstat(name) if fd < 0 else os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def look(root: Path, path: str) -> os.stat_result | None:
    """Return the stat of a place below `root`, or None; a linked parent is refused."""
    try:
        with parent(root, path) as (fd, name):
            return lstat(fd, name)
    except Absent:
        return None


def move(root: Path, old: str, new: str) -> bool:
    """Rename a file or directory below `root`; return False where something lies at `new`.

    Raises StorageFailed when the system refuses.
    """
    with parent(root, old) as (source, name), parent(root, new, create=True) as (fd, base):
        if lstat(fd, base) is not None:
            return False
        try:
            os.rename(name, base, src_dir_fd=source, dst_dir_fd=fd)
        except OSError as e:
            raise storage_error(e, old) from e
    return True


def remove(root: Path, path: str) -> None:
    """Unlink a file or link below `root`, if it is there; a linked parent is refused."""
    with contextlib.suppress(Absent, FileNotFoundError), parent(root, path) as (fd, name):
        os.unlink(name, dir_fd=fd)


def what_is(st: os.stat_result) -> str:
    """Return a word for what kind of thing lies at a place."""
    kinds = (
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "directory"),
        (stat.S_ISLNK, "symbolic link"),
        (stat.S_ISFIFO, "named pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISBLK, "block device"),
        (stat.S_ISCHR, "character device"),
    )
    return next((word for test, word in kinds if test(st.st_mode)), "special file")


# What `temporary_name` returns, as a gitignore pattern
TEMPORARY = f".{'[0-9a-f]' * 24}.tmp"


def temporary_name() -> str:
    """Return an unused name for a temporary file, in DVC's form (dvc_objects `tmp_fname`)."""
    return f".{os.urandom(12).hex()}.tmp"


def read_text(root: Path, path: str, *, limit: int | None = None) -> bytes | None:
    """Return what a small file below `root` holds, or None where there is none.

    Raises Refused for a link or anything else that is no file, or is larger than `limit` bytes,
    and StorageFailed.
    """
    try:
        with parent(root, path) as (fd, name):
            old = lstat(fd, name)
            if old is None:
                return None
            if not stat.S_ISREG(old.st_mode):
                raise Refused(f"{shown(path)} is a {what_is(old)}, not a file")
            if limit is not None and old.st_size > limit:
                raise Refused(f"{shown(path)}: larger than {limit} bytes")
            with open(os.open(name, _FILE_FLAGS, dir_fd=fd), "rb") as file:
                return file.read()
    except Absent:
        return None
    except OSError as e:
        raise storage_error(e, path) from e


def write_text_safely(
    root: Path, path: str, data: bytes, *, create: bool = False, private: bool = False
) -> None:
    """Replace a small file below `root`: temporary file beside it, fsync, rename, fsync.

    Keeps the mode of the file it replaces; `private`: but nobody except the user may read it.
    Raises StorageFailed; the old file then still stands.
    """
    with parent(root, path, create=create) as (fd, name):
        old = lstat(fd, name)
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise Refused(f"{shown(path)} is a {what_is(old)}, not a file")
        temp = temporary_name()
        try:
            mode = (stat.S_IMODE(old.st_mode) if old else 0o666) & (0o700 if private else 0o7777)
            out = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, dir_fd=fd)
            try:
                if old is not None:  # also what the umask has taken away
                    os.fchmod(out, mode)
                write_all(out, data)
                os.fsync(out)
            finally:
                os.close(out)
            os.replace(temp, name, src_dir_fd=fd, dst_dir_fd=fd)
            os.fsync(fd)
        except OSError as e:
            raise storage_error(e, path) from e
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temp, dir_fd=fd)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all bytes, however short the single writes are."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


_HINTS = {
    errno.ENOSPC: "free some space; nothing was lost, run the same command again",
    errno.EDQUOT: "free some of your quota; nothing was lost, run the same command again",
    errno.EROFS: "the file system is read-only: mount it writable and try again",
    errno.EACCES: "check the permissions of that path",
    errno.EPERM: "check the permissions and attributes of that path",
    errno.EMFILE: "too many open files: raise `ulimit -n` and try again",
    errno.ENFILE: "the whole system has too many open files: close some programs",
    errno.EIO: "the disk reported an error: check it before you go on",
}


def storage_error(e: OSError, path: object) -> StorageFailed:
    """Return an error of the file system in words: which file, what is wrong, what helps."""
    hint = _HINTS.get(e.errno or 0)
    return StorageFailed(f"{shown(path)}: {(e.strerror or str(e)).lower()}", hint=hint)


def refused_by_the_system(e: BaseException) -> StorageFailed | None:
    """Return what to say of an error that no door has translated, or None where it is our bug."""
    if isinstance(e, OSError) and e.errno in _HINTS:
        return storage_error(e, e.filename or "the file system")
    return None

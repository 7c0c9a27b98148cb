"""Locks that the kernel drops when their holder dies (flock(2)): none is ever stale."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from devml_git.errors import StorageFailed
from devml_git.place import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_SECONDS = 30
_AGAIN = 0.05


@contextlib.contextmanager
def held(place: Path, busy: str) -> Iterator[None]:
    """Hold the lock of a directory, or of a file that is made on demand.

    Raises StorageFailed with the text `busy` when another process keeps it for longer than
    LOCK_SECONDS. Where the system has no such locks, nothing is held.
    """
    directory = place.is_dir()
    try:
        fd = os.open(place, os.O_RDONLY if directory else os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as e:
        raise storage_error(e, place) from e
    try:
        until = time.monotonic() + LOCK_SECONDS
        while not taken(fd):
            if time.monotonic() > until:
                raise StorageFailed(busy, hint="wait for it, then run the same command again")
            time.sleep(_AGAIN)
        yield
    finally:
        os.close(fd)


def taken(fd: int) -> bool:
    """Take the lock of an open file; False where a living process has it.

    True also where there are no locks: Windows, and directories on some network file systems.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True

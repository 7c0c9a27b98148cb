"""Git's index, changed aside and put in its place in one step, under git's own lock.

`git update-index` holds `index.lock` for as long as it runs; killed there, it leaves it behind, and
git refuses everything until a person removes it. Ours is there for two system calls. It has a mark
in it and is locked (flock(2)): one whose holder is dead is known for certain, and is cleared.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from devml_git.errors import GitFailed
from devml_git.gate import quoted
from devml_git.locks import taken
from devml_git.place import Stat, storage_error, temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 2.0  # seconds; whoever commits holds git's lock for longer, and may wait for us
_AGAIN = 0.02
_MARK = b"devml-git, for a moment\n"


def change(index: Path, edit: Callable[[Path], object]) -> None:
    """Let `edit` change a copy of an index, and put the copy in its place.

    Done anew where git has written the index meanwhile. Raises GitFailed when another git keeps
    its lock for PATIENCE seconds, StorageFailed.
    """
    until = time.monotonic() + PATIENCE
    while True:
        with _aside(index) as (real, aside, before):
            if not _edited(aside, edit):
                return
            with _locked(real, until):
                if _identity(real) == before:
                    os.replace(aside, real)
                    return
        if time.monotonic() > until:
            raise busy(lock_of(index))


def change_held(index: Path, edit: Callable[[Path], object]) -> None:
    """Change an index that a git has locked which waits for the hook that we are in.

    Also that lock itself: `git commit -a` makes it the index (githooks(5)). Raises StorageFailed.
    """
    with _aside(index) as (real, aside, _):
        if _edited(aside, edit):
            os.replace(aside, real)


@contextlib.contextmanager
def _aside(index: Path) -> Iterator[tuple[Path, Path, Stat | None]]:
    """Yield where an index really is, a copy of it beside it, and what it was when copied."""
    real = Path(os.path.realpath(index))
    aside = real.with_name(temporary_name())
    try:
        before = _identity(real)
        if before is not None:
            shutil.copy2(real, aside)  # its time, too: git's word on what may have changed unseen
        yield real, aside, before
    except OSError as e:
        raise storage_error(e, index) from e
    finally:
        for left in (aside, lock_of(aside)):
            with contextlib.suppress(OSError):
                left.unlink()


def _edited(aside: Path, edit: Callable[[Path], object]) -> bool:
    """Whether `edit` has written anything: git gives what it writes the name in the end."""
    copied = _identity(aside)
    edit(aside)
    return _identity(aside) != copied


def _identity(file: Path) -> Stat | None:
    try:
        return Stat.of(file.stat())
    except FileNotFoundError:
        return None


def lock_of(index: Path) -> Path:
    """Return the file whose existence locks an index (git's lockfile.h)."""
    return index.with_name(index.name + ".lock")


@contextlib.contextmanager
def _locked(index: Path, until: float) -> Iterator[None]:
    """Hold git's lock of an index; it appears with its mark in it, and locked."""
    lock, own = lock_of(index), index.with_name(temporary_name())
    fd = os.open(own, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, _MARK)
        taken(fd)
        while not _appears(own, lock):
            if not clear_dead(lock):
                if time.monotonic() > until:
                    raise busy(lock)
                time.sleep(_AGAIN)
        try:
            yield
        finally:
            lock.unlink()
    finally:
        with contextlib.suppress(OSError):
            own.unlink()
        os.close(fd)


def _appears(own: Path, lock: Path) -> bool:
    try:
        try:
            os.link(own, lock)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def clear_dead(lock: Path) -> bool:
    """Remove a lock of ours whose holder has died; return whether there is none of ours now.

    A lock of git's own is never removed: nobody can tell whether its git is still at work.
    """
    try:
        fd = os.open(lock, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if os.read(fd, len(_MARK) + 1) != _MARK or not taken(fd):
            return False
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), lock.stat()):
                lock.unlink()
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def busy(lock: Path) -> GitFailed:
    """Return the error for an index that another git has locked."""
    return GitFailed(
        f"another git is at work in this worktree, it holds {lock.name}",
        hint=f"wait for it and run the same command again; if no git runs, one has died: "
        f"rm {quoted(lock)}",
    )

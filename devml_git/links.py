"""Links that came with the repository: none is followed at or below `.dvc` (P9).

A stranger's commit can make `.dvc/cache` or `.dvc/tmp` a link, and what DVC and we write there
would land, and be removed, where it leads. The user's own (`.dvc/cache -> /big`) is one that git
does not track and no commit ever held; history is asked of that once: what was found to be so is
remembered by its inode and ctime, which git's own links never have.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from devml_git.errors import Refused
from devml_git.gate import quoted, shown
from devml_git.place import write_text_safely
from devml_git.plumbing import LINK_MODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devml_git.plumbing import Git

# Directories whose entries are opened by path, here or by DVC: the cache's shards of both layouts
_WATCHED = (".dvc", ".dvc/tmp", ".dvc/cache", ".dvc/cache/files", ".dvc/cache/files/md5")
_OWN = "own-links"  # in the worktree's private directory


def in_git(git: Git) -> frozenset[str]:
    """Return the links that git's index has: what a checkout has put there, or will."""
    return frozenset(e.path for e in git.index_entries() if e.mode == LINK_MODE)


def refuse_below_dvc(git: Git) -> None:
    """Raise Refused where `.dvc`, or a place in it that is read or written, is a commit's link.

    Costs a look at five directories at most; git is asked only where one has a link in it.
    """
    if os.path.lexists(os.path.join(git.top, ".dvc", ".git")):
        raise Refused(
            ".dvc is a repository of its own, a submodule: nothing is read or written there",
            hint="git rm -q --cached .dvc; rm -rf .dvc/.git",
        )
    found = dict(_links(git))
    if not found:
        return
    brought, own = git.tracked_among(found), _own(git)
    fresh = {path: mark for path, mark in found.items() if mark not in own}
    if fresh and not brought:
        brought = git.ever_held(fresh, left=True).intersection(fresh)
    if brought:
        path = min(brought)
        name = quoted(path)
        raise Refused(
            f"{shown(path)} is a link that came with a commit: nothing is read or written there",
            hint=f"git rm -q -f --ignore-unmatch -- {name}; rm -f {name}",
        )
    if fresh:
        data = "".join(f"{mark}\n" for mark in sorted(own | set(fresh.values())))
        write_text_safely(git.private, _OWN, data.encode())


def _links(git: Git) -> Iterator[tuple[str, str]]:
    """Yield the links at and below `.dvc`, and what tells each from any other."""
    top = os.path.join(git.top, "")
    if os.path.islink(f"{top}.dvc"):
        yield ".dvc", _mark(git, ".dvc")
        return
    for place in _WATCHED:
        with contextlib.suppress(OSError):
            if os.path.islink(f"{top}{place}"):
                continue  # told by the directory that it lies in
            with os.scandir(f"{top}{place}") as entries:
                names = [f"{place}/{e.name}" for e in entries if e.is_symlink()]
            yield from ((name, _mark(git, name)) for name in names)


def _mark(git: Git, path: str) -> str:
    st = os.lstat(git.top / path)
    return f"{st.st_dev} {st.st_ino} {st.st_ctime_ns} {path}".encode("unicode_escape").decode()


def _own(git: Git) -> set[str]:
    try:
        return set((git.private / _OWN).read_text("utf-8").splitlines())
    except OSError:
        return set()

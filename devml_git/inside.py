"""Where a link of the tree leads, and small files read without leaving it (P9).

Links come with commits, too, and a stranger's may lead to any file of this machine. So a link is
resolved step by step, without the system's help, and what it names is then opened by
`place.parent`, which follows none. A link that leads out is refused with its name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from devml_git.errors import Refused
from devml_git.gate import shown
from devml_git.place import read_text

if TYPE_CHECKING:
    from pathlib import Path

_MOST_LINKS = 40  # as Linux, path_resolution(7)
_GIT = ".git"


class LeadsOut(Refused):
    """A link leads out of where it may lead."""


def resolve(root: Path, path: str, *, inside: str = "") -> str:
    """Return the place below `root`, on a way without links, that `path` (POSIX) stands for.

    `inside` is the directory that it may not leave ("": all of `root`, but for git's own). What is
    not there is no link. Raises LeadsOut.
    """
    todo, done = path.split("/")[::-1], list[str]()
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            if not done:
                raise _leads_out(path, inside)
            done.pop()
        elif part not in {"", "."}:
            text = _link(os.path.join(root, *done, part))
            if text is None:
                done.append(part)
                continue
            links += 1
            if os.path.isabs(text):
                text, done = _below(root, text), []
            if text is None or links > _MOST_LINKS:
                raise _leads_out(path, inside)
            todo += text.replace(os.sep, "/").split("/")[::-1]
    if inside and done[: inside.count("/") + 1] != inside.split("/"):
        raise _leads_out(path, inside)
    if any(part.casefold() == _GIT for part in done):
        raise _leads_out(path, inside)
    return "/".join(done)


def _link(place: str) -> str | None:
    try:
        return os.readlink(place)
    except OSError:
        return None


def _below(root: Path, text: str) -> str | None:
    """Return an absolute path as one from the root, or None where it does not begin with that."""
    for base in (str(root), os.path.realpath(root)):
        if text == base or text.startswith(f"{base.rstrip(os.sep)}{os.sep}"):
            return text[len(base) :]
    return None


def _leads_out(path: str, inside: str) -> LeadsOut:
    where = shown(inside) if inside else "the repository"
    return LeadsOut(f"{shown(path)} is a link that leads out of {where}: not followed")


def read_inside(root: Path, path: str, *, limit: int | None = None) -> bytes | None:
    """Return what a small file below `root` holds, or None where there is none.

    A link is followed to a file below `root`. Raises LeadsOut for one that leads out, and as
    `place.read_text`.
    """
    return read_text(root, resolve(root, path), limit=limit)

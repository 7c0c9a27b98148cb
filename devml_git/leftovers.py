"""What killed commands leave behind: temporary files of ours, known by their name and their age.

Nothing ever reads them. DVC's own have another form (dvc_objects `tmp_fname`), and stay.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from typing import TYPE_CHECKING

from devml_git import installer
from devml_git.errors import Refused
from devml_git.place import TEMPORARY, Absent, lstat, parent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devml_git.workspace import Workspace

OLD_SECONDS = 3600.0  # whoever still writes one would have written to it within the hour
# git makes a lock beside an index of ours that it changes
_OURS = re.compile(TEMPORARY.replace(".", r"\.") + r"(\.lock)?")


def clean(ws: Workspace) -> tuple[int, int]:
    """Remove what killed commands left, once it is old; return how many files and bytes."""
    freed = [size for base, path in _found(ws) if (size := _removed(base, path)) is not None]
    return len(freed), sum(freed)


def _removed(base: Path, path: str) -> int | None:
    """Remove a file if nobody has written to it for long; return its size in bytes."""
    with contextlib.suppress(OSError, Absent, Refused), parent(base, path) as (fd, name):
        st = lstat(fd, name)
        if st is not None and stat.S_ISREG(st.st_mode) and st.st_mtime < time.time() - OLD_SECONDS:
            os.unlink(name, dir_fd=fd)
            return st.st_size
    return None


def _found(ws: Workspace) -> Iterator[tuple[Path, str]]:
    """Yield what has a name of ours where we write: a directory, and a path below it."""
    for place in _directories(ws):
        with contextlib.suppress(OSError):
            yield from ((place, name) for name in os.listdir(place) if _OURS.fullmatch(name))
    owned = {*ws.tree.snapshot.pointers, *ws.rules.literal_directories()}
    for path in ws.git.names("ls-files", "-o", "-z", "--", f":(glob)**/{TEMPORARY}"):
        if not any(path.startswith(f"{artifact}/") for artifact in owned):
            yield ws.root, path


def _directories(ws: Workspace) -> Iterator[Path]:
    """Yield the directories outside of the workspace in which temporary files are made."""
    yield ws.cache.objects
    yield from ws.cache.objects.glob("??")
    common = ws.git.common_dir
    for own in (common, *common.glob("worktrees/*")):
        yield from (own, own / "info")
        for private in (own / "devml", *own.glob("devml/projects/*")):
            yield from (private, private / "tmp")
    yield from {hook.file.parent for hook in installer.status(ws.git)}

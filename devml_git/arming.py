"""When the shell may answer at the next hook, and by which files it then judges."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from devml_git import config as config_module
from devml_git import tripwire
from devml_git.nouns import State
from devml_git.place import Stat
from devml_git.rules import literal_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devml_git.workspace import Observed, Workspace

_WATCHED = 100_000  # characters of the names of files that pipelines take values from
# States that nothing is to be done about until the next commit
_CALM_STATES = frozenset({State.CLEAN, State.MODIFIED, State.NEW})


def arm(ws: Workspace, observed: Iterable[Observed]) -> None:
    """Let the shell answer at the next hook if all is in order; else make it start Python."""
    items = list(observed)
    ws.refresh()
    if not _calm(ws) or any(o.state not in _CALM_STATES for o in items) or _has_neighbours(ws):
        tripwire.disarm(ws.git)
        return
    if any(o.state is not State.CLEAN for o in items):
        tripwire.arm_pointers(ws.git, sources=ws.pipelines.watched, large_file=ws.config.large_file)
        return
    lines = ws.rules.exclude_lines()
    watched = [*ws.rules.glob_directories(), *lines]
    # a directory that a rule names counts from its first file on
    places = {o.path for o in items if o.work.kind == "dir"}
    places.update(ws.rules.literal_directories())
    links = [path for path in ws.unfit if (ws.root / path).is_symlink()]
    links += [f"{o.path}/{name}" for o in items for name in o.work.links]
    tripwire.arm(
        ws.git,
        files=_known_stats(ws, items),
        member_places=sorted(places),
        rule_lines=watched,
        rule_places=ws.rules.places(ws.git) if watched else [],
        owned=[*lines, *(literal_line(o.path, o.work.kind == "dir") for o in items)],
        held=[*ws.git.tracked_matching(watched), *links],
        sources=ws.pipelines.watched,
        large_file=ws.config.large_file,
    )


def _known_stats(ws: Workspace, items: Iterable[Observed]) -> dict[str, os.stat_result | None]:
    """Return every file that counts, with what it was when it was read; None where unsure."""
    files: dict[str, os.stat_result | None] = dict(ws.tree.stats)
    for o in items:
        known = ws.record.hashes(o.path)
        for name, found in o.work.files.items():
            inner = f"{o.path}/{name}" if name else o.path
            sure = name in known and not found.link and Stat.of(found.raw) == found.stat
            files[inner] = found.raw if sure else None
    for name in _deciding_files(ws):
        with contextlib.suppress(OSError):
            files[name] = os.lstat(ws.root / name)
    return files


def arm_pointers(ws: Workspace) -> None:
    """Let the shell answer whether the pointers have moved since now, and nothing more."""
    ws.refresh()
    if _calm(ws) and not _has_neighbours(ws):
        tripwire.arm_pointers(ws.git, sources=ws.pipelines.watched, large_file=ws.config.large_file)
    else:
        tripwire.disarm(ws.git)


def _has_neighbours(ws: Workspace) -> bool:
    """Whether the worktree holds several projects: the shell can answer for one only."""
    return len(ws.git.projects()) > 1


def _calm(ws: Workspace) -> bool:
    """Whether no pointer is broken, none differs from the index, and no rebase is half-way.

    The shim asks only the index: a pointer that is not staged can change behind its back.
    """
    tree = ws.tree
    if tree.snapshot.broken or ws.git.half_way():
        return False
    if sum(map(len, ws.pipelines.watched)) > _WATCHED:  # more than a command takes as arguments
        return False
    if any(file not in tree.texts and file not in tree.sparse for file in tree.indexed):
        return False
    return not ws.git.differing_from_index(list(tree.texts), tree.indexed)


def _deciding_files(ws: Workspace) -> list[str]:
    """Files whose change can change what is an artifact or where its content lies."""
    fixed = [config_module.OWN_FILE, config_module.PYPROJECT, ".dvc/config",
             ".dvc/config.local", ".dvcignore"]  # fmt: skip
    return [n for n in {*fixed, *ws.tree.dvcignores} if (ws.root / n).is_file()]

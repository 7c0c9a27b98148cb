"""What git ignores so that content never enters it: `.gitignore` entries as DVC writes them.

An artifact of its own: a line `/name` in its directory's `.gitignore`, unless a rule ignores it
already (scmrepo 3.6 `Git.ignore`). A track rule: its lines in the `.gitignore` at the root. The
private `info/exclude` repeats both, for revisions from before the rules.
"""

from __future__ import annotations

import os
import posixpath
import re
from typing import TYPE_CHECKING

from devml_git.locks import held
from devml_git.place import read_text, write_text_safely
from devml_git.plumbing import anchored

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from devml_git.journal import Journal
    from devml_git.plumbing import Git

_HEADING = "# devml-git track"


def entry_for(path: str) -> str:
    """Return the line for an artifact in its directory's `.gitignore` (escaped as by pathspec)."""
    return "/" + re.sub(r"([\[\]!*#?\\])", r"\\\1", posixpath.basename(path))


def ignore_artifact(journal: Journal, path: str) -> list[str]:
    """Make git ignore an artifact; return the `.gitignore` files that are to be staged."""
    return ignore_artifacts(journal, [path])


def ignore_artifacts(journal: Journal, paths: Sequence[str]) -> list[str]:
    """Make git ignore artifacts; return the `.gitignore` files that are to be staged.

    Each of these is written once: a pointer may have thousands of outputs. Where a directory is not
    there, nothing in it can get into git.
    """
    ignored = journal.git.ignored(paths)
    entries: dict[str, list[str]] = {}
    for path in paths:
        if path not in ignored:
            file = posixpath.join(posixpath.dirname(path), ".gitignore")
            if os.path.isdir(journal.git.top / posixpath.dirname(path)):
                entries.setdefault(file, []).append(entry_for(path))
    staged = []
    for file, new in entries.items():
        staged += edit_lines(journal, file, lambda lines, new=new: [*lines, *new])  # type: ignore[misc]
    return staged


def unignore_artifact(journal: Journal, path: str) -> list[str]:
    """Take an artifact's own line out of its `.gitignore`; return what is to be staged."""
    file = posixpath.join(posixpath.dirname(path), ".gitignore")
    if read_text(journal.git.top, file) is None:
        return []
    line = entry_for(path)
    return edit_lines(journal, file, lambda lines: [x for x in lines if x.strip() != line])


def ignore_rule(journal: Journal, lines: Sequence[str]) -> list[str]:
    """Add a track rule's lines to the `.gitignore` at the root; return what is to be staged."""

    def add(old: list[str]) -> list[str]:
        new = _in_order(lines, old)
        heading = [_HEADING] if new and _HEADING not in old else []
        return [*old, *heading, *new]

    return edit_lines(journal, ".gitignore", add)


def _in_order(lines: Sequence[str], old: Collection[str]) -> list[str]:
    """Return what to append: the last line that matches wins, so exceptions go after their rule."""
    return [] if set(lines) <= set(old) else list(lines)


def unignore_rule(journal: Journal, lines: Sequence[str], kept: Sequence[str]) -> list[str]:
    """Take a track rule's lines out again, but for those another rule still needs."""
    gone = set(lines) - set(kept)

    def remove(old: list[str]) -> list[str]:
        left = [line for line in old if line not in gone]
        return left if kept else [line for line in left if line != _HEADING]

    return edit_lines(journal, ".gitignore", remove)


def exclude_privately(git: Git, lines: Sequence[str]) -> None:
    """Add lines to `info/exclude` of the common directory, for revisions without our rules."""
    wanted = [anchored(line, git.prefix) for line in lines]

    def add(old: list[str]) -> list[str]:
        return [*old, *_in_order(wanted, old)]

    _edit_exclude(git, add)


def include_privately(git: Git, lines: Sequence[str]) -> None:
    """Take lines out of `info/exclude` again."""
    gone = {anchored(line, git.prefix) for line in lines}
    _edit_exclude(git, lambda old: [line for line in old if line not in gone])


def _edit_exclude(git: Git, edit: Callable[[list[str]], list[str]]) -> None:
    """Edit `info/exclude`, which all worktrees share: one at a time, or lines would be lost."""
    place = git.common_dir / "info" / "exclude"
    with held(git.whole.shared / "lock-exclude", "another devml-git is writing info/exclude"):
        old = place.read_text("utf-8", "surrogateescape").splitlines() if place.exists() else []
        new = edit(old)
        if new != old:
            data = "".join(f"{line}\n" for line in new).encode("utf-8", "surrogateescape")
            write_text_safely(git.common_dir, "info/exclude", data, create=True)


def edit_lines(journal: Journal, file: str, edit: Callable[[list[str]], list[str]]) -> list[str]:
    """Edit a `.gitignore` or the like; return it for staging if the user has no edits there."""
    there = read_text(journal.git.top, file)
    old = there or b""
    lines = old.decode("utf-8", "surrogateescape").split("\n")
    ends = lines.pop() if lines else ""
    new = edit([*lines, *([ends] if ends else [])])
    data = "".join(f"{line}\n" for line in new).encode("utf-8", "surrogateescape")
    if data == old or (ends and data == old + b"\n"):
        return []
    users_own = journal.git.file_differs_from_index(file)
    if not data and there is not None:
        journal.remove(file)
    else:
        journal.write(file, data)
    return [] if users_own else [file]

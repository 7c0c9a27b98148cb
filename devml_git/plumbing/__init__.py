"""The only door to the git program (and, for hooks, to any other process).

Lists as arguments, `-z` everywhere, revisions resolved to object ids before they are used, no
prompts, bytes in and text out (UTF-8 with surrogateescape, so that any file name survives).

Each module is a class upon the one before: `calls`, `settings`, `objects`, `past`, `exchange`,
`staging`, `aside`. Here they are put together as `Git`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from devml_git.errors import GitFailed, NotARepository
from devml_git.gate import shown
from devml_git.plumbing.aside import Aside
from devml_git.plumbing.names import (
    LINK_MODE,
    NULL_MODE,
    POINTER_PATHSPECS,
    PROJECT_PATHSPEC,
    YAML_PATHSPECS,
    ChangedBlob,
    IndexEntry,
    anchored,
    is_lock,
    is_pointer_file,
)
from devml_git.plumbing.programs import (
    Conversation,
    Process,
    clone,
    command_by_ps,
    decode,
    foreign_environment,
    git_version,
    isolated_python,
    read_as_published,
    require_git,
    run_program,
    start_pager,
)

__all__ = [
    "LINK_MODE", "NULL_MODE", "POINTER_PATHSPECS", "PROJECT_PATHSPEC", "YAML_PATHSPECS",
    "ChangedBlob", "Conversation", "Git", "IndexEntry", "Process", "anchored", "clone",
    "command_by_ps", "decode",
    "foreign_environment", "git_version", "is_lock", "is_pointer_file", "isolated_python",
    "read_as_published", "require_git", "run_program", "start_pager",
]  # fmt: skip

_HALF_WAY = {
    "rebase-merge": "a rebase", "rebase-apply": "a rebase or am", "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick", "REVERT_HEAD": "a revert",
    "sequencer": "a row of cherry-picks or reverts",
}  # fmt: skip


def _no_worktree(cwd: Path, cause: GitFailed) -> NotARepository:
    """Say why there is no workspace at a directory."""
    if "must be run in a work tree" in cause.stderr:
        if Git(cwd).out("rev-parse", "--is-bare-repository").strip() == "true":
            return NotARepository(
                "this is a bare repository: it has no workspace",
                hint="git worktree add ../work   and cd there, or run this in a clone",
            )
        return NotARepository("this is git's own directory", hint="cd to the workspace")
    if "not a git repository" not in cause.stderr:
        return NotARepository(cause.stderr.strip() or "git refuses this directory")
    return NotARepository(
        f"{shown(cwd)} is not in a git repository", hint="git init && devml-git init"
    )


class Git(Aside):
    """One DVC project in a worktree, seen through the git program, which runs at its root."""

    @classmethod
    def discover(cls, start: Path | None = None) -> Git:
        """Return the project that `start` (default: the current directory) lies in.

        That is the nearest directory upwards with a `.dvc`; without one, the worktree's root.
        Raises NotARepository outside of one, in a bare repository, and inside `.git`.
        """
        cwd = start or Path.cwd()
        try:
            answer = cls(cwd).out("rev-parse", "--is-inside-work-tree", "--show-toplevel")
        except GitFailed as e:
            raise _no_worktree(cwd, e) from e
        inside, _, top = answer.rstrip("\n").partition("\n")
        if inside != "true":
            raise NotARepository(f"{shown(cwd)} is outside of the workspace {shown(top)}")
        root = Path(top)
        here = Path(os.path.realpath(cwd))
        for place in (here, *here.parents):
            if place == root or not place.is_relative_to(root):
                break
            if (place / ".dvc").is_dir():
                return cls(root).project(place)
        return cls(root)

    def project(self, place: Path) -> Git:
        """Return the project whose root is `place`, a directory of this worktree."""
        prefix = place.relative_to(self.worktree).as_posix()
        return self.whole if prefix == "." else Git(place, f"{prefix}/")

    def projects(self) -> list[Git]:
        """Return every project of this worktree: the root's, those in the index, those known."""
        root = self.whole
        held = self._places_in_index()
        below = set(held)
        with contextlib.suppress(OSError):
            keys = [p.name for p in (root.git_dir / "devml" / "projects").iterdir()]
            below.update(k.replace("%2F", "/").replace("%25", "%") for k in keys)
        top = os.path.realpath(root.top)
        return [
            root.project(root.top / place)
            for place in sorted(below | {""})
            if ((root.top / place / ".dvc").is_dir() or place in held)
            and (root.top / place).is_dir()
            and os.path.realpath(root.top / place) == os.path.normpath(os.path.join(top, place))
        ]

    def projects_not_here(self) -> list[str]:
        """Return the projects whose directory a sparse checkout has left out, from the root."""
        top = self.whole.top
        return sorted(place for place in self._places_in_index() if not (top / place).is_dir())

    def _places_in_index(self) -> set[str]:
        listed = self.whole.names("ls-files", "-z", "--", PROJECT_PATHSPEC)
        return {name.removesuffix(".dvc/config").rstrip("/") for name in listed}

    def half_way(self) -> bool:
        """Whether a rebase or am stands half-way; a merge or cherry-pick does not count."""
        return any((self.git_dir / name).exists() for name in ("rebase-merge", "rebase-apply"))

    def stands_half_way(self) -> str | None:
        """Return what of git's stands half-way here, in words, or None; a bisect does not count."""
        for name, words in _HALF_WAY.items():
            if (self.git_dir / name).exists():
                return words
        return "a conflict" if self.whole.names("ls-files", "-u", "-z") else None

    def last_patch(self) -> bool:
        """Whether `git am` is at its last patch; a `rebase --apply`, which ends later, is not."""
        state = self.git_dir / "rebase-apply"
        with contextlib.suppress(OSError):
            ends = (state / "next").read_text() == (state / "last").read_text()
            return ends and (state / "applying").exists()
        return False

    def nothing_to_pick(self) -> bool:
        """Whether a rebase has no step left: where it never had one, no post-rewrite follows."""
        with contextlib.suppress(OSError):
            return not (self.git_dir / "rebase-merge" / "git-rebase-todo").read_bytes().strip()
        return False

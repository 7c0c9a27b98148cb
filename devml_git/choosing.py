"""Which commits a walk goes over, and which of them it tells: git log's revisions and options."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devml_git import gate, gitstream
from devml_git.errors import UsageError

if TYPE_CHECKING:
    from devml_git.errors import DevmlError, GitFailed
    from devml_git.plumbing import Git


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which commits: `revs` and ranges as git takes them (none: HEAD), and git log's own options.

    `paths` are artifacts, members, files or directories relative to the root (none: all).
    `merges` keeps only (True) or leaves out (False) merges; `topo` is `--topo-order`, `alone` takes
    the revs themselves and nothing that they reach.
    """

    revs: tuple[str, ...] = ()
    everything: bool = False
    first_parent: bool = False
    since: str | None = None
    until: str | None = None
    author: str | None = None
    grep: str | None = None
    merges: bool | None = None
    paths: tuple[str, ...] = ()
    topo: bool = False
    alone: bool = False


def explained(git: Git, chosen: Chosen, error: GitFailed) -> DevmlError:
    """Return the error to raise: what git does not know as a revision is the user's mistake."""
    if re.search(r"(command line|header), '", error.message):  # of --grep, of --author
        return UsageError(f"no regular expression: {error.message}", hint="man git-log")
    for rev in chosen.revs or (() if chosen.everything else ("HEAD",)):
        ends = [end for end in re.split(r"\.{2,3}", rev.removeprefix("^")) if end]
        for end in ends:
            if git.commit_of(end) is None:
                return unknown_revision(git, end)
    return error


def unknown_revision(git: Git, rev: str, command: str = "log") -> UsageError:
    """Return the error for what names no commit, but may be a range or a path."""
    if (".." in rev or rev.startswith("^")) and git.names_commits(rev):
        return UsageError(
            f"'{gate.shown(rev)}' is a range: one revision is asked for",
            hint=f"devml-git log {gate.quoted(rev)}",
        )
    if rev not in {"", "HEAD"} and "\0" not in rev and os.path.lexists(git.top / rev):
        return UsageError(
            f"'{gate.shown(rev)}' is a path, not a revision",
            hint=f"devml-git {command} -- {gate.quoted(rev)}",
        )
    return git.unknown(rev)


def arguments(chosen: Chosen) -> list[str]:
    """Return git log's arguments for which commits are walked over."""
    args = ["--date-order"] if chosen.topo else []
    args += ["--first-parent"] if chosen.first_parent else []
    args += ["--no-walk=sorted"] if chosen.alone else []
    args += [f"--since={chosen.since}"] if chosen.since else []
    # snapshots between commits are no history: they are asked for by name
    args += ["--exclude=refs/devml/*", "--all"] if chosen.everything else []
    revs = chosen.revs or (() if chosen.everything else ("HEAD",))
    return [*args, "--end-of-options", *revs, "--"]


class Sieve:
    """Which commits git keeps by author, message, time and number of parents.

    The walk itself goes over all of them, so that what is known of a tree is handed on without a
    gap; a `git rev-list` beside it lists, in the same order, those to keep.
    """

    def __init__(self, git: Git, chosen: Chosen) -> None:
        options = [f"--until={chosen.until}"] if chosen.until else []
        options += [f"--author={chosen.author}"] if chosen.author else []
        options += [f"--grep={chosen.grep}"] if chosen.grep else []
        only = "--merges" if chosen.merges else "--no-merges"
        options += [] if chosen.merges is None else [only]
        self.empty = False
        self._kept = gitstream.ids(git, [*options, *arguments(chosen)]) if options else None
        self._next: str | None = None

    def keeps(self, commit: str) -> bool:
        """Whether this is the next commit to keep."""
        if self._kept is None:
            return True
        if self._next is None:
            self._next = next(self._kept, None)
            self.empty = self._next is None
        if self._next != commit:
            return False
        self._next = None
        return True

    def close(self) -> None:
        """End the process."""
        if self._kept is not None:
            self._kept.close()

"""What a walk knows of commits' trees, handed on from child to parents: git is hardly asked."""

from __future__ import annotations

import posixpath
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from devml_git.gitstream import Row
    from devml_git.plumbing import Git

_KNOWN = 20_000  # commits whose tree is known and that have not been met yet


class Tree:
    """What is known of one commit's tree: blob id by path, "" for a path that is not there.

    All files that `candidate` is true of are known, others from when they were asked for.
    `facts` may be shared with other commits and is never changed, only replaced.
    """

    def __init__(self, git: Git, commit: str, facts: dict[str, str]) -> None:
        self.commit = commit
        self.facts = facts
        self._git = git

    def blobs(self, paths: Sequence[str], named: Callable[[str], bool]) -> dict[str, str]:
        """Return the blob ids at these paths; `named` is true of those that are known anyway."""
        asked = [p for p in paths if p not in self.facts and not named(p)]
        if asked:
            self.facts = {**self.facts, **self._git.blobs_at(self.commit, asked)}
        return {path: self.facts.get(path, "") for path in paths}


class Trees:
    """The trees of a walk: each commit's facts are handed on to its parents."""

    def __init__(self, git: Git, named: Callable[[str], bool]) -> None:
        self._git = git
        self._named = named
        self._facts: OrderedDict[str, dict[str, str]] = OrderedDict()

    def at(self, commit: str) -> Tree:
        """Return the tree of a commit; git is asked for it where no child has handed it on."""
        facts = self._facts.pop(commit, None)
        if facts is None:
            facts = {}
            for line in self._git.names("ls-tree", "-r", "-z", commit):
                meta, _, path = line.partition("\t")
                if self._named(path) and meta.startswith("100"):
                    facts[path] = meta.split(" ")[2]
        return Tree(self._git, commit, facts)

    def parent(self, tree: Tree, parent: str, rows: Iterable[Row]) -> Tree:
        """Return a parent's tree, and remember it for when the walk comes there."""
        facts = tree.facts
        for row in rows:
            if row.path in facts or self._named(row.path):
                facts = dict(facts) if facts is tree.facts else facts
                facts[row.path] = row.old
            if not (row.old and row.new):
                facts = self._without_above(row.path, facts, tree.facts)
        self._facts[parent] = facts
        if len(self._facts) > _KNOWN:
            self._facts.popitem(last=False)
        return Tree(self._git, parent, facts)

    def _without_above(
        self, path: str, facts: dict[str, str], shared: dict[str, str]
    ) -> dict[str, str]:
        """Forget whether the directories above a file are there."""
        while path := posixpath.dirname(path):
            if path in facts:
                facts = dict(facts) if facts is shared else facts
                del facts[path]
        return facts

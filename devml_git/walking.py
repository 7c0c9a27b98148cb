"""History in terms of artifacts: one walk that yields, for each commit, what it changed.

One `git log --raw` tells which files each commit changed, one `git cat-file` the pointers' texts.
Everything else follows from these: what is known of a commit's tree is handed on to its parents
by the very rows that tell how they differ, so that no commit is asked about twice.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from devml_git import bounds, gate, gitstream, measures
from devml_git.changing import Commit, differing, with_moves
from devml_git.choosing import Chosen, Sieve, arguments, explained
from devml_git.errors import GitFailed, Refused
from devml_git.following import Following
from devml_git.likeness import Likeness
from devml_git.measures import Measures
from devml_git.measuring import candidate, measure
from devml_git.nouns import Broken, Snapshot
from devml_git.plumbing import is_pointer_file
from devml_git.treefacts import Tree, Trees
from devml_git.treereading import Files, TreeReader, nested

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from devml_git.cache import Cache
    from devml_git.changing import Change
    from devml_git.config import Config
    from devml_git.gitstream import Entry, Row
    from devml_git.nouns import Pointer
    from devml_git.plumbing import Git

_AT_ONCE = 256  # commits whose blobs are read together
_NOTHING = Measures()


def walk(
    git: Git, config: Config, chosen: Chosen, *, cache: Callable[[], Cache] | None = None
) -> Generator[Commit]:
    """Yield commits, newest first, each as soon as it is known. Close the iterator to end early.

    `cache` opens DVC's cache, for metrics and members that are in it. Raises UsageError for what
    git does not know as a revision, GitFailed.
    """
    with (
        contextlib.closing(_Walk(git, config, chosen, cache)) as walking,
        contextlib.closing(Sieve(git, chosen)) as sieve,
    ):
        following = Following(chosen.paths, cache) if chosen.paths else None
        try:
            for commit in walking.commits():
                told = following.told(commit, walking.rows) if following else commit
                if sieve.keeps(commit.entry.commit) and told is not None:
                    yield told
                if sieve.empty:
                    return
        except GitFailed as e:
            raise explained(git, chosen, e) from e


def snapshot(git: Git, config: Config, commit: str) -> Snapshot:
    """Return the snapshot of a commit (a full id) by what its own tree says, and nothing else."""
    with contextlib.closing(_Walk(git, config, Chosen(), None)) as walking:
        return walking.snapshot(commit)


# -- the walk ------------------------------------------------------------------------------------


class _Walk:
    """One walk: its processes, and what has been read."""

    def __init__(
        self, git: Git, config: Config, chosen: Chosen, cache: Callable[[], Cache] | None
    ) -> None:
        self.git = git
        self.config = config
        self.chosen = chosen
        self.cache = cache
        self.rows: dict[str, tuple[Row, ...]] = {}  # of the commit just yielded, by parent
        by_name = candidate(config)
        self.named: Callable[[str], bool] = lambda path: (
            by_name(path) or path.endswith(("/.dvc/config", ".dvcignore"))
        )
        self.trees = Trees(git, self.named)
        self.reader = TreeReader(git, self.named)
        self.differences = gitstream.Differences(git)
        self.shallow = git.shallow
        self.alike = Likeness(cache, git.common_dir / "devml")
        self._measured: tuple[dict[str, str], Measures] = ({}, _NOTHING)

    def close(self) -> None:
        """End the processes."""
        self.reader.close()
        self.differences.close()

    def commits(self) -> Iterator[Commit]:
        """Yield the commits."""
        entries = gitstream.commits(self.git, arguments(self.chosen))
        with contextlib.closing(entries):
            for entry in self._read_ahead(entries):
                yield self._commit(entry)

    def _read_ahead(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        """Read the blobs of many commits at once: one at first, so that the first is told at once.

        A partial clone fetches them so, too; git itself would fetch one by one.
        """
        size = 1
        while chunk := list(itertools.islice(entries, size)):
            rows = [r for e in chunk for r in e.rows or () if self._of_interest(r.path)]
            self.reader.objects.ahead(blob for row in rows for blob in (row.old, row.new))
            yield from chunk
            size = min(size * 4, _AT_ONCE)

    def _of_interest(self, path: str) -> bool:
        facts = self._measured[0]
        return path in facts or is_pointer_file(path) or self.named(path)

    def _commit(self, entry: Entry) -> Commit:
        bounds.renew(dvc=True)  # a history may be long, and each commit is told at once
        tree = self.trees.at(entry.commit)
        notes: list[str] = []
        self.rows = self._differences(entry)
        measured = self._measures(tree)
        if entry.commit in self.shallow:
            notes.append("what came before is not here: a shallow clone ends at this commit")
            return Commit(entry, measures=measured, notes=tuple(notes), cut=True)
        against = []
        parent_measures = _NOTHING
        for n, (parent, rows) in enumerate(self.rows.items()):
            before = self.trees.parent(tree, parent, rows) if parent else Tree(self.git, "", {})
            against.append((parent, self._changes(tree, before, rows, notes)))
            if parent:
                parent_measures = parent_measures if n else self._measures(before)
                self.trees.parent(before, parent, ())  # with what has been asked for since
        return Commit(
            entry,
            changes=against[0][1] if against else (),
            against=tuple(against) if len(against) > 1 else (),
            measures=measured,
            metrics=tuple(measures.changes(parent_measures.metrics, measured.metrics)),
            params=tuple(measures.changes(parent_measures.params, measured.params)),
            notes=tuple(notes),
        )

    def _differences(self, entry: Entry) -> dict[str, tuple[Row, ...]]:
        """Return what the commit has otherwise than each parent ("": there is none)."""
        if entry.rows is not None:
            return {entry.parents[0] if entry.parents else "": entry.rows}
        above = entry.parents[:1] if self.chosen.first_parent else entry.parents
        return {p: self.differences.between(entry.commit, p) for p in dict.fromkeys(above)}

    # -- pointers ----------------------------------------------------------------------------

    def snapshot(self, commit: str) -> Snapshot:
        """Return all pointers of a commit's tree, and the files that cannot be followed."""
        tree = self.trees.at(commit)
        found: dict[str, Pointer] = {}
        broken = []
        entries = self.git.tree_entries(commit)
        self.reader.objects.ahead(e.blob for e in entries)
        for entry in entries:
            try:
                found |= self.reader.pointers_of(tree, entry.path, entry.blob)
            except Refused as e:
                why = e.message.removeprefix(f"{gate.shown(entry.path)}: ")
                broken.append(Broken(entry.path, why))
        return Snapshot(found, tuple(broken))

    def _changes(
        self, tree: Tree, before: Tree, rows: Iterable[Row], notes: list[str]
    ) -> tuple[Change, ...]:
        old: dict[str, Pointer] = {}
        new: dict[str, Pointer] = {}
        theirs = nested(tree)
        files = [(r.path, r.old, r.new) for r in rows if is_pointer_file(r.path)]
        files += [(file, blob, blob) for file, blob in self.reader.locks_meant(tree, rows)]
        for file, was, is_now in files:
            if not file.startswith(theirs):
                now = self._side(tree, file, is_now, notes)
                if now is not None:
                    new |= now
                    old |= self._side(before, file, was, []) or {}
        return with_moves(differing(old, new), self.alike)

    def _side(
        self, tree: Tree, file: str, blob: str, notes: list[str]
    ) -> dict[str, Pointer] | None:
        """Return the pointers that a file holds in a commit; None, and a note, if it is broken."""
        if not blob:
            return {}
        try:
            return self.reader.pointers_of(tree, file, blob)
        except Refused as e:
            notes.append(f"cannot be followed: {e.message}")
            return None

    # -- metrics and parameters --------------------------------------------------------------

    def _measures(self, tree: Tree) -> Measures:
        facts, known = self._measured
        if facts is tree.facts and known is not _NOTHING:
            return known
        found = measure(self.config, Files(self.reader, tree, self.cache))
        self._measured = (tree.facts, found)
        return found

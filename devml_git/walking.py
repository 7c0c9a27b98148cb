"""History in terms of artifacts: one walk that yields, for each commit, what it changed.

One `git log --raw` tells which files each commit changed, one `git cat-file` the pointers' texts.
Everything else follows from these: what is known of a commit's tree is handed on to its parents
by the very rows that tell how they differ, so that no commit is asked about twice.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import posixpath
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from devml_git import gate, gitstream, measures, pointers
from devml_git.errors import DevmlError, GitFailed, Refused, UsageError
from devml_git.following import Following
from devml_git.measures import MAX_BYTES, Measures
from devml_git.measuring import Stored, candidate, declared, measure
from devml_git.nouns import Broken, Snapshot
from devml_git.plumbing import is_lock, is_pointer_file
from devml_git.treefacts import Tree, Trees

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from devml_git.cache import Cache
    from devml_git.config import Config
    from devml_git.gitstream import Entry, Row
    from devml_git.measures import Measured
    from devml_git.nouns import Pointer
    from devml_git.plumbing import Git

_READ = 4096  # pointer files that are kept
_AT_ONCE = 256  # commits whose blobs are read together
_NOTHING = Measures()


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


@dataclass(frozen=True, slots=True)
class Change:
    """An artifact that a commit has otherwise than its parent. `path` is relative to the root; a
    side is None where there is no such artifact. `moved_from` is where the same artifact lay.
    """

    path: str
    old: Pointer | None
    new: Pointer | None
    moved_from: str | None = None

    @property
    def kind(self) -> str:
        """One of product.md's words: added, modified, deleted."""
        return "added" if self.old is None else "deleted" if self.new is None else "modified"

    def to_dict(self, prefix: str = "") -> dict[str, Any]:
        """Return one entry of product.md's `changes`; `prefix` is the project's place."""
        sides = {"old": self.old, "new": self.new}
        described = {k: {"oid": p.oid, "size": p.size} if p else None for k, p in sides.items()}
        moved = {"moved_from": prefix + self.moved_from} if self.moved_from else {}
        return {"path": prefix + self.path, "change": self.kind, **described, **moved}


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of the walk.

    `changes`, and what changed in `metrics` and `params`, are against the first parent;
    `against` has, for a merge, each parent and the changes against it. `measures` is all that the
    commit has of both. `notes` say what could not be followed; `cut` is whether a shallow clone
    ends here: its parents are not known.
    """

    entry: Entry
    changes: tuple[Change, ...] = ()
    against: tuple[tuple[str, tuple[Change, ...]], ...] = ()
    measures: Measures = field(default=_NOTHING, repr=False)
    metrics: tuple[Measured, ...] = ()
    params: tuple[Measured, ...] = ()
    notes: tuple[str, ...] = ()
    cut: bool = False

    def to_dict(self, prefix: str = "") -> dict[str, Any]:
        """Return one entry of product.md's `devml.log/v1`; `prefix` is the project's place."""
        e = self.entry
        found: dict[str, Any] = {
            "commit": e.commit, "parents": list(e.parents), "author": f"{e.author} <{e.email}>",
            "date": e.date, "subject": e.subject,
            "changes": [c.to_dict(prefix) for c in self.changes],
        }  # fmt: skip
        for kind, files in self.measures.to_dict().items():
            found[kind] = {prefix + file: table for file, table in files.items()}
        if self.against:
            found["against"] = [
                {"parent": parent, "changes": [c.to_dict(prefix) for c in changes]}
                for parent, changes in self.against
            ]
        notes = [*self.notes, *self.measures.notes]
        return found | ({"notes": notes} if notes else {})


def walk(
    git: Git, config: Config, chosen: Chosen, *, cache: Callable[[], Cache] | None = None
) -> Generator[Commit]:
    """Yield commits, newest first, each as soon as it is known. Close the iterator to end early.

    `cache` opens DVC's cache, for metrics and members that are in it. Raises UsageError for what
    git does not know as a revision, GitFailed.
    """
    with (
        contextlib.closing(_Walk(git, config, chosen, cache)) as walking,
        contextlib.closing(_Sieve(git, chosen)) as sieve,
    ):
        following = Following(chosen.paths, cache) if chosen.paths else None
        try:
            for commit in walking.commits():
                kept = following is None or following.keeps(commit, walking.rows)
                if sieve.keeps(commit.entry.commit) and kept:
                    yield commit
                if sieve.empty:
                    return
        except GitFailed as e:
            raise _explained(git, chosen, e) from e


def snapshot(git: Git, config: Config, commit: str) -> Snapshot:
    """Return the snapshot of a commit (a full id) by what its own tree says, and nothing else."""
    with contextlib.closing(_Walk(git, config, Chosen(), None)) as walking:
        return walking.snapshot(commit)


def _explained(git: Git, chosen: Chosen, error: GitFailed) -> DevmlError:
    """Return the error to raise: what git does not know as a revision is the user's mistake."""
    if re.search(r"(command line|header), '", error.message):  # of --grep, of --author
        return UsageError(f"no regular expression: {error.message}", hint="man git-log")
    for rev in chosen.revs or (() if chosen.everything else ("HEAD",)):
        ends = [end for end in re.split(r"\.{2,3}", rev.removeprefix("^")) if end]
        for end in ends:
            if git.commit_of(end) is None:
                return unknown_revision(git, end)
    return error


def unknown_revision(git: Git, rev: str) -> UsageError:
    """Return the error for what names no commit, but may be a path."""
    if rev not in {"", "HEAD"} and "\0" not in rev and os.path.lexists(git.top / rev):
        return UsageError(
            f"{gate.shown(rev)!r} is a path, not a revision",
            hint=f"devml-git log -- {gate.shown(rev)}",
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


class _Sieve:
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
            by_name(path) or path.endswith("/.dvc/config")
        )
        self.trees = Trees(git, self.named)
        self.objects = gitstream.Objects(git)
        self.differences = gitstream.Differences(git)
        self.shallow = git.shallow
        self._pointers: OrderedDict[Any, dict[str, Pointer] | str] = OrderedDict()
        self._measured: tuple[dict[str, str], Measures] = ({}, _NOTHING)

    def close(self) -> None:
        """End the processes."""
        self.objects.close()
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
            self.objects.ahead(blob for row in rows for blob in (row.old, row.new))
            yield from chunk
            size = min(size * 4, _AT_ONCE)

    def _of_interest(self, path: str) -> bool:
        facts = self._measured[0]
        return path in facts or is_pointer_file(path) or self.named(path)

    def _commit(self, entry: Entry) -> Commit:
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
            against.append((parent, tuple(self._changes(tree, before, rows, notes))))
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
        self.objects.ahead(e.blob for e in entries)
        for entry in entries:
            try:
                found |= self.pointers_of(tree, entry.path, entry.blob)
            except Refused as e:
                why = e.message.removeprefix(f"{gate.shown(entry.path)}: ")
                broken.append(Broken(entry.path, why))
        return Snapshot(found, tuple(broken))

    def _changes(
        self, tree: Tree, before: Tree, rows: Iterable[Row], notes: list[str]
    ) -> Iterator[Change]:
        old: dict[str, Pointer] = {}
        new: dict[str, Pointer] = {}
        theirs = self._nested(tree)
        for row in rows:
            if is_pointer_file(row.path) and not row.path.startswith(theirs):
                now = self._side(tree, row.path, row.new, notes)
                if now is not None:
                    new |= now
                    old |= self._side(before, row.path, row.old, []) or {}
        found = [
            Change(path, old.get(path), new.get(path))
            for path in sorted({*old, *new})
            if not _same(old.get(path), new.get(path))
        ]
        return _with_moves(found)

    def _nested(self, tree: Tree) -> tuple[str, ...]:
        """Return the places of the projects below this one: what lies there is theirs."""
        ends = ".dvc/config"
        return tuple(p.removesuffix(ends) for p in tree.facts if p.endswith(f"/{ends}"))

    def _side(
        self, tree: Tree, file: str, blob: str, notes: list[str]
    ) -> dict[str, Pointer] | None:
        """Return the pointers that a file holds in a commit; None, and a note, if it is broken."""
        if not blob:
            return {}
        try:
            return self.pointers_of(tree, file, blob)
        except Refused as e:
            notes.append(f"cannot be followed: {e.message}")
            return None

    def pointers_of(self, tree: Tree, file: str, blob: str) -> dict[str, Pointer]:
        """Return the pointers of a file in a commit, by artifact path. Raises Refused."""
        key: Any = (file, blob)
        text = None
        if is_lock(file):
            text = self._text(file, blob)
            held = self._not_ours(tree, pointers.lock_paths(file, text))
            key = (file, blob, held)
        known = self._pointers.get(key)
        if known is None:
            try:
                known = self._read(file, self._text(file, blob) if text is None else text, key)
            except Refused as e:
                known = e.message
            self._pointers[key] = known
            if len(self._pointers) > _READ:
                self._pointers.popitem(last=False)
        if isinstance(known, str):
            raise Refused(known)
        return known

    def _read(self, file: str, text: bytes, key: Any) -> dict[str, Pointer]:  # noqa: ANN401
        if is_lock(file):
            decoded = text.decode("utf-8", "replace")
            stage = pointers.PipelineOut(stage="")
            found = pointers.read_lock(
                file, decoded, lambda path: None if path in key[2] else stage
            )
        else:
            found = pointers.read(file, text)
        return {p.path: p for p in found}

    def _not_ours(self, tree: Tree, outs: Sequence[str]) -> frozenset[str]:
        """Return which locked outputs DVC does not cache.

        That commit's `dvc.yaml` says so; what it does not name (a template) is cached unless git
        holds it.
        """
        cached: dict[str, bool] = {}
        for file, blob in tree.facts.items():
            if file.rsplit("/", 1)[-1] == "dvc.yaml" and blob:
                with contextlib.suppress(Refused):
                    cached |= declared(file, self._text(file, blob)).outs
        unnamed = tree.blobs([path for path in outs if path not in cached], lambda _: False)
        cached |= {path: not blob for path, blob in unnamed.items()}
        return frozenset(path for path in outs if not cached[path])

    def _text(self, file: str, blob: str, limit: int = gate.MAX_POINTER_BYTES) -> bytes:
        """Return a blob's content. Raises Refused, naming the file."""
        try:
            text = self.objects.text(blob, limit)
        except Refused as e:
            raise Refused(f"{gate.shown(file)}: {e.message}") from e
        if text is None:
            why = (
                "not here, and the git remote did not send it" if self.objects.withheld else "gone"
            )
            raise Refused(f"{gate.shown(file)}: {why}")
        return text

    # -- metrics and parameters --------------------------------------------------------------

    def _measures(self, tree: Tree) -> Measures:
        facts, known = self._measured
        if facts is tree.facts and known is not _NOTHING:
            return known
        found = measure(self.config, _Reader(self, tree))
        self._measured = (tree.facts, found)
        return found


class _Reader:
    """A commit's files, for `measuring`."""

    def __init__(self, walking: _Walk, tree: Tree) -> None:
        self._walk = walking
        self._tree = tree

    def names(self) -> Iterable[str]:
        """Return the files that are known by their name."""
        theirs = self._walk._nested(self._tree)  # noqa: SLF001
        return [p for p, blob in self._tree.facts.items() if blob and not p.startswith(theirs)]

    def text(self, path: str) -> bytes | None:
        """Return a file's content, from git or from DVC's cache. Raises Refused."""
        named = self._walk.named if self._walk.named(path) else lambda _: False
        blob = self._tree.blobs([path], named)[path]
        if blob:
            return self._walk._text(path, blob, MAX_BYTES)  # noqa: SLF001
        cache = self._walk.cache
        return Stored(cache, self._pointer).text(path) if cache is not None else None

    def _pointer(self, place: str) -> Pointer | None:
        """Return the pointer of an artifact; by DVC's custom a `.dvc` file lies beside it."""
        if place in self._locked:
            return self._locked[place]
        file = f"{place}.dvc"
        blob = self._tree.blobs([file], lambda _: False)[file]
        return self._walk.pointers_of(self._tree, file, blob).get(place) if blob else None

    @cached_property
    def _locked(self) -> dict[str, Pointer]:
        found: dict[str, Pointer] = {}
        for file, blob in self._tree.facts.items():
            if is_lock(file) and blob:
                found |= self._walk.pointers_of(self._tree, file, blob)
        return found


# -- changes -------------------------------------------------------------------------------------


def _same(old: Pointer | None, new: Pointer | None) -> bool:
    if old is None or new is None:
        return old is new
    return (old.oid, old.executable, old.size) == (new.oid, new.executable, new.size)


def _with_moves(changes: Sequence[Change]) -> Iterator[Change]:
    """Yield changes; an added artifact says where a deleted one had the same content or name."""
    gone = [c for c in changes if c.new is None]
    for change in changes:
        source = _source(change, gone) if change.old is None else None
        if source is None:
            yield change
        else:
            gone.remove(source)
            yield Change(change.path, None, change.new, moved_from=source.path)


def _source(change: Change, gone: Sequence[Change]) -> Change | None:
    assert change.new is not None
    name = posixpath.basename(change.path)
    alike = [c for c in gone if c.old is not None and c.old.oid == change.new.oid]
    alike += [c for c in gone if posixpath.basename(c.path) == name]
    return alike[0] if alike else None

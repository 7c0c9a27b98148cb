"""The two sides of a comparison: a commit, the index, or what lies in the workspace.

A side knows its artifacts as pointers, and where their files can be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from devml_git import gate, measuring, savepoints
from devml_git.choosing import unknown_revision
from devml_git.errors import UsageError
from devml_git.measures import flatten
from devml_git.nouns import Pointer, State
from devml_git.tree import read_index
from devml_git.wording import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from devml_git.contents import Contents
    from devml_git.measures import Measures
    from devml_git.nouns import Broken, Snapshot
    from devml_git.savepoints import Savepoint
    from devml_git.scan import Work
    from devml_git.workspace import Observed, Workspace

WORKTREE = "worktree"
INDEX = "index"
SNAPSHOT = "snapshot"  # stands for a file's name with metrics that a snapshot was told


@dataclass(slots=True)
class Side:
    """One side: `name` is a commit's id, "index" or "worktree"; `notes` say what is left out.

    `works` is what lies in the workspace, for artifacts whose content is read there; `point` is the
    snapshot between commits that the commit is; `unread` are pointer files that cannot be followed.
    """

    name: str
    pointers: Mapping[str, Pointer]
    contents: Contents
    notes: list[str] = field(default_factory=list)
    works: dict[str, Work] = field(default_factory=dict)
    point: Savepoint | None = None
    unread: frozenset[str] = frozenset()

    def measures(self) -> Measures:
        """Return metrics and parameters, also those that a snapshot between commits was told."""
        ws = self.contents.ws
        stored = measuring.Stored(lambda: ws.cache, self.pointers.get)
        reader: measuring.Reader
        if self.name == WORKTREE:
            reader = measuring.Lying(ws.git)
        elif self.name == INDEX:
            reader = measuring.Staged(ws.git, stored)
        else:
            reader = measuring.Committed(ws.git, self.name, stored)
        found = measuring.measure(ws.config, reader)
        point = self.point
        if point is None or not point.metrics:
            return found
        return replace(found, metrics={**found.metrics, SNAPSHOT: flatten(point.metrics)})

    def members(self, path: str) -> dict[str, str]:
        """Return an artifact's files: name inside it ("" for a single file) to oid.

        Raises ContentLost where a directory's list of files is not here.
        """
        work = self.works.get(path)
        return dict(work.oids) if work else self.contents.members(self.pointers[path])

    def files(self, path: str, names: Collection[str]) -> dict[str, Path]:
        """Return where some of an artifact's files can be read. Raises ContentLost."""
        work = self.works.get(path)
        if work is None:
            return self.contents.files(self.pointers[path], names)
        root = self.contents.ws.root / path
        return {name: root / name if name else root for name in names}

    def size(self, path: str, name: str, oid: str) -> int | None:
        """Return the size of one file in bytes, or None where it is not known here."""
        work = self.works.get(path)
        if work is not None:
            return work.files[name].stat.size
        pointer, cache = self.pointers[path], self.contents.ws.cache
        if not name:
            return pointer.size
        return cache.size_of(oid, pointer.hash_name) if cache.has(oid, pointer.hash_name) else None


def commit_named(ws: Workspace, rev: str) -> str | None:
    """Return the commit that a revision, or the name of a snapshot between commits, means."""
    found = ws.git.commit_of(rev)
    if found is None:
        found = next((p.commit for p in savepoints.read(ws.git) if p.name == rev), None)
    return found


def of_commit(ws: Workspace, contents: Contents, rev: str) -> Side:
    """Return a commit, or a snapshot between commits. Raises UsageError for an unknown revision."""
    commit = commit_named(ws, rev)
    if commit is None and rev == "HEAD":
        raise UsageError("there is no commit yet", hint="devml-git diff --staged")
    if commit is None:
        raise unknown_revision(ws.git, rev, "diff")
    side = _side(commit, ws.snapshot_at(commit), contents)
    side.point = savepoints.at(ws.git, commit)
    if not side.pointers and not side.notes:
        side.notes.append(f"{gate.shown(rev)} has no artifacts: tracking began later, or elsewhere")
    return side


def before_all(ws: Workspace, contents: Contents) -> Side:
    """Return what lies before the first commit: nothing."""
    return Side(ws.git.empty_tree(), {}, contents)


def of_index(ws: Workspace, contents: Contents) -> Side:
    """Return what the next commit would have, were nothing more staged."""
    side = _side(INDEX, read_index(ws.git, ws.tree, ws.pipelines), contents)
    unmerged = [b for b in ws.tree.snapshot.broken if b.unmerged]
    side.notes += map(_left_out, unmerged)
    side.unread |= {b.file for b in unmerged}
    return side


def of_worktree(ws: Workspace, contents: Contents) -> Side:
    """Return what lies in the workspace, new matches of the track rules too.

    An artifact whose content never was here counts as what its pointer says.
    """
    snapshot = ws.tree.snapshot
    side = _side(WORKTREE, snapshot, contents)
    found = {path: p for path, p in side.pointers.items() if p.why_left_alone is not None}
    absent = []
    for o in ws.observe(check_cache=False):
        lying = _lying(o)
        if lying is not None:
            found[o.path] = lying
            side.works[o.path] = o.work
        elif o.work.odd:
            side.notes.append(f"{o.work.odd}: left out")
        elif o.pointer is not None and o.pointer.oid and o.state is not State.DELETED:
            found[o.path] = o.pointer
            absent.append(o.path)
    side.pointers = found
    side.notes += ws.unfit.values()
    if absent:
        side.notes.append(
            f"not in the workspace, taken as its pointer says: {listed(sorted(absent))}"
        )
    return side


def _side(name: str, snapshot: Snapshot, contents: Contents) -> Side:
    pointers = {path: p for path, p in snapshot.pointers.items() if p.oid is not None}
    notes = [_left_out(b) for b in snapshot.broken]
    unread = frozenset(b.file for b in snapshot.broken if not b.overlaps)
    return Side(name, pointers, contents, notes, unread=unread)


def _left_out(broken: Broken) -> str:
    return f"{gate.shown(broken.file)} {broken.why}: left out"


def _lying(o: Observed) -> Pointer | None:
    """Return what lies at an artifact's place, as a pointer would say it."""
    if o.work.odd or o.w is None:
        return None
    if o.pointer is not None and o.state is State.CLEAN:
        return o.pointer
    work = o.work
    nfiles = len(work.files) if work.kind == "dir" else None
    file = o.pointer.file if o.pointer else f"{o.path}.dvc"
    return Pointer(o.path, file, work.oid(), work.size, nfiles, work.executable())

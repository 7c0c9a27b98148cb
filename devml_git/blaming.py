"""Which commit last changed each tensor of a model: `git blame`, by the digests of tensors.

From child to parent, as git does it: a tensor that a parent has, too, is the parent's. Where the
model is the same content under another path there, it was renamed, and that path is followed; so
is one that was probably renamed and changed at once, and that is said.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from devml_git import models, pointers
from devml_git.changing import differing, with_moves
from devml_git.choosing import unknown_revision
from devml_git.contents import Contents
from devml_git.errors import DevmlError, Refused, UsageError
from devml_git.gate import MAX_POINTER_BYTES, quoted, shown
from devml_git.likeness import Likeness
from devml_git.summaries import Summaries, Summary, TensorSummary
from devml_git.summarising import UNREAD, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from devml_git.nouns import Pointer
    from devml_git.pointers import Outputs
    from devml_git.workspace import Workspace

_INDEX = ".index.json"  # a model in several files; the index says which
_AT_ONCE = 16  # versions of a pointer file in memory
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Blamed:
    """One tensor, and the commit that made it what it is at the revision asked for.

    `path` is the model's path in that commit. `possible` are older commits whose content is not
    here: it may have been one of these.
    """

    tensor: TensorSummary
    commit: str
    path: str
    possible: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return one entry of `devml.blame/v1`."""
        t = self.tensor
        return {
            "name": t.name, "dtype": t.dtype, "shape": list(t.shape), "digest": t.digest,
            "commit": self.commit, "path": self.path, "possible": list(self.possible),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Byline:
    """What is told of a commit: its author, date (ISO 8601) and subject."""

    author: str
    date: str
    subject: str


@dataclass(frozen=True, slots=True)
class Move:
    """A guess: `commit` probably moved the model from `source` to `path`, and changed it."""

    commit: str
    source: str
    path: str

    def to_dict(self) -> dict[str, str]:
        """Return one entry of `guessed_moves` in `devml.blame/v1`."""
        return {"commit": self.commit, "from": self.source, "to": self.path}


@dataclass(frozen=True, slots=True)
class Blame:
    """The answer: `tensors` in the model's order, `commits` by id those that are named; `moves`
    are guesses that it rests on.
    """

    commit: str
    path: str
    format: str
    tensors: tuple[Blamed, ...]
    commits: Mapping[str, Byline]
    moves: tuple[Move, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as `blame --json` prints it."""
        told = {
            c: {"author": b.author, "date": b.date, "subject": b.subject}
            for c, b in self.commits.items()
        }
        found: dict[str, Any] = {
            "schema": "devml.blame/v1", "commit": self.commit, "path": self.path,
            "format": self.format, "tensors": [t.to_dict() for t in self.tensors], "commits": told,
        }  # fmt: skip
        moves = [move.to_dict() for move in self.moves]
        return found | ({"guessed_moves": moves} if moves else {})


def blame(
    ws: Workspace, path: str, rev: str = "HEAD", names: Sequence[str] = (), *, fetch: bool = False
) -> Blame:
    """Return for each tensor of a model, as it is at `rev`, the commit that last changed it.

    `path` is an artifact or a file of one; `names` are tensors, prefixes (`encoder`) or patterns
    (`*.bias`), none: all. Raises UsageError for what is no model or has no such tensor, ContentLost
    where the model of `rev` itself is not here and not to be fetched.
    """
    commit = ws.git.commit_of(rev)
    if commit is None:
        raise unknown_revision(ws.git, rev, "blame")
    found = ws.snapshot_at(commit).holder(path)
    if found is None:
        hint = f"devml-git show {quoted(rev)}"
        raise UsageError(f"{shown(path)} is no artifact at {shown(rev)}", hint=hint)
    pointer, member = found
    reader = _Reader(ws, Contents(ws, fetch=fetch))
    summary = reader.read(pointer, member)
    if not summary.is_model:
        inside = _models_inside(reader, pointer, member)
        raise UsageError(f"{shown(path)} is {_no_model(summary)}", hint=inside)
    if not summary.tensors:
        raise UsageError(f"{shown(path)} ({summary.format}) has no tensors to tell apart")
    wanted = _chosen(summary.tensors, names)
    trail = _Trail(pointer.file, pointer.path, member)
    walk = _Walk(ws, reader)
    blamed = walk.run(commit, trail, wanted)
    lines = tuple(blamed[t.name] for t in wanted)
    named = sorted({c for line in lines for c in (line.commit, *line.possible)})
    titles, bylines = ws.git.titles(named), ws.git.bylines(named)
    told = {c: Byline(*bylines[c], titles[c]) for c in named}
    return Blame(commit, trail.name, summary.format, lines, told, tuple(walk.moves))


def _chosen(tensors: Sequence[TensorSummary], names: Sequence[str]) -> list[TensorSummary]:
    """Return the tensors that are meant. Raises UsageError for a name that means none."""
    meant: set[str] = set()
    for name in names:
        found = {
            t.name
            for t in tensors
            if t.name == name
            or t.name.startswith((f"{name}.", f"{name}/"))
            or fnmatch.fnmatchcase(t.name, name)
        }
        if not found:
            some = ", ".join(shown(t.name) for t in tensors[:_NAMED])
            more = ", ..." if len(tensors) > _NAMED else ""
            raise UsageError(f"no tensor is called {shown(name)}", hint=f"it has {some}{more}")
        meant |= found
    return [t for t in tensors if t.name in meant or not names]


def _no_model(summary: Summary) -> str:
    unread = next((line for line in summary.lines if line.startswith(UNREAD)), None)
    return unread or f"no model but {summary.format or 'none of the formats that are known'}"


def _models_inside(reader: _Reader, pointer: Pointer, member: str) -> str | None:
    """Return which files of a directory might have been meant."""
    if not pointer.is_dir or member:
        return None
    names = sorted(reader.contents.members(pointer))
    some = ", ".join(shown(f"{pointer.path}/{name}") for name in names[:_NAMED])
    return f"name one of its files: {some}" + (", ..." if len(names) > _NAMED else "")


# -- reading -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Reader:
    """Summaries of versions: kept ones, or read now."""

    ws: Workspace
    contents: Contents

    def read(self, pointer: Pointer, member: str) -> Summary:
        """Return what a version of the model is. Raises ContentLost, UsageError (no such file)."""
        if pointer.is_dir and not member:
            return Summary("a directory")
        members = self.contents.members(pointer)
        if member not in members:
            path = f"{pointer.path}/{member}"
            raise UsageError(f"{shown(path)} is no file of {shown(pointer.path)}")
        if not member.endswith(_INDEX):
            return self._file(pointer, member, members[member])
        shards = [self._file(pointer, n, members[n]) for n in self._shards(pointer, member)]
        return Summary(
            shards[0].format if shards else "an index of no files",
            tuple(t for shard in shards for t in shard.tensors),
            is_model=bool(shards) and all(shard.is_model for shard in shards),
        )

    def _file(self, pointer: Pointer, member: str, oid: str) -> Summary:
        store = Summaries(self.ws.git.common_dir / "devml")
        name = f"{pointer.path}/{member}" if member else pointer.path
        kept = store.get(oid, pointer.hash_name, name)
        if kept is not None:
            return kept
        (place,) = self.contents.files(pointer, [member]).values()
        found = summarise(place, name)
        store.put(oid, pointer.hash_name, name, found)
        return found

    def _shards(self, pointer: Pointer, member: str) -> list[str]:
        """Return the files that an index of a sharded model names and the artifact has."""
        (place,) = self.contents.files(pointer, [member]).values()
        above = member[: member.rfind("/") + 1]
        members = self.contents.members(pointer)
        try:
            return [name for n in models.shards(place) if (name := f"{above}{n}") in members]
        except models.Unreadable:
            return []


# -- walking -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Trail:
    """Where the model is on a stretch of history: pointer file, artifact, name inside it."""

    file: str
    path: str
    member: str

    @property
    def name(self) -> str:
        """The model's path."""
        return f"{self.path}/{self.member}" if self.member else self.path


@dataclass(frozen=True, slots=True)
class _Pending:
    """A tensor whose commit is looked for: `origin` is the oldest known to have it, so far."""

    tensor: TensorSummary
    origin: str
    path: str
    possible: tuple[str, ...] = ()


@dataclass(slots=True)
class _Walk:
    """One run through history: `blamed` by tensor, `stretches` still to be walked, and `moves`
    that were guessed.
    """

    ws: Workspace
    reader: _Reader
    blamed: dict[str, Blamed] = field(default_factory=dict)
    stretches: list[tuple[str, _Trail, dict[str, _Pending]]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)

    def run(
        self, commit: str, trail: _Trail, tensors: Iterable[TensorSummary]
    ) -> dict[str, Blamed]:
        """Find the commits of these tensors, all of which `commit` has at `trail`."""
        first = {t.name: _Pending(t, commit, trail.name) for t in tensors}
        self.stretches.append((commit, trail, first))
        while self.stretches:
            self._follow(*self.stretches.pop())
        return self.blamed

    def _follow(self, commit: str, trail: _Trail, pending: dict[str, _Pending]) -> None:
        """Walk the commits that change the pointer file, from child to parent."""
        graph = self.ws.git.history_of(commit, trail.file)
        versions = self._versions(graph, trail)
        waiting = {next(iter(graph), commit): pending}
        for at, parents in graph.items():
            here = waiting.pop(at, None)
            if not here:
                continue
            here = {name: self._reached(at, trail, p) for name, p in here.items()}
            before = [p for p in parents if versions.get(p) is not None]
            if before:
                for parent, passed in self._divide(here, before, versions, trail).items():
                    waiting.setdefault(parent, {}).update(passed)
            else:
                self._before_the_file(at, versions[at], here, trail)
        for here in waiting.values():
            self._settle(here.values())

    def _reached(self, at: str, trail: _Trail, pending: _Pending) -> _Pending:
        """Note that a commit has the tensor, unless its content is one of those not here."""
        if at in pending.possible:
            return pending
        return replace(pending, origin=at, path=trail.name, possible=())

    def _divide(
        self,
        here: Mapping[str, _Pending],
        parents: Sequence[str],
        versions: Mapping[str, Pointer | None],
        trail: _Trail,
    ) -> dict[str, dict[str, _Pending]]:
        """Return what goes on to which parent; what no parent has is blamed here."""
        tensors = {parent: self._tensors(versions[parent], trail) for parent in parents}
        unknown = next((p for p in parents if tensors[p] is None), None)
        passed: dict[str, dict[str, _Pending]] = {}
        for name, pending in here.items():
            same = pending.tensor.identity
            has = next((p for p in parents if (tensors[p] or {}).get(name) == same), unknown)
            if has is None:
                self._settle([pending])
            elif tensors[has] is None:
                maybe = replace(pending, possible=(*pending.possible, has))
                passed.setdefault(has, {})[name] = maybe
            else:
                passed.setdefault(has, {})[name] = pending
        return passed

    def _tensors(self, pointer: Pointer | None, trail: _Trail) -> dict[str, Any] | None:
        """Return the identities of a version's tensors by name, None where it is not here."""
        if pointer is None:
            return {}
        try:
            return {t.name: t.identity for t in self.reader.read(pointer, trail.member).tensors}
        except UsageError:
            return {}  # the directory had no such file then
        except DevmlError:
            return None

    def _versions(self, commits: Iterable[str], trail: _Trail) -> dict[str, Pointer | None]:
        """Return the artifact's pointer in each of these commits, None where it has none."""
        git, wanted = self.ws.git, list(commits)
        blobs = git.ids_of([f"{c}:{git.prefix}{trail.file}" for c in wanted])
        ids = sorted({blob for blob in blobs if blob})
        known = {
            blob: _pointer_in(text, trail, self.ws.tree.outputs) if text is not None else None
            for start in range(0, len(ids), _AT_ONCE)
            for blob, text in git.small_blobs(
                ids[start : start + _AT_ONCE], MAX_POINTER_BYTES
            ).items()
        }
        return {c: known[b] if b else None for c, b in zip(wanted, blobs, strict=True)}

    def _before_the_file(
        self, at: str, pointer: Pointer | None, here: dict[str, _Pending], trail: _Trail
    ) -> None:
        """Go on under the path that the same content had in a parent, if there is one.

        Of several, the one that is gone here was renamed; another is what was copied. Else under
        the path from which it was probably moved.
        """
        parents = self.ws.git.parents([at]).get(at, []) if pointer is not None else []
        for parent in parents:
            alike = [
                other
                for other in self.ws.snapshot_at(parent).pointers.values()
                if pointer and (other.oid, other.hash_name) == (pointer.oid, pointer.hash_name)
            ]
            if alike:
                still = self.ws.snapshot_at(at).pointers
                source = min(alike, key=lambda p: p.path in still)
                on = _Trail(source.file, source.path, trail.member)
                self.stretches.append((parent, on, here))
                return
        if not any(self._moved(at, parent, here, trail) for parent in parents):
            self._settle(here.values())

    def _moved(self, at: str, parent: str, here: dict[str, _Pending], trail: _Trail) -> bool:
        """Go on where a commit probably moved the model from, and changed it; whether it did."""
        old, new = (self.ws.snapshot_at(commit).pointers for commit in (parent, at))
        alike = Likeness(lambda: self.ws.cache, self.ws.git.common_dir / "devml")
        moved = {c.path: c.moved_from for c in with_moves(differing(old, new), alike)}
        source = old.get(moved.get(trail.path) or "")
        if source is None or source.oid is None:
            return False
        on = _Trail(source.file, source.path, trail.member)
        start = next(iter(self.ws.git.history_of(parent, source.file)), parent)
        passed = self._divide(here, [start], {start: source}, on).get(start, {})
        if passed:
            self.moves.append(Move(at, on.name, trail.name))
            self.stretches.append((start, on, passed))
        return True

    def _settle(self, found: Iterable[_Pending]) -> None:
        for p in found:
            self.blamed[p.tensor.name] = Blamed(p.tensor, p.origin, p.path, p.possible)


def _pointer_in(text: bytes, trail: _Trail, today: Outputs) -> Pointer | None:
    try:
        outputs = pointers.outputs_of(trail.file, text, today)
        found = pointers.read(trail.file, text, outputs)
    except Refused:
        return None
    return next((p for p in found if p.path == trail.path and p.oid), None)

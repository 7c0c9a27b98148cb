"""What differs between two sides: artifacts, their files, and what is inside; metrics, parameters.

Nothing in the workspace changes; content that the cache lacks is fetched only if that is asked for.
"""

from __future__ import annotations

import fnmatch
import os
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from devml_git import describing, gate, inspecting, notebook, sides
from devml_git.amounts import counted
from devml_git.contents import Contents
from devml_git.errors import ContentLost, DevmlError, UsageError
from devml_git.measures import changes, improved
from devml_git.setup import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from devml_git.inspecting import Inside
    from devml_git.measures import Measured, Measures
    from devml_git.nouns import Pointer
    from devml_git.sides import Side
    from devml_git.workspace import Workspace

_LONGEST = 1 << 16  # characters of a line
MOST = 5  # files of one directory that are looked into, unless all are asked for


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file of a directory artifact that differs.

    `name` is inside the artifact; `change` is one of "added", "modified", "deleted", "moved" (then
    `source` is where it was); sizes in bytes are None where there is no such file, or it is not
    here.
    """

    name: str
    change: str
    old_size: int | None = None
    new_size: int | None = None
    source: str | None = None
    inside: Inside | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; names are inside the artifact."""
        entry: dict[str, Any] = {
            "name": self.name, "change": self.change,
            "old_size": self.old_size, "new_size": self.new_size,
        }  # fmt: skip
        if self.source is not None:
            entry["from"] = self.source
        return entry | (self.inside.to_dict() if self.inside else {})


@dataclass(frozen=True, slots=True)
class ArtifactChange:
    """One artifact that differs.

    `change` is one of "added", "modified", "deleted", "renamed" (then `source` is the path it had);
    `old` and `new` are its pointers, None where there is none. `files` are those of a directory
    that differ, None where that is not known or not asked for; `inside` is what changed in a
    single file, or in a model of several; `notes` say what could not be looked into, and why.
    """

    path: str
    change: str
    old: Pointer | None
    new: Pointer | None
    source: str | None = None
    files: tuple[FileChange, ...] | None = None
    inside: tuple[tuple[str, Inside], ...] = ()
    notes: tuple[str, ...] = ()

    def count(self, change: str) -> int:
        """Return how many files of a directory changed in this way."""
        return sum(f.change == change for f in self.files or ())

    def entries(self) -> list[dict[str, Any]]:
        """Return its entries of product.md's `artifacts`; of a renamed one two, as `log` does."""
        if self.source is not None:
            come = replace(self, change="added", old=None, source=None).entries()
            gone = ArtifactChange(self.source, "deleted", self.old, None).entries()
            return [come[0] | {"moved_from": self.source}, *gone]
        pointers = {"old": self.old, "new": self.new}
        entry: dict[str, Any] = {"path": self.path, "change": self.change} | {
            side: {"oid": p.oid, "size": p.size, "nfiles": p.nfiles} if p else None
            for side, p in pointers.items()
        }
        if self.files is not None:
            kinds = ("added", "modified", "deleted", "moved")
            entry["files"] = {kind: self.count(kind) for kind in kinds}
            entry["changed_files"] = [f.to_dict() for f in self.files]
        for name, inside in self.inside:
            if name:
                entry.setdefault("models", []).append({"name": name, **inside.to_dict()})
            else:
                entry |= inside.to_dict()
        return [entry | ({"notes": list(self.notes)} if self.notes else {})]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that differs between two sides.

    `before` and `after` are a commit's id, "index" or "worktree"; `improved` says of metrics (file
    and key) whether they got better, where the configuration tells; `prefix` is where the project
    lies in the repository ("" nearly always): other paths are relative to the project.
    """

    before: str
    after: str
    artifacts: tuple[ArtifactChange, ...]
    metrics: tuple[Measured, ...] = ()
    params: tuple[Measured, ...] = ()
    improved: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    prefix: str = ""

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.artifacts or self.metrics or self.params)

    def to_dict(self) -> dict[str, Any]:
        """Return product.md's `devml.diff/v1`; paths are relative to the repository's root."""
        artifacts = [entry for a in self.artifacts for entry in a.entries()]
        metrics = [m.to_dict() for m in self.metrics]
        params = [m.to_dict() for m in self.params]
        for entry in (*artifacts, *metrics, *params):
            for key in {"path", "moved_from", "file"} & entry.keys():
                entry[key] = f"{self.prefix}{entry[key]}"
        return {
            "schema": "devml.diff/v1",
            "from": self.before,
            "to": self.after,
            "artifacts": artifacts,
            "metrics": metrics,
            "params": params,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """Return what `devml-git diff` prints."""
        return "\n".join(gate.shown(line, _LONGEST) for _, line in describing.lines(self))

    def _repr_html_(self) -> str:
        return notebook.comparison(self.to_dict())


def compare(
    ws: Workspace,
    a: str | None = None,
    b: str | None = None,
    paths: Sequence[str] = (),
    *,
    staged: bool = False,
    fetch: bool = False,
    content: bool = True,
    most: int | None = MOST,
) -> Comparison:
    """Compare two sides, as `git diff` chooses them.

    Without revisions: the index with the workspace; `a` alone: that commit with the workspace, or
    what `A..B` and `A...B` mean; with `staged`: `a` (None: HEAD) with the index. `paths` are
    artifacts, their pointers, directories above, files inside, or globs, relative to the root.
    `content` looks into what changed, of a directory into `most` files (None: all); `fetch`
    allows a DVC remote to be asked for what the cache lacks.

    Raises UsageError for a revision or path that does not exist.
    """
    contents = Contents(ws, fetch=fetch)
    old, new = _two_sides(ws, contents, a, b, staged=staged)
    measured = (old.measures(), new.measures())
    chosen = _Chosen(ws, paths, old, new, measured)
    looking = _Looking(ws, old, new, chosen, content=content, most=most)
    artifacts = [looking.change(path, source) for path, source in _differing(old, new, chosen)]
    metrics, params = (
        tuple(m for m in changes(*tables) if chosen.artifact(m.file))
        for tables in zip(*((m.metrics, m.params) for m in measured), strict=True)
    )
    verdicts = {(m.file, m.key): improved(ws.config, m) for m in metrics}
    notes = [*old.notes, *new.notes, *measured[0].notes, *measured[1].notes]
    return Comparison(
        before=old.name,
        after=new.name,
        artifacts=tuple(a for a in artifacts if a is not None),
        metrics=metrics,
        params=params,
        improved={k: v for k, v in verdicts.items() if v is not None},
        notes=tuple(dict.fromkeys(notes)),
        prefix=ws.git.prefix,
    )


# -- which two, and what of them -----------------------------------------------------------------


def _two_sides(
    ws: Workspace, contents: Contents, a: str | None, b: str | None, *, staged: bool
) -> tuple[Side, Side]:
    def commit(rev: str) -> Side:
        return sides.of_commit(ws, contents, rev)

    if staged:
        if b is not None or (a is not None and ".." in a):
            raise UsageError(
                "--staged compares the index with one revision", hint="devml-git diff --staged REV"
            )
        if a is None and ws.git.head() is None:
            return sides.before_all(ws, contents), sides.of_index(ws, contents)
        return commit(a or "HEAD"), sides.of_index(ws, contents)
    if a is None:
        return sides.of_index(ws, contents), sides.of_worktree(ws, contents)
    if b is None and ".." in a:
        one, dots, other = a.partition("..." if "..." in a else "..")
        new = commit(other or "HEAD")
        old = commit(one or "HEAD")
        if dots == "...":
            old = commit(ws.git.merge_base(old.name, new.name))
        return old, new
    return commit(a), sides.of_worktree(ws, contents) if b is None else commit(b)


class _Chosen:
    """What PATHs mean, for two sides together. Raises UsageError for one that means nothing."""

    def __init__(
        self,
        ws: Workspace,
        paths: Sequence[str],
        old: Side,
        new: Side,
        measured: Iterable[Measures],
    ) -> None:
        pointers = [*old.pointers.values(), *new.pointers.values()]
        by_file: dict[str, list[str]] = defaultdict(list)
        for p in pointers:
            by_file[p.file].append(p.path)
        self._names = [n for path in paths for n in by_file.get(path) or [path]]
        known = {p.path for p in pointers}
        known |= {file for m in measured for file in (*m.metrics, *m.params)}
        for name in self._names:
            if not any(_matches(path, name) or name.startswith(f"{path}/") for path in known):
                raise _nothing(ws, name)

    def artifact(self, path: str) -> bool:
        """Whether an artifact or a file of metrics, or a file inside it, is meant."""
        return not self._names or any(
            _matches(path, n) or n.startswith(f"{path}/") for n in self._names
        )

    def member(self, path: str, name: str) -> bool:
        """Whether a file of an artifact is meant."""
        if not self._names or any(_matches(path, n) for n in self._names):
            return True
        return any(_matches(f"{path}/{name}", n) for n in self._names)


def _matches(path: str, wanted: str) -> bool:
    return (
        not wanted
        or path == wanted
        or path.startswith(f"{wanted}/")
        or fnmatch.fnmatchcase(path, wanted)
    )


def _nothing(ws: Workspace, name: str) -> UsageError:
    if os.path.lexists(ws.root / name):
        return UsageError(
            f"{gate.shown(name)} is no artifact on either side",
            hint=f"git diff -- {gate.pathspec(name)}   compares what git itself holds",
        )
    return UsageError(f"{gate.shown(name)} is an artifact on neither side", hint=nearest(ws, name))


def _differing(old: Side, new: Side, chosen: _Chosen) -> Iterator[tuple[str, str | None]]:
    """Yield the artifacts that differ, and the path that a renamed one had."""
    both = sorted(p for p in {*old.pointers, *new.pointers} if not _unknown(old, new, p))
    differ = [p for p in both if chosen.artifact(p) and _differ(old, new, p)]
    gone = {
        (pointer.oid, pointer.hash_name): path
        for path in differ
        if (pointer := old.pointers.get(path)) is not None and path not in new.pointers
    }
    renamed = {}
    for path in differ:
        if path not in old.pointers:
            pointer = new.pointers[path]
            source = gone.pop((pointer.oid, pointer.hash_name), None)
            if source is not None:
                renamed[path] = source
    sources = set(renamed.values())
    yield from ((path, renamed.get(path)) for path in differ if path not in sources)


def _unknown(old: Side, new: Side, path: str) -> bool:
    """Whether one side's pointer cannot be followed: that it is gone, nobody says."""
    unread = old.unread | new.unread
    return any(p.file in unread for s in (old, new) if (p := s.pointers.get(path)) is not None)


def _differ(old: Side, new: Side, path: str) -> bool:
    one, two = old.pointers.get(path), new.pointers.get(path)
    if one is None or two is None:
        return True
    return (one.oid, one.hash_name) != (two.oid, two.hash_name) or _bits_differ(one, two)


def _bits_differ(one: Pointer, two: Pointer) -> bool:
    """Whether exec bits differ; a directory's pointer that has none says nothing of them."""
    silent = one.is_dir and not (one.executable and two.executable)
    return not silent and one.executable != two.executable


# -- one artifact --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Looking:
    """How far one looks into what changed."""

    ws: Workspace
    old: Side
    new: Side
    chosen: _Chosen
    content: bool
    most: int | None

    def change(self, path: str, source: str | None) -> ArtifactChange | None:
        """Return what changed of an artifact, or None where no file that is meant did."""
        one = self.old.pointers.get(source or path)
        two = self.new.pointers.get(path)
        if source is not None:
            return ArtifactChange(path, "renamed", one, two, source)
        if one is None or two is None:
            kind = "added" if one is None else "deleted"
            present = one or two
            if present is not None and present.is_dir:
                return ArtifactChange(path, kind, one, two)
            return self._single(path, kind, one, two)
        if one.oid == two.oid:
            return ArtifactChange(path, "modified", one, two, notes=("only exec bits differ",))
        if one.is_dir is not two.is_dir:
            words = ("a directory", "a file") if one.is_dir else ("a file", "a directory")
            note = f"was {words[0]}, is {words[1]}"
            return ArtifactChange(path, "modified", one, two, notes=(note,))
        if one.is_dir:
            return self._directory(path, one, two)
        return self._single(path, "modified", one, two)

    def _single(
        self, path: str, kind: str, one: Pointer | None, two: Pointer | None
    ) -> ArtifactChange:
        notes: list[str] = []
        names = [] if one is None else [""], [] if two is None else [""]
        inside = self._inside(path, "", names, notes) if self.content else None
        found = (("", inside),) if inside is not None else ()
        return ArtifactChange(path, kind, one, two, inside=found, notes=tuple(notes))

    def _inside(
        self, path: str, name: str, names: tuple[Sequence[str], Sequence[str]], notes: list[str]
    ) -> Inside | None:
        """Return what changed inside one file, or inside the model that it is the index of."""
        place = f"{path}/{name}" if name else path
        try:
            old, new = (
                side.files(path, some) if some else {}
                for side, some in zip((self.old, self.new), names, strict=True)
            )
            inside, said = inspecting.look(self.ws, place, name, old, new)
        except ContentLost as e:
            notes.append(f"not looked into: {_with_hint(e)}")
            return None
        except (DevmlError, OSError) as e:
            notes.append(f"not looked into: {e.message if isinstance(e, DevmlError) else e}")
            return None
        notes += said
        return inside

    def _directory(self, path: str, one: Pointer, two: Pointer) -> ArtifactChange | None:
        try:
            before, after = (
                {n: oid for n, oid in side.members(path).items() if self.chosen.member(path, n)}
                for side in (self.old, self.new)
            )
        except ContentLost as e:
            note = f"not compared file by file: {_with_hint(e)}"
            return ArtifactChange(path, "modified", one, two, notes=(note,))
        files = [self._sized(path, change, before, after) for change in _files(before, after)]
        if not files:
            return None
        notes: list[str] = []
        inside: tuple[tuple[str, Inside], ...] = ()
        if self.content:
            changed = {f.name for f in files}
            inside = tuple(self._sharded(path, before, after, changed, notes))
            files = list(self._looked_into(path, files, changed, notes))
        return ArtifactChange(path, "modified", one, two, None, tuple(files), inside, tuple(notes))

    def _sized(
        self, path: str, change: FileChange, before: Mapping[str, str], after: Mapping[str, str]
    ) -> FileChange:
        old, new = change.source or change.name, change.name
        return replace(
            change,
            old_size=self.old.size(path, old, before[old]) if old in before else None,
            new_size=self.new.size(path, new, after[new]) if new in after else None,
        )

    def _sharded(
        self,
        path: str,
        before: Mapping[str, str],
        after: Mapping[str, str],
        changed: set[str],
        notes: list[str],
    ) -> Iterator[tuple[str, Inside]]:
        """Yield models in several files that differ, and take their files off `changed`."""
        for index in sorted(n for n in {*before, *after} if n.endswith(inspecting.INDEXES)):
            parts = [
                [n for n in sorted(side) if inspecting.is_shard(n, index)] if index in side else []
                for side in (before, after)
            ]
            if not changed & {*parts[0], *parts[1]}:
                continue
            inside = self._inside(path, index, (parts[0], parts[1]), notes)
            if inside is not None:
                changed -= {*parts[0], *parts[1]}
                yield index, inside

    def _looked_into(
        self, path: str, files: Sequence[FileChange], names: Collection[str], notes: list[str]
    ) -> Iterator[FileChange]:
        """Yield the files, with what changed inside for as many as is allowed."""
        left = self.most
        skipped = 0
        for file in files:
            if file.change != "modified" or file.name not in names:
                yield file
            elif left == 0:
                skipped += 1
                yield file
            else:
                said: list[str] = []
                inside = self._inside(path, file.name, ([file.name], [file.name]), said)
                notes += [n if file.name in n else f"{gate.shown(file.name)}: {n}" for n in said]
                left = left if left is None or not (inside or said) else left - 1
                yield replace(file, inside=inside)
        if skipped:
            notes.append(f"not looked into: {counted(skipped, 'more changed file')} (--all)")


def _with_hint(error: DevmlError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _files(before: Mapping[str, str], after: Mapping[str, str]) -> list[FileChange]:
    """Return how two lists of files (name to oid) differ, by name."""
    gone: dict[str, list[str]] = defaultdict(list)
    for name in sorted(before.keys() - after.keys(), reverse=True):
        gone[before[name]].append(name)
    found = []
    for name in sorted(after):
        if name not in before:
            source = gone[after[name]].pop() if gone.get(after[name]) else None
            found.append(FileChange(name, "moved" if source else "added", source=source))
        elif before[name] != after[name]:
            found.append(FileChange(name, "modified"))
    found += [FileChange(name, "deleted") for names in gone.values() for name in names]
    return sorted(found, key=lambda f: f.name)

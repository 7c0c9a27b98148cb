"""What a commit is, in terms of artifacts: those that it changed, its metrics and parameters."""

from __future__ import annotations

import fnmatch
import posixpath
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from devml_git.measures import Measures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from devml_git.gitstream import Entry
    from devml_git.measures import Measured
    from devml_git.nouns import Pointer

    Alike = Callable[[Pointer, Pointer], bool]

_NOTHING = Measures()


@dataclass(frozen=True, slots=True)
class Change:
    """An artifact that a commit has otherwise than its parent. `path` is relative to the root; a
    side is None where there is no such artifact. `moved_from` is where the same artifact lay, or,
    where it is `guessed`, probably did: its content is another.
    """

    path: str
    old: Pointer | None
    new: Pointer | None
    moved_from: str | None = None
    guessed: bool = False

    @property
    def kind(self) -> str:
        """One of product.md's words: added, modified, deleted."""
        return "added" if self.old is None else "deleted" if self.new is None else "modified"

    def to_dict(self, prefix: str = "") -> dict[str, Any]:
        """Return one entry of product.md's `changes`; `prefix` is the project's place."""
        sides = {"old": self.old, "new": self.new}
        described = {k: {"oid": p.oid, "size": p.size} if p else None for k, p in sides.items()}
        moved: dict[str, Any] = {"moved_from": prefix + self.moved_from} if self.moved_from else {}
        moved |= {"guessed": True} if self.guessed else {}
        return {"path": prefix + self.path, "change": self.kind, **described, **moved}


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of the walk.

    `changes`, and what changed in `metrics` and `params`, are against the first parent;
    `against` has, for a merge, each parent and the changes against it. `measures` is all that the
    commit has of both. `notes` say what could not be followed; `cut` is whether a shallow clone
    ends here: its parents are not known. `within` are the paths that were asked for, as they are
    called here (None: all): `changes` are of these alone, metrics and parameters once they are
    `told`, since what is told may be chosen by others.
    """

    entry: Entry
    changes: tuple[Change, ...] = ()
    against: tuple[tuple[str, tuple[Change, ...]], ...] = ()
    measures: Measures = field(default=_NOTHING, repr=False)
    metrics: tuple[Measured, ...] = ()
    params: tuple[Measured, ...] = ()
    notes: tuple[str, ...] = ()
    cut: bool = False
    within: frozenset[str] | None = None

    def told(self) -> Commit:
        """Return it with the metrics and parameters of `within` alone."""
        names = self.within
        if names is None:
            return self
        metrics, params = (
            {file: table for file, table in files.items() if lies_in(file, names)}
            for files in (self.measures.metrics, self.measures.params)
        )
        return replace(
            self,
            measures=Measures(metrics, params),
            metrics=tuple(m for m in self.metrics if lies_in(m.file, names)),
            params=tuple(m for m in self.params if lies_in(m.file, names)),
        )

    def to_dict(self, prefix: str = "") -> dict[str, Any]:
        """Return one entry of product.md's `devml.log/v1`; `prefix` is the project's place."""
        e = self.entry
        found: dict[str, Any] = {
            "commit": e.commit, "parents": list(e.parents), "author": f"{e.author} <{e.email}>",
            "date": e.date, "subject": e.subject,
            "changes": [c.to_dict(prefix) for c in self.changes],
        }  # fmt: skip
        told = self.told().measures
        for kind, files in told.to_dict().items():
            found[kind] = {prefix + file: table for file, table in files.items()}
        if self.against:
            found["against"] = [
                {"parent": parent, "changes": [c.to_dict(prefix) for c in changes]}
                for parent, changes in self.against
            ]
        notes = [*self.notes, *told.notes]
        return found | ({"notes": notes} if notes else {})


def lies_in(file: str, names: Iterable[str]) -> bool:
    """Whether a file is one of these names, its pointer, or lies below it ("" is the root)."""
    return any(file == f"{n}.dvc" or covers(n, file) for n in names)


def covers(name: str, path: str) -> bool:
    """Whether a name is a path, lies above it ("" is the root), or is a glob that fits (`*` takes
    `/`, too, as in git's pathspecs).
    """
    if not name or path == name or path.startswith(f"{name}/"):
        return True
    return ("*" in name or "?" in name or "[" in name) and fnmatch.fnmatchcase(path, name)


# -- what differs, and what moved ----------------------------------------------------------------


def differing(old: Mapping[str, Pointer], new: Mapping[str, Pointer]) -> list[Change]:
    """Return the artifacts that differ between two trees' pointers (by path), by path."""
    return [
        Change(path, old.get(path), new.get(path))
        for path in sorted({*old, *new})
        if not _same(old.get(path), new.get(path))
    ]


def _same(old: Pointer | None, new: Pointer | None) -> bool:
    if old is None or new is None:
        return old is new
    second = {p.sha256 for p in (old, new) if p.sha256 is not None}
    same = (old.oid, old.executable, old.size) == (new.oid, new.executable, new.size)
    return same and len(second) < 2  # noqa: PLR2004 - else they were made to have one MD5


def with_moves(changes: Sequence[Change], alike: Alike) -> tuple[Change, ...]:
    """Return changes; an added artifact says where a deleted one had the same content.

    What was moved and changed at once is guessed at: of all that went and came, these two alone
    have this name; or this kind and extension, and `alike` says that one may be the other's next
    version.
    """
    gone = {c.path: c for c in changes if c.new is None}
    come = {c.path: c for c in changes if c.old is None}
    if not gone or not come:
        return tuple(changes)
    found: dict[str, Change] = {}

    def moved(old: Change, new: Change, *, guessed: bool) -> None:
        del gone[old.path], come[new.path]
        found[new.path] = replace(new, moved_from=old.path, guessed=guessed)

    for old, new in _same_content(gone.values(), come.values()):
        moved(old, new, guessed=False)
    for key, proven in ((_name, lambda *_: True), (_form, alike)):
        for old, new in _alone(gone.values(), come.values(), key):
            if old.old is not None and new.new is not None and proven(old.old, new.new):
                moved(old, new, guessed=True)
    return tuple(found.get(c.path, c) for c in changes)


def _same_content(gone: Iterable[Change], come: Iterable[Change]) -> list[tuple[Change, Change]]:
    by_oid: dict[str, deque[Change]] = defaultdict(deque)
    for c in gone:
        if c.old is not None and c.old.oid is not None:
            by_oid[c.old.oid].append(c)
    return [
        (by_oid[c.new.oid].popleft(), c)
        for c in come
        if c.new is not None and c.new.oid is not None and by_oid.get(c.new.oid)
    ]


def _alone(
    gone: Iterable[Change], come: Iterable[Change], key: Callable[[Change], object]
) -> list[tuple[Change, Change]]:
    """Return the pairs of one that went and one that came that share a key with no other."""
    went, came = (Counter(map(key, some)) for some in (gone, come))
    olds = {key(c): c for c in gone}
    return [(olds[k], c) for c in come if went[k := key(c)] == came[k] == 1]


def _name(change: Change) -> object:
    return posixpath.basename(change.path)


def _form(change: Change) -> object:
    side = change.new or change.old
    return posixpath.splitext(change.path)[1].lower(), side is not None and side.is_dir

"""Which commits of a walk concern some paths; an artifact is followed to where it lay before."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from devml_git.cache import Corrupt
from devml_git.changing import covers, lies_in
from devml_git.errors import DevmlError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from devml_git.cache import Cache
    from devml_git.changing import Change, Commit
    from devml_git.gitstream import Row
    from devml_git.nouns import Pointer

_KNOWN = 20_000  # commits that have not been met yet


def concerns(artifact: str, names: Iterable[str]) -> bool:
    """Whether one of the names is an artifact, lies in it, or above it ("" is the root), or is a
    glob for it.
    """
    return any(covers(n, artifact) or n.startswith(f"{artifact}/") for n in names)


class Following:
    """Which commits concern some paths; an artifact is followed to where it lay before."""

    def __init__(self, paths: Sequence[str], cache: Callable[[], Cache] | None) -> None:
        self._first = frozenset(paths)
        self._cache = cache
        self._names: OrderedDict[str, frozenset[str]] = OrderedDict()

    def told(self, commit: Commit, rows: Mapping[str, Sequence[Row]]) -> Commit | None:
        """Return what a commit changed of them; None where it did not (a merge: from a parent).

        Tells its parents what they are called there.
        """
        names = self._names.pop(commit.entry.commit, self._first)
        kept = []
        for parent, some in commit.against or ((next(iter(rows), ""), commit.changes),):
            touched = [c for c in some if self._concerns(c, names)]
            kept.append(bool(touched) or any(lies_in(r.path, names) for r in rows.get(parent, ())))
            before = names | {c.moved_from for c in touched if c.moved_from}
            self._names[parent] = self._names.get(parent, frozenset()) | before
            if len(self._names) > _KNOWN:
                self._names.popitem(last=False)
        return self.narrowed(commit, names) if all(kept) and not commit.cut else None

    def narrowed(self, commit: Commit, names: frozenset[str]) -> Commit:
        """Return a commit with those of its changes that concern some names, and no others."""
        return replace(
            commit,
            changes=self._of(commit.changes, names),
            against=tuple((parent, self._of(some, names)) for parent, some in commit.against),
            within=names,
        )

    def _of(self, changes: Sequence[Change], names: frozenset[str]) -> tuple[Change, ...]:
        """Return the changes that concern the names, and where what was moved has come from."""
        touched = [c for c in changes if self._concerns(c, names)]
        if len(touched) == len(changes):
            return tuple(changes)
        told = {c.path for c in touched} | {c.moved_from for c in touched if c.moved_from}
        return tuple(c for c in changes if c.path in told)

    def _concerns(self, change: Change, names: Collection[str]) -> bool:
        """Whether one of the names is the artifact, its pointer's file, lies above it, or is a
        member that changed.
        """
        path = change.path
        side = change.new or change.old
        if side is not None and side.file in names:
            return True
        inside = [n[len(path) + 1 :] for n in names if n.startswith(f"{path}/")]
        above = [n for n in names if not n.startswith(f"{path}/")]
        return concerns(path, above) or any(self._member_changed(change, n) for n in inside)

    def _member_changed(self, change: Change, member: str) -> bool:
        """Whether a file (or directory) inside a directory differs; True where nobody can tell."""
        old, new = (self._inside(p, member) for p in (change.old, change.new))
        return old is None or new is None or old != new

    def _inside(self, pointer: Pointer | None, member: str) -> dict[str, str] | None:
        if pointer is None or pointer.oid is None or not pointer.is_dir:
            return {}
        if self._cache is None:
            return None
        try:
            members = self._cache().manifest(pointer.oid, pointer.hash_name)
        except (DevmlError, Corrupt):
            return None
        return {n: o for n, o in members.items() if covers(member, n)}

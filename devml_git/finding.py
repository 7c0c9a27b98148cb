"""What a revision has, found once and proven once: what a `Repo` of Python remembers.

Threads may share a Finder; a lock is held while the workspace is open.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from devml_git import savepoints
from devml_git.contents import Contents
from devml_git.errors import ContentLost, UsageError
from devml_git.place import Stat
from devml_git.plumbing import Git
from devml_git.streams import SMALL
from devml_git.wording import listed
from devml_git.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from devml_git.cache import Cache
    from devml_git.nouns import Pointer, Snapshot

_T = TypeVar("_T")
_KEPT = 32  # snapshots, and lists of files of large directories


@dataclass(frozen=True, slots=True)
class _Place:
    """An object of the cache that was proven, and its stat at that time."""

    path: Path
    stat: Stat

    def unchanged(self) -> bool:
        try:
            return Stat.of(self.path.stat()) == self.stat
        except OSError:
            return False


class Finder:
    """Pointers and content of one project. `fetch` is as for `Repo`; `cache` is DVC's."""

    def __init__(self, git: Git, *, fetch: bool | None) -> None:
        self.root = git.top
        self.fetch = fetch
        self.lock = threading.Lock()
        self._snapshots: dict[str, Snapshot] = {}
        self._members: dict[str, Mapping[str, str]] = {}
        self._places: dict[tuple[str, str], _Place] = {}
        with Workspace(git) as ws:
            self.cache: Cache = ws.cache

    def forget(self) -> None:
        """Forget what was found."""
        with self.lock:
            self._snapshots.clear()
            self._members.clear()
            self._places.clear()

    def git(self) -> Git:
        """Return the project, seen through git."""
        return Git.discover(self.root)

    def workspace(self) -> Workspace:
        """Open the workspace; the caller closes it."""
        ws = Workspace(self.git())
        self.cache = ws.cache
        return ws

    def commit(self, rev: str) -> str:
        """Return the commit that a revision, or a snapshot's id or name, is. Raises UsageError."""
        if rev in self._snapshots:
            return rev  # a full id
        git = self.git()
        found = git.commit_of(rev)
        if found is not None:
            return found
        try:
            return savepoints.find(git, rev).commit
        except UsageError:
            return git.require_commit(rev)

    def snapshot(self, commit: str) -> Snapshot:
        """Return all pointers of a commit, by its full id."""
        with self.lock:
            if commit not in self._snapshots:
                with self.workspace() as ws:
                    _keep(self._snapshots, commit, ws.snapshot_at(commit))
            return self._snapshots[commit]

    def members(self, pointer: Pointer) -> Mapping[str, str]:
        """Return a pointer's files, name to oid. Raises ContentLost, Refused."""
        oid = pointer.oid or ""
        if not pointer.is_dir:
            return {"": oid}
        with self.lock:
            if oid not in self._members:
                _keep(self._members, oid, self._ask(lambda c: c.members(pointer)))
            return self._members[oid]

    def proven(self, pointer: Pointer, names: Collection[str]) -> dict[str, Path]:
        """Return where an artifact's files can be read, proven by this process or lately."""
        members, kind = self.members(pointer), pointer.hash_name
        with self.lock:
            claim = None if pointer.is_dir else pointer.sha256
            doubted = [n for n in names if not self._known(members[n], kind, claim)]
            if doubted:
                places = self._ask(lambda c: c.files(pointer, doubted))
                for name, place in places.items():
                    self._places[members[name], kind] = _Place(place, Stat.of(place.stat()))
            return {n: self._places[members[n], kind].path for n in names}

    def _known(self, oid: str, kind: str, claim: str | None) -> bool:
        """Whether an object was proven before, or is small enough to be read here and now."""
        place = self._places.get((oid, kind))
        if place is not None and place.unchanged() and self.cache.vouched(oid, claim):
            return True
        path = self.cache.object_path(oid, kind)
        try:
            stat_now = Stat.of(path.stat())
        except OSError:
            return False
        if stat_now.size > SMALL or not self.cache.verify(oid, kind, claim=claim):
            return False
        self._places[oid, kind] = _Place(path, stat_now)
        return True

    def _ask(self, question: Callable[[Contents], _T]) -> _T:
        """Ask for content, from a DVC remote, too, where that is allowed."""
        with self.workspace() as ws:
            wary = self.why_not_to_fetch(ws)
            try:
                return question(Contents(ws, fetch=wary == []))
            except ContentLost as e:
                if not wary:
                    raise
                why = f"the DVC remote {listed(wary)} is new or was changed by a commit"
                raise ContentLost(f"{e.message}, and {why}", hint="devml-git trust") from e

    def why_not_to_fetch(self, ws: Workspace) -> list[str] | None:
        """Return the remotes that are not trusted (none: fetch), or None where it is not wanted."""
        if not (ws.config.hooks.fetch if self.fetch is None else self.fetch):
            return None
        trust = ws.access.trust
        remotes = ws.dvc.remotes.values()
        return [r.name for r in remotes if not (trust.may_read(r) or trust.was_typed_here(r))]


def _keep(kept: dict[str, Any], key: str, value: Any) -> None:  # noqa: ANN401
    while len(kept) >= _KEPT:
        del kept[next(iter(kept))]
    kept[key] = value

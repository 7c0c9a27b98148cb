"""An artifact's content at any revision, as local files to be read: proven, fetched if allowed.

A file of the cache is hashed before it is handed out (P5); what was hashed lately, and is the same
file by size, times and inode, is believed (`verified.py`). The workspace stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devml_git import gate
from devml_git.errors import ContentLost
from devml_git.streams import in_parallel
from devml_git.supply import Supply, oid_of
from devml_git.verified import Verified
from devml_git.wording import corrupt

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from devml_git.nouns import Pointer
    from devml_git.workspace import Workspace


class Contents:
    """What pointers stand for. `fetch`: a DVC remote may be asked for what the cache lacks."""

    def __init__(self, ws: Workspace, *, fetch: bool) -> None:
        self.ws = ws
        self._supply = Supply(ws, fetch=fetch)
        self._verified = Verified(ws.git.shared)

    def members(self, pointer: Pointer) -> dict[str, str]:
        """Return a pointer's files: name inside the artifact ("" for a single file) to oid.

        Raises ContentLost where a directory's manifest is not to be had, Refused where it is
        hostile.
        """
        self._supply.obtain_manifest(pointer)
        return self._supply.members(pointer)

    def files(self, pointer: Pointer, names: Collection[str] | None = None) -> dict[str, Path]:
        """Return where an artifact's files can be read, proven to be what their names say.

        `names` are those wanted (as in `members`), None: all. The files are the cache's own: they
        are to be read only. Raises ContentLost where one is not to be had whole.
        """
        members = self.members(pointer)
        wanted = {n: members[n] for n in (members if names is None else names)}
        lost = set(self._supply.obtain_objects(pointer, wanted.values()))
        lost |= self._proven(pointer, set(wanted.values()) - lost)
        if lost:
            raise self._why_lost(pointer, next(n for n, oid in wanted.items() if oid in lost))
        if pointer.is_dir and names is None and self._supply.disagrees(pointer):
            raise corrupt(f"{gate.shown(pointer.path)} ({oid_of(pointer)})", aside=False)
        cache = self.ws.cache
        return {n: cache.object_path(oid, pointer.hash_name) for n, oid in wanted.items()}

    def _why_lost(self, pointer: Pointer, name: str) -> ContentLost:
        """Return the error for a file that is not here whole."""
        oid = self.members(pointer)[name]
        path = f"{pointer.path}/{name}" if name else pointer.path
        what = f"{gate.shown(path)} ({oid_of(pointer)})"
        here = self.ws.cache.has(oid, pointer.hash_name)
        if here or self.ws.cache.quarantined(oid):
            return corrupt(what, aside=not here)
        return ContentLost(
            f"{what} is not in the cache",
            hint="devml-git fetch REV brings it, if a DVC remote has it",
        )

    def _proven(self, pointer: Pointer, oids: Collection[str]) -> set[str]:
        """Hash what was not hashed lately; return what is corrupt, and no remote has better."""
        cache, kind = self.ws.cache, pointer.hash_name
        paths = {(oid, kind): cache.object_path(oid, kind) for oid in oids}
        claim = pointer.claim
        whole = {key for key in self._verified.whole(paths) if cache.vouched(key[0], claim)}
        todo = sorted(oid for oid, _ in paths.keys() - whole)
        bad = self._corrupt(todo, kind, claim)
        lost = self._anew(pointer, bad)
        good: Mapping[tuple[str, str], Path] = {
            (oid, kind): paths[oid, kind] for oid in todo if oid not in bad
        }
        if good:
            self._verified.remember(good)
        return lost

    def _anew(self, pointer: Pointer, bad: Collection[str]) -> set[str]:
        """Fetch what is corrupt, if allowed; return what is not to be had. Else it stays where it
        is: `verify --repair` looks for it there.
        """
        if not bad or not self._supply.fetch:
            return set(bad)
        for oid in bad:
            self._supply.set_aside(oid, pointer.hash_name, pointer.path)
        lost = set(self._supply.obtain_objects(pointer, bad))
        return lost | {oid for oid in bad if self.ws.cache.vouched(oid, pointer.claim) is False}

    def _corrupt(self, oids: list[str], kind: str, claim: str | None) -> set[str]:
        """Return which of these objects' bytes are not what their names say."""
        cache, progress = self.ws.cache, self.ws.progress
        sizes = [cache.size_of(oid, kind) for oid in oids]
        bad: set[str] = set()

        def check(i: int) -> None:
            if not cache.verify(oids[i], kind, progress, claim):
                bad.add(oids[i])

        progress.start("checking", sum(sizes))
        try:
            in_parallel(check, range(len(oids)), sizes)
        finally:
            progress.finish()
        return bad

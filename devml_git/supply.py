"""Content for the workspace: from the cache, or from a DVC remote if the cache lacks it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from devml_git import gate
from devml_git.cache import Corrupt
from devml_git.errors import ContentLost, DvcFailed, Refused
from devml_git.fingerprints import of_members
from devml_git.other_remotes import elsewhere
from devml_git.remote import Wanted, fetch_objects
from devml_git.streams import in_parallel
from devml_git.wording import corrupt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from devml_git.cache import Cache
    from devml_git.nouns import Pointer
    from devml_git.scan import Work
    from devml_git.workspace import Workspace


@dataclass(slots=True)
class Supply:
    """Where content comes from. `fetch`: a DVC remote may be asked; `corrupt`: what was bad."""

    ws: Workspace
    fetch: bool
    corrupt: list[str] = field(default_factory=list)
    _came: set[tuple[str, str]] = field(default_factory=set)
    _nowhere: set[tuple[str | None, str, str]] = field(default_factory=set)
    _distrusted: set[tuple[str, str | None]] = field(default_factory=set)

    def obtain(
        self, pointers: Iterable[Pointer], have: Mapping[str, Work], *, verify: bool = False
    ) -> list[str]:
        """See to it that the cache has what these pointers need beyond what lies there.

        Fetches if allowed; `verify` also reads what the cache has, and sets aside what is corrupt.
        Returns the artifact paths (or members) that are nowhere to be had.
        """
        items = [p for p in pointers if p.oid is not None]
        self._fetch(
            [p for p in items if p.is_dir and not self.ws.cache.has(oid_of(p), p.hash_name)]
        )
        lost: list[str] = []
        needed: dict[str, tuple[Wanted, str]] = {}
        for p in items:
            try:
                needed.update(self._needed(p, have.get(p.path), lacking=not verify))
            except ContentLost:
                lost.append(p.path)
            except Refused:
                continue  # a hostile manifest: told where it would be written, and stops no other
        wanted = [w for w, _ in needed.values()]
        if verify:
            bad, has = self._verify(list(needed.values())), self.ws.cache.has
            wanted = [w for w in wanted if w.oid in bad or not has(w.oid, w.hash_name)]
        lost += [needed[oid][1] for oid in self.fetch_wanted(wanted)]
        lost += [p.path for p in items if self.disagrees(p)]
        return sorted({*lost})

    def _needed(
        self, p: Pointer, work: Work | None, *, lacking: bool
    ) -> dict[str, tuple[Wanted, str]]:
        """Return by oid what has to come from the cache, and the place it is for.

        `lacking`: only what the cache has not.
        """
        there = work.oids if work is not None else {}
        names = {oid: n for n, oid in self.members(p).items() if there.get(n) != oid}
        oids = self.ws.cache.lacking(names, p.hash_name) if lacking else names
        return {
            oid: (Wanted.of(p, oid), f"{p.path}/{name}" if name else p.path)
            for oid, name in names.items()
            if oid in oids
        }

    def _verify(self, needed: Sequence[tuple[Wanted, str]]) -> set[str]:
        """Read what the cache has; return what is not right, also where it stays."""
        cache = self.ws.cache
        bad: set[str] = set()
        here = [(w, place) for w, place in needed if cache.has(w.oid, w.hash_name)]
        sizes = [cache.size_of(w.oid, w.hash_name) for w, _ in here]
        self.ws.progress.start("checking", sum(sizes))

        def check(i: int) -> None:
            w, place = here[i]
            if not cache.verify(w.oid, w.hash_name, self.ws.progress, w.claim):
                self.set_aside(w.oid, w.hash_name, place)
                bad.add(w.oid)

        try:
            in_parallel(check, sorted(range(len(here)), key=lambda i: -sizes[i]), sizes)
        finally:
            self.ws.progress.finish()
        return bad

    def obtain_manifest(self, pointer: Pointer) -> None:
        """See to it that the cache has a directory's manifest."""
        if pointer.is_dir and not self.ws.cache.has(oid_of(pointer), pointer.hash_name):
            self._fetch([pointer])

    def obtain_objects(
        self, pointer: Pointer, oids: Iterable[str], *, verify: bool = False
    ) -> list[str]:
        """Fetch those of a pointer's objects that the cache lacks; return what is not to be had.

        `verify` also reads what the cache has, and sets aside what is corrupt.
        """
        wanted = [Wanted.of(pointer, oid) for oid in set(oids)]
        bad = self._verify([(w, pointer.path) for w in wanted]) if verify else set()
        has = self.ws.cache.has
        return self.fetch_wanted([w for w in wanted if w.oid in bad or not has(w.oid, w.hash_name)])

    def members(self, pointer: Pointer) -> dict[str, str]:
        """Return a pointer's files: name inside the artifact ("" for a file) to oid.

        Raises ContentLost when a manifest is missing or corrupt beyond repair, or when what is
        here of the directory is not what the pointer vouches for.
        """
        assert pointer.oid is not None
        if (pointer.oid, pointer.sha256) in self._distrusted:
            raise corrupt(gate.shown(pointer.path), aside=False)
        if not pointer.is_dir:
            return {"": pointer.oid}
        try:
            return self.ws.cache.manifest(pointer.oid, pointer.hash_name)
        except Corrupt as e:
            self.set_aside(pointer.oid, pointer.hash_name, pointer.path)
            if not self._fetch([pointer]):
                return self.ws.cache.manifest(pointer.oid, pointer.hash_name)
            raise corrupt(f"the list of files of {gate.shown(pointer.path)}", aside=True) from e

    def disagrees(self, pointer: Pointer) -> bool:
        """Whether what was seen of all its content is not what a pointer vouches for.

        What has come for a directory just now is set aside then: one of its files is wrong, and
        nobody can tell which.
        """
        if pointer.sha256 is None:
            return False
        cache = self.ws.cache
        if not pointer.is_dir:
            return cache.vouched(oid_of(pointer), pointer.sha256) is False
        members: dict[str, str] = {}
        with contextlib.suppress(Corrupt, ContentLost, Refused):
            members = cache.manifest(oid_of(pointer))
        seen = cache.seen.known(members.values())
        if not members or not set(members.values()) <= seen.keys():
            return False
        right = of_members({n: seen[oid] for n, oid in members.items()}) == pointer.sha256
        if not right:
            self.distrust(pointer, members.values())
        return not right

    def distrust(self, pointer: Pointer, oids: Iterable[str]) -> None:
        """Believe nothing of what has come for a directory."""
        came = {oid for oid in oids if (oid, pointer.hash_name) in self._came}
        for oid in came:
            self.ws.cache.quarantine(oid, pointer.hash_name)
        self.ws.cache.seen.forget(came)
        self._distrusted.add((oid_of(pointer), pointer.sha256))
        self.corrupt.append(pointer.path)

    def _fetch(self, pointers: Sequence[Pointer]) -> list[str]:
        return self.fetch_wanted([Wanted.of(p, oid_of(p)) for p in pointers])

    def fetch_wanted(self, wanted: Sequence[Wanted]) -> list[str]:
        """Fetch objects if that is allowed; return the oids that are not to be had.

        Each remote is asked once for each: a directory may name hundreds of thousands of files.
        """
        asked = [w for w in wanted if self.fetch and (w.remote, *w.key) not in self._nowhere]
        missing = {w.oid for w in wanted} - {w.oid for w in asked}
        if asked:
            ws = self.ws
            ws.progress.start("fetching", sum(w.size for w in asked))
            try:
                missing |= self._fetched(asked)
            finally:
                ws.progress.finish()
            self._came |= {w.key for w in asked if w.oid not in missing}
            self._nowhere |= {(w.remote, *w.key) for w in asked if w.oid in missing}
        return sorted(missing)

    def _fetched(self, wanted: Sequence[Wanted]) -> set[str]:
        """Fetch objects; return what is not to be had. Raises DvcFailed for want of an answer."""
        ws, failed = self.ws, None
        here = {w.key for w in wanted if ws.cache.has(*w.key)}  # asked for all the same: not right
        try:
            lacking = set(fetch_objects(ws.dvc, ws.source, wanted, ws.progress))
        except DvcFailed as e:
            failed = e
            lacking = {w.oid for w in wanted if w.key in here or not ws.cache.has(*w.key)}
        if lacking:
            lacking = self._fetch_elsewhere([w for w in wanted if w.oid in lacking])
        if failed is not None and lacking:
            raise failed
        return lacking

    def _fetch_elsewhere(self, wanted: Sequence[Wanted]) -> set[str]:
        """Ask the remotes that other branches name; return what they have not, either.

        One that does not answer is none: what is wrong with the commit's own has been said.
        """
        ws, missing = self.ws, {w.oid for w in wanted}
        for config, access in elsewhere(ws.git, ws.dvc, ws.access):
            lacking = [w for w in wanted if w.oid in missing]
            if lacking:
                with contextlib.suppress(DvcFailed):
                    opened = partial(ws.source_by, access)
                    missing = set(fetch_objects(config, opened, lacking, ws.progress))
        return missing

    def set_aside(self, oid: str, hash_name: str, path: str) -> None:
        """Move a corrupt object out of the way, and note whose it is.

        One that is what its name says stays: only that pointer vouches for another.
        """
        self.ws.cache.set_aside_corrupt(oid, hash_name)
        self.corrupt.append(path)

    def write_verified(
        self,
        cache: Cache,
        pointer: Pointer,
        oid: str,
        fd: int,
        base: str,
        *,
        executable: bool,
    ) -> None:
        """Write one verified file; a corrupt object is set aside and fetched again if it can be.

        Raises ContentLost when no good copy is to be had.
        """
        for again in (False, True):
            try:
                cache.write_out(
                    oid, fd, base, executable=executable, hash_name=pointer.hash_name,
                    progress=self.ws.progress, claim=pointer.claim,
                )  # fmt: skip
            except Corrupt as e:
                self.set_aside(oid, pointer.hash_name, pointer.path)
                if again or self.obtain_objects(pointer, [oid]):
                    raise ContentLost(
                        f"{gate.shown(pointer.path)}: its content is corrupt, and no DVC remote "
                        "has a good copy"
                    ) from e
            else:
                return


def oid_of(pointer: Pointer) -> str:
    """Return the oid of a pointer that has one."""
    assert pointer.oid is not None
    return pointer.oid

"""Content of many commits to the DVC remotes and back: what push, fetch and the pre-push hook do.

A commit is complete when the remotes list every object its pointers name. Children go before
their manifest, so that a manifest that is there never names what is not.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from devml_git import gate
from devml_git.cache import Corrupt
from devml_git.errors import DvcFailed, Refused
from devml_git.gathering import gather
from devml_git.published import Published
from devml_git.remote import Wanted
from devml_git.streams import in_parallel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from devml_git.gathering import Gathered
    from devml_git.nouns import Pointer
    from devml_git.remote import Remote
    from devml_git.workspace import Workspace

Key = tuple[str, str]  # an object: its oid and hash name


@dataclass(frozen=True, slots=True)
class Lack:
    """An object that a commit needs and that is not where it should be. `why` is in words."""

    path: str
    commit: str
    oid: str
    size: int | None
    why: str


@dataclass(slots=True)
class Sent:
    """What a push of content did: objects and bytes uploaded, objects that were there already.

    `lacking` are needed and neither here nor there; `broken` are pointer files nobody can follow.
    """

    uploaded: int = 0
    size: int = 0
    there: int = 0
    lacking: list[Lack] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    remotes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Group:
    """What goes to one remote: oid to object, and for which artifact and commit it is."""

    wanted: dict[Key, Wanted] = field(default_factory=dict)
    where: dict[Key, tuple[Pointer, str, str]] = field(default_factory=dict)

    def add(self, pointer: Pointer, commit: str, oid: str, place: str, size: int) -> None:
        key = (oid, pointer.hash_name)
        if key not in self.wanted:
            self.wanted[key] = Wanted(oid, pointer.hash_name, pointer.remote, size)
            self.where[key] = (pointer, commit, place)

    def size_of_file(self, key: Key) -> int | None:
        """Return the size in bytes that the pointer of a file gives it; None for all others."""
        pointer, _, place = self.where[key]
        return pointer.size if place == pointer.path and not pointer.is_dir else None

    def files(self) -> _Group:
        """Return what is no manifest."""
        return self._only({key for key in self.wanted if not key[0].endswith(".dir")})

    def manifests(self, *, without: Collection[Key]) -> _Group:
        """Return the manifests but for some."""
        keys = {key for key in self.wanted if key[0].endswith(".dir")}
        return self._only(keys.difference(without))

    def _only(self, keys: Collection[Key]) -> _Group:
        return _Group(
            {k: v for k, v in self.wanted.items() if k in keys},
            {k: v for k, v in self.where.items() if k in keys},
        )


def publish(ws: Workspace, commits: Sequence[str], *, upload: bool) -> Sent:
    """See to it that the DVC remotes have all that these commits need.

    Without `upload` it is only asked for. Raises DvcFailed, NotTrusted for a remote that a commit
    has brought; what is up then stays, and a second run goes on.
    """
    sent = Sent()
    gathered = gather(ws.git, commits, ws.pipelines, nested=ws.tree.nested)
    sent.broken = list(gathered.broken.values())
    for name, pointers in _by_remote(ws, gathered).items():
        _Courier(ws, ws.remote(name), sent).run(pointers, upload=upload)
    return sent


def _by_remote(ws: Workspace, gathered: Gathered) -> dict[str, list[tuple[Pointer, str]]]:
    """Return (pointer, a commit that has it) by remote; `push: false` goes to none."""
    groups: dict[str, list[tuple[Pointer, str]]] = {}
    named = functools.cache(ws.dvc.name_of)
    for key, pointers in gathered.pointers.items():
        for pointer in pointers:
            name = named(pointer.remote) if pointer.push else None
            if name is not None:
                groups.setdefault(name, []).append((pointer, gathered.commits[key][0]))
    return groups


class _Courier:
    """Brings to one remote what it lacks."""

    def __init__(self, ws: Workspace, remote: Remote, sent: Sent) -> None:
        self.ws = ws
        self.remote = remote
        self.sent = sent
        self.lost: set[Key] = set()
        self.published = Published(ws.git.shared, ws.dvc.require(remote.name).url)

    def run(self, pointers: Sequence[tuple[Pointer, str]], *, upload: bool) -> None:
        """Manifests are looked at first: what they name goes up before they do."""
        tops = _Group()
        for pointer, commit in pointers:
            tops.add(pointer, commit, pointer.oid or "", pointer.path, pointer.size or 0)
        there = self._there(tops)
        known = self.published.whole(oid for (oid, _) in there)
        self.published.forget(key[0] for key in tops.wanted if key not in there)
        closed = [
            key
            for key, (pointer, _, _) in tops.where.items()
            if pointer.is_dir and not (key in there and key[0] in known)
        ]
        members, inside = self._opened(tops, closed)
        self._send(_merged(members, tops.files()), {**self._there(members), **there}, upload=upload)
        whole = [key for key, names in inside.items() if not self.lost.intersection(names)]
        torn = set(closed) - set(whole)  # a manifest must not precede what it names
        self._send(tops.manifests(without=torn), there, upload=upload)
        self.published.remember(key[0] for key in whole if key not in self.lost)

    def _there(self, group: _Group) -> dict[Key, int | None]:
        return self.remote.sizes(list(group.wanted.values()))

    def _opened(self, tops: _Group, keys: Sequence[Key]) -> tuple[_Group, dict[Key, list[Key]]]:
        """Return the files in directories, and which are in which; lacking manifests are fetched.

        A directory whose manifest is nowhere to be had is lacking, and left out.
        """
        cache, remote = self.ws.cache, self.remote
        inside: dict[Key, Mapping[str, str]] = {}
        refused: dict[Key, str] = {}
        for _ in range(2):
            lacking = [Wanted(*key) for key in keys if key not in inside and not cache.has(*key)]
            remote.each(remote.get, lacking)
            for key in (k for k in keys if k not in inside and cache.has(*k)):
                try:
                    inside[key] = cache.manifest(*key)
                except Corrupt:
                    cache.quarantine(*key)
                except Refused as e:
                    refused[key] = e.message
        members = _Group()
        for key, names in inside.items():
            pointer, commit, _ = tops.where[key]
            size = (pointer.size or 0) // max(len(names), 1)
            for name, child in names.items():
                members.add(pointer, commit, child, f"{pointer.path}/{name}", size)
        for key in (k for k in keys if k not in inside):
            self._lack(tops, key, refused.get(key, "its manifest is nowhere to be had"))
        return members, {k: [(oid, k[1]) for oid in ns.values()] for k, ns in inside.items()}

    def _lack(self, group: _Group, key: Key, why: str) -> None:
        pointer, commit, place = group.where[key]
        size = pointer.size if place == pointer.path else None
        self.sent.lacking.append(Lack(place, commit, key[0], size, why))
        self.lost.add(key)

    def _send(self, group: _Group, there: Mapping[Key, int | None], *, upload: bool) -> None:
        """Upload what is not there, or has another size there than here; prove it afterwards.

        What is not here has the size that its pointer says.
        """
        cache = self.ws.cache
        todo: list[Key] = []
        for key in group.wanted:
            here = cache.size_of(*key) if cache.has(*key) else None
            right = here if here is not None else group.size_of_file(key)
            if key in there and (right is None or there[key] in {None, right}):
                self.sent.there += 1
            elif here is not None and upload:
                todo.append(key)
            else:
                word = "damaged on the DVC remote" if key in there else "not on the DVC remote"
                self._lack(group, key, word if here is not None else f"not here, and {word}")
        good = self._verified(group, todo)
        self._upload(group, good)

    def _verified(self, group: _Group, keys: Sequence[Key]) -> list[Key]:
        """Return what is whole in the cache; what is not is set aside and reported."""
        cache, progress = self.ws.cache, self.ws.progress
        sizes = [cache.size_of(*key) for key in keys]
        bad: set[int] = set()

        def check(i: int) -> None:
            pointer, _, place = group.where[keys[i]]
            claim = pointer.sha256 if place == pointer.path and not pointer.is_dir else None
            if not cache.verify(*keys[i], progress, claim):
                bad.add(i)

        progress.start("checking", sum(sizes))
        try:
            in_parallel(check, range(len(keys)), sizes)
        finally:
            progress.finish()
        for i in sorted(bad):
            cache.set_aside_corrupt(*keys[i])
            self._lack(group, keys[i], "corrupt here, and not on the DVC remote")
        return [key for i, key in enumerate(keys) if i not in bad]

    def _upload(self, group: _Group, keys: Sequence[Key]) -> None:
        """Send objects, and look at what has arrived. Raises NotTrusted before the first.

        Raises DvcFailed for a directory that has been there, and is not now.
        """
        if keys:
            self.ws.access.require(self.remote.name, sending=True)
            self._refuse_vanished()
        for _ in range(2):
            keys = self._send_once(group, keys)
        if self.remote.is_directory and self.remote.absence() is None:
            self.published.meet()
        self.remote.each(self.remote.clear_damaged, [group.wanted[key] for key in keys])
        for key in keys:
            self._lack(group, key, "the DVC remote took it and does not have it")

    def _refuse_vanished(self) -> None:
        """An unmounted disk is not to be replaced by a directory in the place where it belongs."""
        absence = self.remote.absence()
        if absence is not None and self.published.met:
            place = gate.quoted(self.remote.place)
            raise DvcFailed(
                f"{absence}, and it has been there before",
                hint=f"mount its disk; or, to begin it anew: mkdir -p {place}",
            )

    def _send_once(self, group: _Group, keys: Sequence[Key]) -> list[Key]:
        """Send objects; return those that have not arrived whole."""
        if not keys:
            return []
        cache, progress, remote = self.ws.cache, self.ws.progress, self.remote
        wanted = [group.wanted[key] for key in keys]
        sizes = [cache.size_of(*key) for key in keys]
        progress.start(f"uploading to {remote.name}", sum(sizes))
        try:
            whole = remote.each(partial(remote.put, progress=progress), wanted)
        finally:
            progress.finish()
        proof = remote.sizes(wanted)
        good = [
            key
            for key, size, arrived in zip(keys, sizes, whole, strict=True)
            if arrived and key in proof and proof[key] in {None, size}
        ]
        self.sent.remotes.append(remote.name)
        self.sent.uploaded += len(good)
        self.sent.size += sum(cache.size_of(*key) for key in good)
        return [key for key in keys if key not in set(good)]


def _merged(one: _Group, other: _Group) -> _Group:
    return _Group({**other.wanted, **one.wanted}, {**other.where, **one.where})

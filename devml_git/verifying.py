"""`verify`: whether each commit of the history can still be recovered, and from where.

Each object is hashed once, however many commits have it, and each commit's verdict comes from its
parent's and from what changed: no process a commit.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from devml_git.errors import Refused, UsageError
from devml_git.fingerprints import of_members
from devml_git.gathering import Gathered, gather
from devml_git.plumbing import POINTER_PATHSPECS, is_lock
from devml_git.remote import Wanted
from devml_git.streams import in_parallel
from devml_git.verified import Verified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from devml_git.fingerprints import Fingerprint
    from devml_git.nouns import Pointer
    from devml_git.remote import Remote
    from devml_git.workspace import Workspace

Key = tuple[str, str]  # an object: its oid and hash name

RECOVERABLE, UNKNOWN, AT_RISK, LOST = "recoverable", "unknown", "at-risk", "lost"
VERDICTS = (RECOVERABLE, UNKNOWN, AT_RISK, LOST)  # of several, the last one counts


@dataclass(slots=True)
class Problem:
    """An object that is not as it should be, for one artifact, and the commits that need it.

    `problem` is "missing" (in the cache, and on no remote that was asked), "corrupt" (in the
    cache), or "not-on-remote": not there, or not whole.
    """

    path: str
    oid: str
    size: int | None
    problem: str
    commits: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return one entry of product.md's `problems`."""
        return {
            "path": self.path, "oid": self.oid, "size": self.size, "problem": self.problem,
            "commits": self.commits,
        }  # fmt: skip


@dataclass(slots=True)
class Verdicts:
    """What is known of each commit, newest first, and of all objects together.

    `checked` counts objects, `bytes` what was hashed; `healed` objects that `repair` has mended;
    `damaged` is whether a remote has something, and not whole.
    """

    commits: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    checked: int = 0
    bytes: int = 0
    missing: int = 0
    corrupt: int = 0
    healed: int = 0
    damaged: bool = False
    broken: list[str] = field(default_factory=list)

    def count(self, verdict: str) -> int:
        """Return how many commits have this verdict."""
        return sum(1 for v in self.commits.values() if v == verdict)

    @property
    def passed(self) -> bool:
        """Whether nothing is lost, and nothing is corrupt anywhere."""
        corrupt = any(problem.problem == "corrupt" for problem in self.problems)
        return not (corrupt or self.corrupt or self.damaged or self.count(LOST))

    def to_dict(self) -> dict[str, Any]:
        """Return product.md's `devml.verify/v1`."""
        return {
            "schema": "devml.verify/v1",
            "commits": [{"commit": c, "verdict": v} for c, v in self.commits.items()],
            "objects": {
                "checked": self.checked, "bytes": self.bytes, "missing": self.missing,
                "corrupt": self.corrupt, "healed": self.healed,
            },
            "problems": [p.to_dict() for p in self.problems],
            "broken": self.broken,
        }  # fmt: skip


def verify(
    ws: Workspace, commits: Sequence[str], *, remote: str | None, full: bool, repair: bool
) -> Verdicts:
    """Check what these commits (newest first) need.

    `remote` is a DVC remote's name, "" for each output's own one, None where none is asked;
    `full` believes nothing that was verified before, and reads what the remote has; `repair` mends
    what has a good copy somewhere. Raises DvcFailed for a remote that cannot be asked.
    """
    found = Verdicts()
    gathered = gather(ws.git, commits, ws.pipelines, nested=ws.tree.nested)
    found.broken = sorted(gathered.broken.values())
    asked = "" if repair and remote is None else remote
    inspection = _Inspection(ws, found, full=full, asked=asked)
    inspection.look(_pointers(gathered))
    if repair:
        inspection.mend()
    verdicts, problems = inspection.judge(gathered)
    for key in gathered.broken:
        verdicts[key] = LOST
    _spread(ws, commits, (verdicts, problems), gathered.locks, found)
    return found


def _pointers(gathered: Gathered) -> list[Pointer]:
    return [p for pointers in gathered.pointers.values() for p in pointers]


def _spread(
    ws: Workspace,
    commits: Sequence[str],
    judged: tuple[Mapping[tuple[str, str], str], Mapping[tuple[str, str], list[Problem]]],
    locks: Mapping[str, Mapping[str, str]],
    found: Verdicts,
) -> None:
    """Give each commit the worst verdict of its pointers; only what is not well goes along.

    `locks` are the versions of the locks that mean something else in a commit than in a parent.
    """
    git = ws.git
    verdicts, problems = judged
    parents = git.parents(commits)
    first = {c: ps[0] for c, ps in parents.items() if ps}
    changed: dict[str, list[tuple[str, str]]] = {}
    for row in git.changed_blobs(commits, POINTER_PATHSPECS, first):
        if not is_lock(row.path):
            changed.setdefault(row.commit, []).append((row.path, row.new))
    for commit, versions in locks.items():
        changed.setdefault(commit, []).extend(versions.items())
    bad: dict[str, dict[str, str]] = {}
    for commit in reversed(commits):
        parent = first.get(commit)
        if parent is not None and parent not in bad:
            entries = git.tree_entries(parent)
            bad[parent] = {e.path: e.blob for e in entries if (e.path, e.blob) in verdicts}
        mine = dict(bad[parent]) if parent is not None else {}
        for path, blob in changed.get(commit, ()):
            mine.pop(path, None)
            if (path, blob) in verdicts:
                mine[path] = blob
        bad[commit] = mine
        worst = [verdicts[path, blob] for path, blob in mine.items()]
        found.commits[commit] = max(worst, key=VERDICTS.index, default=RECOVERABLE)
        for key in mine.items():
            for problem in problems.get(key, ()):
                problem.commits.append(commit)
    found.commits = {c: found.commits[c] for c in commits}
    found.problems = [p for ps in problems.values() for p in ps if p.commits]


class _Inspection:
    """What is known of every object: whether the cache has it whole, and whether a remote does."""

    def __init__(self, ws: Workspace, found: Verdicts, *, full: bool, asked: str | None) -> None:
        self.ws = ws
        self.found = found
        self.full = full
        self.asked = asked  # as `verify`'s `remote`
        self.name_of = functools.cache(ws.dvc.name_of)  # the configuration is read once
        self.here: dict[Key, str] = {}  # "good", "missing" or "corrupt"
        self.claims: dict[Key, set[str]] = {}  # the SHA-256s that pointers vouch for, of files
        self.read: dict[tuple[str, Key], Fingerprint] = {}  # what a remote has, with `full`
        self.there: dict[tuple[str, Key], bool] = {}  # by remote and object
        self.places: dict[Key, tuple[Pointer, str, int | None]] = {}
        self.members: dict[Key, Mapping[str, str]] = {}  # what is in a directory: name to oid
        self.hostile: set[Key] = set()  # manifests that nobody can restore
        self.damaged: set[tuple[str | None, Key]] = set()  # on a remote, and not whole
        self.unreadable: set[tuple[str, Key]] = set()  # manifests of which a remote has no good one
        self.remotes: dict[str, Remote] = {}

    # -- looking -----------------------------------------------------------------------------

    def look(self, pointers: Iterable[Pointer]) -> None:
        """Hash what the cache has of these and, if asked, list what the remotes have."""
        tops: dict[tuple[str | None, Key], Pointer] = {}
        for p in pointers:
            tops.setdefault((self._remote_for(p), _key(p)), p)
            self.places.setdefault(_key(p), (p, p.path, p.size))
            if p.sha256 is not None and not p.is_dir:
                self.claims.setdefault(_key(p), set()).add(p.sha256)
        self._hash(self.places)
        self._open_directories([(name, key) for (name, key), p in tops.items() if p.is_dir])
        routes: dict[str, dict[Key, None]] = {}
        for (name, key), p in tops.items():
            needed = {key: None}
            for inside, oid in self.members.get(key, {}).items():
                needed[oid, p.hash_name] = None
                self.places.setdefault((oid, p.hash_name), (p, f"{p.path}/{inside}", None))
            if name is not None:
                routes.setdefault(name, {}).update(needed)
        self._hash(key for key in self.places if key not in self.here)
        for name, keys in routes.items():
            self._list(name, list(keys))

    def _hash(self, keys: Iterable[Key]) -> None:
        cache, progress = self.ws.cache, self.ws.progress
        fresh = [key for key in dict.fromkeys(keys) if key not in self.here]
        known = Verified(self.ws.git.shared)
        here = [key for key in fresh if cache.has(*key)]
        self.here.update(dict.fromkeys(set(fresh) - set(here), "missing"))
        paths = {key: cache.object_path(*key) for key in here}
        believed = set() if self.full else known.whole(paths)
        believed = {k for k in believed if cache.vouched(k[0], self._claim(k))}
        todo = [key for key in here if key not in believed]
        self.here.update(dict.fromkeys(believed, "good"))
        sizes = [cache.size_of(*key) for key in todo]

        def check(i: int) -> None:
            self.here[todo[i]] = "corrupt"
            if cache.verify(*todo[i], progress, self._claim(todo[i])):
                self.here[todo[i]] = "good"

        progress.start("verifying", sum(sizes))
        try:
            in_parallel(check, range(len(todo)), sizes)
        finally:
            progress.finish()
        known.remember({key: paths[key] for key in todo if self.here[key] == "good"})
        self.found.checked += len(fresh)
        self.found.bytes += sum(sizes)

    def _claim(self, key: Key) -> str | None:
        """Return what a file's pointers vouch for; where they do not agree, each is judged."""
        claims = self.claims.get(key, set())
        return next(iter(claims)) if len(claims) == 1 else None

    def _wanted(self, key: Key) -> Wanted:
        return Wanted(*key, claim=self._claim(key))

    def _unlike(self, pointer: Pointer, seen: Mapping[str, Fingerprint]) -> bool:
        """Whether content that was read, by oid, is not what a pointer vouches for."""
        if pointer.sha256 is None:
            return False
        if not pointer.is_dir:
            found = seen.get(pointer.oid or "")
            return found is not None and found.sha256 != pointer.sha256
        members = self.members.get(_key(pointer), {})
        if not set(members.values()) <= seen.keys() or _key(pointer) not in self.members:
            return False
        return of_members({n: seen[oid] for n, oid in members.items()}) != pointer.sha256

    def _unlike_here(self, pointer: Pointer) -> bool:
        oids = [pointer.oid or "", *self.members.get(_key(pointer), {}).values()]
        if any(self.here.get((oid, pointer.hash_name)) != "good" for oid in oids):
            return False
        return self._unlike(pointer, self.ws.cache.seen.known(oids))

    def _unlike_there(self, pointer: Pointer, name: str) -> bool:
        oids = [pointer.oid or "", *self.members.get(_key(pointer), {}).values()]
        read = ((oid, self.read.get((name, (oid, pointer.hash_name)))) for oid in oids)
        return self._unlike(pointer, {oid: f for oid, f in read if f is not None})

    def _remote_for(self, pointer: Pointer) -> str | None:
        """Return the remote that is asked for an output, if any; `push: false` is on none."""
        if self.asked is None or not pointer.push:
            return None
        return self.asked or self.name_of(pointer.remote)

    def _open(self, name: str) -> Remote:
        if name not in self.remotes:
            self.remotes[name] = self.ws.reader(name)
        return self.remotes[name]

    def _open_directories(self, wanted: Sequence[tuple[str | None, Key]]) -> None:
        """Read manifests, from a remote where the cache has no good one; the cache stays."""
        elsewhere: dict[str, list[Key]] = {}
        for name, key in wanted:
            if self.here[key] == "good":
                self._note_members(key, lambda key=key: self.ws.cache.manifest(*key))  # type: ignore[misc]
            elif name is not None:
                elsewhere.setdefault(name, []).append(key)
        for name, keys in elsewhere.items():
            there = self._open(name)
            there.each(
                lambda key, r=there: self._note_members(key, lambda: r.manifest(Wanted(*key))),  # type: ignore[misc]
                keys,
            )
            read = self.members.keys() | self.hostile
            self.unreadable.update((name, key) for key in keys if key not in read)

    def _note_members(self, key: Key, read: Callable[[], Mapping[str, str] | None]) -> None:
        try:
            members = read()
        except Refused:
            self.hostile.add(key)
            return
        if members is not None:
            self.members[key] = members

    def _list(self, name: str, keys: Sequence[Key]) -> None:
        there = self._open(name)
        sizes = there.sizes([Wanted(*key) for key in keys])
        for key in keys:
            expected = self._size(key)
            said = sizes.get(key, 0)
            same = expected is None or said is None or said == expected
            self.there[name, key] = key in sizes and same and (name, key) not in self.unreadable
            if key in sizes and not self.there[name, key]:
                self.damaged.add((name, key))
        if self.full:  # read what it has, and hash it
            listed = [key for key in keys if self.there[name, key]]
            found = there.each(there.proves, [self._wanted(key) for key in listed])
            for key, one in zip(listed, found, strict=True):
                self.there[name, key] = one is not None
                if one is not None:
                    self.read[name, key] = one
                else:
                    self.damaged.add((name, key))

    def _size(self, key: Key) -> int | None:
        """Return the size an object has, in bytes, where it is known."""
        if self.here.get(key) == "good":
            return self.ws.cache.size_of(*key)
        pointer, place, size = self.places[key]
        return size if place == pointer.path and not pointer.is_dir else None

    # -- mending -----------------------------------------------------------------------------

    def mend(self) -> None:
        """Bring each bad or missing copy back from the other one; the bad one is set aside."""
        routes: dict[str, list[Key]] = {}
        for name, key in self.there:
            routes.setdefault(name, []).append(key)
        for name, keys in routes.items():
            good = {key for key in keys if self.there[name, key]}
            self._send(name, [k for k in keys if self.here[k] == "good" and k not in good])
            self._bring(name, [k for k in keys if self.here[k] == "corrupt" and k in good])

    def _send(self, name: str, keys: Sequence[Key]) -> None:
        there = self._open(name)
        keys = [key for key in keys if self._still_good(key)]
        if keys:
            self.ws.access.require(name, sending=True)
        wanted = [Wanted(*key) for key in keys]
        arrived = there.each(partial(there.put, progress=self.ws.progress), wanted)
        sizes = there.sizes(wanted)
        for key, whole in zip(keys, arrived, strict=True):
            right = sizes.get(key, -1) in {None, self.ws.cache.size_of(*key)}
            self.there[name, key] = whole and right
            self.found.healed += whole and right
            if whole and right:
                self.damaged.discard((name, key))

    def _still_good(self, key: Key) -> bool:
        """Read an object before it is sent: bit rot since it was verified changes no time stamp."""
        good = self.ws.cache.verify(*key, claim=self._claim(key))
        if not good:
            self.here[key] = "corrupt"
        return good

    def _bring(self, name: str, keys: Sequence[Key]) -> None:
        there = self._open(name)
        for key in keys:
            self.ws.cache.set_aside_corrupt(*key)
        wanted = [self._wanted(key) for key in keys]
        got = there.each(partial(there.get, progress=self.ws.progress), wanted)
        for key, whole in zip(keys, got, strict=True):
            if whole:
                self.here[key] = "good"
                self.found.healed += 1

    # -- judging -----------------------------------------------------------------------------

    def judge(
        self, gathered: Gathered
    ) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], list[Problem]]]:
        """Return verdict and problems of the pointer files that are not well, by version."""
        self.found.missing = sum(1 for state in self.here.values() if state == "missing")
        self.found.corrupt = sum(1 for state in self.here.values() if state == "corrupt")
        verdicts: dict[tuple[str, str], str] = {}
        problems: dict[tuple[str, str], list[Problem]] = {}
        for where, pointers in gathered.pointers.items():
            if not pointers:
                continue
            places = [place for p in pointers for place in self._places_of(p)]
            verdict = max((self._verdict(p, k) for p, k, _ in places), key=VERDICTS.index)
            found = [problem for place in places for problem in self._problems(*place)]
            if found or verdict != RECOVERABLE:
                verdicts[where] = verdict
                problems[where] = found
        return verdicts, problems

    def _places_of(self, pointer: Pointer) -> list[tuple[Pointer, Key, str]]:
        """Return the objects of a pointer and the places they are for."""
        top = _key(pointer)
        return [(pointer, top, pointer.path)] + [
            (pointer, (oid, pointer.hash_name), f"{pointer.path}/{name}")
            for name, oid in self.members.get(top, {}).items()
        ]

    def _verdict(self, pointer: Pointer, key: Key) -> str:
        """`push: false` is nowhere else by choice: that it is not here does not show it lost."""
        if key in self.hostile:
            return LOST
        corrupt = self.here[key] == "corrupt" or (
            key == _key(pointer) and self._unlike_here(pointer)
        )
        here = self.here[key] == "good" and not corrupt
        there = self._is_there(pointer, key)
        if there is not None:
            whole = there and not corrupt
            return RECOVERABLE if whole else AT_RISK if here or there else LOST
        if here:
            return RECOVERABLE
        nobody_looked = not pointer.push or (self.asked is None and bool(self.ws.dvc.remotes))
        return LOST if not nobody_looked else AT_RISK if corrupt else UNKNOWN

    def _is_there(self, pointer: Pointer, key: Key) -> bool | None:
        name = self._remote_for(pointer)
        found = None if name is None else self.there.get((name, key))
        if found and name and key == _key(pointer) and self._unlike_there(pointer, name):
            return False
        return found

    def _problems(self, pointer: Pointer, key: Key, place: str) -> list[Problem]:
        there = self._is_there(pointer, key)
        wrong = {self.here[key]} - {"good"}
        if there:
            wrong.discard("missing")  # whole on the remote that was asked
        if key in self.hostile or (key == _key(pointer) and self._unlike_here(pointer)):
            wrong = {"corrupt"}
        if there is False:
            wrong.add("not-on-remote")
            self.found.damaged |= (self._remote_for(pointer), key) in self.damaged
        size = pointer.size if place == pointer.path else None
        where = f"{self.ws.git.prefix}{place}"
        return [Problem(where, key[0], size, kind) for kind in sorted(wrong)]


def _key(pointer: Pointer) -> Key:
    return pointer.oid or "", pointer.hash_name


def remote_among(ws: Workspace, words: Sequence[str]) -> str | None:
    """Return the word that is a DVC remote's name and no revision: `--remote NAME`."""
    known = ws.dvc.remotes
    return next((w for w in words if w in known and ws.git.commit_of(w) is None), None)


def commits_of(ws: Workspace, revs: Sequence[str], *, everything: bool) -> list[str]:
    """Return the commits that REVs or RANGEs mean, newest first; all refs' with `everything`.

    A single REV is that commit alone. Raises UsageError.
    """
    if everything:
        if revs:
            raise UsageError("--all takes no REV", hint="devml-git verify --all")
        return ws.git.all_commits()
    return ws.git.commits_meant(revs or ["HEAD"])

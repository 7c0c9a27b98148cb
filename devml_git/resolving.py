"""One pointer file that git merges: the merged text, or conflict markers and why.

The worktree's lock is not taken: a hook of ours may hold it while git runs us. What is written
is a manifest in the cache, under its own hash, and the file that git gave us.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from devml_git import gate, isolation, merging, plumbing
from devml_git.errors import ContentLost, DevmlError, GitFailed, Refused
from devml_git.plumbing import Git
from devml_git.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devml_git.cache import Cache

CONFLICT = 11
FETCH_SECONDS = 300
_USUAL_MARKERS = 7


@dataclass(slots=True)
class Resolved:
    """The merged text, or one with markers (`status` is CONFLICT), and what is to be told."""

    text: bytes
    status: int = 0
    lines: list[str] = field(default_factory=list)


class CacheObjects:
    """The cache of the project that `file` (relative to the worktree's root) belongs to.

    Without `file`, of the project around the current directory. A manifest that the cache lacks
    is fetched if it may be.
    """

    def __init__(self, file: str | None = None, *, may_fetch: bool = True) -> None:
        self.file = file
        self.may_fetch = may_fetch

    @cached_property
    def git(self) -> Git:
        """The project, seen through git. Raises NotARepository."""
        here = Git.discover()
        if self.file is None:
            return here
        around = [p for p in here.projects() if self.file.startswith(p.prefix)]
        return max(around, key=lambda p: len(p.prefix), default=here)

    @cached_property
    def cache(self) -> Cache:
        """Its cache, opened only when a directory is to be merged."""
        from devml_git.location import open_cache

        return open_cache(self.git)

    def manifest(self, oid: str, remote: str | None) -> Mapping[str, str]:
        """Return a directory's members (name to oid). Raises ContentLost, Refused."""
        from devml_git.cache import Corrupt

        try:
            return self.cache.manifest(oid)
        except Corrupt:
            self.cache.quarantine(oid)
        except ContentLost:
            pass
        self._fetch(oid, remote)
        try:
            return self.cache.manifest(oid)
        except Corrupt as e:
            raise ContentLost(f"its list of files, {oid}, is corrupt") from e

    def size_of(self, oid: str) -> int | None:
        """Return an object's size in bytes, or None where it is not here."""
        return self.cache.size_of(oid) if self.cache.has(oid) else None

    def keep(self, members: Mapping[str, str]) -> str:
        """Store the manifest of a directory; return its oid."""
        return self.cache.put_manifest(members)[0]

    def vouch(self, members: Mapping[str, str]) -> str | None:
        """Return the SHA-256 of a directory, None where that of some member is not known."""
        from devml_git.fingerprints import of_members

        seen = self.cache.seen.known(members.values())
        if not set(members.values()) <= seen.keys():
            return None
        return of_members({name: seen[oid] for name, oid in members.items()})

    def _fetch(self, oid: str, remote: str | None) -> None:
        """Fetch a manifest in a process of its own, bounded in time: no merge hangs on a network.

        Raises ContentLost that says why it is not here.
        """
        why = self._why_not_to_fetch(remote)
        if why is None:
            seconds = float(self.git.config("devml.fetchTimeout") or FETCH_SECONDS)
            argv = isolation.command("mergedriver", "--fetch", oid, remote or "")
            status = plumbing.run_program(argv, timeout=seconds, cwd=self.git.top)
            if status == 0:
                return
            why = "it could not be fetched from the DVC remote"
            if status is None:
                why = f"fetching it from the DVC remote took over {seconds:.0f} s"
        raise ContentLost(f"its list of files is not in the cache: {why}; then merge again")

    def _why_not_to_fetch(self, remote: str | None) -> str | None:
        from devml_git import config
        from devml_git.dvc_config import DvcConfig
        from devml_git.trust import Trust, listed_unknown

        if not self.may_fetch:
            return "nothing is to be fetched"
        dvc = DvcConfig(self.git)
        if not dvc.remotes:
            return "no DVC remote is configured (dvc remote add -d NAME URL)"
        trust = Trust(self.git, dvc)
        asked = {dvc.default, remote.lower() if remote else None}
        meant = [r for name, r in dvc.remotes.items() if name in asked]
        wary = [r for r in meant if not trust.may_read(r)]
        names = " ".join(map(gate.quoted, [r.name for r in wary]))
        if wary:
            why = f"the DVC remote {listed_unknown(wary)} is new or was changed by a commit"
            return f"{why} (devml-git trust {names})"
        if not config.load(self.git.top).hooks.fetch:
            return "hooks may not fetch (dvc fetch)"
        return None


def fetch(oid: str, remote: str | None) -> bool:
    """Fetch one manifest; return whether it is here now. Runs in the process of its own."""
    from devml_git.dvc_config import DvcConfig
    from devml_git.remote import Remote, Wanted, fetch_objects
    from devml_git.trust import Access

    objects = CacheObjects()
    git, dvc = objects.git, DvcConfig(objects.git)
    access = Access(git, lambda: dvc)
    wanted = [Wanted(gate.oid(oid, "merge"), remote=remote)]

    def opened(name: str) -> Remote:
        return Remote(access.require(name), objects.cache, git.shared)

    return not fetch_objects(dvc, opened, wanted, SILENT)


def resolve(file: str, names: Sequence[str], size: int) -> Resolved:
    """Merge a pointer file. `names` are the files with base, ours and theirs, as git made them.

    `file` is the path being merged, `size` that of the markers.
    """
    base, ours, theirs = (Path(name).read_bytes() for name in names)
    try:
        text = merging.merge(file, base, ours, theirs, CacheObjects(file))
    except Refused:
        merged = _merge_text(names, size)
        return Resolved(merged) if merged is not None else _conflict(names, size)
    except merging.Clash as e:
        return _conflict(names, size, _line(file, e.why, size))
    except DevmlError as e:
        return _conflict(names, size, _line(file, e.message, size))
    if b"#" in base + ours + theirs:
        # comments of both sides stay, where lines say the same as the merge by meaning
        merged = _merge_text(names, size)
        text = merged if merged is not None and merging.same(file, merged, text) else text
    return Resolved(text)


def _line(file: str, why: str, size: int) -> list[str]:
    if size > _USUAL_MARKERS:
        return []  # a merge of two merge bases: nothing to settle for anybody
    path = gate.quoted(file.removesuffix(".dvc"))
    settle = f"devml-git checkout --ours -- {path}   or   --theirs"
    return [f"devml-git: {gate.shown(file)}: {why}: {settle}"]


def _conflict(names: Sequence[str], size: int, lines: list[str] | None = None) -> Resolved:
    """Return ours and theirs with markers, also where lines alone would merge."""
    for base in (names[0], os.devnull):
        status, text = _merge_file([base, *names[1:]], size)
        if status:
            return Resolved(text, CONFLICT, lines or [])
    _, ours, theirs = (Path(name).read_bytes() for name in names)
    parts = [b"<" * size + b" ours", ours.rstrip(b"\n"), b"=" * size, theirs.rstrip(b"\n"),
             b">" * size + b" theirs", b""]  # fmt: skip
    return Resolved(b"\n".join(parts), CONFLICT, lines or [])


def _merge_text(names: Sequence[str], size: int) -> bytes | None:
    """Return git's own merge by lines, or None where that conflicts."""
    status, text = _merge_file(names, size)
    return text if status == 0 and text is not None else None


def _merge_file(names: Sequence[str], size: int) -> tuple[int, bytes]:
    """Run `git merge-file`; return how many conflicts there are (0, too, where it cannot)."""
    base, ours, theirs = (os.path.abspath(name) for name in names)
    try:
        return Git(Path.cwd()).raw(
            "merge-file", "-p", "-q", f"--marker-size={size}", "-L", "ours", "-L", "base",
            "-L", "theirs", ours, base, theirs, ok=range(128),
        )  # fmt: skip
    except GitFailed:
        return 0, b""

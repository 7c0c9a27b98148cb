"""What lies in the workspace (W): files of an artifact, their stats, and their known hashes.

Follows DVC 3.67 in what a directory artifact contains (`dvc_data/hashfile/build.py`): files,
links to files as what they point to; no empty directories, nothing `.dvcignore` names, no `.git`,
`.hg` or `.dvc`. Directories behind links are left out, as there, but with a note.

Not so where a link leads out of the artifact: DVC stores what lies there, be it a private key; here
it cannot be stored (P9). A link that git tracks came with somebody's commit: git keeps it, it is no
member, and nothing follows it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from devml_git import bounds, gate
from devml_git.cache import Source
from devml_git.errors import Refused, StorageFailed
from devml_git.fingerprints import Fingerprint, of_members
from devml_git.inside import resolve
from devml_git.manifest import manifest_oid
from devml_git.place import Absent, Stat, directory, look, lstat, storage_error, what_is

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from devml_git.cache import Cache
    from devml_git.record import Hashed

_PRUNED = frozenset({".git", ".hg", ".dvc"})
_EXEC = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH  # dvc_objects/fs/utils.py is_exec


@dataclass(frozen=True, slots=True)
class Found:
    """One file of an artifact: its stat, whether it has an exec bit, and where its bytes are.

    `behind` is the file that a link stands for, on a way without links: below the root (POSIX), or
    an object of the cache (absolute); None for a file. `raw` is the whole stat result that the
    others were taken from.
    """

    stat: Stat
    executable: bool
    behind: str | None
    raw: os.stat_result

    @property
    def link(self) -> bool:
        """Whether a link lies there."""
        return self.behind is not None


class Ignores:
    """DVC's filter (directory, dirs, files) -> (dirs, files), and the time it may take in all."""

    def __init__(self, found: Callable[[str, list[str], list[str]], Any]) -> None:
        self._found = found
        self._allowance = bounds.Allowance(bounds.FILE_SECONDS)

    def of(self, directory: str, dirs: list[str], others: list[str]) -> tuple[list[str], list[str]]:
        """Return what is left of a directory's entries. Raises bounds.TimeUp."""
        names = len(dirs) + len(others)
        with self._allowance.limited(bounds.PLACE_SECONDS + names * bounds.NAME_SECONDS):
            dirs, others = self._found(directory, dirs, others)
        return dirs, others


@dataclass(slots=True)
class Work:
    """W of one artifact: what lies at its place.

    `kind` is "absent", "file", "dir" or the word for something else; `files` are by name inside
    the artifact ("" for a single file); `oids` fill up as hashes become known, `sha256s` where that
    was computed, too; `notes` say what DVC's format does not hold; `odd` is why the place cannot be
    an artifact, `odd_members` (paths) are what cannot be stored in a directory; `undecided`: it is
    odd because DVC did not find out in time what is ignored. `links` are names of those that are no
    members.
    """

    path: str
    kind: str
    files: dict[str, Found] = field(default_factory=dict)
    oids: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    odd: str | None = None
    odd_members: list[str] = field(default_factory=list)
    undecided: bool = False
    links: set[str] = field(default_factory=set)
    sha256s: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Size in bytes: the file's, or the sum over a directory's files."""
        return sum(f.stat.size for f in self.files.values())

    def unknown(self) -> list[str]:
        """Return the files whose hash is not known."""
        return [name for name in self.files if name not in self.oids]

    def oid(self) -> str | None:
        """Return the artifact's oid, or None when it is absent or not all hashes are known."""
        if self.kind == "file":
            return self.oids.get("")
        if self.kind != "dir" or len(self.oids) < len(self.files):
            return None
        return manifest_oid({name: self.oids[name] for name in self.files})

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Return the fingerprints of its files that are known, by name."""
        files = self.files
        return {n: Fingerprint(files[n].stat.size, sha) for n, sha in self.sha256s.items()}

    def vouching(self) -> str | None:
        """Return the SHA-256 that a pointer to this would vouch for, None where it is not known."""
        if self.kind == "file":
            return self.sha256s.get("")
        if self.kind != "dir" or len(self.sha256s) < len(self.files):
            return None
        return of_members(self.fingerprints())

    def executable(self) -> frozenset[str]:
        """Return the names of files with an exec bit."""
        return frozenset(name for name, f in self.files.items() if f.executable)

    def source(self, root: Path, name: str) -> Source:
        """Return one file as a source for the cache."""
        inner = f"{self.path}/{name}" if name else self.path
        found = self.files[name]
        real = found.behind or inner
        if found.link and os.path.isabs(real):
            return Source(real, inner, found.stat.size)
        return Source(f"{root}{os.sep}{real}", inner, found.stat.size, root, real, found.stat)

    def in_a_link(self, name: str) -> bool:
        """Whether a link that is no member lies where this member belongs, or on the way there."""
        if not self.links:
            return False
        above = (name[:i] for i, letter in enumerate(name) if letter == "/")
        return name in self.links or any(part in self.links for part in above)


def scan(
    root: Path,
    path: str,
    cache: Cache,
    ignores: Ignores | None = None,
    in_git: Callable[[], Collection[str]] = frozenset,
) -> Work:
    """Look at an artifact's place without reading any content.

    `ignores` is DVC's filter; `in_git` returns the links that git
    tracks, and is asked only where there is a link. A link into the cache counts as the file it
    points to (`cache.type` symlink); any other link, a socket or a device is `odd`.
    """
    try:
        st = look(root, path)
    except Refused as e:
        return Work(path, "odd", odd=e.message)
    if st is None:
        return Work(path, "absent")
    if stat.S_ISDIR(st.st_mode):
        return _Scan(root, Work(path, "dir"), cache, ignores, in_git).work
    if stat.S_ISREG(st.st_mode) and _readable(st, f"{root}{os.sep}{path}"):
        return Work(path, "file", {"": _found(st)})
    if stat.S_ISREG(st.st_mode):
        return Work(path, "odd", odd=f"{gate.shown(path)} cannot be read: permission denied")
    behind = cache.object_behind(root / path) if path not in in_git() else None
    inside = lstat(-1, str(behind)) if behind else None
    if behind and inside and stat.S_ISREG(inside.st_mode):
        return Work(path, "file", {"": Found(Stat.of(inside), False, str(behind), inside)})  # noqa: FBT003
    return Work(path, "odd", odd=f"{gate.shown(path)} is a {what_is(st)}, not a file or directory")


def _found(st: os.stat_result, behind: str | None = None) -> Found:
    return Found(Stat.of(st), bool(st.st_mode & _EXEC), behind, st)


def _readable(st: os.stat_result, name: str, fd: int | None = None) -> bool:
    """Whether a file may be read; the system is asked only where its mode leaves that open."""
    if st.st_mode & stat.S_IROTH or (st.st_mode & stat.S_IRUSR and st.st_uid == os.geteuid()):
        return True
    effective = os.access in os.supports_effective_ids
    return os.access(name, os.R_OK, dir_fd=fd, effective_ids=effective)


class _Scan:
    """One look at a directory artifact, by the handles of its directories; `work` is the answer."""

    def __init__(
        self,
        root: Path,
        work: Work,
        cache: Cache,
        ignores: Ignores | None,
        in_git: Callable[[], Collection[str]],
    ) -> None:
        self.root = root
        self.work = work
        self._cache = cache
        self._ignores = ignores
        self._in_git = in_git
        self._followed = 0
        pending = [""]
        while pending:
            pending += self._directory(pending.pop())
        self._tell()

    def _directory(self, below: str) -> list[str]:
        """Take in one directory; return those in it."""
        here = f"{self.work.path}/{below}" if below else self.work.path
        try:
            with directory(self.root, here) as fd, os.scandir(fd) as listing:
                return self._entries(here, f"{below}/" if below else "", fd, listing)
        except Absent:
            self._odd(here, ": it vanished")
        except Refused as e:
            self._odd(here, f": {e.message}")
        except (OSError, StorageFailed) as e:
            why = e.__cause__ if isinstance(e, StorageFailed) else e
            if not isinstance(why, PermissionError):  # a disk that fails says so, and is no edit
                raise storage_error(e, here) if isinstance(e, OSError) else e from None
            self._odd(here, f": {(why.strerror or 'permission denied').lower()}")
        return []

    def _entries(
        self, here: str, prefix: str, fd: int, listing: Iterable[os.DirEntry[str]]
    ) -> list[str]:
        entries = {e.name: e for e in listing}
        dirs = [n for n, e in entries.items() if e.is_dir(follow_symlinks=False)]
        others = [n for n in entries if n not in set(dirs) and n != ".git"]
        if ".dvcignore" in entries:
            self._odd(here, "/.dvcignore: DVC allows none inside an artifact")
            others.remove(".dvcignore")
        dirs = [d for d in dirs if d not in _PRUNED]
        dirs, others = self._not_ignored(here, dirs, others)
        if prefix and not dirs and not others:
            self.work.notes.append(f"{gate.shown(here)} is empty: DVC's format does not hold it")
        for name in others:
            self._member(f"{prefix}{name}", fd, entries[name])
        return [f"{prefix}{d}" for d in dirs]

    def _not_ignored(
        self, here: str, dirs: list[str], others: list[str]
    ) -> tuple[list[str], list[str]]:
        """Ask DVC. Raises Refused where that takes too long."""
        if self._ignores is None:
            return dirs, others
        try:
            return self._ignores.of(str(self.root / here), dirs, others)
        except bounds.TimeUp as e:
            self.work.undecided = True
            raise Refused("DVC takes too long to tell what .dvcignore files leave out") from e

    def _member(self, name: str, fd: int, entry: os.DirEntry[str]) -> None:
        """Take in one directory entry that is no directory."""
        where = f"{self.work.path}/{name}"
        try:
            gate.path(name, self.work.path)
            if entry.is_symlink():
                self._link(name, where)
                return
            st = entry.stat(follow_symlinks=False)
        except Refused as e:
            self._odd(where, e.message, whole=True)
        except FileNotFoundError:
            return
        except OSError as e:
            self._odd(where, f": {(e.strerror or str(e)).lower()}")
        else:
            if not stat.S_ISREG(st.st_mode):
                self._odd(where, f" is a {what_is(st)}, not a file")
            elif not _readable(st, entry.name, fd):
                self._odd(where, " cannot be read: permission denied")
            else:
                self.work.files[name] = _found(st)

    def _link(self, name: str, where: str) -> None:
        """Take in a link: as what it stands for, as git's own, or as what cannot be stored."""
        if where in self._in_git():
            self.work.links.add(name)
            self.work.notes.append(f"{gate.shown(where)} is a link that git keeps: no member here")
            return
        behind = self._cache.object_behind(self.root / where)
        if behind is not None:
            real, st = str(behind), lstat(-1, str(behind))
        else:
            real = resolve(self.root, where, inside=self.work.path)
            st = look(self.root, real)
        if st is None:
            self._odd(where, " is a link to nothing")
            return
        self._followed += behind is None
        if stat.S_ISREG(st.st_mode):
            self.work.files[name] = _found(st, real)
        elif stat.S_ISDIR(st.st_mode):
            self.work.links.add(name)
        else:
            self._odd(where, f" is a {what_is(st)}, not a file")

    def _odd(self, path: str, why: str, *, whole: bool = False) -> None:
        """Note what cannot be stored; the first word of it is the artifact's."""
        self.work.odd = self.work.odd or (why if whole else f"{gate.shown(path)}{why}")
        self.work.odd_members.append(path)

    def _tell(self) -> None:
        if self._followed:
            self.work.notes.append(
                f"{gate.shown(self.work.path)}: {self._followed} symbolic link(s) inside are "
                "stored as the files they point to (links to directories not at all)"
            )
        if self.work.odd and len(self.work.odd_members) > 1:
            self.work.odd += f" (and {len(self.work.odd_members) - 1} more like it)"


def recall(work: Work, known: Mapping[str, Hashed]) -> None:
    """Fill in the hashes whose files still have the stat they were hashed with."""
    for name, found in work.files.items():
        entry = known.get(name)
        if entry is not None and entry.stat == found.stat:
            work.oids[name] = entry.oid
            if entry.sha256 is not None:
                work.sha256s[name] = entry.sha256

"""What lies in the workspace (W): files of an artifact, their stats, and their known hashes.

Follows DVC 3.67 in what a directory artifact contains (`dvc_data/hashfile/build.py`): files,
links to files as what they point to; no empty directories, nothing `.dvcignore` names, no `.git`,
`.hg` or `.dvc`. Directories behind links are left out, as there, but with a note.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from devml_git import gate
from devml_git.cache import Source
from devml_git.errors import Refused
from devml_git.fingerprints import Fingerprint, of_members
from devml_git.manifest import manifest_oid
from devml_git.place import Stat, look, what_is

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from devml_git.cache import Cache
    from devml_git.record import Hashed

_PRUNED = frozenset({".git", ".hg", ".dvc"})
_EXEC = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH  # dvc_objects/fs/utils.py is_exec


@dataclass(frozen=True, slots=True)
class Found:
    """One file of an artifact: its stat, whether it has an exec bit, whether it is a link.

    `raw` is the whole stat result that the others were taken from.
    """

    stat: Stat
    executable: bool
    link: bool
    raw: os.stat_result


@dataclass(slots=True)
class Work:
    """W of one artifact: what lies at its place.

    `kind` is "absent", "file", "dir" or the word for something else; `files` are by name inside
    the artifact ("" for a single file); `oids` fill up as hashes become known, `sha256s` where that
    was computed, too; `notes` say what DVC's format does not hold; `odd` is why the place cannot be
    an artifact.
    """

    path: str
    kind: str
    files: dict[str, Found] = field(default_factory=dict)
    oids: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    odd: str | None = None
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
        return Source(f"{root}{os.sep}{inner}", inner, found.stat.size, follow=found.link)


def scan(root: Path, path: str, cache: Cache, ignores: Any = None) -> Work:  # noqa: ANN401
    """Look at an artifact's place without reading any content.

    `ignores` is DVC's filter from `store.ignore_filter`. A link into the cache counts as the file
    it points to (`cache.type` symlink); any other link, a socket or a device is `odd`.
    """
    try:
        st = look(root, path)
    except Refused as e:
        return Work(path, "odd", odd=e.message)
    if st is None:
        return Work(path, "absent")
    if stat.S_ISREG(st.st_mode):
        return Work(path, "file", {"": _found(st)})
    if stat.S_ISDIR(st.st_mode):
        return _scan_directory(root, path, cache, ignores)
    oid = cache.is_link_to_object(root / path)
    if oid is not None:
        inside = os.stat(root / path)
        return Work(path, "file", {"": Found(Stat.of(inside), False, True, inside)})  # noqa: FBT003
    return Work(path, "odd", odd=f"{gate.shown(path)} is a {what_is(st)}, not a file or directory")


def _found(st: os.stat_result, *, link: bool = False) -> Found:
    return Found(Stat.of(st), bool(st.st_mode & _EXEC), link, st)


def _scan_directory(root: Path, path: str, cache: Cache, ignores: Any) -> Work:  # noqa: ANN401
    work = Work(path, "dir")
    pending = [""]
    links = 0
    while pending:
        below = pending.pop()
        here = f"{path}/{below}" if below else path
        try:
            with os.scandir(root / here) as listing:
                entries = {e.name: e for e in listing}
        except OSError as e:
            work.odd = f"{gate.shown(here)}: {(e.strerror or str(e)).lower()}"
            return work
        dirs = [n for n, e in entries.items() if e.is_dir(follow_symlinks=False)]
        others = [n for n in entries if n not in set(dirs) and n != ".git"]
        if ".dvcignore" in entries:
            work.odd = f"{gate.shown(here)}/.dvcignore: DVC allows none inside an artifact"
            return work
        dirs = [d for d in dirs if d not in _PRUNED]
        if ignores is not None:
            dirs, others = ignores(str(root / here), dirs, others)
        if below and not dirs and not others:
            work.notes.append(f"{gate.shown(here)} is empty: DVC's format does not hold it")
        prefix = f"{below}/" if below else ""
        pending += [f"{prefix}{d}" for d in dirs]
        for name in others:
            links += _add(work, root, f"{prefix}{name}", entries[name], cache)
            if work.odd:
                return work
    if links:
        work.notes.append(
            f"{gate.shown(path)}: {links} symbolic link(s) inside are stored as the files they "
            "point to (links to directories not at all)"
        )
    return work


def _add(work: Work, root: Path, name: str, entry: os.DirEntry[str], cache: Cache) -> int:
    """Add one directory entry to `work`; return 1 when it is a link of the user's."""
    where = f"{work.path}/{name}"
    link = entry.is_symlink()
    try:
        gate.path(name, work.path)
        st = entry.stat(follow_symlinks=link)
    except Refused as e:
        work.odd = e.message
        return 0
    except FileNotFoundError:
        if link:
            work.odd = f"{gate.shown(where)} is a link to nothing"
        return 0
    except OSError as e:
        work.odd = f"{gate.shown(where)}: {(e.strerror or str(e)).lower()}"
        return 0
    if stat.S_ISREG(st.st_mode):
        work.files[name] = _found(st, link=link)
    elif not (link and stat.S_ISDIR(st.st_mode)):
        work.odd = f"{gate.shown(where)} is a {what_is(st)}, not a file"
    return int(link and cache.is_link_to_object(root / where) is None)


def recall(work: Work, known: Mapping[str, Hashed]) -> None:
    """Fill in the hashes whose files still have the stat they were hashed with."""
    for name, found in work.files.items():
        entry = known.get(name)
        if entry is not None and entry.stat == found.stat:
            work.oids[name] = entry.oid
            if entry.sha256 is not None:
                work.sha256s[name] = entry.sha256

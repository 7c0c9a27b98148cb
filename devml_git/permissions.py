"""Who else may read our private files, or write the cache: what doctor and a warning say of it.

On Windows modes say nothing, and nothing is found.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from devml_git import credentials, gate, privacy
from devml_git.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devml_git.cache import Cache
    from devml_git.plumbing import Git

_CACHE = "cache"  # in git's common directory: whose it is, `exposed_cache` says


def exposed_files(git: Git, *, shared: bool) -> Iterator[tuple[str, str]]:
    """Yield (what is wrong, the command that mends it) of private places that others can read.

    These are our directories in git's, all files in them, and a `.dvc/config.local` with
    credentials in it. Where the cache is `shared`, others enter the directory that it is in, so
    there only the files count.
    """
    for place in dict.fromkeys((git.private, git.shared)):
        if not shared and not _is_private(place):
            yield f"{place} can be entered by others", f"chmod 700 {gate.quoted(place)}"
        if shared and (wide := [d for d in _directories(place) if d.stat().st_mode & stat.S_IWOTH]):
            names = " ".join(map(gate.quoted, wide))
            yield f"everybody can write in {listed(list(map(str, wide)))}", f"chmod o-w {names}"
        loose = [file for file in _files(place) if not _is_private(file)]
        if loose and (shared or not _is_private(place)):
            told = listed([str(file.relative_to(place)) for file in loose])
            names = " ".join(map(gate.quoted, loose))
            yield f"others can read, in {place}: {told}", f"chmod 600 {names}"
    for project in git.projects():
        private = project.top / credentials.PRIVATE
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = private.read_text("utf-8")
            if not privacy.is_private(private.stat()) and any(credentials.found_in(text)):
                name = gate.shown(f"{project.prefix}{credentials.PRIVATE}")
                what = f"{name} has credentials in it, and can be read by others"
                yield what, f"chmod 600 {gate.quoted(private)}"


def _is_private(place: Path) -> bool:
    try:
        return privacy.is_private(place.stat())  # a link of the user's own leads to it
    except OSError:
        return True


def _directories(place: Path) -> Iterator[Path]:
    """Yield a directory of ours and those in it; not the cache, which others may be let into."""
    if place.is_dir():
        yield place
        for entry in sorted(place.iterdir()):
            if entry.name != _CACHE and not entry.is_symlink():
                yield from _directories(entry)


def _files(place: Path) -> Iterator[Path]:
    for entry in sorted(place.iterdir()) if place.is_dir() else ():
        if entry.name == _CACHE or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _files(entry)
        else:
            yield entry


def exposed_cache(git: Git, cache: Cache, *, thorough: bool = False) -> tuple[str, str] | None:
    """Return what is wrong with the owner and mode of the cache, and what mends it, or None.

    Who can write a directory there can put other content under a name, until it is verified.
    `cache.shared = group` says that the group may. Who can write a directory above it (one that
    is not sticky, as `/tmp` is) can put another cache in its place. `thorough`: look at all
    directories in it and above it.
    """
    if os.name == "nt":
        return None
    places = [cache.root, cache.root / "files", cache.root / "files" / "md5"]
    if thorough and places[-1].is_dir():
        places += sorted(places[-1].iterdir())
    above = _entered_by(cache.root)
    for place in places:
        with contextlib.suppress(OSError):
            st = place.stat()
            if not cache.shared and st.st_uid not in {os.geteuid(), 0, _owner(git.common_dir)}:
                own = f"chown -R {os.geteuid()} {gate.quoted(cache.root)}"
                mend = f"dvc config --local cache.shared group   if it is a team's, else: {own}"
                return f"{place} belongs to another user, number {st.st_uid}", mend
            by_all = st.st_mode & above & stat.S_IWOTH
            by_group = st.st_mode & above & stat.S_IWGRP and not cache.shared
            if by_all or (by_group and not _is_own_group(st)):
                who = "everybody" if by_all else "its group"
                bits = "o-w" if cache.shared else "go-w"
                mend = f"chmod -R {bits} {gate.quoted(cache.root)}"
                return f"{place} can be written by {who}", mend
    for place in cache.root.resolve().parents if thorough else ():
        with contextlib.suppress(OSError):
            mode = place.stat().st_mode
            replaced = mode & stat.S_IWOTH and not mode & stat.S_ISVTX
            if replaced and _entered_by(place) & stat.S_IWOTH:
                told = f"everybody can write in {place}, so can put another cache in its place"
                return told, f"chmod o-w {gate.quoted(place)}"
    return None


def _owner(place: Path) -> int:
    return place.stat().st_uid


def _is_own_group(st: os.stat_result) -> bool:
    """Whether a group has nobody in it but the owner (umask 002). Asks the user database."""
    import grp
    import pwd

    with contextlib.suppress(KeyError):
        group, owner = grp.getgrgid(st.st_gid), pwd.getpwuid(st.st_uid)
        return group.gr_name == owner.pw_name and set(group.gr_mem) <= {owner.pw_name}
    return False


def _entered_by(place: Path) -> int:
    """Return the write bits of those whom no directory above a place keeps out."""
    mode = 0o777
    for above in place.parents:
        with contextlib.suppress(OSError):
            mode &= above.stat().st_mode
    return (mode & 0o111) << 1

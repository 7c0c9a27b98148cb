"""Where a project's cache is, and how plain DVC is told of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from devml_git import gate, store
from devml_git.cache import Cache
from devml_git.errors import DvcFailed
from devml_git.fingerprints import Fingerprints
from devml_git.store import is_project
from devml_git.trust import PRIVATE

if TYPE_CHECKING:
    from devml_git.plumbing import Git
    from devml_git.store import CacheSettings

OWN_CACHE = "devml/cache"  # below git's common directory


def open_cache(git: Git) -> Cache:
    """Open the cache of a project, and see to it that plain DVC uses the same one.

    The private `git config devml.cache` decides; without it, DVC's own configuration, but for a
    place outside of the workspace that only a file in git names (P9).
    """
    settings = store.cache_settings(git.top)
    known = git.config(cache_setting(git))
    if known is None:
        outside = settings.directory is not None and not within(settings.directory, git)
        if outside and _in_git(settings, git):
            raise DvcFailed(
                f"the tracked .dvc/config puts the cache at {gate.shown(settings.directory)}",
                hint="devml-git init   (accepts that place)",
            )
        place = settings.directory or git.top / ".dvc" / "cache"
    else:
        place = Path(os.path.normpath(git.common_dir / known))
        local = settings.directory
        moved = local and local != place and local.is_dir() and not git.is_linked
        if local and moved and not _in_git(settings, git):
            place = local  # the user moved it: `dvc cache dir --local`
            git.set_config(cache_setting(git), cache_key(git, place))
        elif settings.directory != place != git.top / ".dvc" / "cache" and is_project(git.top):
            point_dvc(git, place)
    if git.is_linked and is_project(git.top):
        _share_remotes(git)
    return Cache(place, settings.types, settings.shared, seen=Fingerprints(git.shared))


def _share_remotes(git: Git) -> None:
    """Give a linked worktree the DVC remotes of the main one's `.dvc/config.local`.

    Plain DVC reads that file from the worktree it runs in only. What stands there stays; a file
    that a commit has brought is nobody's word here either.
    """
    main = git.common_dir.parent / git.prefix
    if git.common_dir.name != ".git" or not is_project(main):
        return
    theirs, ours = store.private_remotes(main), store.remotes_of(git.top, "local")
    fresh = {name: options for name, options in theirs.items() if name not in ours}
    link = (main / ".dvc").is_symlink() or (main / PRIVATE).is_symlink()
    if fresh and not link and not git.tracked_in(PRIVATE, git.common_dir / "index"):
        default = store.private_default(main) if not ours else None
        mode = (main / PRIVATE).stat().st_mode
        store.add_private(git.top, fresh, default, mode=mode)


def _in_git(settings: CacheSettings, git: Git) -> bool:
    """Whether a commit could have said so: `.dvc/config`, or a `config.local` forced into git."""
    return settings.tracked or git.comes_by_commits(PRIVATE)


def point_dvc(git: Git, place: Path) -> None:
    """Write the cache's place to `.dvc/config.local`, relative where both move together."""
    inside = not git.is_linked and within(place, git)
    text = os.path.relpath(place, git.top / ".dvc") if inside else str(place)
    store.set_cache_dir(git.top, text.replace(os.sep, "/"))


def cache_setting(git: Git) -> str:
    """Return the name of the private setting that says where a project's cache is."""
    return f"devml.{git.prefix.rstrip('/')}.cache" if git.prefix else "devml.cache"


def cache_key(git: Git, place: Path) -> str:
    """Return how `git config devml.cache` names a place: relative to the common directory."""
    relative = os.path.relpath(place, git.common_dir).replace(os.sep, "/")
    return relative if within(place, git) else str(place)


def within(place: Path, git: Git) -> bool:
    """Whether a place lies in the workspace or in git's common directory: it moves with them."""
    return any(place.is_relative_to(base) for base in (git.worktree, git.common_dir))

"""Where a project's cache is, and how plain DVC is told of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from devml_git import dvc_config, links
from devml_git.cache import Cache
from devml_git.dvc_config import PRIVATE, DvcConfig
from devml_git.fingerprints import Fingerprints
from devml_git.store import is_project
from devml_git.trust import Trust, cache_setting

if TYPE_CHECKING:
    from devml_git.dvc_config import CacheSettings
    from devml_git.plumbing import Git

OWN_CACHE = "devml/cache"  # below git's common directory


def open_cache(git: Git, config: DvcConfig | None = None) -> Cache:
    """Open the cache of a project, and see to it that plain DVC uses the same one.

    The private `git config devml.cache` decides; without it, DVC's own configuration, where the
    user's files say so, or he has allowed what `.dvc/config` says (P9). Raises Refused where
    `.dvc`, or a place in it, is a link that a commit brought.
    """
    links.refuse_below_dvc(git)
    config = config or DvcConfig(git)
    known = git.config(cache_setting(git))
    settings = settings_that_count(git, config, place=known is None)
    if known is None:
        place = settings.directory or git.top / ".dvc" / "cache"
    else:
        place = Path(os.path.normpath(git.common_dir / known))
        local = config.private_cache_dir()
        moved = local and local != place and local.is_dir() and not git.is_linked
        if local and moved and not config.private_is_brought:
            place = local  # the user moved it: `dvc cache dir --local`
            git.set_config(cache_setting(git), cache_key(git, place))
        elif config.dvc_cache_dir != place and is_project(git.top):
            point_dvc(git, place, config)
    if git.is_linked and is_project(git.top):
        _share_remotes(git, config)
    return Cache(place, settings.types, settings.shared, seen=Fingerprints(git.shared))


def settings_that_count(git: Git, config: DvcConfig, *, place: bool = True) -> CacheSettings:
    """Return what is said of the cache by those who may; `place`: also where it is."""
    return config.cache(with_public=public_counts(git, config), place=place)


def public_counts(git: Git, config: DvcConfig) -> bool:
    """Whether what `.dvc/config` says of the cache counts.

    A commit may name a place below `.dvc`, as DVC's own default is; anything else that it says of
    the cache counts once the user has allowed it.
    """
    said = config.public_cache
    if said is None:
        return True
    usual = said.types == dvc_config.DEFAULT_TYPES and not said.shared
    below = said.directory is None or said.directory.is_relative_to(git.top / ".dvc")
    return (usual and below) or Trust(git, config).allows_cache(said)


def _share_remotes(git: Git, config: DvcConfig) -> None:
    """Give a linked worktree the DVC remotes of the main one's `.dvc/config.local`.

    Plain DVC reads that file from the worktree it runs in only. What stands there stays; a file
    that a commit has brought is nobody's word here either.
    """
    main = git.common_dir.parent / git.prefix
    if git.common_dir.name != ".git" or not is_project(main):
        return
    main_git = type(git)(main, git.prefix)
    theirs = DvcConfig(main_git)
    ours = config.private_sections()
    remotes = theirs.private_remotes()
    fresh = {name: options for name, options in remotes.items() if name not in ours}
    link = (main / ".dvc").is_symlink() or (main / PRIVATE).is_symlink()
    if fresh and not link and not git.tracked_in(PRIVATE, git.common_dir / "index"):
        default = theirs.private_default() if not ours else None
        dvc_config.add_private(git.top, fresh, default)


def point_dvc(git: Git, place: Path, config: DvcConfig) -> None:
    """Write the cache's place to `.dvc/config.local`, relative where both move together.

    Not where a commit has brought that file: it would be the commit's next change.
    """
    if config.private_is_brought:
        return
    inside = not git.is_linked and within(place, git)
    text = os.path.relpath(place, git.top / ".dvc") if inside else str(place)
    dvc_config.set_cache_dir(git.top, text.replace(os.sep, "/"))


def cache_key(git: Git, place: Path) -> str:
    """Return how `git config devml.cache` names a place: relative to the common directory."""
    relative = os.path.relpath(place, git.common_dir).replace(os.sep, "/")
    return relative if within(place, git) else str(place)


def within(place: Path, git: Git) -> bool:
    """Whether a place lies in the workspace or in git's common directory: it moves with them."""
    return any(place.is_relative_to(base) for base in (git.worktree, git.common_dir))

"""The DVC remotes that other branches name: a commit may have none of its own, or an old address.

Content that was published stays where it was published, whatever `.dvc/config` was like when its
commit was made. Only what this clone accepted before is asked, and what the default branch of
`origin` names as the commit's own is: a fork that was fetched to look at it has no such word.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from devml_git.bounds import MAX_CONFIG_BYTES
from devml_git.dvc_config import PUBLIC, DvcConfig
from devml_git.errors import DevmlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devml_git.plumbing import Git
    from devml_git.trust import Access

_DEFAULT = "refs/remotes/origin/HEAD"
_MOST_REFS = 50
_MOST = 8  # configurations that are tried


def elsewhere(git: Git, now: DvcConfig, access: Access) -> Iterator[tuple[DvcConfig, Access]]:
    """Yield other configurations, with what this clone may do by each: the likeliest first."""
    mine, tried = dict(now.remotes), 0
    for text, is_default in _texts(git):
        config = DvcConfig(git, public=text)
        with contextlib.suppress(DevmlError):
            if tried < _MOST and any(mine.get(name) != r for name, r in config.remotes.items()):
                tried += 1
                yield config, access.to(config, asking=is_default)


def any_accepted(git: Git, now: DvcConfig, access: Access) -> bool:
    """Whether another configuration has a remote that was accepted before."""
    return any(
        there.trust.may_read(remote)
        for config, there in elsewhere(git, now, access)
        for remote in config.remotes.values()
        if remote.refusal is None
    )


def _texts(git: Git) -> Iterator[tuple[bytes, bool]]:
    """Yield the `.dvc/config` of other branches, each once, and whether it is the default one's."""
    sort = "--sort=-committerdate"
    form = "--format=%(objectname) %(refname)"
    names = ("for-each-ref", sort, form, f"--count={_MOST_REFS}", "refs/remotes", "refs/heads")
    # not `splitlines`: a branch may have any of Unicode's line ends in its name
    refs = [line.split(" ", 1) for line in git.out(*names).split("\n") if line]
    refs.sort(key=lambda ref: ref[1] != _DEFAULT)
    blobs: dict[str, bool] = {}
    ids = git.ids_of([f"{commit}:{git.prefix}{PUBLIC}" for commit, _ in refs])
    for (_, name), blob in zip(refs, ids, strict=True):
        if blob is not None:
            blobs.setdefault(blob, name == _DEFAULT)
    for blob, text in git.small_blobs(list(blobs), MAX_CONFIG_BYTES).items():
        if text is not None:
            yield text, blobs[blob]

"""The only door to GitPython: what earlier commits said of an artifact.

Read-only object access; nothing is run through it that takes a user's word as an option.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devml_git.errors import GitFailed, Refused
from devml_git.pointers import outputs_of, read

if TYPE_CHECKING:
    from pathlib import Path

    from devml_git.pointers import Outputs


def was_pointer(
    top: Path,
    file: str,
    path: str,
    oid: str,
    outputs: Outputs | None = None,
    *,
    prefix: str = "",
) -> bool:
    """Whether `oid` was ever what `file` said of `path`, in any branch, tag or reflog entry.

    Snapshots between commits do not count: what lies there may have been edited when one was taken.

    Asked where the record is lost: a workspace that holds an older commit's model is stale, not
    edited, and must not be snapshotted over a colleague's newer one. `outputs` is what the
    pipelines say today. `top` is the worktree's root, `prefix` the project's place in it; `file`
    and `path` are relative to the project.
    """
    import git

    try:
        repo = git.Repo(top)
    except git.exc.GitError as e:
        raise GitFailed(f"GitPython cannot open {top}") from e
    try:
        seen = set()
        everywhere = {"exclude": "refs/devml/*", "all": True, "reflog": True}
        for commit in repo.iter_commits(None, paths=[f"{prefix}{file}"], **everywhere):
            try:
                blob = commit.tree / f"{prefix}{file}"
            except KeyError:
                continue
            if blob.binsha in seen:
                continue
            seen.add(blob.binsha)
            if _says(blob.data_stream.read(), file, path, oid, outputs or {}):
                return True
    except (git.exc.GitError, ValueError):
        return False
    finally:
        repo.close()
    return False


def _says(text: bytes, file: str, path: str, oid: str, outputs: Outputs) -> bool:
    try:
        found = read(file, text, outputs_of(file, text, outputs))
    except Refused:
        return False
    return any(p.path == path and p.oid == oid for p in found)

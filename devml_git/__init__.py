"""devml-git: ties each git commit to the exact data and models it was made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from devml_git.savepoints import Savepoint

__version__ = "0.1.0"
__all__ = ["__version__", "snapshot"]


def snapshot(
    message: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
) -> Savepoint:
    """Record the whole state as a snapshot between commits, as `devml-git snapshot -m` does.

    For use inside a training loop: code as it lies there, data, models, and `metrics` (names to
    numbers, text, lists or mappings of those; numbers of NumPy and PyTorch too). HEAD, branch,
    index and files stay as they are. A state that is recorded already, with the same metrics,
    makes no second one. `path` is a directory of the repository (default: the current one).

    Returns the snapshot: `commit` and `id` are what `devml-git checkout` takes, `fresh` whether
    this call made it, `notes` what it could not hold. Raises devml_git.errors.DevmlError.
    """
    from pathlib import Path

    from devml_git import savepointing
    from devml_git.workspace import Workspace

    with Workspace.discover(Path(path) if path is not None else None) as ws:
        return savepointing.take(ws, message or "snapshot", metrics)

"""devml-git: ties each git commit to the exact data and models it was made with.

    import devml_git

    weights = devml_git.load("models/clf.safetensors", rev="v1")["encoder.weight"]
    with devml_git.open("data/train.csv", rev="HEAD~3") as file: ...

All of these look at the repository around the current directory; `Repo(path)` at any other, and it
is what to keep in a program that reads much. Errors are `DevmlError`. Importing this loads nothing.
"""

# No import at all, so no `__future__` either: `devml-git` comes here before it has seen to it that
# no module of the worktree is imported (`isolation.leave_the_worktree`)
TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import IO, Any

    from devml_git.arrays import Tensors
    from devml_git.comparing import Comparison
    from devml_git.errors import DevmlError
    from devml_git.notebook import History
    from devml_git.reading import Artifact, Repo
    from devml_git.savepoints import Savepoint

__version__ = "0.1.0"
__all__ = [
    "Artifact", "DevmlError", "Repo", "Tensors", "__version__", "artifacts", "compare", "load",
    "log", "open", "snapshot",
]  # fmt: skip
_LAZY = {"DevmlError": "errors", "Artifact": "reading", "Repo": "reading", "Tensors": "arrays"}


def __getattr__(name: str) -> "Any":  # noqa: ANN401 - PEP 562
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"devml_git.{_LAZY[name]}"), name)


def open(  # noqa: A001 - `devml_git.open`
    path: "str | os.PathLike[str]",
    rev: "str | None" = None,
    mode: str = "rb",
    *,
    encoding: "str | None" = None,
    newline: "str | None" = None,
    fetch: "bool | None" = None,
) -> "IO[Any]":
    """Open an artifact, a file inside one, or a file that git has, as it is at `rev`, for reading.

    `path` is relative to the project's root, `rev` anything git accepts or a snapshot's id (None:
    the workspace), `mode` "rb", or "r" for text. What the cache lacks is fetched if `fetch` says
    so (None: as `hooks.fetch` in devml.toml). The workspace stays as it is. See `Repo.open`.
    """
    from devml_git import reading

    return reading.here(fetch=fetch).open(path, rev, mode, encoding=encoding, newline=newline)


def load(
    path: "str | os.PathLike[str]", rev: "str | None" = None, *, fetch: "bool | None" = None
) -> "Tensors":
    """Return a model's tensors as it is at `rev`: a mapping of names to NumPy arrays.

    Each is read when it is asked for, memory-mapped where the format allows; no code of a file is
    run. `path`, `rev` and `fetch` as for `open`. See `Repo.load`.
    """
    from devml_git import reading

    return reading.here(fetch=fetch).load(path, rev)


def artifacts(rev: "str | None" = None) -> "tuple[Artifact, ...]":
    """Return the artifacts of a revision (None: as the pointers lie in the workspace)."""
    from devml_git import reading

    return reading.here().artifacts(rev)


def log(*revs: str, **options: "Any") -> "History":  # noqa: ANN401 - as `Repo.log` has them
    """Return the commits of revisions and ranges (none: HEAD) with what each changed.

    Options are those of `Repo.log`: `n`, `paths`, `where`, `since`, `author`, `everything`,
    `first_parent`. In a notebook it is a table.
    """
    from devml_git import reading

    return reading.here().log(*revs, **options)


def compare(
    a: "str | None" = None, b: "str | None" = None, path: "str | os.PathLike[str] | None" = None
) -> "Comparison":
    """Return what differs between two revisions (None: the workspace), tensor by tensor.

    `path` narrows it down. In a notebook it is a table. See `Repo.compare`.
    """
    from devml_git import reading

    return reading.here().compare(a, b, path)


def snapshot(
    message: "str | None" = None,
    metrics: "Mapping[str, Any] | None" = None,
    *,
    path: "str | os.PathLike[str] | None" = None,
) -> "Savepoint":
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

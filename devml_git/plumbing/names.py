"""What git calls things: entries of an index, pathspecs, which files are pointers."""

from __future__ import annotations

import re
from dataclasses import dataclass

POINTER_PATHSPECS = (":(glob)**/*.dvc", ":(glob)**/dvc.lock")
# What decides, beside a `dvc.lock`, which outputs it has
YAML_PATHSPECS = (":(glob)**/dvc.yaml", ":(glob)**/.dvcignore")
PROJECT_PATHSPEC = ":(glob)**/.dvc/config"
NULL_MODE = "000000"
LINK_MODE = "120000"


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of `git ls-files -s`: octal mode, blob id, merge stage (0 to 3), path."""

    mode: str
    blob: str
    stage: int
    path: str


@dataclass(frozen=True, slots=True)
class ChangedBlob:
    """One file that a commit has otherwise than its parent; a side that is not there is ""."""

    commit: str
    path: str
    old: str
    new: str


def is_lock(path: str) -> bool:
    """Whether a path is a `dvc.lock`: the outputs of a pipeline's stages."""
    return path.rsplit("/", 1)[-1] == "dvc.lock"


def is_pointer_file(path: str) -> bool:
    """Whether a path is a `.dvc` file or a `dvc.lock` (DVC 3.67 `dvc/dvcfile.py`)."""
    name = path.rsplit("/", 1)[-1]
    return name == "dvc.lock" or (name.endswith(".dvc") and name != ".dvc")


def anchored(line: str, prefix: str) -> str:
    """Return a gitignore line for the worktree's root that means what `line` means in `prefix`."""
    if not prefix or not line.strip() or line.startswith("#"):
        return line
    negated, body = line.startswith("!"), line.removeprefix("!")
    escaped = re.sub(r"([\\*?\[\] !#])", r"\\\1", prefix)
    middle = "" if "/" in body.rstrip("/") else "**/"
    return f"{'!' if negated else ''}/{escaped}{middle}{body.lstrip('/')}"

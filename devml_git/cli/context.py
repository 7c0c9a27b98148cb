"""What all commands share: the output, the workspace, and paths as the user types them."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from devml_git import gate
from devml_git.errors import UsageError
from devml_git.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from devml_git.workspace import Workspace


@dataclass(slots=True)
class State:
    """The global options of one run, and the command it runs ("rescue restore")."""

    output: Output = field(default_factory=Output)
    command: str = ""
    traceback: bool = False


_current = State()


def set_state(state: State) -> None:
    """Set the global options."""
    global _current  # noqa: PLW0603 - one process runs one command
    _current = state


def out() -> Output:
    """Return where this run's output goes."""
    return _current.output


@contextlib.contextmanager
def workspace(*, writes: bool = True, connects: bool = False) -> Iterator[Workspace]:
    """Open the workspace around the current directory; `writes` holds the worktree's lock.

    `connects`: the user asks for content, so a harmless DVC remote is read from at once, and on a
    terminal he is asked about another.
    """
    from devml_git.workspace import Workspace  # `log` never opens one, and is felt to start

    with Workspace.discover(progress=out().progress()) as ws:
        if connects:
            ws.access.typed, ws.access.tell = True, out().remark
            if sys.stdin.isatty() and sys.stderr.isatty():
                ws.access.confirm = lambda text: typer.confirm(text, err=True)
        try:
            if writes:
                with ws.exclusive(f"devml-git {_current.command}".strip()):
                    yield ws
            else:
                yield ws
        finally:
            for warning in ws.warnings:
                out().remark(f"warning: {warning}")


def prefix(root: Path) -> str:
    """Return the current directory below the root: "" or "sub/"."""
    relative = os.path.relpath(os.path.realpath(Path.cwd()), os.path.realpath(root))
    return "" if relative == "." else relative.replace(os.sep, "/") + "/"


def repo_paths(root: Path, given: Sequence[str]) -> list[str]:
    """Return PATH arguments relative to the root, POSIX. Raises UsageError for one outside."""
    return [_repo_path(root, path) for path in given]


def _repo_path(root: Path, path: str) -> str:
    if not path:
        raise UsageError("an empty path names nothing")
    above, name = os.path.split(os.path.abspath(path))
    place = os.path.join(os.path.realpath(above), name)
    relative = os.path.relpath(place, os.path.realpath(root)).replace(os.sep, "/")
    if relative == ".." or relative.startswith("../"):
        raise UsageError(f"{gate.shown(path)} is outside of the repository at {gate.shown(root)}")
    return "" if relative == "." else relative


def age_seconds(age: str) -> int:
    """Return an age such as 90d in seconds. Raises UsageError."""
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", age)
    if found is None:
        raise UsageError(f"'{gate.shown(age)}' is no age", hint="30m, 12h, 90d or 4w")
    return int(found[1]) * {"m": 60, "h": 3600, "d": 86400, "w": 604800}[found[2]]

"""hooks install | uninstall | status: the shim put where git looks, others' hooks kept.

A hook that is not ours is renamed to `<event>.before-devml` and chained by the shim; uninstall
renames it back, byte for byte. Ours is known by its second line and replaced when outdated.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import re
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devml_git.errors import HookInTheWay
from devml_git.gate import shown
from devml_git.place import storage_error, temporary_name, write_all

if TYPE_CHECKING:
    from pathlib import Path

    from devml_git.plumbing import Git

EVENTS = (
    "pre-commit",
    "post-commit",
    "post-checkout",
    "post-merge",
    "post-rewrite",
    "post-applypatch",
    "post-index-change",
)
BEFORE = ".before-devml"
PYTHON_KEY = "devml.python"
_OURS = re.compile(rb"^#![^\n]*\r?\n# devml-git hook shim (\d+)\b")


@dataclass(frozen=True, slots=True)
class HookState:
    """One event's hook: "ours", "outdated", "foreign" or "absent", and whether one is chained."""

    event: str
    state: str
    chained: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {"event": self.event, "state": self.state, "chained": self.chained}


def shim_bytes() -> bytes:
    """Return the text of the shim that this version installs."""
    return importlib.resources.files("devml_git._hooks").joinpath("shim").read_bytes()


def hooks_directory(git: Git) -> Path:
    """Return where git looks for hooks (core.hooksPath and worktrees honoured)."""
    return git.git_path("hooks")


def status(git: Git) -> list[HookState]:
    """Return the state of each hook we install."""
    place = hooks_directory(git)
    return [_state(place, event) for event in EVENTS]


def _state(place: Path, event: str) -> HookState:
    chained = (place / (event + BEFORE)).exists()
    try:
        text = (place / event).read_bytes()
        runs = os.access(place / event, os.X_OK)
    except OSError:
        return HookState(event, "absent", chained)
    if not _OURS.match(text):
        return HookState(event, "foreign", chained)
    return HookState(event, "ours" if text == shim_bytes() and runs else "outdated", chained)


def install(git: Git, *, allow_outside: bool = False) -> list[str]:
    """Install or update all hooks; return the events whose file changed.

    Raises HookInTheWay for a hooks directory that is no directory, or lies outside the repository
    (a global core.hooksPath) unless `allow_outside`, and for a chained hook that would be lost.
    """
    place = hooks_directory(git)
    _refuse_place(git, place, allow_outside=allow_outside)
    git.set_config(PYTHON_KEY, sys.executable)
    changed = []
    for event in EVENTS:
        state = _state(place, event)
        if state.state == "ours":
            continue
        if state.state == "foreign":
            if state.chained:
                raise HookInTheWay(
                    f"{shown(event)}: somebody replaced our hook, and {event}{BEFORE} is kept too",
                    hint=f"merge the two files in {place}, then: devml-git hooks install",
                )
            os.replace(place / event, place / (event + BEFORE))
        _write_executable(place, event)
        changed.append(event)
    return changed


def _refuse_place(git: Git, place: Path, *, allow_outside: bool) -> None:
    configured = git.config_path("core.hooksPath")
    inside = place.is_relative_to(git.common_dir) or place.is_relative_to(git.worktree)
    if place.exists() and not place.is_dir():
        raise HookInTheWay(
            f"core.hooksPath is {shown(place)}, which is no directory: git runs no hooks",
            hint="git config --unset core.hooksPath",
        )
    if configured is not None and not inside and not allow_outside:
        raise HookInTheWay(
            f"core.hooksPath is {shown(configured)}, outside of this repository",
            hint="devml-git hooks install --outside   (if hooks for all repositories are meant)",
        )
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise HookInTheWay(f"{shown(place)}: {(e.strerror or str(e)).lower()}") from e
    if not os.access(place, os.W_OK | os.X_OK):
        raise HookInTheWay(f"{shown(place)} cannot be written", hint=f"chmod u+w {place}")


def _write_executable(place: Path, event: str) -> None:
    temp = place / temporary_name()
    try:
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777)
        try:
            write_all(fd, shim_bytes())
            os.fsync(fd)
        finally:
            os.close(fd)
        mode = stat.S_IMODE(temp.stat().st_mode)
        temp.chmod(mode | stat.S_IXUSR)
        os.replace(temp, place / event)
    except OSError as e:
        with contextlib.suppress(OSError):
            temp.unlink()
        raise storage_error(e, place / event) from e


def uninstall(git: Git) -> list[str]:
    """Remove our hooks and put back those that were there before; return the events changed."""
    place = hooks_directory(git)
    changed = []
    for event in EVENTS:
        state = _state(place, event)
        before = place / (event + BEFORE)
        try:
            if state.state in {"ours", "outdated"}:
                if state.chained:
                    os.replace(before, place / event)
                else:
                    (place / event).unlink()
                changed.append(event)
            elif state.state == "absent" and state.chained:
                os.replace(before, place / event)
                changed.append(event)
        except OSError as e:
            raise storage_error(e, place / event) from e
    git.unset_config(PYTHON_KEY)
    return changed

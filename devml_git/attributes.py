"""The merge driver's registration: git's configuration, and `.gitattributes` in git.

Where only the second is there (a colleague without devml-git), git merges pointers as text.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devml_git import gate, ignoring
from devml_git.installer import PYTHON_KEY
from devml_git.journal import Journal

if TYPE_CHECKING:
    from devml_git.plumbing import Git

NAME = "devml"
FILE = ".gitattributes"
# Each pattern, and a path that it is asked by
_LINES = {"x.dvc": f"*.dvc merge={NAME}", "dvc.lock": f"dvc.lock merge={NAME}"}
_TITLE = "devml-git: pointers by output and member, dvc.lock by stage"
# 0: merged; 11: markers written. Anything else (no such Python, no such package, killed) must
# not leave our side posing as the merge: git's own text merge then, with markers.
_COMMAND = (
    'p=$(git config devml.python) && [ -x "$p" ] && '
    '"$p" -P -m devml_git.mergedriver %O %A %B %L %P; s=$?; '
    "case $s in 0 | 11) exit $s ;; esac; "
    'echo "devml-git: not found, merged as text (devml-git init mends that)" >&2; '
    "git merge-file -q --marker-size=%L -L ours -L base -L theirs %A %O %B || exit 1"
)


@dataclass(slots=True)
class Registered:
    """What `register` did: files staged, and what is to be told."""

    staged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def register(git: Git) -> Registered:
    """Make git use our driver for pointers, but for those that the user merges otherwise."""
    git.set_config(f"merge.{NAME}.name", _TITLE)
    git.set_config(f"merge.{NAME}.driver", _COMMAND)
    git.set_config(PYTHON_KEY, sys.executable)
    done = Registered()
    chosen = git.attributes("merge", list(_LINES))
    for path, value in chosen.items():
        if value not in {NAME, "unspecified"}:
            what = _LINES[path].split(" ")[0]
            done.notes.append(f"git's attributes say merge={gate.shown(value)} for {what}: kept")
    wanted = [_LINES[path] for path, value in chosen.items() if value == "unspecified"]
    if wanted and (git.top / FILE).is_symlink():
        done.notes.append(f"{FILE} is a link, which git does not read: pointers merge as text")
    elif wanted:
        done.staged = ignoring.edit_lines(Journal(git), FILE, lambda lines: [*lines, *wanted])
        if not done.staged:
            done.notes.append(f"{FILE} has edits of yours and was not staged: git add {FILE}")
    return done


def unregister(git: Git) -> None:
    """Let git merge pointers as text again; the lines in the tree name a driver it passes by."""
    for key in ("name", "driver"):
        git.unset_config(f"merge.{NAME}.{key}")


def missing(git: Git) -> list[str]:
    """Return what `register` would have to do, in words."""
    found = []
    if git.config(f"merge.{NAME}.driver") != _COMMAND:
        found.append("git's configuration does not name it")
    if git.config(PYTHON_KEY) is None:
        found.append("git's configuration does not name its Python")
    chosen = git.attributes("merge", list(_LINES))
    lines = [_LINES[path] for path, value in chosen.items() if value == "unspecified"]
    if lines:
        found.append(f"{FILE} lacks: {', '.join(lines)}")
    return found

"""Our merge and diff drivers' registration: git's configuration, and `.gitattributes` in git.

Where only the second is there (a colleague without devml-git), git treats pointers as text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devml_git import gate, ignoring
from devml_git.allowance import DIRECTORY, SAID, SPENT
from devml_git.installer import PATH_KEY, PYTHON_KEY, record_python
from devml_git.isolation import OPTIONS, program
from devml_git.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devml_git.plumbing import Git

NAME = "devml"
FILE = ".gitattributes"
# Each pattern, and a path that it is asked by
_PATTERNS = {"x.dvc": "*.dvc", "dvc.lock": "dvc.lock"}
_TITLE = "devml-git: pointers by output and member, dvc.lock by stage"
# No program is looked for relative to the worktree; with what every shell has built in
_CLEAN_PATH = (
    'case ":$PATH:" in *:[!/]*) l=$PATH: PATH=; '
    'while [ -n "$l" ]; do case $l in /*) PATH=$PATH:${l%%:*} ;; esac; l=${l#*:}; done; '
    "PATH=${PATH#:}; PATH=${PATH:-/usr/bin:/bin} ;; esac; "
)


def _start(module: str) -> str:
    """Return the shell's words that start a module of ours, if its Python is there."""
    return (
        f'p=$(git config {PYTHON_KEY}) && case $p in /*) [ -x "$p" ] ;; *) false ;; esac && '
        f'"$p" {" ".join(OPTIONS)} -c \'{program(module)}\' "$(git config {PATH_KEY})"'
    )


# 0: merged; 11: markers written. Anything else (no such Python, no such package, killed) must
# not leave our side posing as the merge: git's own text merge then, with markers.
_MERGE = (
    # git reads `%%` as one
    f"{_CLEAN_PATH.replace('%', '%%')}{_start('mergedriver')} %O %A %B %L %P; s=$?; "
    "case $s in 0 | 11) exit $s ;; esac; "
    'echo "devml-git: not found, merged as text (devml-git init mends that)" >&2; '
    "git merge-file -q --marker-size=%L -L ours -L base -L theirs %A %O %B || exit 1"
)
# A textconv and no external diff: `git show`, `git log -p` and GUIs ask that, too, and colours,
# -U and --word-diff stay git's. It prints all or nothing: the file itself when it has failed, and,
# without a Python for each of thousands, once this git has had its share (`allowance.py`).
_SHOW = (
    f"f() {{ {_CLEAN_PATH}"
    'd=${GIT_DIR:-.git}; [ -d "$d" ] || read -r _ d <"$d" || d=$(git rev-parse --git-dir); '
    f't=; s=; read -r t <"/proc/$PPID/stat"; read -r s <"$d/devml/{DIRECTORY}/$PPID"; '
    # proc(5): the 22nd is when git was started; its number alone may be another's by now
    'set -f -- "$1" $t; t=${23}; [ "$s" != "raw $t" ] || exec cat <"$1"; '
    f'{_start("textconv")} "$1" "$d" "$PPID" "$t"; '
    f'case $? in 0) return ;; {SPENT}) echo "devml-git: {SAID}" >&3 ;; esac; cat <"$1"; '
    "}; 3>&2 2>/dev/null f"
)
# By attribute. No `cachetextconv`: git keeps that by blob, and the words change when content comes
_SETTINGS = {
    "merge": {f"merge.{NAME}.name": _TITLE, f"merge.{NAME}.driver": _MERGE},
    "diff": {f"diff.{NAME}.textconv": _SHOW},
}


@dataclass(slots=True)
class Registered:
    """What `register` did: files staged, and what is to be told."""

    staged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def register(git: Git) -> Registered:
    """Make git use our drivers for pointers, but for those that the user treats otherwise."""
    for settings in _SETTINGS.values():
        for key, value in settings.items():
            git.set_config(key, value)
    record_python(git)
    done = Registered()
    chosen = {name: git.attributes(name, list(_PATTERNS)) for name in _SETTINGS}
    for name, values in chosen.items():
        for path, value in values.items():
            if value not in {NAME, "unspecified"}:
                said = f"{name}={gate.shown(value)} for {_PATTERNS[path]}"
                done.notes.append(f"git's attributes say {said}: kept")
    wanted = _lines(chosen)
    if wanted and (git.top / FILE).is_symlink():
        done.notes.append(f"{FILE} is a link, which git does not read: pointers merge as text")
    elif wanted:
        done.staged = ignoring.edit_lines(Journal(git), FILE, lambda lines: [*lines, *wanted])
        if not done.staged:
            done.notes.append(f"{FILE} has edits of yours and was not staged: git add {FILE}")
    return done


def _lines(chosen: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the lines that are wanting where these attributes (by name and path) are set."""
    lines = []
    for path, pattern in _PATTERNS.items():
        wanting = [f"{n}={NAME}" for n, values in chosen.items() if values[path] == "unspecified"]
        if wanting:
            lines.append(" ".join([pattern, *wanting]))
    return lines


def unregister(git: Git) -> None:
    """Let git treat pointers as text again; the lines in the tree name drivers it passes by."""
    for settings in _SETTINGS.values():
        for key in settings:
            git.unset_config(key)


def missing(git: Git, attribute: str) -> list[str]:
    """Return what `register` would have to do for "merge" or "diff", in words."""
    found = []
    if any(git.config(k) != v for k, v in _SETTINGS[attribute].items() if v != _TITLE):
        found.append("git's configuration does not name it")
    if git.config(PYTHON_KEY) is None:
        found.append("git's configuration does not name its Python")
    lines = _lines({attribute: git.attributes(attribute, list(_PATTERNS))})
    if lines:
        found.append(f"{FILE} lacks: {', '.join(lines)}")
    return found

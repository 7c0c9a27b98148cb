"""What git starts to show a pointer: `python -P -m devml_git.textconv FILE COMMON-DIRECTORY`.

Prints the file in words (`inwords.py`), or as it is: in any trouble, and where a program is to
read the difference as a patch, since with words in it `git apply` would refuse it.
"""

from __future__ import annotations

import os
import sys

from devml_git import __version__
from devml_git.hook import calling_git, command_of, verb_of
from devml_git.kept import Kept

_LARGEST = 16 << 20  # bytes, as gate.MAX_POINTER_BYTES: what is larger is no pointer
_SHORT = 1000  # bytes of a text whose words are kept: nearly every `.dvc` file
_COLOURS = frozenset({"--color", "--color=always", "--color-words"})
# The reader of these applies what it reads; the others show it
_MAKES_PATCHES = frozenset({"diff", "stash"})


def main(argv: list[str] | None = None) -> int:
    """Print one file; return the exit status, 0 also where there were no words for it."""
    file, common = sys.argv[1:] if argv is None else argv
    with open(file, "rb") as f:
        text = f.read()
    sys.stdout.buffer.write(text if _is_for_a_patch() else _words(text, file, common))
    sys.stdout.flush()
    return 0


def _words(text: bytes, file: str, common: str) -> bytes:
    if len(text) > _LARGEST:
        return text
    try:
        kept = Kept(os.path.join(common, "devml"))
        is_lock = file.endswith("dvc.lock")
        # another version may choose other words
        key = f"words {__version__} {is_lock} {text.decode('latin-1')}"
        words = kept.get(key) if len(text) <= _SHORT else None
        if words is not None:
            return words
        from pathlib import Path

        from devml_git.inwords import Known, describe

        known = Known(Path(common).absolute(), Path.cwd())
        words = describe(text, known, is_lock=is_lock)
        if known.whole and len(text) <= _SHORT:
            kept.put(key, words)
        return words
    except Exception:
        if os.environ.get("DEVML_GIT_TRACEBACK"):
            raise
        return text


def _is_for_a_patch() -> bool:
    """Whether what git writes is for a program or a file, from where it may be applied.

    Known on Linux only, from git's own arguments and output. `--textconv` and colours are for
    people (gitk and git gui ask for the first, lazygit for the second), and so are a terminal and
    a pager. `git show` and `git log` into a pipe are for programs that show them.
    """
    pid = calling_git()
    words = command_of(pid) if pid else []
    if not words or "--textconv" in words:
        return False
    if {"--binary", "--output"} & set(words) or any(w.startswith("--output=") for w in words):
        return True
    try:
        place = os.readlink(f"/proc/{pid}/fd/1")
    except OSError:
        return False
    if place.startswith(("pipe:", "socket:")):  # the second: programs in node
        seen = os.environ.get("GIT_PAGER_IN_USE") or any(w in _COLOURS for w in words)
        return verb_of(words) in _MAKES_PATCHES and not seen
    return place.startswith("/") and not place.startswith("/dev/")


if __name__ == "__main__":
    sys.exit(main())

"""What git starts to show a pointer, by `python -I`: FILE GIT-DIRECTORY [PID STARTED], git's.

Prints the file in words (`inwords.py`), or as it is: in any trouble, and where a program is to
read the difference as a patch, since with words in it `git apply` would refuse it.
"""

from __future__ import annotations

import os
import signal
import sys

from devml_git import __version__, allowance
from devml_git.hook import calling_git, command_of, verb_of
from devml_git.kept import Kept

_LARGEST = 16 << 20  # bytes, as gate.MAX_POINTER_BYTES: what is larger is no pointer
_SECONDS = 2.0  # of the processor: the last resort, what is bounded takes half a second
_SHORT = 1000  # bytes of a text whose words are kept: nearly every `.dvc` file
_COLOURS = frozenset({"--color", "--color=always", "--color-words"})
_NO_COLOURS = frozenset({"--no-color", "--color=never"})


def main(argv: list[str] | None = None) -> int:
    """Print one file; return the exit status, 0 also where there were no words for it.

    `allowance.SPENT` where the file was not printed: this git has had its share.
    """
    file, git_dir, *whose = sys.argv[1:] if argv is None else argv
    pid = calling_git()
    words = command_of(pid) if pid else []
    patch = _is_for_a_patch(pid, words)
    limited = whose and (patch or allowance.counts(verb_of(words), words))
    share = allowance.share(git_dir, *whose) if limited else None
    if share and not patch and share.is_spent(file):
        share.close()
        return allowance.SPENT
    _print(file, None if patch else _common(git_dir))
    if share and patch:
        share.close()
    elif share:
        share.spend(file)
    return 0


def _common(git_dir: str) -> str:
    """Return git's common directory (gitrepository-layout(5))."""
    try:
        with open(os.path.join(git_dir, "commondir"), encoding="utf-8") as f:
            return os.path.join(git_dir, f.read().rstrip("\n"))
    except OSError:
        return os.environ.get("GIT_COMMON_DIR") or git_dir


def _print(file: str, common: str | None) -> None:
    """Print a file in words; as it is where `common`, where words are kept, is None."""
    with open(file, "rb") as f:
        text = f.read(_LARGEST + 1)
        sys.stdout.buffer.write(text if common is None else _words_in_time(text, file, common))
        while text := f.read(_LARGEST):  # what is larger: no more of it in memory at once
            sys.stdout.buffer.write(text)
    sys.stdout.flush()


class _TooLong(BaseException):
    """This took more of the processor than `git diff` may."""


def _give_up(*_: object) -> None:
    raise _TooLong


def _words_in_time(text: bytes, file: str, common: str) -> bytes:
    """Return the words, or the text as it is where they take longer than _SECONDS."""
    if not hasattr(signal, "setitimer"):
        return _words(text, file, common)
    signal.signal(signal.SIGPROF, _give_up)
    try:
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)
        words = _words(text, file, common)
        signal.setitimer(signal.ITIMER_PROF, 0)
    except _TooLong:
        return text
    return words


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
    except Exception:  # noqa: BLE001 - then as it is
        if os.environ.get("DEVML_GIT_TRACEBACK"):
            _trace()
        return text


def _trace() -> None:
    import traceback

    from devml_git.escaping import shown_lines

    sys.stderr.buffer.write(shown_lines(traceback.format_exc().replace("\n", "\n  ")).encode())


def _is_for_a_patch(pid: str, words: list[str]) -> bool:
    """Whether what git writes is a patch: for a file, or for a program that applies it.

    Known on Linux only, from git's own arguments and output. Programs that stage hunks ask `git
    diff` for no colours (lazygit), or for `--binary` (lint-staged); `git stash show -p` into a pipe
    is meant for `git apply` (git-stash(1)). Everybody else shows what he reads; `--textconv` says
    so (gitk, git gui).
    """
    if not words or "--textconv" in words:
        return False
    if {"--binary", "--output"} & set(words) or any(w.startswith("--output=") for w in words):
        return True
    try:
        place = os.readlink(f"/proc/{pid}/fd/1")
    except OSError:
        return False
    if not place.startswith(("pipe:", "socket:")):  # the second: programs in node
        return place.startswith("/") and not place.startswith("/dev/")
    if verb_of(words) == "diff":
        return not _NO_COLOURS.isdisjoint(words)
    seen = os.environ.get("GIT_PAGER_IN_USE") or not _COLOURS.isdisjoint(words)
    return verb_of(words) == "stash" and not seen


if __name__ == "__main__":
    sys.exit(main())

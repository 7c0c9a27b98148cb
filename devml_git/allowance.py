"""How much of the processor one `git diff` may spend on words: git starts a driver a pointer.

What is spent is written down by git's process id, and when that process was started: another may
have its number by now. Once it is spent, or where a patch is wanted, the state says `raw`, and the
command in git's configuration (`attributes.py`) prints the rest without starting a Python. Quick
to import, as all that the driver needs.
"""

from __future__ import annotations

import contextlib
import os
import time

DIRECTORY = "shown"  # in the private directory of a worktree
SPENT = 3  # exit status: nothing was printed
SAID = (
    "that is many pointers at once: from here on they are shown as they are "
    "(devml-git diff compares all of them)"
)
_SECONDS = 1.0  # some dozen pointers whose words are kept
# Who reads in a pager lets git wait: a pause, and he has not been kept waiting himself
_PAUSE = 1.0
# A search or `git blame` compares all that is shown: the same to the end, or a wrong answer
_MAY_CHANGE = frozenset(
    {"diff", "show", "log", "stash", "diff-tree", "diff-index", "diff-files", "reflog",
     "whatchanged"}
)  # fmt: skip
_SEARCHES = ("-S", "-G", "-L")


def counts(verb: str, words: list[str]) -> bool:
    """Whether a git command may change over to pointers as they are."""
    return verb in _MAY_CHANGE and not any(word.startswith(_SEARCHES) for word in words)


class Share:
    """What one git process has spent, in seconds of the processor.

    Git shows a file's old side, then its new one, and says of neither which it is: `half` is a file
    whose new side may follow. Both are shown alike.
    """

    __slots__ = ("_half", "_place", "_spent", "_started")

    def __init__(self, place: str, started: str, spent: float = 0.0, half: str = "") -> None:
        self._place = place
        self._started = started
        self._spent = spent
        self._half = half

    def is_spent(self, file: str) -> bool:
        """Whether no more is to be put into words, this file included: never a new side alone."""
        return self._spent > _SECONDS and os.path.basename(file) != self._half

    def spend(self, file: str) -> None:
        """Write down what this process, which has put a file into words, has spent."""
        name = os.path.basename(file)
        is_second = name == self._half or not os.path.isabs(file)  # only a new side lies in place
        half = "" if is_second else os.fsencode(name).hex()
        spent = self._spent + sum(os.times()[:4])
        _write(self._place, f"words {self._started} {spent} {time.monotonic()} {half}\n")

    def close(self) -> None:
        """Let all that follows be printed as it is."""
        _write(self._place, f"raw {self._started}\n")


def share(git_dir: str, pid: str, started: str) -> Share | None:
    """Return what a git process has spent so far; None where there is no place to write it down."""
    private = os.path.join(git_dir, "devml")
    if not (pid.isdigit() and started.isdigit() and os.path.isdir(private)):
        return None
    place = os.path.join(private, DIRECTORY, pid)
    with contextlib.suppress(OSError, ValueError), open(place, encoding="ascii") as f:
        state, whose, spent, last, half = f.read().rstrip("\n").split(" ")
        if (state, whose) == ("words", started):
            paused = time.monotonic() - float(last) > _PAUSE
            name = os.fsdecode(bytes.fromhex(half))
            return Share(place, started, 0.0 if paused else float(spent), name)
    with contextlib.suppress(OSError):
        _begin(os.path.dirname(place))
        return Share(place, started)
    return None


def _begin(directory: str) -> None:
    """Make the directory, and remove what processes left that are gone."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    for pid in os.listdir(directory):
        if not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):  # another git's driver was quicker
                os.unlink(os.path.join(directory, pid))


def _write(place: str, line: str) -> None:
    """Git asks one driver after the other: nobody reads meanwhile. What fails costs time only."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    with contextlib.suppress(OSError), open(os.open(place, flags, 0o600), "wb") as f:
        f.write(line.encode("ascii"))

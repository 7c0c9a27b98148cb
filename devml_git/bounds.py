"""How much reading a stranger's files may cost, and what stops the reading of one that costs more.

What can be counted is counted before anything is built from it: these numbers are some ten times
what large honest projects have. The rest is a matter of processor time: `limited` ends the reading
of one file alone, wherever it is. It works by a signal, so in the main thread of a POSIX system
only; elsewhere what is counted must do.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from typing import TYPE_CHECKING

from devml_git.errors import Refused
from devml_git.gate import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_YAML_DEPTH = 32
MAX_YAML_VALUES = 500_000  # as often as aliases repeat them; 5,000 outputs have 50,000
MAX_ALIASES = 200
MAX_POINTERS_BYTES = 64 << 20  # of all pointer files of a worktree
MAX_STAGES = 10_000  # of one `dvc.yaml`, once its templates are expanded
MAX_OUTS = 10_000  # of one pointer file, or of one pipeline, once its templates are expanded
MAX_PATTERN_LINES = 10_000  # of a `.dvcignore`; each is held against each file
MAX_PATTERN_BYTES = 1 << 20
MAX_PATTERN = 1000  # characters
MAX_RULES = 1000  # `track` rules
MAX_CONFIG_BYTES = 256 << 10  # of `.dvc/config`: a thousand remotes
FILE_SECONDS = 2.0  # of processor time
MODEL_SECONDS = 5.0  # to find the tensors of a model file, not for what they are
NAME_SECONDS = 50e-6  # more for a file held against a `.dvcignore`: a hundred patterns take 21
PLACE_SECONDS = 0.5e-3  # more for a directory, which takes 0.2
COMMAND_SECONDS = 10.0
ASK_SECONDS = 8.0  # of these, for DVC and pipelines: it takes a millisecond for each stage
MAX_INT_BITS = 4096  # of a number: Python takes quadratic time to write it, or raises ValueError
ASK_MEMORY = 512 << 20  # bytes that DVC may take to resolve a pipeline's templates

_LEAST = 0.01  # seconds that are worth beginning
_TICK = 0.1  # a signal that comes while an object is finalised is lost: the next one is not


class _TimeUp(BaseException):
    """The time for one file is over. No `except Exception` of a library takes it for its own."""


class _Spent:
    """Processor time that this command has spent on files; None where nobody counts it."""

    seconds: float | None = None
    asked = 0.0  # of them, what DVC has spent
    reading = False


def begin() -> None:
    """From here on all files together may take `COMMAND_SECONDS`: a command begins.

    Who goes through a history calls it for each commit: that may be long, and is told on the way.
    """
    _Spent.seconds = _Spent.asked = 0.0


def end() -> None:
    """Count no more: whoever goes on in this process is no command."""
    _Spent.seconds = None


def renew(*, dvc: bool = False) -> None:
    """Forget what was spent, if it is counted at all: another project, or commit, comes.

    DVC's part is one for all projects; in a history each commit has its own (`dvc`).
    """
    if _Spent.seconds is not None:
        _Spent.seconds = 0.0
        _Spent.asked = 0.0 if dvc else _Spent.asked


def left(most: float) -> float:
    """Return how many seconds of `most` this command has for files yet; 0.0 when it has none."""
    seconds = min(most, COMMAND_SECONDS - (_Spent.seconds or 0.0))
    return seconds if seconds > _LEAST else 0.0


def left_for_dvc() -> float:
    """Return how many seconds DVC may take for pipelines yet, in all projects together."""
    return max(min(ASK_SECONDS - _Spent.asked, left(ASK_SECONDS)), 0.0)


def charge(seconds: float, *, dvc: bool = False) -> None:
    """Count processor time that has been taken for files, if it is counted at all."""
    if _Spent.seconds is not None:
        _Spent.seconds += seconds
        _Spent.asked += seconds if dvc else 0.0


def refuse_large_numbers(value: object, file: str) -> None:
    """Raise Refused for parsed data with an integer, value or key, that cannot be written out."""
    todo, seen = [value], set[int]()
    while todo:
        one = todo.pop()
        if isinstance(one, int) and one.bit_length() > MAX_INT_BITS:
            raise Refused(f"{shown(file)}: a number of more than {MAX_INT_BITS} bits")
        if not isinstance(one, dict | list | tuple | set | frozenset) or id(one) in seen:
            continue
        seen.add(id(one))  # an alias is the same object, perhaps inside itself
        todo += [*one, *one.values()] if isinstance(one, dict) else one


@contextlib.contextmanager
def limited(file: str, most: float = FILE_SECONDS) -> Iterator[None]:
    """Stop what reads a file, in Python or in `re`, once its time is over.

    What it has built is lost. Raises Refused, naming the file.
    """
    if _Spent.reading or not _can_stop():
        yield
        return
    seconds = left(most)
    if not seconds:
        raise Refused(
            f"{shown(file)}: not read: the files before it took {COMMAND_SECONDS:.0f} s to read"
        )
    begun = time.process_time()
    try:
        with _stopped_after(seconds):
            yield
    except _TimeUp as e:
        raise Refused(f"{shown(file)}: takes more than {seconds:.0f} s to read") from e
    finally:
        charge(time.process_time() - begun)


class Allowance:
    """Time for work that grows with what is there: a command's own limit does not count for it.

    Once it is used up nothing more is done: what was stopped half-way is not to be believed.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    @contextlib.contextmanager
    def limited(self, more: float) -> Iterator[None]:
        """Do a part of the work, which adds `more` seconds. Raises TimeUp."""
        if _Spent.reading or not _can_stop():
            yield
            return
        self._left += more
        if self._left <= 0:
            raise TimeUp
        begun = time.process_time()
        try:
            with _stopped_after(self._left):
                yield
        except _TimeUp as e:
            self._left = -math.inf
            raise TimeUp from e
        finally:
            self._left -= time.process_time() - begun


class TimeUp(Exception):
    """An allowance is used up."""


@contextlib.contextmanager
def _stopped_after(seconds: float) -> Iterator[None]:
    """Raise _TimeUp in what is done here once that much processor time is over."""
    before = signal.signal(signal.SIGVTALRM, _stop)
    _Spent.reading = True
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, _TICK)
        yield
    finally:
        _Spent.reading = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _can_stop() -> bool:
    return (
        hasattr(signal, "ITIMER_VIRTUAL")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
    )


def _stop(_signal: int, _frame: object) -> None:
    if _Spent.reading:
        raise _TimeUp

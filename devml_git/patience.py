"""Work at a remote that takes its time: several items at once, tried again where a fault passes.

Bounded both ways: an item is tried again a few times, with longer and longer pauses, and a remote
that says nothing at all for too long ends everything.
"""

from __future__ import annotations

import contextlib
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from devml_git.causes import Passing
from devml_git.errors import DvcFailed
from devml_git.gate import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")
STALL_SECONDS = 60.0
LONGEST_WAIT = 60.0  # a remote that asks for a longer pause gets none: the user decides
PAUSES = (0.5, 2.0, 4.0)  # seconds before an item is tried again, each up to a half longer
_JOBS = 16


class Patience:
    """How long to bear with one remote: `stall` seconds of silence are too many."""

    def __init__(self, name: str, stall: float) -> None:
        self._name = shown(name)
        self._stall = stall
        self._heard = 0.0

    def heard(self) -> None:
        """Note that the remote has just said something."""
        self._heard = max(self._heard, time.monotonic())

    def each(self, work: Callable[[T], R], items: Sequence[T], pauses: Sequence[float]) -> list[R]:
        """Do something for each item, several at once; return the results in order.

        An item whose fault is `Passing` is tried again after each of the pauses. The first failure
        that stays ends it, and so does silence: the threads that wait for an answer are left
        behind, they hold up no exit.
        """
        todo: SimpleQueue[int] = SimpleQueue()
        done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
        over = threading.Event()
        for i in range(len(items)):
            todo.put(i)

        def run() -> None:
            with contextlib.suppress(Empty):
                while not over.is_set():
                    i = todo.get_nowait()
                    try:
                        done.put((i, self._persist(work, items[i], pauses, over), None))
                    except BaseException as e:  # noqa: BLE001 - raised again below
                        done.put((i, None, e))

        self._heard = time.monotonic()
        for _ in range(min(_JOBS, len(items))):
            threading.Thread(target=run, daemon=True).start()
        results: dict[int, R] = {}
        try:
            while len(results) < len(items):
                i, result, error = self._next(done)
                if error is not None:
                    raise error
                results[i] = result
                self.heard()
        finally:
            over.set()
        return [results[i] for i in range(len(items))]

    def _persist(
        self, work: Callable[[T], R], item: T, pauses: Sequence[float], over: threading.Event
    ) -> R:
        import random

        for pause in pauses:
            try:
                return work(item)
            except Passing as e:
                if e.after > LONGEST_WAIT:
                    raise
                seconds = max(pause * random.uniform(1, 1.5), e.after)  # noqa: S311 - no secret
                self._heard = max(self._heard, time.monotonic() + seconds)
                if over.wait(seconds):
                    raise
        return work(item)

    def _next(self, done: SimpleQueue[T]) -> T:
        while True:
            try:
                return done.get(timeout=0.2)
            except Empty:
                quiet = time.monotonic() - self._heard
                if quiet > self._stall:
                    raise DvcFailed(
                        f"the DVC remote {self._name} has not answered for {quiet:.0f} s",
                        hint="the same command once more goes on where this one stopped",
                    ) from None

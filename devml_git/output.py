"""What people and programs see: stdout is the answer, stderr everything else.

Text from a repository is untrusted. Whatever is printed goes through `escaping` here once more, so
that a name which nobody escaped does no harm, and nothing is ever read as Rich markup. On a
terminal, long work shows bytes, rate and time left.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from devml_git.escaping import LINE, shown, shown_json, shown_lines
from devml_git.plumbing import start_pager
from devml_git.progress import Progress
from devml_git.wording import padded, width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from devml_git.plumbing import Process

_PIECES = 50_000  # of JSON that are written at once: a megabyte or less
_PATIENCE = 0.7  # seconds of work before a bar is worth showing
_STYLES = {
    "clean": "green", "modified": "yellow", "new": "cyan", "deleted": "red", "missing": "red",
    "stale": "magenta", "conflict": "bold red", "ok": "green", "warn": "yellow", "fail": "red",
}  # fmt: skip


def _write(stream: Any, text: str, end: str = "\n") -> bool:  # noqa: ANN401
    """Write a line; return whether anybody still reads."""
    data = (text + end).encode("utf-8", "backslashreplace")
    buffer = getattr(stream, "buffer", None)
    try:
        if buffer is None:
            stream.write(data.decode("utf-8"))
        else:
            stream.flush()
            buffer.write(data)
        stream.flush()
    except BrokenPipeError:  # `| head` has read enough: the work goes on, unheard
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


def _json(value: object, indent: int | None = 2) -> str:
    return shown_json(json.dumps(value, indent=indent, ensure_ascii=False, default=str))


def _coloured(stream: Any) -> bool:  # noqa: ANN401
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


class Output:
    """Where a command's answer, remarks and progress go."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        progress: bool = True,
        pager: bool = True,
    ) -> None:
        self.quiet = quiet
        self.pager = pager
        self.deaf = False  # nobody reads the answer any more
        self._coloured: bool | None = None  # asked once: before a pager stands in between
        self.verbose = verbose
        self.show_progress = progress and not quiet and sys.stderr.isatty()

    def answer(self, line: str = "") -> None:
        """Print one line of the answer to stdout."""
        _write(sys.stdout, shown(line, LINE))

    def line(self, parts: Sequence[tuple[str, str]]) -> None:
        """Print one line of the answer, of (text, style): coloured on a terminal, plain else."""
        if self._coloured is None:
            self._coloured = _coloured(sys.stdout)
        if self._coloured:
            self._parts(parts)
        elif not _write(sys.stdout, "".join(shown(text, LINE) for text, _ in parts).rstrip()):
            self.deaf = True

    @cached_property
    def _console(self) -> Any:  # noqa: ANN401
        from rich.console import Console

        return Console(force_terminal=True, highlight=False, markup=False, emoji=False)

    def _parts(self, parts: Sequence[tuple[str, str]]) -> None:
        from rich.text import Text

        line = Text.assemble(*((shown(text, LINE), style) for text, style in parts))
        with self._console.capture() as captured:
            self._console.print(line, soft_wrap=True, end="")
        if not _write(sys.stdout, captured.get()):
            self.deaf = True

    @contextlib.contextmanager
    def paged(self, command: Callable[[], str]) -> Iterator[None]:
        """Let the user's pager show what is printed meanwhile, where stdout is a terminal."""
        asked = command() if self.pager and sys.stdout.isatty() else ""
        if asked in {"", "cat"}:
            yield
            return
        self._coloured = _coloured(sys.stdout)
        pager = start_pager(asked)
        assert pager.stdin is not None
        sys.stdout.flush()
        terminal = os.dup(sys.stdout.fileno())
        os.dup2(pager.stdin.fileno(), sys.stdout.fileno())
        pager.stdin.close()
        try:
            yield
        finally:
            with contextlib.suppress(BrokenPipeError):
                sys.stdout.flush()
            os.dup2(terminal, sys.stdout.fileno())
            os.close(terminal)
            _wait(pager)

    def stream(self, schema: str, name: str, items: Iterable[Mapping[str, Any]]) -> None:
        """Print one JSON document with a list whose items are printed as they come."""
        rest = iter(items)
        first = next(rest, None)  # what fails at once has printed nothing
        texts = (_json(item) for item in (() if first is None else itertools.chain([first], rest)))
        head = f'{{\n"schema": {json.dumps(schema)},\n{json.dumps(name)}: ['
        for n, text in enumerate(texts):
            if not _write(sys.stdout, f"{',' if n else head}\n{text}"):
                self.deaf = True
                return
        _write(sys.stdout, "]}" if first is not None else f"{head}]}}")

    def document(self, value: Mapping[str, Any]) -> None:
        """Print one JSON document to stdout, piece by piece: it may be a hundred megabytes."""
        pieces = json.JSONEncoder(indent=2, ensure_ascii=False, default=str).iterencode(value)
        while text := "".join(itertools.islice(pieces, _PIECES)):
            if not _write(sys.stdout, shown_json(text), end=""):
                return
        _write(sys.stdout, "")

    def remark(self, line: str) -> None:
        """Print one line to stderr, unless quiet."""
        if not self.quiet:
            _write(sys.stderr, shown(line, LINE))

    def table(self, rows: Iterable[Sequence[str]], heads: Sequence[str] = ()) -> None:
        """Print rows to stdout: aligned and coloured on a terminal, plain and unwrapped else.

        The first cell that is a state or a verdict gives the colour.
        """
        cells = [[shown(c, LINE) for c in row] for row in rows]
        every = [list(heads), *cells] if heads else cells
        if not every:
            return
        widths = [max(width_of(row[i]) for row in every) for i in range(len(every[0]))]
        coloured = _coloured(sys.stdout)
        for i, row in enumerate(every):
            text = "  ".join(map(padded, row, widths)).rstrip()
            head = bool(heads) and i == 0
            style = "bold" if head else next((_STYLES[c] for c in row if c in _STYLES), "")
            if coloured and style:
                self._parts([(text, style)])
            else:
                _write(sys.stdout, shown(text, LINE))

    def error(self, message: str, hint: str | None, code: int, *, as_json: bool) -> None:
        """Print an error to stderr, as two lines or as product.md's `devml.error/v1`."""
        if as_json:
            error = {"schema": "devml.error/v1", "code": code, "message": message, "hint": hint}
            _write(sys.stderr, _json(error, indent=None))
            return
        _write(sys.stderr, shown_lines(f"error: {message}"))
        if hint:
            _write(sys.stderr, shown_lines(f"hint: {hint}"))

    def trace(self) -> None:
        """Print where the error that is being handled comes from, to stderr."""
        import traceback

        for line in traceback.format_exc().splitlines():
            _write(sys.stderr, shown(line, LINE))

    def progress(self) -> Progress:
        """Return what the library reports its progress to."""
        return _Bar() if self.show_progress else Progress()


def _wait(pager: Process) -> None:
    """Wait for the pager, also when Ctrl-C, which is meant for it, comes to us."""
    while True:
        try:
            pager.wait()
        except KeyboardInterrupt:
            continue
        return


class _Bar(Progress):
    """A bar on stderr: bytes, rate, time left. It appears only once work has taken a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bar: Any = None
        self._task: Any = None
        self._what, self._total, self._done, self._began = "", 0, 0, 0.0

    def start(self, what: str, total: int) -> None:
        """Begin a piece of work; `total` 0 means that the amount is not known."""
        with self._lock:
            self._what, self._total, self._done = shown(what), total, 0
            self._began = time.monotonic()

    def advance(self, nbytes: int) -> None:
        """Count bytes; show the bar if this takes long."""
        with self._lock:
            self._done += nbytes
            if self._bar is not None:
                self._bar.update(self._task, completed=self._done)
            elif time.monotonic() - self._began > _PATIENCE:
                self._show()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._what, total=self._total or None, completed=self._done)
        self._bar.start()

    def finish(self) -> None:
        """Take the bar away."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

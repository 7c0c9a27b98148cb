"""Git processes that stay: one `git log` for a whole walk, one `git cat-file`, one `git diff-tree`.

They are asked as their answers are needed, so that the first commit of a long history is there at
once; a process for each commit would take minutes.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, cast

from devml_git.errors import GitFailed, Refused
from devml_git.gate import MAX_POINTER_BYTES, shown
from devml_git.plumbing import decode

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from io import BufferedReader, BufferedWriter
    from typing import Self

    from devml_git.plumbing import Git, Process

# said, since a user's configuration may say otherwise
_RAW = (
    "-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-ext-diff", "--no-color", "--relative",
    "--ignore-submodules=none",
)  # fmt: skip
_FIELDS = ("H", "P", "aN", "aE", "aI", "D", "s")
_FORMAT = "%x01" + "%x00".join(f"%{name}" for name in _FIELDS)
_CHUNK = 1 << 16
_HEADER_WORDS = 3  # id, type, size
_AT_ONCE = 400  # ids of at most 64 digits: the pipe takes them whole, nobody waits for the other


@dataclass(frozen=True, slots=True)
class Row:
    """A file that differs: blob ids ("": not there). What is no regular file counts as not there,
    but for its path: a link's target and a submodule's commit say nothing.
    """

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A commit as `git log` tells it. `date` is the author's, ISO 8601; `refs` as `%D` has them.

    `rows` is what it has otherwise than its one parent; None at a merge.
    """

    commit: str
    parents: tuple[str, ...]
    author: str
    email: str
    date: str
    refs: str
    subject: str
    rows: tuple[Row, ...] | None = field(default=(), repr=False)


class _Running:
    """A git that is running; a context manager that ends it, also in the middle."""

    def __init__(self, git: Git, *args: str) -> None:
        self._what = args[0]
        self._errors = TemporaryFile()  # noqa: SIM115 - a pipe that nobody reads would fill up
        self._process: Process = git.start(*args, errors=self._errors)
        self.out = cast("BufferedReader", self._process.stdout)
        self.into = cast("BufferedWriter", self._process.stdin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        for stream in (self.into, self.out):
            with contextlib.suppress(OSError):
                stream.close()
        self._process.terminate()
        self._process.wait()
        self._errors.close()

    def ask(self, line: str) -> None:
        """Write a line. Raises GitFailed where it has gone."""
        try:
            self.into.write(line.encode("utf-8", "surrogateescape"))
            self.into.flush()
        except OSError as e:
            raise self.failure() from e

    def failure(self) -> GitFailed:
        """Return what it died of, in its own words."""
        self._process.wait()
        self._errors.seek(0)
        said = decode(self._errors.read()).strip().splitlines()
        why = said[-1].removeprefix("fatal: ") if said else "ended without a word"
        return GitFailed(f"git {self._what}: {shown(why, 300)}", stderr="\n".join(said))

    def read1(self) -> bytes:
        """Return what there is, at least a byte. Raises GitFailed where git has ended."""
        chunk = self.out.read1(_CHUNK)
        if not chunk:
            raise self.failure()
        return chunk

    def line(self) -> str:
        """Return one line of the answer. Raises GitFailed where git has ended."""
        line = self.out.readline()
        if not line:
            raise self.failure()
        return decode(line).rstrip("\n")

    def lines(self) -> Iterator[str]:
        """Yield lines as they come. Raises GitFailed where git fails."""
        for line in self.out:
            yield decode(line).rstrip("\n")
        if self._process.wait():
            raise self.failure()

    def exactly(self, length: int) -> bytes:
        """Return so many bytes of the answer. Raises GitFailed where git has ended."""
        data = self.out.read(length)
        if len(data) != length:
            raise self.failure()
        return data

    def tokens(self) -> Iterator[str]:
        """Yield what is between NUL bytes, as it comes. Raises GitFailed where git fails."""
        rest = b""
        while chunk := self.out.read1(_CHUNK):
            whole, ends, rest = (rest + chunk).rpartition(b"\0")
            if ends:
                yield from decode(whole).split("\0")
        if rest:
            yield decode(rest)
        if self._process.wait():
            raise self.failure()


# -- git log -------------------------------------------------------------------------------------


def commits(git: Git, args: Sequence[str]) -> Generator[Entry]:
    """Yield the commits that `git log ARGS` lists, each as soon as git has it.

    Close the iterator to end git. Raises GitFailed.
    """
    argv = ("log", *_RAW, "--root", "--no-diff-merges", "--no-show-signature", "--encoding=UTF-8",
            f"--format={_FORMAT}", "--decorate-refs-exclude=refs/devml/", *args)  # fmt: skip
    with _Running(git, *argv) as running:
        yield from _entries(running.tokens())


def _entries(tokens: Iterator[str]) -> Iterator[Entry]:
    head: list[str] = []
    rows: list[Row] = []
    for token in tokens:
        # an author's name or a subject may begin with \x01, too: these are counted
        if head and len(head) < len(_FIELDS):
            head.append(token)
        elif token.startswith("\x01"):
            if head:
                yield _entry(head, rows)
            head, rows = [token[1:]], []
        elif token.lstrip("\n").startswith(":"):
            rows.append(_row(token, next(tokens, "")))
    if head:
        yield _entry(head, rows)


def _entry(head: list[str], rows: list[Row]) -> Entry:
    commit, parents, author, email, date, refs, subject = head
    above = tuple(parents.split())
    told = None if len(above) > 1 else tuple(rows)
    return Entry(commit, above, author, email, date, refs, subject, told)


def _row(meta: str, path: str) -> Row:
    was, now, old, new = meta.lstrip("\n:").split(" ")[:4]
    return Row(path, old if was.startswith("100") else "", new if now.startswith("100") else "")


def ids(git: Git, args: Sequence[str]) -> Generator[str]:
    """Yield the commits that `git rev-list ARGS` lists, each as soon as git has it."""
    with _Running(git, "rev-list", *args) as running:
        yield from running.lines()


def graph(git: Git, args: Sequence[str], filler: int) -> Generator[tuple[str, str]]:
    """Yield `git log --graph`'s lines: (what is drawn, commit id or "").

    Each commit has its own line and `filler` more below it.
    """
    form = "%x01%H" + "%n%x01" * filler
    argv = (
        "log",
        "--graph",
        "--no-color",
        "--no-show-signature",
        f"--format=tformat:{form}",
        *args,
    )
    with _Running(git, *argv) as running:
        for line in running.lines():
            drawn, _, commit = line.partition("\x01")
            yield drawn, commit


# -- git diff-tree -------------------------------------------------------------------------------


class Differences:
    """What one commit has otherwise than another: one `git diff-tree`, started when asked."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._end = f"end {os.urandom(16).hex()}\n"  # no path ends in it
        self._running: _Running | None = None

    def between(self, commit: str, parent: str) -> tuple[Row, ...]:
        """Return the files that `commit` has otherwise than `parent`. Raises GitFailed."""
        if self._running is None:
            self._running = _Running(self._git, "diff-tree", "--stdin", "-m", *_RAW)
        # a line that is no commit is given back at once, behind the answer
        self._running.ask(f"{commit} {parent}\n{self._end}")
        said = b""
        while not said.endswith(self._end.encode()):
            said += self._running.read1()
        tokens = iter(decode(said).removesuffix(self._end).split("\0"))
        return tuple(_row(t, next(tokens)) for t in tokens if t.startswith(":"))

    def close(self) -> None:
        """End the process."""
        if self._running is not None:
            self._running.close()


# -- git cat-file --------------------------------------------------------------------------------


class Objects:
    """The content of blobs: one `git cat-file`, started when asked."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._running: _Running | None = None
        self._promisor = git.promisor()
        self._here = git.all_objects() if self._promisor else set()
        self._read: dict[str, bytes | int | None] = {}
        self.withheld = False  # what a partial clone has not was to be had no more

    def bring(self, blobs: Iterable[str]) -> None:
        """Fetch, all at once, what a partial clone has not: git itself would ask one by one."""
        lacking = sorted({b for b in blobs if b} - self._here) if self._promisor else []
        if not lacking or self.withheld:
            return
        self.withheld = not self._git.fetch_promised(self._promisor, lacking)
        if not self.withheld:
            self._here.update(lacking)

    def ahead(self, blobs: Iterable[str]) -> None:
        """Read many at once: `text` of these needs no asking until the next call."""
        wanted = [b for b in dict.fromkeys(blobs) if b]
        self.bring(wanted)
        fresh = [b for b in wanted if b not in self._read and not self._out_of_reach(b)]
        self._read = {b: self._read[b] for b in wanted if b in self._read}
        for start in range(0, len(fresh), _AT_ONCE):
            part = fresh[start : start + _AT_ONCE]
            self._ask(part)
            for blob in part:
                self._read[blob] = self._answer()

    def text(self, blob: str, limit: int) -> bytes | None:
        """Return a blob's content, None where it is not here.

        Raises GitFailed, and Refused where it is larger than `limit` bytes.
        """
        if blob in self._read:
            text = self._read[blob]
        else:
            self.bring([blob])
            if self._out_of_reach(blob):
                return None
            self._ask([blob])
            text = self._answer()
        if isinstance(text, int) or (text is not None and len(text) > limit):
            raise Refused(f"larger than {limit} bytes")
        return text

    def _out_of_reach(self, blob: str) -> bool:
        return bool(self._promisor) and blob not in self._here

    def _ask(self, blobs: Sequence[str]) -> None:
        if self._running is None:
            self._running = _Running(self._git, "cat-file", "--batch")
        self._running.ask("".join(f"{b}\n" for b in blobs))

    def _answer(self) -> bytes | int | None:
        """Return the next blob's content; its size where that is too large to be of any use."""
        running = self._running
        assert running is not None
        words = running.line().split(" ")
        if len(words) != _HEADER_WORDS:
            return None
        size = int(words[2])
        if size <= MAX_POINTER_BYTES:
            return running.exactly(size + 1)[:-1]
        for start in range(0, size + 1, _CHUNK):
            running.exactly(min(_CHUNK, size + 1 - start))
        return size

    def close(self) -> None:
        """End the process."""
        if self._running is not None:
            self._running.close()

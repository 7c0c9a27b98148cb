"""What a table's text is like, seen before a library reads it: rows and columns are bounded.

A reader of tables takes the memory that a file asks for: gigabytes for one row without an end, a
million columns, or values nested in values. Plain searches through the bytes tell such files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from devml_git.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_COLUMNS = 20_000
_MOST_KEYS = 2000  # of JSON lines: polars takes the square of their number
_LONGEST = 4 << 20  # bytes of a row
_CHUNK = 4 << 20
_MOST_TRIES = 100_000
_DEEPEST = 8
# A text, closed or not, and the colon that makes it a key: no search begins anew inside of one
_STRING = re.compile(rb'"(?:[^"\\\n]|\\.)*+(?:"(?:[ \t]*+(:))?)?')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}\n"))


def check(path: Path, form: str, *, quoted: bool = True) -> None:
    """Refuse a text of "csv", "tsv" or "jsonl" that no table looks like; name what is wrong.

    `quoted` says whether its fields may be in quotes.
    """
    if form == "jsonl":
        _check_json_lines(path)
    else:
        _check_columns(path, b"\t" if form == "tsv" else b",")
        _check_rows(path, quotes=quoted)


def _check_columns(path: Path, separator: bytes) -> None:
    with path.open("rb") as file:
        if file.readline(_LONGEST).count(separator) >= MOST_COLUMNS:
            raise Refused(f"not read as a table: more than {MOST_COLUMNS} columns")


def _check_rows(path: Path, *, quotes: bool) -> None:
    """Hold that rows end: by a newline outside of quotes, of which there are as many as before."""
    quoted, since = False, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if quotes:
                end, quoted = _last_end(chunk, quoted=quoted)
            else:
                end = chunk.rfind(b"\n") + 1
            since = len(chunk) - end if end else since + len(chunk)
            if since > _LONGEST:
                raise Refused(f"not read as a table: a row of more than {_LONGEST >> 20} MB")


def _last_end(chunk: bytes, *, quoted: bool) -> tuple[int, bool]:
    """Return where the last row ends (0: none does), and whether the chunk ends inside quotes."""
    ends_quoted = quoted ^ bool(chunk.count(b'"') & 1)
    at, inside = len(chunk), ends_quoted
    for _ in range(_MOST_TRIES):  # backwards, from quote to quote
        quote = chunk.rfind(b'"', 0, at)
        newline = -1 if inside else chunk.rfind(b"\n", quote + 1, at)
        if newline >= 0:
            return newline + 1, ends_quoted
        if quote < 0:
            return 0, ends_quoted
        at, inside = quote, not inside
    return 0, ends_quoted


def _check_json_lines(path: Path) -> None:
    keys: set[bytes] = set()
    for lines in _whole_lines(path):
        keys.update(m[0] for m in _STRING.finditer(lines) if m[1])
        if len(keys) > _MOST_KEYS:
            raise Refused(f"not read as a table: more than {_MOST_KEYS} keys")
        brackets = _STRING.sub(b"", lines).translate(None, _NO_BRACKETS)
        for _ in range(_DEEPEST):
            brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if brackets.strip(b"\n"):
            raise Refused(f"not read as a table: values nested deeper than {_DEEPEST}, or no JSON")


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            rest = b"" if chunk.endswith(b"\n") else file.readline(_LONGEST + 1)
            if len(rest) > _LONGEST:
                raise Refused(f"not read as a table: a row of more than {_LONGEST >> 20} MB")
            yield chunk + rest

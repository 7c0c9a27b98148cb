"""Images, recordings and text: what their headers say (headers.py), and how many lines changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devml_git import headers
from devml_git.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from devml_git.headers import Facts
    from devml_git.plumbing import Git

_HEAD = 8192  # bytes that decide whether a file is text, as git's
_MOST_TEXT = 64 << 20  # bytes that git is asked to compare line by line
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class MediaChange:
    """What the headers of an image or recording say; a side is None where there is none.

    `kind` is "image" or "audio"; what is told of each: headers.facts.
    """

    kind: str
    old: Facts | None
    new: Facts | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it, under the name of its kind."""
        sides = {"old": self.old, "new": self.new}
        return {self.kind: {side: dict(f) if f is not None else None for side, f in sides.items()}}


@dataclass(frozen=True, slots=True)
class LinesChange:
    """How many lines text has (None: no such side), and how many were added and removed."""

    lines: tuple[int | None, int | None]
    added: int | None = None
    removed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        old, new = self.lines
        text = {"old": old, "new": new, "added": self.added, "removed": self.removed}
        return {"lines": text}


def compare(
    git: Git, old: Path | None, new: Path | None, name: str
) -> tuple[MediaChange | LinesChange | None, list[str]]:
    """Compare two files, or describe one (the other is None); also return remarks.

    None for what is neither image, recording nor text.
    """
    kind = headers.kind_of(name)
    if kind is not None:
        return _headers(kind, old, new)
    if all(_is_text(p) for p in (old, new) if p is not None):
        return _text(git, old, new), []
    return None, []


def _headers(kind: str, old: Path | None, new: Path | None) -> tuple[MediaChange | None, list[str]]:
    try:
        sides = [None if p is None else headers.facts(p, kind) for p in (old, new)]
    except ImportError:
        return None, [headers.MEDIA_EXTRA]
    except Refused as e:
        return None, [e.message]
    return MediaChange(kind, sides[0], sides[1]), []


def _is_text(path: Path) -> bool:
    with path.open("rb") as f:
        head = f.read(_HEAD)
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as e:
        return e.start >= _HEAD - 4  # cut within a character
    return True


def _text(git: Git, old: Path | None, new: Path | None) -> LinesChange:
    lines = (None if old is None else count_lines(old), None if new is None else count_lines(new))
    if old is None or new is None or max(p.stat().st_size for p in (old, new)) > _MOST_TEXT:
        return LinesChange(lines)
    added, removed = git.lines_changed(old, new)
    return LinesChange(lines, added, removed)


def count_lines(path: Path) -> int:
    """Return how many lines a file has; a last one without a newline counts."""
    count, last = 0, b"\n"
    with path.open("rb") as f:
        while chunk := f.read(_CHUNK):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")

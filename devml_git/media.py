"""Images, recordings and text: what their headers say, and how many lines changed.

Only headers are read: by Pillow and tinytag, an optional extra. No pixel and no sound is decoded.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devml_git.gate import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from devml_git.plumbing import Git

    Facts = Mapping[str, str | int | float | None]

_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_DECODERS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")  # Pillow's others have no business here
_AUDIO = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aiff", ".wma")
_EXTRA = "sizes and lengths are read with: pip install 'devml-git[media]'"
_HEAD = 8192  # bytes that decide whether a file is text, as git's
_MOST_TEXT = 64 << 20  # bytes that git is asked to compare line by line
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class MediaChange:
    """What the headers of an image or recording say; a side is None where there is none.

    `kind` is "image" (format, width and height in pixels, mode) or "audio" (seconds, rate in
    samples a second, channels).
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
    ending = f".{name.lower().rpartition('.')[2]}"
    if ending in _IMAGES:
        return _headers("image", old, new, _image)
    if ending in _AUDIO:
        return _headers("audio", old, new, _audio)
    if all(_is_text(p) for p in (old, new) if p is not None):
        return _text(git, old, new), []
    return None, []


def _headers(
    kind: str, old: Path | None, new: Path | None, read: Callable[[Path], Facts]
) -> tuple[MediaChange | None, list[str]]:
    try:
        old_facts, new_facts = (None if p is None else read(p) for p in (old, new))
    except ImportError:
        return None, [_EXTRA]
    except Exception as e:  # noqa: BLE001 - a hostile file: whatever a decoder makes of it
        return None, [f"no {kind} that can be read: {shown(e) or type(e).__name__}"]
    return MediaChange(kind, old_facts, new_facts), []


def _image(path: Path) -> Facts:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of billions of pixels: none of them is decoded
        with Image.open(path, formats=_DECODERS) as image:
            width, height = image.size
            return {"format": image.format, "width": width, "height": height, "mode": image.mode}


def _audio(path: Path) -> Facts:
    from tinytag import TinyTag

    with path.open("rb") as f:
        tag = TinyTag.get(file_obj=f, filename=None, tags=False, image=False)
    return {"seconds": tag.duration, "rate": tag.samplerate, "channels": tag.channels}


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

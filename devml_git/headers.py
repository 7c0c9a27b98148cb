"""What the header of an image, a recording or a Parquet file says. No pixel, sound or row is read.

By Pillow, tinytag and polars, which are optional extras.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, cast

from devml_git.amounts import counted
from devml_git.errors import Refused
from devml_git.gate import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO, TypeAlias

    Facts: TypeAlias = Mapping[str, str | int | float | None]

MEDIA_EXTRA = "sizes and lengths are read with: pip install 'devml-git[media]'"
TABLES_EXTRA = "rows are compared with: pip install 'devml-git[tables]'"
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_DECODERS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")  # Pillow's others have no business here
# What a decoder may read of one file: it looks for the next frame or marker byte by byte
_MOST_READ = 16 << 20  # bytes
_MOST_READS = 50_000
_AUDIO = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aiff", ".wma")


def kind_of(name: str) -> str | None:
    """Return "image" or "audio" for a file that is named like one, else None."""
    lower = name.lower()
    return "image" if lower.endswith(_IMAGES) else "audio" if lower.endswith(_AUDIO) else None


def facts(path: Path, kind: str) -> Facts:
    """Return what the header of an image or a recording says.

    Of an image format, width and height in pixels, mode; of a recording seconds, rate in samples a
    second, channels. Raises Refused for what cannot be read, ImportError where the extra is not
    installed.
    """
    try:
        with path.open("rb", buffering=0) as f:
            file = cast("BinaryIO", _Frugal(f))
            return _image(file) if kind == "image" else _audio(file)
    except ImportError:
        raise
    except Exception as e:
        # a hostile file: whatever a decoder makes of it
        raise Refused(f"no {kind} that can be read: {shown(e) or type(e).__name__}") from e


class _Frugal:
    """An open file of which so much is read, and no more: then it raises."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = io.BufferedReader(file)
        self._bytes, self._reads = _MOST_READ, _MOST_READS
        self.seek, self.tell = self._file.seek, self._file.tell

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._bytes + 1 if size < 0 else min(size, self._bytes + 1))
        self._bytes -= len(data)
        self._reads -= 1
        if self._bytes < 0 or self._reads < 0:
            raise ValueError("its header does not end where it should")
        return data


def _image(file: BinaryIO) -> Facts:
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of billions of pixels: none of them is decoded
        try:
            with Image.open(file, formats=_DECODERS) as image:
                width, height = image.size
                facts = {"format": image.format, "width": width, "height": height}
                return {**facts, "mode": image.mode}
        except UnidentifiedImageError as e:
            raise ValueError(f"none of {', '.join(_DECODERS)}, or damaged") from e


def _audio(file: BinaryIO) -> Facts:
    from tinytag import TinyTag

    tag = TinyTag.get(file_obj=file, filename=None, tags=False, image=False)
    return {"seconds": tag.duration, "rate": tag.samplerate, "channels": tag.channels}


def in_words(found: Facts) -> str:
    """Return what `facts` found, as people read it."""
    if "width" in found:
        return f"{found['format']} {found['width']}x{found['height']} {found['mode']}"
    seconds = found["seconds"]
    length = "?" if seconds is None else f"{seconds:.2f}"
    channels = found["channels"]
    told = counted(int(channels), "channel") if channels else "? channels"
    return f"{length} s, {found['rate'] or '?'} Hz, {told}"


def parquet(path: Path) -> tuple[int, dict[str, str]]:
    """Return how many rows a Parquet file has, and the types of its columns, as polars names them.

    Raises Refused for what is none, ImportError where the extra is not installed.
    """
    import polars as pl

    try:
        frame = pl.scan_parquet(path, glob=False)
        types = {name: str(kind) for name, kind in frame.collect_schema().items()}
        return int(frame.select(pl.len()).collect().item()), types
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as e:
        raise refusal(e) from e


def refusal(error: BaseException) -> Refused:
    """Return what polars says of a file that is no such table, in one line."""
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return Refused(f"not read as a table: {shown(first, 200)}")

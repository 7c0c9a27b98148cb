"""`.dvcignore` files: which of them can be used, and what those that cannot leave undecided.

Without its ignore rules nobody knows which files a directory artifact has: it is left alone, and
the file is named. Artifacts that are one file need no such rules.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from devml_git.bounds import MAX_PATTERN, MAX_PATTERN_BYTES, MAX_PATTERN_LINES
from devml_git.errors import Refused
from devml_git.inside import read_inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def unfit(root: Path, files: Iterable[str]) -> dict[str, str]:
    """Return why some of these `.dvcignore` files cannot be used, in words that follow their name.

    `files` are relative to the root.
    """
    whys = ((file, _why_unfit(root, file)) for file in files)
    return {file: why for file, why in whys if why is not None}


def _why_unfit(root: Path, file: str) -> str | None:
    try:
        text = read_inside(root, file, limit=MAX_PATTERN_BYTES)
    except Refused as e:
        return f"cannot be read: {e.message}"
    try:
        (text or b"").decode("utf-8")
    except UnicodeDecodeError:
        return "is no UTF-8"
    lines = (text or b"").splitlines()
    if len(lines) > MAX_PATTERN_LINES:
        return f"has more than {MAX_PATTERN_LINES} lines"
    if any(len(line) > MAX_PATTERN for line in lines if not line.startswith(b"#")):
        return f"has a pattern of more than {MAX_PATTERN} bytes"
    return None


def undecided(path: str, unfit_files: Mapping[str, str]) -> str | None:
    """Return the unfit `.dvcignore` that would decide what a directory has in it, or None."""
    for file in unfit_files:
        above = posixpath.dirname(file)
        if not above or f"{path}/".startswith(f"{above}/"):
            return file
    return None

"""The one gate for what pointers, manifests and configuration claim (P9).

Everything read from a repository is a stranger's text until it passed here: an object id that
is not one would read or write outside the cache, a path with `..` outside the workspace.
Rules: hostile-repository notes of DVC 3.67 (`.dir` entries, `outs[].path`, `md5`), git's
`verify_path` (read-cache.c) and its protectNTFS/protectHFS spellings of `.git`.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from typing import TYPE_CHECKING

from devml_git.errors import Refused
from devml_git.escaping import pathspec as pathspec  # noqa: PLC0414
from devml_git.escaping import quoted as quoted  # noqa: PLC0414 - names of the gate, too
from devml_git.escaping import shown as shown  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_POINTER_BYTES = 4 << 20
MAX_MANIFEST_BYTES = 256 << 20
MAX_MANIFEST_FILES = 2_000_000
MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 4096
MAX_DEPTH = 64
MAX_SIZE = 1 << 60

_OID = re.compile(r"[0-9a-f]{32}(\.dir)?\Z")
# Most names of a data set: nothing in them needs a closer look
_SIMPLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,8}\Z")
_SIMPLE_LENGTH = 200
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FILE_OID = re.compile(r"[0-9a-f]{32}\Z")
# C0, DEL, C1, line and paragraph separators, and the bidi controls that reorder a terminal's text
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_HFS_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?\Z", re.IGNORECASE)
_PRIVATE = frozenset({".git", ".dvc", "git~1", "dvc~1"})
# Names these file systems cannot tell apart, or cannot hold, are refused where they would collide.
_FOLDS_CASE = sys.platform in {"win32", "darwin"}


def oid(value: object, where: str) -> str:
    """Return an object id of DVC: 32 lower-case hex digits of an MD5, `.dir` for a manifest.

    Raises Refused for anything else; `where` names the pointer it came from.
    """
    if isinstance(value, str) and _OID.match(value):
        return value
    raise Refused(f"{shown(where)}: '{shown(value)}' is not an object id")


def file_oid(value: object, where: str) -> str:
    """Return the object id of one file: `oid` without the `.dir` form."""
    if isinstance(value, str) and _FILE_OID.match(value):
        return value
    raise Refused(f"{shown(where)}: '{shown(value)}' is not the object id of a file")


def sha256(value: object, where: str) -> str | None:
    """Return a SHA-256 (64 lower-case hex digits), or None where there is none."""
    if value is None or (isinstance(value, str) and _SHA256.match(value)):
        return value
    raise Refused(f"{shown(where)}: '{shown(value)}' is not a SHA-256")


def size(value: object, where: str) -> int | None:
    """Return a size or count (bytes, files), or None where the pointer has none."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE:
        return value
    raise Refused(f"{shown(where)}: '{shown(value)}' is not a size")


def path(value: object, where: str) -> str:
    """Return a relative POSIX path that stays where it is put, or raise Refused.

    No empty, `.` or `..` component, no control character, nothing that some file system takes
    for `.git` or `.dvc`, bounded in length and depth.
    """
    if not isinstance(value, str) or not value:
        raise Refused(f"{shown(where)}: '{shown(value)}' is not a path")
    if os.name != "nt" and len(value) < _SIMPLE_LENGTH and _SIMPLE.match(value):
        return value
    problem = _path_problem(value)
    if problem:
        raise Refused(f"{shown(where)}: path '{shown(value)}' {problem}")
    return value


def _path_problem(value: str) -> str | None:
    if _CONTROL.search(value):
        return "has a control character in it"
    if value.startswith("/") or (os.name == "nt" and ("\\" in value or ":" in value)):
        return "is not relative"
    if len(value.encode()) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    parts = value.split("/")
    if len(parts) > MAX_DEPTH:
        return f"is deeper than {MAX_DEPTH} directories"
    return next((problem for part in parts if (problem := _component_problem(part))), None)


def _component_problem(part: str) -> str | None:
    if part in {"", ".", ".."}:
        return "has an empty, '.' or '..' component"
    if len(part.encode()) > MAX_COMPONENT_BYTES:
        return f"has a component longer than {MAX_COMPONENT_BYTES} bytes"
    folded = _HFS_IGNORED.sub("", part).split(":", 1)[0].rstrip(". ").casefold()
    if folded in _PRIVATE or _HFS_IGNORED.sub("", part).casefold() in _PRIVATE:
        return "leads into .git or .dvc"
    if os.name == "nt" and (_RESERVED.match(part) or set(part) & set('<>"|?*')):
        return "cannot exist on Windows"
    return None


def manifest_paths(paths: Iterable[str], where: str) -> None:
    """Check the paths of one manifest against each other.

    Refuses duplicates, a file that is also a directory (`a` and `a/b`), and, where the file
    system folds case or Unicode form, names that would land on each other.
    """
    seen: set[str] = set()
    parents: set[str] = set()
    for name in paths:
        key = unicodedata.normalize("NFC", name).casefold() if _FOLDS_CASE else name
        if key in seen:
            raise Refused(f"{shown(where)}: '{shown(name)}' is listed twice")
        seen.add(key)
        cut = key.rfind("/")
        while cut > 0 and key[:cut] not in parents:
            parents.add(key[:cut])
            cut = key.rfind("/", 0, cut)
    both = seen & parents
    if both:
        raise Refused(f"{shown(where)}: '{shown(min(both))}' is a file and a directory at once")

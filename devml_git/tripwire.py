"""What lets the shell see, without starting an interpreter, that nothing has changed.

After every operation that left all artifacts clean, a private index in git's own format
(gitformat-index(5), version 2) is written: one entry per file of an artifact, and the pointer
and configuration files. `git diff-files` on it is the quickest known answer to "has anything
changed", `git ls-files -o` to "has anything appeared". The shim in `hooks/` asks them; any doubt
starts Python.

Git compares times in whole seconds (it is built without USE_NSEC): a file that changed in the
very second it was looked at is written with stat fields that cannot match. The index file itself
gets a time in the far future, so that git never re-reads content on its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import struct
import time
from typing import TYPE_CHECKING

from devml_git.place import write_all
from devml_git.plumbing import POINTER_PATHSPECS, PROJECT_PATHSPEC, YAML_PATHSPECS, anchored
from devml_git.privacy import make_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from devml_git.plumbing import Git

_FAR_FUTURE = 4_000_000_000  # seconds since 1970; fits git's 32 bits
_NAME_MASK = 0xFFF
_EMPTY = bytes.fromhex("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
_EMPTY_WIDE = bytes.fromhex("473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813")
_HEAD = struct.Struct(">10I")
COMMITTING = "committing"  # how the last commit was looked at, and by which git
READY = "ready"
# As the shim's `list_pointers`
LISTED = (*POINTER_PATHSPECS, *YAML_PATHSPECS, PROJECT_PATHSPEC)
HELD_LISTING = ("ls-files", "-c", "-i")
_ASSUME_VALID = 0x8000


def directory(git: Git) -> Path:
    """Where the tripwire of this worktree lies."""
    return git.whole.private / "tripwire"


def disarm(git: Git) -> None:
    """Make the shell start Python at the next hook."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        (directory(git) / READY).unlink()


def arm_pointers(git: Git, *, sources: Sequence[str], large_file: int) -> None:
    """Let the shell answer only whether the pointers have moved; at a commit Python will look.

    For a workspace that needs nothing until then: files just restored, whose times git could not
    tell from a later change's, or the user's own edits.
    """
    unsure = {"devml.toml": None}
    arm(
        git, files=unsure, member_places=[], rule_lines=[], rule_places=[], owned=[], held=[],
        sources=sources, large_file=large_file,
    )  # fmt: skip


def arm(
    git: Git,
    *,
    files: Mapping[str, os.stat_result | None],
    member_places: Sequence[str],
    rule_lines: Sequence[str],
    rule_places: Sequence[str],
    owned: Sequence[str],
    held: Sequence[str],
    sources: Sequence[str],
    large_file: int,
) -> None:
    """Write the tripwire: from now on the shell may answer for Python.

    `files` are watched for change: paths relative to the root, with the stat each had when it was
    judged (None: not believed, Python will look again); `member_places` are
    directory artifacts watched for new files; `rule_lines` and `rule_places` are what a new
    artifact would match, and where; `owned` are gitignore lines for all that must not enter git
    as content, `held` the paths that match and are in git all the same; `sources` are the files
    that pipelines take values from: they decide which outputs there are; `large_file` is in bytes.
    """
    place = directory(git)
    place.mkdir(mode=0o700, exist_ok=True)
    disarm(git)
    make_file(place.parent / COMMITTING)  # which the shim writes, with the mode that it has
    literal = [f":(literal){git.prefix}{name}" for name in sources if "\n" not in name]
    listing = git.whole.raw("ls-files", "-s", "-t", "--", *LISTED, *literal)[1]
    files = {f"{git.prefix}{name}": st for name, st in files.items()}
    held = [f"{git.prefix}{name}" for name in held]
    wide = git.config("extensions.objectFormat") == "sha256"
    _write(place / "index", _index_bytes(files, held, wide=wide))
    os.utime(place / "index", (_FAR_FUTURE, _FAR_FUTURE))
    _write(place / "pointers", listing)
    for name, lines in (
        ("sources", literal),
        ("members", [f":(literal){git.prefix}{m}" for m in member_places]),
        ("rules", [anchored(line, git.prefix) for line in rule_lines]),
        ("places", [_seen_from_root(spec, git.prefix) for spec in rule_places]),
        ("owned", [anchored(line, git.prefix) for line in owned]),
    ):
        text = "".join(f"{line}\n" for line in lines)
        _write(place / name, text.encode("utf-8", "surrogateescape"))
    _write(place / "held", git.whole.raw(*HELD_LISTING, f"--exclude-from={place / 'owned'}")[1])
    _write(place / READY, f"{large_file}\n".encode())


def _seen_from_root(pathspec: str, prefix: str) -> str:
    if not prefix or pathspec != ".":
        return re.sub(r"^(:\([a-z,]+\))", lambda m: f"{m[0]}{prefix}", pathspec)
    return f":(literal){prefix.rstrip('/')}"


def _write(path: Path, data: bytes) -> None:
    temp = path.with_name(path.name + ".new")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)
    os.replace(temp, path)


def _index_bytes(
    files: Mapping[str, os.stat_result | None], held: Sequence[str], *, wide: bool
) -> bytes:
    now = int(time.time())
    blobs = _EMPTY_WIDE if wide else _EMPTY, bytes(32 if wide else 20)[:-1] + b"\1"
    digest = hashlib.sha256 if wide else hashlib.sha1
    entries = {os.fsencode(name): _held_entry(os.fsencode(name), blobs[1]) for name in held}
    for name, st in files.items():
        raw = os.fsencode(name)
        entries[raw] = _entry(raw, st, now, blobs)
    ordered = [entries[name] for name in sorted(entries)]
    body = b"".join((b"DIRC", struct.pack(">II", 2, len(ordered)), *ordered))
    return body + digest(body, usedforsecurity=False).digest()


def _held_entry(name: bytes, blank: bytes) -> bytes:
    """Git's own file in a tracked place: there, but none of our business."""
    return _padded(_HEAD.pack(*[0] * 6, 0o100644, 0, 0, 0) + blank, name, _ASSUME_VALID)


def _entry(name: bytes, st: os.stat_result | None, now: int, blobs: tuple[bytes, bytes]) -> bytes:
    """Return one index entry. Git takes size 0 for "smudged" unless the blob is the empty one.

    A file that changed in this very second is written so: a later change might not show in it.
    """
    empty, blank = blobs
    seconds = st.st_ctime_ns // 10**9 if st is not None else now
    if st is None or seconds >= now or not stat.S_ISREG(st.st_mode):
        return _padded(_HEAD.pack(*[0] * 6, 0o100644, 0, 0, 0) + blank, name, 0)
    mode = 0o100755 if st.st_mode & stat.S_IXUSR else 0o100644
    fields = (
        seconds, st.st_ctime_ns % 10**9, st.st_mtime_ns // 10**9, st.st_mtime_ns % 10**9,
        st.st_dev, st.st_ino, mode, st.st_uid, st.st_gid, st.st_size,
    )  # fmt: skip
    head = _HEAD.pack(*(value & 0xFFFFFFFF for value in fields))
    return _padded(head + (blank if st.st_size else empty), name, 0)


def _padded(start: bytes, name: bytes, flags: int) -> bytes:
    entry = start + struct.pack(">H", flags | min(len(name), _NAME_MASK)) + name
    return entry + bytes(8 - len(entry) % 8)

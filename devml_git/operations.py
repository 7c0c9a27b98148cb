"""The log of operations: what each one of this worktree changed, so that `undo` can take it back.

One JSON object a line, in the worktree's private directory, written durably once an operation has
changed something. The log is bounded: past MOST_BYTES the oldest lines go, KEPT_BYTES stay. What
it names is in the cache or in git; losing it loses `undo`, never a byte.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from devml_git import gate
from devml_git.errors import UsageError
from devml_git.nouns import MD5, Pointer
from devml_git.place import storage_error, write_all, write_text_safely

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")
MOST_BYTES = 16_000_000
KEPT_BYTES = 8_000_000
_LOG = "operations.jsonl"
_ID = re.compile(r"[0-9a-f]{8}")
_ENTRY = re.compile(r"(100644|100755|120000|160000) ([0-9a-f]{40}|[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What something was before and after an operation; None: it was not there."""

    before: T | None
    after: T | None


@dataclass(frozen=True, slots=True)
class Operation:
    """What one operation changed in one worktree.

    `time` is UTC, ISO 8601; `what` the command that did it; `commit` and `branch` where HEAD stood
    before. By path: `contents`, what lay at an artifact's place (as a pointer would say it),
    `texts`, small files that git tracks, `entries`, lines of git's index ("MODE BLOB").
    `released` are artifacts that `untrack` had let go before; `undoes` is the operation that this
    one took back; `final` says why this one cannot be; `broken`: an error or Ctrl-C ended it.
    """

    id: str
    time: str
    what: str
    commit: str | None
    branch: str | None
    worktree: str
    contents: Mapping[str, Change[Pointer]]
    texts: Mapping[str, Change[bytes]]
    entries: Mapping[str, Change[str]]
    released: tuple[str, ...] = ()
    undoes: str | None = None
    final: str | None = None
    broken: bool = False

    def paths(self) -> list[str]:
        """Return what it changed, artifacts before other files; a pointer counts as its own."""
        others = {f.removesuffix(".dvc") for f in (*self.texts, *self.entries)}
        return [*sorted(self.contents), *sorted(others - self.contents.keys())]

    def to_dict(self) -> dict[str, Any]:
        """Return it as a line of the log has it."""
        return {
            "id": self.id, "time": self.time, "what": self.what, "commit": self.commit,
            "branch": self.branch, "worktree": self.worktree,
            "artifacts": _sides(self.contents, _content_to_dict),
            "files": _sides(self.texts, lambda data: data.decode("utf-8", "surrogateescape")),
            "index": _sides(self.entries, str),
            "released": list(self.released), "undoes": self.undoes, "final": self.final,
            "broken": self.broken,
        }  # fmt: skip


def _sides(changes: Mapping[str, Change[Any]], form: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        path: {
            "before": None if c.before is None else form(c.before),
            "after": None if c.after is None else form(c.after),
        }
        for path, c in changes.items()
    }


def _content_to_dict(pointer: Pointer) -> dict[str, Any]:
    return {
        "oid": pointer.oid, "hash": pointer.hash_name, "size": pointer.size,
        "nfiles": pointer.nfiles, "executable": sorted(pointer.executable),
        "sha256": pointer.sha256,
    }  # fmt: skip


def new_id() -> tuple[str, str]:
    """Return an id and the time for an operation that ends now."""
    return os.urandom(4).hex(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def append(private: Path, operation: Operation) -> None:
    """Write one operation to the log, durably. Raises StorageFailed; the log is then as before."""
    line = json.dumps(operation.to_dict()).encode() + b"\n"
    place = private / _LOG
    try:
        fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(fd).st_size
            torn = size and os.pread(fd, 1, size - 1) != b"\n"  # a crash, or a full disk
            write_all(fd, (b"\n" if torn else b"") + line)
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as e:
        raise storage_error(e, place) from e
    if size + len(line) > MOST_BYTES:
        _trim(private)


def _trim(private: Path) -> None:
    """Keep the newest lines, as many as KEPT_BYTES hold and the last one in any case."""
    lines = (private / _LOG).read_bytes().splitlines(keepends=True)
    left, kept = KEPT_BYTES, len(lines)
    while kept and (kept == len(lines) or left >= len(lines[kept - 1])):
        kept -= 1
        left -= len(lines[kept])
    write_text_safely(private, _LOG, b"".join(lines[kept:]))


def read(private: Path) -> list[Operation]:
    """Return the operations of a worktree, newest first; what is no line of ours is passed by."""
    return [op for line in _lines(private) if (op := _operation(line)) is not None]


def newest_is_readable(private: Path) -> bool:
    """Whether the last line is one of ours: else nobody knows what the last operation was."""
    lines = _lines(private)
    return not lines or _operation(lines[0]) is not None


def _lines(private: Path) -> list[bytes]:
    """Return the lines of the log that are not empty, newest first."""
    try:
        return [x for x in (private / _LOG).read_bytes().split(b"\n") if x][::-1]
    except FileNotFoundError:
        return []


def _operation(line: bytes) -> Operation | None:
    try:
        return _parsed(json.loads(line))
    except Exception:  # noqa: BLE001 - torn, or by another version
        return None


def _parsed(raw: dict[str, Any]) -> Operation:
    contents = {
        path: Change(*(_content(path, entry[side]) for side in ("before", "after")))
        for path, entry in raw["artifacts"].items()
    }
    texts = {
        gate.path(path, "operation log"): Change(*(_text(entry[s]) for s in ("before", "after")))
        for path, entry in raw["files"].items()
    }
    entries = {
        _name(path): Change(*(_entry(entry[s]) for s in ("before", "after")))
        for path, entry in raw["index"].items()
    }
    if not _ID.fullmatch(raw["id"]):
        raise ValueError(raw["id"])
    return Operation(
        raw["id"], _word(raw["time"]), _word(raw["what"]), _word(raw["commit"], none=True),
        _word(raw["branch"], none=True), _word(raw["worktree"]), contents, texts, entries,
        tuple(_word(path) for path in raw["released"]), _word(raw["undoes"], none=True),
        _word(raw["final"], none=True), bool(raw.get("broken")),
    )  # fmt: skip


def _word(raw: object, *, none: bool = False) -> Any:  # noqa: ANN401
    if isinstance(raw, str) or (none and raw is None):
        return raw
    raise ValueError(raw)


def _name(path: str) -> str:
    """Return a name in git's index: git takes more of them than `gate.path`."""
    if {"", ".", ".."} & set(path.split("/")) or "\0" in path:
        raise ValueError(path)
    return path


def _content(path: str, raw: dict[str, Any] | None) -> Pointer | None:
    if raw is None:
        return None
    return Pointer(
        path, f"{path}.dvc", raw["oid"], raw["size"], raw["nfiles"],
        frozenset(raw["executable"]), raw.get("hash", MD5),
        sha256=gate.sha256(raw.get("sha256"), "operation log"),
    )  # fmt: skip


def _text(raw: str | None) -> bytes | None:
    return None if raw is None else raw.encode("utf-8", "surrogateescape")


def _entry(raw: str | None) -> str | None:
    if raw is not None and not _ENTRY.fullmatch(raw):
        raise ValueError(raw)
    return raw


def find(operations: Sequence[Operation], operation_id: str | None) -> Operation:
    """Return the operation whose id is, or begins with, `operation_id`; without one, the last.

    `operations` are newest first. Raises UsageError.
    """
    if operation_id is None:
        if not operations:
            raise UsageError("nothing to undo: no operation has changed anything yet")
        return _last(operations)
    found = [op for op in operations if operation_id and op.id.startswith(operation_id)]
    if len(found) != 1:
        why = "names several operations" if found else "is not in the log of operations"
        raise UsageError(f"'{gate.shown(operation_id)}' {why}", hint="devml-git undo --list")
    return found[0]


def _last(operations: Sequence[Operation]) -> Operation:
    """Return the last operation; where that is an undo that broke off, what it was to take back."""
    last = operations[0]
    for earlier in operations[1:]:
        if last.broken and earlier.id == last.undoes:
            last = earlier
    return last


def undone(operations: Sequence[Operation]) -> set[str]:
    """Return the ids of those that are taken back; an undo that was undone does not count.

    `operations` are newest first.
    """
    earlier: dict[str, str | None] = {}
    gone: set[str] = set()
    for op in reversed(operations):
        target, back = None if op.broken else op.undoes, True
        while target in earlier:
            (gone.add if back else gone.discard)(target)
            target, back = earlier[target], not back
        earlier.setdefault(op.id, op.undoes if op.undoes in earlier else None)
    return gone

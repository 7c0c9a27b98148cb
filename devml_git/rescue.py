"""Rescues: content that would have been overwritten and was in no snapshot (P3).

The bytes are in the cache; the log, one JSON object a line under git's common directory, says
what they were and why they were set aside. Lines are only ever appended.
"""

from __future__ import annotations

import calendar
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from devml_git import gate
from devml_git.errors import UsageError
from devml_git.place import storage_error, write_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LOG = "rescue.jsonl"


@dataclass(frozen=True, slots=True)
class Rescue:
    """One content set aside. `time` is UTC, ISO 8601; `size` in bytes; `commit`, `branch` and
    `worktree` are where it happened; `executable` the members with an exec bit; `sha256` as in
    `Pointer`.
    """

    id: str
    time: str
    path: str
    oid: str
    size: int
    cause: str
    commit: str | None
    branch: str | None
    worktree: str
    executable: tuple[str, ...] = ()
    sha256: str | None = None

    def seconds(self) -> float:
        """Return when it happened, in seconds since the epoch."""
        return calendar.timegm(time.strptime(self.time, "%Y-%m-%dT%H:%M:%SZ"))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of product.md's `devml.rescue/v1`."""
        return {k: v for k, v in asdict(self).items() if k not in {"executable", "sha256"}}


def add(
    shared: Path,
    *,
    path: str,
    oid: str,
    size: int,
    cause: str,
    commit: str | None,
    branch: str | None,
    worktree: str,
    executable: frozenset[str] = frozenset(),
    sha256: str | None = None,
) -> Rescue:
    """Write one rescue to the log, durably, before the content's place is touched."""
    rescue = Rescue(
        id=os.urandom(4).hex(),
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        path=path,
        oid=oid,
        size=size,
        cause=cause,
        commit=commit,
        branch=branch,
        worktree=worktree,
        executable=tuple(sorted(executable)),
        sha256=sha256,
    )
    _append(shared, [asdict(rescue)])
    return rescue


def drop(shared: Path, rescues: Sequence[Rescue]) -> None:
    """Take rescues off the list: a line each says so. What they name stays in the cache."""
    _append(shared, [{"dropped": rescue.id} for rescue in rescues])


def _append(shared: Path, rows: Sequence[dict[str, Any]]) -> None:
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    try:
        fd = os.open(shared / _LOG, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            write_all(fd, _end_of_torn_line(fd) + lines)
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as e:
        raise storage_error(e, shared / _LOG) from e


def _end_of_torn_line(fd: int) -> bytes:
    """What a crash left of a line must not swallow the next one."""
    size = os.lseek(fd, 0, os.SEEK_END)
    if size:
        os.lseek(fd, size - 1, os.SEEK_SET)
    return b"" if not size or os.read(fd, 1) == b"\n" else b"\n"


def read(shared: Path) -> list[Rescue]:
    """Return the rescues that were not dropped, newest first.

    A torn line (a crash while it was written) is passed by.
    """
    try:
        lines = (shared / _LOG).read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    dropped = set()
    for line in lines:
        try:
            raw = json.loads(line)
            if raw.keys() == {"dropped"}:
                dropped.add(raw["dropped"])
                continue
            rescue = _parsed(raw)
        except Exception:  # noqa: BLE001, S112 - any line that is not one of ours
            continue
        found.append(rescue)
    return [rescue for rescue in reversed(found) if rescue.id not in dropped]


def _parsed(raw: dict[str, Any]) -> Rescue:
    """Return a line of the log as a rescue; raises anything for what is none."""
    rescue = Rescue(**{**raw, "executable": tuple(raw.get("executable", ()))})
    gate.oid(rescue.oid, "rescue log")
    gate.path(rescue.path, "rescue log")
    gate.size(rescue.size, "rescue log")
    gate.sha256(rescue.sha256, "rescue log")
    rescue.seconds()
    words = [rescue.id, rescue.cause, rescue.worktree, *rescue.executable]
    words += [w for w in (rescue.commit, rescue.branch) if w is not None]
    if not all(isinstance(word, str) for word in words) or rescue.size is None:
        raise ValueError(raw)
    return rescue


def find(shared: Path, rescue_id: str) -> Rescue:
    """Return the rescue whose id is, or begins with, `rescue_id`. Raises UsageError."""
    found = [r for r in read(shared) if rescue_id and r.id.startswith(rescue_id)]
    if len(found) != 1:
        why = "names several rescues" if found else "is not in the rescue log"
        raise UsageError(f"'{gate.shown(rescue_id)}' {why}", hint="devml-git rescue list")
    return found[0]

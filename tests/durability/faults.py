"""Which call is made to fail, and how; and what must then be said."""

from __future__ import annotations

import errno
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.durability.operations import Operation
from tests.durability.trial import Known, Traced, Workshop, end, wrong

_WRITES = ("write", "pwrite64", "writev")
_OPENS = ("open", "openat")
_NAMES = ("rename", "renameat", "link", "linkat", "mkdir", "mkdirat")
_SYNCS = ("fsync", "fdatasync", "syncfs")
_REMOVALS = ("unlink", "unlinkat")
# What each fault can be: calls, error (0: a short write), whether it stays so from then on
FAULTS: tuple[tuple[tuple[str, ...], int, bool], ...] = (
    (_WRITES, errno.ENOSPC, False),
    ((*_WRITES, *_NAMES), errno.ENOSPC, True),
    (_WRITES, errno.EIO, False),
    (_SYNCS, errno.EIO, False),
    ((*_NAMES, *_REMOVALS), errno.EIO, False),
    (_OPENS, errno.EIO, False),
    (_OPENS, errno.EMFILE, False),
    ((*_OPENS, *_NAMES, *_REMOVALS), errno.EROFS, False),
    ((*_NAMES, *_REMOVALS), errno.EROFS, True),
    (_WRITES, 0, False),
)
CAUSES = {
    errno.ENOSPC: r"no space left",
    errno.EIO: r"input/output error",
    errno.EMFILE: r"too many open files",
    errno.EROFS: r"read-only",
}
# SQLite has words of its own, and not always the system's reason
_DATABASE = r"record\.db: (database or disk is full|disk i/o error|unable to open|attempt to write)"


@dataclass(frozen=True)
class Fault:
    """The n-th of these calls fails."""

    kinds: tuple[str, ...]
    error: int
    lasting: bool
    at: int

    def __str__(self) -> str:
        what = errno.errorcode[self.error] if self.error else "short write"
        return f"{what}{' from there on' if self.lasting else ''}, {self.kinds[0]}... {self.at}"


def chosen(
    operation: Operation, workshop: Workshop, number: int, rng: random.Random
) -> list[Fault]:
    """Choose faults for one operation, evenly over the calls that it makes."""
    found = []
    for n in range(number):
        kinds, error, lasting = FAULTS[n % len(FAULTS)]
        calls = workshop.count(operation, kinds)
        share = (n // len(FAULTS) + rng.random()) / -(-number // len(FAULTS))
        if calls:
            found.append(Fault(kinds, error, lasting, 1 + int(share * calls)))
    return found


def trial(operation: Operation, workshop: Workshop, fault: Fault) -> tuple[Traced, list[str]]:
    """Run an operation with a fault; return what is wrong then."""
    known = workshop.known(operation)
    place = workshop.copy(workshop.template(operation))
    try:
        return _trial(operation, workshop, fault, place, known)
    finally:
        shutil.rmtree(place)


def _trial(
    operation: Operation, workshop: Workshop, fault: Fault, place: Path, known: Known
) -> tuple[Traced, list[str]]:
    traced = workshop.machine.run(
        operation.argv, place, "fail" if fault.error else "short",
        at=fault.at, error=fault.error, lasting=fault.lasting, kinds=fault.kinds,
    )  # fmt: skip
    return traced, [*wrong(place, known.kept), *_unsaid(operation, place, fault, traced, known.end)]


def _unsaid(
    operation: Operation, place: Path, fault: Fault, traced: Traced, wanted: dict[str, Any]
) -> list[str]:
    """Either everything is as it should be, or it is said what went wrong, and why."""
    told = traced.out + traced.err
    found = []
    if "Traceback" in told or "internal error" in told or traced.status in {70, 97}:
        found.append(f"internal error: {told}")
    (place / ".git/index.lock").unlink(missing_ok=True)
    now = end(place, operation)
    if _REMOVALS[0] in fault.kinds:  # git says nothing where it cannot remove its own marks
        now["half way"] = []
    if now == wanted:
        return found
    program = traced.hit.partition(": ")[2]
    ours = not program.startswith(("git ", "sh ", "pre-", "post-", "/bin/sh"))
    if fault.lasting and traced.status and re.search("^(error|fatal): ", told, re.MULTILINE):
        ours = False  # git met it as well, and has words of its own
    if not fault.error:
        found.append(f"a short write is no error, but: {told}")
    elif ours and not re.search(f"{CAUSES[fault.error]}|{_DATABASE}", told.lower()):
        found.append(f"status {traced.status}, not said why: {told!r}")
    elif traced.status == 0 and not re.search("error|fatal|warning|devml-git: ", told):
        found.append(f"silently not done: {told!r}")
    if found:
        found.append(str({k: (now[k], wanted[k]) for k in wanted if now[k] != wanted[k]}))
    return found

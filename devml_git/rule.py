"""The three-way rule of git-facts.md: what W, P and R together mean, and what to do.

W is what lies in the workspace, P what the pointer says, R what devml-git last put there or
snapshotted from there (the materialised record). Every command and hook decides here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from devml_git.snapshot import State


class AtCommit(StrEnum):
    """What a commit or `snapshot` does with an artifact."""

    NOTHING = "nothing"
    SNAPSHOT = "snapshot"
    RESTORE = "restore"
    WARN_DELETED = "warn-deleted"
    REFUSE = "refuse"


class AtMove(StrEnum):
    """What happens to an artifact after git moved the worktree."""

    NOTHING = "nothing"
    KEEP_EDIT = "keep-edit"
    RESTORE = "restore"
    RESCUE_AND_RESTORE = "rescue-and-restore"


@dataclass(frozen=True, slots=True)
class Verdict:
    """State of an artifact and what to do at a commit and after a move."""

    state: State
    at_commit: AtCommit
    at_move: AtMove


CLEAN = Verdict(State.CLEAN, AtCommit.NOTHING, AtMove.NOTHING)
EDIT = Verdict(State.MODIFIED, AtCommit.SNAPSHOT, AtMove.KEEP_EDIT)
STALE = Verdict(State.STALE, AtCommit.RESTORE, AtMove.RESTORE)
CONFLICT = Verdict(State.CONFLICT, AtCommit.REFUSE, AtMove.RESCUE_AND_RESTORE)
DELETED = Verdict(State.DELETED, AtCommit.WARN_DELETED, AtMove.RESTORE)
MISSING_KNOWN = Verdict(State.MISSING, AtCommit.WARN_DELETED, AtMove.RESTORE)
MISSING = Verdict(State.MISSING, AtCommit.NOTHING, AtMove.RESTORE)
NEW = Verdict(State.NEW, AtCommit.SNAPSHOT, AtMove.KEEP_EDIT)


def decide(
    *,
    w: str | None,
    p: str | None,
    r: str | None,
    cached: bool = False,
    w_was_pointer: bool = False,
) -> Verdict:
    """Apply the rule to three object ids (None: absent, no pointer, no record).

    `cached`: the content of `p` is in the cache. `w_was_pointer`: `w` was this path's pointer in
    an earlier commit; asked only where the record is unknown, so that a lost record reverts
    nobody's model.
    """
    if w is None:
        if r is None:
            return MISSING
        return DELETED if cached else MISSING_KNOWN
    if p is None:
        return NEW if r is None else EDIT
    if w == p:
        return CLEAN
    if r is None:
        return STALE if w_was_pointer else EDIT
    if p == r:
        return EDIT
    if w == r:
        return STALE
    return CONFLICT

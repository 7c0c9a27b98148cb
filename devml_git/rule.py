"""The three-way rule of git-facts.md: what W, P and R together mean, and what to do.

W is what lies in the workspace, P what the pointer says, R what devml-git last put there or
snapshotted from there (the materialised record). Every command and hook decides here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from devml_git.nouns import State

if TYPE_CHECKING:
    from collections.abc import Mapping


class AtCommit(StrEnum):
    """What a commit or `snapshot` does with an artifact."""

    NOTHING = "nothing"
    SNAPSHOT = "snapshot"
    RESTORE = "restore"
    MERGE = "merge"
    WARN_DELETED = "warn-deleted"
    REFUSE = "refuse"


class AtMove(StrEnum):
    """What happens to an artifact after git moved the worktree."""

    NOTHING = "nothing"
    KEEP_EDIT = "keep-edit"
    RESTORE = "restore"
    MERGE = "merge"
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
# The user's edit and the pointer's new members do not touch each other: both stand
MIXED = Verdict(State.STALE, AtCommit.MERGE, AtMove.MERGE)
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


@dataclass(frozen=True, slots=True)
class Members:
    """The rule inside a directory: names that the user edited, that are stale, and that collide."""

    edited: frozenset[str]
    stale: frozenset[str]
    colliding: frozenset[str]

    def merged(self, w: Mapping[str, str], p: Mapping[str, str]) -> dict[str, str]:
        """Return what shall lie there: the pointer's members, but for the user's edits."""
        kept = {name: oid for name, oid in p.items() if name not in self.edited}
        return kept | {name: w[name] for name in self.edited if name in w}


def decide_members(w: Mapping[str, str], p: Mapping[str, str], r: Mapping[str, str]) -> Members:
    """Apply the rule member by member to three manifests (name to oid)."""
    edited, stale, colliding = set(), set(), set()
    for name in w.keys() | p.keys() | r.keys():
        here, pointed, known = w.get(name), p.get(name), r.get(name)
        if here == pointed:
            continue
        if pointed == known:
            edited.add(name)
        elif here == known:
            stale.add(name)
        else:
            colliding.add(name)
    return Members(frozenset(edited), frozenset(stale), frozenset(colliding))

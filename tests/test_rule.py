"""The three-way rule: the table of docs, row by row, and no combination without a verdict."""

from __future__ import annotations

import itertools

import pytest

from devml_git.nouns import State
from devml_git.rule import AtCommit, AtMove, Members, Verdict, decide, decide_members

A, B, C = "a" * 32, "b" * 32, "c" * 32

# W, P, R, further facts: state, at a commit, after a move
TABLE = {
    "clean, known": (A, A, A, {}, State.CLEAN, AtCommit.NOTHING, AtMove.NOTHING),
    "clean, whoever did it": (A, A, B, {}, State.CLEAN, AtCommit.NOTHING, AtMove.NOTHING),
    "clean, record unknown": (A, A, None, {}, State.CLEAN, AtCommit.NOTHING, AtMove.NOTHING),
    "the user's edit": (B, A, A, {}, State.MODIFIED, AtCommit.SNAPSHOT, AtMove.KEEP_EDIT),
    "the pointer moved on": (A, B, A, {}, State.STALE, AtCommit.RESTORE, AtMove.RESTORE),
    "edit met a new pointer": (
        A, B, C, {}, State.CONFLICT, AtCommit.REFUSE, AtMove.RESCUE_AND_RESTORE,
    ),
    "record unknown, an earlier commit's content": (
        A, B, None, {"w_was_pointer": True}, State.STALE, AtCommit.RESTORE, AtMove.RESTORE,
    ),
    "record unknown, never a pointer": (
        A, B, None, {}, State.MODIFIED, AtCommit.SNAPSHOT, AtMove.KEEP_EDIT,
    ),
    "deleted in the workspace": (
        None, A, A, {"cached": True}, State.DELETED, AtCommit.WARN_DELETED, AtMove.RESTORE,
    ),
    "deleted, and the pointer moved on": (
        None, B, A, {"cached": True}, State.DELETED, AtCommit.WARN_DELETED, AtMove.RESTORE,
    ),
    "deleted, content not cached": (
        None, A, A, {}, State.MISSING, AtCommit.WARN_DELETED, AtMove.RESTORE,
    ),
    "never brought here": (
        None, A, None, {}, State.MISSING, AtCommit.NOTHING, AtMove.RESTORE,
    ),
    "never brought here, content cached": (
        None, A, None, {"cached": True}, State.MISSING, AtCommit.NOTHING, AtMove.RESTORE,
    ),
    "new": (A, None, None, {}, State.NEW, AtCommit.SNAPSHOT, AtMove.KEEP_EDIT),
    "pointer without content yet": (
        A, None, B, {}, State.MODIFIED, AtCommit.SNAPSHOT, AtMove.KEEP_EDIT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", TABLE)
def test_row_of_the_table(row: str) -> None:
    w, p, r, facts, *expected = TABLE[row]
    w, p, r = (oid and "".join(list(oid)) for oid in (w, p, r))  # equal, and never the same
    assert decide(w=w, p=p, r=r, **facts) == Verdict(*expected)


EVERY = [
    (w, p, r, cached, earlier)
    for w, p, r in itertools.product((None, A, B, C), repeat=3)
    for cached in (False, True)
    for earlier in (False, True)
]


def test_every_combination_has_a_verdict_that_loses_nothing() -> None:
    for w, p, r, cached, earlier in EVERY:
        verdict = decide(w=w, p=p, r=r, cached=cached, w_was_pointer=earlier)
        known = f"w={w} p={p} r={r} cached={cached} earlier={earlier}: {verdict}"
        assert isinstance(verdict.state, State), known
        if w is None:
            assert verdict.at_commit is not AtCommit.SNAPSHOT, known
        elif verdict.at_move is AtMove.RESTORE:  # only what is in a snapshot gives way
            assert w == r or (r is None and earlier), known
        if verdict.at_commit is AtCommit.SNAPSHOT:  # never over a pointer that moved on
            assert w != p, known
            assert p in {None, r} or r is None, known
        if w == p and w is not None:
            assert verdict.state is State.CLEAN, known


def test_states_are_the_seven_of_status() -> None:
    assert {s.value for s in State} == {
        "clean", "modified", "new", "deleted", "missing", "stale", "conflict",
    }  # fmt: skip


def test_every_member_is_judged_by_the_same_rule() -> None:
    """All combinations at once, one name each; ids are built anew, so that `is` proves nothing."""
    ids = [None, *(letter * 32 for letter in "abc")]
    cases = {f"{n}": row for n, row in enumerate(itertools.product(ids, repeat=3))}
    w, p, r = (
        {name: "".join(list(row[side])) for name, row in cases.items() if row[side]}
        for side in range(3)
    )
    found = decide_members(w, p, r)
    for name, (here, pointed, known) in cases.items():
        expected = (
            None if here == pointed
            else "edited" if pointed == known
            else "stale" if here == known
            else "colliding"
        )  # fmt: skip
        told = [kind for kind in ("edited", "stale", "colliding") if name in getattr(found, kind)]
        assert told == ([expected] if expected else []), (here, pointed, known)


def test_merged_members_are_the_pointers_with_the_users_edits() -> None:
    found = Members(frozenset({"edited", "new", "deleted"}), frozenset({"stale"}), frozenset())
    w = {"edited": B, "new": B, "stale": A, "same": A}
    p = {"edited": A, "deleted": A, "stale": C, "same": A}
    assert found.merged(w, p) == {"edited": B, "new": B, "stale": C, "same": A}

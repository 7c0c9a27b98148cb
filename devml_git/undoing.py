"""`undo`: artifacts and pointers as they were before an operation. Commits and HEAD never move.

What an operation changed from B to A is taken back by the three-way rule, with B for the pointer
and A for the record: where A still lies, B comes back; where B lies, nothing is to be done; what
the user has changed since stands in the way, but for members of a directory that the operation
did not touch. What comes back and differs from its pointer counts as the user's own edit: he asked
for it, and no hook is to take it away again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from devml_git import ignoring, operations, pointers
from devml_git.errors import GitFailed, Refused, UsageError, WouldOverwrite
from devml_git.nouns import State
from devml_git.place import read_text
from devml_git.plumbing import is_pointer_file
from devml_git.record import Materialised
from devml_git.restoring import Restorer
from devml_git.rule import CONFLICT, MISSING, MIXED, STALE, decide_members
from devml_git.wording import listed, lost
from devml_git.workspace import Observed, token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devml_git.nouns import Pointer
    from devml_git.operations import Change, Operation
    from devml_git.restoring import Done
    from devml_git.rule import Members, Verdict
    from devml_git.scan import Work
    from devml_git.workspace import Workspace

_SHORT = 12  # digits of a commit's id that people read


@dataclass(frozen=True, slots=True)
class Undone:
    """What `undo` did: the operation taken back, and what that changed.

    `files` are pointers and other small files, also where only git's index changed; `edits` the
    artifacts that now differ from their pointers; `restaged` files whose staged content git has
    forgotten, so that they are staged as they lie. `left` is what HEAD was before the operation
    (a branch or a short commit id), None where HEAD stands there now.
    """

    operation: Operation
    done: Done
    files: list[str]
    edits: list[str]
    restaged: list[str]
    left: str | None

    @property
    def anything(self) -> bool:
        """Whether anything was to be done at all."""
        return bool(self.done.anything or self.files or self.restaged)


@dataclass(slots=True)
class _Plan:
    """What is to be done: artifacts to bring and to take away, texts and index entries to set.

    `over` are artifacts to bring over what the user has changed since, `edited` small files that
    are rescued first; `in_the_way` is what stands against it all, `barred` the same where `force`
    does not help.
    """

    bring: list[Observed] = field(default_factory=list)
    over: list[Observed] = field(default_factory=list)
    remove: list[Work] = field(default_factory=list)
    texts: dict[str, bytes | None] = field(default_factory=dict)
    entries: dict[str, str | None] = field(default_factory=dict)
    edited: list[str] = field(default_factory=list)
    in_the_way: list[str] = field(default_factory=list)
    barred: list[str] = field(default_factory=list)


def undo(ws: Workspace, operation_id: str | None, *, force: bool, fetch: bool) -> Undone:
    """Take back one operation, the last one without an id; the undo itself can be undone.

    Everything is checked before anything moves. Raises UsageError for an operation that is not
    known or cannot be taken back, GitFailed while a merge or rebase stands half-way,
    WouldOverwrite for what has changed since (with `force` it is rescued and replaced),
    ContentLost for content that is nowhere to be had.
    """
    _refuse_half_way(ws)
    known = operations.read(ws.git.private)
    if operation_id is None and not operations.newest_is_readable(ws.git.private):
        raise UsageError(
            "the last line in the log of operations cannot be read: torn, or by another version",
            hint="name the operation to take back: devml-git undo --list",
        )
    op = operations.find(known, operation_id)
    if op.final is not None:
        raise UsageError(
            f"{op.id} ({op.what}) cannot be undone: {op.final}",
            hint="an earlier one by its ID: devml-git undo --list; commits: git reflog, git reset",
        )
    plan = _plan(ws, op, force=force)
    if plan.barred:
        raise WouldOverwrite(
            f"in git itself now, or neither file nor directory: {listed(sorted(plan.barred))}",
            hint="git restore is for what git has; move the rest away, then undo again",
        )
    if plan.in_the_way:
        raise _changed_since(op, plan.in_the_way)
    restorer = Restorer(ws, cause=f"undo {op.id}", fetch=fetch)
    _obtain(restorer, [*plan.bring, *plan.over])
    for file in plan.edited:
        if ws.git.differs_from_head(file):
            restorer.rescue(ws.look(file))
    ws.journal.undoes = op.id
    if known[0].broken and known[0].undoes == op.id:
        ws.journal.resume(known[0])
    restaged = _write(ws, op, plan)
    for work in plan.remove:
        restorer.take_away(work)
        restorer.done.removed.append(work.path)
    restorer.bring(plan.bring)
    done = restorer.bring(plan.over, force=True)
    ws.journal.broken = bool(done.blocked or done.missing or done.withheld)
    edits = _settle(ws, op)
    files = sorted({*plan.texts, *plan.entries} - set(restaged))
    return Undone(op, done, files, edits, restaged, _left(ws, op))


def _refuse_half_way(ws: Workspace) -> None:
    what = ws.git.stands_half_way()
    if what is not None:
        raise GitFailed(f"{what} stands half-way here", hint="end it or give it up: git status")


def _changed_since(op: Operation, paths: Iterable[str]) -> WouldOverwrite:
    return WouldOverwrite(
        f"changed since {op.id} ({op.what}): {listed(sorted(set(paths)))}",
        hint="undo what came later first: devml-git undo --list; --force goes on and keeps "
        "content that is in no snapshot: devml-git rescue list",
    )


def _left(ws: Workspace, op: Operation) -> str | None:
    if op.commit is None or op.commit == ws.git.head():
        return None
    return op.branch if op.branch not in {None, ws.git.branch()} else op.commit[:_SHORT]


# -- what is to be done --------------------------------------------------------------------------


def _plan(ws: Workspace, op: Operation, *, force: bool) -> _Plan:
    """Compare what is now with what the operation left behind."""
    plan = _Plan()
    works = {path: ws.look(path) for path in op.contents}
    ws.learn(works.values(), store_content=False)
    in_git = ws.git.tracked_among(works)
    for path, change in op.contents.items():
        git_has_it = path in in_git or any(t.startswith(f"{path}/") for t in in_git)
        if git_has_it or works[path].odd:
            plan.barred.append(path)
        else:
            _plan_content(ws, plan, works[path], change, force=force)
    for file, text in op.texts.items():
        now = _text(ws, file)
        if now == text.before:
            continue
        plan.texts[file] = text.before
        if now != text.after and not force:
            plan.in_the_way.append(file)
        elif now not in {text.after, None}:
            plan.edited.append(file)
    found = ws.git.entries_of(op.entries)
    for file, entry in op.entries.items():
        mine = f"{found[file].mode} {found[file].blob}" if file in found else None
        if mine == entry.before:
            continue
        plan.entries[file] = entry.before
        if mine != entry.after and not force:
            plan.in_the_way.append(file)
    return plan


def _text(ws: Workspace, file: str) -> bytes | None:
    try:
        return read_text(ws.root, file)
    except Refused as e:
        raise WouldOverwrite(e.message, hint="move it away, then undo again") from e


def _plan_content(
    ws: Workspace, plan: _Plan, work: Work, change: Change[Pointer], *, force: bool
) -> None:
    """Judge one place: W as it lies, P what was there before, R what the operation put there."""
    before, after = change.before, change.after
    if _same(ws, work, before):
        return
    free = _nothing_of_the_users(ws, work, change)
    if before is None:
        if free or force:
            plan.remove.append(work)
        else:
            plan.in_the_way.append(work.path)
    elif free and (work.kind == "absent" or _same(ws, work, after)):
        verdict = MISSING if work.kind == "absent" else STALE
        plan.bring.append(_observed(work, before, after, verdict))
    elif (members := _edits_beside(ws, work, before, after)) is not None:
        plan.bring.append(_observed(work, before, after, MIXED, members))
    elif free:
        plan.bring.append(_observed(work, before, after, STALE))
    elif force:
        plan.over.append(_observed(work, before, after, CONFLICT))
    else:
        plan.in_the_way.append(work.path)


def _same(ws: Workspace, work: Work, pointer: Pointer | None) -> bool:
    if pointer is None:
        return work.kind == "absent"
    return (work.oid(), ws.exec_bits(work)) == (pointer.oid, pointer.executable)


def _nothing_of_the_users(ws: Workspace, work: Work, change: Change[Pointer]) -> bool:
    """Whether every file is as it was before or after: also where an undo was killed half-way."""
    if _same(ws, work, change.after):
        return True
    executable = ws.exec_bits(work)
    ours = set()
    for pointer in (change.before, change.after):
        members = (_members(ws, pointer) if pointer is not None else None) or {}
        ours |= {(n, oid, n in pointer.executable) for n, oid in members.items() if pointer}
    return all((n, work.oids.get(n), n in executable) in ours for n in work.files)


def _members(ws: Workspace, pointer: Pointer) -> dict[str, str] | None:
    """Return what a pointer's files are, name to oid; None where its manifest is not here."""
    if pointer.oid is None or pointer.is_dir:
        return ws.members_of(pointer.oid)
    return {"": pointer.oid}


def _edits_beside(
    ws: Workspace, work: Work, before: Pointer, after: Pointer | None
) -> Members | None:
    """The rule inside a directory, where the user's edits touch nothing that is to come back."""
    if work.kind != "dir" or not before.is_dir or after is None or not after.is_dir:
        return None
    was, put = ws.members_of(before.oid), ws.members_of(after.oid)
    if was is None or put is None:
        return None
    members = decide_members(work.oids, was, put)
    return None if members.colliding else members


def _observed(
    work: Work,
    before: Pointer,
    after: Pointer | None,
    verdict: Verdict,
    members: Members | None = None,
) -> Observed:
    r = None
    if after is not None and after.oid is not None:
        r = Materialised(token(after.oid, after.executable), after.oid)
    return Observed(
        work.path, before, work, None, None, r, verdict, cached=True, is_dir=before.is_dir,
        members=members,
    )  # fmt: skip


def _obtain(restorer: Restorer, items: list[Observed]) -> None:
    """Raise ContentLost unless all that is to come back is here, read and found right."""
    wanted = [o.pointer for o in items if o.pointer is not None]
    missing = restorer.supply.obtain(
        wanted, {o.path: _staying(restorer, o) for o in items}, verify=True
    )
    if missing:
        raise lost(missing)


def _staying(restorer: Restorer, o: Observed) -> Work:
    """Return what need not be brought: what lies there, and of what it was, what the user edited.

    That may be nowhere any more: he has written over it himself.
    """
    if o.members is None or o.pointer is None:
        return o.work
    was = restorer.supply.members(o.pointer)
    edited = {name: was[name] for name in o.members.edited if name in was}
    return replace(o.work, oids={**o.work.oids, **edited})


# -- doing it ------------------------------------------------------------------------------------


def _write(ws: Workspace, op: Operation, plan: _Plan) -> list[str]:
    """Bring index and small files back, before content: killed in between, a hook goes on.

    The index comes first: git refuses while somebody else holds its lock. What is known of
    artifacts whose pointers change is forgotten before they do, so that no hook takes what lies
    there for something that only did not follow. Returns `Undone.restaged`.
    """
    lost = ws.journal.set_entries(plan.entries) if plan.entries else []
    rules = set(ws.config.track)
    with ws.record.writing():
        for path in _pointed(ws, op) - op.contents.keys():
            ws.record.forget_content(path)
    for file, data in plan.texts.items():
        if data is None:
            ws.journal.remove(file)
        else:
            ws.journal.write(file, data, create=True)
    ws.journal.stage(lost)
    now = ws.git.entries_of(lost)
    ws.reload()
    _exclude_anew(ws, rules)
    return [f for f in lost if f not in now or f"{now[f].mode} {now[f].blob}" != plan.entries[f]]


def _exclude_anew(ws: Workspace, before: set[str]) -> None:
    """Let git's private `info/exclude` follow the track rules."""
    now = set(ws.config.track)
    lines = {rule: ws.rules.ignore_lines(rule) for rule in before | now}
    kept = {line for rule in now for line in lines[rule]}
    gone = [line for rule in before - now for line in lines[rule] if line not in kept]
    ignoring.include_privately(ws.git, gone)
    for rule in now - before:
        ignoring.exclude_privately(ws.git, lines[rule])


def _pointed(ws: Workspace, op: Operation) -> set[str]:
    """Return the artifacts whose pointers the operation changed."""
    found = set()
    for file, change in op.texts.items():
        before, after = (_pointers(ws, file, text) for text in (change.before, change.after))
        found |= {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    return found


def _pointers(ws: Workspace, file: str, text: bytes | None) -> dict[str, Pointer]:
    if text is None or not is_pointer_file(file):
        return {}
    with contextlib.suppress(Refused):
        return {p.path: p for p in pointers.read(file, text, ws.tree.outputs)}
    return {}


def _settle(ws: Workspace, op: Operation) -> list[str]:
    """R := P: what differs is the user's edit, whatever it was before. Return the artifacts."""
    ws.refresh()
    managed = ws.tree.snapshot.managed()
    concerned = _pointed(ws, op) | op.contents.keys()
    with ws.record.writing():
        for path in concerned:
            _set_record(ws, path, managed.get(path), released=path in op.released)
    observed = ws.observe(only=concerned)
    ws.settle(observed)
    return [o.path for o in observed if o.state in {State.MODIFIED, State.NEW}]


def _set_record(ws: Workspace, path: str, pointer: Pointer | None, *, released: bool) -> None:
    ws.record.forget_content(path)
    if pointer is None or pointer.oid is None:
        if released:
            ws.release(path)
        return
    work = ws.look(path)
    if work.oid() != pointer.oid or pointer.executable:
        known = token(pointer.oid, pointer.executable)
        ws.record.set(path, Materialised(known, pointer.oid, pointer.size, pointer.nfiles))

"""The verb: put changed content into the cache and bring its pointers up to date.

Order: content, manifest, pointer, index (P6: a pointer never precedes its content).
"""

from __future__ import annotations

import contextlib
import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devml_git import gate, ignoring, moving, pointers, store
from devml_git.errors import DevmlError, StorageFailed, UsageError, WouldOverwrite
from devml_git.nouns import State
from devml_git.plumbing import is_lock
from devml_git.restoring import Restorer
from devml_git.rule import AtCommit
from devml_git.rules import literal_line
from devml_git.workspace import token

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from devml_git.nouns import Broken, Content
    from devml_git.scan import Work
    from devml_git.workspace import Observed, Workspace

_SHOWN = 3  # of what is like each other


@dataclass(slots=True)
class Taken:
    """What a snapshot did: artifact paths by what happened to them, and pointers to stage.

    `size` is in bytes. `conflicts` were left as they are; a commit must be refused for them;
    `colliding` are the files concerned, those inside directories too. `left` says what is left
    alone since its pointer cannot be followed.
    """

    changed: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    colliding: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    staged: list[str] = field(default_factory=list)
    size: int = 0


def take(
    ws: Workspace,
    paths: Collection[str] | None = None,
    *,
    stage: bool = True,
    restore_stale: bool = True,
) -> Taken:
    """Snapshot all artifacts, or those in `paths`; stage their pointers in the index.

    Raises WouldOverwrite for a broken pointer that stands in the way, StorageFailed when the
    cache cannot take the content (nothing then points to it).
    """
    taken = Taken()
    taken.left += refuse_broken(ws, paths)
    taken.moved, taken.staged = moving.follow_pointers(ws)
    busy = store.busy_paths(ws.git)
    observed = [
        o
        for o in ws.observe(store_content=True, only=paths)
        if not _is_busy(o.path, busy, taken) and not _is_undecided(o.work, paths, taken)
    ]
    refuse_odd(observed)
    observed = _merge_members(ws, observed, taken)
    moves = find_moves(observed)
    for o in observed:
        _one(ws, o, taken, moves)
    if restore_stale and taken.restored:
        _follow(ws, [o for o in observed if o.path in set(taken.restored)], taken)
    else:
        taken.restored.clear()
    _ensure_held(ws, observed)
    taken.staged += _unstaged_pointers(ws, observed, taken)
    taken.staged += _ignored_no_more(ws, observed)
    if stage:
        ws.journal.stage(taken.staged)
    ws.settle(observed)
    taken.notes += [why for path, why in ws.unfit.items() if path not in ws.empty]
    if paths is None:
        ws.record.complete()
    return taken


def refuse_broken(ws: Workspace, paths: Collection[str] | None) -> list[str]:
    """Raise WouldOverwrite for a pointer file (of those in `paths`) that cannot be followed.

    One that HEAD has just so stops nothing: it came with a commit, and no other commit depends on
    it. What it names is left alone, and the lines returned say so.
    """
    broken_ones = ws.tree.snapshot.broken
    harmless = _as_committed(ws, broken_ones) if paths is None else set()
    notes = [
        f"{gate.shown(b.file)} {b.why}: what it names is left alone"
        for b in broken_ones
        if b.file in harmless
    ]
    for broken in broken_ones:
        if broken.file in harmless:
            continue
        if paths is None or broken.file.removesuffix(".dvc") in paths:
            path, file = broken.file.removesuffix(".dvc"), gate.pathspec(broken.file)
            hint = f"mend it by hand, or: git checkout HEAD -- {file}"
            if broken.unmerged:
                hint = f"devml-git checkout --ours -- {gate.quoted(path)}   or   --theirs"
            elif broken.overlaps:
                one = gate.quoted(broken.file)
                hint = f"keep one of them: git rm -f --cached -- {file}; rm -- {one}"
            raise WouldOverwrite(f"{gate.shown(broken.file)} {broken.why}", hint=hint)
    if len(notes) > _SHOWN:
        notes[_SHOWN:] = [f"{len(notes) - _SHOWN} more like it: devml-git status"]
    return notes


def _as_committed(ws: Workspace, broken_ones: Sequence[Broken]) -> set[str]:
    """Return the broken files that are HEAD's, staged and in the worktree.

    Of a pipeline, the locks must be, too.
    """
    files = {b.file for b in broken_ones} - {
        b.file for b in broken_ones if b.unmerged or b.overlaps
    }
    pipelines = {file for file in files if posixpath.basename(file) == "dvc.yaml"}
    locks = {file for file in (*ws.tree.indexed, *ws.tree.texts) if pipelines and is_lock(file)}
    unlike = ws.git.unlike_head(sorted(files | locks)) if files else set()
    return files - unlike - (pipelines if unlike & locks else set())


def refuse_odd(observed: Sequence[Observed]) -> None:
    """Raise StorageFailed for a place that cannot be an artifact."""
    for o in observed:
        if o.work.odd:
            raise StorageFailed(o.work.odd, hint=_way_out(o.work))


def _way_out(work: Work) -> str:
    """Return what to do about a place, or a member, that cannot be stored."""
    if work.undecided:
        return "give .dvcignore fewer patterns, or such with fewer stars"
    if not work.odd_members:
        return f"move it away, or: devml-git untrack {gate.quoted(work.path)}"
    member = work.odd_members[0]
    if posixpath.basename(member) == ".dvcignore":
        return "move its lines to the .dvcignore at the root"
    line = gate.quoted(literal_line(member, is_dir=False))
    return f"put a file in its place, or leave it out: echo {line} >> .dvcignore"


def _is_undecided(work: Work, paths: Collection[str] | None, taken: Taken) -> bool:
    """Whether nobody knows what a directory holds: it is left alone, since a commit can do that.

    Not so where the user asked for it.
    """
    if not work.undecided or paths is not None:
        return False
    taken.left.append(f"{work.odd}: left alone")
    return True


def _is_busy(path: str, busy: set[str], taken: Taken) -> bool:
    if store.is_busy(path, busy):
        taken.busy.append(path)
        return True
    return False


def _merge_members(ws: Workspace, observed: list[Observed], taken: Taken) -> list[Observed]:
    """Write the pointers of directories in which the user's edits and new members both stand.

    What is stale in them then is all that is left to do: they are judged anew.
    """
    mixed = [o for o in observed if o.verdict.at_commit is AtCommit.MERGE]
    done = set()
    for o in mixed:
        ws.ensure_stored([o.work])
        content = ws.merged_content(o)
        if content is None or o.pointer is None:
            taken.conflicts.append(o.path)
            continue
        _write_pointer(ws, o, content, taken)
        lying = ws.content_of(o.work)
        with ws.record.writing():
            ws.remember_clean(o.path, o.work, token(lying.oid, lying.executable), lying.oid)
        taken.changed.append(o.path)
        done.add(o.path)
    if not done:
        return observed
    ws.refresh()
    return [o for o in observed if o.path not in done] + ws.observe(only=done, with_new=False)


def _ensure_held(ws: Workspace, observed: Sequence[Observed]) -> None:
    """What is clean must be in the cache, too: files and, of a directory, its manifest."""
    lacking = [o for o in observed if o.state is State.CLEAN and not o.cached]
    ws.ensure_stored(o.work for o in lacking)
    for o in lacking:
        ws.content_of(o.work)


def find_moves(observed: Sequence[Observed]) -> dict[str, Observed]:
    """Return new artifacts (by path) that are a deleted one's content at another place."""
    gone = {
        o.p: o
        for o in observed
        if o.verdict.at_commit is AtCommit.WARN_DELETED and o.pointer and o.pointer.stage is None
    }
    moves: dict[str, Observed] = {}
    for o in observed:
        if o.state is State.NEW and o.w in gone:
            moves[o.path] = gone.pop(o.w)
    return moves


def _one(ws: Workspace, o: Observed, taken: Taken, moves: dict[str, Observed]) -> None:
    action = o.verdict.at_commit
    if action is AtCommit.SNAPSHOT and o.w is not None:
        taken.notes += o.work.notes
        source = moves.get(o.path)
        content = stored(ws, o)
        if source is not None:
            taken.moved.append((source.path, o.path))
            _drop_pointer(ws, source, taken)
        elif o.pointer is None:
            taken.new.append(o.path)
        else:
            taken.changed.append(o.path)
        taken.size += content.size
        _write_pointer(ws, o, content, taken)
    elif action is AtCommit.WARN_DELETED:
        if all(moved.path != o.path for moved in moves.values()):
            taken.deleted.append(o.path)
    elif action is AtCommit.RESTORE:
        taken.restored.append(o.path)
    elif action is AtCommit.REFUSE:
        taken.conflicts.append(o.path)
        inside = sorted(o.members.colliding) if o.members else []
        taken.colliding += [f"{o.path}/{name}" for name in inside] or [o.path]


def stored(ws: Workspace, o: Observed) -> Content:
    """Return what a pointer says of what lies there, once the cache has it."""
    ws.ensure_stored([o.work])
    return ws.content_of(o.work)


def _write_pointer(ws: Workspace, o: Observed, content: Content, taken: Taken) -> None:
    """Write one pointer, then R: killed between the two, the next run sees W = P."""
    if o.pointer is None:
        file = f"{o.path}.dvc"
        _refuse_ignored_pointer(ws, file)
        text = pointers.new(posixpath.basename(o.path), content)
        taken.staged += ignoring.ignore_artifact(ws.journal, o.path)
    else:
        file = o.pointer.file
        text = pointers.updated(_current_text(ws, file), o.pointer, content)
    ws.journal.write(file, text)
    taken.staged.append(file)
    ws.tree.texts[file] = text
    executable = content.executable
    with ws.record.writing():
        ws.remember_clean(o.path, o.work, token(content.oid, executable), content.oid)


def _current_text(ws: Workspace, file: str) -> bytes:
    """A `dvc.lock` may hold several outputs: each update starts from the one before."""
    return ws.tree.texts[file]


def _refuse_ignored_pointer(ws: Workspace, file: str) -> None:
    if ws.git.ignored([file]) and ws.git.staged_blob_for(file) is None:
        raise UsageError(
            f"{gate.shown(file)} is ignored by git, so the pointer could never be committed",
            hint=f"git check-ignore -v -- {gate.quoted(file)}   shows the rule to change",
        )


def _drop_pointer(ws: Workspace, source: Observed, taken: Taken) -> None:
    """Take away the pointer of an artifact that moved; its content and history stay."""
    assert source.pointer is not None
    ws.journal.remove(source.pointer.file)
    taken.staged.append(source.pointer.file)
    taken.staged += ignoring.unignore_artifact(ws.journal, source.path)
    with ws.record.writing():
        ws.record.forget(source.path)


def _follow(ws: Workspace, stale: Sequence[Observed], taken: Taken) -> None:
    """The pointer moved and the workspace did not follow: restore, never snapshot it back."""
    done = Restorer(ws, cause="commit", fetch=False).bring(stale)
    taken.missing += done.missing
    taken.restored = done.restored


def _unstaged_pointers(ws: Workspace, observed: Sequence[Observed], taken: Taken) -> list[str]:
    """Pointer files that say what lies there but differ from the index (`dvc add`, `repro`)."""
    files = sorted({o.pointer.file for o in observed if o.pointer and o.state is State.CLEAN})
    already = set(taken.staged)
    wanted = [f for f in files if f not in already and f not in ws.tree.sparse]
    return ws.git.differing_from_index(wanted, ws.tree.indexed)


def _ignored_no_more(ws: Workspace, observed: Sequence[Observed]) -> list[str]:
    """Artifacts that git does not ignore, as after `git mv` of their directory: make it so."""
    own = [o.path for o in observed if o.pointer is not None and o.pointer.stage is None]
    seen = set(own) - ws.git.ignored(own)
    git_has = ws.git.tracked_among(seen)
    above = {t[: cut.start()] for t in git_has for cut in re.finditer("/", t)}
    return ignoring.ignore_artifacts(ws.journal, sorted(seen - git_has - above))


def stage_in_partial_commit(ws: Workspace, files: Sequence[str], real_index: Path) -> None:
    """`git commit -- path`: stage also in what becomes the real index (git builtin/commit.c).

    Without it the next plain commit would revert the pointers.
    """
    with contextlib.suppress(DevmlError):
        ws.git.stage(files, index=real_index)

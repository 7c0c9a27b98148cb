"""Settle conflicts for one side: `checkout --ours | --theirs -- PATH`, and stage the result.

A conflict is a pointer that is unmerged in git's index (or was staged with its markers), or an
edit that met a new pointer (the three-way rule's CONFLICT).
"""

from __future__ import annotations

import contextlib
import fnmatch
from typing import TYPE_CHECKING

from devml_git import gate, merging, pointers, resolving, snapshotting
from devml_git.errors import Refused, UsageError
from devml_git.nouns import State
from devml_git.plumbing import is_lock
from devml_git.restoring import Done, Restorer
from devml_git.status import contests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devml_git.workspace import Observed, Workspace

_FINAL = "it settled a conflict, which only git can bring back"


def settle(ws: Workspace, paths: Sequence[str], *, ours: bool, fetch: bool) -> Done:
    """Settle the conflicts at PATHs, or below them. Raises UsageError where there is none."""
    unmerged = ws.git.unmerged_pointers()
    observed = {o.path: o for o in ws.observe(store_content=True)}
    edits = [o.path for o in observed.values() if o.state is State.CONFLICT]
    restorer = Restorer(ws, cause=f"checkout --{'ours' if ours else 'theirs'}", fetch=fetch)
    for path in _in_conflict(ws, paths, unmerged, edits):
        file = _unmerged_file(ws, path, unmerged)
        o = observed.get(path)
        if file is not None and file in unmerged:
            _settle_file(ws, file, unmerged[file], path, ours=ours, fetch=fetch)
        elif file is not None:
            _settle_markers(ws, file, ours=ours)
        elif o is None or o.state is not State.CONFLICT or o.pointer is None:
            raise UsageError(f"{gate.shown(path)} is not in conflict", hint="devml-git status")
        elif ours:
            _keep_edit(ws, o)
            restorer.done.kept.append(path)
            continue
        _bring(ws, restorer, path, file or (o.pointer.file if o and o.pointer else None))
        restorer.done.settled.append(path)
    return restorer.done


def _bring(ws: Workspace, restorer: Restorer, path: str, file: str | None) -> None:
    """Restore what the settled pointer file says now; of a lock, by force only PATH itself."""
    ws.refresh()
    wanted = {p.path for p in ws.tree.snapshot.managed().values() if p.file == file}
    now = ws.observe(only=wanted, with_new=False)
    whole = file is None or not is_lock(file)
    named = [x for x in now if (whole or x.path == path) and x.members is None]
    restorer.bring(named, force=True)
    restorer.bring([x for x in now if x not in named])  # edits of these stay
    ws.settle(now)


def _in_conflict(
    ws: Workspace, paths: Sequence[str], unmerged: Mapping[str, object], edits: Sequence[str]
) -> list[str]:
    """Return what PATHs mean: themselves, or for a directory or a glob all conflicts there."""
    known = [*(c.path for c in contests(ws)), *edits]
    found: list[str] = []
    for path in paths:
        here = [path] if path in {*known, *unmerged} else []
        here = here or [k for k in known if path in {"", "."} or k.startswith(f"{path}/")]
        here = here or [k for k in known if fnmatch.fnmatchcase(k, path)]
        if not here and path in {"", "."}:
            raise UsageError("nothing is in conflict here", hint="devml-git status")
        found += here or [path]  # else a pointer's own name, or an error that names it
    return list(dict.fromkeys(found))


def _unmerged_file(
    ws: Workspace, path: str, unmerged: Mapping[str, Mapping[int, str]]
) -> str | None:
    """Return the unmerged pointer file that PATH means: itself, its `.dvc`, or a `dvc.lock`.

    One that was staged with its markers (`git add -A`) counts, too.
    """
    for file in (path, f"{path}.dvc"):
        if file in unmerged:
            return file
    for file in filter(is_lock, unmerged):
        with contextlib.suppress(Refused):
            if merging.stages_with(
                file, _texts(ws, file, unmerged[file]).values(), path, ws.tree.outputs
            ):
                return file
    marked = {b.file for b in ws.tree.snapshot.broken if b.unmerged}
    return next((file for file in (path, f"{path}.dvc") if file in marked), None)


def _settle_markers(ws: Workspace, file: str, *, ours: bool) -> None:
    """Take one side of a pointer that was staged with its markers: the index has no sides left."""
    text = pointers.side_of(ws.tree.texts[file], ours=ours)
    try:
        pointers.read(file, text, ws.tree.outputs)
    except Refused as e:
        raise UsageError(
            f"{gate.shown(file)}: the sides cannot be told from its markers",
            hint=f"git checkout HEAD -- {gate.pathspec(file)}",
        ) from e
    ws.journal.final = _FINAL
    ws.journal.write(file, text)
    ws.journal.stage([file])


def _settle_file(
    ws: Workspace, file: str, blobs: Mapping[int, str], path: str, *, ours: bool, fetch: bool
) -> None:
    """Take one side's pointer file; a side that deleted it deletes it."""
    ws.journal.final = _FINAL
    stage = 2 if ours else 3
    if is_lock(file) and {2, 3} <= blobs.keys():
        text = _settled_lock(ws, file, blobs, path, ours=ours, fetch=fetch)
        ws.journal.write(file, text, create=True)
    elif stage in blobs:
        text = ws.git.blob(blobs[stage], file, gate.MAX_POINTER_BYTES)
        ws.journal.write(file, text, create=True)
    else:
        ws.journal.remove(file)
    ws.journal.unstage([file])
    ws.journal.stage([file])


def _texts(ws: Workspace, file: str, blobs: Mapping[int, str]) -> dict[int, bytes]:
    """Return what the sides of an unmerged pointer file have. Raises Refused for a large one."""
    return {n: ws.git.blob(blob, file, gate.MAX_POINTER_BYTES) for n, blob in blobs.items()}


def _settled_lock(
    ws: Workspace, file: str, blobs: Mapping[int, str], path: str, *, ours: bool, fetch: bool
) -> bytes:
    """Return a lock where one side's stages stand if they clash; what merges is merged.

    Raises UsageError where PATH is one stage's output, and other stages clash as well.
    """
    objects = resolving.CacheObjects(may_fetch=fetch)
    try:
        held = _texts(ws, file, blobs)
        texts = [held.get(n, b"") for n in (1, 2, 3)]
        return merging.merge(file, texts[0], texts[1], texts[2], objects)
    except Refused:
        return ws.git.blob(blobs[2 if ours else 3], file, gate.MAX_POINTER_BYTES)
    except merging.Clash as e:
        also = set(e.places) - merging.stages_with(file, texts, path, ws.tree.outputs)
    if path != file and also:
        side = "ours" if ours else "theirs"
        raise UsageError(
            f"{gate.shown(file)} is also in conflict about {', '.join(map(gate.shown, also))}",
            hint=f"all stages in conflict: devml-git checkout --{side} -- {gate.quoted(file)}",
        )
    side_index = 1 if ours else 2
    return merging.merge_lock(file, texts[0], texts[1], texts[2], objects, favour=side_index)


def _keep_edit(ws: Workspace, o: Observed) -> None:
    """Ours: the edit was made knowing the pointer; R := P makes it a plain edit, then snapshot.

    Inside a directory that holds for what collides; new members that do not are still brought.
    """
    assert o.pointer is not None
    assert o.pointer.oid is not None
    assert o.p is not None
    known, oid = o.p, o.pointer.oid
    p = ws.members_of(oid)
    if o.members is not None and p is not None:
        stale = {n: o.work.oids[n] for n in o.members.stale if n in o.work.oids}
        kept = {n: oid for n, oid in p.items() if n not in o.members.stale} | stale
        known = oid = ws.cache.put_manifest(kept)[0]
    with ws.record.writing():
        ws.remember_clean(o.path, o.work, known, oid)
    ws.refresh()
    snapshotting.take(ws, {o.path})

"""After git has moved the worktree: artifacts follow their pointers, and what has none here goes.

What git itself wrote over before a hook could run is told of, as far as it had been seen.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from devml_git.errors import DevmlError
from devml_git.plumbing import is_lock
from devml_git.record import Materialised
from devml_git.restoring import Restorer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devml_git.restoring import Done
    from devml_git.workspace import Workspace


def bring_in_step(ws: Workspace, *, cause: str, fetch: bool, force: bool = False) -> Done:
    """Bring every artifact of the workspace in step with its pointer (after the worktree moved).

    Artifacts without a pointer here, but with a record, are taken away if the cache holds them.
    """
    ws.refresh()
    restorer = Restorer(ws, cause=cause, fetch=fetch)
    _tell_overwritten(ws, restorer)
    observed = ws.observe(with_new=False, check_cache=False)
    _drop_absent(ws, restorer)
    if ws.record.fresh:
        _drop_forgotten(ws, restorer)
    if any(_overlap(o.path, gone) for gone in restorer.done.removed for o in observed):
        observed = ws.observe(with_new=False, check_cache=False)
    done = restorer.bring(observed, force=force)
    ws.settle(observed)
    ws.record.complete()
    return done


def _overlap(one: str, other: str) -> bool:
    return one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _tell_overwritten(ws: Workspace, restorer: Restorer) -> None:
    """Write down as rescued what was last seen where git has put a file of its own since.

    Only what the cache has can be told of: what a hook or `status` saw (`Workspace.learn`).
    """
    pointers = ws.tree.snapshot.pointers
    seen = [path for path in ws.record.seen() if path not in pointers]
    tracked = ws.git.tracked_among(seen) if seen else set()
    materialised = ws.record.materialised() if tracked else {}
    for path in seen:
        names = _names(tracked, path)
        known = ws.record.hashes(path) if names else {}
        r = materialised.get(path)
        snapshotted = (ws.members_of(r.oid) or {"": r.oid}) if r is not None else {}
        for name in (n for n in names if n in known):
            was, oid, sha256 = known[name]
            work = ws.look(f"{path}/{name}" if name else path)
            there = work.files.get("")
            if there is None or there.stat == was or snapshotted.get(name) == oid:
                continue
            if ws.cache.has(oid) and not ws.git.committed([oid]):
                second = {"": sha256} if sha256 else {}
                then = replace(work, files={"": replace(there, stat=was)}, oids={"": oid})
                restorer.rescue(replace(then, sha256s=second))
            with ws.record.writing():
                ws.record.forget_files(path, [name])


def _names(files: Iterable[str], path: str) -> set[str]:
    """Return which of these files are an artifact's, by their names inside it ("": its own)."""
    return {f[len(path) + 1 :] for f in files if f == path or f.startswith(f"{path}/")}


def _drop_absent(ws: Workspace, restorer: Restorer) -> None:
    pointers = ws.tree.snapshot.pointers
    broken = {b.file for b in ws.tree.snapshot.broken}
    if any(is_lock(file) or file.endswith("dvc.yaml") for file in broken):
        return  # whatever is recorded may be an output that these name
    unreadable = broken | ws.tree.sparse
    gone = {
        path: r
        for path, r in ws.record.materialised().items()
        if path not in pointers
        and r.token  # else released by `untrack`: the user's own
        and f"{path}.dvc" not in unreadable
        and f"{path}.dvc" not in ws.tree.indexed
    }
    if not gone:
        return
    tracked = ws.git.tracked_among(gone)
    works = {path: ws.look(path) for path in gone}
    ws.learn(works.values(), store_content=False)
    for path, r in gone.items():
        with contextlib.suppress(DevmlError):
            restorer.drop(path, r, works[path], in_git=_names(tracked, path))


def _drop_forgotten(ws: Workspace, restorer: Restorer) -> None:
    """The record is lost: what has no pointer here and is an earlier commit's was put there by us.

    It is in the cache and in history, so nothing is lost if it was not; left, it would be in the
    next commit.
    """
    paths, _ = ws.new_artifacts()
    works = [ws.look(path) for path in paths]
    ws.learn((w for w in works if not w.odd), store_content=False)
    for work in works:
        oid = None if work.odd else work.oid()
        if oid is not None and ws.was_pointer(f"{work.path}.dvc", work.path, oid):
            with contextlib.suppress(DevmlError):
                restorer.drop(work.path, Materialised(oid, oid), work)

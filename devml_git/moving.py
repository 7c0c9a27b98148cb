"""`git mv` of a pointer: the artifact moves along, and its history goes on.

Git moves the small file; the artifact stays where it was, and the pointer's own `path:` still has
the old name. What lies at the old place is renamed, never copied.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING

from devml_git import ignoring, place, pointers
from devml_git.place import Stat, lstat, parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devml_git.nouns import Pointer
    from devml_git.record import Materialised
    from devml_git.workspace import Observed, Workspace

_SUFFIX = ".dvc"


def follow_pointers(ws: Workspace) -> tuple[list[tuple[str, str]], list[str]]:
    """Let artifacts follow pointer files that were moved and not committed yet.

    Returns (old path, new path) of each, and the files to stage. A place that is taken stays so.
    """
    moved, staged = [], []
    for old, r, pointer in candidates(ws):
        new = pointer.path
        if posixpath.basename(old) == posixpath.basename(pointer.path):
            new = pointer.file.removesuffix(_SUFFIX)
        if not _move_content(ws, old, new):
            continue
        if new != pointer.path:
            text = ws.tree.texts[pointer.file]
            text = pointers.renamed(text, pointer, posixpath.basename(new))
            ws.journal.write(pointer.file, text)
        staged += [pointer.file, *ignoring.unignore_artifact(ws.journal, old)]
        staged += ignoring.ignore_artifact(ws.journal, new)
        _move_record(ws, old, new, r)
        moved.append((old, new))
    if moved:
        ws.refresh()
    return moved, staged


def candidates(ws: Workspace) -> list[tuple[str, Materialised, Pointer]]:
    """Return (artifact, its R, the pointer that HEAD does not have) for pointer files moved."""
    gone = {
        r.oid: (path, r)
        for path, r in ws.record.materialised().items()
        if r.token
        and f"{path}{_SUFFIX}" not in ws.tree.texts
        and f"{path}{_SUFFIX}" not in ws.tree.sparse
    }
    if not gone:
        return []
    head = ws.git.head()
    known = {e.path for e in ws.git.tree_entries(head)} if head else set()
    managed = ws.tree.snapshot.managed().values()
    outs = [p.file for p in managed]
    fresh = [
        p
        for p in managed
        if p.stage is None and p.file not in known and outs.count(p.file) == 1 and p.oid in gone
    ]
    return [
        (*gone[p.oid], p) for p in fresh if p.oid in gone and f"{gone[p.oid][0]}{_SUFFIX}" in known
    ]


def _move_content(ws: Workspace, old: str, new: str) -> bool:
    """Rename what lies at the old place; return whether the artifact now has its new name."""
    if old == new or ws.git.tracked_among([old]):
        return False
    if place.look(ws.root, old) is None:
        return place.look(ws.root, new) is not None  # the user has moved it himself
    lying = ws.lying(ws.look(old))
    if not place.move(ws.root, old, new):
        return False
    moved = lying and replace(lying, path=new, file=f"{new}{_SUFFIX}")
    for path, before, after in ((old, lying, None), (new, None, moved)):
        ws.journal.was(path, before)
        ws.journal.lies(path, after)
    return True


def _move_record(ws: Workspace, old: str, new: str, r: Materialised) -> None:
    """R and the hashes go along; a rename changes a file's ctime and nothing else."""
    rows = []
    for name, known in ws.record.hashes(old).items():
        with parent(ws.root, f"{new}/{name}" if name else new) as (fd, base):
            st = lstat(fd, base)
        now = Stat.of(st) if st is not None else None
        if now is not None and (now.ino, now.size, now.mtime_ns) == (
            known.stat.ino,
            known.stat.size,
            known.stat.mtime_ns,
        ):
            rows.append((name, known._replace(stat=now)))
    with ws.record.writing():
        ws.record.forget(old)
        ws.record.set(new, r)
        ws.record.remember(new, rows)


def take_records_along(ws: Workspace, observed: Sequence[Observed]) -> None:
    """After `git mv` of a directory, content and all: R goes along, also of what was edited."""
    known = ws.record.materialised()
    left = {path: r for path, r in known.items() if path not in ws.tree.snapshot.pointers}
    for o in observed:
        if o.r is not None or o.pointer is None or o.work.kind == "absent":
            continue
        name = posixpath.basename(o.path)
        for old, r in left.items():
            same = r.oid == o.pointer.oid and posixpath.basename(old) == name
            if same and place.look(ws.root, old) is None:
                _move_record(ws, old, o.path, r)
                del left[old]
                break

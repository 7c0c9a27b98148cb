"""What was rescued: look at it, tell of it, bring it back into the workspace."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devml_git import gate, rescue
from devml_git.errors import DevmlError, StorageFailed, UsageError
from devml_git.nouns import MD5, Pointer
from devml_git.plumbing import is_pointer_file
from devml_git.restoring import Restorer
from devml_git.rule import EDIT, MISSING
from devml_git.wording import lost
from devml_git.workspace import Observed

if TYPE_CHECKING:
    from devml_git.rescue import Rescue
    from devml_git.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Shown:
    """A rescue looked at closely.

    `cached`: every byte of it is in the cache. `members` are a directory's files: name to oid,
    None where its manifest is gone. `differs` are the names that are not so at its place now
    ("" for a single file); empty where the same lies there.
    """

    rescue: Rescue
    cached: bool
    members: dict[str, str] | None
    differs: tuple[str, ...]

    def to_dict(self, prefix: str = "") -> dict[str, Any]:
        """Return the fields of `devml.rescue-show/v1`; `prefix` is the project's place."""
        return {
            **self.rescue.to_dict(), "path": f"{prefix}{self.rescue.path}", "cached": self.cached,
            "members": self.members, "differs": list(self.differs),
        }  # fmt: skip


def show(ws: Workspace, rescue_id: str) -> Shown:
    """Look at one rescue, and compare it with what lies at its place. Raises UsageError."""
    found = rescue.find(ws.git.shared, rescue_id)
    members = ws.members_of(found.oid)
    cached = False
    with contextlib.suppress(DevmlError):
        cached = not ws.cache.missing_of(found.oid, MD5)
    work = ws.look(found.path)
    ws.learn([work], store_content=False)
    kept = members if found.oid.endswith(".dir") else {"": found.oid}
    lies = work.oids if work.kind in {"file", "dir"} else {}
    differs = {n for n in {*(kept or {}), *lies} if (kept or {}).get(n) != lies.get(n)}
    return Shown(found, cached, members, tuple(sorted(differs)))


def set_aside_here(ws: Workspace) -> list[str]:
    """Return one line on what was set aside when this commit was left, if it is not back yet."""
    head = ws.git.head()
    pointers = ws.tree.snapshot.pointers
    waiting: dict[str, Rescue] = {}
    for one in rescue.read(ws.git.shared):
        here = one.commit == head and one.worktree == str(ws.root)
        pointer = pointers.get(one.path)
        if here and one.path not in waiting and (pointer is None or pointer.oid != one.oid):
            waiting[one.path] = one
    waiting = {p: one for p, one in waiting.items() if ws.look(p).oid() != one.oid}
    if not waiting:
        return []
    first = next(iter(waiting.values()))
    more = f" (and {len(waiting) - 1} more: devml-git rescue list)" if len(waiting) > 1 else ""
    what = f"devml-git: set aside when you left this commit: {gate.shown(first.path)}"
    return [f"{what}: devml-git rescue restore {first.id}{more}"]


def restore(ws: Workspace, rescue_id: str, to: str | None) -> tuple[str, list[Rescue]]:
    """Write a rescue's content to its place, or to `to`; return where, and what was rescued there.

    What lies there is rescued in turn, unless a snapshot has it; R stays, so that the content
    counts as the user's edit. Raises UsageError, ContentLost, StorageFailed.
    """
    found = rescue.find(ws.git.shared, rescue_id)
    path = gate.path(to or found.path, "rescue restore")
    if path != found.path and (is_pointer_file(path) or ws.git.tracked_among([path])):
        raise UsageError(
            f"{gate.shown(path)} is git's: content does not go there", hint="name another --to PATH"
        )
    pointer = Pointer(
        path=path, file=f"{path}.dvc", oid=found.oid, size=found.size,
        executable=frozenset(found.executable), sha256=found.sha256,
    )  # fmt: skip
    work = ws.look(path)
    ws.learn([work], store_content=False)
    before = ws.record.materialised().get(path)
    verdict = MISSING if work.kind == "absent" else EDIT
    observed = Observed(
        path, pointer, work, None, None, None, verdict, cached=True, is_dir=pointer.is_dir
    )
    restorer = Restorer(ws, cause="rescue restore", fetch=True)
    if restorer.supply.obtain([pointer], {path: work}, verify=True):
        raise lost([path])  # what lies there stays
    with ws.record.writing():  # one transaction: killed on the way, R must not be the rescue's
        done = restorer.bring([observed], force=True)
        if done.blocked:
            raise StorageFailed(done.blocked[0][1])
        if done.missing:
            raise lost([path])
        ws.record.forget(path)
        if before is not None:
            ws.record.set(path, before)
    return path, done.rescued

"""Bring rescued content back into the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devml_git import gate, rescue
from devml_git.errors import StorageFailed
from devml_git.restoring import Restorer
from devml_git.rule import EDIT, MISSING
from devml_git.snapshot import Pointer
from devml_git.wording import lost
from devml_git.workspace import Observed

if TYPE_CHECKING:
    from devml_git.workspace import Workspace


def restore(ws: Workspace, rescue_id: str, to: str | None) -> str:
    """Write a rescue's content to its place, or to `to`; return where.

    What lies there is rescued in turn, unless a snapshot has it; R stays, so that the content
    counts as the user's edit. Raises UsageError, ContentLost, StorageFailed.
    """
    found = rescue.find(ws.git.shared, rescue_id)
    path = gate.path(to or found.path, "rescue restore")
    pointer = Pointer(
        path=path, file=f"{path}.dvc", oid=found.oid, size=found.size,
        executable=frozenset(found.executable),
    )  # fmt: skip
    work = ws.look(path)
    ws.learn([work], store_content=False)
    before = ws.record.materialised().get(path)
    verdict = MISSING if work.kind == "absent" else EDIT
    observed = Observed(
        path, pointer, work, None, None, None, verdict, cached=True, is_dir=pointer.is_dir
    )
    with ws.record.writing():  # one transaction: killed on the way, R must not be the rescue's
        done = Restorer(ws, cause="rescue restore", fetch=True).bring([observed], force=True)
        if done.blocked:
            raise StorageFailed(done.blocked[0][1])
        if done.missing:
            raise lost([path])
        ws.record.forget(path)
        if before is not None:
            ws.record.set(path, before)
    return path

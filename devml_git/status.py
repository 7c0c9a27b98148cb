"""What `status` reports: what differs between workspace, pointers and cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devml_git import rescue
from devml_git.snapshot import Broken, Pointer, State

if TYPE_CHECKING:
    from devml_git.workspace import Observed, Workspace


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` reports. `left_alone` are outputs this tool does not manage, and why.

    Paths are relative to the project; `prefix` is where that lies in the repository.
    """

    prefix: str
    head: str | None
    branch: str | None
    artifacts: tuple[Observed, ...]
    broken: tuple[Broken, ...]
    left_alone: tuple[Pointer, ...]
    in_git: tuple[str, ...]
    notes: tuple[str, ...]
    rescued: int

    def in_order(self) -> bool:
        """Whether everything is clean and readable."""
        return not self.broken and all(a.state is State.CLEAN for a in self.artifacts)

    def to_dict(self) -> dict[str, Any]:
        """Return product.md's `devml.status/v1`."""
        return {
            "schema": "devml.status/v1",
            "head": self.head,
            "branch": self.branch,
            "artifacts": self._artifacts(),
            "rescued": self.rescued,
            "broken": [{"pointer": b.file, "why": b.why} for b in self.broken],
            "unmanaged": [
                {"path": p.path, "pointer": p.file, "why": p.why_left_alone}
                for p in self.left_alone
            ],
            "in_git": list(self.in_git),
            "notes": list(self.notes),
        }

    def _artifacts(self) -> list[dict[str, Any]]:
        found = [*map(_artifact_dict, self.artifacts), *self._unmerged()]
        for entry in found:
            entry["path"] = f"{self.prefix}{entry['path']}"
            entry["pointer"] = f"{self.prefix}{entry['pointer']}"
        return sorted(found, key=lambda a: str(a["path"]))

    def _unmerged(self) -> list[dict[str, Any]]:
        return [
            {
                "path": b.file.removesuffix(".dvc"), "kind": "file", "state": "conflict",
                "oid": None, "size": None, "cached": False, "pointer": b.file,
            }
            for b in self.broken
            if b.unmerged and b.file.endswith(".dvc")
        ]  # fmt: skip


def _artifact_dict(a: Observed) -> dict[str, Any]:
    pointer = a.pointer
    entry: dict[str, Any] = {
        "path": a.path,
        "kind": "dir" if a.is_dir else "file",
        "state": a.state.value,
        "oid": pointer.oid if pointer else None,
        "size": pointer.size if pointer else a.work.size,
        "cached": a.cached,
        "pointer": pointer.file if pointer else f"{a.path}.dvc",
    }
    if a.is_dir:
        entry["nfiles"] = pointer.nfiles if pointer else len(a.work.files)
    return entry


def report(ws: Workspace) -> Status:
    """Look at everything; changes nothing in the workspace."""
    observed = ws.observe()
    _, held = ws.new_artifacts()
    snapshot = ws.tree.snapshot
    places = [n for o in observed for n in o.work.notes]
    odd = [o.work.odd for o in observed if o.work.odd]
    return Status(
        prefix=ws.git.prefix,
        head=ws.git.head(),
        branch=ws.git.branch(),
        artifacts=tuple(sorted(observed, key=lambda o: o.path)),
        broken=snapshot.broken,
        left_alone=tuple(p for p in snapshot.pointers.values() if p.why_left_alone),
        in_git=tuple(held),
        notes=(
            *ws.warnings,
            *ws.unfit.values(),
            *places,
            *odd,
            *_half_way(ws),
        ),
        rescued=len(rescue.read(ws.git.shared)),
    )


def _half_way(ws: Workspace) -> list[str]:
    if not ws.git.half_way():
        return []
    return ["what is stale stays so until the rebase ends; to have it now: devml-git checkout"]

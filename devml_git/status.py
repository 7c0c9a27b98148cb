"""What `status` reports: what differs between workspace, pointers and cache."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devml_git import gate, pointers, rescue
from devml_git.errors import DevmlError, Refused
from devml_git.installer import PYTHON_KEY
from devml_git.nouns import Broken, Pointer, State
from devml_git.plumbing import is_lock

if TYPE_CHECKING:
    from devml_git.workspace import Observed, Workspace


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` reports. `left_alone` are outputs this tool does not manage, and why.

    `unfit` are matches of rules that cannot be stored; the notes say why.
    Paths are relative to the project; `prefix` is where that lies in the repository.
    """

    prefix: str
    head: str | None
    branch: str | None
    artifacts: tuple[Observed, ...]
    broken: tuple[Broken, ...]
    contests: tuple[Contest, ...]
    left_alone: tuple[Pointer, ...]
    in_git: tuple[str, ...]
    unfit: tuple[str, ...]
    notes: tuple[str, ...]
    rescued: int

    def in_order(self) -> bool:
        """Whether everything is clean and readable."""
        stored = not self.broken and not self.unfit
        return stored and all(a.state is State.CLEAN for a in self.artifacts)

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
        found = [*map(_artifact_dict, self.artifacts), *(c.to_dict() for c in self.contests)]
        for entry in found:
            entry["path"] = f"{self.prefix}{entry['path']}"
            entry["pointer"] = f"{self.prefix}{entry['pointer']}"
        return sorted(found, key=lambda a: str(a["path"]))


@dataclass(frozen=True, slots=True)
class Contest:
    """An artifact whose pointer is unmerged. A side is None where it has no such output.

    `here` are the sides ("ours", "theirs") whose content is in the cache.
    """

    path: str
    file: str
    ours: Pointer | None
    theirs: Pointer | None
    here: frozenset[str]

    def sides(self) -> list[tuple[str, Pointer | None]]:
        """Return both sides by name."""
        return [("ours", self.ours), ("theirs", self.theirs)]

    def to_dict(self) -> dict[str, Any]:
        """Return it as an artifact of `devml.status/v1`, with its two sides."""
        entry: dict[str, Any] = {
            "path": self.path, "kind": "file", "state": State.CONFLICT.value, "oid": None,
            "size": None, "cached": False, "pointer": self.file,
        }  # fmt: skip
        for name, p in self.sides():
            known = {"oid": p.oid, "size": p.size, "cached": name in self.here} if p else None
            entry[name] = known
        return entry


def contests(ws: Workspace) -> list[Contest]:
    """Return the artifacts whose pointers the index holds unmerged, both sides named."""
    files = [b.file for b in ws.tree.snapshot.broken if b.unmerged]
    unmerged = ws.git.unmerged_pointers() if files else {}
    found = []
    for file in files:
        ours, theirs = (_side(ws, file, unmerged.get(file, {}).get(stage)) for stage in (2, 3))
        for path in sorted({*ours, *theirs}):
            one, other = ours.get(path), theirs.get(path)
            if one != other or not is_lock(file):
                pairs = (("ours", one), ("theirs", other))
                here = frozenset(name for name, p in pairs if p is not None and _is_here(ws, p))
                found.append(Contest(path, file, one, other, here))
        if not ours and not theirs and not is_lock(file):  # also markers that were staged
            found.append(Contest(file.removesuffix(".dvc"), file, None, None, frozenset()))
    return found


def _side(ws: Workspace, file: str, blob: str | None) -> dict[str, Pointer]:
    if blob is None:
        return {}
    with contextlib.suppress(Refused):
        text = ws.git.blob(blob, file, gate.MAX_POINTER_BYTES)
        return {p.path: p for p in pointers.read(file, text, ws.tree.outputs)}
    return {}


def _is_here(ws: Workspace, pointer: Pointer) -> bool:
    with contextlib.suppress(DevmlError):
        return pointer.oid is not None and not ws.cache.missing_of(pointer.oid, pointer.hash_name)
    return False


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
        contests=tuple(contests(ws)),
        left_alone=tuple(p for p in snapshot.pointers.values() if p.why_left_alone),
        in_git=tuple(held),
        unfit=tuple(path for path in ws.unfit if path not in ws.empty),
        notes=(
            *ws.warnings,
            *ws.unfit.values(),
            *places,
            *odd,
            *_not_set_up(ws),
            *_half_way(ws),
        ),
        rescued=len(rescue.read(ws.git.shared)),
    )


def _not_set_up(ws: Workspace) -> list[str]:
    """In a fresh clone, and after `hooks uninstall`, git does nothing of what is hinted at here."""
    if ws.git.config(PYTHON_KEY) is not None:
        return []
    return ["git runs no hooks of ours in this clone: devml-git init"]


def _half_way(ws: Workspace) -> list[str]:
    if not ws.git.half_way():
        return []
    return ["what is stale stays so until the rebase ends; to have it now: devml-git checkout"]

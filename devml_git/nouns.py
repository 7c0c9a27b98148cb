"""The nouns: what a pointer, a snapshot and a state are. Frozen values that cannot be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from devml_git import gate

MD5 = "md5"
LEGACY = "md5-dos2unix"  # DVC 1 and 2: CRLF of text files read as LF; no `hash:` key in the pointer


class State(StrEnum):
    """State of an artifact, as `status` names it (git-facts.md, the three-way rule)."""

    CLEAN = "clean"
    MODIFIED = "modified"
    NEW = "new"
    DELETED = "deleted"
    MISSING = "missing"
    STALE = "stale"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Pointer:
    """One `outs` entry: the small text in git that stands for content.

    `path` is the artifact's path and `file` the pointer file's, both POSIX and relative to the
    repository's root; `oid` is DVC's hash (None: the output was never stored), `size` in bytes,
    `executable` the members with an exec bit (a single file: its own name). `sha256` is what it
    vouches for: the content's second hash (`fingerprints.py`), None where it says nothing.
    `entry` is where in a `dvc.lock` it stands: its stage, and its path as written there.
    `why_left_alone` is set for outputs this tool does not manage (imports, cloud-versioned...).
    """

    path: str
    file: str
    oid: str | None
    size: int | None = None
    nfiles: int | None = None
    executable: frozenset[str] = field(default_factory=frozenset)
    hash_name: str = MD5
    stage: str | None = None
    remote: str | None = None
    push: bool = True
    why_left_alone: str | None = None
    sha256: str | None = field(default=None, compare=False)
    entry: tuple[str, str] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        gate.path(self.path, self.file)
        if self.oid is not None:
            gate.oid(self.oid, self.file)
        gate.size(self.size, self.file)
        gate.size(self.nfiles, self.file)

    @property
    def is_dir(self) -> bool:
        """Whether the artifact is a directory, stored as a `.dir` manifest."""
        return self.oid is not None and self.oid.endswith(".dir")

    @property
    def claim(self) -> str | None:
        """The SHA-256 that is vouched for of the one file that it is; a directory has many."""
        return None if self.is_dir else self.sha256


@dataclass(frozen=True, slots=True)
class Content:
    """What a pointer is brought up to date with.

    `oid` is DVC's MD5 (`.dir` for a directory), `size` in bytes (a directory: the sum),
    `nfiles` for directories only, `executable` the relative paths of members with an exec bit
    (a single file that has one: the empty string). `sha256` as in `Pointer`.
    """

    oid: str
    size: int
    nfiles: int | None = None
    executable: frozenset[str] = field(default_factory=frozenset)
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A pointer file that cannot be followed, and why.

    Malformed, hostile, full of conflict markers (`unmerged`), or in the way of another pointer
    (`overlaps`).
    """

    file: str
    why: str
    unmerged: bool = False
    overlaps: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All pointers of one tree, index or worktree, by artifact path, and the files that are broken.

    Derived from the tree, never stored beside it.
    """

    pointers: dict[str, Pointer]
    broken: tuple[Broken, ...] = ()

    def managed(self) -> dict[str, Pointer]:
        """Return the pointers whose content this tool snapshots and restores."""
        return {p: ptr for p, ptr in self.pointers.items() if ptr.why_left_alone is None}

    def holder(self, path: str) -> tuple[Pointer, str] | None:
        """Return the pointer that `path` belongs to, and the file's name inside the artifact.

        `path` is an artifact's (the name is "" then), its `.dvc` file's, or that of a file in a
        directory that is one. None where there is none, or it was never stored.
        """
        found = self.pointers.get(path) or next(
            (
                p
                for p in self.pointers.values()
                if (path == p.file and path.endswith(".dvc")) or path.startswith(f"{p.path}/")
            ),
            None,
        )
        if found is None or found.oid is None:
            return None
        inside = path.removeprefix(f"{found.path}/") if path.startswith(f"{found.path}/") else ""
        return (found, inside) if found.is_dir or not inside else None

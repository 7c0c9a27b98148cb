"""Where a walk takes place: a repository with some history, its worktrees, and looks at them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

from tests.world import Ran, devml, run

FILES = ("models/a.pt", "models/b.pt", "models/deep/c.bin")
MEMBERS = ("data/x", "data/sub/y", "data/z")
CODE = ("train.py", "other.py")
BRANCHES = ("main", "one", "two")
TREES = ("wt1", "wt2")

_NOT_CONTENT = frozenset({".gitignore", ".dvcignore", "devml.toml", *CODE})
_HALF_WAY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply",
             "BISECT_START", "sequencer")  # fmt: skip
_OUT = re.compile(rb"^- md5: '?([0-9a-f]{32}(?:\.dir)?)'?$", re.MULTILINE)
_PATH = re.compile(rb"^  path: (.+)$", re.MULTILINE)


def build(place: Path) -> Path:
    """Make the repository that walks start from: a commit before the adoption, three branches.

    main and one differ in models/a.pt and data/, two has no models/b.pt; tags v1 to v3.
    """
    place.mkdir(parents=True, exist_ok=True)
    p = Ground(place)
    p.git("", "init", "-q")
    p.write("", "train.py", "print(0)\n")
    p.git("", "add", "-A")
    p.git("", "commit", "-qm", "before")
    p.git("", "tag", "before")
    ran = devml("init", "--track", "models/**", "--track", "data/", cwd=place)
    assert ran.status == 0, ran.err
    for n in (1, 2, 3):
        p.write("", "train.py", "".join(f"line {i} of {n if i == 9 else 0}\n" for i in range(10)))
        p.write("", "models/a.pt", f"weights {n}\n")
        p.write("", f"data/x{n}", f"part {n}\n")
        if n == 1:
            for name in (*FILES[1:], *MEMBERS):
                p.write("", name, f"{name}\n")
        p.git("", "add", "-A")
        p.git("", "commit", "-qm", f"v{n}")
        p.git("", "tag", f"v{n}")
    p.git("", "checkout", "-qb", "one", "v2")
    p.write("", "models/a.pt", "weights of one\n")
    p.write("", "data/z", "z of one\n")
    p.write("", "other.py", "one\n")
    p.git("", "add", "-A")
    p.git("", "commit", "-qm", "one")
    p.git("", "checkout", "-qb", "two", "v1")
    (place / "models/b.pt").unlink()
    p.git("", "rm", "-q", "models/b.pt.dvc")
    p.write("", "models/deep/c.bin", "c of two\n")
    p.git("", "commit", "-qam", "two")
    p.git("", "checkout", "-q", "main")
    return place


@dataclass(frozen=True)
class Lying:
    """One file as it lies in a worktree."""

    oid: str
    executable: bool
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Pointer:
    """What a pointer file in a worktree says; `oid` None: it is not readable (a conflict)."""

    file: str
    path: str
    oid: str | None
    text: bytes = field(repr=False)


@dataclass
class Ground:
    """A repository and its linked worktrees, which lie beside it. "" names the main one."""

    path: Path

    # -- doing -------------------------------------------------------------------------------

    def root(self, tree: str) -> Path:
        return self.path.parent / tree if tree else self.path

    def git(self, tree: str, *args: str, env: dict[str, str] | None = None) -> Ran:
        return run("git", *args, cwd=self.root(tree), check=False, env=env)

    def devml(self, tree: str, *args: str) -> Ran:
        return devml(*args, cwd=self.root(tree))

    def write(self, tree: str, path: str, text: str) -> None:
        """Write a file as an editor would; what is in the way (file or directory) makes room."""
        place = self.root(tree) / path
        for above in [*place.relative_to(self.root(tree)).parents][::-1][1:]:
            if (self.root(tree) / above).is_file():
                (self.root(tree) / above).unlink()
        if place.is_dir():
            shutil.rmtree(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    # -- looking -----------------------------------------------------------------------------

    def trees(self) -> list[str]:
        return ["", *(t for t in TREES if (self.root(t) / ".git").is_file())]

    def git_dir(self, tree: str) -> Path:
        own = self.root(tree) / ".git"
        return own if own.is_dir() else Path(own.read_text().split(": ", 1)[1].strip())

    def half_way(self, tree: str) -> set[str]:
        """What stands half-way in a worktree, by the names of git's own files."""
        own = self.git_dir(tree)
        return {name for name in _HALF_WAY if (own / name).exists()}

    def lying(self, tree: str) -> dict[str, Lying]:
        """Everything in a worktree but code, settings and pointers."""
        found = {}
        root = self.root(tree)
        for name in self._files(root):
            if name.endswith(".dvc") or os.path.basename(name) in _NOT_CONTENT:
                continue
            with open(root / name, "rb") as f:
                data = f.read()
                executable = bool(os.fstat(f.fileno()).st_mode & stat.S_IXUSR)
            found[name] = Lying(hashlib.md5(data).hexdigest(), executable, data)
        return found

    def pointers(self, tree: str) -> dict[str, Pointer]:
        """The pointer files of a worktree, by the path of their artifact."""
        found = {}
        root = self.root(tree)
        for name in self._files(root):
            if name.endswith(".dvc"):
                one = read_pointer(name, (root / name).read_bytes())
                found[one.path] = one
        return found

    @staticmethod
    def _files(root: Path) -> list[str]:
        found = []
        for above, dirs, names in os.walk(root):
            if above == str(root):
                dirs[:] = [d for d in dirs if d not in {".git", ".dvc"}]
                names = [n for n in names if n != ".git"]
            found += [os.path.relpath(os.path.join(above, n), root) for n in names]
        return found

    @property
    def cache(self) -> Path:
        return self.path / ".git/devml/cache/files/md5"

    def objects(self) -> dict[str, tuple[int, int, int]]:
        """Every object of the cache, with what of its stat must never change."""
        found = {}
        with os.scandir(self.cache) as firsts:
            for first in firsts:
                with os.scandir(first.path) as rest:
                    for e in rest:
                        st = e.stat()
                        key = (st.st_ino, st.st_size, st.st_mtime_ns)
                        found[first.name + e.name] = key
        return found

    def object(self, oid: str) -> bytes:
        return (self.cache / oid[:2] / oid[2:]).read_bytes()

    def members(self, oid: str) -> dict[str, str]:
        """The members of a directory's manifest: relative path to oid."""
        return {row["relpath"]: row["md5"] for row in json.loads(self.object(oid))}


def read_pointer(file: str, text: bytes) -> Pointer:
    """Read a pointer file as plainly as can be; with conflict markers it has no oid."""
    oids, paths = _OUT.findall(text), _PATH.findall(text)
    if len(oids) != 1 or len(paths) != 1 or b"<<<<<<<" in text:
        return Pointer(file, file.removesuffix(".dvc"), None, text)
    above = os.path.dirname(file)
    return Pointer(file, os.path.join(above, paths[0].decode()), oids[0].decode(), text)


def oid_of(lying: dict[str, Lying], path: str) -> str | None:
    """The oid of what lies at an artifact's place: a file's, a directory's, or None."""
    if path in lying:
        return lying[path].oid
    inside = {n[len(path) + 1 :]: f.oid for n, f in lying.items() if n.startswith(f"{path}/")}
    if not inside:
        return None
    rows = [{"md5": inside[n], "relpath": n} for n in sorted(inside)]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode()).hexdigest() + ".dir"

"""A project with a git remote and a DVC remote, and what somebody who has only those would miss."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.remotes.remote import Remote
from tests.world import Project, Ran, devml_process, run

CHANGE = """
change() { printf '%s\\n' "weights $1" >models/a.pt; printf '%s\\n' "$1" >"data/$1.csv"; }
commit() { change "$1"; git commit -q --allow-empty -m "$1" >/dev/null 2>&1 ||
    git commit -q --allow-empty -m "$1"; }
"""


REMOTE = "[core]\n    remote = store\n['remote \"store\"']\n    url = ../../store\n"


@pytest.fixture(scope="session")
def published(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with v1 to v3, a git remote that has v1 only, and a DVC remote with its content."""
    from tests.conftest import commit_three, seal  # which imports this

    with pytest.MonkeyPatch.context() as monkeypatch:
        seal(tmp_path_factory.mktemp("push-home"), monkeypatch)
        place = tmp_path_factory.mktemp("push")
        project = Project(place / "project", differential=False)
        shutil.copytree(template, project.path, symlinks=True)
        run("git", "init", "-q", "--bare", "bare", cwd=place)
        run("git", "remote", "add", "origin", "../bare", cwd=project.path)
        (place / "store").mkdir()
        (project.path / ".dvc/config").write_text(REMOTE)
        project.devml("trust")
        commit_three(project)
        run("git", "branch", "side", "v2", cwd=project.path)
        run("git", "push", "-q", "origin", "v1:refs/heads/main", cwd=project.path)
        run("git", "fetch", "-q", cwd=project.path)
    return place


class World:
    """The project, what its git remote has, and what its DVC remote has.

    The DVC remote is a directory, `store`; `moved_to` puts another in its place.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.project = Project(place / "project", differential=False)
        self.bare = place / "bare"
        self.store = place / "store"
        self.storage: Remote | None = None

    def sh(self, script: str, *, check: bool = True) -> Ran:
        return run("sh", "-ec", CHANGE + script, cwd=self.project.path, check=check)

    def moved_to(self, storage: Remote) -> World:
        """Make `storage` the DVC remote, with what the first one had."""
        shutil.copytree(self.store, storage.place, dirs_exist_ok=True)
        storage.settle()
        storage.configure(self.project)
        self.store = storage.place
        self.storage = storage
        return self

    def heads(self) -> str:
        return run("git", "for-each-ref", cwd=self.bare).out

    def objects(self) -> set[str]:
        return {p.parent.name + p.name for p in self.store.rglob("*") if p.is_file()}

    def object(self, oid: str) -> Path:
        return self.store / "files/md5" / oid[:2] / oid[2:]

    def incomplete(self, store: Path | None = None, *, without: str = "") -> list[str]:
        """Return what somebody who has only the two remotes would miss, by our own reading.

        `without`: but for what the git remote had before.
        """
        lacking = []
        known = [f"^{without}"] if without else []
        commits = run("git", "rev-list", "--all", *known, cwd=self.bare).out.split()
        for commit in commits:
            for line in run("git", "ls-tree", "-r", commit, cwd=self.bare).out.splitlines():
                meta, path = line.split("\t")
                if path.endswith((".dvc", "dvc.lock")):
                    text = run("git", "cat-file", "blob", meta.split()[2], cwd=self.bare).out
                    lacking += [
                        f"{commit[:8]} {path}: {why}"
                        for oid in re.findall(r"md5: '?([0-9a-f]{32}(?:\.dir)?)'?", text)
                        for why in self._wrong(oid, store or self.store)
                    ]
        return lacking

    def clone(self, name: str) -> Project:
        """Clone with git alone; a private DVC remote is configured."""
        run("git", "clone", "-q", "bare", name, cwd=self.place)
        if self.storage is not None:
            self.storage.configure(self.place / name)
        return Project(self.place / name, differential=False)

    def restored(self, *, ours: bool) -> list[str]:
        """Bring each commit that was pushed back in a fresh clone with an empty cache.

        By our hooks, or by `dvc pull` alone. Returns what came out wrong.
        """
        clone = self.clone("ours" if ours else "theirs")
        if ours:
            assert devml_process("init", "--no-content", cwd=clone.path).status == 0
        commits = run("git", "rev-list", "--all", cwd=self.bare).out.split()
        wrong = []
        for commit in commits:
            ran = run("git", "checkout", "-q", "-f", commit, cwd=clone.path)
            if not ours:
                ran = run(sys.executable, "-m", "dvc", "pull", "-q", cwd=clone.path, check=False)
            wrong += [f"{commit[:8]}: {ran.err}"] * bool(ran.status)
            wrong += [f"{commit[:8]}: {what}" for what in misplaced(clone)]
        return wrong

    def _wrong(self, oid: str, store: Path) -> list[str]:
        place = store / "files/md5" / oid[:2] / oid[2:]
        if not place.exists():
            return [f"{oid} is not there"]
        data = place.read_bytes()
        if hashlib.md5(data).hexdigest() != oid.removesuffix(".dir"):
            return [f"{oid} is damaged"]
        inside = json.loads(data) if oid.endswith(".dir") else []
        return [why for entry in inside for why in self._wrong(entry["md5"], store)]


@pytest.fixture
def world(published: Path, tmp_path: Path) -> World:
    place = tmp_path / "w"
    shutil.copytree(published, place, symlinks=True)
    run("git", "update-index", "-q", "--refresh", cwd=place / "project")
    return World(place)


def misplaced(project: Project) -> list[str]:
    """Return the artifacts of the worktree that are not what their pointers say, by our reading."""
    wrong = []
    for pointer in project.path.rglob("*.dvc"):
        if not pointer.is_file():
            continue
        (oid,) = set(re.findall(r"md5: '?([0-9a-f]{32}(?:\.dir)?)'?", pointer.read_text()))
        place = pointer.with_suffix("")
        if oid.endswith(".dir"):
            found = {p.relative_to(place).as_posix(): p for p in place.rglob("*") if p.is_file()}
            entries = [
                {"md5": hashlib.md5(found[name].read_bytes()).hexdigest(), "relpath": name}
                for name in sorted(found)
            ]
            digest = hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest()
        else:
            digest = hashlib.md5(place.read_bytes()).hexdigest() if place.exists() else "missing"
        wrong += [pointer.name] * (digest != oid.removesuffix(".dir"))
    return wrong

"""Random walks through git and devml-git: nothing that lay in an artifact's place is ever lost.

A few short walks in every run, many long ones in `make test-long`. The seed is in the test's
name and in every failure.
"""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.world import Project, run

if TYPE_CHECKING:
    from collections.abc import Callable

BRANCHES = ("main", "one", "two")
PLACES = ("models/a.pt", "models/b.pt", "data/x", "data/sub/y")


class Walk:
    """One walk: a project, a seeded source of choices, and what was done so far."""

    def __init__(self, project: Project, seed: int) -> None:
        self.project = project
        self.project.differential = False
        self.rng = random.Random(seed)
        self.seed = seed
        self.done: list[str] = []
        self.commits = 0

    def steps(self) -> dict[str, Callable[[], object]]:
        p, rng = self.project, self.rng
        rev = rng.choice([*BRANCHES, "HEAD~1", "HEAD"])
        place = rng.choice(PLACES)
        return {
            f"write {place}": lambda: p.write(place, rng.randbytes(rng.choice([0, 3, 3, 2000]))),
            f"delete {place}": lambda: (p.path / place).unlink(missing_ok=True),
            "write code": lambda: p.write("train.py", str(rng.random())),
            "commit": lambda: self.git("commit", "-q", "--allow-empty", "-am", "c"),
            "commit no-verify": lambda: self.git("commit", "-q", "--allow-empty", "-n", "-am", "n"),
            "amend": lambda: self.git("commit", "-q", "--amend", "--allow-empty", "-am", "a"),
            "partial": lambda: self.git("commit", "-q", "-m", "p", "--", "train.py"),
            "devml snapshot": lambda: p.devml("snapshot", check=False),
            f"checkout {rev}": lambda: self.git("checkout", "-q", rev),
            f"devml checkout {rev}": lambda: p.devml("checkout", rev, check=False),
            f"devml checkout -f {rev}": lambda: p.devml("checkout", "--force", rev, check=False),
            "devml checkout": lambda: p.devml("checkout", check=False),
            f"devml checkout -- {place}": lambda: p.devml("checkout", rev, "--", place, check=False),
            "reset --hard": lambda: self.git("reset", "-q", "--hard", rev),
            "stash": lambda: self.git("stash", "-q"),
            "stash pop": lambda: self.git("stash", "pop", "-q"),
            f"merge {rev}": lambda: self.git("merge", "-q", "-m", "m", rev),
            "merge --abort": lambda: self.git("merge", "--abort"),
            f"cherry-pick {rev}": lambda: self.git("cherry-pick", "--allow-empty", rev),
            "cherry-pick --abort": lambda: self.git("cherry-pick", "--abort"),
            f"rebase {rev}": lambda: self.git("rebase", "-q", rev),
            "rebase --abort": lambda: self.git("rebase", "--abort"),
            f"theirs {place}": lambda: p.devml("checkout", "--theirs", "--", "models/a.pt", check=False),
            "lose the record": lambda: (p.path / ".git/devml/record.db").unlink(missing_ok=True),
            "without hooks": lambda: self.git("-c", "core.hooksPath=/dev/null", "checkout", "-q", rev),
        }  # fmt: skip

    def git(self, *args: str) -> None:
        self.project.git(*args, check=False)

    def lying(self) -> set[bytes]:
        return {self.project.bytes(p) for p in PLACES if (self.project.path / p).is_file()}

    def step(self) -> None:
        """Do one thing; what lay there before must be there or in the cache afterwards."""
        name, action = self.rng.choice(list(self.steps().items()))
        self.done.append(name)
        before = self.lying()
        action()
        if name.startswith(("write", "delete")):
            return
        kept = set(self.project.objects())
        for data in before - self.lying():
            assert hashlib.md5(data).hexdigest() in kept, self.where(f"lost {data[:20]!r}")

    def check(self) -> None:
        """Objects are what their names say, and the commits' pointers have their content."""
        objects = self.project.objects()
        for oid, place in objects.items():
            digest = hashlib.md5(place.read_bytes()).hexdigest()
            assert digest == oid.removesuffix(".dir"), self.where(f"wrong object {oid}")
        texts = run(
            "git", "log", "--all", "-p", "--format=", "--", "*.dvc", cwd=self.project.path
        ).out
        named = {
            line.split("md5: ")[1].strip("'")
            for line in texts.splitlines()
            if line.startswith("+- md5: ")
        }
        assert named <= set(objects), self.where(f"pointers without content {named - set(objects)}")

    def finish(self) -> None:
        """Whatever state this ended in, one forced checkout brings a branch in step."""
        for abort in (["merge", "--abort"], ["rebase", "--abort"], ["cherry-pick", "--abort"]):
            self.git(*abort)
        if run("git", "ls-files", "-u", cwd=self.project.path).out:  # a stash that met a conflict
            self.git("reset", "-q", "--hard")
        if not run("git", "ls-files", "train.py", cwd=self.project.path).out:
            (self.project.path / "train.py").unlink(missing_ok=True)  # untracked here: git refuses
        ran = self.project.devml("checkout", "--force", "main", check=False)
        assert ran.status == 0, self.where(ran.err + ran.out)
        states = {k: v for k, v in self.project.states().items() if v != "new"}
        assert set(states.values()) <= {"clean"}, self.where(str(states))
        self.project.differential = True
        self.project.agree()

    def where(self, what: str) -> str:
        return f"{what} after {self.done} (seed {self.seed})"


def walk(project: Project, seed: int, steps: int) -> None:
    project.write("train.py", "0")
    for place in PLACES:
        project.write(place, place)
    project.commit("start")
    for branch in BRANCHES[1:]:
        project.git("branch", branch)
    w = Walk(project, seed)
    for _ in range(steps):
        w.step()
    w.check()
    w.finish()


@pytest.mark.parametrize("seed", range(int(os.environ.get("DEVML_WALKS", "6"))))
def test_short_walk_loses_nothing(project: Project, seed: int) -> None:
    walk(project, seed, 25)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1120))
def test_long_walk_loses_nothing(project: Project, seed: int) -> None:
    walk(project, seed, 40)

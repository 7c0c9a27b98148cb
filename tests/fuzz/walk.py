"""Walks: made up, done and judged step by step; replayed from a file; shrunk when they fail."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.choose import Chooser
from tests.fuzz.ground import Ground
from tests.fuzz.judge import Judge, Violation
from tests.fuzz.steps import MustSucceed, Step, do
from tests.world import Ran

DVC_EVERY = 10
ABORTS = ("merge", "rebase", "am", "cherry-pick", "revert")


@dataclass
class Walk:
    """What was done so far, and the first thing that was wrong."""

    steps: list[Step] = field(default_factory=list)
    violation: Violation | None = None
    told: list[str] = field(default_factory=list)

    def save(self, place: Path, **more: str) -> None:
        """Write the walk down, one step a line."""
        lines = ",\n".join(f"    {json.dumps(step)}" for step in self.steps)
        head = {"kind": self.violation.kind if self.violation else "", **more}
        fields = "".join(f"  {json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items())
        place.write_text(f'{{\n{fields}  "steps": [\n{lines}\n  ]\n}}\n')


def walk(
    template: Path,
    source: Iterable[Step] | Callable[[Ground], Iterator[Step]],
    *,
    dvc_every: int = DVC_EVERY,
) -> Walk:
    """Do steps on a fresh copy of the template until something is wrong or there are no more."""
    place = Path(tempfile.mkdtemp(prefix="walk-"))
    done = Walk()
    try:
        shutil.copytree(template, place / "main", symlinks=True)
        ground = Ground(place / "main")
        ground.git("", "update-index", "-q", "--refresh")  # the copies' stats are new
        ground.devml("", "snapshot")
        judge = Judge(ground)
        judge.begin()
        for number, step in enumerate(source(ground) if callable(source) else source, 1):
            done.steps.append(step)
            try:
                ran = do(ground, step)
            except MustSucceed as e:
                raise Violation("exit", str(e)) from e
            done.told.append(f"{ran.status} {(ran.err + ran.out).strip()}")
            judge.after(step, ran, dvc=number % dvc_every == 0)
        finish(ground, judge)
    except Violation as e:
        done.violation = e
        if os.environ.get("FUZZ_KEEP"):
            shutil.copytree(place, os.environ["FUZZ_KEEP"], symlinks=True, dirs_exist_ok=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return done


def chosen(seed: int, length: int) -> Callable[[Ground], Iterator[Step]]:
    """A source of `length` random steps."""

    def source(ground: Ground) -> Iterator[Step]:
        chooser = Chooser(ground, seed)
        for _ in range(length):
            yield chooser.next()

    return source


def finish(ground: Ground, judge: Judge) -> None:
    """(e) Whatever stands half-way is aborted; then one command brings main in step, exit 0."""
    for tree in reversed(ground.trees()):
        aborted = [ground.git(tree, name, "--abort") for name in ABORTS]
        if any("BUG: " in ran.err for ran in aborted):
            continue  # git itself gave up, and left its lock
        ground.git(tree, "bisect", "reset")
        ground.git(tree, "sparse-checkout", "disable")
        if ground.git(tree, "rev-parse", "-q", "--verify", "HEAD").status:  # an orphan branch
            ground.git(tree, "checkout", "-qf", "--detach", "main")
        if ground.git(tree, "ls-files", "-u").out:  # a stash or `checkout -m` that met a conflict
            ground.git(tree, "reset", "-q", "--hard")
        judge.after(["git", tree, "abort"], Ran(0, "", ""), dvc=False)
        if not ground.git("", "ls-tree", "main", "devml.toml").out:
            continue  # main was moved to before the adoption
        rev = ground.git(tree, "rev-parse", "main").out.strip() if tree else "main"
        ran = ground.devml(tree, "checkout", "--force", rev)
        if ran.status and "untracked working tree files" in ran.err:
            ground.git(tree, "clean", "-fdq")  # refused, and said so: git knows no --force here
            judge.after(["delete", tree, ""], Ran(0, "", ""), dvc=False)
            ran = ground.devml(tree, "checkout", "--force", rev)
        told = ran.out + ran.err
        if "has conflict markers in it" in told or "and so does" in told:
            judge.begin()  # committed past all hooks, or a copy of a pointer that git does not know
            continue
        if ran.status:
            raise Violation(
                f"end-{ran.status}", f"checkout --force main: exit {ran.status}: {ran.err}{ran.out}"
            )
        judge.after(["devml", tree, "checkout", "--force", rev], ran, dvc=True)
        wrong = {k: v for k, v in judge.states.get(tree, {}).items() if v not in {"clean", "new"}}
        if wrong:
            raise Violation("end", f"after checkout --force main: {wrong}")


def shrink(template: Path, steps: list[Step], kind: str, seconds: float) -> Walk | None:
    """Remove steps for as long as the walk still ends in the same kind of violation.

    First all that git refused, then, by delta debugging, ever smaller runs of steps. None: it did
    not happen again.
    """
    until = time.monotonic() + seconds
    every = 1 if kind == "dvc" else DVC_EVERY

    def again(tried: list[Step]) -> Walk | None:
        done = walk(template, tried, dvc_every=every)
        return done if done.violation is not None and done.violation.kind == kind else None

    best = again(steps)
    if best is None:
        return None
    did = [s for s, told in zip(best.steps, best.told, strict=True) if told.startswith("0")]
    best = again(did) or best
    size = max(1, len(best.steps) // 2)
    while time.monotonic() < until:
        found = False
        start = 0
        while start < len(best.steps) and time.monotonic() < until:
            smaller = again(best.steps[:start] + best.steps[start + size :])
            if smaller is None:
                start += size
            else:
                best, found = smaller, True
        if size == 1 and not found:
            break
        if not found:
            size //= 2
        size = max(1, min(size, len(best.steps) // 2))
    return best

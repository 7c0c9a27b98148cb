"""One case from end to end: a template, an arrival, what the victim types, the judgement."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile import arrivals, course, templates  # noqa: F401 - templates registers them
from tests.hostile.arrivals import ARRIVALS, LAUNDERINGS, Visit
from tests.hostile.builder import TEMPLATES, Template, begin
from tests.hostile.course import Step
from tests.hostile.judge import SECONDS, Break, Judge
from tests.hostile.trace import Done, traced, untraced
from tests.hostile.world import World


@dataclass(frozen=True)
class Case:
    """A template and the way it arrives."""

    template: Template
    arrival: str

    def __str__(self) -> str:
        return f"{self.template.name}-{self.arrival}"


@dataclass
class Told:
    """What became of a case: `ran` are its commands (where, what, with which end)."""

    case: Case
    breaks: list[Break] = field(default_factory=list)
    ran: list[tuple[str, Done]] = field(default_factory=list)


def cases() -> list[Case]:
    """Return all cases: each template in each way, some in the ways of laundering, too."""
    found = [Case(t, a) for t in TEMPLATES.values() for a in ARRIVALS]
    return found + [Case(t, a) for t in TEMPLATES.values() if t.launders for a in LAUNDERINGS]


def quick_cases() -> list[Case]:
    """Return the one case of each template that `make test` has time for."""
    return [Case(t, t.arrival) for t in TEMPLATES.values()]


def attempt(case: Case, *, quick: bool = False, keep: Path | None = None) -> Told:
    """Run a case. `quick`: only the visit and the steps that the template names."""
    told = Told(case)
    root = keep or Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        world = World(root / "w")
        it = begin(world)
        case.template.build(it)
        judge = Judge(world, case.template, it)
        arrive = {**ARRIVALS, **LAUNDERINGS}[case.arrival]
        for visit in arrive(world, it):
            if quick and case.arrival == "clone" and visit.name != case.template.visit:
                continue
            steps = _chosen(case, visit, quick)
            for n, (step, cwd) in enumerate(steps):
                if not cwd.is_dir():
                    break
                done = _take(world, case, visit, step, cwd, turn=f"{visit.name} {n}")
                told.ran.append((f"{visit.name}/{step.name}", done))
                told.breaks += judge.step(visit, step, done)
            told.breaks += judge.end(visit)
    finally:
        if keep is None:
            shutil.rmtree(root, ignore_errors=True)
    return told


def _chosen(case: Case, visit: Visit, quick: bool) -> Iterator[tuple[Step, Path]]:
    """Yield the steps of a visit and where each is typed."""
    for step in visit.steps:
        yield step, visit.cwd
    steps = visit.course
    if quick:
        steps = tuple(dict.fromkeys(s for s in steps if s.name in case.template.quick))
    for step in steps:
        yield step, visit.place


def _take(world: World, case: Case, visit: Visit, step: Step, cwd: Path, turn: str) -> Done:
    if step.edits:
        course.edit(visit.place, turn)
    more = case.template.env | (case.template.for_git if step.is_git else {})
    env = world.env()
    env |= {name: value.replace("{PATH}", env["PATH"]) for name, value in more.items()}
    argv, log = list(step.argv), world.tmp / "trace"
    done = traced(argv, cwd=cwd, env=env, log=log)
    if done.cpu > SECONDS and step in course.LOOKS:  # by itself, as for a user: it changes nothing
        done.cpu = untraced(argv, cwd=cwd, env=env, log=log).cpu
    return done

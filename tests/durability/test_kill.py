"""Killed at any call that changes a file, nothing is lost, and the same command once more finishes.

In every run, each operation is traced once, and its files are copied at every so many calls as a
kill of all its processes would leave them there. Calls before which every file that anybody reads
is the same are points of one state: what holds at one of them is found out for all. In `make test-long` every
call is hit by a real SIGKILL, of its process alone (the others go on) and of all in turn.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.durability.operations import OPERATIONS, Operation, edited
from tests.durability.trial import Known, Tally, Workshop, contents, finish, states, wrong
from tests.world import Project, run

STRIDE = 57
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)


@each_operation
def test_killed_at_some_calls(
    operation: Operation, workshop: Workshop, seed: int, tmp_path: Path, record_property: Any
) -> None:
    known = workshop.known(operation)
    offset = seed + OPERATIONS.index(operation) * 17
    traced = workshop.machine.run(
        operation.argv, workshop.copy(workshop.template(operation)), "photos",
        photos_to=str(tmp_path), stride=STRIDE, offset=offset % STRIDE,
    )  # fmt: skip
    assert traced.status == 0, traced.err
    tally = Tally()
    for state in traced.states:
        if state["photo"]:
            tally.points += state["points"]
            check(operation, Path(state["photo"]), f"seed {seed}: {state['at']}", known, tally)
    record_property("campaign", f"kill {operation.name}: {tally}, seed {seed}")


def check(operation: Operation, place: Path, what: str, known: Known, tally: Tally) -> None:
    """Judge what a kill left, run the same command once more, judge again."""
    found = wrong(place, known.kept)
    assert found == [], f"{operation.name}, killed at {what}: {found}"
    trouble = finish(operation, place, known.end, tally)
    assert trouble == "", f"{operation.name}, killed at {what}:\n{trouble}"
    found = wrong(place, known.kept)
    assert found == [], f"{operation.name}, killed at {what}, and run again: {found}"
    assert states(place) == known.states, f"{operation.name}, killed at {what}, and run again"
    shutil.rmtree(place)


@pytest.mark.long
@pytest.mark.timeout(3600)
@each_operation
def test_killed_at_every_call(
    operation: Operation, workshop: Workshop, seed: int, record_property: Any
) -> None:
    known = workshop.known(operation)
    tally = Tally()
    at = 0
    while True:
        at += 1
        place = workshop.copy(workshop.template(operation))
        do = ("kill", "kill-all")[(at + seed) % 2]
        traced = workshop.machine.run(operation.argv, place, do, at=at)
        if not traced.hit:
            break
        tally.points += 1
        check(operation, place, f"{do} {traced.hit}", known, tally)
    record_property("campaign", f"SIGKILL {operation.name}: {tally}")


DVC = f"{shlex.quote(sys.executable)} -m dvc add -q models/a.pt data && git add -A && git commit -qm x"


def with_dvc_alone(place: Path) -> Project:
    """Make a repository with DVC and no devml-git, and edit what it tracks."""
    p = Project(place, differential=False)
    place.mkdir()
    p.git("init", "-q")
    p.dvc("init", "-q")
    p.write("train.py", "print(3)\n")
    p.write("models/a.pt", "weights 3\n" * 50)
    p.write("data/x.csv", "x,3\n")
    p.write("data/part3.csv", "part 3\n")
    run("sh", "-c", DVC, cwd=place)
    edited(p)
    return p


def sweep(workshop: Workshop, argv: tuple[str, ...], place: Path, to: Path) -> tuple[int, int, str]:
    """Copy the files at every call of a command; return points, bad ones, and one of those."""
    kept = contents(place)
    traced = workshop.machine.run(argv, place, "photos", photos_to=str(to), stride=1, seconds=600)
    assert traced.status == 0, traced.err
    bad, example = 0, ""
    for state in traced.states:
        found = wrong(Path(state["photo"]), kept)
        if found:
            bad += state["points"]
            example = f"{state['at']}: {found}"
    return sum(state["points"] for state in traced.states), bad, example


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_same_sweep_on_dvc_beside_ours(
    workshop: Workshop, tmp_path: Path, record_property: Any
) -> None:
    """Ours must have no bad point; DVC's figure is printed beside it, whatever it is."""
    commit = next(o for o in OPERATIONS if o.name == "commit -a")
    ours = sweep(workshop, commit.argv, workshop.copy(workshop.template(commit)), tmp_path / "ours")
    theirs = sweep(
        workshop, ("sh", "-c", DVC), with_dvc_alone(tmp_path / "dvc").path, tmp_path / "theirs"
    )
    record_property("campaign", f"git commit -a with devml-git: {ours[1]} of {ours[0]} points bad")
    record_property(
        "campaign",
        f"dvc add && git add && git commit: {theirs[1]} of {theirs[0]} points bad {theirs[2]}",
    )
    assert ours[1] == 0, ours[2]

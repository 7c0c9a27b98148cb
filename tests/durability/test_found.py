"""What the campaigns found, each reduced to what it takes to see it."""

from __future__ import annotations

import errno
import re

import pytest

from devml_git.place import temporary_name
from tests.durability.trial import Machine, Traced, Workshop
from tests.world import Project


def test_what_a_killed_command_left_beside_a_pointer_becomes_no_artifact(ground: Project) -> None:
    left = temporary_name()
    ground.write(f"models/{left}", "outs:\n- md5: ")
    ground.write("models/a.pt", "retrained")
    ran = ground.git("commit", "-qm", "x", "--allow-empty")
    assert left not in ran.err
    assert not ground.exists(f"models/{left}.dvc")
    assert ground.in_step()


def full_disk_at(machine: Machine, project: Project, place: str) -> Traced:
    """Commit; the first write to a place finds no space."""
    return machine.run(
        ("git", "commit", "-qam", "x", "--allow-empty"), project.path, "fail", at=1,
        error=errno.ENOSPC, kinds=["write", "pwrite64"], match=place,
    )  # fmt: skip


@pytest.fixture
def ground(workshop: Workshop) -> Project:
    """A repository with v1 to v3 and two more branches."""
    return Project(workshop.copy(workshop.base), differential=False)


@pytest.mark.parametrize("place", ["record.db", "models/.", "devml/."])
def test_full_disk_is_said_of_the_file_that_could_not_be_written(
    machine: Machine, ground: Project, place: str
) -> None:
    ground.write("models/a.pt", "retrained")
    ran = full_disk_at(machine, ground, place)
    assert ran.hit
    assert ran.status != 0
    assert "devml-git: error: " in ran.err
    assert re.search(r"no space left|database or disk is full", ran.err)
    assert "internal error" not in ran.err
    ground.git("commit", "-qam", "x", "--allow-empty")
    assert ground.in_step()


def test_disk_error_at_opening_the_record_does_not_cost_the_record(
    machine: Machine, ground: Project
) -> None:
    ran = machine.run(
        ("devml-git", "snapshot"), ground.path, "fail", at=1, error=errno.EIO, lasting=True,
        kinds=["open", "openat", "pread64"], match="record.db",
    )  # fmt: skip
    assert ran.status == 21
    assert "record.db: unable to open database file" in ran.err
    assert ground.in_step()
    assert not (ground.path / ".git/devml/record.broken").exists()


def test_repository_that_cannot_be_read_just_now_does_not_let_the_commit_through(
    machine: Machine, ground: Project
) -> None:
    ground.write("models/a.pt", "retrained")
    ran = machine.run(
        ("git", "commit", "-qm", "x", "--allow-empty"), ground.path, "fail", at=1,
        error=errno.EMFILE, kinds=["open", "openat"], match="rev-parse",
    )  # fmt: skip
    assert ran.hit.endswith("/.git/HEAD")
    assert ran.status == 1
    assert "devml-git: error: " in ran.err
    assert ground.head() == ground.head("v3")


def test_pointer_that_git_could_not_take_away_is_told(machine: Machine, ground: Project) -> None:
    ran = machine.run(
        ("devml-git", "checkout", "v1"), ground.path, "fail", at=1, error=errno.EIO,
        kinds=["unlink", "unlinkat"], match="data.dvc",
    )  # fmt: skip
    assert "unable to unlink old 'data.dvc'" in ran.err


def test_pointer_that_cannot_be_read_after_a_checkout_is_told(
    machine: Machine, workshop: Workshop, ground: Project
) -> None:
    unread = 0
    for at in range(1, 9):
        one = Project(workshop.copy(ground.path), differential=False)
        ran = machine.run(
            ("git", "checkout", "-q", "v1"), one.path, "fail", at=at, error=errno.EIO,
            kinds=["open", "openat"], match="/data.dvc",
        )  # fmt: skip
        if not ran.hit:
            break
        unread += "data.dvc (cannot be read: Input/output error)" in ran.err
        assert one.in_step() or "data.dvc" in ran.err, ran.hit
    assert unread


def test_rescue_restore_killed_at_its_record_finishes_when_run_again(
    machine: Machine, workshop: Workshop, ground: Project
) -> None:
    ground.write("models/a.pt", "never snapshotted")
    ground.devml("checkout", "--force")
    (rescue,) = ground.devml("rescue", "list", "--json").json["rescues"]
    again = ("devml-git", "rescue", "restore", rescue["id"])
    for at in range(1, 9):
        one = Project(workshop.copy(ground.path), differential=False)
        ran = machine.run(
            again, one.path, "kill", at=at, kinds=["openat"], match="record.db-journal"
        )
        one.devml(*again[1:])
        assert one.states()["models/a.pt"] == "modified", ran.hit
        if not ran.hit:
            break
    assert at > 1


def test_rescue_restore_says_why_it_could_not_write(machine: Machine, ground: Project) -> None:
    ground.write("models/a.pt", "never snapshotted")
    ground.devml("checkout", "--force")
    (rescue,) = ground.devml("rescue", "list", "--json").json["rescues"]
    ran = machine.run(
        ("devml-git", "rescue", "restore", rescue["id"]), ground.path, "fail", at=1,
        error=errno.EROFS, kinds=["rename", "renameat"], match="models/a.pt",
    )  # fmt: skip
    assert ran.status == 21
    assert "models/a.pt: read-only file system" in ran.err


def test_merge_driver_says_why_it_could_not_merge(machine: Machine, ground: Project) -> None:
    ran = machine.run(
        ("git", "merge", "-q", "side", "-m", "m"), ground.path, "fail", at=1, error=errno.EMFILE,
        lasting=True, kinds=["open", "openat"], match="mergedriver",
    )  # fmt: skip
    assert ran.status == 1
    assert "too many open files" in ran.err.lower()
    assert "internal error" not in ran.err

"""Many at once on one cache: correct, or a clear refusal within seconds; no lock is ever stale.

What each campaign does is in `crowd.py`. Below it: what two processes do to each other, one promise
at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from devml_git import index
from devml_git.plumbing import Git
from tests.durability.crowd import PATIENCE, Order
from tests.durability.trial import Machine, Workshop
from tests.world import Project, run

LONG_SECONDS = 150  # each of two


def crowd(workshop: Workshop, place: Path, **wanted: Any) -> str:
    order = Order(base=str(workshop.base), place=str(place / "crowd"), **wanted)
    done = subprocess.run(
        [sys.executable, "-m", "tests.durability.crowd", json.dumps(asdict(order))],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["violations"] == [], "\n\n".join([f"{order}", *report["violations"][:5]])
    return (
        f"{order.crowd} at once in {order.places} {order.kind}: {report['done']} processes, "
        f"{report['killed']} killed, {report['refused']} refused in words; longest "
        f"{report['longest']:.1f} s of {PATIENCE}; locks of killed gits cleared by hand "
        f"{report['locks']}; seed {order.seed}"
    )


each_kind = pytest.mark.parametrize("kind", ["worktrees", "clones"])


@each_kind
def test_eight_processes_at_once_on_one_cache(
    kind: str, workshop: Workshop, tmp_path: Path, seed: int, record_property: Any
) -> None:
    text = crowd(workshop, tmp_path, kind=kind, seed=seed, places=2, operations=24, deadly=0.25)
    record_property("campaign", text)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("places", [2, 8])
@each_kind
def test_eight_processes_at_once_for_minutes(
    kind: str, places: int, workshop: Workshop, tmp_path: Path, seed: int, record_property: Any
) -> None:
    text = crowd(
        workshop, tmp_path, kind=kind, seed=seed + 1, places=places, seconds=LONG_SECONDS / 2
    )
    record_property("campaign", text)


# -- two processes -------------------------------------------------------------------------------


@pytest.fixture
def ground(workshop: Workshop) -> Project:
    return Project(workshop.copy(workshop.base), differential=False)


@contextmanager
def beside(*argv: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run another process; it has ended, and said why if it failed, when this is left."""
    with subprocess.Popen(
        argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as other:
        yield other
        said = other.communicate(timeout=PATIENCE)[0]
    assert other.returncode == 0, said


def devml_beside(*args: str, cwd: Path) -> Any:
    return beside(sys.executable, "-m", "devml_git", *args, cwd=cwd)


def test_two_commits_in_two_worktrees_at_once(ground: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other", differential=False)
    ground.git("worktree", "add", "-q", "-b", "other", str(other.path), "v3")
    for p, text in ((ground, "here"), (other, "there")):
        p.write("models/a.pt", text)
        p.write("data/x.csv", text)
        p.write("train.py", text)
    with beside("git", "commit", "-qam", "there", cwd=other.path):
        ground.git("commit", "-qam", "here")
    for p, text in ((ground, "here"), (other, "there")):
        assert p.in_step()
        assert p.porcelain() == ""
        assert p.head("HEAD~1") == p.head("v3")
        assert p.read("models/a.pt") == text
    assert ground.object("models/a.pt.dvc").read_text() == "here"


def test_commit_while_dvc_pushes(ground: Project, tmp_path: Path) -> None:
    ground.dvc("remote", "add", "-q", "--local", "-d", "r", str(tmp_path / "remote"))
    with beside(sys.executable, "-m", "dvc", "push", "-q", cwd=ground.path):
        ground.write("models/a.pt", "while it pushes")
        ground.git("commit", "-qam", "x", "--allow-empty")
    assert ground.in_step()
    ground.dvc("push", "-q")
    assert (tmp_path / "remote/files/md5").joinpath(
        *ground.object("models/a.pt.dvc").parts[-2:]
    ).read_text() == "while it pushes"


def test_lock_of_git_that_goes_away_is_waited_for(ground: Project) -> None:
    ground.write("models/a.pt", "x")
    lock = ground.path / ".git/index.lock"
    lock.touch()
    with devml_beside("snapshot", cwd=ground.path) as other:
        while "x" not in {o.read_text() for o in ground.objects().values()}:
            assert other.poll() is None
            time.sleep(0.02)
        time.sleep(0.3)  # the index comes next
        lock.unlink()
    assert ground.porcelain() == "M  models/a.pt.dvc\n"


def test_lock_of_git_that_stays_is_never_removed_and_named_within_seconds(
    ground: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert index.PATIENCE < 5
    monkeypatch.setattr(index, "PATIENCE", 0.3)
    ground.write("models/a.pt", "x")
    lock = ground.path / ".git/index.lock"
    lock.touch()
    ran = ground.devml("snapshot", check=False)
    assert ran.status == 20
    assert "error: another git is at work in this worktree, it holds index.lock" in ran.err
    assert f"rm {lock}" in ran.err
    ground.write("train.py", "an edit")
    ran = ground.devml("checkout", "--force", "v1", check=False)
    assert ran.status == 20
    assert f"rm {lock}" in ran.err
    assert ground.read("train.py") == "an edit"
    assert lock.exists()
    lock.unlink()
    ground.devml("snapshot")
    assert ground.in_step()


def test_lock_of_ours_whose_holder_was_killed_is_cleared(
    machine: Machine, workshop: Workshop, ground: Project
) -> None:
    ground.write("models/a.pt", "x")
    ran = machine.run(
        ("devml-git", "snapshot"), ground.path, "kill", at=1, kinds=["rename", "renameat"],
        match=".git/index",
    )  # fmt: skip
    lock = ground.path / ".git/index.lock"
    assert ran.hit
    assert lock.read_bytes() == index._MARK
    assert "index.lock" in ground.git("add", "train.py", check=False).err
    for clears in (["checkout", "--force", "v1"], ["snapshot"]):
        one = Project(workshop.copy(ground.path), differential=False)
        one.devml(*clears)
        assert one.git("commit", "-qm", "x", "--allow-empty").status == 0
        assert one.in_step()
    Git(ground.path).stage(["models/a.pt.dvc"])
    assert not lock.exists()


def test_lock_of_ours_whose_holder_lives_is_respected(ground: Project, monkeypatch: Any) -> None:
    monkeypatch.setattr(index, "PATIENCE", 0.2)
    place = ground.path / ".git/index"
    with index._locked(place, time.monotonic()):
        assert not index.clear_dead(index.lock_of(place))
        ground.write("models/a.pt", "x")
        ran = ground.devml("snapshot", check=False)
        assert ran.status == 20
        assert "index.lock" in ran.err
    assert not index.lock_of(place).exists()
    ground.devml("snapshot")
    assert list(place.parent.glob(".*.tmp*")) == []


def test_index_that_git_writes_meanwhile_keeps_what_git_wrote(ground: Project) -> None:
    ground.write("new.py", "1")
    ground.write("train.py", "2")
    git, turns = Git(ground.path), []

    def edit(aside: Path) -> None:
        if not turns:
            run("git", "add", "new.py", cwd=ground.path)
        turns.append(aside)
        git.raw("update-index", "train.py", env={"GIT_INDEX_FILE": str(aside)})

    index.change(git.index, edit)
    assert len(turns) == 2
    assert ground.porcelain().splitlines() == ["A  new.py", "M  train.py"]


def test_status_beside_a_hook_does_not_take_its_patterns(ground: Project) -> None:
    git = Git(ground.path)
    with git._pattern_file(["train.py"]) as one, git._pattern_file(["nothing"]) as two:
        assert one != two
        assert one.read_text() == "train.py\n"
    assert not one.exists()


# -- DVC's locks ---------------------------------------------------------------------------------


def writes_lock(p: Project, pid: int) -> Path:
    """Let DVC's table of who writes what name a process for models/a.pt."""
    entry = {str(p.path / "models/a.pt"): {"pid": pid, "cmd": "dvc repro"}}
    return p.write(".dvc/tmp/rwlock", json.dumps({"read": {}, "write": entry}))


def test_what_a_dvc_command_writes_is_left_to_it(ground: Project) -> None:
    writes_lock(ground, os.getpid())
    ground.git("checkout", "-q", "v1")
    assert ground.read("models/a.pt") == "weights 3\n" * 50
    assert ground.read("data/x.csv") == "x,1\n"
    ran = ground.devml("checkout", check=False)
    assert ran.status == 21
    assert "models/a.pt (a DVC command is writing it)" in ran.out
    ground.write("models/a.pt", "by dvc")
    assert "left out, a DVC command is writing it: models/a.pt" in ground.devml("snapshot").out


@pytest.mark.parametrize("how", ["dead", "its number is another's", "torn"])
def test_stale_lock_of_dvc_holds_nobody_up(ground: Project, how: str) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    lock = writes_lock(ground, gone.pid if how == "dead" else os.getpid())
    if how == "torn":
        lock.write_text("")
    else:
        os.utime(lock, (1_000_000_000, 1_000_000_000))
    ground.git("checkout", "-q", "v1")
    assert ground.in_step()
    ground.write("models/a.pt", "x")
    ground.git("commit", "-qam", "x", "--allow-empty")
    assert ground.in_step()


# -- setting up ----------------------------------------------------------------------------------


@contextmanager
def flocked(place: Path) -> Iterator[None]:
    fd = os.open(place, os.O_RDONLY if place.is_dir() else os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield
    os.close(fd)


@pytest.mark.parametrize(
    ("command", "lock"), [("hooks install", ".git/hooks"), ("init", ".git/devml/lock-setup")]
)
def test_setting_up_waits_for_another_that_sets_up(
    ground: Project, command: str, lock: str
) -> None:
    ground.devml("hooks", "uninstall")
    mine = ground.write(".git/hooks/pre-commit", "#!/bin/sh\nexit 0\n")
    with flocked(ground.path / lock):
        other = subprocess.Popen(
            [sys.executable, "-m", "devml_git", *command.split()], cwd=ground.path,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(1)
        assert other.poll() is None
        assert mine.read_text() == "#!/bin/sh\nexit 0\n"
        assert not (ground.path / ".git/hooks/post-merge").exists()
    assert other.wait(PATIENCE) == 0
    assert (ground.path / ".git/hooks/pre-commit.before-devml").read_text() == "#!/bin/sh\nexit 0\n"


def all_at_once(actions: int, argv: Callable[[int], tuple[str, ...]], place: Path) -> list[str]:
    """Start processes together; return what those said that failed."""
    started = [
        subprocess.Popen(argv(n), cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for n in range(actions)
    ]  # fmt: skip
    said = [p.communicate(timeout=PATIENCE)[0] for p in started]
    return [text for p, text in zip(started, said, strict=True) if p.returncode]


def test_configuration_that_git_writes_just_now_is_waited_for(ground: Project) -> None:
    lock = ground.path / ".git/config.lock"
    lock.touch()
    threading.Timer(0.3, lock.unlink).start()
    Git(ground.path).set_config("devml.some", "value")
    assert ground.git("config", "devml.some").out == "value\n"


def test_first_init_four_times_at_once_is_one_init(tmp_path: Path) -> None:
    run("git", "init", "-q", cwd=tmp_path)
    p = Project(tmp_path, differential=False)
    p.write(".git/hooks/pre-commit", "#!/bin/sh\nexit 0\n").chmod(0o755)
    words = (sys.executable, "-m", "devml_git", "init", "--track")
    assert all_at_once(4, lambda n: (*words, f"m{n}/**"), tmp_path) == []
    assert (tmp_path / ".git/hooks/pre-commit.before-devml").read_text() == "#!/bin/sh\nexit 0\n"
    assert {h["state"] for h in p.devml("hooks", "status", "--json").json["hooks"]} == {"ours"}
    exclude, rules = p.read(".git/info/exclude").splitlines(), p.read("devml.toml")
    for n in range(4):
        assert exclude.count(f"m{n}/**") == 1
        assert f'"m{n}/**"' in rules
    p.commit("set up")
    assert p.devml("doctor").status == 0

"""Promise P7: with nothing to do no interpreter starts; with anything to do, one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.world import Project, next_second, run


@pytest.fixture
def counted(models: Project, tmp_path: Path) -> Project:
    """A project at rest, whose hooks start a Python that leaves a line in `started`."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\necho "$7" >> {tmp_path}/started\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    models.git("config", "devml.python", str(wrapper))
    models.differential = False
    settle(models)
    started(models)
    return models


def settle(project: Project) -> None:
    """Wait until git can tell the files' second from a later one, and let the hooks see that."""
    next_second()
    project.git("commit", "-q", "--allow-empty", "-m", "settle")


def started(project: Project) -> list[str]:
    """Return the events Python was started for since the last call."""
    place = project.path.parent / "started"
    lines = place.read_text().split() if place.exists() else []
    place.unlink(missing_ok=True)
    return lines


def test_code_only_commit_starts_no_python(counted: Project) -> None:
    counted.write("train.py", "changed")
    counted.git("commit", "-qam", "code")
    counted.write("train.py", "again")
    counted.git("commit", "-qm", "code", "--", "train.py")
    counted.git("commit", "-q", "--amend", "-m", "code")
    assert started(counted) == []


def test_branching_status_and_add_start_no_python(counted: Project) -> None:
    counted.write("train.py", "changed")
    counted.git("add", "-A")
    counted.git("status")
    counted.git("checkout", "-q", "-b", "other")
    counted.git("commit", "-qam", "code of another branch")
    counted.git("checkout", "-q", "main")
    counted.git("checkout", "-q", "other", "--", "train.py")
    counted.git("reset", "-q", "--hard")
    counted.git("merge", "-q", "--ff-only", "other")
    assert started(counted) == []


CHANGES = {
    "edited model": lambda p: p.write("models/a.pt", "edited"),
    "deleted model": lambda p: (p.path / "models/a.pt").unlink(),
    "new match of a rule": lambda p: p.write("models/deep/new.pt", "new"),
    "new member": lambda p: p.write("data/sub/new.csv", "new"),
    "deleted member": lambda p: (p.path / "data/x.csv").unlink(),
    "chmod of a member": lambda p: (p.path / "data/x.csv").chmod(0o755),
    "pointer rewritten": lambda p: p.write("models/a.pt.dvc", p.read("models/a.pt.dvc") + "# x\n"),
    "rules changed": lambda p: p.write("devml.toml", p.read("devml.toml") + "# x\n"),
    "private settings gone": lambda p: (p.path / ".dvc/config.local").unlink(),
    "dvcignore changed": lambda p: p.write(".dvcignore", "*.tmp\n"),
    "pointer removed from the index": lambda p: run("git", "rm", "-q", "--cached", "models/a.pt.dvc", cwd=p.path),
    "pointer not added": lambda p: p.write("new/x.dvc", p.read("models/a.pt.dvc")),
    "content staged": lambda p: run("git", "add", "-f", "models/a.pt", cwd=p.path),
    "same size and mtime": lambda p: same_size_and_mtime(p),
}  # fmt: skip


def same_size_and_mtime(project: Project) -> None:
    place = project.path / "models/a.pt"
    before = place.stat()
    place.write_bytes(b"x" * before.st_size)
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("what", CHANGES)
def test_any_change_that_concerns_us_starts_python(counted: Project, what: str) -> None:
    CHANGES[what](counted)
    counted.git("commit", "-q", "--allow-empty", "-m", "x", check=False)
    assert "pre-commit" in started(counted)


@pytest.mark.parametrize("rule", ["later/", "runs/*/", "checkpoints-*/", "sets/"])
def test_first_file_of_a_directory_that_a_rule_names_starts_python(
    counted: Project, rule: str
) -> None:
    counted.devml("track", rule)
    counted.commit("rule")
    settle(counted)
    started(counted)
    counted.git("commit", "-q", "--allow-empty", "-m", "nothing")
    assert started(counted) == []
    path = rule.replace("*", "x").strip("/")
    counted.write(f"{path}/first", "first")
    counted.git("commit", "-q", "--allow-empty", "-m", "first")
    assert counted.states()[path] == "clean"


def test_first_file_of_an_empty_directory_starts_python(counted: Project) -> None:
    counted.devml("track", "sets/")
    (counted.path / "sets").mkdir()
    counted.commit("rule")
    settle(counted)
    counted.write("sets/first", "first")
    counted.git("commit", "-q", "--allow-empty", "-m", "first")
    assert counted.states()["sets"] == "clean"


def test_large_staged_file_starts_python(counted: Project) -> None:
    counted.write("big", bytes(10_000_001))
    counted.git("add", "big")
    assert counted.git("commit", "-qm", "big", check=False).status != 0
    assert "pre-commit" in started(counted)


def test_git_file_in_a_tracked_place_does_not_cost_anything(counted: Project) -> None:
    counted.write("models/README.md", "about")
    counted.commit("readme")
    settle(counted)
    started(counted)
    counted.git("commit", "-q", "--allow-empty", "-m", "x")
    assert started(counted) == []


def test_same_size_edits_within_the_second_of_a_commit_are_never_missed(project: Project) -> None:
    project.differential = False
    for n in range(20):
        project.write("models/a.pt", f"{n:04}")
        project.git("add", "-A")
        project.git("commit", "-q", "--allow-empty", "-m", str(n))
        assert project.object("models/a.pt.dvc").read_text() == f"{n:04}"


def test_mid_rebase_picks_start_no_library(counted: Project) -> None:
    counted.git("checkout", "-q", "-b", "topic", "v2")
    for n in range(3):
        counted.write(f"t{n}.py", "1")
        counted.commit(f"t{n}")
    settle(counted)
    started(counted)
    counted.git("rebase", "-q", "main")
    assert "post-commit" not in started(counted)
    assert counted.in_step()


def test_hook_that_finds_nothing_to_do_imports_nothing_heavy(counted: Project) -> None:
    """A touched file starts Python; that nothing was written is found without the big libraries."""
    os.utime(counted.path / "models/a.pt")
    profiled = counted.path.parent / "python"  # which heeds no PYTHONPROFILEIMPORTTIME
    profiled.write_text(f'#!/bin/sh\nexec {sys.executable} -X importtime "$@"\n')
    ran = counted.git("commit", "-q", "--allow-empty", "-m", "touched")
    lines = [line for line in ran.err.splitlines() if line.startswith("import time:")]
    imported = {line.split("|")[-1].strip().split(".")[0] for line in lines}
    assert "devml_git" in imported
    assert imported & {"typer", "rich", "dvc", "git", "ruamel", "yaml", "asyncio"} == set()


def test_s14_hook_called_by_ourselves_leaves_at_once(models: Project) -> None:
    models.write("models/a.pt", "edited")
    ran = models.git("commit", "-q", "--allow-empty", "-m", "x", env={"DEVML_GIT_ACTIVE": "1"})
    assert ran.err == ""


@pytest.fixture(params=["gone", "other venv", "broken"])
def unfit(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A devml.python that has no devml-git: no file, no package, or no library of its own."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    without = str(Path(sys.base_prefix) / "bin" / "python3")
    return {"gone": "/nowhere/python", "other venv": without, "broken": str(broken)}[request.param]


def test_s8_missing_tool_lets_git_go_on_with_one_line_each(
    models: Project, unfit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.git("config", "devml.python", unfit)
    models.differential = False
    models.write("models/a.pt", "edited")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    ran = models.git("commit", "-q", "--allow-empty", "-m", "x")
    lines = ran.err.splitlines()
    assert len(lines) == 2  # pre-commit's and post-commit's
    assert all("devml-git: not found" in line and "devml-git init" in line for line in lines)


def test_s8_falls_back_to_the_command_on_path(models: Project, unfit: str) -> None:
    models.git("config", "devml.python", unfit)
    models.write("models/a.pt", "edited")
    ran = models.git("commit", "-q", "--allow-empty", "-m", "x")
    assert models.in_step()
    assert all(line.startswith("devml-git: ") for line in ran.err.splitlines())


def test_users_own_modules_do_not_shadow_ours(models: Project) -> None:
    for name in ("json.py", "sqlite3.py", "devml_git.py"):
        models.write(name, "raise SystemExit('shadowed')\n")
    models.write("models/a.pt", "edited")
    models.commit("shadow")
    assert models.in_step()


def test_operation_that_dies_half_way_leaves_no_quick_answer(models: Project) -> None:
    """The old answer would call the pointers unmoved, though the workspace has moved on."""
    code = (
        "import os\nfrom devml_git.workspace import Workspace\n"
        "with Workspace.discover() as ws, ws.exclusive('x'): os._exit(137)"
    )
    ready = models.path / ".git/devml/tripwire/ready"
    assert ready.exists()
    subprocess.run([sys.executable, "-c", code], cwd=models.path, check=False)
    assert not ready.exists()

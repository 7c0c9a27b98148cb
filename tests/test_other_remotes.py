"""Content of a commit whose own configuration has no DVC remote, or an old address."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world import Project, devml, run


@pytest.fixture
def late(models: Project, tmp_path: Path) -> Path:
    """A git remote whose v1 to v3 know of no DVC remote; the last commit does, and it has all."""
    models.differential = False
    models.dvc("remote", "add", "-q", "-d", "storage", str(tmp_path / "storage"))
    models.git("commit", "-qam", "a remote")
    run("git", "init", "-q", "--bare", str(tmp_path / "hub"), cwd=tmp_path)
    models.git("remote", "add", "origin", str(tmp_path / "hub"))
    models.git("push", "-q", "--tags", "origin", "main")
    return tmp_path / "hub"


def clone(hub: Path, *args: str) -> Project:
    ran = devml("clone", *args, str(hub), str(hub.parent / "clone"), cwd=hub.parent)
    assert ran.status == 0, ran.err
    return Project(hub.parent / "clone", differential=False)


MODEL = {f"v{n}": f"weights {n}\n" * 50 for n in (1, 2)}


@pytest.mark.parametrize(
    "command", ["git checkout -q v1", "git switch -qd v1", "devml-git checkout v1",
                "git checkout -q v2; git checkout -q v1"],
)  # fmt: skip
def test_old_commit_is_brought_from_the_remote_that_was_named_later(
    late: Path, models: Project, command: str
) -> None:
    project = clone(late)
    run("sh", "-c", command, cwd=project.path)
    assert project.read("models/a.pt") == MODEL["v1"]
    assert "all in step" in project.devml("status").out


def test_clone_of_an_old_tag_brings_its_content(late: Path, models: Project) -> None:
    project = clone(late, "-b", "v1")
    assert project.read("models/a.pt") == MODEL["v1"]


def test_worktree_of_an_old_commit_has_its_content(late: Path, models: Project) -> None:
    project = clone(late)
    run("git", "worktree", "add", "-q", "../old", "v2", cwd=project.path)
    old = Project(project.path.parent / "old", differential=False)
    assert old.read("models/a.pt") == MODEL["v2"]


def test_old_address_is_no_dead_end(late: Path, models: Project, tmp_path: Path) -> None:
    (tmp_path / "storage").rename(tmp_path / "moved")
    models.dvc("remote", "modify", "-q", "storage", "url", str(tmp_path / "moved"))
    models.git("commit", "-qam", "moved")
    models.git("push", "-q", "origin", "main")
    project = clone(late)
    project.git("checkout", "-q", "main~1")
    project.devml("checkout", "v2")
    assert project.read("models/a.pt") == MODEL["v2"]
    project.git("checkout", "-q", "main~1")
    assert "all in step" in project.devml("status").out


def test_remote_that_only_another_branch_names_is_not_asked(late: Path, tmp_path: Path) -> None:
    """What was not accepted here, and is not the default branch's, is nobody's word."""
    project = clone(late, "--no-content")
    run("git", "clone", "-q", str(late), str(tmp_path / "other"), cwd=tmp_path)
    other = Project(tmp_path / "other", differential=False)
    run("git", "checkout", "-qb", "evil", cwd=other.path)
    other.dvc("remote", "modify", "-q", "storage", "url", str(tmp_path / "evil"))
    run("git", "commit", "-qam", "evil", cwd=other.path)
    run("git", "push", "-q", "origin", "evil", cwd=other.path)
    (tmp_path / "storage").rename(tmp_path / "evil")
    run("git", "fetch", "-q", cwd=project.path)
    ran = project.devml("checkout", "v1", check=False)
    assert ran.status
    assert not project.exists("models/a.pt")
    assert str(tmp_path / "evil") not in ran.out + ran.err


def test_default_branch_of_a_fork_is_no_word_of_the_repositorys(late: Path, tmp_path: Path) -> None:
    """Fetched to look at it: nobody is to be asked for content because of that."""
    project = clone(late, "--no-content", "-b", "v1")
    run("git", "remote", "rename", "origin", "fork", cwd=project.path)
    run("git", "remote", "set-head", "fork", "main", cwd=project.path)
    (project.path / ".git/devml/trust.json").unlink(missing_ok=True)
    ran = project.devml("checkout", check=False)
    assert ran.status
    assert not project.exists("models/a.pt")
    assert str(tmp_path / "storage") not in ran.out + ran.err


def test_notes_on_remotes_that_cannot_be_written_stop_nothing(late: Path) -> None:
    project = clone(late)
    (project.path / ".git/devml/published.db").unlink(missing_ok=True)
    (project.path / ".git/devml/published.db").mkdir()
    assert project.devml("verify", "--remote").status == 0
    assert project.devml("fetch", "--all").status == 0

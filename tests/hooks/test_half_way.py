"""Rebases, cherry-picks and ams that stand half-way: left alone, but for where the user's code runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import Project


@pytest.fixture
def topic(models: Project) -> Project:
    """On branch `topic`, from v1: three commits, each with a model and a code file of its own."""
    models.git("checkout", "-q", "-b", "topic", "v1")
    for n in (1, 2, 3):
        models.write("models/t.pt", f"topic {n}")
        models.write(f"t{n}.py", "1")
        models.commit(f"topic {n}")
    return models


def editor(project: Project, script: str) -> dict[str, str]:
    """A GIT_SEQUENCE_EDITOR that runs a sed script on the todo list."""
    return {"GIT_SEQUENCE_EDITOR": f"sed -i -e '{script}'"}


def test_r12_exec_sees_the_models_of_the_commit_it_runs_on(topic: Project, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    topic.git("rebase", "-q", "--exec", f"cat models/t.pt >>{seen}; echo >>{seen}", "main")
    assert seen.read_text() == "topic 1\ntopic 2\ntopic 3\n"
    assert topic.in_step()
    assert topic.read("models/a.pt").startswith("weights 3")


@pytest.mark.parametrize("ff", [True, False])
def test_r12_edit_stop_has_its_model_and_an_amended_model_is_in_the_commit(
    topic: Project, *, ff: bool
) -> None:
    onto = "HEAD~3" if ff else "main"
    topic.git("rebase", "-q", "-i", onto, env=editor(topic, "2s/^pick/edit/"))
    assert topic.read("models/t.pt") == "topic 2"
    topic.write("models/other.pt", "made at the stop")
    topic.git("commit", "-q", "--amend", "--no-edit", "--allow-empty")
    topic.git("rebase", "--continue")
    assert topic.read("models/t.pt") == "topic 3"
    assert topic.read("models/other.pt") == "made at the stop"
    assert "other.pt" in topic.show("HEAD~1", "models/other.pt.dvc")
    assert topic.in_step()


def test_r12_break_stop_has_its_model(topic: Project) -> None:
    topic.git("rebase", "-q", "-i", "main", env=editor(topic, "1a break"))
    assert topic.read("models/t.pt") == "topic 1"
    assert topic.read("models/a.pt").startswith("weights 3")
    topic.git("rebase", "--continue")
    assert topic.read("models/t.pt") == "topic 3"


@pytest.mark.parametrize("backend", ["--merge", "--apply"])
@pytest.mark.parametrize("end", ["--continue", "--skip", "--abort"])
def test_r12_conflict_stop_is_shown_by_status_and_every_way_out_ends_in_step(
    topic: Project, backend: str, end: str
) -> None:
    topic.write("train.py", "topic's own")
    topic.write("models/t.pt", "topic 4")
    topic.commit("topic 4")
    topic.differential = False  # half-way, DVC and we judge other pointers
    ran = topic.git("rebase", "-q", backend, "main", check=False)
    assert ran.status
    assert "until the rebase ends" in topic.devml("status").out
    if end == "--continue":
        topic.write("train.py", "settled")
        topic.git("add", "train.py")
    topic.differential = True
    topic.git("rebase", end)
    wanted = {"--continue": "topic 4", "--skip": "topic 3", "--abort": "topic 4"}[end]
    assert topic.read("models/t.pt") == wanted
    weights = "weights 1" if end == "--abort" else "weights 3"
    assert topic.read("models/a.pt").startswith(weights)
    assert topic.in_step()


def test_r12_content_is_not_copied_once_per_pick(topic: Project) -> None:
    ran = topic.git("rebase", "main")
    assert ran.err.count("devml-git: restored") == 1


def test_r13_many_picks_bring_content_once_at_the_end(topic: Project) -> None:
    topic.git("checkout", "-q", "main")
    ran = topic.git("cherry-pick", "topic~3..topic")
    assert topic.read("models/t.pt") == "topic 3"
    assert ran.err.count("devml-git: restored") == 1
    assert topic.in_step()
    ran = topic.git("revert", "--no-edit", "HEAD~3..HEAD")
    assert not topic.exists("models/t.pt")
    assert ran.err.count("devml-git:") == 1
    topic.git("cherry-pick", "-n", "topic~3..topic")
    assert topic.read("models/t.pt") == "topic 3"


@pytest.mark.parametrize("end", ["--continue", "--skip", "--abort"])
def test_r13_pick_that_stops_at_a_conflict_is_in_step_there_and_after(
    topic: Project, end: str
) -> None:
    topic.write("train.py", "topic's own")
    topic.write("models/t.pt", "topic 4")
    topic.commit("topic 4")
    topic.write("models/t.pt", "topic 5")
    topic.commit("topic 5")
    topic.git("checkout", "-q", "main")
    topic.git("cherry-pick", "topic~5..topic", check=False)
    assert topic.read("models/t.pt") == "topic 4"
    topic.write("train.py", "settled")
    if end == "--continue":
        topic.git("add", "train.py")
    topic.git("cherry-pick", end, check=end != "--skip")
    if end == "--abort":
        assert not topic.exists("models/t.pt")
    elif end == "--continue":
        assert topic.read("models/t.pt") == "topic 5"
    assert topic.in_step() or end == "--skip"


def test_r9_merge_that_stops_at_a_conflict_is_in_step_there(topic: Project) -> None:
    topic.write("train.py", "topic's own")
    topic.commit("topic 4")
    topic.git("checkout", "-q", "main")
    topic.git("merge", "topic", check=False)
    assert topic.read("models/t.pt") == "topic 3"
    topic.git("merge", "--abort")
    assert not topic.exists("models/t.pt")
    assert topic.in_step()


def test_partial_commit_at_an_edit_stop_leaves_a_clean_index(topic: Project) -> None:
    topic.git("rebase", "-q", "-i", "HEAD~2", env=editor(topic, "1s/^pick/edit/"))
    topic.write("models/t.pt", "made at the stop")
    topic.write("t1.py", "2")
    topic.git("commit", "-qm", "partial", "--", "t1.py")
    assert "MM" not in topic.porcelain()
    assert os.path.isdir(topic.path / ".git/rebase-merge")
    topic.git("rebase", "--abort")
    assert topic.read("models/t.pt") == "topic 3"


def test_post_commit_rests_in_a_rebase_of_plain_picks_and_wakes(topic: Project) -> None:
    hooks = topic.path / ".git/hooks"
    topic.write("train.py", "topic's own")
    topic.commit("topic 4")
    topic.git("rebase", "-q", "main", check=False)
    assert (hooks / "post-commit.resting").exists()
    assert not (hooks / "post-commit").exists()
    ran = topic.devml("hooks", "status", "--json")
    assert {h["state"] for h in ran.json["hooks"]} == {"ours"}
    topic.git("rebase", "--abort")
    assert not (hooks / "post-commit.resting").exists()
    assert (hooks / "post-commit").exists()


def test_resting_hook_is_uninstalled_too(topic: Project) -> None:
    hooks = topic.path / ".git/hooks"
    (hooks / "post-commit").rename(hooks / "post-commit.resting")
    topic.devml("hooks", "uninstall")
    assert not [h for h in hooks.iterdir() if h.name.startswith("post-commit")]

"""Promise P2: whatever git does to the worktree, the models follow, or the edit stays, or is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.world import Project, run

if TYPE_CHECKING:
    from pathlib import Path


def model(project: Project) -> str:
    return project.read("models/a.pt").split("\n")[0]


def other_branch(project: Project) -> None:
    """Make a branch `side` from v2, with a model and a data file of its own, and go back."""
    project.git("checkout", "-q", "-b", "side", "v2")
    project.write("models/b.pt", "side")
    project.write("side.py", "1")
    project.commit("side")
    project.git("checkout", "-q", "main")


@pytest.mark.parametrize(
    "verb", [["checkout", "-q"], ["checkout", "-q", "--detach"], ["switch", "-q", "--detach"]]
)
def test_r1_checkout_and_switch_bring_the_model(models: Project, verb: list[str]) -> None:
    models.git(*verb, "v1")
    assert model(models) == "weights 1"
    assert set(models.listing("data")) == {"x.csv", "part1.csv"}
    models.git("checkout", "-q", "-")
    assert model(models) == "weights 3"
    assert models.in_step()


def test_r1_new_branch_and_reset_branch(models: Project) -> None:
    models.git("checkout", "-q", "-B", "again", "v2")
    assert model(models) == "weights 2"
    models.git("switch", "-q", "-c", "more", "v1")
    assert model(models) == "weights 1"


def test_r2_checkout_of_the_same_commit_says_nothing(models: Project) -> None:
    assert models.git("checkout", "-q", "-b", "same").err == ""


def test_path_checkout_of_a_pointer_brings_its_content(models: Project) -> None:
    models.git("checkout", "v1", "--", "models/a.pt.dvc")
    assert model(models) == "weights 1"
    models.git("restore", "--staged", "--worktree", "models/a.pt.dvc")
    assert model(models) == "weights 3"


def test_merge_fast_forward(models: Project) -> None:
    models.git("checkout", "-q", "-b", "old", "v1")
    models.git("merge", "-q", "--ff-only", "main")
    assert model(models) == "weights 3"
    assert models.in_step()
    models.write("train.py", "mine")
    models.git("commit", "-qam", "mine")
    assert models.show("HEAD", "models/a.pt.dvc") == models.show("v3", "models/a.pt.dvc")


@pytest.mark.parametrize("option", ["--no-ff", "--squash", "--no-commit"])
def test_merge_three_way_brings_the_other_sides_model(models: Project, option: str) -> None:
    other_branch(models)
    models.git("merge", "-q", option, "side", "-m", "merge", check=False)
    models.git("commit", "-q", "--allow-empty", "-m", "merged", check=False)
    assert models.read("models/b.pt") == "side"
    assert models.in_step()


def test_merge_abort_takes_the_other_sides_model_away(models: Project) -> None:
    other_branch(models)
    models.git("merge", "-q", "--no-commit", "--no-ff", "side")
    models.git("merge", "--abort")
    assert not models.exists("models/b.pt")
    assert model(models) == "weights 3"
    assert models.in_step()


@pytest.mark.parametrize("how", ["--hard", "--keep", "--merge"])
def test_reset_brings_the_model(models: Project, how: str) -> None:
    models.git("reset", "-q", how, "v1")
    assert model(models) == "weights 1"
    assert models.in_step()


@pytest.mark.parametrize(
    "words",
    ["reset -q --hard", "checkout -q -f", "checkout -q -- models", "restore models", "stash"],
)
def test_model_removed_with_its_pointer_comes_back_with_it(models: Project, words: str) -> None:
    before = model(models)
    models.path.joinpath("models/a.pt").unlink()
    models.path.joinpath("models/a.pt.dvc").unlink()
    models.git(*words.split())
    assert model(models) == before
    assert models.in_step()


def test_reset_mixed_leaves_the_workspace_and_the_next_commit_ties(models: Project) -> None:
    models.git("reset", "-q", "v2")
    assert model(models) == "weights 3"
    models.commit("again")
    assert models.in_step()
    assert models.porcelain() == ""


def test_stash_and_pop_move_the_model(models: Project) -> None:
    models.write("models/a.pt", "stashed")
    models.devml("snapshot")
    models.git("stash", "-q")
    assert model(models) == "weights 3"
    models.git("stash", "pop", "-q")
    assert model(models) == "stashed"


@pytest.mark.parametrize("backend", ["--merge", "--apply"])
def test_rebase_ends_in_step(models: Project, backend: str) -> None:
    models.git("checkout", "-q", "-b", "topic", "v2")
    for n in (1, 2, 3):
        models.write("models/t.pt", f"topic {n}")
        models.write(f"t{n}.py", "1")
        models.commit(f"topic {n}")
    models.git("rebase", "-q", backend, "main")
    assert model(models) == "weights 3"
    assert models.read("models/t.pt") == "topic 3"
    assert models.in_step()


def test_cherry_pick_and_revert_bring_the_model(models: Project) -> None:
    other_branch(models)
    models.git("cherry-pick", "side")
    assert models.read("models/b.pt") == "side"
    models.git("revert", "--no-edit", "HEAD")
    assert not models.exists("models/b.pt")
    models.git("cherry-pick", "-n", "side")
    assert models.read("models/b.pt") == "side"


def test_am_brings_the_models_of_all_patches_once(models: Project) -> None:
    models.git("checkout", "-q", "-b", "old", "v1")
    patches = run("git", "format-patch", "--stdout", "v1..v3", cwd=models.path).out
    models.write("../patches", patches)
    ran = models.git("am", "-q", "../patches")
    assert model(models) == "weights 3"
    assert models.in_step()
    assert ran.err.count("restored data, models/a.pt") == 1


def test_r16_each_step_of_a_bisection_has_its_model(models: Project) -> None:
    models.git("bisect", "start", "main", "v1")
    assert model(models) == "weights 2"
    models.git("bisect", "run", "grep", "-q", "weights 2", "models/a.pt")
    assert models.head("refs/bisect/bad") == models.head("v3")
    models.git("bisect", "reset")
    assert model(models) == "weights 3"
    assert models.in_step()


def test_pull_brings_a_colleagues_model(models: Project, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    models.dvc("remote", "add", "-q", "-d", "store", str(remote))
    models.commit("remote")
    models.dvc("push", "-q")
    run("git", "clone", "-q", str(models.path), "clone", cwd=tmp_path)
    colleague = Project(tmp_path / "clone")
    colleague.devml("init")
    assert model(colleague) == "weights 3"
    models.write("models/a.pt", "newer")
    models.commit("newer")
    models.dvc("push", "-q")
    ran = colleague.git("pull", "-q")
    assert model(colleague) == "newer"
    assert "restored models/a.pt" in ran.err


def test_h6_colleagues_model_is_not_reverted_by_the_next_commit(models: Project) -> None:
    models.git("checkout", "-q", "v2")
    pointer = models.show("v3", "models/a.pt.dvc")
    # as after a pull that ran without hooks: pointer new, model still old
    models.git("-c", "core.hooksPath=/dev/null", "checkout", "-q", "-B", "work", "v3")
    assert model(models) == "weights 2"
    assert models.states()["models/a.pt"] == "stale"
    models.write("train.py", "mine")
    ran = models.git("commit", "-qam", "mine")
    assert models.show("HEAD", "models/a.pt.dvc") == pointer
    assert model(models) == "weights 3"
    assert "brought in step" in ran.err


def test_h6_holds_when_the_record_is_lost(models: Project) -> None:
    models.git("checkout", "-q", "v2")
    models.git("-c", "core.hooksPath=/dev/null", "checkout", "-q", "-B", "work", "v3")
    (models.path / ".git/devml/record.db").write_bytes(b"garbage")
    assert models.states()["models/a.pt"] == "stale"
    models.write("train.py", "mine")
    models.git("commit", "-qam", "mine")
    assert model(models) == "weights 3"


def test_edit_is_carried_along_when_the_pointer_is_the_same(models: Project) -> None:
    models.write("models/a.pt", "my edit")
    models.git("checkout", "-q", "-b", "same")
    models.git("commit", "-q", "--no-verify", "--allow-empty", "-m", "code")
    models.git("checkout", "-q", "main")
    assert model(models) == "my edit"
    assert models.states()["models/a.pt"] == "modified"


def test_r3_edit_that_meets_a_new_pointer_is_rescued(models: Project) -> None:
    models.write("models/a.pt", "my edit")
    models.write("data/x.csv", "mine")
    ran = models.git("checkout", "-q", "v1")
    assert model(models) == "weights 1"
    assert "rescue restore" in ran.err
    rescues = json.loads(models.devml("rescue", "list", "--json").out)["rescues"]
    assert {r["path"] for r in rescues} == {"models/a.pt", "data/x.csv"}
    for r in rescues:
        models.devml("rescue", "restore", r["id"])
    assert model(models) == "my edit"
    assert models.read("data/x.csv") == "mine"


def test_snapshot_that_no_commit_names_is_rescued_before_a_reset_replaces_it(
    models: Project,
) -> None:
    models.write("models/a.pt", "staged only")
    models.devml("snapshot")
    models.git("reset", "-q", "--hard")
    assert model(models) == "weights 3"
    (r,) = json.loads(models.devml("rescue", "list", "--json").out)["rescues"]
    models.devml("rescue", "restore", r["id"], "--to", "models/back.pt")
    assert models.read("models/back.pt") == "staged only"


def test_artifact_of_another_branch_is_taken_away_and_comes_back(models: Project) -> None:
    other_branch(models)
    assert not models.exists("models/b.pt")
    models.git("checkout", "-q", "side")
    assert models.read("models/b.pt") == "side"


def test_edit_of_an_artifact_of_another_branch_is_kept(models: Project) -> None:
    other_branch(models)
    models.git("checkout", "-q", "side")
    models.write("models/b.pt", "my edit")
    models.git("checkout", "-q", "main")
    assert models.read("models/b.pt") == "my edit"
    rescues = json.loads(models.devml("rescue", "list", "--json").out)["rescues"]
    assert [r["path"] for r in rescues] == ["models/b.pt"]


def test_missing_content_is_told_and_no_wrong_model_poses_as_the_right_one(models: Project) -> None:
    place = models.object("models/a.pt.dvc")
    models.git("checkout", "-q", "v1")
    place.unlink()
    ran = models.git("checkout", "-q", "main")
    assert "content is missing: models/a.pt" in ran.err
    assert not models.exists("models/a.pt")
    assert models.states()["models/a.pt"] == "missing"


def test_hook_failure_never_becomes_gits(models: Project) -> None:
    models.write("devml.toml", "nonsense = 1\n")
    models.differential = False
    ran = models.git("checkout", "-q", "-b", "x", "v1", check=False)
    assert (
        "unknown key" in ran.err or ran.status == 1
    )  # git's own refusal: devml.toml would be lost
    models.git("commit", "-qam", "nonsense", "--no-verify")
    assert models.git("checkout", "-q", "-b", "y").status == 0


def test_restore_off_leaves_the_workspace_and_status_says_stale(models: Project) -> None:
    models.write("devml.toml", models.read("devml.toml") + "\n[hooks]\nrestore = false\n")
    models.commit("off")
    models.git("branch", "before", "HEAD~1")
    models.git("checkout", "-q", "-b", "off2")
    models.write("models/a.pt", "four")
    models.commit("four")
    models.git("checkout", "-q", "main")
    assert model(models) == "four"
    assert models.states()["models/a.pt"] == "stale"


def test_h9_linked_worktree_is_populated_and_removing_it_loses_nothing(
    models: Project, tmp_path: Path
) -> None:
    place = tmp_path / "linked"
    models.git("worktree", "add", "-q", str(place), "-b", "linked", "v1")
    linked = Project(place)
    assert model(linked) == "weights 1"
    assert linked.in_step()
    linked.agree()
    linked.write("models/a.pt", "from the worktree")
    linked.git("commit", "-q", "--allow-empty", "-m", "linked")
    models.git("worktree", "remove", str(place))
    models.git("checkout", "-q", "linked")
    assert model(models) == "from the worktree"


def test_r24_clean_of_everything_ignored_leaves_the_cache(models: Project) -> None:
    models.git("clean", "-fdxq")
    assert not models.exists("models/a.pt")
    models.devml("checkout")
    assert model(models) == "weights 3"
    assert models.exists(".dvc/config.local")
    assert models.dvc("status").out.strip() == "Data and pipelines are up to date."


def test_r24_archive_grep_and_blame_work(models: Project) -> None:
    run("git", "archive", "-o", "x.tar", "HEAD", cwd=models.path)
    assert run("git", "grep", "-l", "md5", cwd=models.path).out
    run("git", "blame", "models/a.pt.dvc", cwd=models.path)


def test_s10_branch_from_before_the_project_stays_silent(project: Project) -> None:
    first = run("git", "commit-tree", "-m", "before", "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
                cwd=project.path).out.strip()  # fmt: skip
    project.write("models/a.pt", "one")
    project.commit("one")
    project.differential = False  # opening DVC there would make `.dvc/.gitignore` anew
    project.git("checkout", "-q", first)
    assert not project.exists("models/a.pt")
    project.git("commit", "-q", "--allow-empty", "-m", "nothing here")
    project.git("checkout", "-q", "main")
    assert project.read("models/a.pt") == "one"

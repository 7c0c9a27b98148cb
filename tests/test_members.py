"""A directory artifact is judged member by member: edits and new members both stand (P2, P3)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devml_git.rule import decide_members
from tests.world import Project, run

MANIFESTS = st.dictionaries(st.sampled_from("abcde"), st.sampled_from("123"))
NO_HOOKS = ("-c", "core.hooksPath=/dev/null")


@given(MANIFESTS, MANIFESTS, MANIFESTS)
def test_merged_members_are_the_edit_or_the_pointers_and_only_real_collisions_are_named(
    w: dict[str, str], p: dict[str, str], r: dict[str, str]
) -> None:
    members = decide_members(w, p, r)
    merged = members.merged(w, p)
    for name in "abcde":
        here, pointed, known = w.get(name), p.get(name), r.get(name)
        collides = len({here, pointed, known}) == 3
        assert (name in members.colliding) == collides
        wanted = here if pointed == known else pointed
        assert merged.get(name) == wanted


def rescued(project: Project) -> set[str]:
    listed = json.loads(project.devml("rescue", "list", "--json").out)["rescues"]
    return {r["path"] for r in listed}


def test_edit_of_one_member_and_a_checkout_that_changes_another_both_stand(
    models: Project,
) -> None:
    models.write("data/mine.csv", "mine")
    ran = models.git("checkout", "-q", "v1")
    assert models.listing("data") == {
        "x.csv": b"x,1\n", "part1.csv": b"part 1\n", "mine.csv": b"mine"
    }  # fmt: skip
    assert models.states()["data"] == "modified"
    assert rescued(models) == set()
    assert "restored data" in ran.err
    models.git("checkout", "-q", "main")
    assert models.read("data/x.csv") == "x,3\n"
    assert models.read("data/mine.csv") == "mine"


def test_member_that_collides_is_rescued_alone(models: Project) -> None:
    models.write("data/x.csv", "my edit")
    models.write("data/mine.csv", "mine")
    models.git("checkout", "-q", "v1")
    assert models.read("data/x.csv") == "x,1\n"
    assert models.read("data/mine.csv") == "mine"
    assert rescued(models) == {"data/x.csv"}
    (r,) = json.loads(models.devml("rescue", "list", "--json").out)["rescues"]
    models.devml("rescue", "restore", r["id"])
    assert models.read("data/x.csv") == "my edit"


def test_deleted_member_stays_deleted_where_the_pointer_did_not_change_it(models: Project) -> None:
    (models.path / "data/part1.csv").unlink()
    models.git("checkout", "-q", "v2")
    assert set(models.listing("data")) == {"x.csv", "part2.csv"}
    models.git("checkout", "-q", "-b", "less")
    models.commit("less")
    assert set(models.listing("data")) == {"x.csv", "part2.csv"}
    assert models.in_step()


def test_commit_over_a_stale_directory_keeps_the_edit_and_the_colleagues_member(
    models: Project,
) -> None:
    models.git("checkout", "-q", "v2")
    models.git(*NO_HOOKS, "checkout", "-q", "-B", "work", "v3")
    models.write("data/mine.csv", "mine")
    assert models.states()["data"] == "stale"
    models.write("train.py", "mine")
    models.git("commit", "-qam", "mine")
    assert models.in_step()
    assert models.listing("data") == {
        "x.csv": b"x,3\n", "part1.csv": b"part 1\n", "part2.csv": b"part 2\n",
        "part3.csv": b"part 3\n", "mine.csv": b"mine",
    }  # fmt: skip
    models.git("checkout", "-q", "v3")
    assert not models.exists("data/mine.csv")
    models.git("checkout", "-q", "work")
    assert models.read("data/mine.csv") == "mine"


def test_commit_is_refused_only_for_a_member_that_collides(models: Project) -> None:
    models.git("checkout", "-q", "v2")
    models.git(*NO_HOOKS, "checkout", "-q", "-B", "work", "v3")
    models.write("data/x.csv", "my edit")
    models.write("train.py", "mine")
    ran = models.git("commit", "-qam", "mine", check=False)
    assert ran.status
    assert "data/x.csv" in ran.err
    models.devml("checkout", "--ours", "--", "data")
    assert models.exists("data/part3.csv"), "ours is about what collides"
    models.git("commit", "-qam", "mine")
    assert models.read("data/x.csv") == "my edit"
    assert models.in_step()


def test_theirs_takes_the_colliding_member_and_leaves_the_other_edit(models: Project) -> None:
    models.git("checkout", "-q", "v2")
    models.git(*NO_HOOKS, "checkout", "-q", "-B", "work", "v3")
    models.write("data/x.csv", "my edit")
    models.write("data/mine.csv", "mine")
    models.devml("checkout", "--theirs", "--", "data")
    assert models.read("data/x.csv") == "x,3\n"
    assert models.read("data/mine.csv") == "mine"
    assert rescued(models) == {"data/x.csv"}


@pytest.mark.parametrize("path", ["data/mine.csv", "data/part1.csv"])
def test_devml_checkout_carries_an_edit_that_the_revision_does_not_touch(
    models: Project, path: str
) -> None:
    models.write(path, "mine")
    models.devml("checkout", "v2")
    assert models.read(path) == "mine"
    assert models.read("data/x.csv") == "x,2\n"


def test_devml_checkout_refuses_an_edit_that_the_revision_changes(models: Project) -> None:
    models.write("data/x.csv", "mine")
    assert models.devml("checkout", "v2", check=False).status == 31
    assert models.read("data/x.csv") == "mine"
    models.devml("checkout", "--force", "v2")
    assert models.read("data/x.csv") == "x,2\n"
    assert rescued(models) == {"data"}


def test_directory_without_its_pointer_is_not_taken_up_again_file_by_file(project: Project) -> None:
    project.differential = False
    project.write("models/d/x", "1\n")
    project.dvc("add", "-q", "models/d")
    project.commit("a directory where the rule has files")
    run("git", "rm", "-q", "--cached", "models/d.dvc", cwd=project.path)
    (project.path / "models/d.dvc").unlink()
    assert project.states() == {}
    project.write("models/d/fresh", "not of the directory\n")
    assert project.states() == {"models/d/fresh": "new"}


def test_files_of_an_untracked_directory_stay_untracked(project: Project) -> None:
    project.write("models/d/x", "1\n")
    project.dvc("add", "-q", "models/d")
    project.commit("a directory where the rule has files")
    project.devml("untrack", "models/d")
    project.write("models/d/fresh", "2\n")
    project.commit("nothing of it")
    assert project.states() == {}

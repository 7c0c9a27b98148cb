"""The merge driver under git itself: what merges comes to the workspace, what does not is marked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.world import Project, devml, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.world import Shelf

HOSTILE = ("my data", "it's", 'say "x"', "100%P", "$(touch pwned)", "-rf", "; touch pwned", "a\\b")


@pytest.fixture
def diverged(shelf: Shelf, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """`main` and `side`, from one base: each adds, changes and removes files of data/."""

    def make() -> Project:
        p: Project = request.getfixturevalue("project")
        for name in ("common", "changed-here", "changed-there", "gone-here", "gone-there"):
            p.write(f"data/{name}", f"base {name}")
        p.write("models/a.pt", "base")
        p.commit("base")
        p.git("tag", "base")
        p.git("checkout", "-q", "-b", "side")
        p.write("data/changed-there", "their change")
        p.write("data/sub/new-there", "their new")
        (p.path / "data/gone-there").unlink()
        p.commit("side")
        p.git("checkout", "-q", "main")
        p.write("data/changed-here", "our change")
        p.write("data/new-here", "our new file")
        (p.path / "data/gone-here").unlink()
        p.commit("main")
        return p

    return shelf.copy("diverged", make, tmp_path / "diverged")


UNION = {
    "common": b"base common",
    "changed-here": b"our change",
    "changed-there": b"their change",
    "sub/new-there": b"their new",
    "new-here": b"our new file",
}


def with_two_models(project: Project, *, base: bool = True) -> None:
    """Change models/a.pt on `main` and on `side`, or add it on both."""
    if base:
        project.write("models/a.pt", "base")
    project.commit("base")
    project.git("checkout", "-q", "-b", "side")
    project.write("models/a.pt", "their model")
    project.commit("side")
    project.git("checkout", "-q", "main")
    project.write("models/a.pt", "our own model")
    project.commit("main")


def assert_union(project: Project) -> None:
    assert project.listing("data") == UNION
    size = sum(map(len, UNION.values()))
    assert f"size: {size}\n  nfiles: {len(UNION)}\n" in project.read("data.dvc")
    assert project.in_step()
    assert project.porcelain() == ""


# -- each way git merges -------------------------------------------------------------------------

WAYS: dict[str, list[list[str]]] = {
    "merge": [["merge", "-q", "-m", "m", "side"]],
    "merge into the other": [["checkout", "-q", "side"], ["merge", "-q", "-m", "m", "main"]],
    "merge --squash": [["merge", "-q", "--squash", "side"], ["commit", "-q", "-m", "m"]],
    "rebase": [["rebase", "-q", "side"]],
    "rebase --apply": [["rebase", "-q", "--apply", "side"]],
    "cherry-pick": [["cherry-pick", "side"]],
    "pull": [["pull", "-q", "--no-rebase", "--no-edit", ".", "side"]],
    "pull --rebase": [["pull", "-q", "--rebase", ".", "side"]],
}


@pytest.mark.parametrize("way", WAYS)
def test_directories_that_both_sides_changed_merge_by_member(diverged: Project, way: str) -> None:
    for argv in WAYS[way]:
        diverged.git(*argv)
    assert_union(diverged)


def test_revert_of_an_older_commit_keeps_what_came_since(diverged: Project) -> None:
    diverged.git("merge", "-q", "-m", "m", "side")
    diverged.git("revert", "--no-edit", "-m", "2", "HEAD")  # what main did since the base
    assert set(diverged.listing("data")) == {"common", "changed-here", "changed-there",
                                             "sub/new-there", "gone-here"}  # fmt: skip
    assert diverged.bytes("data/changed-here") == b"base changed-here"
    assert diverged.in_step()


def test_stash_pop_onto_a_branch_that_went_on(diverged: Project) -> None:
    diverged.git("checkout", "-q", "-B", "work", "base")
    diverged.write("data/stashed", "kept away")
    diverged.devml("snapshot")
    diverged.git("stash", "-q")
    diverged.git("checkout", "-q", "main")
    diverged.git("stash", "pop")
    assert diverged.bytes("data/stashed") == b"kept away"
    assert diverged.bytes("data/new-here") == b"our new file"
    assert diverged.in_step()


def test_checkout_m_carries_a_changed_pointer_along(diverged: Project) -> None:
    diverged.write("data/edit", "mine")
    diverged.devml("snapshot")
    diverged.git("restore", "--staged", "data.dvc")
    diverged.git("checkout", "-q", "-m", "side")
    names = set(diverged.listing("data"))
    assert {"edit", "sub/new-there"} <= names
    assert "new-here" not in names


def test_merge_tree_answers_and_touches_nothing(diverged: Project) -> None:
    before = diverged.listing("data"), diverged.read("data.dvc"), diverged.porcelain()
    ran = diverged.git("merge-tree", "--write-tree", "main", "side")
    tree = ran.out.strip()
    assert len(tree) == 40
    assert "nfiles: 5" in diverged.show(tree, "data.dvc")
    assert before == (diverged.listing("data"), diverged.read("data.dvc"), diverged.porcelain())


def test_merge_in_a_linked_worktree(diverged: Project, tmp_path: Path) -> None:
    diverged.git("worktree", "add", "-q", "-b", "wt", str(tmp_path / "wt"), "main")
    linked = Project(tmp_path / "wt", differential=False)
    linked.git("merge", "-q", "-m", "m", "side")
    assert linked.listing("data") == UNION


def test_merge_from_a_subdirectory(diverged: Project) -> None:
    run("git", "merge", "-q", "-m", "m", "side", cwd=diverged.path / "data")
    assert_union(diverged)


def test_criss_cross_merges(diverged: Project) -> None:
    """Two merge bases: git first merges those, with the same driver."""
    diverged.git("checkout", "-q", "-b", "one", "main")
    diverged.git("merge", "-q", "-m", "1", "side")
    diverged.write("data/one", "1")
    diverged.commit("one")
    diverged.git("checkout", "-q", "-b", "two", "side")
    diverged.git("merge", "-q", "-m", "2", "main")
    diverged.write("data/two", "2")
    diverged.commit("two")
    diverged.git("merge", "-q", "-m", "both", "one")
    assert diverged.listing("data") == {**UNION, "one": b"1", "two": b"2"}
    assert diverged.in_step()


def test_edit_of_a_member_is_kept_when_the_merge_changes_others(diverged: Project) -> None:
    diverged.write("data/common", "edited, in no snapshot")
    ran = diverged.git("merge", "-q", "-m", "m", "side")
    kept = diverged.listing("data") == {**UNION, "common": b"edited, in no snapshot"}
    assert kept or "data was in no snapshot; yours is kept: devml-git rescue" in ran.err


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_no_commands(project: Project, name: str) -> None:
    project.write("devml.toml", 'track = ["sets/*/"]\n')
    place = f"sets/{name}"
    pointer = f"{place}.dvc"
    for branch, files in {"main": ["x"], "side": ["x", "there"]}.items():
        project.git("checkout", "-q", "-B", branch)
        for file in files:
            project.write(f"{place}/{file}", file)
        project.devml("snapshot", cwd=".")
        project.commit(branch)
    project.git("checkout", "-q", "main")
    project.write(f"{place}/here", "here")
    project.commit("here")
    project.git("merge", "-q", "-m", "m", "side")
    assert set(project.listing(place)) == {"x", "here", "there"}, project.read(pointer)
    assert not list(project.path.rglob("pwned"))


def test_name_with_a_newline_reaches_the_driver_whole(project: Project, tmp_path: Path) -> None:
    """devml-git refuses such an artifact; the driver must still not run its name."""
    file = "a\n$(touch pwned)\n'.dvc"
    for branch in ("main", "side"):
        project.git("checkout", "-q", "-B", branch)
        project.differential = False
        project.write(file, f"outs: {branch}\n")
        project.git("add", "-A")
        project.git("commit", "-q", "-n", "-m", branch)
        project.write(file, f"outs: {branch} again\n")
        project.git("commit", "-q", "-n", "-am", branch)
        if branch == "main":
            project.git("branch", "-f", "fork", "main~1")
            project.git("checkout", "-q", "fork")
    ran = project.git("merge", "-q", "main", check=False)
    assert ran.status == 1
    assert "<<<<<<< ours" in (project.path / file).read_text()
    assert not list(project.path.rglob("pwned"))


# -- a colleague's manifests ---------------------------------------------------------------------


@pytest.fixture
def clone(diverged: Project, tmp_path: Path) -> Project:
    """A clone on `main`, its cache with what main needs; `side` is on the DVC remote only."""
    remote = tmp_path / "remote"
    diverged.dvc("remote", "add", "-d", "store", str(remote))
    diverged.git("commit", "-qam", "remote")
    # not `dvc push --all-commits`: it pushes nothing of commits that had no remote yet
    shutil.copytree(diverged.cache, remote / "files" / "md5")
    run("git", "clone", "-q", str(diverged.path), str(tmp_path / "clone"), cwd=tmp_path)
    there = Project(tmp_path / "clone", differential=False)
    assert devml("init", cwd=there.path).status == 0
    return there


def test_pull_fetches_the_other_sides_list_of_files_and_then_its_content(clone: Project) -> None:
    clone.git("pull", "-q", "--no-rebase", "--no-edit", "origin", "side")
    clone.differential = True
    assert_union(clone)


def test_remote_that_a_commit_changed_is_not_asked(clone: Project, tmp_path: Path) -> None:
    text = clone.read(".dvc/config")
    clone.write(".dvc/config", text.replace("remote\n", "other\n"))
    (tmp_path / "remote").rename(tmp_path / "other")
    clone.git("-c", "core.hooksPath=/dev/null", "commit", "-qam", "as if it were pulled")
    ran = clone.git("merge", "-m", "m", "origin/side", check=False)
    assert ran.status == 1
    (line,) = [x for x in ran.err.splitlines() if x.startswith("devml-git: data.dvc")]
    assert "list of files is not in the cache" in line
    assert "(devml-git trust store)" in line
    assert "checkout --ours -- data   or   --theirs" in line
    clone.git("merge", "--abort")
    clone.devml("trust")
    clone.git("merge", "-q", "-m", "m", "origin/side")
    assert clone.listing("data") == UNION


def test_remote_that_is_gone_leaves_a_conflict_and_both_sides_by_name(
    clone: Project, tmp_path: Path
) -> None:
    (tmp_path / "remote").rename(tmp_path / "elsewhere")
    ran = clone.git("merge", "-m", "m", "origin/side", check=False)
    assert ran.status == 1
    assert "could not be fetched from the DVC remote; then merge again" in ran.err
    assert clone.read("data.dvc").count("<<<<<<< ours") == 2
    assert "not in the cache yet" in clone.devml("status").out
    (tmp_path / "elsewhere").rename(tmp_path / "remote")
    clone.devml("checkout", "--theirs", "--", "data")
    assert clone.bytes("data/sub/new-there") == b"their new"


def test_fetch_is_bounded_in_time(clone: Project) -> None:
    clone.git("config", "devml.fetchTimeout", "0.01")
    ran = clone.git("merge", "-m", "m", "origin/side", check=False)
    assert ran.status == 1
    assert "fetching it from the DVC remote took over 0 s" in ran.err


# -- when there is no driver ---------------------------------------------------------------------


def no_python(project: Project, tmp_path: Path) -> None:
    project.git("config", "devml.python", str(tmp_path / "deleted" / "python"))


def unset(project: Project, tmp_path: Path) -> None:
    project.git("config", "--unset", "devml.python")


def no_package(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 'No module named devml_git' >&2\nexit 1\n")
    other.chmod(0o755)
    project.git("config", "devml.python", str(other))


def killed(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nkill -9 $$\n")
    other.chmod(0o755)
    project.git("config", "devml.python", str(other))


def no_driver(project: Project, tmp_path: Path) -> None:
    project.git("config", "--remove-section", "merge.devml")


@pytest.mark.parametrize("broken", [no_python, unset, no_package, killed, no_driver])
def test_without_the_driver_git_merges_as_text_and_marks_conflicts(
    diverged: Project, tmp_path: Path, broken: Callable[[Project, Path], None]
) -> None:
    diverged.differential = False
    broken(diverged, tmp_path)
    ran = diverged.git("merge", "-m", "m", "side", check=False)
    assert ran.status == 1
    assert "CONFLICT (content)" in ran.out
    assert "<<<<<<<" in diverged.read("data.dvc")
    assert ">>>>>>>" in diverged.read("data.dvc")
    assert diverged.git("ls-files", "-u").out


def test_users_own_modules_do_not_shadow_ours(diverged: Project) -> None:
    diverged.write("devml_git/__init__.py", "raise SystemExit(0)")
    diverged.write("hashlib.py", "raise SystemExit(0)")
    diverged.git("merge", "-q", "-m", "m", "side")
    assert diverged.listing("data") == UNION


# -- conflicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "content"), [("ours", "our own model"), ("theirs", "their model")]
)
@pytest.mark.parametrize("base", [True, False])
def test_conflict_is_told_marked_and_settled(
    project: Project, side: str, content: str, base: bool
) -> None:
    with_two_models(project, base=base)
    ran = project.git("merge", "-m", "m", "side", check=False)
    assert ran.status == 1
    assert "devml-git: models/a.pt.dvc: both sides" in ran.err
    assert project.read("models/a.pt.dvc").count("<<<<<<< ours\n") == 2  # the content, and our note
    assert project.states()["models/a.pt"] == "conflict"
    (known,) = [a for a in project.status()["artifacts"] if a["path"] == "models/a.pt"]
    assert [known["ours"]["size"], known["theirs"]["size"]] == [13, 11]
    assert known["ours"]["cached"]
    assert known["theirs"]["cached"]
    said = project.devml("status").out
    assert known["ours"]["oid"] in said
    assert known["theirs"]["oid"] in said
    refused = project.git("commit", "-qm", "too early", check=False)
    assert refused.status
    project.devml("checkout", f"--{side}", "--", "models/a.pt")
    assert project.read("models/a.pt") == content
    assert project.git("ls-files", "-u").out == ""
    project.git("commit", "-qm", "settled")
    assert project.in_step()
    assert len(project.git("rev-list", "--parents", "-1", "HEAD").out.split()) == 3


def test_member_that_both_changed_is_named(diverged: Project) -> None:
    diverged.write("data/changed-there", "ours, too")
    diverged.commit("collide")
    ran = diverged.git("merge", "-m", "m", "side", check=False)
    assert "both sides changed data/changed-there:" in ran.err
    diverged.devml("checkout", "--theirs", "--", "data")
    assert diverged.bytes("data/changed-there") == b"their change"
    diverged.git("commit", "-qm", "settled")
    assert diverged.in_step()


@pytest.mark.parametrize(("side", "there"), [("--ours", False), ("--theirs", True)])
def test_deleted_here_and_changed_there(project: Project, side: str, there: bool) -> None:
    with_two_models(project)
    project.devml("untrack", "--delete", "models/a.pt")
    project.git("commit", "-qam", "deleted")
    ran = project.git("merge", "-m", "m", "side", check=False)
    assert ran.status == 1
    project.devml("checkout", side, "--", "models/a.pt")
    assert project.exists("models/a.pt") == there
    project.git("commit", "-qm", "settled")
    assert project.in_step()


def test_model_renamed_here_and_retrained_there(project: Project) -> None:
    with_two_models(project)
    project.git("reset", "-q", "--hard", "HEAD~1")
    (project.path / "models/a.pt").rename(project.path / "models/better.pt")
    project.commit("renamed")
    project.git("merge", "-q", "-m", "m", "side")
    assert project.read("models/better.pt") == "their model"
    assert not project.exists("models/a.pt")
    assert project.in_step()


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (["rebase", "side"], ["rebase", "--continue"]),
        (["rebase", "--apply", "side"], ["rebase", "--continue"]),
        (["cherry-pick", "side"], ["cherry-pick", "--continue"]),
        (["merge", "side"], ["merge", "--continue"]),
    ],
)
@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_conflict_on_the_way_is_settled_and_git_goes_on(
    project: Project, begin: list[str], end: list[str], side: str
) -> None:
    with_two_models(project)
    project.write("data/x", "beside it")
    project.commit("and this")
    assert project.git(*begin, check=False).status == 1
    ours = "their model" if begin[0] == "rebase" else "our own model"  # git's ours is upstream
    theirs = "our own model" if begin[0] == "rebase" else "their model"
    project.devml("checkout", f"--{side}", "--", "models/a.pt")
    assert project.read("models/a.pt") == (ours if side == "ours" else theirs)
    ran = project.git(*end, check=False)
    if ran.status:  # nothing is left of the commit
        project.git(begin[0], "--skip")
    assert project.read("models/a.pt") == (ours if side == "ours" else theirs)
    assert project.read("data/x") == "beside it"
    assert project.in_step()


def test_conflict_of_a_stash_is_settled(project: Project) -> None:
    with_two_models(project)
    project.write("models/a.pt", "stashed")
    project.devml("snapshot")
    project.git("stash", "-q")
    project.git("checkout", "-q", "side")
    assert project.git("stash", "pop", check=False).status == 1
    assert project.states()["models/a.pt"] == "conflict"
    project.devml("checkout", "--theirs", "--", "models/a.pt")
    assert project.read("models/a.pt") == "stashed"


def test_both_comments_stay(diverged: Project) -> None:
    diverged.git("checkout", "-q", "side")
    diverged.write("models/a.pt.dvc", diverged.read("models/a.pt.dvc") + "# theirs\n")
    diverged.git("commit", "-qam", "comment")
    diverged.git("checkout", "-q", "main")
    diverged.write("models/a.pt.dvc", "# ours\n" + diverged.read("models/a.pt.dvc"))
    diverged.git("commit", "-qam", "comment")
    diverged.git("merge", "-q", "-m", "m", "side")
    text = diverged.read("models/a.pt.dvc")
    assert text.startswith("# ours\nouts:")
    assert text.endswith("# theirs\n")


def test_size_of_markers_is_gits(diverged: Project) -> None:
    diverged.write(".gitattributes", "*.dvc merge=devml conflict-marker-size=12\n")
    diverged.write("data/changed-there", "ours, too")
    diverged.commit("collide")
    diverged.git("merge", "-m", "m", "side", check=False)
    assert "<" * 12 + " ours\n" in diverged.read("data.dvc")


# -- dvc.lock ------------------------------------------------------------------------------------

DVC_YAML = """\
stages:
  prep:
    cmd: cp prep.in prep.out
    deps: [prep.in]
    outs: [prep.out]
  train:
    cmd: cp train.in train.out
    deps: [train.in]
    outs: [train.out]
"""


@pytest.fixture
def pipeline(shelf: Shelf, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """`main` ran prep anew, `side` ran train anew."""

    def make() -> Project:
        p: Project = request.getfixturevalue("project")
        p.write("dvc.yaml", DVC_YAML)
        rerun(p, "base", prep="base", train="base")
        p.git("checkout", "-q", "-b", "side")
        rerun(p, "side", train="theirs")
        p.git("checkout", "-q", "main")
        rerun(p, "main", prep="ours")
        return p

    return shelf.copy("merge-pipeline", make, tmp_path / "pipeline")


def rerun(project: Project, message: str, **stages: str) -> None:
    """Run stages of the pipeline on new input, with stock DVC, and commit."""
    for stage, text in stages.items():
        project.write(f"{stage}.in", text)
    project.dvc("repro", "-q")
    project.commit(message)


def test_stages_that_ran_on_different_branches_merge(pipeline: Project) -> None:
    pipeline.git("merge", "-q", "-m", "m", "side")
    assert pipeline.read("prep.out") == "ours"
    assert pipeline.read("train.out") == "theirs"
    assert pipeline.in_step()
    assert "up to date" in pipeline.dvc("status").out
    lock = pipeline.read("dvc.lock")
    pipeline.dvc("repro", "-q", "--force")
    assert pipeline.read("dvc.lock") == lock


@pytest.mark.parametrize("named", ["train.out", "dvc.lock"])
@pytest.mark.parametrize(("side", "content"), [("ours", "mine"), ("theirs", "theirs")])
def test_stage_that_ran_on_both_sides_is_settled_alone(
    pipeline: Project, named: str, side: str, content: str
) -> None:
    rerun(pipeline, "main ran train, too", train="mine")
    pipeline.git("config", "merge.conflictStyle", "merge")
    ran = pipeline.git("merge", "-m", "m", "side", check=False)
    assert ran.status == 1
    assert "dvc.lock: stage train ran on both sides, with different inputs" in ran.err
    assert "<<<<<<< ours" in pipeline.read("dvc.lock")
    assert pipeline.states()["train.out"] == "conflict"
    pipeline.devml("checkout", f"--{side}", "--", named)
    assert pipeline.read("train.out") == content
    assert pipeline.read("prep.out") == "ours"
    assert pipeline.states() == {"prep.out": "clean", "train.out": "clean"}


def test_what_another_stage_made_on_the_other_side_comes_along(pipeline: Project) -> None:
    """main and side both ran train; side alone ran prep: its output is merged, whoever wins."""
    pipeline.git("checkout", "-q", "side")
    rerun(pipeline, "side ran prep", prep="their prep")
    pipeline.git("checkout", "-q", "-B", "work", "side~2")
    rerun(pipeline, "work", train="mine")
    pipeline.git("merge", "-m", "m", "side", check=False)
    pipeline.devml("checkout", "--ours", "--", "train.out")
    assert pipeline.read("train.out") == "mine"
    assert pipeline.read("prep.out") == "their prep"


def test_one_output_does_not_settle_another_stages_conflict(pipeline: Project) -> None:
    pipeline.git("checkout", "-q", "side")
    rerun(pipeline, "side ran both", prep="their prep")
    pipeline.git("checkout", "-q", "main")
    rerun(pipeline, "main ran both", train="mine")
    pipeline.git("merge", "-m", "m", "side", check=False)
    ran = pipeline.devml("checkout", "--ours", "--", "train.out", check=False)
    assert ran.status == 2
    assert "also in conflict about prep" in ran.err
    pipeline.devml("checkout", "--theirs", "--", "dvc.lock")
    assert [pipeline.read("prep.out"), pipeline.read("train.out")] == ["their prep", "theirs"]


def test_lock_that_text_would_merge_to_a_run_that_never_was_is_marked(
    pipeline: Project, tmp_path: Path
) -> None:
    """One side changed the command, the other the input: no two lines collide."""
    pipeline.git("checkout", "-q", "-b", "other-command", "side~1")
    pipeline.write("dvc.yaml", DVC_YAML.replace("cp train.in", "cp -f train.in"))
    rerun(pipeline, "another command")
    base, ours, theirs = (tmp_path / name for name in ("base", "ours", "theirs"))
    for place, rev in ((base, "side~1"), (ours, "other-command"), (theirs, "side")):
        place.write_text(pipeline.show(rev, "dvc.lock"))
    assert run("git", "merge-file", "-p", ours, base, theirs, cwd=tmp_path, check=False).status == 0
    ran = pipeline.git("merge", "-m", "m", "side", check=False)
    assert ran.status == 1
    assert "with different inputs" in ran.err
    assert "<<<<<<< ours" in pipeline.read("dvc.lock")


def test_outputs_stay_where_they_are_while_their_lock_is_unmerged(pipeline: Project) -> None:
    rerun(pipeline, "main", train="mine")
    pipeline.write("train.in", "stashed")
    pipeline.dvc("repro", "-q")
    pipeline.git("add", "-A")
    pipeline.git("stash", "-q")
    rerun(pipeline, "main again", train="mine again")
    pipeline.git("stash", "pop", check=False)
    assert "<<<<<<< ours" in pipeline.read("dvc.lock")
    assert pipeline.read("train.out") == "mine again"
    assert pipeline.read("prep.out") == "ours"


# -- registration --------------------------------------------------------------------------------

LINES = "*.dvc merge=devml diff=devml\ndvc.lock merge=devml diff=devml\n"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    place = tmp_path / "bare"
    place.mkdir()
    run("git", "init", "-q", cwd=place)
    return place


def test_init_registers_the_driver_once(bare: Path) -> None:
    assert ".gitattributes" in devml("init", cwd=bare).out
    assert (bare / ".gitattributes").read_text() == LINES
    assert run("git", "ls-files", ".gitattributes", cwd=bare).out
    config = (bare / ".git" / "config").read_text()
    again = devml("init", cwd=bare)
    assert ".gitattributes" not in again.out + again.err
    assert (bare / ".gitattributes").read_text() == LINES
    assert (bare / ".git" / "config").read_text() == config


def test_init_leaves_the_users_choice_alone(bare: Path) -> None:
    (bare / ".gitattributes").write_text("*.dvc merge=dvc\n")
    run("git", "add", "-A", cwd=bare)
    ran = devml("init", cwd=bare)
    assert "note: git's attributes say merge=dvc for *.dvc: kept" in ran.err
    lines = "*.dvc merge=dvc\n*.dvc diff=devml\ndvc.lock merge=devml diff=devml\n"
    assert (bare / ".gitattributes").read_text() == lines


def test_init_does_not_stage_the_users_edits(bare: Path) -> None:
    (bare / ".gitattributes").write_text("*.txt text\n")
    run("git", "add", "-A", cwd=bare)
    (bare / ".gitattributes").write_text("*.txt text\n*.md text")
    ran = devml("init", cwd=bare)
    assert "note: .gitattributes has edits of yours and was not staged" in ran.err
    assert (bare / ".gitattributes").read_text() == f"*.txt text\n*.md text\n{LINES}"
    assert run("git", "show", ":.gitattributes", cwd=bare).out == "*.txt text\n"


def test_init_leaves_a_linked_attributes_file_alone(bare: Path) -> None:
    (bare / ".gitattributes").symlink_to("elsewhere")
    ran = devml("init", cwd=bare)
    assert ran.status == 0
    assert "note: .gitattributes is a link" in ran.err


def test_init_without_hooks_has_the_driver(bare: Path) -> None:
    devml("init", "--no-hooks", cwd=bare)
    assert run("git", "config", "devml.python", cwd=bare).out.strip() == sys.executable


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            ["git", "config", "--unset", "merge.devml.driver"],
            "git's configuration does not name it",
        ),
        (
            ["git", "config", "--unset", "devml.python"],
            "git's configuration does not name its Python",
        ),
        (
            ["git", "rm", "-q", "-f", ".gitattributes"],
            ".gitattributes lacks: *.dvc merge=devml, dvc.lock merge=devml",
        ),
    ],
)
def test_doctor_tells_what_is_missing_and_init_mends_it(
    project: Project, spoil: list[str], said: str
) -> None:
    def found() -> dict[str, str]:
        rows = project.devml("doctor", "--json", check=False).json["findings"]
        return {r["text"]: r["verdict"] for r in rows if r["subject"] == "merge driver"}

    assert found() == {"devml": "ok"}
    run(*spoil, cwd=project.path)
    assert found() == {said: "warn"}
    assert "to mend merge driver: devml-git init" in project.devml("doctor", check=False).out
    project.devml("init")
    assert found() == {"devml": "ok"}


def test_driver_is_quick_where_no_directory_is_merged(project: Project) -> None:
    """Neither YAML nor DVC nor the cache is loaded for two models that clash."""
    with_two_models(project)
    code = (
        "import sys; from devml_git import mergedriver as m\n"
        "status = m.main(sys.argv[1:])\n"
        "print(status, *(n for n in ('ruamel', 'dvc', 'sqlite3', 'configobj', 'typer') if n in sys.modules))"
    )
    for n, rev in enumerate(("main~1", "main", "side")):
        project.write(str(n), project.show(rev, "models/a.pt.dvc"))
    done = subprocess.run(
        [sys.executable, "-c", code, "0", "1", "2", "7", "models/a.pt.dvc"], cwd=project.path,
        capture_output=True, text=True, check=True, env={**os.environ, "DEVML_GIT_TRACEBACK": "1"},
    )  # fmt: skip
    assert done.stdout.split() == ["11"]


def test_directory_dot_and_glob_settle_every_conflict_there(models: Project) -> None:
    models.differential = False
    models.write("models/b.pt", "base")
    models.commit("base")
    models.git("checkout", "-q", "-b", "other")
    for name in ("a", "b"):
        models.write(f"models/{name}.pt", f"theirs {name}")
    models.commit("theirs")
    models.git("checkout", "-q", "main")
    for name in ("a", "b"):
        models.write(f"models/{name}.pt", f"ours {name}")
    models.commit("ours")
    for args, took in ((["--theirs", "--", "models"], "theirs"), (["--ours", "--", "."], "ours"),
                       (["--theirs", "--", "models/*.pt"], "theirs")):  # fmt: skip
        assert models.git("merge", "other", check=False).status == 1
        out = models.devml("checkout", *args).out
        assert "settled and staged: models/a.pt\nsettled and staged: models/b.pt\n" in out
        assert [models.read(f"models/{n}.pt") for n in "ab"] == [f"{took} a", f"{took} b"]
        assert not models.git("ls-files", "-u").out
        models.git("merge", "--abort")
    assert (
        "nothing is in conflict" in models.devml("checkout", "--ours", "--", ".", check=False).err
    )


def test_after_uninstall_git_merges_pointers_by_itself(models: Project) -> None:
    models.devml("hooks", "uninstall")
    models.differential = False
    assert "merge.devml" not in models.git("config", "--list").out
    models.git("checkout", "-q", "-b", "other", "v2")
    models.write("models/a.pt.dvc", models.read("models/a.pt.dvc") + "# mine\n")
    models.git("commit", "-qam", "mine")
    assert "devml" not in models.git("merge", "main", check=False).err

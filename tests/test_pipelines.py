"""Which outputs a revision has is what its own `dvc.yaml` says, as DVC reads it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests import pipelinefuzz
from tests.world import Project, devml, run

FIRST = int(os.environ.get("DEVML_FUZZ_SEED", "0"))

STAGES = {
    "a": "  a:\n    cmd: cp in.txt a.out\n    deps: [in.txt]\n    outs: [a.out]\n",
    "b": "  b:\n    cmd: echo 2 > b.out\n    outs: [b.out]\n",
}


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def pipeline(project: Project, text: str, message: str = "") -> None:
    """Write a pipeline, let DVC run it, and commit all."""
    project.differential = False  # DVC itself is run, before each commit
    project.write("dvc.yaml", text)
    project.dvc("repro", "-q")
    project.git("add", "-A")
    project.git("commit", "-qm", message or "ran")


def hub(project: Project, tmp_path: Path) -> None:
    """Make the remote of git."""
    run("git", "init", "-q", "--bare", str(tmp_path / "hub"), cwd=tmp_path)
    run("git", "remote", "add", "origin", str(tmp_path / "hub"), cwd=project.path)


def clean(project: Project) -> None:
    """Hold that all is in step, for us and for DVC."""
    assert "all in step" in project.devml("status").out
    assert "up to date" in project.dvc("status").out


# -- at random -----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(8))
def test_outputs_of_any_revision_are_what_dvc_says(project: Project, part: int) -> None:
    _agree(project, range(FIRST + part * 5, FIRST + part * 5 + 5))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
def test_outputs_of_many_revisions_are_what_dvc_says(project: Project, part: int) -> None:
    _agree(project, range(FIRST + 1000 + part * 50, FIRST + 1000 + part * 50 + 50))


def _agree(project: Project, seeds: range) -> None:
    project.differential = False
    run("git", "tag", "empty", cwd=project.path)
    print(f"seeds {seeds}")
    for seed in seeds:
        run("git", "reset", "-q", "--hard", "empty", cwd=project.path)
        run("git", "clean", "-qfdx", "-e", ".dvc", cwd=project.path)
        found = pipelinefuzz.differences(seed, project)
        assert not found, f"seed {seed}: {found}"


# -- wdir ----------------------------------------------------------------------------------------

WDIR = {
    "up": ("sub/dvc.yaml", "..", "sub/w.bin", "sub/w.bin"),
    "down": ("dvc.yaml", "sub", "w.bin", "sub/w.bin"),
    "beside": ("sub/dvc.yaml", "../other", "w.bin", "other/w.bin"),
    "templated": ("dvc.yaml", "${place}", "w.bin", "sub/w.bin"),
}


@pytest.mark.parametrize("kind", WDIR)
def test_output_of_a_stage_with_a_wdir_follows_every_checkout(
    project: Project, tmp_path: Path, kind: str
) -> None:
    file, wdir, written, path = WDIR[kind]
    project.differential = False
    for name in ("sub", "other"):
        project.write(f"{name}/k", "x")
    stage = f"  s:\n    wdir: {wdir}\n    cmd: echo K > {written}\n    outs: [{written}]\n"
    text = "vars: [{place: sub}]\nstages:\n" + stage
    for n in ("1", "2"):
        project.write(file, text.replace("K", n))
        project.dvc("repro", "-q", file)
        project.git("add", "-A")
        project.git("commit", "-qm", n)
        project.git("tag", f"w{n}")
        clean(project)
    assert project.devml("show", "w1", "--json").json["artifacts"][0]["path"] == path
    project.git("checkout", "-q", "w1")
    assert project.read(path) == "1\n"
    project.git("checkout", "-q", "main")
    assert project.read(path) == "2\n"
    project.write(path, "by hand\n")
    project.git("commit", "-qm", "an edit", "--allow-empty")
    assert md5(b"by hand\n") in project.objects()
    assert md5(b"by hand\n") in project.show("HEAD", file.replace("dvc.yaml", "dvc.lock"))
    project.git("checkout", "-q", "w1")
    project.git("checkout", "-q", "main")
    assert project.read(path) == "by hand\n"
    project.dvc("remote", "add", "-q", "-d", "storage", str(tmp_path / "storage"))
    project.git("commit", "-qam", "a remote")
    hub(project, tmp_path)
    project.git("push", "-q", "origin", "main")
    assert devml("clone", str(tmp_path / "hub"), str(tmp_path / "clone"), cwd=tmp_path).status == 0
    assert (tmp_path / "clone" / path).read_text() == "by hand\n"


# -- what DVC leaves behind in a dvc.lock ----------------------------------------------------------


def test_renamed_stage_whose_output_keeps_its_name_is_committed(project: Project) -> None:
    pipeline(project, "stages:\n  train:\n    cmd: echo 1 > m.txt\n    outs: [m.txt]\n")
    pipeline(project, "stages:\n  fit:\n    cmd: echo 2 > m.txt\n    outs: [m.txt]\n")
    assert "train:" in project.read("dvc.lock")  # DVC leaves it
    clean(project)
    for rev, text in (("HEAD~1", "1\n"), ("main", "2\n")):
        project.git("checkout", "-q", rev)
        assert project.read("m.txt") == text
        clean(project)


def test_output_of_a_stage_that_is_gone_is_not_asked_for(project: Project, tmp_path: Path) -> None:
    project.write("in.txt", "1\n")
    pipeline(project, "stages:\n" + STAGES["a"] + STAGES["b"])
    lock = project.read("dvc.lock")
    hub(project, tmp_path)
    project.git("-c", "core.hooksPath=/dev/null", "push", "-q", "origin", "main")
    project.write("dvc.yaml", "stages:\n" + STAGES["a"])
    project.dvc("remote", "add", "-q", "-d", "storage", str(tmp_path / "storage"))
    project.git("commit", "-qam", "b is gone")
    assert project.read("dvc.lock") == lock
    (project.path / ".git/devml/cache/files/md5" / md5(b"2\n")[:2] / md5(b"2\n")[2:]).unlink()
    project.git("push", "-q", "origin", "main")
    ran = project.devml("verify", "HEAD", "--remote")
    assert "1 recoverable" in ran.out
    ran = project.devml("verify", "--all", "--json", check=False)
    assert {c["verdict"] for c in ran.json["commits"]} == {"recoverable", "at-risk"}  # not asked


def test_lock_that_means_something_else_in_two_commits_is_judged_for_each(
    project: Project,
) -> None:
    """The same `dvc.lock`, byte for byte; only one of the two has the output that is lost."""
    project.write("in.txt", "1\n")
    pipeline(project, "stages:\n" + STAGES["a"] + STAGES["b"])
    with_b = project.head()
    project.write("dvc.yaml", "stages:\n" + STAGES["a"])
    project.git("commit", "-qam", "b is gone")
    project.write("dvc.yaml", "stages:\n" + STAGES["b"] + STAGES["a"])
    project.git("commit", "-qam", "b is back")
    (project.path / ".git/devml/cache/files/md5" / md5(b"2\n")[:2] / md5(b"2\n")[2:]).unlink()
    judged = project.devml("verify", "--all", "--json", check=False).json["commits"]
    lost = {c["commit"] for c in judged if c["verdict"] == "lost"}
    assert lost == {with_b, project.head()}


def test_output_that_git_once_held_itself_is_no_content_of_ours(
    project: Project, tmp_path: Path
) -> None:
    held = "stages:\n  s:\n    cmd: echo one > o.json\n    outs:\n    - o.json: {cache: false}\n"
    pipeline(project, held)
    run("git", "rm", "-q", "--cached", "o.json", cwd=project.path)
    pipeline(project, "stages:\n  s:\n    cmd: echo two > o.json\n    outs: [o.json]\n")
    hub(project, tmp_path)
    project.dvc("remote", "add", "-q", "-d", "storage", str(tmp_path / "storage"))
    project.git("commit", "-qam", "a remote")
    project.git("push", "-q", "origin", "main")
    project.devml("checkout", "HEAD~2")
    assert project.read("o.json") == "one\n"
    project.devml("checkout", "main")
    assert project.read("o.json") == "two\n"


# -- a commit that changes no pointer, and moves them ----------------------------------------------

FOLLOWS = {
    "checkout": ("git checkout -q before", "git checkout -q after"),
    "switch": ("git switch -qd before", "git switch -qd after"),
    "merge": ("git checkout -qB x before", "git merge -q after"),
    "no-ff": ("git checkout -qB x before", "git merge -q --no-ff --no-edit after"),
    "pull": ("git checkout -qB x before", "git pull -q --ff . after"),
    "cherry-pick": ("git checkout -qB x before", "git cherry-pick after"),
    "rebase": ("git checkout -qB x before; git commit -q --allow-empty -m x", "git rebase -q after"),
    "reset": ("git reset -q --hard before", "git reset -q --hard after"),
    "revert": ("git checkout -qB x after; git revert --no-edit HEAD", "git revert --no-edit HEAD"),
    "bisect": ("git bisect start after before~1", "git bisect reset after"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOLLOWS)
@pytest.mark.parametrize("what", ["dvc.yaml", "vars"])
def test_commit_of_the_pipeline_alone_moves_what_it_names(
    project: Project, kind: str, what: str
) -> None:
    project.write("in.txt", "1\n")
    project.write("values.yaml", "names: [n, m]\n")
    each = "  n:\n    foreach: ${names}\n    do:\n      cmd: echo 2 > ${item}.out\n"
    each += '      outs: ["${item}.out"]\n'
    both = {"dvc.yaml": STAGES["b"], "vars": each}[what]
    extra = {"dvc.yaml": "b.out", "vars": "m.out"}[what]
    pipeline(project, "vars: [values.yaml]\nstages:\n" + STAGES["a"] + both, "both")
    project.git("tag", "before")
    if what == "vars":
        project.write("values.yaml", "names: [n]\n")
    else:
        project.write("dvc.yaml", "vars: [values.yaml]\nstages:\n" + STAGES["a"])
    project.git("commit", "-qam", "one is gone")
    project.git("tag", "after")
    there, back = FOLLOWS[kind]
    run("sh", "-c", there, cwd=project.path)
    assert project.read(extra) == "2\n"
    clean(project)
    run("sh", "-c", back, cwd=project.path)
    assert not project.exists(extra)
    clean(project)


def test_log_and_diff_tell_of_outputs_that_only_the_pipeline_moved(project: Project) -> None:
    project.write("in.txt", "1\n")
    pipeline(project, "stages:\n" + STAGES["a"] + STAGES["b"], "both")
    project.write("dvc.yaml", "stages:\n" + STAGES["a"])
    project.git("commit", "-qam", "b is gone")
    (change,) = project.devml("diff", "HEAD~1", "HEAD", "--json").json["artifacts"]
    assert (change["path"], change["change"]) == ("b.out", "deleted")
    last = project.devml("log", "-n", "1").out
    assert "deleted   b.out" in last

"""Which outputs a revision has is what its own `dvc.yaml` says, as DVC reads it."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from devml_git import walking
from devml_git.gathering import gather
from devml_git.plumbing import Git
from devml_git.workspace import Workspace
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
    assert {c["verdict"] for c in ran.json["commits"]} == {"recoverable", "unknown"}


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


# -- what a review found ---------------------------------------------------------------------------


def values(project: Project, tmp_path: Path) -> None:
    """A pipeline whose outputs are named in params.yaml, and a commit of each of its states."""
    text = "stages:\n  s:\n    foreach: ${names}\n    do:\n      cmd: echo ${item} > ${item}.bin\n"
    project.write("params.yaml", "names: [x, y]\n")
    pipeline(project, text + '      outs: ["${item}.bin"]\n')
    hub(project, tmp_path)
    project.dvc("remote", "add", "-q", "-d", "storage", str(tmp_path / "storage"))
    project.git("commit", "-qam", "a remote")


def test_push_knows_what_a_commit_of_parameters_alone_needs(
    project: Project, tmp_path: Path
) -> None:
    values(project, tmp_path)
    run("git", "checkout", "-q", "--orphan", "fresh", cwd=project.path)
    for n, names in enumerate(("x", "x", "x, y", "x")):
        project.write("params.yaml", f"names: [{names}]\n")
        project.write("train.py", f"print({n})\n")
        project.git("add", "-A")
        project.git("commit", "-qm", f"{n}")
    project.git("push", "-q", "origin", "fresh")
    stored = {p.parent.name + p.name for p in (tmp_path / "storage").rglob("*") if p.is_file()}
    assert {md5(b"x\n"), md5(b"y\n")} <= stored
    (project.path / ".git/devml/cache/files/md5" / md5(b"y\n")[:2] / md5(b"y\n")[2:]).unlink()
    judged = project.devml("verify", "fresh~3..fresh", "--json", check=False).json["commits"]
    assert [c["verdict"] for c in judged] == ["recoverable", "unknown", "recoverable"]


def test_values_from_above_a_project_count_for_it(models: Project, tmp_path: Path) -> None:
    models.differential = False
    models.write("params.yaml", "names: [x, y]\n")
    models.write("sub/x.txt", "x")
    run("dvc", "init", "-q", "--subdir", cwd=models.path / "sub")
    devml("init", cwd=models.path / "sub")
    text = "vars: [../params.yaml]\nstages:\n  s:\n    foreach: ${names}\n    do:\n"
    text += '      cmd: echo ${item} > ${item}.bin\n      outs: ["${item}.bin"]\n'
    models.write("sub/dvc.yaml", text)
    run("dvc", "repro", "-q", cwd=models.path / "sub")
    run("git", "add", "-A", cwd=models.path)
    run("git", "commit", "-qm", "both", cwd=models.path)
    models.write("params.yaml", "names: [x]\n")
    run("git", "commit", "-qam", "one", cwd=models.path)
    with Workspace(Git.discover(models.path / "sub")) as ws:
        commits = ws.git.all_commits()
        for wanted, some in ((1, commits[:1]), (2, commits[1:2]), (3, commits[:2])):
            found = gather(ws.git, some, ws.pipelines).pointers.values()
            assert sum(map(len, found)) == wanted, some


@pytest.mark.parametrize("linked", ["params.yaml", "dvc.yaml", "conf"])
def test_link_in_git_is_followed_within_the_commit(
    project: Project, tmp_path: Path, linked: str
) -> None:
    project.differential = False
    project.write("other/p.yaml", "name: net\n")
    project.write("other/params.yaml", "name: net\n")
    text = 'vars: [conf/p.yaml]\nstages:\n  s:\n    cmd: echo 1 > ${name}.bin\n    outs: ["${name}.bin"]\n'
    project.write("other/dvc.yaml" if linked == "dvc.yaml" else "dvc.yaml", text)
    if linked == "params.yaml":
        project.write("dvc.yaml", text.replace("vars: [conf/p.yaml]\n", ""))
        (project.path / "params.yaml").symlink_to("other/params.yaml")
    else:
        (project.path / "conf").symlink_to("other")
    if linked == "dvc.yaml":
        (project.path / "dvc.yaml").symlink_to("other/dvc.yaml")
    stale = "  gone:\n    cmd: x\n    outs:\n    - path: g.bin\n      md5: " + "ab" * 16 + "\n"
    kept = f"  s:\n    cmd: x\n    outs:\n    - path: net.bin\n      md5: {md5(b'1')}\n"
    project.write("dvc.lock", f"schema: '2.0'\nstages:\n{stale}{kept}")
    run("git", "add", "-A", cwd=project.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "links", cwd=project.path)
    with Workspace.discover(project.path) as ws:
        head = project.head()
        assert list(ws.tree.snapshot.pointers) == ["net.bin"]
        assert list(ws.snapshot_at(head).pointers) == ["net.bin"]
        assert list(walking.snapshot(ws.git, ws.config, head).pointers) == ["net.bin"]
        found = gather(ws.git, [head], ws.pipelines).pointers.values()
        assert [p.path for some in found for p in some] == ["net.bin"]


def test_ignore_file_that_hides_a_pipeline_moves_what_it_names(project: Project) -> None:
    project.differential = False
    project.write("sub/k", "1")
    project.write("sub/dvc.yaml", "stages:\n  s:\n    cmd: echo 1 > x.bin\n    outs: [x.bin]\n")
    project.dvc("repro", "-q", "sub/dvc.yaml")
    project.git("add", "-A")
    project.git("commit", "-qm", "there")
    project.git("checkout", "-qb", "hidden")
    project.write(".dvcignore", "sub/\n")
    project.git("commit", "-qam", "hidden")
    project.git("checkout", "-q", "main")
    project.git("checkout", "-q", "hidden")
    assert not project.exists("sub/x.bin")
    project.git("checkout", "-q", "main")
    assert project.read("sub/x.bin") == "1\n"


TWO_PLACES = """\
vars: [{n: {e: 1}}]
stages:
  s:
    cmd: x
    wdir: ${n.d}
    vars: [v.yaml]
    outs: ['${w}']
"""


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ('stages:\n  s:\n    cmd: x\n    outs: ["\\x24{n}.bin"]\n', "n: net\n"),
        (TWO_PLACES, "n: {d: sub}\n"),
    ],
    ids=["written with an escape", "values from two places"],
)  # fmt: skip
def test_template_is_one_however_it_is_put_together(
    project: Project, text: str, params: str
) -> None:
    project.write("sub/v.yaml", "w: out.bin\n")
    project.write("params.yaml", params)
    project.write("dvc.yaml", text)
    with Workspace.discover(project.path) as ws:
        said = ws.pipelines.here(["dvc.yaml"])
    assert said.unread == {}
    assert [out.path for out in said.known["dvc.lock"].values()] == (
        ["net.bin"] if "x24" in text else ["sub/out.bin"]
    )


@pytest.mark.parametrize(
    "text",
    [
        "vars: [" + ", ".join(f"v{n}.yaml" for n in range(40_000)) + "]\nstages:\n  s:\n    cmd: ${x}\n",
        f"vars: [{'v' * 200_000}]\nstages:\n  s:\n    cmd: ${{x}}\n",
        "vars: [{i: [" + "1, " * 9000 + "1]}]\nstages:\n" + "".join(
            f"  s{n}:\n    foreach: ${{i}}\n    do:\n      cmd: x\n      wdir: w${{item}}\n"
            "      vars: [q.yaml]\n" for n in range(200)),
    ],
    ids=["many files", "a long name", "many directories"],
)  # fmt: skip
def test_pipeline_that_takes_values_from_very_many_places_stops_nothing_else(
    models: Project, text: str
) -> None:
    models.differential = False
    models.write("dvc.yaml", text)
    run("git", "add", "-A", cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "hostile", cwd=models.path)
    began = time.process_time()
    assert models.devml("verify", "--all", check=False).status == 0
    models.devml("status")
    assert time.process_time() - began < 6


@pytest.mark.parametrize("remote", ["[x]", "{a: b}", "3"])
def test_remote_of_an_output_that_is_no_name_stops_nothing(models: Project, remote: str) -> None:
    models.differential = False
    out = f"    outs:\n    - o.bin: {{remote: {remote}}}\n"
    models.write("dvc.yaml", f"stages:\n  s:\n    cmd: x\n{out}")
    lock = f"    outs:\n    - path: o.bin\n      md5: {'ab' * 16}\n      size: 2\n"
    models.write("dvc.lock", f"schema: '2.0'\nstages:\n  s:\n    cmd: x\n{lock}")
    run("git", "add", "-A", cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "hostile", cwd=models.path)
    assert "dvc.yaml cannot be read" in models.devml("status").out
    for words in (["verify"], ["fetch"], ["log"]):
        assert "Traceback" not in models.devml(*words, check=False).err


def test_nothing_of_a_question_to_dvc_stays_behind(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    project.write("params.yaml", "n: o.bin\n")
    project.write("dvc.yaml", "stages:\n  s:\n    cmd: x\n    outs: ['${n}']\n")
    with Workspace.discover(project.path) as ws:
        assert ws.pipelines.here(["dvc.yaml"]).unread == {}
    assert [p.name for p in (tmp_path / "scratch").iterdir()] == []

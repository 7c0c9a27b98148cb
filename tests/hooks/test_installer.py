"""Hooks installed, chained, upgraded and removed; nobody else's bytes are touched."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devml_git import installer
from devml_git.plumbing import Git
from tests.world import Project, Ran, devml, devml_process, run

if TYPE_CHECKING:
    from collections.abc import Iterator

FOREIGN = {
    "sh": b'#!/bin/sh\necho "sh:$*:$MINE" >> "$OUT"\nexit ${CODE:-0}\n',
    "python": b"#!/usr/bin/env python3\nimport os,sys\nopen(os.environ['OUT'],'a').write('python\\n')\n",
    "binary": Path(shutil.which("touch") or "").read_bytes(),
}  # fmt: skip


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A repository without hooks of ours."""
    run("git", "init", "-q", cwd=tmp_path)
    return tmp_path


def states(place: Path) -> set[str]:
    return {
        h["state"] for h in json.loads(devml("hooks", "status", "--json", cwd=place).out)["hooks"]
    }


def put(place: Path, data: bytes) -> None:
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(data)
    place.chmod(0o755)


def test_s1_install_twice_changes_nothing(bare: Path) -> None:
    assert "installed" in devml("hooks", "install", cwd=bare).out
    before = {p.name: p.read_bytes() for p in (bare / ".git/hooks").iterdir()}
    assert devml("hooks", "install", cwd=bare).out == "all hooks are in place\n"
    assert {p.name: p.read_bytes() for p in (bare / ".git/hooks").iterdir()} == before
    assert states(bare) == {"ours"}


@pytest.mark.parametrize("kind", FOREIGN)
def test_s2_foreign_hook_runs_first_and_comes_back_unchanged(project: Project, kind: str) -> None:
    devml("hooks", "uninstall", cwd=project.path)
    place = project.path / ".git/hooks/post-checkout"
    data = FOREIGN[kind]
    put(place, data)
    devml("hooks", "install", cwd=project.path)
    out = project.path.parent / "out"
    env = {"OUT": str(out), "MINE": "env"}
    project.git("checkout", "-q", "-b", "x", env=env)
    head = project.head()
    if kind == "binary":
        assert project.exists(head)
        assert project.exists("1")
    else:
        assert out.read_text() == {"sh": f"sh:{head} {head} 1:env\n", "python": "python\n"}[kind]
    devml("hooks", "uninstall", cwd=project.path)
    assert place.read_bytes() == data
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    assert not [p for p in place.parent.iterdir() if "devml" in p.name]


def test_s2_foreign_hooks_exit_status_counts(project: Project) -> None:
    put(project.path / ".git/hooks/post-checkout.before-devml", FOREIGN["sh"])
    env = {"OUT": "/dev/null", "CODE": "3"}
    assert project.git("checkout", "-q", "-b", "x", env=env, check=False).status == 1  # git's word


def test_s2_foreign_binary_that_fails_stops_the_commit(project: Project) -> None:
    place = project.path / ".git/hooks/pre-commit.before-devml"
    put(place, Path(shutil.which("false") or "").read_bytes())
    assert project.git("commit", "--allow-empty", "-m", "x", check=False).status == 1
    put(place, Path(shutil.which("true") or "").read_bytes())
    project.git("commit", "--allow-empty", "-m", "x")


def test_s2_foreign_hook_runs_in_the_repository_of_another_hooks_commit(
    project: Project, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(project.path, other)
    put(other / ".git/hooks/post-commit.before-devml", b'#!/bin/sh\necho other >> "$OUT"\n')
    text = f"#!/bin/sh\nunset GIT_DIR GIT_INDEX_FILE\ngit -C {other} commit -q --allow-empty -m x\n"
    put(project.path / ".git/hooks/post-commit.before-devml", text.encode())
    (other / "models").mkdir()
    (other / "models/a.pt").write_text("one")
    out = tmp_path / "out"
    project.git("commit", "-q", "--allow-empty", "-m", "x", env={"OUT": str(out)})
    assert out.read_text() == "other\n"
    assert Project(other).in_step()


def test_s2_foreign_hook_gets_its_stdin(project: Project) -> None:
    out = project.path.parent / "out"
    put(project.path / ".git/hooks/post-rewrite.before-devml", b'#!/bin/sh\ncat > "$OUT"\n')
    project.git("commit", "-q", "--amend", "-m", "amended", env={"OUT": str(out)})
    assert project.head() in out.read_text()


def test_s9_foreign_hook_that_git_did_not_run_is_not_run_by_us(project: Project) -> None:
    devml("hooks", "uninstall", cwd=project.path)
    place = project.path / ".git/hooks/pre-commit"
    put(place, b"#!/bin/sh\nexit 3\n")
    place.chmod(0o644)
    devml("hooks", "install", cwd=project.path)
    project.commit("not stopped")
    devml("hooks", "uninstall", cwd=project.path)
    assert place.read_bytes() == b"#!/bin/sh\nexit 3\n"
    assert stat.S_IMODE(place.stat().st_mode) == 0o644


def test_s3_doctor_tells_when_somebody_has_overwritten_ours(project: Project) -> None:
    put(project.path / ".git/hooks/pre-commit", b"#!/bin/sh\n")
    ran = project.devml("doctor", check=False)
    assert ran.status == 1
    assert "devml-git hooks install" in ran.out
    project.devml("hooks", "install")
    assert (project.path / ".git/hooks/pre-commit.before-devml").read_bytes() == b"#!/bin/sh\n"


@pytest.mark.parametrize("form", ["hooks", "{top}/hooks", "{top}/.git/myhooks"])
def test_s4_hooks_path_inside_the_repository_is_used(project: Project, form: str) -> None:
    place = form.format(top=project.path)
    project.git("config", "core.hooksPath", place)
    project.devml("hooks", "install")
    assert (project.path / place / "pre-commit").exists()
    project.write("models/a.pt", "one")
    project.commit("one")
    assert project.in_step()
    text = (project.path / place / "pre-commit").read_text()
    assert str(project.path) not in text  # git may track it


@pytest.mark.parametrize(
    ("place", "way_on"),
    [
        ("/dev/null", "git config --unset core.hooksPath"),
        ("{tmp}/global", "devml-git hooks install --outside"),
        ("~/hooks", "devml-git hooks install --outside"),
    ],
)
def test_s4_hooks_path_outside_is_refused_with_the_way_on(
    bare: Path, tmp_path: Path, place: str, way_on: str
) -> None:
    run("git", "config", "core.hooksPath", place.format(tmp=tmp_path.parent), cwd=bare)
    ran = devml("hooks", "install", cwd=bare)
    assert ran.status == 40
    assert "core.hooksPath" in ran.err
    assert f"hint: {way_on}" in ran.err
    assert not (bare / ".git/devml").exists()


@pytest.mark.parametrize("scope", ["--local", "--global"])
@pytest.mark.parametrize("place", ["{tmp}/global", "~/global"])
def test_s4_hooks_path_outside_is_used_when_asked(
    project: Project, tmp_path: Path, place: str, scope: str
) -> None:
    project.git("config", scope, "core.hooksPath", place.format(tmp=tmp_path))
    assert project.devml("hooks", "install", check=False).status == 40
    assert "core.hooksPath is set" in project.devml("doctor", check=False).out
    project.devml("hooks", "install", "--outside")
    assert not project.exists("~")
    project.write("models/a.pt", "one")
    project.commit("one")
    assert project.in_step()


def test_s5_install_in_a_linked_worktree_serves_all(project: Project, tmp_path: Path) -> None:
    project.git("worktree", "add", "-q", str(tmp_path / "linked"))
    devml("hooks", "uninstall", cwd=tmp_path / "linked")
    devml("hooks", "install", cwd=tmp_path / "linked")
    assert (project.path / ".git/hooks/pre-commit").exists()


def test_s5_install_in_a_submodule_puts_them_where_its_git_looks(
    bare: Path, project: Project, tmp_path: Path
) -> None:
    run("git", "-C", bare, "submodule", "--quiet", "add", project.path, "sub", cwd=bare)
    devml("hooks", "install", cwd=bare / "sub")
    assert (bare / ".git/modules/sub/hooks/pre-commit").exists()
    assert states(bare) == {"absent"}


def test_s4_install_from_a_subdirectory_with_a_relative_hooks_path(bare: Path) -> None:
    run("git", "config", "core.hooksPath", "my/hooks", cwd=bare)
    (bare / "sub").mkdir()
    devml("hooks", "install", cwd=bare / "sub")
    assert (bare / "my/hooks/pre-commit").exists()


def test_status_is_one_json_document_and_changes_nothing(project: Project) -> None:
    place = project.path / ".git/hooks"
    put(place / "pre-commit.before-devml", b"#!/bin/sh\n")
    before = sorted(place.iterdir())
    found = project.devml("hooks", "status", "--json").json
    assert found["schema"] == "devml.hooks/v1"
    chained = {h["event"]: h["chained"] for h in found["hooks"]}
    assert chained == {event: event == "pre-commit" for event in installer.EVENTS}
    assert sorted(place.iterdir()) == before


def test_s4_hooks_directory_that_is_a_link_to_outside_is_outside(
    bare: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shared = tmp_path_factory.mktemp("shared")
    (bare / ".git/hooks").symlink_to(shared)
    ran = devml("hooks", "install", cwd=bare)
    assert ran.status == 40
    assert "--outside" in ran.err
    assert list(shared.iterdir()) == []


def test_s5_no_workspace_no_hooks(tmp_path: Path) -> None:
    run("git", "init", "-q", "--bare", "b.git", cwd=tmp_path)
    for place in (tmp_path / "b.git", tmp_path):
        ran = devml("hooks", "install", cwd=place)
        assert ran.status == 10
        assert ran.err.startswith("error: ")
    assert not list(tmp_path.rglob("*devml*"))
    assert not (tmp_path / "b.git/hooks/pre-commit").exists()


@pytest.fixture
def read_only(bare: Path) -> Iterator[Path]:
    """The hooks directory of a repository, read-only even for root."""
    place = bare / ".git/hooks"
    place.mkdir(exist_ok=True)
    if os.geteuid():
        place.chmod(0o555)
        yield place
        place.chmod(0o755)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("root, and mounting a tmpfs is not permitted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_s6_read_only_hooks_directory_is_named_and_nothing_is_left(read_only: Path) -> None:
    top = read_only.parent.parent
    for line in (["hooks", "install"], ["init"]):
        ran = devml(*line, cwd=top)
        assert ran.status == 40
        assert f"{read_only} cannot be written" in ran.err
        assert list(read_only.iterdir()) == []
        assert sorted(p.name for p in top.iterdir()) == [".git"]
    assert run("git", "config", "devml.python", cwd=top, check=False).out == ""


def test_s6_hooks_place_that_is_a_file_leaves_nothing_half_done(bare: Path) -> None:
    (bare / "afile").write_text("x")
    run("git", "config", "core.hooksPath", "afile", cwd=bare)
    assert devml("hooks", "install", cwd=bare).status == 40
    assert (bare / "afile").read_text() == "x"


class Stopped(Exception):
    """The machine stopped here."""


@pytest.mark.parametrize("stop", range(4))
def test_s6_install_that_stops_half_way_loses_nothing_and_goes_on(
    bare: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    foreign = {event: f"#!/bin/sh\n# {event}\n".encode() for event in installer.EVENTS[:2]}
    for event, data in foreign.items():
        put(bare / ".git/hooks" / event, data)
    calls = iter(range(100))
    replace = os.replace

    def stopping(old: Path, new: Path) -> None:
        if next(calls) == stop:
            raise Stopped
        replace(old, new)

    monkeypatch.setattr(os, "replace", stopping)
    with pytest.raises(Stopped):
        installer.install(Git.discover(bare))
    monkeypatch.undo()
    place = bare / ".git/hooks"
    for event, data in foreign.items():
        kept = [place / event, place / f"{event}.before-devml"]
        assert data in [p.read_bytes() for p in kept if p.exists()]
    assert devml("hooks", "install", cwd=bare).status == 0
    assert states(bare) == {"ours"}
    devml("hooks", "uninstall", cwd=bare)
    assert {e: (place / e).read_bytes() for e in foreign} == foreign


def test_s6_full_disk_leaves_the_foreign_hook_in_its_place(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = bare / ".git/hooks/pre-commit"
    put(place, b"#!/bin/sh\n")

    def full(fd: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(installer, "write_all", full)
    ran = devml("hooks", "install", cwd=bare)
    assert ran.status == 21
    assert "free some space" in ran.err
    assert [p.name for p in place.parent.iterdir()] == ["pre-commit"]


def test_s6_nothing_is_installed_when_one_hook_is_in_the_way(bare: Path) -> None:
    place = bare / ".git/hooks"
    put(place / "post-merge", b"#!/bin/sh\n# new\n")
    put(place / "post-merge.before-devml", b"#!/bin/sh\n# old\n")
    assert devml("hooks", "install", cwd=bare).status == 40
    assert sorted(p.name for p in place.iterdir()) == ["post-merge", "post-merge.before-devml"]
    assert run("git", "config", "devml.python", cwd=bare, check=False).out == ""


def test_s7_uninstall_keeps_what_was_edited_since(bare: Path) -> None:
    place = bare / ".git/hooks/pre-commit"
    put(place, b"#!/bin/sh\n")
    devml("hooks", "install", cwd=bare)
    put(place.with_name("pre-commit.before-devml"), b"#!/bin/sh\n# edited\n")
    put(place.with_name("post-merge"), b"#!/bin/sh\n# replaced\n")
    devml("hooks", "uninstall", cwd=bare)
    left = {p.name: p.read_bytes() for p in place.parent.iterdir()}
    assert left == {
        "pre-commit": b"#!/bin/sh\n# edited\n",
        "post-merge": b"#!/bin/sh\n# replaced\n",
    }


@pytest.mark.parametrize("target", ["../../scripts/pre-commit", "/nowhere/at/all"])
def test_s7_foreign_hook_that_is_a_link_stays_one(bare: Path, target: str) -> None:
    put(bare / "scripts/pre-commit", b"#!/bin/sh\nexit 3\n")
    place = bare / ".git/hooks/pre-commit"
    place.parent.mkdir()
    place.symlink_to(target)
    devml("hooks", "install", cwd=bare)
    assert states(bare) == {"ours"}
    ran = run("git", "commit", "--allow-empty", "-m", "x", cwd=bare, check=False)
    assert ran.status == (0 if target.startswith("/") else 1)
    devml("hooks", "uninstall", cwd=bare)
    assert os.readlink(place) == target


def test_s7_uninstall_also_removes_what_a_hooks_path_hides(bare: Path) -> None:
    devml("hooks", "install", cwd=bare)
    run("git", "config", "core.hooksPath", "my", cwd=bare)
    devml("hooks", "install", cwd=bare)
    devml("hooks", "uninstall", cwd=bare)
    assert not list((bare / ".git/hooks").iterdir())
    assert not list((bare / "my").iterdir())


def git_with(env: dict[str, str], *args: str, cwd: Path) -> Ran:
    """Run git with HOME and these variables alone, as a GUI or cron may."""
    git = shutil.which("git") or ""
    words = [f"{k}={v}" for k, v in {"HOME": os.environ["HOME"], **env}.items()]
    return run("/usr/bin/env", "-i", *words, git, *args, cwd=cwd)


@pytest.mark.parametrize("env", [{}, {"PATH": ""}, {"PATH": "/nowhere"}], ids=str)
def test_s8_hooks_work_without_an_environment(project: Project, env: dict[str, str]) -> None:
    for n in ("one", "two"):
        project.write("models/a.pt", n)
        ran = git_with(env, "commit", "--allow-empty", "-m", n, cwd=project.path)
        assert "devml-git: snapshot of models/a.pt" in ran.err
        assert "not found" not in ran.err
    git_with(env, "checkout", "-q", "HEAD~1", cwd=project.path)
    assert project.read("models/a.pt") == "one"


def test_s8_without_interpreter_and_path_git_goes_on_with_lines_of_advice(
    project: Project,
) -> None:
    project.git("config", "devml.python", "/nowhere/python")
    head = project.head()
    ran = git_with({"PATH": ""}, "commit", "-q", "--allow-empty", "-m", "x", cwd=project.path)
    assert project.head() != head
    assert {line.split(",")[0] for line in ran.err.splitlines()} == {"devml-git: not found"}
    assert "/nowhere/python is gone" in project.devml("doctor", check=False).out


LOCALES = {
    "C": {"LC_ALL": "C"},
    "POSIX": {"LANG": "POSIX"},
    "tr": {"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"},
    "ascii": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"},
    "narrow": {"COLUMNS": "1", "LINES": "1"},
}


@pytest.mark.parametrize("name", LOCALES)
def test_s15_hooks_and_json_in_any_locale(project: Project, name: str) -> None:
    env = LOCALES[name]
    project.differential = False
    for text in ("one", "two"):
        project.write("models/İnce ağırlık.pt", text)
        project.git("add", "-A", env=env)
        ran = project.git("commit", "--allow-empty", "-m", text, env=env)
        assert "Traceback" not in ran.err
        assert "devml-git: snapshot of" in ran.err
    project.git("checkout", "-q", "HEAD~1", env=env)
    assert project.read("models/İnce ağırlık.pt") == "one"
    # a user who turns UTF-8 off in the C locale has Python itself unable to name the file
    env = {k: v for k, v in env.items() if k != "PYTHONUTF8"}
    for line in (["hooks", "status", "--json"], ["status", "--json"], ["doctor", "--json"]):
        ran = devml_process(*line, cwd=project.path, env=env)
        assert ran.json["schema"].startswith("devml.")
        assert "Traceback" not in ran.err
    assert "İnce ağırlık.pt" in devml_process("status", "--json", cwd=project.path, env=env).out
    assert devml_process("hooks", "status", cwd=project.path, env=env).out.count("ours") == 8


def test_s7_uninstall_without_ours_says_so(bare: Path) -> None:
    put(bare / ".git/hooks/pre-commit", b"#!/bin/sh\n")
    assert devml("hooks", "uninstall", cwd=bare).out == "no hooks of ours are here\n"
    assert (bare / ".git/hooks/pre-commit").read_bytes() == b"#!/bin/sh\n"


@pytest.mark.parametrize("change", ["other version", "not executable", "crlf"])
def test_s9_outdated_hook_is_upgraded_in_place(bare: Path, change: str) -> None:
    devml("hooks", "install", cwd=bare)
    place = bare / ".git/hooks/post-merge"
    if change == "other version":
        place.write_bytes(place.read_bytes().replace(b"hook shim 1", b"hook shim 0") + b"# old\n")
    elif change == "crlf":
        place.write_bytes(place.read_bytes().replace(b"\n", b"\r\n"))
    else:
        place.chmod(0o644)
    assert states(bare) == {"ours", "outdated"}
    devml("hooks", "install", cwd=bare)
    assert states(bare) == {"ours"}
    assert place.read_bytes() == installer.shim_bytes()
    assert not (bare / ".git/hooks/post-merge.before-devml").exists()


def test_foreign_hook_that_replaced_ours_is_not_lost_when_one_is_chained(bare: Path) -> None:
    put(bare / ".git/hooks/pre-commit", b"#!/bin/sh\n# first\n")
    devml("hooks", "install", cwd=bare)
    put(bare / ".git/hooks/pre-commit", b"#!/bin/sh\n# second\n")
    assert devml("hooks", "install", cwd=bare).status == 40
    assert b"second" in (bare / ".git/hooks/pre-commit").read_bytes()
    assert b"first" in (bare / ".git/hooks/pre-commit.before-devml").read_bytes()


def test_s11_fresh_clone_is_told_and_one_command_repairs_it(
    models: Project, tmp_path: Path
) -> None:
    run("git", "clone", "-q", str(models.path), "clone", cwd=tmp_path)
    clone = Project(tmp_path / "clone")
    found = json.loads(devml("doctor", "--json", cwd=clone.path).out)["findings"]
    assert any(f["verdict"] == "fail" and f["mend"] for f in found if f["subject"] == "hooks")
    assert "devml-git init" in devml("status", cwd=clone.path).out
    clone.devml("init")
    assert states(clone.path) == {"ours"}
    assert "devml-git init" not in devml("status", cwd=clone.path).out
    clone.devml("hooks", "uninstall")
    assert "devml-git init" in devml("status", cwd=clone.path).out


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE"])
def test_s13_environment_that_git_set_leads_to_the_right_repository(
    models: Project, name: str
) -> None:
    value = {"GIT_DIR": str(models.path / ".git"), "GIT_WORK_TREE": str(models.path)}
    env = value if name == "GIT_WORK_TREE" else {"GIT_DIR": value["GIT_DIR"]}
    models.write("models/a.pt", "two")
    run("git", "commit", "-q", "--allow-empty", "-m", "x", cwd=models.path, env=env)
    assert models.in_step()


def test_init_is_idempotent_and_quietly_so(project: Project) -> None:
    before = {
        p: p.read_bytes() for p in project.path.rglob("*") if p.is_file() and ".git/" not in str(p)
    }
    project.devml("init", "--track", "models/**")
    after = {
        p: p.read_bytes() for p in project.path.rglob("*") if p.is_file() and ".git/" not in str(p)
    }
    assert {k: v for k, v in after.items() if ".dvc/tmp" not in str(k)} == {
        k: v for k, v in before.items() if ".dvc/tmp" not in str(k)
    }
    assert project.porcelain() == ""


def test_init_lets_git_flush_commits_unless_the_user_has_decided(bare: Path) -> None:
    assert "core.fsync" not in devml("init", cwd=bare).err
    assert run("git", "config", "core.fsync", cwd=bare).out == "none\n"  # the tests' own
    Path(os.environ["HOME"], ".gitconfig").write_text("[user]\nname = T\nemail = t@example.org\n")
    assert "flushes commits to the disk, too: core.fsync=" in devml("init", cwd=bare).err
    assert run("git", "config", "core.fsync", cwd=bare).out == "committed,reference\n"
    assert "core.fsync" not in devml("init", cwd=bare).err


def test_init_without_hooks_installs_none(bare: Path) -> None:
    assert devml("init", "--no-hooks", cwd=bare).status == 0
    assert states(bare) == {"absent"}


def test_init_suggests_large_and_model_like_files(bare: Path) -> None:
    (bare / "m.safetensors").write_bytes(bytes(5000))
    (bare / "huge.dat").write_bytes(bytes(10_000_001))
    (bare / "code.py").write_text("x")
    said = devml("init", cwd=bare).out
    assert "devml-git track m.safetensors" in said
    assert "devml-git track huge.dat" in said
    assert "code.py" not in said


def test_init_keeps_an_existing_dvc_cache_where_it_is(bare: Path) -> None:
    run("dvc", "init", "-q", cwd=bare)
    (bare / "big.bin").write_text("x")
    run("dvc", "add", "-q", "big.bin", cwd=bare)
    run("git", "add", "-A", cwd=bare)
    run("git", "commit", "-qm", "dvc", cwd=bare)
    assert str(bare / ".dvc/cache") in devml("init", cwd=bare).out
    assert not (bare / ".dvc/config.local").exists()
    Project(bare).agree()
    assert Project(bare).states() == {"big.bin": "clean"}
    assert os.path.isdir(bare / ".dvc/cache/files/md5")

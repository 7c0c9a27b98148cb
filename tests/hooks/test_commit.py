"""Promise P1, with real git and hooks: what `git commit` in all its forms records (C1 to C17)."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from tests.world import Project, devml, next_second, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import Shelf


def oid_at(project: Project, rev: str, pointer: str = "models/a.pt.dvc") -> str:
    """Return the oid that a pointer has in a commit (or the index: "")."""
    return project.show(rev, pointer).split("md5: ")[1].split("\n")[0].strip("'")


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def assert_tied(project: Project, path: str = "models/a.pt", rev: str = "HEAD") -> None:
    """The commit points at the bytes that lie there, and the cache has them."""
    data = project.bytes(path)
    oid = oid_at(project, rev, f"{path}.dvc")
    assert oid == md5(data)
    assert project.objects()[oid].read_bytes() == data


def index(project: Project) -> set[str]:
    """Return what the index has: a line for each path."""
    return set(run("git", "ls-files", "-s", cwd=project.path).out.splitlines())


def one_commit(project: Project) -> Project:
    for path in ("models/a.pt", "data/x.csv", "code.py", "sub/code.py", "other.py"):
        project.write(path, "one" if path.startswith("models") else "1")
    project.commit("one")
    return project


@pytest.fixture
def one(shelf: Shelf, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A project with one commit of models/a.pt, data/ and code."""
    return shelf.copy(
        "one", lambda: one_commit(request.getfixturevalue("project")), tmp_path / "project"
    )


# -- forms of commit -----------------------------------------------------------------------------


def test_c1_root_commit_has_the_pointer(tmp_path: Path) -> None:
    run("git", "init", "-q", cwd=tmp_path)
    project = Project(tmp_path)
    project.write("models/a.pt", "root")
    project.devml("init", "--track", "models/**")
    project.git("add", "-A")
    project.git("commit", "-m", "root")
    assert_tied(project)


def test_c1_orphan_root_commit_has_the_pointer(one: Project) -> None:
    one.git("checkout", "--orphan", "fresh")
    one.write("models/a.pt", "orphan")
    one.commit("orphan")
    assert_tied(one)
    one.git("checkout", "main")
    assert one.read("models/a.pt") == "one"


@pytest.mark.parametrize(
    "form", [["-a"], ["-i", "code.py"], ["-am", "x", "--no-edit"], ["--all", "--quiet"]]
)
def test_c2_every_form_records_the_model(one: Project, form: list[str]) -> None:
    one.write("models/a.pt", "two")
    one.write("code.py", "2")
    one.git("commit", "-m", "two", *form)
    assert_tied(one)
    assert one.porcelain() == ""


def test_c2_patch_commit_records_the_model(one: Project) -> None:
    one.write("models/a.pt", "two")
    one.write("code.py", "2")
    one.write("other.py", "2")
    run("git", "commit", "-p", "-m", "two", cwd=one.path, stdin="y\nn\n")
    assert_tied(one)
    assert one.porcelain() == " M other.py\n"


@pytest.mark.parametrize(
    ("form", "staged"),
    [(["-a"], set()), (["--", "code.py"], set()), ([], {"models/a.pt.dvc"})],
    ids=["-a", "path", "plain"],
)
def test_c2_aborted_by_an_empty_message_keeps_bytes_and_index(
    one: Project, form: list[str], staged: set[str]
) -> None:
    """Git rolls its own copies of the index back; in the real one only our pointer is newer."""
    one.write("models/a.pt", "two")
    one.write("code.py", "2")
    if staged:
        one.git("add", "code.py")
    before = index(one)
    ran = one.git("commit", *form, env={"GIT_EDITOR": "true"}, check=False)
    assert ran.status != 0
    assert {line.split("\t")[1] for line in before ^ index(one)} == staged
    assert md5(b"two") in one.objects()
    one.git("commit", "-am", "again")
    assert_tied(one)
    assert one.porcelain() == ""


PARTIAL = ["plain", "other staged", "other dirty"]


@pytest.mark.parametrize("around", PARTIAL)
@pytest.mark.parametrize("amend", [False, True])
def test_c3_partial_commit_is_tied_and_leaves_the_index_right(
    one: Project, around: str, amend: bool
) -> None:
    one.write("models/a.pt", "two")
    one.write("data/y.csv", "new")
    one.write("code.py", "2")
    if around != "plain":
        one.write("other.py", "2")
    if around == "other staged":
        one.git("add", "other.py")
    one.git("commit", *(["--amend"] if amend else []), "-m", "partial", "--", "code.py")
    assert_tied(one)
    left = {"plain": "", "other staged": "M  other.py\n", "other dirty": " M other.py\n"}
    assert one.porcelain() == left[around]
    one.git("commit", "--allow-empty", "-am", "next")
    assert_tied(one)
    assert one.in_step()


def test_c3_partial_commit_of_a_new_model_has_its_pointer(one: Project) -> None:
    one.write("models/new.pt", "new")
    one.write("code.py", "2")
    one.git("commit", "-m", "partial", "--", "code.py")
    assert_tied(one, "models/new.pt")
    assert one.porcelain() == ""


def test_c4_commit_from_a_subdirectory(one: Project) -> None:
    for n, form in enumerate((["-a"], ["-i", "code.py"], ["--", "code.py"])):
        one.write("models/a.pt", f"two {n}")
        one.write("sub/code.py", f"two {n}")
        run("git", "commit", "-m", "two", *form, cwd=one.path / "sub")
        assert_tied(one)
        assert one.porcelain() == ""


def test_c4_commit_from_a_symlinked_directory(one: Project, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(one.path)
    one.write("models/a.pt", "two")
    one.write("code.py", "2")
    run("git", "commit", "-am", "two", cwd=tmp_path / "link")
    assert_tied(one)


@pytest.mark.parametrize(
    "way", [["commit", "--no-verify"], ["-c", "core.hooksPath=/dev/null", "commit"]]
)
def test_c5_commit_past_our_hook_is_noticed_and_loses_nothing(one: Project, way: list[str]) -> None:
    one.write("models/a.pt", "two")
    one.write("code.py", "2")
    ran = one.git(*way, "-am", "two")
    assert one.states()["models/a.pt"] == "modified"
    if "--no-verify" in way:
        assert "does not have" in ran.err
        assert md5(b"two") in one.objects()
    one.devml("commit", "--amend", "--no-edit", check=False)
    one.git("commit", "--amend", "--no-edit")
    assert_tied(one)


def test_c6_amend_without_a_change_keeps_the_pointer(one: Project) -> None:
    one.git("commit", "--amend", "-m", "renamed")
    assert_tied(one)


def test_c6_amend_with_a_change_keeps_the_old_version_too(one: Project) -> None:
    one.write("models/a.pt", "two")
    one.git("commit", "--amend", "--no-edit")
    assert_tied(one)
    assert md5(b"one") in one.objects()
    assert one.porcelain() == ""


@pytest.mark.parametrize("hook", ["pre-commit.before-devml", "commit-msg"])
def test_c7_commit_refused_by_a_foreign_hook_loses_nothing(one: Project, hook: str) -> None:
    place = one.path / ".git" / "hooks" / hook
    place.write_text("#!/bin/sh\nexit 3\n")
    place.chmod(0o755)
    one.write("models/a.pt", "two")
    one.write("code.py", "2")
    assert one.git("commit", "-am", "two", check=False).status != 0
    place.unlink()
    one.git("commit", "-am", "two")
    assert_tied(one)
    assert one.porcelain() == ""


def test_c8_file_written_during_the_commit_is_consistent_or_refused_by_name(one: Project) -> None:
    stop = threading.Event()
    place = one.path / "models" / "a.pt"

    def scribble() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            with open(place, "wb") as f:
                f.writelines(bytes([n % 256]) * 100_000 for _ in range(40))

    one.differential = False
    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        for n in range(4):
            one.write("code.py", f"{n}{n}")
            ran = one.git("commit", "-am", "torn", check=False)
            if ran.status:
                assert "models/a.pt keeps changing" in ran.err
    finally:
        stop.set()
        writer.join()
    for oid, place in one.objects().items():
        assert md5(place.read_bytes()) == oid.removesuffix(".dir")
    one.git("commit", "--allow-empty", "-am", "still")
    assert_tied(one)


def test_c9_same_size_and_mtime_but_other_bytes_is_noticed(one: Project) -> None:
    place = one.path / "models" / "a.pt"
    before = place.stat()
    one.write("models/a.pt", "two")
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    one.differential = False  # DVC's own state does not notice
    one.git("commit", "--allow-empty", "-m", "two")
    assert_tied(one)


def test_c10_touched_file_makes_no_new_version(one: Project) -> None:
    os.utime(one.path / "models" / "a.pt")
    ran = one.git("commit", "--allow-empty", "-m", "touched")
    assert "devml" not in ran.err
    assert run("git", "diff", "HEAD~1", "--stat", cwd=one.path).out == ""


# -- deleting, moving, changing kind -------------------------------------------------------------


def test_c11_deleted_model_keeps_its_pointer_and_says_so(one: Project) -> None:
    (one.path / "models" / "a.pt").unlink()
    ran = one.git("commit", "--allow-empty", "-m", "gone")
    assert "models/a.pt" in ran.err
    assert "untrack --delete" in ran.err
    assert one.states()["models/a.pt"] == "deleted"
    one.devml("checkout")
    assert one.read("models/a.pt") == "one"


def test_c11_deleted_on_purpose_stays_deleted_and_old_commits_keep_it(one: Project) -> None:
    one.devml("untrack", "--delete", "models/a.pt")
    one.commit("deleted")
    assert not one.exists("models/a.pt")
    assert not one.exists("models/a.pt.dvc")
    one.git("checkout", "HEAD~1")
    assert one.read("models/a.pt") == "one"


def test_git_rm_of_the_pointer_is_not_picked_up_again(one: Project) -> None:
    one.git("rm", "-q", "models/a.pt.dvc")
    one.git("commit", "-m", "no pointer")
    one.git("commit", "--allow-empty", "-m", "next")
    assert "models/a.pt" not in one.states()
    assert one.read("models/a.pt") == "one"


def test_untracked_model_stays_and_is_not_taken_away_later(one: Project) -> None:
    one.devml("untrack", "models/a.pt")
    one.git("commit", "-am", "untracked")
    one.git("commit", "--allow-empty", "-m", "next")
    one.git("checkout", "-q", "-b", "side")
    assert one.read("models/a.pt") == "one"
    assert "models/a.pt" not in one.states()


def test_c12_moved_model_keeps_its_history_and_is_stored_once(one: Project) -> None:
    before = set(one.objects())
    (one.path / "models" / "a.pt").rename(one.path / "models" / "b.pt")
    ran = one.git("commit", "--allow-empty", "-m", "moved")
    assert "models/a.pt moved to models/b.pt" in ran.err
    assert set(one.objects()) == before
    assert one.states() == {"models/b.pt": "clean", "data": "clean"}
    renamed = run("git", "show", "--stat", "-M40", "--format=", "HEAD", cwd=one.path).out
    assert "{a.pt.dvc => b.pt.dvc}" in renamed
    one.git("checkout", "-q", "HEAD~1")
    assert one.exists("models/a.pt")
    assert not one.exists("models/b.pt")


def test_c12_moved_directory_of_models_moves_all_pointers(one: Project) -> None:
    for name in ("a.pt", "deep/b.pt"):
        one.write(f"models/old/{name}", name)
    one.commit("two models")
    before = set(one.objects())
    os.renames(one.path / "models/old/deep/b.pt", one.path / "models/new/deep/b.pt")
    os.renames(one.path / "models/old/a.pt", one.path / "models/new/a.pt")
    one.git("commit", "--allow-empty", "-m", "moved")
    assert set(one.objects()) == before
    assert set(one.states()) == {"models/a.pt", "models/new/a.pt", "models/new/deep/b.pt", "data"}
    assert one.in_step()
    assert one.porcelain() == ""


def test_c13_file_directory_file_restores_each(project: Project) -> None:
    project.write("things/a", "file")
    project.devml("track", "things/a")
    project.commit("file")
    project.dvc("remove", "things/a.dvc")
    (project.path / "things/a").unlink()
    project.write("things/a/member", "dir")
    project.devml("track", "things/a/")
    project.commit("dir")
    project.git("checkout", "-q", "HEAD~1")
    assert project.read("things/a") == "file"
    project.git("checkout", "-q", "main")
    assert project.read("things/a/member") == "dir"


def test_c13_directory_artifact_becomes_a_file_by_itself(one: Project) -> None:
    one.dvc("config", "core.autostage", "false")
    (one.path / "data" / "x.csv").unlink()
    (one.path / "data").rmdir()
    one.write("data", "now a file")
    one.git("commit", "--allow-empty", "-am", "file")
    assert one.states()["data"] == "clean"
    one.git("checkout", "-q", "HEAD~1")
    assert one.listing("data") == {"x.csv": b"1"}
    one.git("checkout", "-q", "main")
    assert one.read("data") == "now a file"


@pytest.mark.parametrize("path", ["models/a.pt", "data"])
def test_c13_artifact_replaced_by_a_link_is_refused_and_nothing_lost(
    one: Project, tmp_path: Path, path: str
) -> None:
    (one.path / path).rename(tmp_path / "elsewhere")
    (one.path / path).symlink_to(tmp_path / "elsewhere")
    one.differential = False
    pointer = one.read(f"{path}.dvc")
    ran = one.git("commit", "--allow-empty", "-m", "link", check=False)
    assert ran.status != 0
    assert f"error: {path} is a symbolic link" in ran.err
    assert "hint: " in ran.err
    assert one.read(f"{path}.dvc") == pointer
    assert (tmp_path / "elsewhere").exists()
    (one.path / path).unlink()
    one.devml("checkout")
    assert (one.read("models/a.pt"), one.read("data/x.csv")) == ("one", "1")


def test_a_link_beside_the_models_stops_no_commit(one: Project) -> None:
    (one.path / "models" / "latest.pt").symlink_to("a.pt")
    one.write("models/a.pt", "two")
    one.git("commit", "--allow-empty", "-m", "two")
    assert_tied(one)
    assert any("latest.pt" in note for note in one.status()["notes"])


def test_c14_model_in_git_becomes_tracked_and_back(one: Project) -> None:
    one.write("weights.bin", "in git")
    one.commit("in git")
    said = one.devml("track", "weights.bin").out
    assert "moved out of git's index: weights.bin" in said
    one.commit("tracked")
    assert run("git", "ls-files", "weights.bin", cwd=one.path).out == ""
    assert one.read("weights.bin") == "in git"
    one.devml("untrack", "weights.bin")
    one.git("add", "-A")
    one.git("commit", "-m", "back")
    assert run("git", "ls-files", "weights.bin", cwd=one.path).out == "weights.bin\n"
    for rev in ("HEAD~1", "main"):
        one.devml("checkout", rev)
        assert one.read("weights.bin") == "in git"


# -- modes, sizes, duplicates --------------------------------------------------------------------


def test_c15_exec_bits_of_a_file_and_of_members_come_back(one: Project) -> None:
    one.write("models/run", "#!/bin/sh")
    one.write("data/tool", "#!/bin/sh")
    for name in ("models/run", "data/tool"):
        (one.path / name).chmod(0o755)
    one.commit("tools")
    one.git("checkout", "-q", "HEAD~1")
    one.git("checkout", "-q", "main")
    for name in ("models/run", "data/tool"):
        assert (one.path / name).stat().st_mode & stat.S_IXUSR, name
    assert not (one.path / "data/x.csv").stat().st_mode & stat.S_IXUSR


def test_c15_exec_bit_alone_is_a_change_that_comes_and_goes(one: Project) -> None:
    one.write("data/tool", "#!/bin/sh")
    (one.path / "data/tool").chmod(0o755)  # a list of none is what DVC's own pointers have: unknown
    one.commit("tool")
    paths = [one.path / "models/a.pt", one.path / "data/x.csv"]
    before = set(one.objects())
    for place in paths:
        place.chmod(0o755)
    one.git("commit", "--allow-empty", "-m", "executable")
    assert set(one.objects()) == before
    one.git("checkout", "-q", "HEAD~1")
    assert not any(os.access(place, os.X_OK) for place in paths)
    one.git("checkout", "-q", "main")
    assert all(os.access(place, os.X_OK) for place in paths)


@pytest.mark.parametrize("mode", [0o444, 0o600, 0o644])
def test_c15_snapshot_leaves_the_workspace_file_as_it_was(one: Project, mode: int) -> None:
    place = one.write("models/b.pt", "b")
    place.chmod(mode)
    before = place.stat()
    one.commit("b")
    after = place.stat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns, after.st_nlink) == (
        before.st_ino, before.st_mode, before.st_mtime_ns, 1,
    )  # fmt: skip


def test_c15_strict_umask_is_obeyed(one: Project) -> None:
    before = os.umask(0o077)
    try:
        one.write("models/b.pt", "b")
        one.commit("b")
        one.git("checkout", "-q", "HEAD~1")
        one.git("checkout", "-q", "main")
    finally:
        os.umask(before)
    assert stat.S_IMODE((one.path / "models/b.pt").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"outs:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 0\n",
        bytes(range(256)) * 9000,
    ],
)
def test_c16_any_bytes_come_back(one: Project, data: bytes) -> None:
    one.write("models/b.pt", data)
    one.write("data/b", data)
    one.commit("b")
    one.git("checkout", "-q", "HEAD~1")
    one.git("checkout", "-q", "main")
    assert one.bytes("models/b.pt") == data == one.bytes("data/b")


def test_c17_same_bytes_twice_are_one_object_and_stay_apart(one: Project) -> None:
    before = len(one.objects())
    one.write("models/b.pt", "same")
    one.write("models/c.pt", "same")
    one.commit("twins")
    assert len(one.objects()) == before + 1
    one.git("checkout", "-q", "HEAD~1")
    one.git("checkout", "-q", "main")
    with open(one.path / "models/b.pt", "a") as f:
        f.write("!")
    assert one.read("models/c.pt") == "same"
    assert one.object("models/c.pt.dvc").read_bytes() == b"same"


def test_c17_a_thousand_equal_files_are_one_object(one: Project) -> None:
    for n in range(1000):
        one.write(f"data/{n}", "same")
    before = len(one.objects())
    one.commit("many")
    assert len(one.objects()) == before + 2  # the content and the manifest
    one.git("checkout", "-q", "HEAD~1")
    one.git("checkout", "-q", "main")
    assert len(one.listing("data")) == 1001


# -- only a model has changed, and what stops a commit -------------------------------------------


@pytest.mark.parametrize("form", [["-m", "two"], ["-am", "two"]], ids=["plain", "-a"])
def test_only_a_model_changed_first_try_says_why_second_works(
    one: Project, form: list[str]
) -> None:
    one.write("models/a.pt", "two")
    first = one.git("commit", *form, check=False)
    assert first.status == 1
    assert "run the same command again" in first.err
    one.git("commit", *form)
    assert_tied(one)
    assert one.porcelain() == ""


@pytest.mark.parametrize("change", ["new", "moved", "dvc add"])
@pytest.mark.parametrize("form", [["-m", "two"], ["-am", "two"]], ids=["plain", "-a"])
def test_only_a_new_pointer_first_try_says_why_second_works(
    one: Project, form: list[str], change: str
) -> None:
    """Git throws the index of `commit -a` away when it refuses: a new pointer was lost with it."""
    path = "models/b.pt" if change != "dvc add" else "b.bin"
    if change == "moved":
        os.rename(one.path / "models/a.pt", one.path / path)
    else:
        one.write(path, "two")
    if change == "dvc add":
        one.write(".gitignore", one.read(".gitignore") + "/b.bin\n")
        one.git("commit", "-qam", "ignored")
        one.dvc("add", path)
    first = one.git("commit", *form, check=False)
    assert first.status == 1
    assert "run the same command again" in first.err
    one.git("commit", *form)
    assert_tied(one, path)
    assert one.porcelain() == ""


def test_only_a_model_changed_devml_commit_does_it_at_once(one: Project) -> None:
    one.write("models/a.pt", "two")
    ran = run("devml-git", "commit", "-m", "two", "--author", "A <a@b>", cwd=one.path)
    assert "hint" not in ran.err
    assert_tied(one)
    assert run("git", "log", "-1", "--format=%an", cwd=one.path).out == "A\n"


def test_only_a_model_changed_allow_empty_works_at_once(one: Project) -> None:
    one.write("models/a.pt", "two")
    ran = one.git("commit", "--allow-empty", "-m", "two")
    assert "nothing to commit" not in ran.err
    assert_tied(one)


def test_devml_commit_takes_an_artifact_after_dashes(one: Project) -> None:
    one.write("models/a.pt", "two")
    one.write("code.py", "2")
    run("devml-git", "commit", "-m", "two", "--", "models/a.pt", cwd=one.path)
    assert_tied(one)
    assert one.porcelain() == " M code.py\n"


def test_devml_commit_passes_gits_exit_code(one: Project) -> None:
    assert run("devml-git", "commit", "-m", "nothing", cwd=one.path, check=False).status == 1


def test_large_file_stops_the_commit_and_names_the_command(one: Project) -> None:
    one.write("big.bin", bytes(10_000_001))
    one.git("add", "big.bin")
    ran = one.git("commit", "-m", "big", check=False)
    assert ran.status != 0
    assert "devml-git track big.bin" in ran.err
    one.devml("track", "big.bin")
    one.commit("tracked")
    assert_tied(one, "big.bin")


@pytest.mark.parametrize("path", ["models/a.pt", "data/x.csv", "models/new.pt"])
def test_artifact_staged_as_content_stops_the_commit(one: Project, path: str) -> None:
    one.write(path, "content")
    one.git("add", "-f", path)
    ran = one.git("commit", "-m", "forced", check=False)
    assert ran.status != 0
    assert f"git rm --cached -- {path}" in ran.err


def test_pre_commit_check_refuses_until_there_is_a_snapshot(one: Project) -> None:
    one.write("devml.toml", one.read("devml.toml") + '\n[hooks]\npre-commit = "check"\n')
    one.commit("check")
    one.write("models/a.pt", "two")
    ran = one.git("commit", "--allow-empty", "-m", "two", check=False)
    assert ran.status != 0
    assert "devml-git snapshot" in ran.err
    one.devml("snapshot")
    one.git("commit", "-m", "two")
    assert_tied(one)


def test_pre_commit_off_leaves_the_model_alone(one: Project) -> None:
    one.write("devml.toml", one.read("devml.toml") + '\n[hooks]\npre-commit = "off"\n')
    one.commit("off")
    one.write("models/a.pt", "two")
    one.git("commit", "--allow-empty", "-m", "two")
    assert one.states()["models/a.pt"] == "modified"


@pytest.mark.parametrize("at_rest", [False, True])
def test_pointer_made_by_dvc_add_is_committed_with_its_content(one: Project, at_rest: bool) -> None:
    if at_rest:  # the shell answers, once git can tell the files' second from a later one
        next_second()
        one.git("commit", "-q", "--allow-empty", "-m", "settle")
    one.write("extra.bin", "extra")
    one.dvc("add", "-q", "extra.bin")
    one.write("code.py", "2")
    one.git("commit", "-am", "forgot git add")
    assert_tied(one, "extra.bin")


def test_git_add_all_never_takes_a_model(one: Project) -> None:
    for path in ("models/deep/er/b.pt", "data/sub/c", "models/README.md"):
        one.write(path, path)
    one.git("add", "-A")
    listed = run("git", "ls-files", "models", "data", cwd=one.path).out.split()
    assert listed == ["models/README.md", "models/a.pt.dvc"]


def test_snapshot_twice_changes_nothing(one: Project) -> None:
    one.write("models/a.pt", "two")
    assert "snapshot of models/a.pt" in one.devml("snapshot").out
    assert one.devml("snapshot").out == "nothing has changed\n"


def test_status_exit_code_answers(one: Project) -> None:
    assert devml("status", "--exit-code", cwd=one.path).status == 0
    one.write("models/a.pt", "two")
    assert devml("status", "--exit-code", cwd=one.path).status == 1


def test_file_rewritten_in_the_second_of_gits_index_stays_modified(project: Project) -> None:
    """git believes times unless they are as new as its index: a copy of that must be as old."""
    project.differential = False
    project.write("models/a.pt", "weights\n")
    next_second()  # at the beginning of a second
    project.write("train.py", "print(1)\n")
    run("git", "add", "train.py", cwd=project.path)
    project.write("train.py", "PRINT(1)\n")
    next_second()
    project.devml("snapshot")
    assert "train.py" in run("git", "diff", "--name-only", cwd=project.path).out

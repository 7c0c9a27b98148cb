"""Bad input: a clear error, the right exit code, and nothing lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import devml_git
from devml_git.cache import Cache, Source
from devml_git.errors import NotARepository, StorageFailed
from tests.world import Project, devml, devml_process, run


def said(ran: object, status: int, *words: str) -> None:
    """The command left with `status`, and its error has these words."""
    text = ran.err + ran.out
    assert ran.status == status, text
    for word in words:
        assert word in text
    assert "Traceback" not in text


# -- where it is run -----------------------------------------------------------------------------


def test_outside_of_a_repository(tmp_path: Path) -> None:
    said(devml("status", cwd=tmp_path), 10, "not in a git repository", "hint:")


def test_bare_repository(tmp_path: Path) -> None:
    run("git", "init", "-q", "--bare", cwd=tmp_path)
    for args in (
        ["init"],
        ["log"],
        ["show", "HEAD"],
        ["diff", "A..B"],
        ["blame", "m.pt"],
        ["status"],
    ):
        said(
            devml(*args, cwd=tmp_path), 10, "this is a bare repository", "git worktree add ../work"
        )
    with pytest.raises(NotARepository, match="bare repository"):
        devml_git.Repo(tmp_path)


def test_inside_of_git_directory(project: Project) -> None:
    said(devml("status", cwd=project.path / ".git"), 10)


def test_repository_that_was_not_set_up(tmp_path: Path) -> None:
    run("git", "init", "-q", cwd=tmp_path)
    for command in (["status"], ["snapshot"], ["checkout"], ["track", "x"], ["rescue", "list"]):
        said(devml(*command, cwd=tmp_path), 10, "devml-git init")


def test_no_commit_yet(tmp_path: Path) -> None:
    run("git", "init", "-q", cwd=tmp_path)
    project = Project(tmp_path)
    project.devml("init", "--track", "models/**")
    project.write("models/a.pt", "a")
    assert project.status()["head"] is None
    said(project.devml("checkout", "HEAD", check=False), 2, "unknown revision")
    project.devml("snapshot")
    assert project.states() == {"models/a.pt": "clean"}


def test_git_too_old(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin/git"
    fake.parent.mkdir()
    real = run("sh", "-c", "command -v git", cwd=tmp_path).out.strip()
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = version ] && echo git version 2.20.1 && exit\nexec {real} "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    said(devml("init", cwd=project.path), 20, "git 2.20.1 is too old", "2.30")


def test_dvc_too_old(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _name: "3.10.0")
    said(devml("init", cwd=project.path), 21, "DVC 3.10.0 is too old", "pip install")


# -- revisions and paths -------------------------------------------------------------------------


@pytest.mark.parametrize("rev", ["nope", "HEAD~99", "--end", "refs/heads/nope", "@{upstream}"])
def test_unknown_revision(models: Project, rev: str) -> None:
    said(models.devml("checkout", rev, check=False), 2)
    assert models.in_step()


def test_revision_that_is_also_a_path(models: Project) -> None:
    models.write("v1", "a file")
    said(models.devml("checkout", "v1", check=False), 2, "both a revision and a path", "--")
    models.devml("checkout", "v1", "--")
    assert models.read("models/a.pt").startswith("weights 1")


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd"])
def test_path_outside_of_the_repository(models: Project, path: str) -> None:
    for command in (
        ["checkout", "--", path],
        ["snapshot", path],
        ["track", path],
        ["untrack", path],
    ):
        said(models.devml(*command, check=False), 2, "outside of the repository")


def test_untracked_path_names_the_nearest(models: Project) -> None:
    for command in (["checkout", "--"], ["checkout", "v1", "--"], ["snapshot"], ["untrack"]):
        said(models.devml(*command, "models/b.pt", check=False), 2, "did you mean models/a.pt?")


def test_json_errors_are_one_document_on_stderr(tmp_path: Path) -> None:
    ran = devml("status", "--json", cwd=tmp_path)
    assert ran.out == ""
    error = json.loads(ran.err)
    assert (error["schema"], error["code"]) == ("devml.error/v1", 10)
    assert error["message"]
    assert error["hint"]


@pytest.mark.parametrize(
    "line", [["nonsense"], ["status", "--nonsense"], ["track"], ["rescue", "restore", "zz"]]
)
def test_unknown_command_option_or_missing_argument(models: Project, line: list[str]) -> None:
    said(models.devml(*line, check=False), 2, "error: ")


# -- files ---------------------------------------------------------------------------------------


def test_socket_fifo_and_link_are_no_artifacts(project: Project) -> None:
    os.mkfifo(project.path / "pipe")
    with socket.socket(socket.AF_UNIX) as s:
        before = Path.cwd()
        os.chdir(project.path)
        s.bind("sock")
        os.chdir(before)
    (project.path / "link").symlink_to("devml.toml")
    for name, word in (("pipe", "named pipe"), ("sock", "socket"), ("link", "symbolic link")):
        said(project.devml("track", name, check=False), 2, word)


def test_pipe_inside_a_directory_is_named_and_hangs_nothing(models: Project) -> None:
    os.mkfifo(models.path / "data/pipe")
    models.differential = False
    ran = devml_process("snapshot", cwd=models.path)
    said(ran, 21, "data/pipe is a named pipe")


def test_link_to_nothing_inside_a_directory_is_named(models: Project) -> None:
    (models.path / "data/broken").symlink_to("nowhere")
    models.differential = False
    said(models.devml("snapshot", check=False), 21, "data/broken is a link to nothing")
    assert models.read("data/x.csv") == "x,3\n"


def test_links_inside_a_directory_are_told(models: Project) -> None:
    (models.path / "data/l").symlink_to("x.csv")
    assert "stored as the files they point to" in models.devml("snapshot").out


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    # root may read any file but for this one, which answers EIO
    with pytest.raises(StorageFailed, match="data/unreadable: input/output error"):
        Cache(tmp_path).put([Source("/proc/self/mem", "data/unreadable", 0)])


def test_cache_that_cannot_be_written_is_named(models: Project) -> None:
    if os.geteuid() == 0 and not _immutable(models.path / ".git/devml/cache/files", on=True):
        pytest.skip("chattr (e2fsprogs) does nothing here, and root may write anywhere")
    models.differential = False
    try:
        models.write("models/a.pt", "new")
        ran = models.devml("snapshot", check=False)
    finally:
        _immutable(models.path / ".git/devml/cache/files", on=False)
    said(ran, 21, "cache", "hint:")
    assert models.read("models/a.pt") == "new"


def _immutable(place: Path, *, on: bool) -> bool:
    done = subprocess.run(
        ["chattr", "-R", "+i" if on else "-i", str(place)], capture_output=True, check=False
    )
    return done.returncode == 0


def test_workspace_that_cannot_be_written_is_named(models: Project) -> None:
    models.differential = False
    models.write("models/a.pt", "new")
    if not _immutable(models.path / "models", on=True):
        pytest.skip("chattr (e2fsprogs) does nothing here, and root may write anywhere")
    try:
        ran = models.devml("snapshot", check=False)
    finally:
        _immutable(models.path / "models", on=False)
    said(ran, 21, "models/a.pt.dvc", "hint:")
    models.devml("snapshot")
    assert models.in_step()


def lies(place: Path) -> tuple[int, ...]:
    """What a place is; reading a link changes the time it was read."""
    st = place.lstat()
    return st.st_ino, st.st_mode, st.st_size, st.st_mtime_ns


@pytest.mark.parametrize("kind", ["named pipe", "symbolic link", "character device"])
def test_artifact_replaced_by_what_is_no_file_is_named_and_left(models: Project, kind: str) -> None:
    models.differential = False
    place = models.path / "models/a.pt"
    place.unlink()
    if kind == "named pipe":
        os.mkfifo(place)
    elif kind == "symbolic link":
        place.symlink_to("/etc/passwd")
    else:
        try:
            os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("making devices is not permitted here")
    before = lies(place)
    said(models.devml("snapshot", check=False), 21, f"models/a.pt is a {kind}", "hint:")
    said(models.devml("checkout", check=False), 21, f"models/a.pt is a {kind}")
    said(models.devml("checkout", "v1", check=False), 31, "models/a.pt")
    assert lies(place) == before
    assert models.head() == models.head("v3")


def test_file_that_vanishes_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="gone vanished"):
        Cache(tmp_path).put([Source(str(tmp_path / "gone"), "gone", 1)])


def test_empty_file_and_empty_directory(project: Project) -> None:
    project.write("models/empty", "")
    (project.path / "data").mkdir()
    project.commit("empty")
    assert project.states() == {"models/empty": "clean"}
    assert any("data is empty" in note for note in project.status()["notes"])
    project.write("data/x", "")
    project.commit("x")
    (project.path / "data/x").unlink()
    project.commit("emptied")
    assert project.in_step()
    project.git("checkout", "-q", "HEAD~1")
    assert project.listing("data") == {"x": b""}


@pytest.mark.parametrize(
    "name", [b"models/\xff.pt", b"models/new\nline.pt", b"models/esc\x1b[2J.pt"]
)
def test_name_that_cannot_be_tracked_is_said_safely(project: Project, name: bytes) -> None:
    place = os.path.join(os.fsencode(project.path), name)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as f:
        f.write(b"x")
    project.differential = False
    ran = project.git("commit", "-q", "--allow-empty", "-m", "x", check=False)
    assert ran.status != 0
    assert "error: " in ran.err
    assert "\x1b" not in ran.err
    assert "new\nline" not in ran.err


@pytest.mark.parametrize("name", [b"\xff", b"new\nline", b"esc\x1b[2J"])
@pytest.mark.parametrize("where", [b"data/", b"models/"])
def test_hostile_name_never_reaches_the_terminal_raw(
    models: Project, where: bytes, name: bytes
) -> None:
    models.differential = False
    with open(os.path.join(os.fsencode(models.path), where + name), "wb") as f:
        f.write(b"x")
    for command in (["status"], ["snapshot"], ["checkout", "v1"], ["track", "models/*"]):
        ran = models.devml(*command, check=False)
        assert ran.out + ran.err
        assert "\x1b" not in ran.out + ran.err
        assert "new\nline" not in ran.out + ran.err
    with open(os.path.join(os.fsencode(models.path), where + name), "rb") as f:
        assert f.read() == b"x"


# -- pointers, configuration, record -------------------------------------------------------------


def test_malformed_pointer_is_named_and_stops_the_commit_only(models: Project) -> None:
    models.write("models/a.pt.dvc", "outs: [")
    said(models.devml("status"), 0, "models/a.pt.dvc")
    said(
        models.git("commit", "-qam", "x", check=False), 1, "models/a.pt.dvc", "git checkout HEAD --"
    )
    models.git("checkout", "--", "models/a.pt.dvc")
    assert models.in_step()


def test_pointer_with_conflict_markers_is_a_conflict(models: Project) -> None:
    text = models.read("models/a.pt.dvc")
    models.write("models/a.pt.dvc", f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> side\n")
    assert models.states()["models/a.pt"] == "conflict"
    assert models.git("commit", "-qam", "x", check=False).status != 0


def test_two_pointers_for_one_path(models: Project) -> None:
    models.write("two.dvc", models.read("models/a.pt.dvc").replace("a.pt", "models/a.pt"))
    said(models.devml("status"), 0, "so does")
    said(models.git("commit", "-q", "--allow-empty", "-m", "x", check=False), 1, "keep one of them")


def test_overlapping_artifacts(models: Project) -> None:
    said(models.devml("track", "data/x.csv", check=False), 2, "overlaps with the artifact data")
    said(models.devml("track", "models/a.pt/", check=False), 2, "is a file")


def test_pointer_inside_another_artifact_is_named_and_stops_the_commit(models: Project) -> None:
    models.differential = False
    text = models.read("models/a.pt.dvc")
    models.write("inner.dvc", text.replace("path: a.pt", "path: data/x.csv"))
    said(models.devml("status"), 0, "inner.dvc", "inside the artifact")
    said(models.git("commit", "-q", "--allow-empty", "-m", "x", check=False), 1, "keep one of them")
    assert models.read("data/x.csv") == "x,3\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [("trak = []", ["unknown key 'trak'", "did you mean track?"]), ("track = 3", ["list of strings"]),
     ("[hooks]\nfetch = 'x'", ["hooks.fetch"]), ("= =", ["not valid TOML"]), ("large-file = 'big'", ["size"])],
)  # fmt: skip
def test_bad_configuration(models: Project, text: str, words: list[str]) -> None:
    models.differential = False
    models.write("devml.toml", text)
    said(models.devml("status", check=False), 2, *words)
    said(models.git("commit", "-qam", "x", check=False), 1, *words)


def test_bad_dvc_configuration(models: Project) -> None:
    models.differential = False
    models.write(".dvc/config", "[cache\n")
    said(models.devml("verify", "--remote", check=False), 21, "config")
    models.devml("status")  # needs no remote


@pytest.mark.parametrize("how", ["garbage", "gone", "empty", "other version"])
def test_lost_record_is_rebuilt_and_reverts_nobody(models: Project, how: str) -> None:
    record = models.path / ".git/devml/record.db"
    models.git(
        "-c", "core.hooksPath=/dev/null", "checkout", "-q", "v1"
    )  # the workspace stays at v3
    if how == "gone":
        record.unlink()
    elif how == "other version":
        run("python3", "-c", f"import sqlite3; c=sqlite3.connect({str(record)!r}); c.execute('pragma user_version=99')",
            cwd=models.path)  # fmt: skip
    else:
        record.write_bytes(b"garbage" * 1000 if how == "garbage" else b"")
    assert models.states() == {"models/a.pt": "stale", "data": "stale"}
    models.git("commit", "-q", "--allow-empty", "-m", "next")
    assert models.show("HEAD", "models/a.pt.dvc") == models.show("v1", "models/a.pt.dvc")
    assert models.read("models/a.pt").startswith("weights 1")


def test_lost_record_keeps_a_users_own_edit(models: Project) -> None:
    models.write("models/a.pt", "my edit")
    (models.path / ".git/devml/record.db").unlink()
    assert models.states()["models/a.pt"] == "modified"
    models.git("commit", "-q", "--allow-empty", "-m", "mine")
    assert models.show("HEAD", "models/a.pt.dvc").split()[3] == hashlib.md5(b"my edit").hexdigest()


# -- interrupted ---------------------------------------------------------------------------------


def interrupt(project: Project, command: list[str], scratch: str) -> tuple[int, bytes]:
    """Send Ctrl-C to a devml-git that is half-way through copying a large file."""
    process = subprocess.Popen([sys.executable, "-m", "devml_git", *command], cwd=project.path,
                               stderr=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        half = (project.path / scratch).rglob("*.tmp")
        with contextlib.suppress(FileNotFoundError):
            if any(f.stat().st_size > 1 << 20 for f in half):
                break
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    return process.returncode or process.wait(20), process.communicate()[1]


def test_ctrl_c_in_a_snapshot_exits_with_130_and_says_so(models: Project) -> None:
    models.differential = False
    pointer = models.read("models/a.pt.dvc")
    data = os.urandom(1 << 20) * 300
    models.write("models/a.pt", data)
    status, err = interrupt(models, ["snapshot"], ".git/devml/cache")
    assert (status, b"error: interrupted" in err, b"Traceback" in err) == (130, True, False)
    assert models.read("models/a.pt.dvc") == pointer
    assert not list(models.cache.rglob("*.tmp"))
    models.devml("snapshot")
    assert models.in_step()
    assert models.bytes("models/a.pt") == data


def test_ctrl_c_in_a_checkout_leaves_whole_files_and_the_same_command_finishes(
    models: Project,
) -> None:
    models.differential = False
    data = os.urandom(1 << 20) * 300
    models.write("models/a.pt", data)
    models.commit("big")
    models.devml("checkout", "v1")
    status, _ = interrupt(models, ["checkout", "main"], ".git/devml/tmp")
    assert status == 130
    assert models.read("models/a.pt").startswith("weights 1")
    assert set(models.states().values()) == {"stale"}
    models.devml("checkout", "main")
    assert models.bytes("models/a.pt") == data
    assert models.in_step()


@pytest.mark.parametrize("after", [0.15, 0.5])
def test_ctrl_c_loses_nothing_and_the_same_command_then_works(
    models: Project, after: float
) -> None:
    models.differential = False
    data = os.urandom(1 << 20) * 150
    models.write("models/a.pt", data)
    for n in range(300):
        models.write(f"data/many/{n}", str(n))
    process = subprocess.Popen([sys.executable, "-m", "devml_git", "snapshot"], cwd=models.path,
                               stderr=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode in {130, 0, -signal.SIGINT}
    assert models.bytes("models/a.pt") == data
    for oid, place in models.objects().items():
        assert hashlib.md5(place.read_bytes()).hexdigest() == oid.removesuffix(".dir")
    models.devml("snapshot")
    assert models.in_step()
    assert models.object("models/a.pt.dvc").stat().st_size == len(data)


def test_a_thousand_broken_pointers_of_a_commit_are_a_few_lines(models: Project) -> None:
    models.differential = False
    for n in range(1000):
        models.write(f"p/{n}.dvc", "outs: nonsense\n")
    run("git", "add", "-A", cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "attack", cwd=models.path)
    models.write("models/a.pt", "better weights")
    models.write("train.py", "print(4)\n")
    trace = models.path.parent / "trace"
    env = {**os.environ, "GIT_TRACE2_EVENT": str(trace)}
    ran = run("git", "commit", "-qam", "the rest goes on", cwd=models.path, env=env)
    told = [line for line in ran.err.splitlines() if "left alone" in line or "more like" in line]
    assert len(told) == 4
    assert "997 more like it: devml-git status" in told[-1]
    assert trace.read_text().count('"event":"start"') < 60  # processes of git


def test_broken_pointer_stops_the_commit_unless_head_index_and_worktree_are_alike(
    models: Project,
) -> None:
    models.differential = False
    broken = "outs: nonsense\n"
    models.write("p.dvc", broken)
    run("git", "add", "-A", cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "attack", cwd=models.path)
    assert models.git("commit", "--allow-empty", "-qm", "as it came", check=False).status == 0
    models.write("p.dvc", broken + "# worktree\n")
    assert models.git("commit", "--allow-empty", "-qm", "x", check=False).status == 1
    run("git", "add", "p.dvc", cwd=models.path)
    assert models.git("commit", "-qm", "index", check=False).status == 1
    models.write("p.dvc", broken)
    assert models.git("commit", "-qm", "index, not the worktree", check=False).status == 1
    run("git", "rm", "-q", "-f", "--cached", "p.dvc", cwd=models.path)
    assert models.git("commit", "-qm", "not in the index", check=False).status == 1

"""Many pointers in one `git diff`: some in words, then as they are, by the process of git."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devml_git import allowance
from tests.world import Project, run

if TYPE_CHECKING:
    from tests.world import Shelf

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="told by /proc")
MANY = 300


@pytest.fixture
def crowded(shelf: Shelf, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """v1 and v2 of MANY pointers, whose content is nowhere; a Python that leaves a line a start."""

    def make() -> Project:
        p: Project = request.getfixturevalue("project")
        for n in (1, 2):
            for i in range(MANY):
                text = (
                    f"outs:\n- md5: a{n:015x}{i:016x}\n  size: {n}\n  hash: md5\n  path: m{i}.pt\n"
                )
                p.write(f"many/m{i}.pt.dvc", text)
            run("git", "add", "-A", cwd=p.path)
            run("git", "commit", "-qnm", f"v{n}", cwd=p.path, env={"DEVML_GIT_ACTIVE": "1"})
            run("git", "tag", f"v{n}", cwd=p.path)
        return p

    project = shelf.copy("crowded", make, tmp_path / "crowded")
    project.differential = False
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\necho >>{tmp_path}/started\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    run("git", "config", "devml.python", str(wrapper), cwd=project.path)
    return project


def starts(p: Project) -> int:
    """Return how many times Python was started since the last call."""
    place = p.path.parent / "started"
    count = place.read_text().count("\n") if place.exists() else 0
    place.unlink(missing_ok=True)
    return count


def modes(diff: str) -> list[str]:
    """Return, for each file of a diff, how its two sides are shown: ww, rr, wr or rw."""
    found = []
    for part in diff.split("\ndiff --git "):
        sides = [re.search(rf"^\{s}(?:- )?md5\b(:?)", part, re.MULTILINE) for s in "-+"]
        found.append("".join("r" if m[1] else "w" for m in sides if m))
    return found


@pytest.mark.parametrize("argv", [["diff", "v1", "v2"], ["log", "-p", "-1", "v2"]])
def test_many_pointers_are_shown_as_they_are_after_some_in_words(
    crowded: Project, argv: list[str]
) -> None:
    ran = run("git", *argv, cwd=crowded.path)
    assert starts(crowded) < 200
    assert ran.err == f"devml-git: {allowance.SAID}\n"
    shown = [m for m in modes(ran.out) if m]
    assert len(shown) == MANY
    assert shown == sorted(shown, reverse=True)
    assert set(shown) == {"ww", "rr"}
    assert "content is not here" in ran.out


def test_next_git_starts_with_words_again(crowded: Project) -> None:
    run("git", "diff", "v1", "v2", cwd=crowded.path)
    ran = run("git", "diff", "v1", "v2", "--", "many/m7.pt.dvc", cwd=crowded.path)
    assert (modes(ran.out), ran.err) == (["ww"], "")
    private = crowded.path / ".git/devml" / allowance.DIRECTORY
    assert len(list(private.iterdir())) == 1  # of the process that is gone as well, till the next
    assert private.stat().st_mode & 0o777 == 0o700
    assert {f.stat().st_mode & 0o777 for f in private.iterdir()} == {0o600}


@pytest.mark.parametrize("where", ["worktree", "subdirectory", "linked", "GIT_DIR"])
def test_patch_of_many_pointers_starts_one_python_and_applies(
    crowded: Project, tmp_path: Path, where: str
) -> None:
    place, env = crowded.path, dict(os.environ)
    if where == "linked":
        place = tmp_path / "linked"
        run("git", "worktree", "add", "-q", str(place), "v2", cwd=crowded.path)
    elif where == "subdirectory":
        place = crowded.path / "many"
    elif where == "GIT_DIR":
        env |= {"GIT_DIR": str(crowded.path / ".git"), "GIT_WORK_TREE": str(crowded.path)}
    starts(crowded)
    with (tmp_path / "patch").open("wb") as out:
        done = subprocess.run(
            ["git", "diff", "v1", "v2"], cwd=place, env=env, stdout=out, stderr=subprocess.PIPE,
            check=True,
        )  # fmt: skip
    assert (starts(crowded), done.stderr) == (1, b"")
    run("git", "apply", "-R", "--check", str(tmp_path / "patch"), cwd=crowded.path)


def test_search_and_blame_are_in_words_to_the_end() -> None:
    assert allowance.counts("diff", ["git", "diff", "v1"])
    assert allowance.counts("log", ["git", "log", "-p"])
    assert not allowance.counts("log", ["git", "log", "-Glayer"])
    assert not allowance.counts("blame", ["git", "blame", "x.dvc"])


# -- what is written down ------------------------------------------------------------------------


@pytest.fixture
def git_dir(tmp_path: Path) -> Path:
    (tmp_path / "devml").mkdir()
    return tmp_path


def share(git_dir: Path, started: str = "1") -> allowance.Share:
    found = allowance.share(str(git_dir), str(os.getpid()), started)
    assert found is not None
    return found


def spend(git_dir: Path, file: str, started: str = "1") -> None:
    share(git_dir, started).spend(file)


@pytest.fixture
def exhausted(git_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git that has spent all, with the old side of x.dvc."""
    monkeypatch.setattr(allowance, "_SECONDS", -1.0)
    spend(git_dir, "/tmp/git-blob-1/x.dvc")
    return git_dir


def test_new_side_is_shown_as_the_old_one(exhausted: Path) -> None:
    assert not share(exhausted).is_spent("/tmp/git-blob-2/x.dvc")
    spend(exhausted, "/tmp/git-blob-2/x.dvc")
    assert share(exhausted).is_spent("/tmp/git-blob-3/x.dvc")
    assert share(exhausted).is_spent("/tmp/git-blob-3/y.dvc")


def test_file_of_one_side_is_followed_by_another_file(exhausted: Path) -> None:
    assert share(exhausted).is_spent("/tmp/git-blob-2/y.dvc")


def test_new_side_in_the_workspace_ends_a_file(exhausted: Path) -> None:
    spend(exhausted, "models/x.dvc")
    assert share(exhausted).is_spent("/tmp/git-blob-2/x.dvc")


def test_process_of_the_same_number_has_a_share_of_its_own(
    exhausted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert not share(exhausted, started="2").is_spent("/tmp/y.dvc")


def test_pause_of_somebody_who_reads_gives_a_share_anew(
    exhausted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowance, "_SECONDS", 0.0)
    later = time.monotonic() + 1.5
    assert share(exhausted).is_spent("/tmp/y.dvc")
    monkeypatch.setattr(allowance.time, "monotonic", lambda: later)
    assert not share(exhausted).is_spent("/tmp/y.dvc")


@pytest.mark.parametrize(
    "text", ["", "words", "words 1 x y z\n", "\xff", "words 1 1.0 1.0 zz\n", "words 1 1 1 1 1\n"]
)
def test_state_that_is_damaged_counts_as_none(git_dir: Path, text: str) -> None:
    spend(git_dir, "/tmp/x.dvc")
    place = git_dir / "devml" / allowance.DIRECTORY / str(os.getpid())
    place.write_bytes(text.encode("latin-1"))
    assert not share(git_dir).is_spent("/tmp/y.dvc")


def test_link_in_its_place_is_not_followed(git_dir: Path) -> None:
    spend(git_dir, "/tmp/x.dvc")
    place = git_dir / "devml" / allowance.DIRECTORY / str(os.getpid())
    place.unlink()
    place.symlink_to(git_dir / "outside")
    spend(git_dir, "/tmp/x.dvc")
    share(git_dir).close()
    assert not (git_dir / "outside").exists()


def test_what_is_left_of_others_is_removed_once_they_are_gone(git_dir: Path) -> None:
    place = git_dir / "devml" / allowance.DIRECTORY
    (place / "999999999").mkdir(parents=True)  # none of ours: left, and no hindrance
    for pid in ("888888888", "1"):
        (place / pid).write_text("raw 1\n")
    spend(git_dir, "/tmp/x.dvc")
    assert {f.name for f in place.iterdir()} == {"999999999", "1", str(os.getpid())}


def test_nothing_is_made_where_devml_git_is_not(tmp_path: Path) -> None:
    assert allowance.share(str(tmp_path), "1", "1") is None
    assert allowance.share(str(tmp_path), "../x", "1") is None
    assert list(tmp_path.iterdir()) == []

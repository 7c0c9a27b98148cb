"""Projects in subdirectories (`dvc init --subdir`), one or several in a repository."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.world import Project, devml, next_second, run

if TYPE_CHECKING:
    from pathlib import Path


class Sub(Project):
    """A project below the root: git runs at the root, devml-git in the project."""


def make(root: Path, below: str) -> Sub:
    place = root / below
    place.mkdir(parents=True)
    sub = Sub(place, differential=False)  # `agree` knows paths relative to the root only
    sub.dvc("init", "-q", "--subdir")
    ran = devml("init", "--track", "models/**", "--track", "data/", "--track", "*.onnx", cwd=place)
    assert ran.status == 0, ran.err
    return sub


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    run("git", "init", "-q", cwd=root)
    return root


@pytest.fixture
def sub(repo: Path) -> Sub:
    sub = make(repo, "ml/vision")
    for n in (1, 2):
        sub.write("models/a.pt", f"weights {n}")
        sub.write("net/deep/m.onnx", f"net {n}")
        sub.write("data/x", str(n))
        sub.write("train.py", str(n))
        sub.commit(f"v{n}")
        sub.git("tag", f"v{n}")
    return sub


def test_project_in_a_subdirectory_ties_commits_and_follows_git(sub: Sub) -> None:
    assert sub.porcelain() == ""
    tree = run("git", "ls-tree", "-r", "--name-only", "HEAD", cwd=sub.path.parents[1]).out.split()
    assert "ml/vision/models/a.pt.dvc" in tree
    assert "ml/vision/net/deep/m.onnx.dvc" in tree
    assert not {"ml/vision/models/a.pt", "ml/vision/data/x", "ml/vision/net/deep/m.onnx"} & {*tree}
    assert set(sub.states()) == {
        "ml/vision/models/a.pt", "ml/vision/data", "ml/vision/net/deep/m.onnx"
    }  # fmt: skip
    assert sub.in_step()
    for verb in (
        ["checkout", "-q", "v1"],
        ["reset", "-q", "--hard", "v2"],
        ["checkout", "-q", "v1"],
    ):
        run("git", *verb, cwd=sub.path.parents[1])
        n = verb[-1][1]
        assert sub.read("models/a.pt") == f"weights {n}"
        assert sub.read("data/x") == n
        assert sub.in_step()
    assert sub.dvc("status").out.strip() == "Data and pipelines are up to date."


def test_commands_work_from_the_subdirectory_and_below(sub: Sub) -> None:
    sub.devml("checkout", "v1")
    assert sub.read("models/a.pt") == "weights 1"
    sub.devml("checkout", "v2", "--", "a.pt", cwd="models")
    assert sub.read("models/a.pt") == "weights 2"
    sub.devml("checkout", "--force", "v2")
    sub.write("models/a.pt", "three")
    ran = run("devml-git", "commit", "-qm", "three", "--", "models/a.pt", cwd=sub.path)
    assert "snapshot" in ran.out + ran.err
    assert sub.in_step()
    assert "three" not in run("git", "log", "-1", "--format=%s", "v2", cwd=sub.path).out
    out = sub.path.parents[2] / "out"
    sub.devml("checkout", "v1", "--to", str(out))
    assert (out / "ml/vision/models/a.pt").read_text() == "weights 1"
    assert (out / "ml/vision/train.py").read_text() == "1"


def test_code_only_commit_starts_no_python_in_a_single_subdirectory_project(sub: Sub) -> None:
    next_second()
    sub.git("commit", "-q", "--allow-empty", "-m", "settle")
    run("git", "config", "devml.python", "/bin/false", cwd=sub.path)
    sub.write("train.py", "3")
    ran = sub.git("commit", "-qam", "code")
    assert ran.err == ""


def test_edit_is_rescued_and_listed_with_its_path_in_the_repository(sub: Sub) -> None:
    sub.write("models/a.pt", "mine")
    sub.git("checkout", "-q", "v1")
    (r,) = json.loads(sub.devml("rescue", "list", "--json").out)["rescues"]
    assert r["path"] == "ml/vision/models/a.pt"
    sub.devml("rescue", "restore", r["id"])
    assert sub.read("models/a.pt") == "mine"


def test_lost_record_in_a_subdirectory_reverts_nobodys_model(sub: Sub) -> None:
    sub.git("checkout", "-q", "v1")
    sub.git("-c", "core.hooksPath=/dev/null", "checkout", "-q", "v2")
    for record in (sub.path.parents[1] / ".git/devml").rglob("record.db"):
        record.write_bytes(b"garbage")
    assert sub.states()["ml/vision/models/a.pt"] == "stale"
    sub.git("commit", "-q", "--allow-empty", "-m", "x")
    assert sub.read("models/a.pt") == "weights 2"


def test_linked_worktree_of_a_subdirectory_project_is_populated(sub: Sub, tmp_path: Path) -> None:
    place = tmp_path / "linked"
    sub.git("worktree", "add", "-q", str(place), "v1")
    linked = Sub(place / "ml/vision", differential=False)
    assert linked.read("models/a.pt") == "weights 1"
    assert linked.in_step()
    linked.write("models/a.pt", "linked")
    linked.git("commit", "-q", "--allow-empty", "-m", "linked")
    assert linked.in_step()
    assert linked.porcelain() == ""
    linked.git("checkout", "-q", "v2")
    assert linked.read("models/a.pt") == "weights 2"


def test_several_projects_and_one_at_the_root_keep_to_themselves(repo: Path) -> None:
    devml("init", "--track", "models/**", "--track", "*.bin", cwd=repo)
    root = Sub(repo, differential=False)
    one, two = make(repo, "one"), make(repo, "two/deep")
    for n in (1, 2):
        for p in (root, one, two):
            p.write("models/a.pt", f"{p.path.name} {n}")
        one.write("x.bin", "not the root's: inside another project")
        root.write("y.bin", f"the root's {n}")
        root.commit(f"v{n}")
        root.git("tag", f"v{n}")
    assert set(root.states()) == {"models/a.pt", "y.bin"}
    assert set(one.states()) == {"one/models/a.pt"}
    root.git("checkout", "-q", "v1")
    for p in (root, one, two):
        assert p.read("models/a.pt") == f"{p.path.name} 1"
        assert p.in_step()
        assert p.dvc("status").out.strip() == "Data and pipelines are up to date."
    root.git("checkout", "-q", "-")
    two.write("models/a.pt", "newer")
    root.git("commit", "-q", "--allow-empty", "-m", "newer")
    assert two.in_step()
    assert one.read("models/a.pt") == "one 2"


def test_partial_commit_in_a_subdirectory_leaves_a_clean_index(sub: Sub) -> None:
    sub.write("models/a.pt", "partial")
    sub.write("train.py", "9")
    run("git", "commit", "-qm", "partial", "--", "train.py", cwd=sub.path)
    assert sub.porcelain() == ""
    assert sub.in_step()


def test_init_subdir_makes_a_project_here(repo: Path) -> None:
    (repo / "ml").mkdir()
    ran = devml("init", "--subdir", "--track", "models/**", cwd=repo / "ml")
    assert ran.status == 0, ran.err
    assert (repo / "ml/.dvc/config").is_file()
    assert not (repo / ".dvc").exists()
    sub = Sub(repo / "ml", differential=False)
    sub.write("models/a.pt", "one")
    sub.commit("one")
    assert sub.in_step()


def test_command_at_the_root_names_the_projects_below(sub: Sub) -> None:
    ran = devml("status", cwd=sub.path.parents[1])
    assert ran.status == 10
    assert "ml/vision" in ran.err


def test_merge_driver_finds_the_cache_of_the_project_it_merges_in(sub: Sub) -> None:
    sub.git("checkout", "-q", "-b", "side", "v1")
    sub.write("data/side", "s")
    sub.commit("side")
    sub.git("checkout", "-q", "-b", "other", "v1")
    sub.write("data/other", "o")
    sub.commit("other")
    run("git", "merge", "-q", "-m", "m", "side", cwd=sub.path.parents[1])
    assert set(sub.listing("data")) == {"x", "side", "other"}
    assert sub.in_step()
    assert sub.porcelain() == ""


@pytest.fixture
def without_the_project(sub: Sub, tmp_path: Path) -> Path:
    """A clone whose sparse checkout never had the directory of the subproject."""
    clone = tmp_path / "clone"
    run("git", "clone", "-q", "--no-checkout", str(sub.path.parents[1]), str(clone), cwd=tmp_path)
    run("git", "sparse-checkout", "set", "--cone", "src", cwd=clone)
    run("git", "checkout", "-q", "HEAD", cwd=clone)
    run(sys.executable, "-m", "dvc", "init", "-q", cwd=clone)
    assert devml("init", cwd=clone).status == 0
    assert not (clone / "ml").exists()
    return clone


def test_sparse_checkout_without_a_project_commits_and_switches(without_the_project: Path) -> None:
    (without_the_project / "src").mkdir()
    (without_the_project / "src/x.py").write_text("x\n")
    run("git", "add", "-A", cwd=without_the_project)
    run("git", "commit", "-qm", "code", cwd=without_the_project)
    run("git", "checkout", "-q", "HEAD~1", cwd=without_the_project)
    run("git", "checkout", "-q", "-", cwd=without_the_project)


def test_pointers_of_a_project_that_is_not_here_are_not_published_unseen(
    without_the_project: Path, tmp_path: Path
) -> None:
    run("git", "add", "-A", cwd=without_the_project)
    run("git", "commit", "-qm", "code", cwd=without_the_project)
    run("git", "push", "-q", "origin", "HEAD:refs/heads/code", cwd=without_the_project)
    run("git", "init", "-q", "--bare", str(tmp_path / "hub"), cwd=tmp_path)
    to = ("git", "push", "-q", str(tmp_path / "hub"), "HEAD:main")
    ran = run(*to, cwd=without_the_project, check=False)
    assert ran.status == 1
    assert "pointers in ml/vision would be published: it is not in this worktree" in ran.err
    assert "git sparse-checkout add ml/vision" in ran.err

"""Which DVC remotes are connected to, and which configuration counts as the user's own word."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.publish import REMOTE, World
from tests.world import Project, devml, run

PRIVATE = "[core]\n    remote = mine\n['remote \"mine\"']\n    url = {}\n    verify = true\n"


def private(world: World, name: str) -> Path:
    """Put the remote into the private configuration alone; return its directory."""
    place = world.place / name
    place.mkdir()
    (world.project.path / ".dvc/config").write_text("")
    world.sh("git -c core.hooksPath=/dev/null commit -qam 'no remote'")
    (world.project.path / ".dvc/config.local").write_text(PRIVATE.format(f"../../{name}"))
    return place


def test_private_configuration_that_a_commit_brought_is_ignored_with_one_line(
    world: World,
) -> None:
    evil = private(world, "evil")
    world.sh("git add -f .dvc/config.local; git -c core.hooksPath=/dev/null commit -qm evil")
    ran = world.sh("devml-git fetch --all")
    assert ran.err.count(".dvc/config.local came with a commit and is ignored") == 1
    assert "no DVC remote is configured" in world.sh("git push -q origin main").err
    assert list(evil.iterdir()) == []


def test_private_configuration_behind_a_tracked_link_is_ignored(world: World) -> None:
    evil = private(world, "evil")
    world.sh(
        "cp -r .dvc settings; rm -rf .dvc; ln -s settings .dvc; "
        "git -c core.hooksPath=/dev/null add -f settings .dvc; "
        "git -c core.hooksPath=/dev/null commit -qm link"
    )
    world.sh("git push -q origin main", check=False)
    assert list(evil.iterdir()) == []


def test_commit_of_another_line_trusts_nothing_that_a_merge_has_brought(world: World) -> None:
    config = world.project.path / ".dvc/config"
    world.sh("git checkout -q -b theirs v3")
    config.write_text(REMOTE.replace("../../store", "../../theirs"))
    world.sh(
        "git -c core.hooksPath=/dev/null commit -qam theirs; git checkout -q main; "
        "git merge -q --ff-only theirs"
    )
    config.write_text(config.read_text() + "['remote \"mine\"']\n    url = ../../mine\n")
    ran = world.sh("git commit -qam mine; git push -q origin main", check=False)
    assert "trusted as you commit it: mine" in ran.err
    assert "devml-git trust store" in ran.err
    assert not (world.place / "theirs").exists()


def test_linked_worktree_has_the_private_remotes_of_the_main_one(world: World) -> None:
    mine = private(world, "mine")
    (world.project.path / ".dvc/config.local").chmod(0o600)
    world.sh("git worktree add -q ../linked -b linked main 2>/dev/null")
    linked = Project(world.place / "linked", differential=False)
    linked.write("models/a.pt", "linked\n")
    linked.devml("commit", "-qam", "linked")
    linked.git("push", "-q", "origin", "linked")
    assert world.incomplete(mine, without=world.project.head("v1")) == []
    file = linked.path / ".dvc/config.local"
    assert file.stat().st_mode & 0o077 == 0, "it may have a password in it"
    assert linked.dvc("remote", "list").out.split()[0] == "mine"
    assert linked.dvc("status", "-c").out.strip().endswith("in sync.")
    text = file.read_text()
    linked.devml("status")
    assert file.read_text() == text


def test_linked_worktree_takes_nothing_over_from_a_private_file_in_git(world: World) -> None:
    evil = private(world, "evil")
    world.sh(
        "git worktree add -q ../linked -b linked main 2>/dev/null; "
        "git add -f .dvc/config.local; git -c core.hooksPath=/dev/null commit -qm evil"
    )
    linked = Project(world.place / "linked", differential=False)
    (linked.path / ".dvc/config.local").unlink()
    linked.devml("status")
    assert 'remote "mine"' not in (linked.path / ".dvc/config.local").read_text()
    assert list(evil.iterdir()) == []


@pytest.mark.parametrize("value", ["soon", "-1", "0", "1e9", ""])
def test_time_out_that_is_none_is_named(world: World, value: str) -> None:
    world.sh(f"git config devml.stallTimeout '{value}'")
    ran = devml("verify", "--remote", cwd=world.project.path)
    assert ran.status == 2
    assert "devml.stallTimeout" in ran.err


def test_remote_configured_after_the_commits_were_made_gets_all_of_them(world: World) -> None:
    """A relative directory, which DVC reads from where it stands: all of it goes to one place."""
    (world.project.path / ".dvc/config").write_text("")
    world.sh("git -c core.hooksPath=/dev/null commit -qam none; git push -q origin v2:early 2>&1")
    world.sh(
        "mkdir ../late; mkdir -p deep/er; cd deep/er; dvc remote add -q -d late ../../../late; "
        "git add -A :/; git commit -qm remote 2>&1; devml-git push -q origin main >/dev/null"
    )
    assert world.incomplete(world.place / "late") == []
    clone = world.clone("clone")
    run("git", "checkout", "-q", "v2", cwd=world.project.path)
    assert "devml-git init" in devml("verify", "--all", "--remote", cwd=clone.path).err
    clone.devml("init", "--no-content")
    ran = devml("verify", "--all", "--remote", cwd=clone.path)
    assert ran.status == 0, ran.err

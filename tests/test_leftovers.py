"""What killed commands leave behind is found, told and removed; nothing else ever is."""

from __future__ import annotations

import os
from pathlib import Path

from devml_git.place import temporary_name
from tests.world import Project, run


def put(directory: Path, name: str, *, old: bool = True) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    place = directory / name
    place.write_bytes(b"half-written")
    if old:
        os.utime(place, (1, 1))
    return place


def left_overs(project: Project) -> list[str]:
    found = project.devml("doctor", "--json", check=False).json["findings"]
    return [f["text"] for f in found if f["subject"] == "left-overs"]


def test_doctor_removes_old_temporaries_of_ours_everywhere_and_says_how_much(
    models: Project,
) -> None:
    models.git("worktree", "add", "-q", "../linked")
    git, root = models.path / ".git", models.path
    ours = [
        put(place, temporary_name() + ending)
        for ending in ("", ".lock")
        for place in (git, git / "devml", git / "devml/tmp", git / "hooks", git / "info")
    ]
    ours += [
        put(place, temporary_name())
        for place in (
            git / "worktrees/linked/devml/tmp", models.cache, models.cache / "ab", root, root / "models",
            root / "models/not/yet", root / ".dvc", root / ".dvc/tmp/devml",
        )
    ]  # fmt: skip
    assert left_overs(models) == [
        f"{len(ours)} temporary files of killed commands removed, {12 * len(ours)} bytes"
    ]
    assert [p for p in ours if p.exists()] == []
    assert left_overs(models) == []
    models.git("checkout", "-q", "v1")
    assert models.in_step()


def test_doctor_leaves_what_may_be_somebody_elses_or_still_at_work(models: Project) -> None:
    git, root = models.path / ".git", models.path
    at_work = put(root, temporary_name(), old=False)
    of_dvc = put(models.cache / "ab", ".QzYp3dVb6bGdbK1vXf0qTA.tmp")
    in_git = put(root, temporary_name())
    run("git", "add", "-f", in_git.name, cwd=root)
    member = put(root / "data", temporary_name())
    elsewhere = put(root / "notes", temporary_name() + ".txt")
    target = put(root.parent, "precious")
    link = root / temporary_name()
    link.symlink_to(target)
    empty = git / "devml" / temporary_name()
    empty.mkdir()
    os.utime(empty, (1, 1))
    assert left_overs(models) == []
    left = (at_work, of_dvc, in_git, member, elsewhere, target, link, empty)
    assert [p for p in left if not os.path.lexists(p)] == []


def test_git_add_all_does_not_pick_up_a_temporary(project: Project) -> None:
    names = [put(project.path / d, temporary_name()).name for d in (".", "src", "models", "data/x")]
    project.write("src/code.py", "1")
    project.commit("all")
    committed = run("git", "ls-tree", "-r", "--name-only", "HEAD", cwd=project.path).out
    assert "src/code.py" in committed
    assert not any(name in committed for name in names)

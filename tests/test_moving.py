"""Renames and moves of models: history goes on, nothing is stored or hashed twice (C12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world import Project, run


def renames(project: Project) -> str:
    return run("git", "show", "-M50", "--name-status", "--format=", "HEAD", cwd=project.path).out


def inode(project: Project, path: str) -> int:
    return (project.path / path).stat().st_ino


@pytest.mark.parametrize(
    ("new", "by_hand"),
    [
        ("models/b.pt", False),
        ("models/b.pt", True),
        ("models/sub/a.pt", False),
        ("models/sub/b.pt", False),
        ("models/sub/b.pt", True),
        ("other/b.pt", False),
    ],
)
def test_c12_git_mv_of_the_pointer_takes_the_model_along(
    models: Project, new: str, *, by_hand: bool
) -> None:
    data, number = models.bytes("models/a.pt"), inode(models, "models/a.pt")
    objects = set(models.objects())
    (models.path / new).parent.mkdir(parents=True, exist_ok=True)
    run("git", "mv", "models/a.pt.dvc", f"{new}.dvc", cwd=models.path)
    if by_hand:
        (models.path / "models/a.pt").rename(models.path / new)
    ran = models.git("commit", "-qm", "moved")
    assert f"models/a.pt moved to {new}" in ran.err
    assert models.bytes(new) == data
    assert inode(models, new) == number
    assert not models.exists("models/a.pt")
    assert set(models.objects()) == objects
    assert "R0" in renames(models) or "R1" in renames(models)
    assert Path(new).name in models.read(f"{new}.dvc")
    assert models.in_step()
    assert models.porcelain() == ""
    models.git("checkout", "-q", "v3")
    assert models.bytes("models/a.pt") == data
    assert not models.exists(new)
    models.git("checkout", "-q", "main")
    assert models.bytes(new) == data
    assert models.porcelain() == ""


def test_c12_mv_of_the_file_alone_moves_the_pointer(models: Project) -> None:
    (models.path / "models/a.pt").rename(models.path / "models/b.pt")
    models.commit("moved")
    assert "R100" not in models.porcelain()
    assert not models.exists("models/a.pt.dvc")
    assert models.in_step()
    assert models.exists("models/b.pt.dvc")


def test_c12_git_mv_of_a_directory_with_models_in_it(models: Project) -> None:
    data = models.bytes("models/a.pt")
    models.differential = False  # between the two commands nothing has been said yet
    models.git("mv", "models", "zoo")
    models.differential = True
    models.git("commit", "-qm", "moved")
    assert models.bytes("zoo/a.pt") == data
    assert models.states() == {"zoo/a.pt": "clean", "data": "clean"}
    assert models.porcelain() == "", "git ignores the content at its new place"
    models.git("checkout", "-q", "v3")
    models.git("checkout", "-q", "main")
    assert models.bytes("zoo/a.pt") == data
    assert not models.exists("models/a.pt")


def test_c12_git_mv_of_a_directory_artifacts_pointer(models: Project) -> None:
    before = models.listing("data")
    run("git", "mv", "data.dvc", "corpus.dvc", cwd=models.path)
    models.git("commit", "-qm", "moved")
    assert models.listing("corpus") == before
    assert not models.exists("data")
    assert models.in_step()
    assert models.porcelain() == ""


def test_moved_and_edited_model_is_snapshotted_at_its_new_place(models: Project) -> None:
    run("git", "mv", "models/a.pt.dvc", "models/b.pt.dvc", cwd=models.path)
    models.write("models/a.pt", "edited")
    models.git("commit", "-qm", "moved")
    assert models.read("models/b.pt") == "edited"
    assert models.in_step()


def test_place_that_is_taken_is_left_alone(models: Project) -> None:
    run("git", "mv", "models/a.pt.dvc", "models/b.pt.dvc", cwd=models.path)
    models.write("models/b.pt", "another model")
    models.git("commit", "-qm", "moved", check=False)
    assert models.read("models/b.pt") == "another model"
    assert models.read("models/a.pt").startswith("weights 3")


def test_pointer_that_always_had_another_name_is_not_moved(project: Project) -> None:
    project.write("w.pt", "weights")
    project.dvc("add", "-q", "w.pt")
    (project.path / "w.pt.dvc").rename(project.path / "other.dvc")
    project.commit("added")
    project.write("w.pt", "more")
    project.commit("more")
    assert project.read("w.pt") == "more"
    assert project.in_step()

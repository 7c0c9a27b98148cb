"""The main job, end to end: versions come back, and stock DVC gets the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.world import Project, pull_with_dvc_alone

if TYPE_CHECKING:
    from pathlib import Path


def test_each_version_comes_back_by_git_and_by_us(models: Project) -> None:
    models.git("checkout", "v1")
    assert models.read("models/a.pt").startswith("weights 1")
    assert set(models.listing("data")) == {"x.csv", "part1.csv"}
    models.devml("checkout", "v3")
    assert models.read("models/a.pt").startswith("weights 3")
    assert models.in_step()


def test_a_clone_with_git_and_dvc_alone_gets_the_same_bytes(
    models: Project, tmp_path: Path
) -> None:
    place = pull_with_dvc_alone(models, tmp_path / "clone", tmp_path / "remote")
    assert (place / "models/a.pt").read_bytes() == models.bytes("models/a.pt")
    assert Project(place).listing("data") == models.listing("data")

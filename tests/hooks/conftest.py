"""Projects with history are made once in a session, and copied for each test: hooks take time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.world import Project, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class Shelf:
    """Where the projects that were made lie; never used, only copied."""

    place: Path

    def copy(self, name: str, make: Callable[[], Project], place: Path) -> Project:
        """Return a copy, at `place`, of what `make` made the first time."""
        if not (self.place / name).exists():
            shutil.move(make().path, self.place / name)
        shutil.copytree(self.place / name, place, symlinks=True)
        run("git", "update-index", "-q", "--refresh", cwd=place)
        return Project(place)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))

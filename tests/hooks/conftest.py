"""Projects with history are made once in a session, and copied for each test: hooks take time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.world import Project, Shelf

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def models(shelf: Shelf, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A copy of what tests/conftest.py makes under this name: v1 to v3."""
    return shelf.copy("models", lambda: request.getfixturevalue("models"), tmp_path / "project")

"""Campaigns: what is prepared once a session, and how much of each is run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import seal
from tests.durability.operations import build
from tests.durability.trial import Machine, Workshop


@pytest.fixture(scope="session")
def seed() -> int:
    """Which calls, times and places are sampled: `DEVML_DURABILITY_SEED` chooses others."""
    return int(os.environ.get("DEVML_DURABILITY_SEED", "0"))


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """The tracer, once a worker."""
    machine = Machine()
    yield machine
    machine.close()


@pytest.fixture(scope="session")
def workshop(
    template: Path, tmp_path_factory: pytest.TempPathFactory, machine: Machine
) -> Workshop:
    """Prepared repositories, once a worker."""
    place = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as monkeypatch:
        seal(tmp_path_factory.mktemp("workshop-home"), monkeypatch)
        build(template, place / "base")
        workshop = Workshop(place, place / "base", machine)
        machine.warm_up(workshop.copy(workshop.base))
    return workshop

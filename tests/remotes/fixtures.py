"""`storages(kind)` makes fresh remotes; `storage` is one, of each kind in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.remotes.remote import Remote
from tests.remotes.servers import KINDS, Servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers, started when they are first asked for."""
    servers = Servers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.stop()


@pytest.fixture
def storages(servers: Servers) -> Iterator[Callable[..., Remote]]:
    """Make remotes: `storages("s3")`, `storages("ssh", disk="1m")`."""
    made: list[Remote] = []

    def make(kind: str, *, disk: str = "") -> Remote:
        made.append(servers.remote(kind, disk=disk))
        return made[-1]

    yield make
    for remote in made:
        if remote.disk is not None:
            remote.disk.unmount()


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, storages: Callable[..., Remote]) -> Remote:
    """A fresh remote, of each kind that can be written to; `indirect=True` to choose kinds."""
    return storages(request.param)

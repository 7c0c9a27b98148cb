"""Projects with history are made once a worker here, too."""

from tests.hooks.conftest import models, shelf  # noqa: F401 - fixtures

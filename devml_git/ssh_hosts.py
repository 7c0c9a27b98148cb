"""Which ssh hosts are known, by their keys: OpenSSH's files, and one of our own (P9).

DVC connects to any host, whatever key it shows (sshfs takes `known_hosts=None`). Here a host's key
must stand in a file of known hosts, the user's own as ssh(1) finds them, or ours, which `trust`
fills. asyncssh is imported inside functions only.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from devml_git import gate
from devml_git.errors import DvcFailed
from devml_git.place import write_text_safely

if TYPE_CHECKING:
    from pathlib import Path

_FILE = "known_hosts"
_SYSTEM = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_SECONDS = 10.0
SSH_PORT = 22


def files(shared: Path, host: str, port: int) -> list[str]:
    """Return the files of known hosts that there are; `shared` is where ours is.

    The user's are those that his ~/.ssh/config names for the host, if any (ssh_config(5)).
    """
    named = getattr(_options(host, port), "known_hosts", None) or []
    usual = [os.path.expanduser(f"~/.ssh/{name}") for name in (_FILE, f"{_FILE}2")]
    places = [*(map(str, named) if named else usual), *_SYSTEM, str(shared / _FILE)]
    return [place for place in places if os.access(place, os.R_OK)]


def _options(host: str, port: int) -> Any:  # noqa: ANN401 - asyncssh's own type
    """Return what ~/.ssh/config says of a host; nothing is connected to, no key is read."""
    import asyncssh

    with contextlib.suppress(OSError, ValueError, asyncssh.Error):
        return asyncssh.SSHClientConnectionOptions(
            host=host, port=port, config=(), client_keys=None, agent_path=None
        )
    return None


def is_known(shared: Path, host: str, port: int) -> bool:
    """Whether a host's key stands in a file of known hosts."""
    import asyncssh

    meant = _options(host, port)
    name = getattr(meant, "host_key_alias", None) or getattr(meant, "host", None) or host
    number = getattr(meant, "port", None) or port
    name = str(name).lower()  # as ssh(1) writes them down
    for file in files(shared, host, port):
        with contextlib.suppress(OSError, ValueError):
            keys, authorities, *_ = asyncssh.read_known_hosts(file).match(name, "", number)
            if keys or authorities:
                return True
    return False


def learn(shared: Path, host: str, port: int) -> str:
    """Ask a host for its key and write it down as known; return its fingerprint.

    Nothing of the user's is offered: the connection ends before anybody logs in. Raises DvcFailed.
    """
    import asyncio

    import asyncssh

    async def ask() -> Any:  # noqa: ANN401
        asking = asyncssh.get_server_host_key(host, port)
        return await asyncio.wait_for(asking, _SECONDS)

    try:
        key = asyncio.run(ask())
    except (OSError, ValueError, asyncssh.Error, TimeoutError) as e:
        raise DvcFailed(
            f"the key of {gate.shown(host)} cannot be asked for: {gate.shown(e)}",
            hint=f"ssh -p {port} {gate.quoted(host)}   once, and check its key",
        ) from e
    meant = _options(host, port)
    name = getattr(meant, "host_key_alias", None) or getattr(meant, "host", None) or host
    number = getattr(meant, "port", None) or port
    place = f"[{name}]:{number}" if number != SSH_PORT else str(name)
    line = f"{place} {key.export_public_key().decode().strip()}\n"
    with contextlib.suppress(FileNotFoundError):
        line = (shared / _FILE).read_text("utf-8") + line
    write_text_safely(shared, _FILE, line.encode(), private=True)
    return str(key.get_fingerprint())

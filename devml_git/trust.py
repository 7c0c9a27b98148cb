"""Which DVC remotes this clone trusts: their address and options as they were when trusted.

A commit can change `.dvc/config`; hooks connect only to what was there at `init`, or was allowed
by `devml-git trust` since (P9). What the user's own configuration says (`.dvc/config.local` and
above) no commit changes, and it needs no trust. `remotes` are `store.tracked_remotes`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from devml_git.locks import held
from devml_git.place import write_text_safely

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FILE = "trust.json"


def _digest(name: str, options: Mapping[str, str]) -> str:
    text = json.dumps([name, sorted(options.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def _read(shared: Path) -> set[str]:
    try:
        return set(json.loads((shared / _FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return set()


def trust(shared: Path, remotes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Trust these remotes as they are; return the names of those that were not yet trusted."""
    fresh = {name: _digest(name, o) for name, o in remotes.items()}
    with held(shared / "lock-trust", "another devml-git is writing what is trusted"):
        known = _read(shared)
        new = [name for name, digest in fresh.items() if digest not in known]
        if new:
            data = json.dumps(sorted(known | set(fresh.values()))).encode()
            write_text_safely(shared, _FILE, data)
    return new


def untrusted(shared: Path, remotes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the names of remotes that are not trusted as they are now."""
    known = _read(shared)
    return [name for name, options in remotes.items() if _digest(name, options) not in known]

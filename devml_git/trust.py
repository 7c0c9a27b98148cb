"""Which DVC remotes this clone trusts: their address and options as they were when trusted.

A commit can change `.dvc/config`; hooks connect only to what was there at `init`, or was allowed
by `devml-git trust` since (P9). What the user's own configuration says (`.dvc/config.local` and
above) no commit changes, and it needs no trust: unless a commit has brought that file.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from devml_git import store
from devml_git.locks import held
from devml_git.place import write_text_safely

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from devml_git.plumbing import Git

_FILE = "trust.json"
PRIVATE = ".dvc/config.local"


def tracked(git: Git) -> dict[str, dict[str, str]]:
    """Return what files that commits can change say of DVC remotes: name to options."""
    found = store.remotes_of(git.top, "repo")
    private = store.remotes_of(git.top, "local")
    if private and git.comes_by_commits(PRIVATE):
        for name, options in private.items():
            found[name] = {**found.get(name, {}), **options}
    return found


def _digest(name: str, options: Mapping[str, str]) -> str:
    text = json.dumps([name, sorted(options.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def _read(shared: Path) -> set[str]:
    try:
        return set(json.loads((shared / _FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return set()


def trust(git: Git, names: Collection[str] | None = None) -> list[str]:
    """Trust remotes (None: all) as they are; return which of them were not trusted before."""
    remotes = {n: o for n, o in tracked(git).items() if names is None or n in names}
    fresh = {name: _digest(name, o) for name, o in remotes.items()}
    with held(git.shared / "lock-trust", "another devml-git is writing what is trusted"):
        known = _read(git.shared)
        new = [name for name, digest in fresh.items() if digest not in known]
        if new:
            data = json.dumps(sorted(known | set(fresh.values()))).encode()
            write_text_safely(git.shared, _FILE, data, private=True)
    return new


def untrusted(git: Git) -> list[str]:
    """Return the names of remotes that are not trusted as they are now."""
    known = _read(git.shared)
    return [name for name, o in tracked(git).items() if _digest(name, o) not in known]

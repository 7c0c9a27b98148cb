"""The `.dir` manifest of a directory artifact (DVC 3.67: dvc_data/hashfile/tree.py `as_bytes`)."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from devml_git import gate
from devml_git.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping


def manifest_bytes(members: Mapping[str, str]) -> bytes:
    """Return the bytes of a `.dir` manifest, as DVC writes them."""
    rows = [{"md5": members[name], "relpath": name} for name in sorted(members)]
    return json.dumps(rows, sort_keys=True).encode()


def manifest_oid(members: Mapping[str, str]) -> str:
    """Return the oid a directory with these members has."""
    return hashlib.md5(manifest_bytes(members), usedforsecurity=False).hexdigest() + ".dir"


def read_manifest(data: bytes, oid: str) -> dict[str, str]:
    """Return a manifest's members (relative path to oid), all past the gate. Raises Refused."""
    where = f"manifest {oid}"
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise Refused(f"{where}: not JSON") from e
    if not isinstance(rows, list) or len(rows) > gate.MAX_MANIFEST_FILES:
        raise Refused(f"{where}: not a list of at most {gate.MAX_MANIFEST_FILES} files")
    members = {}
    for row in rows:
        if not isinstance(row, dict):
            raise Refused(f"{where}: an entry that is not a mapping")
        name = gate.path(row.get("relpath"), where)
        if name in members:
            raise Refused(f"{where}: '{gate.shown(name)}' is listed twice")
        members[name] = gate.file_oid(row.get("md5"), where)
    gate.manifest_paths(members, where)
    return members

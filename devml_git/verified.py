"""Which objects of the cache were hashed, and when: SQLite, shared by all worktrees.

Believed for a while, and only as long as the object's file is the same by size, times and inode:
bit rot changes none of those, so that what is old is read again. Losing it costs time only.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

from devml_git.privacy import make_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BELIEVED_SECONDS = 7 * 86_400.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS object (
    oid TEXT NOT NULL, hash TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL, ino INTEGER NOT NULL, seen REAL NOT NULL, PRIMARY KEY (oid, hash)
) WITHOUT ROWID;
"""


class Verified:
    """The log of verified objects. Errors of the database are not errors here."""

    def __init__(self, shared: Path) -> None:
        self._file = shared / "verified.db"

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        make_file(self._file)
        db = sqlite3.connect(self._file, timeout=5)
        try:
            db.executescript(_SCHEMA)
            with db:
                yield db
        finally:
            db.close()

    def whole(self, paths: Mapping[tuple[str, str], Path]) -> set[tuple[str, str]]:
        """Return which objects (oid and hash name, with their files) need not be read again."""
        now = time.time()
        with contextlib.suppress(sqlite3.Error, OSError), self._database() as db:
            rows = {
                (oid, kind): tuple(seen)
                for oid, kind, *seen in db.execute(
                    "SELECT oid, hash, size, mtime_ns, ctime_ns, ino FROM object "
                    "WHERE seen>? AND seen<=?",
                    (now - BELIEVED_SECONDS, now),
                )
            }
            return {key for key, path in paths.items() if rows.get(key, ()) == _signature(path)}
        return set()

    def remember(self, paths: Mapping[tuple[str, str], Path]) -> None:
        """Note that these are what their names say."""
        rows = [
            (*key, *signature, time.time())
            for key, path in paths.items()
            if (signature := _signature(path)) is not None
        ]
        with contextlib.suppress(sqlite3.Error), self._database() as db:
            db.executemany("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        st = path.stat()
    except OSError:
        return None
    return st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino

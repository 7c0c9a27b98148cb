"""What this clone has seen on each DVC remote: SQLite, shared by all worktrees.

It saves asking for the thousands of members of a directory whose manifest is still there, and tells
a remote that was never made from one on a disk that is not mounted. Whatever it says, files and
manifests themselves are asked for at every push. Losing it costs time only.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from typing import TYPE_CHECKING

from devml_git.privacy import make_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

KEPT_SECONDS = 86_400.0  # what was seen longer ago is in doubt, and asked for again
_SCHEMA = """
CREATE TABLE IF NOT EXISTS manifest (
    remote TEXT NOT NULL, oid TEXT NOT NULL, seen REAL NOT NULL, PRIMARY KEY (remote, oid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS met (remote TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class Published:
    """The directories of which all members were seen on one remote.

    `address` is what tells the remote from another one of the same name. Kept in the same way are
    the commits (as oids) whose whole history is on the remotes, which are then all in `address`.
    Errors of the database are not errors here, nor is a place that cannot be written: nothing is
    known then.
    """

    def __init__(self, shared: Path, address: str) -> None:
        self._key = hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()
        self._file = shared / "published.db"

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

    def whole(self, oids: Iterable[str], *, now: float | None = None) -> set[str]:
        """Return which of these directories' members were all seen there lately."""
        return self.all(now=now) & set(oids)

    def all(self, *, now: float | None = None) -> set[str]:
        """Return all that was seen there lately."""
        since = (time.time() if now is None else now) - KEPT_SECONDS
        with contextlib.suppress(sqlite3.Error, OSError), self._database() as db:
            rows = db.execute(
                "SELECT oid FROM manifest WHERE remote=? AND seen>? AND seen<=?",
                (self._key, since, since + KEPT_SECONDS),
            )
            return {oid for (oid,) in rows}
        return set()

    def remember(self, oids: Iterable[str]) -> None:
        """Note that all members of these directories, and their manifests, are there."""
        rows = [(self._key, oid, time.time()) for oid in oids]
        with contextlib.suppress(sqlite3.Error, OSError), self._database() as db:
            db.executemany("INSERT OR REPLACE INTO manifest VALUES (?, ?, ?)", rows)

    def forget(self, oids: Iterable[str]) -> None:
        """Believe nothing of these any more."""
        with contextlib.suppress(sqlite3.Error, OSError), self._database() as db:
            db.executemany(
                "DELETE FROM manifest WHERE remote=? AND oid=?", [(self._key, o) for o in oids]
            )

    @property
    def met(self) -> bool:
        """Whether the remote, a directory, has been there at any time."""
        with contextlib.suppress(sqlite3.Error, OSError), self._database() as db:
            found = db.execute("SELECT 1 FROM met WHERE remote=?", (self._key,)).fetchone()
            return found is not None
        return False

    def meet(self) -> None:
        """Note that the remote, a directory, is there: if it is not later, a disk has gone."""
        if not self.met:
            with contextlib.suppress(sqlite3.Error, OSError), self._database() as db:
                db.execute("INSERT OR IGNORE INTO met VALUES (?)", (self._key,))

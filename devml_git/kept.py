"""What was found out once and need not be found out again: a bounded store of bytes, by key.

One SQLite file for the whole repository. Errors of the database are not errors here, and losing it
costs time only. Quick to import: `git log -p` starts a process for each pointer.
"""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from typing import TYPE_CHECKING

from devml_git.privacy import make_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FILE = "kept.db"
MOST = 64 << 20  # bytes, all values together, as they are stored
_LARGEST = 64 << 20  # bytes of one value, unpacked
_SECONDS = 2
_VERSION = 2  # of the table and of all that is in it; another one is forgotten
_TABLE = "CREATE TABLE kept (key TEXT PRIMARY KEY, written REAL NOT NULL, data BLOB NOT NULL)"
_BROKEN = frozenset({"SQLITE_NOTADB", "SQLITE_CORRUPT"})


class Kept:
    """The store in one directory (`devml/` of git's common directory)."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._file = os.path.join(directory, FILE)

    def get(self, key: str) -> bytes | None:
        """Return what is kept under a key, or None: also where it is damaged."""
        asked = "SELECT data FROM kept WHERE key=?"
        row = self._ask(lambda db: db.execute(asked, (key,)).fetchone())
        if row is None:
            return None
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(row[0], _LARGEST)
        except (zlib.error, TypeError):
            return None
        return data if unpacker.eof else None  # which checks its sum, too

    def put(self, key: str, data: bytes) -> None:
        """Keep something, and let go of the oldest beyond MOST bytes."""
        packed = zlib.compress(data, 6)
        if len(packed) <= MOST // 4:
            self._ask(lambda db: _put(db, (key, time.time(), packed)))

    def _ask(self, work: Callable[[sqlite3.Connection], Any]) -> Any:  # noqa: ANN401 - SQL's
        """Run `work` on the database; return None where there is none to be had."""
        db = None
        try:
            make_file(self._file)
            db = sqlite3.connect(self._file, timeout=0.3)
            until = time.monotonic() + _SECONDS  # a table of somebody else's may never end
            db.set_progress_handler(lambda: time.monotonic() > until, 100_000)
            with db:
                (version,) = db.execute("PRAGMA user_version").fetchone()
                if version != _VERSION:
                    db.execute("DROP TABLE IF EXISTS kept")
                    db.execute(_TABLE)
                    db.execute(f"PRAGMA user_version={_VERSION}")
                return work(db)
        except sqlite3.Error as e:
            if getattr(e, "sqlite_errorname", "") in _BROKEN:
                _remove(self._file)
            return None
        finally:
            if db is not None:
                db.close()


def _put(db: sqlite3.Connection, row: tuple[str, float, bytes]) -> None:
    db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", row)
    (held,) = db.execute("SELECT sum(length(data)) FROM kept").fetchone()
    if held <= MOST:
        return
    for key, size in db.execute("SELECT key, length(data) FROM kept ORDER BY written").fetchall():
        db.execute("DELETE FROM kept WHERE key=?", (key,))
        held -= size
        if held <= MOST // 2:
            return


def _remove(file: str) -> None:
    try:
        os.unlink(file)
    except OSError:
        return

"""The second hash: what tells contents apart that were made to have one MD5.

A fingerprint is a content's size and SHA-256. A pointer vouches for its content by one, in its
`meta:` (`pointers.py`); a directory's is made of its members' (`of_members`). Beside that, this
clone remembers the fingerprint of each object that its cache had, by oid: SQLite, shared by all
worktrees. That is all there is where a pointer says nothing (`dvc.lock`, pointers of plain DVC).
The first content seen under an oid stays the right one here. Losing the table loses that memory,
never a byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, NamedTuple

from devml_git.privacy import make_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_DIRECTORY = b"devml directory 1\0"
_AT_ONCE = 500  # variables of one SQL statement
_WRITTEN_TOGETHER = 2000
_BROKEN = frozenset({"SQLITE_NOTADB", "SQLITE_CORRUPT"})
_SCHEMA = """
CREATE TABLE IF NOT EXISTS object (
    oid TEXT PRIMARY KEY, size INTEGER NOT NULL, sha256 TEXT NOT NULL
) WITHOUT ROWID;
"""


class Fingerprint(NamedTuple):
    """A content's size in bytes and its SHA-256 in hex digits."""

    size: int
    sha256: str


def of_members(members: Mapping[str, Fingerprint]) -> str:
    """Return the SHA-256 of a directory (relative path to fingerprint), in hex digits.

    Its format is ours, and stands in docs/ARCHITECTURE.md: it must never change.
    """
    rows = (f"{f.sha256} {f.size} {name}\0" for name, f in sorted(members.items()))
    return hashlib.sha256(_DIRECTORY + "".join(rows).encode()).hexdigest()


class Fingerprints:
    """What this clone has seen under each oid. Without a directory: for this process only.

    Errors of the database are not errors here: nothing is known then. Safe to use from threads.
    """

    def __init__(self, shared: Path | None = None) -> None:
        self._file = shared / "fingerprints.db" if shared is not None else None
        self._memory: dict[str, Fingerprint | None] = {}
        self._new: dict[str, Fingerprint] = {}
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def of(self, oid: str) -> Fingerprint | None:
        """Return what was seen under an oid, or None."""
        return self.known((oid,)).get(oid)

    def known(self, oids: Iterable[str]) -> dict[str, Fingerprint]:
        """Return what was seen under these oids; those never seen are left out."""
        wanted = set(oids)
        with self._lock:
            asked = [oid for oid in wanted if oid not in self._memory]
            if asked:
                self._memory.update(dict.fromkeys(asked))
                self._memory.update(self._read(asked))
            found = {oid: self._memory[oid] for oid in wanted}
        return {oid: f for oid, f in found.items() if f is not None}

    def learn(self, found: Mapping[str, Fingerprint]) -> None:
        """Note what the cache has under these oids; what was seen before stays."""
        known = self.known(found)
        with self._lock:
            fresh = {oid: f for oid, f in found.items() if oid not in known}
            self._memory.update(fresh)
            self._new.update(fresh)
            if len(self._new) >= _WRITTEN_TOGETHER:
                self._write()

    def forget(self, oids: Iterable[str]) -> None:
        """Take back what was noted: it was never proven, and is not in the cache any more."""
        gone = set(oids)
        with self._lock:
            self._write()
            self._memory.update(dict.fromkeys(gone))
            with contextlib.suppress(sqlite3.Error), self._database() as db:
                db.executemany("DELETE FROM object WHERE oid=?", [(oid,) for oid in gone])

    def close(self) -> None:
        """Write down what is new, and close the table; it opens again where it is asked."""
        with self._lock:
            self._write()
            if self._db is not None:
                self._db.close()
                self._db = None

    def _write(self) -> None:
        rows = [(oid, *f) for oid, f in self._new.items()]
        self._new.clear()
        if rows:
            with contextlib.suppress(sqlite3.Error), self._database() as db:
                db.executemany("INSERT OR IGNORE INTO object VALUES (?, ?, ?)", rows)

    def _read(self, oids: list[str]) -> dict[str, Fingerprint]:
        if self._db is None and (self._file is None or not self._file.exists()):
            return {}
        found = {}
        with contextlib.suppress(sqlite3.Error), self._database() as db:
            for i in range(0, len(oids), _AT_ONCE):
                part = oids[i : i + _AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = db.execute(f"SELECT * FROM object WHERE oid IN ({marks})", part)  # noqa: S608
                found.update({oid: Fingerprint(size, digest) for oid, size, digest in rows})
        return found

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction; a table that is broken is set aside.

        A crash of the machine may cost the table: nobody waits for the disk.
        """
        try:
            if self._db is None:
                place = self._file or ":memory:"
                if self._file is not None:
                    make_file(self._file)
                self._db = sqlite3.connect(place, timeout=5, check_same_thread=False)
                self._db.execute("PRAGMA synchronous=OFF")
                self._db.executescript(_SCHEMA)
            with self._db:
                yield self._db
        except sqlite3.Error as e:
            if self._file and getattr(e, "sqlite_errorname", "") in _BROKEN:
                with contextlib.suppress(OSError):
                    os.replace(self._file, self._file.with_suffix(".broken"))
                self._db = None
            raise

"""The materialised record and the stat cache of one worktree (SQLite, standard library).

Losing it costs time, never a byte: it is rebuilt by the rule for R unknown. A file's hash is
believed only while size, mtime, ctime (ns), inode and device are those it was hashed with, and
only if it had been quiet for a while then (git's racy rule, technical/racy-git).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from devml_git.errors import StorageFailed
from devml_git.gate import shown
from devml_git.place import Stat
from devml_git.privacy import make_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_BROKEN = frozenset({"SQLITE_NOTADB", "SQLITE_CORRUPT"})
_SCHEMA_VERSION = 2
_COMPLETE = 1
PIPELINES = 2000  # answers that are remembered: a history has one for each state
_SCHEMA = """
CREATE TABLE IF NOT EXISTS artifact (
    path TEXT PRIMARY KEY, token TEXT NOT NULL, oid TEXT NOT NULL, size INTEGER, nfiles INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (
    artifact TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL, ino INTEGER NOT NULL, dev INTEGER NOT NULL, oid TEXT NOT NULL,
    sha256 TEXT, PRIMARY KEY (artifact, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pipeline (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_FROM_1 = "ALTER TABLE file ADD COLUMN sha256 TEXT"  # of what was hashed before: not known


class Hashed(NamedTuple):
    """What a file hashed to, and the stat it had then. `sha256`: None where that is not known."""

    stat: Stat
    oid: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Materialised:
    """R of the three-way rule: what was last written to, or snapshotted from, a place.

    `token` stands for content and exec bits, `oid` for content alone; `size` in bytes.
    """

    token: str
    oid: str
    size: int | None = None
    nfiles: int | None = None


class Record:
    """The open record of one worktree. A file that is broken is set aside and begun anew."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "record.db"
        self.rebuilt = False
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as e:
            if getattr(e, "sqlite_errorname", "SQLITE_NOTADB") not in _BROKEN:
                raise self._failed(e) from e
            self._set_aside()
            self.rebuilt = True
            self._db = self._open()

    def _failed(self, e: sqlite3.Error) -> StorageFailed:
        """Return an error of the database in words: the disk is full, or somebody is writing."""
        kind = getattr(e, "sqlite_errorname", "").split("_")[1:2]
        if kind in (["BUSY"], ["LOCKED"]):
            return StorageFailed(
                "the record of this worktree is in use by another devml-git",
                hint="wait for it, then run the same command again",
            )
        hints = {
            "FULL": "free some space; nothing was lost, run the same command again",
            "IOERR": "the disk is full or reported an error; nothing was lost, run it again after",
            "READONLY": "check the permissions of that path, and whether its disk is mounted",
            "CANTOPEN": "check the permissions of that path, free space and `ulimit -n`",
            "CORRUPT": "run the same command again: the record is begun anew",
        }
        hint = hints.get(kind[0]) if kind else None
        return StorageFailed(f"{shown(self.path)}: {str(e).lower()}", hint=hint)

    def _run(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except sqlite3.DatabaseError as e:
            raise self._failed(e) from e

    def _run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        try:
            self._db.executemany(sql, rows)
        except sqlite3.DatabaseError as e:
            raise self._failed(e) from e

    def _open(self) -> sqlite3.Connection:
        make_file(self.path)
        db = sqlite3.connect(self.path, timeout=20, isolation_level=None)
        db.execute("PRAGMA synchronous=NORMAL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in {0, 1, _SCHEMA_VERSION}:
            db.close()
            raise sqlite3.DatabaseError("made by another version")
        if version == 0:
            db.executescript(_SCHEMA)
        if version != _SCHEMA_VERSION:
            db.execute("BEGIN IMMEDIATE")
            if db.execute("PRAGMA user_version").fetchone() == (1,):  # nobody was quicker
                db.execute(_FROM_1)
            db.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
            db.execute("COMMIT")
        db.execute("SELECT count(*) FROM artifact").fetchone()
        return db

    def _set_aside(self) -> None:
        with contextlib.suppress(OSError):
            os.replace(self.path, self.path.with_suffix(".broken"))
        for suffix in ("-journal", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self.path}{suffix}")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Group writes into one transaction; nested use joins the outer one."""
        if self._db.in_transaction:
            yield
            return
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # else SQLite has done so itself, as on a full disk
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            raise

    # SQLite keeps a number for the application in the file's header: here, whether R is known of
    # all that lies in the worktree. A new record knows nothing of what a lost one did.

    @property
    def fresh(self) -> bool:
        """Whether this record was begun anew and no operation has looked at everything since."""
        (found,) = self._run("PRAGMA application_id").fetchone()
        return bool(found != _COMPLETE)

    def complete(self) -> None:
        """From here on, what is not in the record was not put there by us."""
        if self.fresh:
            self._run(f"PRAGMA application_id={_COMPLETE}")

    # -- R -----------------------------------------------------------------------------------

    def materialised(self) -> dict[str, Materialised]:
        """Return R of every artifact, by path."""
        rows = self._run("SELECT path, token, oid, size, nfiles FROM artifact")
        return {row[0]: Materialised(*row[1:]) for row in rows}

    def released(self) -> list[str]:
        """Return the artifacts that `untrack` has let go (`Workspace.release`)."""
        return [row[0] for row in self._run("SELECT path FROM artifact WHERE token = ''")]

    def set(self, path: str, value: Materialised) -> None:
        """Remember R of one artifact."""
        self._run(
            "INSERT OR REPLACE INTO artifact VALUES (?, ?, ?, ?, ?)",
            (path, value.token, value.oid, value.size, value.nfiles),
        )

    def forget(self, path: str) -> None:
        """Forget R and the hashes of one artifact."""
        self._run("DELETE FROM artifact WHERE path = ?", (path,))
        self._run("DELETE FROM file WHERE artifact = ?", (path,))

    def forget_content(self, path: str) -> None:
        """Forget R of one artifact; what is known of its files stays."""
        self._run("DELETE FROM artifact WHERE path = ?", (path,))

    # -- stat cache --------------------------------------------------------------------------

    def seen(self) -> list[str]:
        """Return the artifacts of which a file's hash is known."""
        return [row[0] for row in self._run("SELECT DISTINCT artifact FROM file")]

    def hashes(self, artifact: str) -> dict[str, Hashed]:
        """Return what is known of an artifact's files, by name inside it ("": itself)."""
        rows = self._run(
            "SELECT name, size, mtime_ns, ctime_ns, ino, dev, oid, sha256 FROM file "
            "WHERE artifact = ?",
            (artifact,),
        )
        return {row[0]: Hashed(Stat(*row[1:6]), row[6], row[7]) for row in rows}

    def remember(self, artifact: str, files: Iterable[tuple[str, Hashed]]) -> None:
        """Remember hashes of an artifact's files; the caller leaves out those that were racy."""
        self._run_many(
            "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (artifact, name, s.size, s.mtime_ns, s.ctime_ns, s.ino, s.dev, oid, sha256)
                for name, (s, oid, sha256) in files
            ),
        )

    def forget_files(self, artifact: str, names: Iterable[str]) -> None:
        """Forget the hashes of some of an artifact's files."""
        self._run_many(
            "DELETE FROM file WHERE artifact = ? AND name = ?", ((artifact, n) for n in names)
        )

    # -- what DVC said of the pipelines ------------------------------------------------------

    def pipeline(self, key: str) -> str | None:
        """Return what was remembered for a state of the pipeline files, or None."""
        row = self._run("SELECT value FROM pipeline WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_pipeline(self, key: str, value: str) -> None:
        """Remember one state of a pipeline file. When there are many, all others are dropped."""
        if self._run("SELECT count(*) FROM pipeline").fetchone()[0] >= PIPELINES:
            self._run("DELETE FROM pipeline")
        self._run("INSERT OR REPLACE INTO pipeline VALUES (?, ?)", (key, value))

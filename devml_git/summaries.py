"""What is known of content beside its name: tensors with digests, columns, lines. Kept by oid.

One SQLite file for the whole repository, some megabytes: each content is read once, however often
`git log -p` and `blame` come by. Git's own cache of textconv (`cachetextconv`) is by the pointer's
blob and would keep "content is not here" for ever; this one only holds what was read, and proven to
be what its oid says. Losing it, or a part of it, costs time.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEPT_BYTES = 64 << 20  # all summaries together, as they are stored
_LARGEST = 256 << 20  # one summary, unpacked: 300,000 tensors with long names
_HINT = 16  # characters of a name's ending
_SCHEMA_VERSION = 1  # another one: what was kept is forgotten
_SCHEMA = """
CREATE TABLE summary (
    oid TEXT NOT NULL, hash TEXT NOT NULL, hint TEXT NOT NULL, written REAL NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (oid, hash, hint)
)
"""
_BROKEN = frozenset({"SQLITE_NOTADB", "SQLITE_CORRUPT"})


@dataclass(frozen=True, slots=True)
class TensorSummary:
    """One tensor: `digest` is BLAKE2b over its elements' bytes in row-major order, 32 hex digits
    ("" where it was not read); `mean` and `norm` (L2) are None for what is no plain numbers.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str
    mean: float | None = None
    norm: float | None = None

    @property
    def identity(self) -> tuple[str, tuple[int, ...], str]:
        """What two tensors have in common that are the same."""
        return self.dtype, self.shape, self.digest


@dataclass(frozen=True, slots=True)
class Summary:
    """One content: `format` ("safetensors", "table", "text"... or "" for what nobody knows),
    `tensors` of a model in its file's order, and what else there is to say, in `lines`.
    """

    format: str
    tensors: tuple[TensorSummary, ...] = ()
    lines: tuple[str, ...] = ()
    is_model: bool = False

    def packed(self) -> bytes:
        """Return it as it is stored: JSON, deflated (whose checksum tells what is damaged)."""
        rows = [[t.name, t.dtype, t.shape, t.digest, t.mean, t.norm] for t in self.tensors]
        return zlib.compress(
            json.dumps([self.format, rows, self.lines, self.is_model]).encode("utf-8"), 6
        )

    @classmethod
    def unpacked(cls, data: bytes) -> Summary:
        """Return what `packed` made. Raises ValueError for anything else."""
        unpacker = zlib.decompressobj()
        try:
            text = unpacker.decompress(data, _LARGEST)
            if not unpacker.eof:
                raise ValueError("cut off")
            form, rows, lines, is_model = json.loads(text)
            tensors = tuple(TensorSummary(n, d, tuple(s), g, m, l2) for n, d, s, g, m, l2 in rows)
            return cls(form, tensors, tuple(lines), is_model)
        except (zlib.error, TypeError, RecursionError) as e:
            raise ValueError("damaged") from e


class Summaries:
    """The store. Errors of the database are not errors here: what is not had is read anew."""

    def __init__(self, shared: Path) -> None:
        self._file = shared / "summaries.db"

    def get(self, oid: str, hash_name: str, name: str) -> Summary | None:
        """Return what is known of an object; `name` is the artifact's, for its ending."""
        asked = "SELECT data FROM summary WHERE oid=? AND hash=? AND hint=?"
        row = self._ask(lambda db: db.execute(asked, (oid, hash_name, _hint(name))).fetchone())
        with contextlib.suppress(ValueError):
            return None if row is None else Summary.unpacked(row[0])
        return None

    def put(self, oid: str, hash_name: str, name: str, summary: Summary) -> None:
        """Keep what was found of an object, and let go of the oldest beyond KEPT_BYTES."""
        data = summary.packed()
        if len(data) <= KEPT_BYTES // 4:
            row = (oid, hash_name, _hint(name), time.time(), data)
            self._ask(lambda db: _keep(db, row))

    def _ask(self, work: Callable[[sqlite3.Connection], Any]) -> Any:  # noqa: ANN401 - SQL's
        """Run `work` on the database; return None where there is none to be had."""
        try:
            with contextlib.closing(sqlite3.connect(self._file, timeout=2)) as db, db:
                (version,) = db.execute("PRAGMA user_version").fetchone()
                if version != _SCHEMA_VERSION:
                    db.execute("DROP TABLE IF EXISTS summary")
                    db.execute(_SCHEMA)
                    db.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
                return work(db)
        except sqlite3.Error as e:
            if getattr(e, "sqlite_errorname", "") in _BROKEN:
                with contextlib.suppress(OSError):
                    self._file.unlink()
            return None


def _keep(db: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    db.execute("INSERT OR REPLACE INTO summary VALUES (?, ?, ?, ?, ?)", row)
    (held,) = db.execute("SELECT sum(length(data)) FROM summary").fetchone()
    if held <= KEPT_BYTES:
        return
    for number, size in db.execute(
        "SELECT rowid, length(data) FROM summary ORDER BY written"
    ).fetchall():
        db.execute("DELETE FROM summary WHERE rowid=?", (number,))
        held -= size
        if held <= KEPT_BYTES // 2:
            return


def _hint(name: str) -> str:
    """Return the ending by which a reader chooses (`.csv`), as far as it can be one."""
    base = name.rsplit("/", 1)[-1].lower()
    return base[base.rfind(".") :][:_HINT] if "." in base else ""

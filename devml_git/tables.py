"""Two tables compared: columns, rows, and cells where a key says which rows belong together.

CSV, TSV, JSON lines and Parquet are read by polars, an optional extra; without it there are lines
to count. The cells of CSV and TSV are compared as they are written: `1` and `1.0` are two things.
Rows without a key are compared as a multiset of 64-bit hashes, 8 bytes of memory a row.
"""

from __future__ import annotations

import contextlib
import glob
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devml_git import media
from devml_git.amounts import counted
from devml_git.errors import Refused
from devml_git.gate import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import polars as pl

_FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
}  # fmt: skip
_EXTRA = "rows are compared with: pip install 'devml-git[tables]'"
_MOST_ROWS = 100_000_000
_MOST_BYTES = 8 << 30
_MOST_BYTES_BY_KEY = 1 << 30  # both sides are held in memory
_SAMPLE = 1000  # rows from which the types of a CSV's columns are told
_EXAMPLES = 5
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"x\x01", b"x\x9c", b"x\xda")  # gzip, zstd, zlib
_NEW = "\0new"  # marks the new side's columns in a join; no name of a column has a NUL in it


@dataclass(frozen=True, slots=True)
class Cell:
    """One changed cell: the values of its row's key, its column, and what it was and is."""

    key: tuple[str, ...]
    column: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class TableChange:
    """How two tables differ; of a side that there is not, numbers are None and columns missing.

    `columns` maps those that were added, removed or have another type to (old type, new type).
    `rows` are counts (`lines` where polars is not installed). `added`, `removed`, `changed` count
    rows; `changed` is None where rows were compared by content, not by `key`. `cells` are counts
    of changed cells by column, `examples` the first few.
    """

    format: str
    columns: Mapping[str, tuple[str | None, str | None]]
    rows: tuple[int | None, int | None]
    lines: tuple[int | None, int | None] = (None, None)
    key: tuple[str, ...] = ()
    added: int | None = None
    removed: int | None = None
    changed: int | None = None
    cells: Mapping[str, int] | None = None
    examples: tuple[Cell, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return product.md's `table`."""
        table: dict[str, Any] = {
            "format": self.format,
            "rows": {"old": self.rows[0], "new": self.rows[1]},
            "lines": {"old": self.lines[0], "new": self.lines[1]},
            "columns": [
                {"name": name, "old": old, "new": new} for name, (old, new) in self.columns.items()
            ],
            "key": list(self.key),
            "added": self.added, "removed": self.removed, "changed": self.changed,
            "cells": dict(self.cells or {}),
            "examples": [
                {"key": list(c.key), "column": c.column, "old": c.old, "new": c.new}
                for c in self.examples
            ],
        }  # fmt: skip
        return {"table": table}


def is_table(name: str) -> bool:
    """Whether a file is named like a table that can be compared."""
    return _format(name) is not None


def _format(name: str) -> str | None:
    return next((f for end, f in _FORMATS.items() if name.lower().endswith(end)), None)


def compare(
    old: Path | None, new: Path | None, name: str, key: Sequence[str] = ()
) -> tuple[TableChange, list[str]]:
    """Compare two tables, or describe one (the other is None); also return remarks.

    `key` are the columns that tell rows apart. What cannot be read as a table is counted in lines.
    """
    form = _format(name) or "csv"
    try:
        return _with_polars(old, new, form, key)
    except ImportError:
        why = _EXTRA
    except Refused as e:
        why = e.message
    lines = [None if p is None or form == "parquet" else media.count_lines(p) for p in (old, new)]
    return TableChange(form, {}, (None, None), (lines[0], lines[1])), [why]


def _with_polars(
    old: Path | None, new: Path | None, form: str, key: Sequence[str]
) -> tuple[TableChange, list[str]]:
    import polars as pl  # noqa: F401 - whether it is there

    with _refusing():
        one, two = (None if p is None else _Table(p, form) for p in (old, new))
        rows = (one.rows() if one else None, two.rows() if two else None)
        columns = _columns(one.types if one else {}, two.types if two else {})
        if one is None or two is None:
            return TableChange(form, columns, rows), []
        if max(rows[0] or 0, rows[1] or 0) > _MOST_ROWS:
            return TableChange(form, columns, rows), [
                f"more than {_MOST_ROWS:,} rows: only counted"
            ]
        return _Pair(one, two, form, columns, rows).compared(tuple(key))


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Put what polars says of a file that is no such table into one line."""
    import polars as pl

    try:
        yield
    except pl.exceptions.NoDataError as e:
        raise Refused("empty, so no table") from e
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as e:
        first = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise Refused(f"not read as a table: {shown(first, 200)}") from e


class _Table:
    """One table: `types` by column, and its rows when they are asked for."""

    def __init__(self, path: Path, form: str) -> None:
        with path.open("rb") as f:
            head = f.read(4)
        if form != "parquet" and head.startswith(_PACKED):
            raise Refused("compressed: not looked into")
        if path.stat().st_size > _MOST_BYTES:
            raise Refused(f"larger than {_MOST_BYTES >> 30} GiB: only counted")
        self.path, self.form = path, form
        self.size = path.stat().st_size
        self.types = {n: str(t) for n, t in self._typed().collect_schema().items()}

    def _typed(self) -> pl.LazyFrame:
        import polars as pl

        if self.form == "parquet":
            return pl.scan_parquet(self.path, glob=False)
        if self.form == "jsonl":
            return pl.scan_ndjson(glob.escape(str(self.path)), infer_schema_length=None)
        return pl.scan_csv(
            self.path, glob=False, separator=self._separator, infer_schema_length=_SAMPLE
        )

    @property
    def _separator(self) -> str:
        return "\t" if self.form == "tsv" else ","

    def frame(self) -> pl.LazyFrame:
        """Return the rows; cells of CSV and TSV as they are written."""
        import polars as pl

        if self.form in {"csv", "tsv"}:
            return pl.scan_csv(self.path, glob=False, separator=self._separator, infer_schema=False)
        return self._typed()

    def rows(self) -> int:
        import polars as pl

        return int(self.frame().select(pl.len()).collect(engine="streaming").item())


def _columns(
    old: Mapping[str, str], new: Mapping[str, str]
) -> dict[str, tuple[str | None, str | None]]:
    names = [*new, *(n for n in old if n not in new)]
    return {n: (old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)}


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two tables, compared over the columns that both have."""

    old: _Table
    new: _Table
    form: str
    columns: Mapping[str, tuple[str | None, str | None]]
    rows: tuple[int | None, int | None]

    def compared(self, key: tuple[str, ...]) -> tuple[TableChange, list[str]]:
        notes = []
        common = [n for n in self.new.types if n in self.old.types]
        if any(None in types for types in self.columns.values()):
            columns = counted(len(common), "column")
            notes.append(f"rows are compared over the {columns} that both sides have")
        if not common:
            return TableChange(self.form, self.columns, self.rows), notes
        old, new = self._alike(common)
        why = self._no_key(key, old, new) if key else None
        if why is not None:
            notes.append(f"compared by content: {why}")
        if key and why is None:
            return self._by_key(key, [n for n in common if n not in key], old, new), notes
        added, removed = _multisets(_hashes(old), _hashes(new))
        change = TableChange(self.form, self.columns, self.rows, added=added, removed=removed)
        return change, notes

    def _alike(self, names: Sequence[str]) -> tuple[pl.LazyFrame, pl.LazyFrame]:
        """Return both sides' common columns; where types differ, in one that holds both."""
        import polars as pl

        old, new = self.old.frame().select(names), self.new.frame().select(names)
        before, after = old.collect_schema(), new.collect_schema()
        casts = []
        for name in names:
            one, two = before[name], after[name]
            if one != two:
                both = pl.Float64() if one.is_numeric() and two.is_numeric() else pl.String()
                casts.append(pl.col(name).cast(both))
        return old.with_columns(casts), new.with_columns(casts)

    def _no_key(self, key: tuple[str, ...], old: pl.LazyFrame, new: pl.LazyFrame) -> str | None:
        """Return why rows cannot be told apart by a key, or None."""
        import polars as pl

        names = old.collect_schema().names()
        missing = [k for k in key if k not in names]
        if missing:
            return f"the key column {shown(missing[0])} is not on both sides"
        if max(self.old.size, self.new.size) > _MOST_BYTES_BY_KEY:
            return f"larger than {_MOST_BYTES_BY_KEY >> 30} GiB"
        for side, frame in (("old", old), ("new", new)):
            counts = frame.select(pl.len().alias("n"), pl.struct(key).n_unique().alias("u"))
            n, u = counts.collect(engine="streaming").row(0)
            if n != u:
                keys = shown(", ".join(key))
                return f"rows of the {side} side that repeat a key ({keys}): {n - u:,}"
        return None

    def _by_key(
        self, key: tuple[str, ...], others: Sequence[str], old: pl.LazyFrame, new: pl.LazyFrame
    ) -> TableChange:
        import polars as pl

        joined = old.join(new, on=list(key), how="inner", suffix=_NEW, nulls_equal=True)
        differ = {n: pl.col(n).ne_missing(pl.col(f"{n}{_NEW}")) for n in others}
        counts = joined.select(
            pl.len().alias("\0rows"),
            pl.any_horizontal(differ.values()).sum().alias("\0changed") if differ
            else pl.lit(0).alias("\0changed"),
            *(expression.sum().alias(n) for n, expression in differ.items()),
        ).collect(engine="streaming")  # fmt: skip
        both, changed, *cells = counts.row(0)
        examples: tuple[Cell, ...] = ()
        if changed:
            some = joined.filter(pl.any_horizontal(differ.values())).head(_EXAMPLES).collect()
            examples = tuple(_first_cell(row, key, others) for row in some.iter_rows(named=True))
        return TableChange(
            self.form, self.columns, self.rows, key=key,
            added=(self.rows[1] or 0) - both, removed=(self.rows[0] or 0) - both, changed=changed,
            cells={n: c for n, c in zip(others, cells, strict=True) if c}, examples=examples,
        )  # fmt: skip


def _first_cell(row: Mapping[str, Any], key: Sequence[str], others: Sequence[str]) -> Cell:
    values = ((n, _text(row[n]), _text(row[f"{n}{_NEW}"])) for n in others)
    column, old, new = next(x for x in values if x[1] != x[2])
    return Cell(tuple(_text(row[k]) for k in key), column, old, new)


def _text(value: object) -> str:
    return "null" if value is None else shown(value)


def _hashes(frame: pl.LazyFrame) -> Any:  # noqa: ANN401
    import polars as pl

    return frame.select(pl.struct(pl.all()).hash()).collect(engine="streaming").to_series()


def _multisets(old: Any, new: Any) -> tuple[int, int]:  # noqa: ANN401
    """Return how many rows were added and removed, rows that repeat counted as often."""
    import numpy as np

    one, ones = np.unique(old.to_numpy(), return_counts=True)
    two, twos = np.unique(new.to_numpy(), return_counts=True)
    _, at, there = np.intersect1d(one, two, assume_unique=True, return_indices=True)
    both = int(np.minimum(ones[at], twos[there]).sum())
    return int(twos.sum()) - both, int(ones.sum()) - both

"""Two tables compared: columns, rows, and cells where a key says which rows belong together.

CSV, TSV, JSON lines and Parquet are read by polars, an optional extra; without it there are lines
to count. The cells of CSV and TSV are compared as they are written: `1` and `1.0` are two things.
Rows without a key are compared as a multiset of 64-bit hashes, 8 bytes of memory a row.
"""

from __future__ import annotations

import codecs
import contextlib
import glob
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from devml_git import headers, media, rows
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
_MOST_ROWS = 100_000_000
# What a file may declare: a few bytes of Parquet, or of JSON with other keys in each row, may stand
# for as many cells as they like
_FREE_CELLS = 100_000_000
_CELLS_A_BYTE = 20
_ROWS_AT_ONCE = 5_000_000  # whose hashes are held in memory
_MOST_BYTES = 8 << 30
_MOST_BYTES_BY_KEY = 1 << 30  # both sides are held in memory
_SAMPLE = 1000  # rows from which the types of a CSV's columns are told
_EXAMPLES = 5
_HEAD = 64 << 10  # bytes
_CHUNK = 4 << 20
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"x\x01", b"x\x9c", b"x\xda")  # gzip, zstd, zlib
_UNITS: tuple[Literal["ms", "us", "ns"], ...] = ("ms", "us", "ns")  # of time, the finest last
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
        why = headers.TABLES_EXTRA
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
        counts = (one.rows() if one else None, two.rows() if two else None)
        columns = _columns(one.types if one else {}, two.types if two else {})
        if one is None or two is None:
            return TableChange(form, columns, counts), []
        for table, count in zip((one, two), counts, strict=True):
            if (count or 0) > table.most_rows:
                return TableChange(form, columns, counts), [
                    f"{counted(count or 0, 'row')}: only counted"
                ]
        return _Pair(one, two, form, columns, counts).compared(tuple(key))


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Put what polars says of a file that is no such table into one line."""
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as e:
        raise headers.refusal(e) from e


class _Table:
    """One table: `types` by column, and its rows when they are asked for."""

    def __init__(self, path: Path, form: str) -> None:
        with path.open("rb") as f:
            head = f.read(_HEAD)
        if form != "parquet":
            _check(head, form)
        if path.stat().st_size > _MOST_BYTES:
            raise Refused(f"larger than {_MOST_BYTES >> 30} GiB: only counted")
        self.path, self.form = path, form
        self.size = path.stat().st_size
        self._quote = _quote(path, self._separator) if form in {"csv", "tsv"} else None
        if form != "parquet":
            rows.check(path, form, quoted=self._quote is not None)
        self.types = {}
        self._schema: pl.Schema | None = None
        if self.size or form == "parquet":
            self._schema = self._typed().collect_schema()
            self.types = {n: _name(t) for n, t in self._schema.items()}
        if len(self.types) > rows.MOST_COLUMNS:
            raise Refused(f"more than {rows.MOST_COLUMNS} columns")

    @property
    def most_rows(self) -> int:
        """How many rows are looked at, by how large the file is."""
        cells = _FREE_CELLS + _CELLS_A_BYTE * self.size
        return min(_MOST_ROWS, cells // max(1, len(self.types)))

    def _typed(self) -> pl.LazyFrame:
        import polars as pl

        if self.form == "parquet":
            return pl.scan_parquet(self.path, glob=False)
        if self.form == "jsonl":
            place = glob.escape(str(self.path))  # that all lines are read for the types, once
            return pl.scan_ndjson(place, schema=self._schema, infer_schema_length=None)
        return self._scanned(infer_schema_length=_SAMPLE)

    def _scanned(self, **how: Any) -> pl.LazyFrame:  # noqa: ANN401 - polars' options
        import polars as pl

        return pl.scan_csv(
            self.path, glob=False, separator=self._separator, quote_char=self._quote, **how
        )

    @property
    def _separator(self) -> str:
        return "\t" if self.form == "tsv" else ","

    def frame(self) -> pl.LazyFrame:
        """Return the rows; cells of CSV and TSV as they are written, but for quotes."""
        import polars as pl

        if self.form in {"csv", "tsv"}:
            frame = self._scanned(infer_schema=False)
            return frame.with_columns(pl.all().fill_null(""))  # `,,` and `,"",` are one thing
        return self._typed()

    def rows(self) -> int:
        """Return how many rows there are; a file without a byte has none."""
        import polars as pl

        if not self.types:
            return 0
        return int(self.frame().select(pl.len()).collect(engine="streaming").item())


def _check(head: bytes, form: str) -> None:
    """Raise Refused for a text that begins so and cannot be read as a table."""
    if head.startswith(_PACKED):
        raise Refused("compressed: not looked into")
    if head.startswith(_UTF16):
        raise Refused("in UTF-16: only UTF-8 is read as a table")
    if form == "jsonl" and head.startswith(codecs.BOM_UTF8):
        raise Refused("begins with a byte order mark: no JSON lines")
    if b"\r" in head and b"\n" not in head:
        raise Refused("its lines end with carriage returns alone: not read as a table")


def _quote(path: Path, separator: str) -> str | None:
    """Return the mark that quotes fields, None where one only stands within them (`5" pipe`).

    polars takes any such mark for the beginning of a quoted text, and what follows for a part of
    it. RFC 4180: a quoted field begins and ends with one. Raises Refused where both are there, or
    one is never closed.
    """
    import numpy as np

    before = np.frombuffer(f'\n\r"{separator}'.encode(), np.uint8)
    count, begins, within, last = 0, 0, 0, b"\n"
    with path.open("rb") as f:
        while chunk := f.read(_CHUNK):
            data = np.frombuffer(last + chunk.removeprefix(codecs.BOM_UTF8), np.uint8)
            at = np.flatnonzero(data[1:] == ord('"'))
            opening = data[at[count % 2 :: 2]]  # what stands before each that opens a text
            fitting = int(np.isin(opening, before).sum())
            begins, within = begins + fitting, within + opening.size - fitting
            count, last = count + at.size, chunk[-1:]
    if within and not begins:
        return None
    if within or count % 2:
        raise Refused('a " within a field that is not quoted, or never closed: not read as a table')
    return '"'


def _name(dtype: pl.DataType) -> str:
    try:
        return str(dtype)
    except RecursionError as e:
        raise Refused("not read as a table: values nested without end") from e


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
        """Compare the rows: by key, or by content where that does not tell them apart."""
        import polars as pl

        if not self.old.types or not self.new.types:  # not a byte in it
            old_rows, new_rows = self.rows
            change = TableChange(
                self.form, self.columns, self.rows, added=new_rows, removed=old_rows
            )
            return change, []
        common, unlike = self._common()
        notes = []
        if unlike:
            names = ", ".join(shown(n, 100) for n in unlike[:_EXAMPLES])
            notes.append(f"rows are compared without what has another type altogether: {names}")
        if len(common) + len(unlike) < max(len(self.old.types), len(self.new.types)):
            columns = counted(len(common), "column")
            notes.append(f"rows are compared over the {columns} that both sides have")
        if not common:
            return TableChange(self.form, self.columns, self.rows), notes
        old, new = (
            side.frame().select(pl.col(n).cast(t) for n, t in common.items())
            for side in (self.old, self.new)
        )
        why = self._no_key(key, old, new) if key else None
        if why is not None:
            notes.append(f"compared by content: {why}")
        if key and why is None:
            return self._by_key(key, [n for n in common if n not in key], old, new), notes
        added, removed = self._by_content(old, new)
        change = TableChange(self.form, self.columns, self.rows, added=added, removed=removed)
        return change, notes

    def _by_content(self, old: pl.LazyFrame, new: pl.LazyFrame) -> tuple[int, int]:
        """Return how many rows were added and removed; of many rows a part of the hashes a time."""
        parts = -(-max(self.rows[0] or 0, self.rows[1] or 0) // _ROWS_AT_ONCE) or 1
        counts = (_multisets(_hashes(old, i, parts), _hashes(new, i, parts)) for i in range(parts))
        added, removed = zip(*counts, strict=True)
        return sum(added), sum(removed)

    def _common(self) -> tuple[dict[str, pl.DataType], list[str]]:
        """Return the columns of both sides with types that hold both, and those without any."""
        before, after = (side.frame().collect_schema() for side in (self.old, self.new))
        types = {n: _both(before[n], after[n]) for n in after if n in before}
        fitting = {n: t for n, t in types.items() if t is not None}
        return fitting, [n for n in types if n not in fitting]

    def _no_key(self, key: tuple[str, ...], old: pl.LazyFrame, new: pl.LazyFrame) -> str | None:
        """Return why rows cannot be told apart by a key, or None."""
        import polars as pl

        names = old.collect_schema().names()
        missing = [k for k in key if k not in names]
        if missing:
            return f"the key column {shown(missing[0])} is not on both sides, or not alike"
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


def _both(one: pl.DataType, two: pl.DataType) -> pl.DataType | None:
    """Return the type in which cells of two types are compared, None where there is none."""
    import polars as pl

    if one == two:
        return two
    if one.is_integer() and two.is_integer():
        return pl.Int128()
    if one.is_numeric() and two.is_numeric():
        return pl.Float64()
    if isinstance(one, pl.Datetime) and two in {pl.Datetime(u, one.time_zone) for u in _UNITS}:
        return max(one, two, key=lambda t: _UNITS.index(getattr(t, "time_unit", "ms")))
    if any(t.is_nested() or t == pl.Binary() for t in (one, two)):
        return None
    return pl.String()


def _first_cell(row: Mapping[str, Any], key: Sequence[str], others: Sequence[str]) -> Cell:
    values = ((n, _text(row[n]), _text(row[f"{n}{_NEW}"])) for n in others)
    column, old, new = next(x for x in values if x[1] != x[2])
    return Cell(tuple(_text(row[k]) for k in key), column, old, new)


def _text(value: object) -> str:
    return "null" if value is None else shown(value)


def _hashes(frame: pl.LazyFrame, part: int, parts: int) -> Any:  # noqa: ANN401
    """Return the hashes of the rows that belong to one of so many parts."""
    import polars as pl

    hashes = frame.select(pl.struct(pl.all()).hash().alias("hash"))
    if parts > 1:
        hashes = hashes.filter(pl.col("hash") % parts == part)
    return hashes.collect(engine="streaming").to_series()


def _multisets(old: Any, new: Any) -> tuple[int, int]:  # noqa: ANN401
    """Return how many rows were added and removed, rows that repeat counted as often."""
    import numpy as np

    one, ones = np.unique(old.to_numpy(), return_counts=True)
    two, twos = np.unique(new.to_numpy(), return_counts=True)
    _, at, there = np.intersect1d(one, two, assume_unique=True, return_indices=True)
    both = int(np.minimum(ones[at], twos[there]).sum())
    return int(twos.sum()) - both, int(ones.sum()) - both

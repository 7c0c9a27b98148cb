"""Tables compared: columns, rows, cells; what cannot be read, in words."""

from __future__ import annotations

import gzip
import sys
import time
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from devml_git import describing, tables
from devml_git.tables import TableChange

OLD = "id,price,name\n1,10,a\n2,20,b\n3,30,c\n4,,d\n"
NEW = "id,price,name\n4,,d\n2,21,b\n3,30,x\n5,50,e\n"


def compared(
    tmp_path: Path, old: str | bytes, new: str | bytes, name: str = "t.csv", *key: str
) -> tuple[TableChange, list[str]]:
    places = tmp_path / "old", tmp_path / "new"
    for place, text in zip(places, (old, new), strict=True):
        place.write_bytes(text.encode() if isinstance(text, str) else text)
    return tables.compare(*places, name, key)


def parquet(tmp_path: Path, **columns: object) -> bytes:
    pl.DataFrame(columns).write_parquet(tmp_path / "made")
    return (tmp_path / "made").read_bytes()


def test_rows_without_a_key_are_a_multiset(tmp_path: Path) -> None:
    change, notes = compared(tmp_path, OLD, NEW)
    assert (change.rows, change.added, change.removed, change.changed) == ((4, 4), 3, 3, None)
    assert notes == []


def test_row_that_repeats_counts_as_often(tmp_path: Path) -> None:
    change, _ = compared(tmp_path, "a\n1\n1\n1\n2\n", "a\n1\n3\n2\n2\n")
    assert (change.added, change.removed) == (2, 2)


def test_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    change, _ = compared(tmp_path, "a,b\n1,x\n2,y\n", "a,b\n2,y\n1,x\n")
    assert (change.added, change.removed) == (0, 0)


def test_key_tells_changed_cells_from_new_and_lost_rows(tmp_path: Path) -> None:
    change, notes = compared(tmp_path, OLD, NEW, "t.csv", "id")
    assert (change.added, change.removed, change.changed) == (1, 1, 2)
    assert change.cells == {"price": 1, "name": 1}
    cells = {(c.key, c.column, c.old, c.new) for c in change.examples}
    assert cells == {(("2",), "price", "20", "21"), (("3",), "name", "c", "x")}
    assert notes == []
    assert change.to_dict()["table"]["key"] == ["id"]


def test_key_of_two_columns(tmp_path: Path) -> None:
    change, _ = compared(
        tmp_path, "a,b,c\n1,1,x\n1,2,y\n", "a,b,c\n1,2,z\n1,1,x\n", "t.csv", "a", "b"
    )
    assert (change.added, change.removed, change.changed, change.cells) == (0, 0, 1, {"c": 1})


@pytest.mark.parametrize(
    ("key", "why"),
    [("price", "repeat a key"), ("nosuch", "the key column nosuch is not on both sides")],
)
def test_key_that_does_not_serve_is_named_and_content_decides(
    tmp_path: Path, key: str, why: str
) -> None:
    old = "id,price\n1,10\n2,10\n"
    change, (note,) = compared(tmp_path, old, "id,price\n1,10\n3,10\n", "t.csv", key)
    assert "compared by content" in note
    assert why in note
    assert (change.added, change.removed, change.key) == (1, 1, ())


def test_added_removed_and_retyped_columns_are_told(tmp_path: Path) -> None:
    change, notes = compared(tmp_path, "a,b,c\n1,2,3\n", "a,c,d\n1,x,4\n")
    assert change.columns == {
        "c": ("Int64", "String"), "d": (None, "Int64"), "b": ("Int64", None)
    }  # fmt: skip
    assert notes == ["rows are compared over the 2 columns that both sides have"]
    assert (change.added, change.removed) == (1, 1)


def test_tsv_and_json_lines_are_read(tmp_path: Path) -> None:
    change, _ = compared(tmp_path, "a\tb\n1\t2\n", "a\tb\n1\t3\n", "t.tsv", "a")
    assert change.cells == {"b": 1}
    old, new = '{"a": 1, "b": [1, 2]}\n{"a": 2}\n', '{"b": [1, 2], "a": 1}\n{"a": 3}\n'
    change, _ = compared(tmp_path, old, new, "t.jsonl")
    assert (change.rows, change.added, change.removed) == ((2, 2), 1, 1)


def test_parquet_with_nan_null_and_another_type(tmp_path: Path) -> None:
    nan = float("nan")
    old = parquet(tmp_path, id=[1, 2, 3], x=[1.0, nan, None])
    new = parquet(tmp_path, id=[1.0, 2.0, 3.0], x=[1.0, nan, 4.0])
    change, _ = compared(tmp_path, old, new, "t.parquet", "id")
    assert change.columns == {"id": ("Int64", "Float64")}
    assert (change.changed, change.cells) == (1, {"x": 1})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "a,b\n1,2\n1,2,3\n", "not read as a table: found more fields"),
        ("t.csv", "a,b\né,2\n".encode("latin-1"), "not read as a table: invalid utf-8"),
        ("t.csv", gzip.compress(b"a,b\n1,2\n"), "compressed: not looked into"),
        ("t.jsonl", "nonsense\n", "not read as a table"),
        ("t.jsonl", '{"a":' * 50_000 + "1" + "}" * 50_000, "not read as a table"),
        ("t.parquet", b"PAR1 and no more PAR1", "not read as a table"),
    ],
    ids=["ragged", "latin-1", "gzip", "no json", "deep json", "torn parquet"],
)
def test_what_is_no_table_is_counted_in_lines_and_said_so(
    tmp_path: Path, name: str, text: str | bytes, words: str
) -> None:
    change, (note,) = compared(tmp_path, text, text, name)
    assert words in note
    assert len(note) < 300
    assert (change.lines == (None, None)) is (name == "t.parquet")


def test_without_polars_lines_are_counted_and_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    change, notes = compared(tmp_path, OLD, NEW + "6,1,f")
    assert change.lines == (5, 6)
    assert notes == ["rows are compared with: pip install 'devml-git[tables]'"]
    assert describing._gist(change) == "csv: 5 -> 6 lines"


def test_name_of_a_file_is_no_glob(tmp_path: Path) -> None:
    for n, name in enumerate(("a[1]*.jsonl", "a1x.jsonl")):
        (tmp_path / name).write_text(f'{{"a": {n}}}\n' * (n + 1))
    change, _ = tables.compare(None, tmp_path / "a[1]*.jsonl", "a[1]*.jsonl")
    assert change.rows == (None, 1)


def test_quote_within_a_field_quotes_nothing(tmp_path: Path) -> None:
    old, new = 'id\tpipe\n1\t5"\n2\t6" x\n3\t7\n', 'id\tpipe\n1\t5"\n2\t6" x\n3\t8\n'
    change, notes = compared(tmp_path, old, new, "t.tsv", "id")
    assert (change.rows, change.cells, notes) == ((3, 3), {"pipe": 1}, [])


@pytest.mark.parametrize("text", ['a,b\n1,"2\n', 'a,b\n"x, y",5" z\n'])
def test_quotes_that_can_be_read_in_two_ways_are_said_so(tmp_path: Path, text: str) -> None:
    change, (note,) = compared(tmp_path, text, text)
    assert note.startswith('a " within a field that is not quoted, or never closed')
    assert change.lines == (2, 2)


def test_quotes_are_followed_from_piece_to_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_CHUNK", 1)
    text = 'a,"b ""c"""\n"x\n\ny",""\n'
    change, notes = compared(tmp_path, text, text.replace("x", "z"))
    assert (change.rows, change.added, notes) == ((1, 1), 1, [])


def test_empty_cell_is_one_thing_quoted_or_not(tmp_path: Path) -> None:
    change, _ = compared(tmp_path, "a,b\n1,\n", 'a,b\n1,""\n')
    assert (change.added, change.removed) == (0, 0)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "in UTF-16"),
        ("t.jsonl", b'\xef\xbb\xbf{"a": 1}\n', "byte order mark"),
        ("t.csv", b"a,b\r1,2\r", "carriage returns alone"),
    ],
)
def test_encoding_that_is_not_read_is_named(
    tmp_path: Path, name: str, text: bytes, words: str
) -> None:
    _, (note,) = compared(tmp_path, text, text, name)
    assert words in note


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_empty_file_is_a_table_without_rows(tmp_path: Path, name: str) -> None:
    row = "a\n1\n" if name == "t.csv" else '{"a": 1}\n'
    change, notes = compared(tmp_path, "", row, name)
    assert (change.rows, change.added, change.removed, notes) == ((0, 1), 1, 0, [])


def test_integers_of_two_widths_are_compared_to_the_last_digit(tmp_path: Path) -> None:
    sides = [
        parquet(tmp_path, id=[1, 2], x=pl.Series([2**53 + n, 5], dtype=kind))
        for n, kind in ((0, pl.Int64), (1, pl.UInt64))
    ]
    change, _ = compared(tmp_path, *sides, "t.parquet", "id")
    assert change.cells == {"x": 1}


def test_times_of_two_units_and_lists_of_two_types(tmp_path: Path) -> None:
    when = [datetime(2020, 1, 1), datetime(2021, 1, 1)]  # noqa: DTZ001 - as tables have them
    sides = [
        parquet(
            tmp_path,
            id=[1, n],
            t=pl.Series(when, dtype=pl.Datetime(unit)),
            x=pl.Series([[1], [2]], dtype=pl.List(kind)),
        )
        for n, unit, kind in ((2, "ms", pl.Int64), (3, "us", pl.Float64))
    ]  # fmt: skip
    change, notes = compared(tmp_path, *sides, "t.parquet", "id")
    assert (change.added, change.removed, change.changed) == (1, 1, 0)
    assert notes == ["rows are compared without what has another type altogether: x"]


def test_types_of_json_lines_are_found_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inferred = []
    scan = pl.scan_ndjson

    def scanned(*args: object, **how: object) -> pl.LazyFrame:
        inferred.append(how["schema"] is None)
        return scan(*args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(pl, "scan_ndjson", scanned)
    compared(tmp_path, '{"a": 1}\n', '{"a": 2}\n', "t.jsonl", "a")
    assert sum(inferred) == 2


@pytest.mark.long
@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_a_million_rows_in_bounded_time_and_memory(tmp_path: Path, form: str) -> None:
    ids = pl.int_range(1_000_000, eager=True)
    old = pl.DataFrame({"id": ids, "text": "row " + (ids % 999).cast(pl.String), "x": ids / 7})
    new = old.with_columns(pl.when(pl.col("id") % 1000 == 5).then(0).otherwise("x").alias("x"))
    write = {"csv": "write_csv", "parquet": "write_parquet", "jsonl": "write_ndjson"}[form]
    getattr(old, write)(tmp_path / "old")
    getattr(new.tail(-10).reverse(), write)(tmp_path / "new")
    began = time.monotonic()
    change, _ = tables.compare(tmp_path / "old", tmp_path / "new", f"t.{form}", ["id"])
    assert (change.added, change.removed, change.cells) == (0, 10, {"x": 999})
    assert time.monotonic() - began < 30

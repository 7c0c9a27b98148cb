"""Random tables, written in each format, and what differs between two of them, in plain Python."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import polars as pl

FORMATS = ("csv", "tsv", "jsonl", "parquet")
TEXTS = ("a", "b", "é ß", "two\nlines", 'a "quote"', "com,ma", "tab\there", " space ", "1.0", "NA")
TYPES = ("int", "float", "text", "bool")
NULLS = 0.15


@dataclass
class Table:
    """`types` by column, and rows of values by column."""

    types: dict[str, str]
    rows: list[dict[str, Any]]


def value(rng: random.Random, kind: str, form: str) -> Any:
    if rng.random() < NULLS:
        return None
    if kind == "int":
        return rng.choice((rng.randrange(4), -(2**53) - rng.randrange(3)))
    if kind == "float":
        odd = () if form == "jsonl" else (math.nan, math.inf)
        return rng.choice((rng.randrange(4) / 4, 1e300, *odd))
    return rng.random() < 0.5 if kind == "bool" else rng.choice(TEXTS)


def table(rng: random.Random, form: str) -> Table:
    types = {name: rng.choice(TYPES) for name in "abcd"[: rng.randint(1, 4)]}
    rows = [{n: value(rng, t, form) for n, t in types.items()} for _ in range(rng.randrange(12))]
    for number, row in enumerate(rows):
        row["id"] = number
    return Table({**types, "id": "int"}, rows)


def altered(rng: random.Random, old: Table, form: str) -> Table:
    """Return a table with rows added, removed, repeated, moved, changed; columns, too."""
    types, rows = dict(old.types), [dict(r) for r in old.rows]
    for _ in range(rng.randrange(6)):
        where = rng.randrange(len(rows)) if rows else 0
        name = rng.choice(list(types))
        match rng.randrange(9):
            case 0:
                rows.insert(where, {n: value(rng, t, form) for n, t in types.items()})
            case 1 | 2 if rows and name != "id":
                rows[where][name] = value(rng, types[name], form)
            case 3 if rows:
                del rows[where]
            case 4 if rows and rng.random() < 0.3:
                rows.append(dict(rows[where]))
            case 5:
                rng.shuffle(rows)
            case 6 if rng.random() < 0.5:
                types["e"] = "int"
                for row in rows:
                    row["e"] = 1
            case 7 if len(types) > 1 and rng.random() < 0.5:
                del types[name]
                for row in rows:
                    del row[name]
            case 8 if types[name] == "int" and form == "parquet":
                types[name] = "float"
                for row in rows:
                    row[name] = None if row[name] is None else float(row[name])
    order = rng.sample(list(types), len(types))
    return Table({n: types[n] for n in order}, rows)


def written(found: Table, form: str, rng: random.Random) -> bytes:
    if form == "parquet":
        kinds = {"int": pl.Int64, "float": pl.Float64, "text": pl.String, "bool": pl.Boolean}
        out = io.BytesIO()
        columns = {
            n: pl.Series([r[n] for r in found.rows], dtype=kinds[t]())
            for n, t in found.types.items()
        }
        pl.DataFrame(columns).write_parquet(out)
        return out.getvalue()
    if form == "jsonl":
        return "".join(
            json.dumps({n: r[n] for n in found.types}) + "\n" for r in found.rows
        ).encode()
    text = io.StringIO()
    ending = rng.choice(("\n", "\r\n"))
    writer = csv.writer(text, delimiter="\t" if form == "tsv" else ",", lineterminator=ending)
    writer.writerow(found.types)
    writer.writerows([cell(r[n], form) for n in found.types] for r in found.rows)
    return (b"\xef\xbb\xbf" if rng.random() < 0.2 else b"") + text.getvalue().encode()


def cell(found: Any, form: str) -> Any:
    """Return what two cells have in common that are the same; of CSV and TSV: what is written."""
    if form in {"csv", "tsv"}:
        return "" if found is None else str(found)
    if isinstance(found, bool | str) or found is None:
        return (type(found).__name__, found)
    return "NaN" if math.isnan(found) else ("number", found)


def as_float(found: Any) -> float | None:
    return None if found is None else float(found)


def differences(old: Table, new: Table, form: str, key: str) -> dict[str, Any]:
    """Return what a comparison has to say: see tables.TableChange."""
    common = [n for n in new.types if n in old.types]
    retyped = {n for n in common if form == "parquet" and old.types[n] != new.types[n]}
    sides = [
        [
            tuple(
                cell(float(r[n]) if n in retyped and r[n] is not None else r[n], form)
                for n in common
            )
            for r in t.rows
        ]
        for t in (old, new)
    ]
    found: dict[str, Any] = {"rows": (len(old.rows), len(new.rows))}
    if form == "jsonl" and not (old.rows and new.rows):  # no row, no column
        return found | {"added": len(new.rows), "removed": len(old.rows), "changed": None}
    if not common:
        return found | {"added": None, "removed": None, "changed": None}
    if key in common:
        at = common.index(key)
        one, two = ({row[at]: row for row in side} for side in sides)
        if len(one) == len(sides[0]) and len(two) == len(sides[1]):
            both = one.keys() & two.keys()
            cells = Counter(
                n for k in both for n, a, b in zip(common, one[k], two[k], strict=True) if a != b
            )
            return found | {
                "key": (key,), "added": len(two) - len(both), "removed": len(one) - len(both),
                "changed": sum(one[k] != two[k] for k in both), "cells": dict(cells),
            }  # fmt: skip
    before, after = map(Counter, sides)
    return found | {
        "key": (), "added": (after - before).total(), "removed": (before - after).total(),
        "changed": None,
    }  # fmt: skip

"""Content read into a summary: tensors' digests and numbers, columns, headers of media, lines.

Nothing of a file is executed; memory stays at a few blocks, however large the file is.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from devml_git import headers, models
from devml_git.errors import Refused
from devml_git.gate import shown
from devml_git.models import hdf_file
from devml_git.streams import in_parallel
from devml_git.summaries import Summary, TensorSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from devml_git.models import Model

BLOCK = 4 << 20  # bytes of a tensor at once
_HEAD = 1 << 16  # bytes in which a table's first row must end
_COLUMNS = 200
_METADATA = 100
_CHARACTERS = 200  # of one value
UNREAD = "no model that can be read"  # how the line begins that says why
_NOT_COUNTED = "large: its lines are not counted"
_TABLES = {".csv": ",", ".tsv": "\t"}


def summarise(
    path: Path, name: str, *, most: int | None = None, tensors: int = models.MAX_TENSORS
) -> Summary:
    """Return what is in a file that is called `name`.

    Of a model whose tensors have more than `most` bytes, decompressed, only names, types and shapes
    are looked at; of another file that is larger, only the names of a table's columns.
    Raises StorageFailed where the file cannot be read just now, models.TooMany for a model that has
    more than `tensors`, a bound below the usual one.
    """
    try:
        model = models.read(path, name, most=tensors)
        if model is None:
            return _no_model(path, name, most)
        with model:
            if most is None:
                model.check_cost(name)
            return _of_model(model, most)
    except models.Unreadable as e:
        if isinstance(e, models.TooMany) and tensors < models.MAX_TENSORS:
            raise
        plain = _no_model(path, name, most)
        return replace(plain, lines=(f"{UNREAD}: {e.why}", *plain.lines))


# -- models --------------------------------------------------------------------------------------


def _of_model(model: Model, most: int | None) -> Summary:
    rows = [TensorSummary(t.name, t.dtype, t.shape, "") for t in model.tensors.values()]
    sizes = [t.nbytes for t in model.tensors.values()]

    def read(i: int) -> None:
        rows[i] = _row(model, rows[i].name)

    small = most is None or model.cost <= most
    if small:
        in_parallel(read, sorted(range(len(rows)), key=lambda i: -sizes[i]), sizes)
    lines = [f"note: {shown(note, _CHARACTERS)}" for note in model.notes]
    lines += _metadata(model.metadata)
    whole = small and hdf_file.NO_H5PY not in model.notes
    return Summary(model.format, tuple(rows), tuple(lines), is_model=True, whole=whole)


def _row(model: Model, name: str) -> TensorSummary:
    """Read one tensor, once: hash its elements, and sum them up where they are plain numbers."""
    import numpy as np

    tensor = model.tensors[name]
    digest = hashlib.blake2b(digest_size=16)
    total = squares = 0.0
    numbers = _are_numbers(tensor.dtype)
    with np.errstate(all="ignore"):
        for block in model.blocks(name, BLOCK):
            digest.update(np.ascontiguousarray(block).view(np.uint8).data)
            if numbers:
                wide = block.astype(np.float64)
                total += float(wide.sum())
                squares += float(np.dot(wide, wide))
    mean = total / tensor.elements if numbers and tensor.elements else None
    norm = math.sqrt(squares) if numbers else None
    return TensorSummary(name, tensor.dtype, tensor.shape, digest.hexdigest(), mean, norm)


def _are_numbers(dtype: str) -> bool:
    """Whether the bytes are numbers that add up: no text, no complex ones, no packed blocks."""
    from devml_git.models.dtypes import numpy_dtype

    known = numpy_dtype(dtype)
    return known is not None and known.name.startswith(("float", "bfloat", "int", "uint", "bool"))


def _metadata(values: Any) -> Iterator[str]:  # noqa: ANN401 - what a file says of itself
    items = list(values.items())
    for key, value in items[:_METADATA]:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield f"{shown(key, _CHARACTERS)}: {shown(text, _CHARACTERS)}"
    if len(items) > _METADATA:
        yield f"and {len(items) - _METADATA} more of its metadata"


# -- tables, images, recordings, text ------------------------------------------------------------


def _no_model(path: Path, name: str, most: int | None) -> Summary:
    small = most is None or path.stat().st_size <= most
    kind = headers.kind_of(name)
    if kind is not None:
        return _of_media(path, kind) if small else Summary(kind, whole=False)
    if name.lower().endswith(".parquet"):
        return _of_parquet(path)
    return _of_text(path, name) if small else _of_large_text(path, name)


def _of_media(path: Path, kind: str) -> Summary:
    try:
        return Summary(kind, (), (headers.in_words(headers.facts(path, kind)),))
    except ImportError:
        return Summary(kind, (), (headers.MEDIA_EXTRA,), whole=False)
    except Refused as e:
        return Summary("", (), (e.message,))


def _of_parquet(path: Path) -> Summary:
    try:
        rows, types = headers.parquet(path)
    except ImportError:
        return Summary("parquet", (), (headers.TABLES_EXTRA,), whole=False)
    except Refused as e:
        return Summary("", (), (e.message,))
    columns = [f"{name} {kind}" for name, kind in types.items()]
    return Summary("parquet", (), (f"rows: {rows:,}", *_column_lines(columns)))


def _of_text(path: Path, name: str) -> Summary:
    with path.open("rb") as file:
        head = file.read(_HEAD)
        count, last, chunk = 0, b"", head
        while chunk:
            if b"\0" in chunk:
                return Summary("")
            count, last = count + chunk.count(b"\n"), chunk[-1:]
            chunk = file.read(1 << 20)
    lines = count + (last not in {b"", b"\n"})
    return _of_head(head, name, f"lines: {lines:,}")


def _of_large_text(path: Path, name: str) -> Summary:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if b"\0" in head:
        return Summary("", whole=False)
    return replace(_of_head(head, name, _NOT_COUNTED), whole=False)


def _of_head(head: bytes, name: str, counted: str) -> Summary:
    """Return what a text is that begins so, and has so many lines."""
    text = _decoded(head)
    if text is None:
        return Summary("")
    columns = _columns(text, name)
    if columns is None:
        return Summary("text", (), (counted,))
    return Summary("table", (), (counted, *_column_lines(columns)))


def _column_lines(columns: Sequence[str]) -> list[str]:
    more = [f"and {len(columns) - _COLUMNS} more"] if len(columns) > _COLUMNS else []
    return [*(f"column {shown(c, _CHARACTERS)}" for c in columns[:_COLUMNS]), *more]


def _decoded(head: bytes) -> str | None:
    """Return the beginning of a text, or None for what is none; a character may be cut in two."""
    try:
        return head.decode("utf-8")
    except UnicodeDecodeError as e:
        cut = e.start >= len(head) - 3 and len(head) == _HEAD
        return head[: e.start].decode("utf-8") if cut else None


def _columns(text: str, name: str) -> list[str] | None:
    """Return the names in the first row of a table, or None where a file is none."""
    first = text.split("\n", 1)[0]
    lower = name.lower()
    delimiter = next((d for ending, d in _TABLES.items() if lower.endswith(ending)), None)
    try:
        if delimiter:
            return next(csv.reader([first], delimiter=delimiter), [])
        if lower.endswith((".jsonl", ".ndjson")):
            row = json.loads(first)
            return list(row) if isinstance(row, dict) else None
    except (csv.Error, ValueError, RecursionError):
        pass
    return None

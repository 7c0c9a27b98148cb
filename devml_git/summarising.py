"""Content read into a summary: each tensor's digest and numbers, a table's columns, a text's lines.

Nothing of a file is executed; memory stays at a few blocks, however large the file is.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

from devml_git import models
from devml_git.gate import shown
from devml_git.streams import in_parallel
from devml_git.summaries import Summary, TensorSummary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devml_git.models import Model

BLOCK = 4 << 20  # bytes of a tensor at once
_HEAD = 1 << 16  # bytes in which a table's first row must end
_COLUMNS = 200
_METADATA = 100
_CHARACTERS = 200  # of one value
UNREAD = "no model that can be read"  # how the line begins that says why
_TABLES = {".csv": ",", ".tsv": "\t"}


def summarise(path: Path, name: str, *, most: int | None = None) -> Summary:
    """Return what is in a file that is called `name`.

    Of a model whose tensors have more than `most` bytes, decompressed, only names, types and shapes
    are looked at: none of them is read.
    Raises StorageFailed where the file cannot be read just now.
    """
    try:
        model = models.read(path, name)
        if model is None:
            return _no_model(path, name)
        with model:
            return _of_model(model, most)
    except models.Unreadable as e:
        plain = _no_model(path, name)
        return Summary(plain.format, (), (f"{UNREAD}: {e.why}", *plain.lines))


# -- models --------------------------------------------------------------------------------------


def _of_model(model: Model, most: int | None) -> Summary:
    rows = [TensorSummary(t.name, t.dtype, t.shape, "") for t in model.tensors.values()]
    sizes = [t.nbytes for t in model.tensors.values()]

    def read(i: int) -> None:
        rows[i] = _row(model, rows[i].name)

    if most is None or sum(sizes) <= most:
        in_parallel(read, sorted(range(len(rows)), key=lambda i: -sizes[i]), sizes)
    lines = [f"note: {shown(note, _CHARACTERS)}" for note in model.notes]
    lines += _metadata(model.metadata)
    return Summary(model.format, tuple(rows), tuple(lines), is_model=True)


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


# -- tables and text -----------------------------------------------------------------------------


def _no_model(path: Path, name: str) -> Summary:
    with path.open("rb") as file:
        head = file.read(_HEAD)
        count, last, chunk = 0, b"", head
        while chunk:
            if b"\0" in chunk:
                return Summary("")
            count, last = count + chunk.count(b"\n"), chunk[-1:]
            chunk = file.read(1 << 20)
    text = _decoded(head)
    if text is None:
        return Summary("")
    lines = count + (last not in {b"", b"\n"})
    columns = _columns(text, name)
    counted = f"lines: {lines:,}"
    if columns is None:
        return Summary("text", (), (counted,))
    more = [f"and {len(columns) - _COLUMNS} more"] if len(columns) > _COLUMNS else []
    named = [f"column {shown(c, _CHARACTERS)}" for c in columns[:_COLUMNS]]
    return Summary("table", (), (counted, *named, *more))


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

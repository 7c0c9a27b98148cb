"""Two models compared tensor by tensor, streamed: what is new, gone, renamed, and how far it moved.

Numbers are computed in float32, where a type fits into it without loss, in float64 else; sums
over at most 8,192 of them are added up in extended precision, so that they agree with a computation
in float64 to about 1e-7. Blocks in which that would overflow, vanish or meet a NaN are computed
anew in a wider type. What is not finite on both sides is counted and left out of the sums.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from devml_git.errors import DevmlError
from devml_git.gate import shown
from devml_git.models.dtypes import numpy_dtype
from devml_git.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from devml_git.models import Model, Tensor
    from devml_git.progress import Progress

    Array = NDArray[Any]

_SPAN = 4 << 20  # elements that one thread takes at once
_BLOCK = 64 << 10  # elements: what is computed with stays in the processor's cache
_ROW = 8 << 10  # elements that one dot product sums: BLAS starts no threads for so few
_HEAD = 64 << 10  # bytes by which renamed tensors are looked for
_AHEAD = 8  # spans that wait for a thread; of packed files, each is unpacked in memory
# Below these, squares may have vanished; sums above are right
_TINY = {"float32": 1e-26, "float64": 1e-280}
_NARROW = frozenset(
    {"float16", "bfloat16", "float32", "int8", "uint8", "int16", "uint16", "bool"}
)  # and float8: what float32 holds without loss


# -- what is found -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Numbers:
    """How far one tensor moved.

    `l2` is the length of the difference in units of the old tensor's (None: that is zero),
    `max_abs` the largest absolute difference, `cosine` that of the angle between both (None: one
    is zero), all over what is finite on both sides; they are None where the type has no numbers.
    `changed` is the share of elements that are stored otherwise (of bytes, where elements cannot
    be told apart); `nan` and `inf` are counts, old and new.
    """

    changed: float
    l2: float | None = None
    max_abs: float | None = None
    cosine: float | None = None
    nan: tuple[int, int] = (0, 0)
    inf: tuple[int, int] = (0, 0)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "changed": self.changed, "l2": self.l2, "max_abs": self.max_abs, "cosine": self.cosine,
            "nan": {"old": self.nan[0], "new": self.nan[1]},
            "inf": {"old": self.inf[0], "new": self.inf[1]},
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorChange:
    """One tensor that differs.

    `change` is one of "added", "removed", "renamed" (the same bytes under another name),
    "reshaped", "retyped", "modified"; a side is None where there is no such tensor. `numbers` is
    None where there is nothing to compute: one side only, or another shape.
    """

    name: str
    change: str
    old: Tensor | None
    new: Tensor | None
    numbers: Numbers | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return one entry of product.md's `tensors`."""
        sides = {"old": self.old, "new": self.new}
        entry: dict[str, Any] = {"name": self.name, "change": self.change} | {
            side: {"dtype": t.dtype, "shape": list(t.shape)} if t else None
            for side, t in sides.items()
        }
        if self.change == "renamed" and self.old is not None:
            entry["from"] = self.old.name
        return entry | (self.numbers.to_dict() if self.numbers else {})


@dataclass(frozen=True, slots=True)
class ModelChange:
    """Two models, or one where the other side has none (its format is then None).

    `tensors` are those that differ, in the new model's order, then those that are gone;
    `unchanged` is the number of the others; `parameters` the number of all elements, old and new;
    `metadata` maps a key to what it was and what it is (None: not there).
    """

    format: tuple[str | None, str | None]
    tensors: tuple[TensorChange, ...]
    unchanged: int
    parameters: tuple[int, int]
    metadata: Mapping[str, tuple[Any, Any]]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return `tensors` as product.md has them, and `model`: what holds for all of it."""
        old, new = self.format
        model = {
            "format": {"old": old, "new": new},
            "parameters": {"old": self.parameters[0], "new": self.parameters[1]},
            "unchanged": self.unchanged,
            "metadata": [
                {"key": k, "old": before, "new": after}
                for k, (before, after) in self.metadata.items()
            ],
        }
        return {"tensors": [t.to_dict() for t in self.tensors], "model": model}


def compare(old: Model | None, new: Model | None, progress: Progress = SILENT) -> ModelChange:
    """Compare two open models; a side may be None. Memory stays small whatever their size."""
    before = old.tensors if old else {}
    after = new.tensors if new else {}
    notes = [*(old.notes if old else ()), *(n for n in (new.notes if new else ()))]
    both = [name for name in after if name in before]
    changes: dict[str, TensorChange] = {}
    if old is not None and new is not None:
        changes.update(_compared(old, new, both, progress, notes))
        changes.update(_renamed(old, new, notes))
    gone = {c.old.name for c in changes.values() if c.change == "renamed" and c.old}
    ordered = [
        changes.get(name) or TensorChange(name, "added", None, tensor)
        for name, tensor in after.items()
        if name in changes or name not in before
    ]
    ordered += [
        TensorChange(name, "removed", tensor, None)
        for name, tensor in before.items()
        if name not in after and name not in gone
    ]
    return ModelChange(
        (old.format if old else None, new.format if new else None),
        tuple(ordered),
        sum(name not in changes for name in both),
        (sum(t.elements for t in before.values()), sum(t.elements for t in after.values())),
        _metadata(old.metadata if old else {}, new.metadata if new else {}),
        tuple(dict.fromkeys(notes)),
    )


def _metadata(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = [*new, *(k for k in old if k not in new)]
    return {k: (old.get(k), new.get(k)) for k in keys if old.get(k) != new.get(k)}


# -- tensor by tensor, in threads ----------------------------------------------------------------


def _compared(
    old: Model, new: Model, names: Sequence[str], progress: Progress, notes: list[str]
) -> Iterator[tuple[str, TensorChange]]:
    """Yield what differs of the tensors that both models have."""
    same_shape = []
    for name in names:
        one, two = old.tensors[name], new.tensors[name]
        if one.shape == two.shape:
            same_shape.append(name)
        else:
            yield name, TensorChange(name, "reshaped", one, two)
    progress.start("comparing", sum(new.tensors[name].nbytes for name in same_shape))
    try:
        for name, numbers in _measured(old, new, same_shape, progress, notes):
            one, two = old.tensors[name], new.tensors[name]
            if numbers is not None or one.dtype != two.dtype:
                kind = "modified" if one.dtype == two.dtype else "retyped"
                yield name, TensorChange(name, kind, one, two, numbers)
    finally:
        progress.finish()


def _measured(
    old: Model, new: Model, names: Sequence[str], progress: Progress, notes: list[str]
) -> Iterator[tuple[str, Numbers | None]]:
    """Yield each tensor's numbers, None where nothing differs; spans of all go through threads."""
    waiting: deque[tuple[_Pair, list[Future[_Sums | None]]]] = deque()
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        try:
            for name in names:
                pair = _Pair(old, new, name, progress)
                waiting.append((pair, [pool.submit(pair.differing, s) for s in pair.spans()]))
                while sum(len(futures) for _, futures in waiting) > _AHEAD:
                    yield from _finished(*waiting.popleft(), pool, notes)
            while waiting:
                yield from _finished(*waiting.popleft(), pool, notes)
        finally:  # an error, or Ctrl-C: what has not begun need not
            pool.shutdown(wait=False, cancel_futures=True)


def _finished(
    pair: _Pair, futures: Sequence[Future[_Sums | None]], pool: ThreadPoolExecutor,
    notes: list[str],
) -> Iterator[tuple[str, Numbers | None]]:  # fmt: skip
    try:
        found = [f.result() for f in futures]
        alike = [s for s, sums in zip(pair.spans(), found, strict=True) if sums is None]
        if len(alike) == len(found):
            yield pair.name, None
            return
        lengths = pool.map(pair.sums, alike)  # what is the same counts for cosine and length
        yield pair.name, pair.numbers([*(s for s in found if s is not None), *lengths])
    except DevmlError as e:
        notes.append(f"tensor {shown(pair.name)}: {e.message}")
    finally:
        pair.close()


@dataclass(slots=True)
class _Sums:
    """What is summed up over some elements: a and b are the old and new ones, d their difference."""

    changed: int = 0
    aa: Any = 0.0
    bb: Any = 0.0
    ab: Any = 0.0
    dd: Any = 0.0
    largest: float = 0.0
    nan: tuple[int, int] = (0, 0)
    inf: tuple[int, int] = (0, 0)

    def add(self, other: _Sums) -> None:
        self.changed += other.changed
        self.aa, self.bb = self.aa + other.aa, self.bb + other.bb
        self.ab, self.dd = self.ab + other.ab, self.dd + other.dd
        self.largest = max(self.largest, other.largest)
        self.nan = (self.nan[0] + other.nan[0], self.nan[1] + other.nan[1])
        self.inf = (self.inf[0] + other.inf[0], self.inf[1] + other.inf[1])


@dataclass(slots=True)
class _Pair:
    """One tensor that both models have, in the same shape."""

    old: Model
    new: Model
    name: str
    progress: Progress
    _sides: tuple[Array, Array] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sides(self) -> tuple[Array, Array]:
        """Return both arrays, flat where that costs no copy; unpacked once where they are packed."""
        with self._lock:
            if self._sides is None:
                a, b = self.old.array(self.name), self.new.array(self.name)
                if a.flags.f_contiguous and b.flags.f_contiguous:
                    a, b = a.T, b.T  # any order will do, if it is the same one
                self._sides = (_flat(a), _flat(b))
            return self._sides

    def have_numbers(self) -> bool:
        """Whether both types are ones that can be computed with."""
        kinds = [numpy_dtype(m.tensors[self.name].dtype) for m in (self.old, self.new)]
        return all(k is not None and _work_type(k) is not None for k in kinds)

    def spans(self) -> list[slice]:
        """Return what one thread takes at once, in elements, or bytes where there are none."""
        one, two = self.old.tensors[self.name], self.new.tensors[self.name]
        if one.dtype != two.dtype and not self.have_numbers():
            return []
        whole = numpy_dtype(two.dtype) is not None
        count = two.elements if whole else two.nbytes
        return [slice(i, min(i + _SPAN, count)) for i in range(0, count, _SPAN)]

    def blocks(self, span: slice) -> Iterator[tuple[Array, Array]]:
        """Yield both sides of a span in blocks, and let go of the memory it was mapped to."""
        a, b = self.sides()
        for i in range(span.start, min(span.stop, a.size), _BLOCK):
            cut = slice(i, min(i + _BLOCK, span.stop))
            yield _piece(a, cut), _piece(b, cut)
        _let_go(a, span)
        _let_go(b, span)

    def differing(self, span: slice) -> _Sums | None:
        """Return the sums of a span, or None at the cost of one look where nothing differs."""
        a, b = self.sides()
        self.progress.advance((span.stop - span.start) * b.dtype.itemsize)
        if a.dtype == b.dtype and not any(_differing(*two) for two in self.blocks(span)):
            return None
        return self.sums(span)

    def sums(self, span: slice) -> _Sums:
        """Return the sums of a span."""
        import numpy as np

        total = _Sums()
        count = self.have_numbers()
        with np.errstate(all="ignore"):
            for one, two in self.blocks(span):
                total.add(_numbers(one, two) if count else _Sums(_differing(one, two)))
        return total

    def numbers(self, parts: Sequence[_Sums]) -> Numbers | None:
        """Return what all of the tensor's spans say together."""
        import numpy as np

        total = _Sums()
        for part in parts:
            total.add(part)
        changed = total.changed / self.sides()[0].size
        if not self.have_numbers():
            return Numbers(changed)
        old, new, moved = (float(np.sqrt(x)) for x in (total.aa, total.bb, total.dd))
        return Numbers(
            changed=changed,
            l2=_finite(moved / old) if old else None,
            max_abs=_finite(total.largest),
            cosine=_finite(_clamped(float(total.ab / old / new))) if old and new else None,
            nan=total.nan,
            inf=total.inf,
        )

    def close(self) -> None:
        """Let go of what was unpacked."""
        self._sides = None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _clamped(cosine: float) -> float:
    return max(-1.0, min(1.0, cosine))  # rounding may take it a hair beyond; NaN stays


def _flat(array: Array) -> Array:
    return array.reshape(-1) if array.flags.c_contiguous else array


def _piece(array: Array, cut: slice) -> Array:
    return array[cut] if array.ndim == 1 else array.flat[cut]


def _let_go(array: Array, span: slice) -> None:
    """Tell the system that a span of a mapped file is done with: it counts as our memory."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    if base is None or array.ndim != 1 or not hasattr(base, "madvise"):
        return
    import numpy as np

    with contextlib.suppress(ValueError, OSError):  # unmapped meanwhile: it is let go of
        began = array[span].ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
        began -= began % mmap.PAGESIZE
        base.madvise(mmap.MADV_DONTNEED, began, (span.stop - span.start) * array.itemsize)


# -- block by block ------------------------------------------------------------------------------


def _differing(a: Array, b: Array) -> int:
    """Return how many elements of one type are not the same bit by bit."""
    import numpy as np

    size = a.dtype.itemsize
    if size in {1, 2, 4, 8}:
        bits = np.dtype(f"u{size}")
        return int(np.count_nonzero(a.view(bits) != b.view(bits)))
    if size == 0 or a.dtype.hasobject:
        return 0
    rows = (np.ascontiguousarray(x).view(np.uint8).reshape(-1, size) for x in (a, b))
    return int(np.count_nonzero(np.not_equal(*rows).any(axis=1)))


def _numbers(a: Array, b: Array) -> _Sums:
    """Return the sums of one block."""
    import numpy as np

    wide = np.promote_types(_work_type(a.dtype), _work_type(b.dtype))
    x, y = _widened(a, wide), _widened(b, wide)
    if a.dtype == b.dtype:
        changed = _differing(a, b)
    else:
        changed = int(np.count_nonzero((x != y) & ((x == x) | (y == y))))  # noqa: PLR0124 - NaN
    sums = _quick(x, y, changed)
    if sums is None and wide.itemsize < np.promote_types(wide, np.float64).itemsize:
        wide = np.promote_types(wide, np.float64)
        x, y = x.astype(wide), y.astype(wide)
        sums = _quick(x, y, changed)
    return sums or _careful(x, y, changed)


@cache
def _work_type(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the type that elements are computed in, or None for what has no numbers."""
    import numpy as np

    if dtype.name in _NARROW or dtype.name.startswith("float8"):
        return np.dtype(np.float32)
    if dtype.kind == "c":
        return np.dtype(np.complex64 if dtype.itemsize == 8 else np.complex128)  # noqa: PLR2004
    return np.dtype(np.float64) if dtype.kind in "fiu" else None


def _widened(a: Array, wide: np.dtype[Any]) -> Array:
    """Return a block in the type that it is computed in; by bits where a conversion is slow."""
    import numpy as np

    if a.dtype.name == "bfloat16":  # the upper half of a float32
        a = (a.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif a.dtype.name.startswith("float8"):
        a = np.take(_table(a.dtype), a.view(np.uint8))
    return a.astype(wide, copy=False)


@cache
def _table(dtype: np.dtype[Any]) -> Array:
    """Return all 256 values of an 8-bit type, as float32."""
    import numpy as np

    return np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)


def _quick(x: Array, y: Array, changed: int) -> _Sums | None:
    """Return the sums of one block, or None where this type is too narrow, or something is no number."""
    import numpy as np

    moved = y - x
    extreme = np.abs(moved) if moved.dtype.kind == "c" else moved
    largest = max(float(extreme.max()), -float(extreme.min()))
    a, b, d = (v.view(v.real.dtype) for v in (x, y, moved))
    aa, bb, ab, dd = _dot(a, a), _dot(b, b), _dot(a, b), _dot(d, d)
    tiny = _TINY[a.dtype.name]
    sound = (
        math.isfinite(aa + bb + dd)
        and (dd > tiny or largest == 0)
        and (aa > tiny or not a.any())
        and (bb > tiny or not b.any())
    )
    return _Sums(changed, aa, bb, ab, dd, largest) if sound else None


def _dot(a: Array, b: Array) -> np.longdouble:
    """Return the dot product of two flat arrays, row by row: see _ROW."""
    import numpy as np

    whole = a.size - a.size % _ROW
    rows = np.vecdot(a[:whole].reshape(-1, _ROW), b[:whole].reshape(-1, _ROW))
    return rows.sum(dtype=np.longdouble) + np.vecdot(a[whole:], b[whole:])


def _careful(x: Array, y: Array, changed: int) -> _Sums:
    """Return the sums of one block over what is finite on both sides; NaN and infinity counted."""
    import numpy as np

    good = np.isfinite(x) & np.isfinite(y)
    wide = np.promote_types(x.dtype, np.longdouble)
    a, b = x[good].astype(wide), y[good].astype(wide)
    moved = b - a
    largest = float(np.abs(moved).max(initial=0))
    a, b, d = (v.view(v.real.dtype) for v in (a, b, moved))
    return _Sums(
        changed, (a * a).sum(), (b * b).sum(), (a * b).sum(), (d * d).sum(), largest,
        (int(np.isnan(x).sum()), int(np.isnan(y).sum())),
        (int(np.isinf(x).sum()), int(np.isinf(y).sum())),
    )  # fmt: skip


# -- renamed -------------------------------------------------------------------------------------


def _renamed(old: Model, new: Model, notes: list[str]) -> Iterator[tuple[str, TensorChange]]:
    """Yield the tensors of the new model that the old one has, byte for byte, by another name."""
    gone = [t for t in old.tensors.values() if t.name not in new.tensors and t.nbytes]
    come = [t for t in new.tensors.values() if t.name not in old.tensors and t.nbytes]
    forms = {(t.dtype, t.shape) for t in gone} & {(t.dtype, t.shape) for t in come}
    try:
        known: dict[tuple[object, ...], deque[Tensor]] = {}
        for tensor in (t for t in gone if (t.dtype, t.shape) in forms):
            known.setdefault(_looks(old, tensor), deque()).append(tensor)
        for tensor in come:
            if (tensor.dtype, tensor.shape) in forms:
                alike = known.get(_looks(new, tensor))
                if alike and _same_bytes(old.raw(alike[0].name), new.raw(tensor.name)):
                    change = TensorChange(tensor.name, "renamed", alike.popleft(), tensor)
                    yield tensor.name, change
    except DevmlError as e:
        notes.append(f"renamed tensors are not looked for: {e.message}")


def _looks(model: Model, tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.shape, hash(model.raw(tensor.name)[:_HEAD].tobytes())


def _same_bytes(a: Array, b: Array) -> bool:
    import numpy as np

    step = _BLOCK * 8
    return all(np.array_equal(a[i : i + step], b[i : i + step]) for i in range(0, a.size, step))

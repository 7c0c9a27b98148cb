"""Two models compared tensor by tensor, streamed: what is new, gone, renamed, and how far it moved.

Spans of a few million elements go through threads (NumPy frees the interpreter meanwhile), and
mapped memory is let go of behind them.
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
from typing import TYPE_CHECKING, Any

from devml_git.distance import Sums, differing, sums, work_type
from devml_git.errors import DevmlError
from devml_git.gate import shown
from devml_git.models.dtypes import numpy_dtype
from devml_git.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from devml_git.models import Model, Tensor
    from devml_git.progress import Progress

    Array = NDArray[Any]

_SPAN = 4 << 20  # elements that one thread takes at once
_BLOCK = 64 << 10  # elements: what is computed with stays in the processor's cache
_HEAD = 64 << 10  # bytes by which renamed tensors are looked for
_AHEAD = 8  # spans that wait for a thread; of packed files, each is unpacked in memory


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
    waiting: deque[tuple[_Pair, list[Future[Sums | None]]]] = deque()
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
    pair: _Pair, futures: Sequence[Future[Sums | None]], pool: ThreadPoolExecutor,
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
class _Pair:
    """One tensor that both models have, in the same shape."""

    old: Model
    new: Model
    name: str
    progress: Progress
    _sides: tuple[Array, Array] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sides(self) -> tuple[Array, Array]:
        """Return both arrays, flat where that costs no copy; what is packed is unpacked once."""
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
        return all(k is not None and work_type(k) is not None for k in kinds)

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

    def differing(self, span: slice) -> Sums | None:
        """Return the sums of a span, or None at the cost of one look where nothing differs."""
        a, b = self.sides()
        self.progress.advance((span.stop - span.start) * b.dtype.itemsize)
        if a.dtype == b.dtype and not any(differing(*two) for two in self.blocks(span)):
            return None
        return self.sums(span)

    def sums(self, span: slice) -> Sums:
        """Return the sums of a span."""
        import numpy as np

        total = Sums()
        count = self.have_numbers()
        with np.errstate(all="ignore"):
            for one, two in self.blocks(span):
                total.add(sums(one, two) if count else Sums(differing(one, two)))
        return total

    def numbers(self, parts: Sequence[Sums]) -> Numbers | None:
        """Return what all of the tensor's spans say together."""
        import numpy as np

        total = Sums()
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

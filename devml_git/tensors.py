"""Two models compared tensor by tensor, streamed: what is new, gone, renamed, and how far it moved.

Spans of a few million elements go through threads (NumPy frees the interpreter meanwhile), and
mapped memory is let go of behind them.
"""

from __future__ import annotations

import itertools
import math
import mmap
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from devml_git.distance import Sums, differing, sums, work_type
from devml_git.errors import DevmlError, Refused
from devml_git.gate import shown
from devml_git.models.dtypes import numpy_dtype
from devml_git.models.model import let_go
from devml_git.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from devml_git.models import Model, Tensor
    from devml_git.models.model import Part
    from devml_git.progress import Progress

    Array = NDArray[Any]
    _Box = tuple[slice, ...]

_SPAN = 4 << 20  # elements that one thread takes at once
_SMALL = 16 << 10  # bytes that are not worth the way to another thread and back
_BLOCK = 64 << 10  # elements: what is computed with stays in the processor's cache
_HEAD = 64 << 10  # bytes by which renamed tensors are looked for
_AHEAD = 8  # spans that wait for a thread
_OTHER_ORDER = "packed, too large for memory, and in another order than on the other side"
_UNPACKED = 256 << 20  # bytes of a packed tensor that are unpacked in memory


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
                if new.tensors[name].nbytes <= _SMALL:
                    yield from _at_once(pair, notes)
                    continue
                waiting.append((pair, pair.begun(pool)))
                while sum(len(futures) for _, futures in waiting) > _AHEAD:
                    yield from _finished(*waiting.popleft(), pool, notes)
            while waiting:
                yield from _finished(*waiting.popleft(), pool, notes)
        finally:  # an error, or Ctrl-C: what has not begun need not
            pool.shutdown(wait=False, cancel_futures=True)


def _at_once(pair: _Pair, notes: list[str]) -> Iterator[tuple[str, Numbers | None]]:
    """Yield the numbers of a small tensor."""
    import numpy as np

    try:
        one, two = pair.old.tensors[pair.name], pair.new.tensors[pair.name]
        pair.progress.advance(two.nbytes)
        if not two.nbytes or (one.dtype != two.dtype and not pair.have_numbers()):
            yield pair.name, None
            return
        a, b = (np.ascontiguousarray(x).reshape(-1) for x in pair.arrays())
        if _same(a, b):
            yield pair.name, None
            return
        with np.errstate(all="ignore"):
            found = sums(a, b) if pair.have_numbers() else Sums(differing(a, b))
        yield pair.name, pair.numbers([found])
    except DevmlError as e:
        notes.append(f"tensor {shown(pair.name)}: {e.message}")
    finally:
        pair.close()


def _finished(
    pair: _Pair, futures: Sequence[Future[Sums | None]], pool: ThreadPoolExecutor,
    notes: list[str],
) -> Iterator[tuple[str, Numbers | None]]:  # fmt: skip
    try:
        found = [f.result() for f in futures]
        if all(sums is None for sums in found):
            yield pair.name, None
            return
        alike = [s for s, sums in zip(pair.spans(), found, strict=True) if sums is None]
        lengths = pool.map(pair.sums, alike)  # what is the same counts for cosine and length
        yield pair.name, pair.numbers([*(s for s in found if s is not None), *lengths])
    except DevmlError as e:
        notes.append(f"tensor {shown(pair.name)}: {e.message}")
    finally:
        pair.close()


@dataclass(slots=True)
class _Pair:
    """One tensor that both models have, in the same shape. A span is a box in it."""

    old: Model
    new: Model
    name: str
    progress: Progress
    _sides: tuple[Array, Array] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sides(self) -> tuple[Array, Array]:
        """Return both arrays, flat where they lie alike; what is packed is unpacked once."""
        with self._lock:
            if self._sides is None:
                for part in self._parts():
                    if part.pieces is not None and part.tensor.nbytes > _UNPACKED:
                        raise Refused(_OTHER_ORDER)
                self._sides = _alike(self.old.array(self.name), self.new.array(self.name))
            return self._sides

    def arrays(self) -> tuple[Array, Array]:
        """Return both arrays as they are."""
        return self.old.array(self.name), self.new.array(self.name)

    def _parts(self) -> tuple[Part, Part]:
        return self.old.part(self.name), self.new.part(self.name)

    def is_stream(self) -> bool:
        """Whether a side is packed, and both can be read from their beginning in the same order."""
        orders = {p.fortran for p in self._parts() if p.pieces is not None}
        both = all(p.pieces is not None for p in self._parts())
        return orders == {False} or (both and orders == {True})

    def have_numbers(self) -> bool:
        """Whether both types are ones that can be computed with."""
        kinds = [numpy_dtype(p.tensor.dtype) for p in self._parts()]
        return all(k is not None and work_type(k) is not None for k in kinds)

    def spans(self) -> list[_Box]:
        """Return what one thread takes at once."""
        one, two = (p.tensor for p in self._parts())
        if (one.dtype != two.dtype and not self.have_numbers()) or not two.nbytes:
            return []
        if self.is_stream():
            return [()]
        shape = self.sides()[1].shape
        return list(_boxes(shape, _SPAN if len(shape) == 1 else _SPAN // 4))

    def begun(self, pool: ThreadPoolExecutor) -> list[Future[Sums | None]]:
        """Return what threads are at, span by span."""
        try:
            return [pool.submit(self.differing, span) for span in self.spans()]
        except DevmlError as e:
            failed: Future[Sums | None] = Future()
            failed.set_exception(e)
            return [failed]

    def blocks(self, span: _Box) -> Iterator[tuple[Array, Array]]:
        """Yield both sides of a span in flat blocks, and let go of the memory it was mapped to."""
        if self.is_stream():
            yield from zip(self._pieces(self.old), self._pieces(self.new), strict=True)
            return
        a, b = (side[span] for side in self.sides())
        for box in _boxes(a.shape, _BLOCK):
            yield _flat(a[box]), _flat(b[box])
        if a.nbytes >= mmap.PAGESIZE:  # a tensor that is smaller has its page in common with others
            let_go(a)
            let_go(b)

    def _pieces(self, model: Model) -> Iterator[Array]:
        """Yield one side of a stream, so many elements at once."""
        part = model.part(self.name)
        if part.pieces is not None:
            return part.pieces(_BLOCK)
        dtype = numpy_dtype(part.tensor.dtype)
        return model.blocks(self.name, _BLOCK * (1 if dtype is None else dtype.itemsize))

    def differing(self, span: _Box) -> Sums | None:
        """Return the sums of a span, or None at the cost of one look where nothing differs."""
        self.progress.advance(self._nbytes(span))
        return None if all(_same(a, b) for a, b in self.blocks(span)) else self.sums(span)

    def _nbytes(self, span: _Box) -> int:
        if self.is_stream():
            return self.new.tensors[self.name].nbytes
        return int(math.prod(s.stop - s.start for s in span) * self.sides()[1].itemsize)

    def sums(self, span: _Box) -> Sums:
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
        one, two = (p.tensor for p in self._parts())
        if not total.changed and one.dtype == two.dtype:  # the order of bytes is another
            return None
        changed = total.changed / (two.elements if self.is_stream() else self.sides()[1].size)
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


def _alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Return two arrays flat if their elements lie in the same order, else as they are."""
    order = sorted(range(a.ndim), key=lambda axis: -a.strides[axis])
    one, two = a.transpose(order), b.transpose(order)
    if one.flags.c_contiguous and two.flags.c_contiguous:
        return one.reshape(-1), two.reshape(-1)
    return a, b


def _flat(array: Array) -> Array:
    """Return the elements one after another: a copy where they lie scattered."""
    import numpy as np

    return np.ascontiguousarray(array).reshape(-1)


def _boxes(shape: Sequence[int], most: int) -> Iterator[_Box]:
    """Cut a shape into boxes of at most so many elements, near each other on every axis."""
    box = list(shape)
    while (count := math.prod(box)) > most:
        longest = box.index(max(box))
        box[longest] = max(-(-box[longest] // 2), most * box[longest] // count)
    cuts = [
        [slice(i, min(i + n, size)) for i in range(0, size, n)]
        for size, n in zip(shape, box, strict=True)
    ]
    return itertools.product(*cuts)


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and not differing(a, b)


# -- renamed -------------------------------------------------------------------------------------


def _renamed(old: Model, new: Model, notes: list[str]) -> Iterator[tuple[str, TensorChange]]:
    """Yield the tensors of the new model that the old one has, byte for byte, by another name."""
    gone = [t for t in old.tensors.values() if t.name not in new.tensors and t.nbytes]
    come = [t for t in new.tensors.values() if t.name not in old.tensors and t.nbytes]
    forms = {(t.dtype, t.shape) for t in gone} & {(t.dtype, t.shape) for t in come}
    try:
        known: dict[tuple[object, ...], list[Tensor]] = {}
        for tensor in (t for t in gone if (t.dtype, t.shape) in forms):
            known.setdefault(_looks(old, tensor), []).append(tensor)
        for tensor in come:
            if (tensor.dtype, tensor.shape) in forms:
                alike = known.get(_looks(new, tensor), [])
                found = next((t for t in alike if _is_same(old, t, new, tensor)), None)
                if found is not None:
                    alike.remove(found)
                    yield tensor.name, TensorChange(tensor.name, "renamed", found, tensor)
    except DevmlError as e:
        notes.append(f"renamed tensors are not looked for: {e.message}")


def _looks(model: Model, tensor: Tensor) -> tuple[object, ...]:
    head = next(iter(model.blocks(tensor.name, _HEAD)))
    return tensor.dtype, tensor.shape, hash(head.tobytes())


def _is_same(old: Model, one: Tensor, new: Model, two: Tensor) -> bool:
    pairs = zip(old.blocks(one.name, _HEAD), new.blocks(two.name, _HEAD), strict=True)
    return all(_same(a, b) for a, b in pairs)

"""How far one block of numbers is from another of the same length: what is summed up, and in what.

Numbers are computed in float32, where a type fits into it without loss, in float64 else; sums over
at most 8,192 of them are added up in extended precision, so that they agree with a computation in
float64 to about 1e-7. A block in which that would overflow, vanish or meet a NaN is computed anew
in a wider type. What is not finite on both sides is counted and left out of the sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]

_ROW = 8 << 10  # elements that one dot product sums: BLAS starts no threads for so few
# Below these, squares may have vanished; sums above are right
_TINY = {"float32": 1e-26, "float64": 1e-280}
_NARROW = frozenset(
    {"float16", "bfloat16", "float32", "int8", "uint8", "int16", "uint16", "bool"}
)  # and float8: what float32 holds without loss


@dataclass(slots=True)
class Sums:
    """What is summed up over some elements: a are the old ones, b the new, d their difference.

    `changed` counts elements that are stored otherwise, `largest` is the largest absolute
    difference, `nan` and `inf` are counts, old and new.
    """

    changed: int = 0
    aa: Any = 0.0
    bb: Any = 0.0
    ab: Any = 0.0
    dd: Any = 0.0
    largest: float = 0.0
    nan: tuple[int, int] = (0, 0)
    inf: tuple[int, int] = (0, 0)

    def add(self, other: Sums) -> None:
        """Add what other elements sum up to."""
        self.changed += other.changed
        self.aa, self.bb = self.aa + other.aa, self.bb + other.bb
        self.ab, self.dd = self.ab + other.ab, self.dd + other.dd
        self.largest = max(self.largest, other.largest)
        self.nan = (self.nan[0] + other.nan[0], self.nan[1] + other.nan[1])
        self.inf = (self.inf[0] + other.inf[0], self.inf[1] + other.inf[1])


def differing(a: Array, b: Array) -> int:
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


def sums(a: Array, b: Array) -> Sums:
    """Return the sums of one block, of types that `work_type` knows."""
    import numpy as np

    one, two = work_type(a.dtype), work_type(b.dtype)
    assert one is not None
    assert two is not None
    wide = np.promote_types(one, two)
    x, y = _widened(a, wide), _widened(b, wide)
    if a.dtype == b.dtype:
        changed = differing(a, b)
    else:
        changed = int(np.count_nonzero((x != y) & ((x == x) | (y == y))))  # noqa: PLR0124 - NaN
    found = _quick(x, y, changed)
    if found is None and wide.itemsize < np.promote_types(wide, np.float64).itemsize:
        wide = np.promote_types(wide, np.float64)
        x, y = x.astype(wide), y.astype(wide)
        found = _quick(x, y, changed)
    return found or _careful(x, y, changed)


@cache
def work_type(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
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


def _quick(x: Array, y: Array, changed: int) -> Sums | None:
    """Return the sums of one block, None where this type is too narrow or something no number."""
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
    return Sums(changed, aa, bb, ab, dd, largest) if sound else None


def _dot(a: Array, b: Array) -> Any:  # noqa: ANN401 - a longdouble
    """Return the dot product of two flat arrays, row by row: see _ROW."""
    import numpy as np

    whole = a.size - a.size % _ROW
    rows = np.vecdot(a[:whole].reshape(-1, _ROW), b[:whole].reshape(-1, _ROW))
    return rows.sum(dtype=np.longdouble) + np.vecdot(a[whole:], b[whole:])


def _careful(x: Array, y: Array, changed: int) -> Sums:
    """Return the sums of one block over what is finite on both sides; NaN and infinity counted."""
    import numpy as np

    good = np.isfinite(x) & np.isfinite(y)
    wide = np.promote_types(x.dtype, np.longdouble)
    a, b = x[good].astype(wide), y[good].astype(wide)
    moved = b - a
    largest = float(np.abs(moved).max(initial=0))
    a, b, d = (v.view(v.real.dtype) for v in (a, b, moved))
    return Sums(
        changed, (a * a).sum(), (b * b).sum(), (a * b).sum(), (d * d).sum(), largest,
        (int(np.isnan(x).sum()), int(np.isnan(y).sum())),
        (int(np.isinf(x).sum()), int(np.isinf(y).sum())),
    )  # fmt: skip

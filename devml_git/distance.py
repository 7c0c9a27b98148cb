"""How far one block of numbers is from another of the same length: what is summed up, and in what.

Numbers are computed in float32, where a type fits into it without loss, in float64 else; sums over
at most 8,192 of them are added up in float64, so that they agree with a computation in float64 to
about 1e-7. A block in which that would overflow, vanish or meet a NaN is computed anew
in a wider type. What is not finite on both sides is counted and left out of the sums.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    _Reader = Callable[[Array, str], Array]

_ROW = 8 << 10  # elements that one dot product sums: BLAS starts no threads for so few
# Below these, squares may have vanished; sums above are right
_TINY = 1e-26
_TINY_OF_FLOAT64 = 1e-280
_ALIKE = 16  # squares of lengths: up to here nothing cancels out
_FLOAT16_ODD = 0x7C00  # the bits of its exponent: all are set in NaN and infinity
_FLOAT16_MASK = 0x8FFFE000 - (1 << 32)  # sign, exponent and fraction, moved up by 13
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

    read_a, read_b, wider = _readers(a.dtype, b.dtype)
    x, y = read_a(a, "old"), read_b(b, "new")
    if a.dtype == b.dtype:
        changed = differing(a, b)
    else:
        changed = int(np.count_nonzero((x != y) & ((x == x) | (y == y))))  # noqa: PLR0124 - NaN
    found = _quick(x, y, changed)
    if found is None and wider is not None:
        x, y = x.astype(wider), y.astype(wider)
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


@cache
def _readers(one: np.dtype[Any], two: np.dtype[Any]) -> tuple[_Reader, _Reader, Any]:
    """Return how blocks of two types become one that both fit into, and a wider one, or None."""
    import numpy as np

    mine, other = work_type(one), work_type(two)
    assert mine is not None
    assert other is not None
    wide = np.promote_types(mine, other)
    wider = np.promote_types(wide, np.float64)
    return _reader(one, wide), _reader(two, wide), wider if wider != wide else None


def _reader(dtype: np.dtype[Any], wide: np.dtype[Any]) -> _Reader:
    """Return how a block becomes one of a wider type: by bits where a conversion is slow.

    What it returns lies in the room that is named, until that is asked for again.
    """
    import numpy as np

    def plain(a: Array, room: str) -> Array:
        if a.dtype == wide:
            return a
        found = _room(room, a.size, wide)
        np.copyto(found, a)
        return found

    def bfloat16(a: Array, room: str) -> Array:  # the upper half of a float32
        bits = _room(room, a.size, np.dtype(np.uint32))
        np.copyto(bits, a.view(np.uint16))
        bits <<= 16
        return bits.view(np.float32).astype(wide, copy=False)

    def float16(a: Array, room: str) -> Array:  # the same bits at another place, and another bias
        if ((a.view(np.uint16) & _FLOAT16_ODD) == _FLOAT16_ODD).any():
            return plain(a, room)
        bits = _room(room, a.size, np.dtype(np.int32))
        np.copyto(bits, a.view(np.int16))  # which repeats the sign
        bits <<= 13
        bits &= np.int32(_FLOAT16_MASK)
        found = bits.view(np.float32)
        found *= np.float32(2.0**112)
        return found.astype(wide, copy=False)

    def float8(a: Array, room: str) -> Array:
        codes = a.view(np.uint8)
        if a.size % 2:
            return np.take(table, codes)
        steps = _room("steps", a.size // 2, np.dtype(np.intp))
        np.copyto(steps, codes.view(np.uint16))
        found = _room(room, a.size, wide)
        np.take(pairs, steps, out=found.view(pairs.dtype), mode="clip")
        return found

    if dtype.name == "bfloat16":
        return bfloat16
    if dtype.name == "float16" and dtype.isnative:
        return float16
    if dtype.name.startswith("float8"):
        table = np.arange(256, dtype=np.uint8).view(dtype).astype(wide)
        both = np.arange(65536, dtype=np.uint16).view(np.uint8)  # half the steps of one by one
        pairs = table[both].view(f"V{2 * wide.itemsize}")
        return float8
    return plain


class _Rooms(threading.local):
    """Memory that a thread computes in, by name: new pages cost more than what is done there."""

    def __init__(self) -> None:
        self.held: dict[str, Array] = {}


_rooms = _Rooms()


def _room(name: str, size: int, dtype: np.dtype[Any]) -> Array:
    """Return so many elements of a type, of any value."""
    import numpy as np

    nbytes = size * dtype.itemsize
    held = _rooms.held.get(name)
    if held is None or held.size < nbytes:
        held = _rooms.held[name] = np.empty(nbytes, np.uint8)
    return held[:nbytes].view(dtype)


def _quick(x: Array, y: Array, changed: int) -> Sums | None:
    """Return the sums of one block, None where this type is too narrow or something no number."""
    import numpy as np

    moved = np.subtract(y, x, out=_room("moved", x.size, x.dtype))
    extreme = np.abs(moved) if moved.dtype.kind == "c" else moved
    largest = max(float(extreme.max()), -float(extreme.min()))
    a, b, d = (v.view(v.real.dtype) for v in (x, y, moved))
    aa, bb, dd = _dot(a, a), _dot(b, b), _dot(d, d)
    alike = _ALIKE * aa > bb and _ALIKE * bb > aa  # then what both have in common follows
    ab = (aa + bb - dd) / 2 if alike else _dot(a, b)
    tiny = _TINY if a.itemsize == 4 else _TINY_OF_FLOAT64  # noqa: PLR2004 - float32
    sound = (
        math.isfinite(aa + bb + dd)
        and (dd > tiny or largest == 0)
        and (aa > tiny or not a.any())
        and (bb > tiny or not b.any())
    )
    return Sums(changed, aa, bb, ab, dd, largest) if sound else None


def _dot(a: Array, b: Array) -> float:
    """Return the dot product of two flat arrays, row by row: see _ROW."""
    import numpy as np

    odd = a.size % _ROW
    total = float(np.vecdot(a[a.size - odd :], b[b.size - odd :])) if odd else 0.0
    if odd < a.size:
        whole = a.size - odd
        rows = np.vecdot(a[:whole].reshape(-1, _ROW), b[:whole].reshape(-1, _ROW))
        total += sum(rows.tolist())
    return total


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

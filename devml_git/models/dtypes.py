"""Names of number types, and NumPy's types for them.

NumPy's own names, and ml_dtypes' for what NumPy lacks (bfloat16, float8...). Types narrower than a
byte, and GGUF's quantised blocks, have a name but no NumPy type that could be laid over the bytes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

# Width in bits of types that do not fill bytes: none of them can be viewed by NumPy
PACKED = {
    "int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4_e2m1fn": 4,
    "float6_e2m3fn": 6, "float6_e3m2fn": 6,
}  # fmt: skip
_OF_ML_DTYPES = ("bfloat16", "float8_")


@functools.cache
def numpy_dtype(name: str) -> np.dtype[Any] | None:
    """Return NumPy's type of that name, or None where the bytes are all there is to see."""
    import numpy as np

    if name in PACKED:
        return None
    if name.startswith(_OF_ML_DTYPES):
        import ml_dtypes

        found = getattr(ml_dtypes, name, None)
        return None if found is None else np.dtype(found)
    try:
        return np.dtype(name)
    except TypeError:
        return None


def bits(name: str) -> int:
    """Return the width in bits of one number of a type that NumPy, ml_dtypes or PACKED knows."""
    if name in PACKED:
        return PACKED[name]
    dtype = numpy_dtype(name)
    if dtype is None:
        raise ValueError(name)
    return dtype.itemsize * 8


def bytes_of(name: str, elements: int) -> int:
    """Return how many bytes that many numbers take, packed without gaps."""
    return -(-elements * bits(name) // 8)

"""Model files for tests, written without the libraries that read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_NAMES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8"}


def safetensors(tensors: Mapping[str, NDArray], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a .safetensors file: length of the header, header in JSON, the tensors' bytes."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    data = b""
    for name, array in tensors.items():
        end = len(data) + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": list(array.shape),
                        "data_offsets": [len(data), end]}  # fmt: skip
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def weights(*values: float, **more: float) -> bytes:
    """Return a model of one 2x2 tensor a value: layer.0.weight, layer.1.weight..., then `more`."""
    named = {f"layer.{i}.weight": v for i, v in enumerate(values)} | more
    return safetensors({name: np.full((2, 2), v, np.float32) for name, v in named.items()})

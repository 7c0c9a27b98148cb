"""safetensors: a JSON header, then the tensors' bytes without holes.

The format and its limits: https://github.com/huggingface/safetensors (README, "Format") and
`safetensors/src/tensor.rs` of version 0.8: the header is at most 100 MB, offsets count from its
end, tensors follow each other without hole or overlap and fill the file.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from devml_git.amounts import counted
from devml_git.gate import shown
from devml_git.models.dtypes import bytes_of
from devml_git.models.model import Listing, Model, clean

if TYPE_CHECKING:
    from devml_git.models.source import Source

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F6_E2M3": "float6_e2m3fn", "F6_E3M2": "float6_e3m2fn", "F4": "float4_e2m1fn",
}  # fmt: skip
_LENGTH = 8  # bytes: u64, little-endian
_MAX_HEADER = 100_000_000
_MAX_METADATA = 1 << 20  # characters


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so (9 bytes or more) has a safetensors header."""
    length = int.from_bytes(head[:_LENGTH], "little")
    return len(head) > _LENGTH and head[_LENGTH] == ord("{") and length < (1 << 48)


def read(source: Source) -> Model:
    """Read the header. Raises Unreadable."""
    length = int.from_bytes(source.read(0, _LENGTH), "little")
    if length > _MAX_HEADER:
        raise source.wrong(
            f"its header claims {counted(length, 'byte')}; more than 100 MB is never right"
        )
    header = _parse(source, source.read(_LENGTH, length))
    metadata = _metadata(source, header.pop("__metadata__", None))
    listing = Listing(source)
    spans = [_add(source, listing, name, entry, _LENGTH + length) for name, entry in header.items()]
    header.clear()
    _check_spans(source, spans, _LENGTH + length)
    return Model("safetensors", listing, metadata=metadata, closing=(source.close,))


def _parse(source: Source, header: bytes) -> dict[str, Any]:
    # what JSON would take in memory is known before it is parsed: a tensor has one brace, two
    # brackets and, but for its dimensions, four commas
    most = source.most
    if header.count(b"{") > most + 2 or header.count(b"[") > 2 * most + 2:
        raise source.too_many()
    if header.count(b",") > 16 * most:
        raise source.wrong("its header has too many entries")
    try:
        parsed = json.loads(header.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as e:
        raise source.wrong(f"its header is no JSON: {shown(e)}") from e
    if not isinstance(parsed, dict):
        raise source.wrong("its header is no JSON object")
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _metadata(source: Source, found: object) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise source.wrong("its __metadata__ is not text by name")
    if sum(len(k) + len(v) for k, v in found.items()) > _MAX_METADATA:
        raise source.wrong("its __metadata__ is longer than 1 MB")
    return {clean(k): clean(v) for k, v in found.items()}


def _add(
    source: Source, listing: Listing, name: str, entry: object, base: int
) -> tuple[int, int, str]:
    """Add one tensor; return where it begins and ends, from the header's end."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise source.wrong(f"tensor '{shown(name)}' has no dtype, shape and data_offsets")
    dtype, offsets = entry["dtype"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise source.wrong(f"tensor '{shown(name)}' has a type that is not known")
    shape = listing.shape(name, entry["shape"])
    nbytes = bytes_of(DTYPES[dtype], math.prod(shape))
    if type(offsets) is not list or [type(n) for n in offsets] != [int, int]:
        raise source.wrong(f"tensor '{shown(name)}' has offsets that are no two numbers")
    start, end = offsets
    if start < 0 or end - start != nbytes:
        raise source.wrong(
            f"tensor '{shown(name)}' needs {counted(nbytes, 'byte')}, its offsets say else"
        )
    raw = source.lying(base + start, nbytes)
    listing.add(name, DTYPES[dtype], shape, nbytes, raw)
    return start, end, name


def _check_spans(source: Source, spans: list[tuple[int, int, str]], base: int) -> None:
    """Hold that tensors follow each other without hole or overlap, to the file's last byte."""
    at = 0
    for start, end, name in sorted(spans):
        if start != at:
            what = "overlaps another tensor" if start < at else "leaves a hole before it"
            raise source.wrong(f"tensor '{shown(name)}' {what}")
        at = end
    if base + at != source.size:
        missing = base + at - source.size
        raise source.wrong(
            f"it is {counted(abs(missing), 'byte')} too {'short' if missing > 0 else 'long'}"
        )

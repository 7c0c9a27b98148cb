"""ONNX: the weights (initializers) of a graph, and what a model says of itself.

The format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (1.23), read by its field
numbers (protobuf.py). Weights in files beside the model are listed, and not followed.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from devml_git.gate import shown
from devml_git.models.dtypes import bytes_of, numpy_dtype
from devml_git.models.model import Listing, Model, Unreadable
from devml_git.models.protobuf import Malformed, Span, decoded, signed, whole

if TYPE_CHECKING:
    from devml_git.models.model import Array, Bytes
    from devml_git.models.source import Source

# TensorProto.DataType
DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64",
    15: "complex128", 16: "bfloat16", 17: "float8_e4m3fn", 18: "float8_e4m3fnuz",
    19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4_e2m1fn",
    24: "float8_e8m0fnu", 25: "uint2", 26: "int2",
}  # fmt: skip
_STRING = 8
# Fields of ModelProto, GraphProto, NodeProto, OperatorSetIdProto, StringStringEntryProto
_MODEL_TEXTS = {2: "producer_name", 3: "producer_version", 4: "domain", 6: "doc_string"}
_IR_VERSION, _MODEL_VERSION, _GRAPH, _OPSET, _PROPERTY = 1, 5, 7, 8, 14
_MODEL_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}
_NODE, _NAME, _INITIALIZER, _INPUT, _OUTPUT, _SPARSE = 1, 2, 5, 11, 12, 15
_OP_TYPE = 4
# Fields of TensorProto
_DIMS, _DATA_TYPE, _TENSOR_NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 8, 9, 13, 14
_FLOATS, _INT32S, _INT64S, _DOUBLES, _UINT64S = 4, 5, 7, 10, 11
_FIXED = {_FLOATS, _DOUBLES}
_TYPED = {_FLOATS, _INT32S, _INT64S, _DOUBLES, _UINT64S}
_OF_FLOATS, _OF_DOUBLES = {"float32", "complex64"}, {"float64", "complex128"}
_MAX_TEXT = 2000  # bytes
_MAX_VALUES = 1000
_MAX_NODES = 2_000_000


def may_be_onnx(head: bytes) -> bool:
    """Whether a file begins as ONNX models do: with the version of the format, below 64."""
    return len(head) > 2 and head[0] == _IR_VERSION << 3 and 0 < head[1] < 64  # noqa: PLR2004


def read(source: Source, *, sure: bool) -> Model | None:
    """Read a model; what cannot be one is Unreadable if the name makes us `sure`, else None."""
    try:
        fields = list(_top(whole(source.view(0, source.size))))
    except Malformed as e:
        if sure:
            raise source.wrong("it is no ONNX model, or truncated") from e
        return None
    graphs = [value for number, value in fields if number == _GRAPH and isinstance(value, Span)]
    if len(graphs) != 1 or fields[0][0] != _IR_VERSION:
        if sure:
            raise source.wrong("it has no graph: it is no ONNX model, or truncated")
        return None
    try:
        return _model(source, fields, graphs[0])
    except Malformed as e:
        raise source.wrong("its graph is damaged") from e


def _top(message: Span) -> list[tuple[int, int | Span]]:
    """Return a model's own fields, which must all be known ones. Raises Malformed."""
    found: list[tuple[int, int | Span]] = []
    for number, value in message.fields():
        if number not in _MODEL_FIELDS or len(found) > _MAX_NODES:
            raise Malformed
        found.append((number, value))
    return found


def _model(source: Source, fields: list[tuple[int, int | Span]], graph: Span) -> Model:
    listing = Listing(source)
    notes: dict[str, None] = {}
    metadata: dict[str, Any] = {}
    opset: dict[str, int] = {}
    for number, value in fields:
        if number in {_IR_VERSION, _MODEL_VERSION} and isinstance(value, int):
            metadata["ir_version" if number == _IR_VERSION else "model_version"] = signed(value)
        elif number in _MODEL_TEXTS and isinstance(value, Span):
            metadata[_MODEL_TEXTS[number]] = value.text(_MAX_TEXT)
        elif number == _OPSET and isinstance(value, Span):
            one = dict(value.fields())
            opset[_text(one.get(1)) or "ai.onnx"] = _int(one.get(2))
        elif number == _PROPERTY and isinstance(value, Span) and len(metadata) < _MAX_VALUES:
            one = dict(value.fields())
            metadata[f"properties.{_text(one.get(1))}"] = _text(one.get(2))
    metadata["opset"] = opset
    metadata |= _graph(graph, listing, notes, source)
    return Model("onnx", listing, metadata=metadata, notes=notes, closing=(source.close,))


def _graph(graph: Span, listing: Listing, notes: dict[str, None], source: Source) -> dict[str, Any]:
    """List a graph's weights; return what else it says: operators by type, inputs, outputs."""
    operators: Counter[str] = Counter()
    names: dict[int, list[str]] = {_INPUT: [], _OUTPUT: []}
    for count, (number, value) in enumerate(graph.fields()):
        if count > _MAX_NODES:
            raise listing.wrong(f"its graph has more than {_MAX_NODES} parts")
        if not isinstance(value, Span):
            continue
        if number == _INITIALIZER:
            _add(value, listing, notes, source)
        elif number == _NODE:
            operator = next((_text(v) for n, v in value.fields() if n == _OP_TYPE), "?")
            operators[operator if len(operators) < _MAX_VALUES else "..."] += 1
        elif number in names and len(names[number]) < _MAX_VALUES:
            names[number].append(next((_text(v) for n, v in value.fields() if n == 1), "?"))
        elif number == _SPARSE:
            notes["its sparse weights are not read"] = None
    return {
        "operators": dict(operators), "inputs": names[_INPUT], "outputs": names[_OUTPUT],
    }  # fmt: skip


def _text(value: int | Span | None) -> str:
    return value.text(_MAX_TEXT) if isinstance(value, Span) else ""


def _int(value: int | Span | None) -> int:
    return signed(value) if isinstance(value, int) else 0


def _add(tensor: Span, listing: Listing, notes: dict[str, None], source: Source) -> None:
    """List one weight."""
    dims: list[int] = []
    single: dict[int, int | Span] = {}
    typed: list[tuple[int, int | Span]] = []
    for number, value in tensor.fields():
        if number == _DIMS:
            dims += [signed(n) for n in ([value] if isinstance(value, int) else value.varints())]
        elif number in _TYPED:
            typed.append((number, value))
        else:
            single[number] = value
    name = _text(single.get(_TENSOR_NAME))
    kind = _int(single.get(_DATA_TYPE))
    shape = listing.shape(name, dims)
    if kind not in DTYPES:
        what = "texts" if kind == _STRING else f"type {kind}"
        notes[f"weights of {what} are not read"] = None
        return
    dtype, raw = DTYPES[kind], single.get(_RAW)
    nbytes = bytes_of(dtype, math.prod(shape))
    if _int(single.get(_LOCATION)) == 1:
        notes["weights in files beside the model are listed, not read"] = None
        listing.add(name, dtype, shape, nbytes, functools.partial(_elsewhere, source.name, name))
    elif isinstance(raw, Span):
        if raw.end - raw.start != nbytes:
            raise listing.wrong(f"tensor '{shown(name)}' has not the bytes that its shape needs")
        listing.add(name, dtype, shape, nbytes, source.lying(raw.start, nbytes))
    else:
        content = functools.partial(_typed, source, name, dtype, typed, nbytes)
        listing.add(name, dtype, shape, nbytes, content)


def _elsewhere(file: str, name: str) -> Bytes:
    raise Unreadable(file, f"tensor '{shown(name)}' lies in a file beside the model")


def _typed(
    source: Source, name: str, dtype: str, parts: list[tuple[int, int | Span]], nbytes: int
) -> Bytes:
    """Return the bytes of a weight that is written number by number."""
    import numpy as np

    wanted = _FLOATS if dtype in _OF_FLOATS else _DOUBLES if dtype in _OF_DOUBLES else None
    if wanted is not None:
        spans = [value for number, value in parts if number == wanted and isinstance(value, Span)]
        pieces = [source.view(span.start, span.end - span.start) for span in spans]
        found = pieces[0] if len(pieces) == 1 else np.concatenate([*pieces, np.empty(0, np.uint8)])
    else:
        found = _integers(source, dtype, parts).view(np.uint8)
    if found.size != nbytes:
        raise source.wrong(f"tensor '{shown(name)}' has not the numbers that its shape needs")
    return found


def _integers(source: Source, dtype: str, parts: list[tuple[int, int | Span]]) -> Array:
    """Return integers, or bit patterns of narrow floats, from varints: each in its type's width."""
    import numpy as np

    single = [v for n, v in parts if n not in _FIXED and isinstance(v, int)]
    packed = [v for n, v in parts if n not in _FIXED and isinstance(v, Span)]
    try:
        numbers = [decoded(source.view(span.start, span.end - span.start)) for span in packed]
    except Malformed as e:
        raise source.wrong("a weight's numbers are damaged") from e
    known = numpy_dtype(dtype)
    width = 1 if known is None else known.itemsize
    return np.concatenate([*numbers, np.array(single, np.uint64)]).astype(f"u{width}")

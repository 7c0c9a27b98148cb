"""NumPy's npy, and npz: a zip archive of them. Arrays of Python objects are never unpickled.

The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (1.0 to 3.0).
"""

from __future__ import annotations

import ast
import functools
import math
import re
from typing import TYPE_CHECKING, Any

from devml_git.amounts import counted
from devml_git.gate import shown
from devml_git.models.inflate import Damaged
from devml_git.models.model import Listing, Model

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    import numpy as np

    from devml_git.models.archive import Archive, Member
    from devml_git.models.model import Array, Lying
    from devml_git.models.source import Source

MAGIC = b"\x93NUMPY"
_MAX_HEADER = 64 << 10  # bytes: NumPy itself reads 10,000
_MAX_FIELDS_DEEP = 8
# A literal of strings, numbers, True and False: nothing that Python's parser would warn of.
# Possessive, so that no text takes more than one pass
_LITERAL = re.compile(
    r"(?:\s|'[^'\\\n]*+'|\"[^\"\\\n]*+\"|[0-9]++(?![A-Za-z_.])|True\b|False\b|[\[\](){},:])*+"
)
_PYTHON_2_LONG = re.compile(r"\b([0-9]+)L\b")
_TYPE = re.compile(r"[<>|=]?(?:[?bBhHiIlLqQefdgFDGOcSaUVmM]|[biufcSUVOmM?][0-9]{1,9})(?:\[\w+\])?")


class _Bad(Exception):
    """This is no npy data, or not whole; the text says why."""


class _Objects(Exception):
    """This is an array of Python objects."""


def read(source: Source) -> Model:
    """Read one array; its name is "array". Raises Unreadable."""
    listing = Listing(source)
    notes = []
    with source.stream() as stream:
        try:
            dtype, fortran, shape, start = _header(stream, listing)
            left = source.size - start - _add(
                listing, "array", (dtype, fortran, shape), source.size - start,
                functools.partial(source.lying, start),
            )  # fmt: skip
            if left:
                notes.append(f"not read: {counted(left, 'byte')} after the array")
        except _Bad as e:
            raise source.wrong(str(e)) from e
        except _Objects:
            notes.append("an array of Python objects is not read: that could run code")
    return Model("npy", listing, notes=notes, closing=(source.close,))


def is_npz(archive: Archive) -> bool:
    """Whether all members are arrays by their name, as numpy.savez writes them."""
    return bool(archive.members) and all(name.endswith(".npy") for name in archive.members)


def read_npz(archive: Archive) -> Model:
    """Read the arrays' headers; a compressed array is decompressed when asked for."""
    listing = Listing(archive.source)
    notes = []
    for member in archive.members.values():
        name = member.name.removesuffix(".npy")
        try:
            _add_member(archive, listing, member, name)
        except (_Bad, Damaged) as e:
            raise archive.source.wrong(f"array '{shown(name)}': {e}") from e
        except _Objects:
            notes.append(f"{shown(name)} is an array of Python objects: not read")
    return Model("npz", listing, notes=notes, closing=(archive.source.close,))


def _add_member(archive: Archive, listing: Listing, member: Member, name: str) -> None:
    with archive.stream(member) as stream:
        dtype, fortran, shape, start = _header(stream, listing)
    nbytes = math.prod(shape) * dtype.itemsize

    def pieces(count: int) -> Iterator[Array]:
        unpacked = archive.pieces(member, start, nbytes, count * dtype.itemsize)
        return (piece.view(dtype) for piece in unpacked)

    _add(
        listing, name, (dtype, fortran, shape), member.size - start,
        functools.partial(archive.content, member, start),
        None if member.stored else pieces,
    )  # fmt: skip


def _add(
    listing: Listing,
    name: str,
    header: tuple[np.dtype[Any], bool, tuple[int, ...]],
    there: int,
    content: Callable[[int], Lying],
    pieces: Callable[[int], Iterator[Array]] | None = None,
) -> int:
    """Add one array whose data has `there` bytes at the most; return how many it has."""
    dtype, fortran, shape = header
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > there:
        raise _Bad(f"its data should have {counted(nbytes, 'byte')}, and has {there:,}")

    raw = content(nbytes)

    def form() -> Array:
        return raw().view(dtype).reshape(shape, order="F" if fortran else "C")

    if pieces is None and not fortran:
        pieces = raw.elements(dtype)
    listing.add(name, dtype.name, shape, nbytes, raw, form, pieces, fortran=fortran)
    return nbytes


def _header(
    stream: io.BufferedReader, listing: Listing
) -> tuple[np.dtype[Any], bool, tuple[int, ...], int]:
    """Read a header; return dtype, whether in Fortran's order, shape, and where the data begins."""
    start = stream.read(len(MAGIC) + 2)
    if len(start) != len(MAGIC) + 2 or not start.startswith(MAGIC):
        raise _Bad("it is no npy data")
    version = start[-2]
    if version not in {1, 2, 3}:
        raise _Bad(f"version {version} of the format is not known")
    width = 2 if version == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > _MAX_HEADER:
        raise _Bad(f"its header claims {counted(length, 'byte')}")
    text = stream.read(length)
    if len(text) != length:
        raise _Bad("it ends within its header")
    fields = _literal(text.decode("latin-1" if version < 3 else "utf-8", "replace"))  # noqa: PLR2004
    if not isinstance(fields, dict) or fields.keys() != {"descr", "fortran_order", "shape"}:
        raise _Bad("its header is not one of npy data")
    shape = listing.shape("array", fields["shape"])
    return (
        _dtype(fields["descr"]),
        bool(fields["fortran_order"]),
        shape,
        len(start) + width + length,
    )


def _literal(text: str) -> object:
    text = _PYTHON_2_LONG.sub(r"\1", text)
    if not _LITERAL.fullmatch(text):
        raise _Bad("its header is not one of npy data")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as e:
        raise _Bad("its header is not one of npy data") from e


def _dtype(descr: object) -> np.dtype[Any]:
    import numpy as np

    try:
        dtype: np.dtype[Any] = np.dtype(_checked(descr, 0))
    except (TypeError, ValueError, OverflowError, MemoryError, SyntaxError) as e:
        raise _Bad("its type is not known") from e
    if dtype.hasobject:
        raise _Objects
    if dtype.itemsize == 0:
        raise _Bad("its type has no bytes")
    return dtype


def _checked(descr: object, depth: int) -> Any:  # noqa: ANN401 - what NumPy takes for a type
    """Return a type's description with nothing in it but names, plain types and shapes."""
    if depth > _MAX_FIELDS_DEEP:
        raise _Bad("its type is nested too deeply")
    match descr:
        case str() if _TYPE.fullmatch(descr):
            return descr
        case list():
            return [_field(field, depth) for field in descr]
    raise _Bad("its type is not known")


def _field(field: object, depth: int) -> tuple[Any, ...]:
    match field:
        case (str(name), inner):
            return name, _checked(inner, depth + 1)
        case (str(name), inner, tuple(shape)):
            return name, _checked(inner, depth + 1), shape
    raise _Bad("its type has a field that is not known")

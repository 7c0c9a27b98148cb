"""What lies in a pickle: arrays under the names that lead to them, plain values, classes.

NumPy's own ways to pickle an array are understood (ndarray.__reduce__ and __reduce_ex__ of NumPy
1 and 2, protocols 0 to 5); everything else is a description (opcodes.py).
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devml_git.amounts import counted
from devml_git.models.described import Beyond, Blob, Made, Malformed, Named, Pairs, World
from devml_git.models.model import MAX_NAME, clean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    import numpy as np

    from devml_git.models.model import Array, Bytes, Listing

_MAX_NODES = 500_000  # values looked at: one list in another twice, that in a third twice...
_MAX_DEPTH = 100
_MAX_VALUES = 2000
_MAX_CLASSES = 1000
_MAX_TEXT = 500  # characters
_MAX_NUMBER = (1 << 63) - 1
_MAX_DEPTH_OF_TYPE = 8
# A type of numbers, texts, times or records: kind, and width in bytes or characters
_CODE = re.compile(r"[biufcSUVmM][1-9][0-9]{0,5}")
_NUMPY = ("numpy.core.", "numpy._core.")


@dataclass(frozen=True, slots=True)
class Leaf:
    """An array found in a pickle: what a model's Part needs (see model.py), less its name.

    `cost` is how many bytes have to be unpacked for it, where these are more than its own.
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    raw: Callable[[], Bytes]
    form: Callable[[], Array] | None = None
    cost: int = 0


class ArrayWorld(World):
    """A world in which NumPy's arrays are leaves; `data` is the pickle itself."""

    def __init__(self, data: Bytes, listing: Listing) -> None:
        super().__init__()
        self.data = data
        self.listing = listing

    def call(self, function: object, args: tuple[Any, ...]) -> object:
        """Understand the functions that NumPy's pickles call."""
        match plain_name(function), args:
            case "_codecs.encode", (str() | Blob() as text, "latin1" | "latin-1"):
                return text if isinstance(text, Blob) else text.encode("latin-1", "replace")
            case "numpy.dtype" | "numpy.multiarray.scalar" | "numpy.numeric._frombuffer", _:
                return self._of_numpy(str(plain_name(function)), args)
            case "collections.OrderedDict", ():
                return Pairs()
            case "builtins.bytearray" | "__builtin__.bytearray", (bytes() | Blob() as content, *_):
                return content
        return super().call(function, args)

    def build(self, made: object, state: object, at: int) -> int:
        """Make an array of what an ndarray is given for its state."""
        if isinstance(made, Made):
            made.state = state
            if plain_name(made.kind) == "numpy.multiarray._reconstruct":
                made.state, made.args = self._array(state), ()
        return at

    def _of_numpy(self, name: str, args: tuple[Any, ...]) -> object:
        made = Made(Named(*name.rsplit(".", 1)), args)
        match name, args:
            case "numpy.multiarray.scalar", (dtype, bytes(content)):
                number = self.number_type(dtype)
                if number is not None and len(content) == number.itemsize:
                    import numpy as np

                    return np.frombuffer(content, number)[0].item()
            case "numpy.numeric._frombuffer", (bytes() | Blob() as content, dtype, shape, order):
                return self.leaf(content, dtype, shape, fortran=order == "F") or made
        return made

    def _array(self, state: object) -> object:
        match state:
            case (_, shape, dtype, fortran, bytes() | Blob() as content):
                return self.leaf(content, dtype, shape, fortran=bool(fortran)) or state
            case (_, _, _, _, list() as objects):
                return objects
        return state

    def number_type(self, described: object, depth: int = 0) -> np.dtype[Any] | None:
        """Return NumPy's type for a pickled dtype of plain numbers, None for all others."""
        import numpy as np

        match described:
            case Made(
                args=(str(code), *_), state=(_, _, None, tuple(names), Pairs() as fields, *_)
            ) if depth < _MAX_DEPTH_OF_TYPE:
                return self._structured(code, names, dict(_texts(fields)), depth)
            case Made(args=(str(code), *_), state=state) if _CODE.fullmatch(code):
                order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
                code = code.replace("M", "i").replace("m", "i")  # times are numbers of their unit
                with contextlib.suppress(TypeError):  # no such width: b8
                    return np.dtype(f"{order}{code}" if order in ("<", ">") else code)
        return None

    def _structured(
        self, code: str, names: tuple[Any, ...], fields: dict[str, Any], depth: int
    ) -> np.dtype[Any] | None:
        """Return NumPy's type of records, such as the nodes of scikit-learn's trees."""
        import numpy as np

        formats, offsets = [], []
        for name in names:
            match fields.get(name) if isinstance(name, str) else None:
                case (inner, int(offset), *_) if (
                    kind := self.number_type(inner, depth + 1)
                ) is not None:
                    formats.append(kind)
                    offsets.append(offset)
                case _:
                    return None
        try:
            return np.dtype(
                {
                    "names": list(names),
                    "formats": formats,
                    "offsets": offsets,
                    "itemsize": int(code[1:]),
                }
            )
        except (ValueError, TypeError, OverflowError):
            return None

    def leaf(
        self, content: bytes | Blob, dtype: object, shape: object, *, fortran: bool
    ) -> Leaf | None:
        """Return the array that has this content, None if it is not one of plain numbers."""
        number = self.number_type(dtype)
        if number is None:
            return None
        sizes = self.listing.shape("array", shape)
        nbytes = math.prod(sizes) * number.itemsize
        raw = functools.partial(self._content, content, nbytes)
        if isinstance(content, bytes) or not content.text:
            length = len(content) if isinstance(content, bytes) else content.length
            if length != nbytes:
                raise Malformed(f"an array needs {counted(nbytes, 'byte')} and has {length:,}")
        elif content.length < nbytes:
            raise Malformed(f"an array needs {counted(nbytes, 'byte')} and has {content.length:,}")

        return laid_out(raw, number, sizes, fortran=fortran)

    def _content(self, content: bytes | Blob, nbytes: int) -> Bytes:
        import numpy as np

        if isinstance(content, bytes):
            return np.frombuffer(content, np.uint8)
        found = self.data[content.at : content.at + content.length]
        if content.text:  # protocols 0 to 2 have no bytes: each is a character of Latin 1
            text = found.tobytes().decode("utf-8", "surrogatepass").encode("latin-1", "replace")
            found = np.frombuffer(text, np.uint8)
        if found.size != nbytes:
            raise self.listing.wrong(
                f"an array needs {counted(nbytes, 'byte')} and has {found.size:,}"
            )
        return found


def plain_name(function: object) -> str | None:
    """Return the name of a function, NumPy's without what its versions call its inside."""
    if not isinstance(function, Named):
        return None
    name = str(function)
    inside = next((p for p in _NUMPY if name.startswith(p)), None)
    return f"numpy.{name.removeprefix(inside)}" if inside else name


def laid_out(
    raw: Callable[[], Bytes], number: np.dtype[Any], shape: tuple[int, ...], *, fortran: bool
) -> Leaf:
    """Return the array of which these are the bytes.

    Records are given without the gaps between their fields: what stands there is left to chance.
    """
    from numpy.lib.recfunctions import repack_fields

    def form() -> Array:
        return raw().view(number).reshape(shape, order="F" if fortran else "C")

    nbytes = math.prod(shape) * number.itemsize
    if number.names is None:
        return Leaf(number.name, shape, nbytes, raw, form)

    def packed() -> Array:
        found: Array = repack_fields(form())
        return found

    def packed_bytes() -> Bytes:
        import numpy as np

        return np.frombuffer(packed().tobytes(), np.uint8)

    dense = repack_fields(number)
    return Leaf(dense.name, shape, math.prod(shape) * dense.itemsize, packed_bytes, packed)


# -- what was found ------------------------------------------------------------------------------


def walk(root: object, skipped: Collection[str] = ()) -> Iterator[tuple[str, object]]:
    """Yield (name, value) of all that is no container, in the pickle's order.

    A name is the keys and indices that lead there, with dots; those in `skipped` are left out.
    Raises Malformed where containers hold each other, or too many values are found.
    """
    above: set[int] = set()
    todo: list[tuple[str, object, int]] = [("", root, 0)]
    seen = 0
    while todo:
        name, value, depth = todo.pop()
        if depth < 0:  # all below this container is done
            above.discard(id(value))
            continue
        seen += 1
        if seen > _MAX_NODES or depth > _MAX_DEPTH or len(name) > MAX_NAME:
            raise Beyond("its values are nested without end")
        children = _children(value)
        if children is None:
            yield name, value
            continue
        if id(value) in above:
            raise Malformed("a value contains itself")
        above.add(id(value))
        todo.append((name, value, -1))
        todo += [
            (_below(name, key, skipped), child, depth + 1) for key, child in reversed(children)
        ]


def _children(value: object) -> list[tuple[object, object]] | None:
    match value:
        case Pairs():
            return list(value)
        case list() | tuple():
            return list(enumerate(value))
        case Made() if plain_name(value.kind) != "numpy.dtype":
            state = [("", value.state)] if value.state is not None else []
            return [*enumerate(value.args), *state, *enumerate(value.items), *value.pairs]
    return None


def _texts(pairs: Pairs) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in pairs if isinstance(key, str)]


def _below(name: str, key: object, skipped: Collection[str]) -> str:
    if isinstance(key, str):
        text = key
    elif isinstance(key, int | float | bool | None):
        text = str(key)
    else:
        text = "?"
    if not text or text in skipped:
        return name
    return f"{name}.{text}" if name else text


def values(found: list[tuple[str, object]]) -> dict[str, Any]:
    """Return the plain values among what `walk` found, fit for JSON, bounded."""
    plain: dict[str, Any] = {}
    for name, value in found:
        if isinstance(value, bool | int | float | str) and name and len(plain) < _MAX_VALUES:
            plain.setdefault(clean(name), _bounded(value))
    return plain


def _bounded(value: float | str) -> float | str:
    if isinstance(value, str):
        return clean(value[:_MAX_TEXT])
    exact = math.isfinite(value) if isinstance(value, float) else abs(value) <= _MAX_NUMBER
    return value if exact else str(value)[:_MAX_TEXT]


def classes(named: Collection[Named]) -> list[str]:
    """Return the classes and functions that a pickle names, bounded in number and length."""
    return [
        clean(str(name)[:_MAX_TEXT]) for name, _ in zip(named, range(_MAX_CLASSES), strict=False)
    ]

"""The nouns: a model file is named tensors, and what else it says of itself."""

from __future__ import annotations

import contextlib
import math
import mmap
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from devml_git.amounts import human
from devml_git.errors import DevmlError
from devml_git.gate import shown
from devml_git.models.dtypes import numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from devml_git.models.source import Source

    Bytes: TypeAlias = NDArray[np.uint8]
    Array: TypeAlias = NDArray[Any]

# The largest models, mixtures of experts, have some 150,000 tensors in dozens of files: sharded.py;
# more is an attack or an error
MAX_TENSORS = 100_000  # of one file
MAX_NAME = 4096  # characters
MAX_DIMENSIONS = 64  # as NumPy 2
_MAX_ELEMENTS = 1 << 60
BLOCK = 16 << 20  # bytes
_FEW = 64 << 10  # bytes
# What may be unpacked of one file that says so: zeros pack a thousand times over
_FREE_COST = 1 << 30  # bytes
_MAX_COST = 64  # times the bytes of the file


class Unreadable(DevmlError):
    """A model file that is truncated, hostile, or not what it says it is.

    product.md's table has no code of its own for it; 21 is the code of the storage side.
    """

    exit_code = 21

    def __init__(self, name: str, why: str) -> None:
        hint = "devml-git verify tells whether the content that was committed is whole"
        super().__init__(f"{shown(name)} cannot be read: {why}", hint=hint)
        self.why = why


class TooMany(Unreadable):
    """A model file with more tensors than are looked at; it may be sound."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a model file.

    `dtype` is NumPy's or ml_dtypes' name ("float32", "bfloat16", "float8_e4m3fn"), for GGUF's
    quantised types ggml's in lower case ("q4_0"); `shape` has the outermost dimension first;
    `nbytes` is how many bytes are stored for it (after decompression).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def elements(self) -> int:
        """How many numbers the tensor has."""
        return math.prod(self.shape)

    def to_dict(self) -> dict[str, Any]:
        """Return the tensor as JSON has it: name, dtype, shape, nbytes."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "nbytes": self.nbytes,
        }


@dataclass(frozen=True, slots=True)
class Lying:
    """A tensor's bytes in a file: `view` takes where, and how many.

    `mapped` is whether they are seen in place; else they are copied, best piece by piece, by
    `stream`, if that is how they are had, from the beginning in pieces of so many bytes.
    """

    view: Callable[[int, int], Bytes]
    at: int
    nbytes: int
    mapped: bool = True
    stream: Callable[[int], Iterator[Bytes]] | None = None

    def __call__(self) -> Bytes:
        """Return all of them; a few of much that is packed, without unpacking that in memory."""
        if self.stream is not None and 0 < self.nbytes <= _FEW:
            (found,) = self.stream(_FEW)
            return found
        return self.view(self.at, self.nbytes)

    def pieces(self, size: int) -> Iterator[Bytes]:
        """Yield them in pieces of at most `size`."""
        if self.stream is not None:
            yield from self.stream(size)
            return
        for start in range(0, self.nbytes, size):
            yield self.view(self.at + start, min(size, self.nbytes - start))

    def elements(self, dtype: np.dtype[Any] | None) -> Callable[[int], Iterator[Array]] | None:
        """Return what a Part's `pieces` are, None where all of it is seen in place."""
        if self.mapped:
            return None
        if dtype is None:
            return self.pieces
        return lambda count: (p.view(dtype) for p in self.pieces(count * dtype.itemsize))


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor and how its content is had, when it is asked for.

    `raw` returns the stored bytes, flat; `form`, where there is one, the array: it is more than
    these bytes in another type and shape. `pieces`, where content is packed and need not be
    unpacked as a whole, yields its elements flat, at most so many at once; they are in Fortran's
    order where `fortran` says so.
    """

    tensor: Tensor
    raw: Callable[[], Bytes]
    form: Callable[[], Array] | None = None
    pieces: Callable[[int], Iterator[Array]] | None = None
    fortran: bool = False

    def array(self) -> Array:
        """Return the tensor's array (see Model.array)."""
        if self.form is not None:
            return _frozen(self.form())
        raw, dtype = self.bytes(), numpy_dtype(self.tensor.dtype)
        return raw if dtype is None else raw.view(dtype).reshape(self.tensor.shape)

    def bytes(self) -> Bytes:
        """Return the tensor's stored bytes (see Model.raw)."""
        return _frozen(self.raw())


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array


class Model:
    """One open model file (or several: shards). A context manager; threads may share it.

    `format` is one of "safetensors", "npy", "npz", "torch", "onnx", "gguf", "keras", "hdf5",
    "pickle"; `size` is how many bytes the files have. `tensors` maps names to tensors, in the
    file's order; `metadata` is what the file says beside them, bounded and fit for JSON; `notes`
    say in words what could not be read.
    """

    def __init__(
        self,
        format: str,  # noqa: A002 - the noun
        parts: Mapping[str, Part],
        *,
        metadata: Mapping[str, Any] | None = None,
        notes: Iterable[str] = (),
        closing: Iterable[Callable[[], None]] = (),
    ) -> None:
        self.format = format
        self.size = 0
        self._parts = parts
        self.tensors: Mapping[str, Tensor] = MappingProxyType(
            {name: part.tensor for name, part in parts.items()}
        )
        self.metadata: Mapping[str, Any] = MappingProxyType(dict(metadata or {}))
        self.notes = tuple(notes)
        self._closing = contextlib.ExitStack()
        for close in closing:
            self._closing.callback(close)

    def part(self, name: str) -> Part:
        """Return one tensor with how its content is had, for a model that is made of models."""
        return self._parts[name]

    def raw(self, name: str) -> Bytes:
        """Return the stored bytes of one tensor: flat, read-only, no copy where the format allows.

        Of a torch tensor with strides: its elements in row-major order. Raises KeyError for an
        unknown name, Unreadable where the content is damaged, too large to decompress in memory,
        or in another file.
        """
        return self._parts[name].bytes()

    def array(self, name: str) -> Array:
        """Return one tensor as NumPy: read-only, memory-mapped where the format allows.

        bfloat16, float8 and the like have ml_dtypes' types. Types whose numbers do not fill bytes
        (float4, int4, GGUF's quantised blocks) come as their stored bytes, flat. Raises as `raw`.
        """
        return self._parts[name].array()

    def blocks(self, name: str, size: int = BLOCK) -> Iterator[Array]:
        """Yield one tensor in flat pieces of at most `size` bytes, in row-major order.

        No piece is larger in memory than that, whatever the tensor's strides; what is packed is
        unpacked as it goes. A piece is let go of when the next one is asked for. Raises as `raw`.
        """
        part = self._parts[name]
        if part.pieces is not None and not part.fortran:
            dtype = numpy_dtype(part.tensor.dtype)
            yield from part.pieces(max(1, size // (1 if dtype is None else dtype.itemsize)))
            return
        array = self.array(name)
        step = max(1, size // max(1, array.dtype.itemsize))
        contiguous = array.flags.c_contiguous
        flat = array.reshape(-1) if contiguous else array.flat
        for start in range(0, array.size, step):
            yield flat[start : start + step]
            if contiguous:
                let_go(flat[start : start + step])
        let_go(array)

    @property
    def cost(self) -> int:
        """How many bytes are read or unpacked when each tensor is looked at once."""
        return sum(part.tensor.nbytes for part in self._parts.values())

    def check_cost(self, name: str) -> None:
        """Raise Unreadable for a file called `name` that says it holds what it never can."""
        if self.cost > _FREE_COST + _MAX_COST * self.size:
            raise Unreadable(
                name, f"of {human(self.size)}, it says that it holds {human(self.cost)}"
            )

    def close(self) -> None:
        """Close the file. Arrays handed out stay valid: each keeps what it is mapped from."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Listing(dict[str, Part]):
    """The parts of a model while it is read: names checked, their number bounded."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def add(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        nbytes: int,
        raw: Callable[[], Bytes],
        form: Callable[[], Array] | None = None,
        pieces: Callable[[int], Iterator[Array]] | None = None,
        *,
        fortran: bool = False,
    ) -> None:
        """Add one tensor (see Part); raises as `take`."""
        if isinstance(raw, Lying) and form is None:
            pieces = raw.elements(numpy_dtype(dtype))
        self.take(Part(Tensor(clean(name), dtype, shape, nbytes), raw, form, pieces, fortran))

    def wrong(self, why: str) -> Unreadable:
        """Return the error to raise: the file cannot be read, and why."""
        return self._source.wrong(why)

    def take(self, part: Part) -> None:
        """Add one tensor, or raise Unreadable: its name twice or too long, too many of them."""
        name = part.tensor.name
        if name in self:
            raise self.wrong(f"it has two tensors named '{shown(name)}'")
        if len(name) > MAX_NAME:
            raise self.wrong(f"it names a tensor in more than {MAX_NAME} characters")
        if len(self) >= self._source.most:
            raise self._source.too_many()
        self[name] = part

    def shape(self, name: str, value: object) -> tuple[int, ...]:
        """Return a shape that was read, or raise Unreadable: not numbers, negative, too large."""
        sizes = self.numbers(name, value)
        if math.prod(filter(None, sizes)) > _MAX_ELEMENTS:
            raise self.wrong(f"tensor '{shown(name)}' has no shape that can be")
        return sizes

    def numbers(self, name: str, value: object) -> tuple[int, ...]:
        """Return sizes, strides or offsets that were read, or raise Unreadable."""
        if isinstance(value, list | tuple) and len(value) <= MAX_DIMENSIONS:
            for n in value:
                if type(n) is not int or not 0 <= n <= _MAX_ELEMENTS:
                    break
            else:
                return tuple(value)
        raise self.wrong(f"tensor '{shown(name)}' has no shape that can be")


def let_go(array: Array) -> None:
    """Tell the system that mapped memory is done with for now: it counts as ours while it is there.

    Of an array that is not contiguous: all of the file.
    """
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    if base is None or not hasattr(base, "madvise"):
        return
    import numpy as np

    with contextlib.suppress(ValueError, OSError):  # unmapped meanwhile: it is let go of
        began, length = 0, len(base)
        if array.flags.forc:
            began = array.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
            length = array.nbytes + began % mmap.PAGESIZE
            began -= began % mmap.PAGESIZE
        base.madvise(mmap.MADV_DONTNEED, began, length)


def clean(text: str) -> str:
    """Text that UTF-8 can hold: half surrogates, which JSON and pickle can name, are escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

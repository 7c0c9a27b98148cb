"""PyTorch's zip files: a pickle that describes tensors, and a member for each storage.

What `torch.save` writes since 1.6 (torch/serialization.py, torch/_utils.py of 2.13): `data.pkl` has
calls of `_rebuild_tensor_v2` and its like on storages, which it names by persistent ids; storage
`k` is the member `data/k`. Modules, optimizers and all else that a checkpoint holds are walked
through, not made.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devml_git.amounts import counted
from devml_git.gate import shown
from devml_git.models.described import Beyond, Made, Malformed, Named, Pairs
from devml_git.models.dtypes import numpy_dtype
from devml_git.models.model import Listing, Model
from devml_git.models.opcodes import interpret
from devml_git.models.pickled import ArrayWorld, Leaf, classes, plain_name, values, walk

if TYPE_CHECKING:
    from devml_git.models.archive import Archive, Member
    from devml_git.models.model import Array, Bytes, Lying
    from devml_git.models.source import Source

# The first pickle of a file of torch before 1.6: its magic number, in protocol 2
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_MAX_PICKLE = 256 << 20  # bytes
_MAX_REPEATED = 1 << 24  # elements a tensor may have beyond those it stores (stride 0)
_MAX_SHARING = 64  # times that all tensors together may have the bytes of the file
_FREE_SHARING = 1 << 30  # bytes
_SKIPPED = frozenset({"_parameters", "_buffers", "_modules"})  # nn.Module's own dictionaries
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128", "ComplexFloatStorage": "complex64",
    "QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4", "UntypedStorage": "uint8",
}  # fmt: skip
# Types without a NumPy type: how many bytes one element takes
_ODD_WIDTHS = {
    "qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1, "complex32": 4,
    "float4_e2m1fn_x2": 1, "bits8": 1, "bits16": 2,
}  # fmt: skip


def pickle_of(archive: Archive) -> Member | None:
    """Return the pickle of an archive that torch wrote, None for other archives."""
    found = [m for name, m in archive.members.items() if name.split("/", 1)[-1] == "data.pkl"]
    return found[0] if len(found) == 1 else None


def read_legacy(source: Source) -> Model:
    """Say of a file of torch before 1.6 that it is one."""
    note = "a file of torch before 1.6, or without its zip format: its tensors are not read"
    hint = "torch.save(torch.load(FILE), FILE) writes it anew"
    return Model("torch", {}, notes=(f"{note}; {hint}",), closing=(source.close,))


def read(archive: Archive, member: Member) -> Model:
    """Read the pickle's description of the tensors. Raises Unreadable."""
    source, listing = archive.source, Listing(archive.source)
    prefix = member.name.removesuffix("data.pkl")
    if f"{prefix}byteorder" in archive.members:
        order = archive.read(archive.members[f"{prefix}byteorder"], most=16)
        if order != b"little":
            raise source.wrong(f"it was written in {shown(order.decode('latin-1'))}-endian order")
    if member.size > _MAX_PICKLE:
        raise source.wrong(f"its pickle has {counted(member.size, 'byte')}, without the tensors")
    world = _TorchWorld(archive, prefix, archive.view(member, 0, member.size), listing)
    try:
        found = list(walk(interpret(world.data, world)[0], _SKIPPED))
    except Beyond as e:
        raise source.wrong(f"its pickle is not read: {e}") from e
    except Malformed as e:
        raise source.wrong(f"its pickle is damaged or hostile: {e}") from e
    _add(listing, found, source.size)
    unknown = [named for named in world.named if not _known(named)]
    metadata = {"classes": classes(unknown), "values": values(found)}
    notes = list(world.notes)
    if f"{prefix}constants.pkl" in archive.members:
        notes.append("a TorchScript archive: its code is not compared")
    elif unknown:
        names = ", ".join(shown(str(n)) for n in unknown[:3]) + (", ..." if unknown[3:] else "")
        notes.append(
            f"it has objects of {names}: what is stored of them is read, they are not made"
        )
    return Model(
        "torch", listing, metadata={k: v for k, v in metadata.items() if v}, notes=notes,
        closing=(source.close,),
    )  # fmt: skip


def _known(named: Named) -> bool:
    return named.module.split(".")[0] in {"torch", "numpy", "collections", "_codecs"} and not (
        named.module.startswith("torch.nn.modules")
    )


def _add(listing: Listing, found: list[tuple[str, object]], size: int) -> None:
    """List the tensors found; a name that is there twice gets a number."""
    total = 0
    for name, value in found:
        leaf = value.leaf() if isinstance(value, _Storage) else value
        if not isinstance(leaf, Leaf):
            continue
        total += max(leaf.nbytes, leaf.cost)
        if total > _FREE_SHARING + _MAX_SHARING * size:
            raise listing.wrong("its tensors share their bytes so often that they never end")
        listing.add(
            _free(listing, name or "tensor"),
            leaf.dtype,
            leaf.shape,
            leaf.nbytes,
            leaf.raw,
            leaf.form,
        )


def _free(listing: Listing, name: str) -> str:
    if name not in listing:
        return name
    return next(n for n in (f"{name}#{i}" for i in itertools.count(2)) if n not in listing)


@dataclass(frozen=True, slots=True)
class _Storage:
    """A storage: `count` elements of a type, in a member of the archive."""

    archive: Archive
    member: Member
    dtype: str
    count: int

    def leaf(self) -> Leaf:
        """Return the whole storage as one flat tensor."""
        nbytes = self.count * _width(self.dtype)
        return Leaf(self.dtype, (self.count,), nbytes, self.content(0, nbytes), cost=self.cost)

    @property
    def cost(self) -> int:
        """How many bytes have to be unpacked for any part of it."""
        return 0 if self.member.stored else self.member.size

    def content(self, offset: int, nbytes: int) -> Lying:
        """Return a part of its bytes, to be had when it is asked for."""
        return self.archive.content(self.member, offset, nbytes)

    def view(self, offset: int, nbytes: int) -> Bytes:
        """Return a part of its bytes."""
        return self.archive.view(self.member, offset, nbytes)


def _width(dtype: str) -> int:
    """Return the bytes of one element; 0 for a type that is not known."""
    known = numpy_dtype(dtype)
    return known.itemsize if known is not None else _ODD_WIDTHS.get(dtype, 0)


class _TorchWorld(ArrayWorld):
    """A world in which torch's tensors are leaves, too."""

    def __init__(self, archive: Archive, prefix: str, data: Bytes, listing: Listing) -> None:
        super().__init__(data, listing)
        self._archive = archive
        self._prefix = prefix
        self.notes: dict[str, None] = {}

    def persistent(self, key: object) -> object:
        """Return the storage that a persistent id names: ("storage", type, key, device, count)."""
        match key:
            case ("storage", Named(name=kind), str(name), _, int(count)) if count >= 0:
                member = self._archive.members.get(f"{self._prefix}data/{name}")
                if member is None:
                    raise Malformed(f"storage '{shown(name)}' is not in the archive")
                dtype = _STORAGES.get(kind, "")
                if member.size < count * _width(dtype):
                    raise Malformed(f"storage '{shown(name)}' is shorter than it should be")
                return _Storage(self._archive, member, dtype, count)
        return super().persistent(key)

    def call(self, function: object, args: tuple[Any, ...]) -> object:
        """Understand the functions that rebuild tensors."""
        match plain_name(function), args:
            case "torch._utils._rebuild_tensor_v2", (_, _, _, _, _, _, Pairs() as views) if views:
                # {"conj": True}, {"neg": True}: numbers that are other than they are stored
                self.notes["tensors that are stored before they are conjugated are not read"] = None
                return Made(function)
            case (
                "torch._utils._rebuild_tensor_v2"
                | "torch._utils._rebuild_tensor"
                | "torch._utils._rebuild_qtensor",
                (_Storage() as storage, offset, shape, strides, *_),
            ):
                return self._tensor(storage, storage.dtype, offset, shape, strides) or Made(
                    function
                )
            case (
                "torch._utils._rebuild_tensor_v3",
                (_Storage() as storage, offset, shape, strides, _, _, Named(name=dtype), *_),
            ):
                return self._tensor(storage, _dtype(dtype), offset, shape, strides) or Made(
                    function
                )
            case (
                "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state",
                (tensor, *_),
            ):
                return tensor
            case "torch._tensor._rebuild_from_type_v2", (inner, _, tuple(arguments), *_):
                return self.call(inner, arguments)
            case "torch.Size" | "torch.device" | "torch.serialization._get_layout", (value, *_):
                return value
        return super().call(function, args)

    def _tensor(
        self, storage: _Storage, dtype: str, offset: object, shape: object, strides: object
    ) -> Leaf | None:
        """Return the tensor that lies so in a storage; None, and a note, if that cannot be read."""
        width = _width(dtype)
        if not width:
            self.notes[f"tensors of torch's type {shown(dtype) or '?'} are not read"] = None
            return None
        sizes = self.listing.shape("tensor", shape)
        steps = self.listing.numbers("tensor", strides)
        (start,) = self.listing.numbers("tensor", (offset,))
        elements = math.prod(sizes)
        there = storage.count * _width(storage.dtype) // width
        last = (
            sum((n - 1) * step for n, step in zip(sizes, steps, strict=False)) if elements else -1
        )
        if len(sizes) != len(steps) or start + last + 1 > there:
            raise Malformed("a tensor goes beyond its storage")
        if elements > there + _MAX_REPEATED:
            self.notes["a tensor that repeats a few numbers without end is not read"] = None
            return None
        nbytes = elements * width
        if _contiguous(sizes, steps):
            content = storage.content(start * width, nbytes)
            return Leaf(dtype, sizes, nbytes, content, cost=storage.cost)
        extent = (start * width, (last + 1) * width)
        return _strided(storage, dtype, sizes, steps, extent)


def _dtype(name: str) -> str:
    """Return NumPy's or ml_dtypes' name for a type that torch names: the same but for old ones."""
    return {"half": "float16", "float": "float32", "double": "float64", "long": "int64"}.get(
        name, name
    )


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the elements follow each other in row-major order."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != step:
            return 0 in shape
        step *= size
    return True


def _strided(
    storage: _Storage,
    dtype: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    extent: tuple[int, int],
) -> Leaf:
    """Return a tensor that is not contiguous: transposed, a slice, expanded."""
    known = numpy_dtype(dtype)
    width = _width(dtype)

    def form() -> Array:
        import numpy as np

        steps = tuple(s * width for s in strides)
        kind = known if known is not None else np.dtype(f"V{width}")
        return np.ndarray(shape, kind, storage.view(*extent), strides=steps)

    def raw() -> Bytes:
        import numpy as np

        return np.frombuffer(form().tobytes(), np.uint8)

    return Leaf(
        dtype,
        shape,
        math.prod(shape) * width,
        raw,
        form if known is not None else None,
        storage.cost,
    )

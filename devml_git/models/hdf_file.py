"""HDF5 through h5py, and Keras' `.keras`: a zip archive with HDF5 and JSON in it.

Only data sets of numbers that lie in the file itself are read: links to other files, data in other
files and virtual data sets are not followed. Keras' layout: keras/src/saving/saving_lib.py of 3.15.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from typing import TYPE_CHECKING, Any

from devml_git.gate import shown
from devml_git.models.model import MAX_TENSORS, Listing, Lying, Model, clean
from devml_git.models.source import window

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    import h5py

    from devml_git.models.archive import Archive
    from devml_git.models.model import Array, Bytes
    from devml_git.models.source import Source

MAGIC = b"\x89HDF\r\n\x1a\n"
WEIGHTS, CONFIG, ABOUT = "model.weights.h5", "config.json", "metadata.json"
NO_H5PY = "HDF5 is read with h5py: pip install 'devml-git[hdf5]'"
_IN_MEMORY = 1 << 30  # bytes of one data set
_UNPACKED = 256 << 20  # bytes of all weights, where the archive that holds them is compressed
_SLAB = 32 << 20  # bytes of a data set that are read at once
_MOST_TIMES = 8  # that a chunk is unpacked
_MAX_CONFIG = 64 << 20  # bytes
_MAX_DEPTH = 50
_MAX_TEXT = 2000  # characters
_MAX_VALUES = 1000
_USER_BLOCKS = (0, 512, 1024, 2048)


def is_hdf5(source: Source) -> bool:
    """Whether the file has HDF5's signature, at its beginning or behind a user's block."""
    return any(
        source.size >= at + len(MAGIC) and source.read(at, len(MAGIC)) == MAGIC
        for at in _USER_BLOCKS
    )


def is_keras(archive: Archive) -> bool:
    """Whether an archive is what Keras 3 saves."""
    return WEIGHTS in archive.members and CONFIG in archive.members


def read(source: Source) -> Model:
    """Read an HDF5 file. Raises Unreadable."""
    return _open(source, "hdf5", source.stream(), source.view, {})


def read_keras(archive: Archive) -> Model:
    """Read a `.keras` file: its weights, and its configuration as metadata. Raises Unreadable."""
    source, member = archive.source, archive.members[WEIGHTS]
    metadata = _about(archive) | _config(archive)
    if member.stored:
        return _open(
            source,
            "keras",
            archive.stream(member),
            functools.partial(archive.view, member),
            metadata,
        )
    content = archive.read(member, _UNPACKED)

    def view(offset: int, nbytes: int) -> Bytes:
        import numpy as np

        return np.frombuffer(content, np.uint8)[offset : offset + nbytes]

    stream = window(lambda at, count: bytes(content[at : at + count]), len(content))
    return _open(source, "keras", stream, view, metadata)


def _about(archive: Archive) -> dict[str, Any]:
    if ABOUT not in archive.members:
        return {}
    found = _json(archive, ABOUT)
    simple = isinstance(found, dict) and found.items()
    return {clean(k): clean(str(v)[:_MAX_TEXT]) for k, v in simple or ()}


def _config(archive: Archive) -> dict[str, Any]:
    """Return a model's configuration flat: keys with dots, bounded."""
    flat: dict[str, Any] = {}
    todo: list[tuple[str, Any]] = [("config", _json(archive, CONFIG))]
    while todo and len(flat) < _MAX_VALUES:
        name, value = todo.pop()
        if isinstance(value, dict | list) and value:
            below = value.items() if isinstance(value, dict) else enumerate(value)
            todo += [(f"{name}.{key}"[:_MAX_TEXT], child) for key, child in reversed([*below])]
        elif isinstance(value, str | int | float | bool | None):
            flat[clean(name)] = clean(value[:_MAX_TEXT]) if isinstance(value, str) else value
    return flat


def _json(archive: Archive, name: str) -> Any:  # noqa: ANN401 - whatever JSON has
    text = archive.read(archive.members[name], _MAX_CONFIG)
    if sum(map(text.count, (b"{", b"[", b","))) > MAX_TENSORS:
        raise archive.source.wrong(f"its {name} is too large")
    try:
        return json.loads(text.decode())
    except (ValueError, RecursionError) as e:
        raise archive.source.wrong(f"its {name} is no JSON: {shown(e)}") from e


def _open(
    source: Source,
    form: str,
    stream: io.BufferedReader,
    view: Callable[[int, int], Bytes],
    metadata: dict[str, Any],
) -> Model:
    try:
        import h5py
    except ImportError:
        return Model(form, {}, metadata=metadata, notes=(NO_H5PY,), closing=(source.close,))
    reader = _Hdf5(source, view)
    try:
        file = h5py.File(stream, "r")
        reader.list(file)
        metadata |= reader.attributes(file)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError) as e:
        raise source.wrong(f"HDF5 says: {shown(e)}") from e
    return Model(
        form,
        reader.listing,
        metadata=metadata,
        notes=reader.notes,
        closing=(file.close, source.close),
    )


class _Hdf5:
    """What is read of one HDF5 file; `view` gives its bytes where they lie."""

    def __init__(self, source: Source, view: Callable[[int, int], Bytes]) -> None:
        self._source = source
        self._view = view
        self.listing = Listing(source)
        self.notes: dict[str, None] = {}

    def list(self, file: h5py.File) -> None:
        """List the data sets; a group that has several names is listed under the first only."""
        seen = {_identity(file)}
        groups: list[tuple[str, h5py.Group]] = [("", file)]
        count = 0
        while groups:
            name, group = groups.pop()
            below = []
            for path, item in self._items(name, group):
                count += 1
                if count > self._source.most:
                    raise self._source.too_many()
                if path.count("/") > _MAX_DEPTH:
                    raise self._source.wrong("its groups are too deep")
                if hasattr(item, "shape"):
                    self._add(path, item)
                elif hasattr(item, "keys") and _identity(item) not in seen:
                    seen.add(_identity(item))
                    below.append((path, item))
            groups += reversed(below)

    def _items(self, name: str, group: h5py.Group) -> Iterator[tuple[str, Any]]:
        import h5py

        for key in group:
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                self.notes["links to other places are not followed"] = None
                continue
            yield f"{name}/{key}" if name else key, group[key]

    def _add(self, name: str, data: h5py.Dataset) -> None:
        dtype = data.dtype
        if (
            data.shape is None
            or dtype.kind not in "biufcV"
            or dtype.hasobject
            or not dtype.itemsize
        ):
            self.notes["data sets of texts and objects are not read"] = None
            return
        if data.is_virtual or data.external:
            self.notes["data that lies in other files is not read"] = None
            return
        shape = self.listing.shape(name, data.shape)
        nbytes = math.prod(shape) * dtype.itemsize
        at = data.id.get_offset()
        if at is None or data.chunks is not None:
            whole = functools.partial(self._whole, name, data)
            pieces = functools.partial(self._pieces, data) if shape else None
            self.listing.add(name, dtype.name, shape, nbytes, lambda: _flat(whole()), whole, pieces)
            return

        raw = Lying(self._view, at, nbytes, mapped=self._source.steady)

        def form() -> Array:
            found: Array = raw().view(dtype).reshape(shape)
            return found

        self.listing.add(name, dtype.name, shape, nbytes, raw, form, raw.elements(dtype))

    def _whole(self, name: str, data: h5py.Dataset) -> Array:
        """Return a data set in pieces or compressed: in memory."""
        if data.size * data.dtype.itemsize > _IN_MEMORY:
            raise self._source.wrong(f"'{shown(name)}' is compressed, and too large for memory")
        return self._read(data, ())

    def _pieces(self, data: h5py.Dataset, count: int) -> Iterator[Array]:
        """Yield all elements in row-major order, so many at once, however they are chunked."""
        import numpy as np

        across = _times_unpacked(data) > _MOST_TIMES
        if across and data.size * data.dtype.itemsize > _UNPACKED:
            raise self._source.wrong("it has chunks that lie across its rows: too slow to unpack")
        left = np.empty(0, data.dtype)
        for box in [()] if across else _slabs(data):
            flat = self._read(data, box).reshape(-1)
            if left.size:
                flat = np.concatenate([left, flat]).astype(data.dtype, copy=False)
            whole = flat.size - flat.size % count
            yield from (flat[i : i + count] for i in range(0, whole, count))
            left = flat[whole:].copy()
            del flat  # before the next is read
        if left.size:
            yield left

    def _read(self, data: h5py.Dataset, box: tuple[int | slice, ...]) -> Array:
        import numpy as np

        if math.prod(data.chunks or ()) * data.dtype.itemsize > _UNPACKED:
            raise self._source.wrong("it has chunks that are too large for memory")
        try:
            return np.asarray(data[box])
        except (OSError, RuntimeError, ValueError, KeyError) as e:
            raise self._source.wrong(f"HDF5 says: {shown(e)}") from e

    def attributes(self, file: h5py.File) -> dict[str, Any]:
        """Return the file's own attributes that are texts or numbers."""
        import numpy as np

        found: dict[str, Any] = {}
        for key in file.attrs:
            if len(found) >= _MAX_VALUES:
                break
            value = file.attrs[key]
            if isinstance(value, bytes):
                value = value.decode("utf-8", "backslashreplace")
            if isinstance(value, np.generic):
                value = value.item()
            if isinstance(value, str | int | float | bool):
                name = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else key
                found[clean(name)] = clean(value[:_MAX_TEXT]) if isinstance(value, str) else value
        return found


def _identity(item: Any) -> object:  # noqa: ANN401 - h5py has no types
    import h5py

    about = h5py.h5o.get_info(item.id)
    return about.fileno, about.addr


def _slabs(data: h5py.Dataset) -> Iterator[tuple[int | slice, ...]]:
    """Yield boxes that follow each other in row-major order: whole chunks, where those are small.

    Else chunks are unpacked several times over.
    """
    shape = data.shape
    axis, step = _step(data)
    for outer in itertools.product(*map(range, shape[:axis])):
        for at in range(0, shape[axis], step):
            yield (*outer, slice(at, at + step))


def _step(data: h5py.Dataset) -> tuple[int, int]:
    """Return along which axis boxes follow each other, and how long each is."""
    shape = data.shape
    axis, inner = 0, math.prod(shape[1:]) * data.dtype.itemsize
    while inner > _SLAB and axis < len(shape) - 1:
        axis += 1
        inner //= max(1, shape[axis])
    chunk = data.chunks[axis] if data.chunks else 1
    step = max(1, _SLAB // max(1, inner))
    return axis, step - (step % chunk if step > chunk else 0)


def _times_unpacked(data: h5py.Dataset) -> int:
    """Return how many boxes share a chunk: each of them unpacks it anew."""
    axis, step = _step(data)
    chunks: tuple[int, ...] = data.chunks or (1,) * len(data.shape)
    return math.prod(chunks[:axis]) * -(-chunks[axis] // step) if chunks else 1


def _flat(array: Array) -> Bytes:
    import numpy as np

    return np.frombuffer(array.tobytes(), np.uint8)

"""Models in several files, with an index in JSON that says which tensor is where.

transformers writes `model.safetensors.index.json` and `pytorch_model.bin.index.json`:
{"metadata": {...}, "weight_map": {tensor: file}}.
"""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from devml_git.amounts import counted
from devml_git.gate import shown
from devml_git.models.model import Listing, Model, clean
from devml_git.models.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

_MAX_INDEX = 128 << 20  # bytes
MAX_TENSORS = 200_000  # of all files together
_MAX_SHARDS = 500  # each keeps a file open


def read(
    source: Source, members: Mapping[str, Path], read_one: Callable[[Path, str], Model | None]
) -> Model:
    """Open an index's shards; see devml_git.models.read_sharded."""
    with ExitStack() as stack:
        stack.callback(source.close)
        metadata, shards = _parse(source)
        listing = Listing(source)
        notes: list[str] = []
        formats = set()
        size = named = 0
        for shard, names in shards.items():
            if shard not in members:
                lacking = counted(len(names), "tensor")
                notes.append(f"{shown(shard)} is not here: {lacking} not read")
                continue
            model = read_one(members[shard], shard)
            if model is None:
                raise source.wrong(f"its shard {shown(shard)} is no model file")
            stack.enter_context(model)
            size += model.size
            named += len(model.tensors)
            if named > source.most:
                raise source.wrong(f"its shards have more than {counted(source.most, 'tensor')}")
            notes += [f"{shown(shard)}: {note}" for note in model.notes]
            formats.add(model.format)
            _take(source, listing, model, names)
        model = Model(
            "+".join(sorted(formats)) or "sharded", listing, metadata=metadata, notes=notes,
            closing=(stack.pop_all().close,),
        )  # fmt: skip
        model.size = size
        return model


def files(index: Path) -> list[str]:
    """Return the files that an index names. Raises Unreadable."""
    source = Source(index, index.name, most=MAX_TENSORS)
    try:
        return sorted(_parse(source)[1])
    finally:
        source.close()


def _parse(source: Source) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return what the index says beside its tensors, and the tensors of each shard."""
    if source.size > _MAX_INDEX:
        raise source.wrong("an index is never that large")
    text = source.read(0, source.size)
    if text.count(b",") > 2 * MAX_TENSORS or text.count(b"{") + text.count(b"[") > MAX_TENSORS:
        raise source.wrong(f"it has more than {MAX_TENSORS} tensors")
    try:
        parsed = json.loads(text.decode())
    except (ValueError, RecursionError) as e:
        raise source.wrong(f"it is no JSON: {shown(e)}") from e
    where = parsed.get("weight_map") if isinstance(parsed, dict) else None
    if not isinstance(where, dict) or not all(isinstance(v, str) for v in where.values()):
        raise source.wrong("it has no weight_map from tensors to files")
    shards = defaultdict(list)
    for name, shard in where.items():
        shards[shard].append(clean(name))
    if len(shards) > _MAX_SHARDS:
        raise source.wrong(f"it has more than {_MAX_SHARDS} shards")
    return _plain(parsed.get("metadata")), dict(shards)


def _plain(metadata: object) -> dict[str, Any]:
    if not isinstance(metadata, dict):
        return {}
    simple = (str, int, float, bool)
    return {clean(k): clean(v) if isinstance(v, str) else v
            for k, v in metadata.items() if isinstance(v, simple)}  # fmt: skip


def _take(source: Source, listing: Listing, model: Model, names: Iterable[str]) -> None:
    for name in names:
        if name not in model.tensors:
            raise source.wrong(f"tensor '{shown(name)}' is not in the shard it names")
        listing.take(model.part(name))

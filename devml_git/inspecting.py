"""What changed inside one file: a model, a table, an image, a recording, text.

What a model is, its own first bytes decide; what a table or an image is, its name. Nothing is ever
executed, and what cannot be read is told in words.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from devml_git import bounds, media, models, tables, tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from devml_git.models import Model
    from devml_git.workspace import Workspace

# Indexes of models in several files, as Hugging Face's libraries write them, and their shards
_SHARDS = {".safetensors.index.json": ".safetensors", ".bin.index.json": ".bin"}
INDEXES = tuple(_SHARDS)


class Inside(Protocol):
    """What changed inside a file."""

    def to_dict(self) -> dict[str, Any]:
        """Return what it adds to the entry of its artifact or file in `devml.diff/v1`."""


def is_shard(name: str, index: str) -> bool:
    """Whether a file of a directory belongs to the model of that index, or is the index itself."""
    ending = next((shard for end, shard in _SHARDS.items() if index.endswith(end)), None)
    here = index.rpartition("/")[0] == name.rpartition("/")[0]
    return name == index or (ending is not None and here and name.endswith(ending))


def look(
    ws: Workspace, place: str, name: str, old: Mapping[str, Path], new: Mapping[str, Path]
) -> tuple[Inside | None, list[str]]:
    """Return what changed inside a file, None where there is nothing to tell, and remarks.

    `place` is its path in the project; `old` and `new` are, by name inside the artifact, where its
    content lies on either side: empty where there is none, several for a model in several files.

    Raises models.Unreadable for what is named like a model and is none, or a damaged one.
    """
    with contextlib.ExitStack() as stack:
        one, two = (_model(stack, place, name, side) for side in (old, new))
        if one is not None or two is not None:
            if bool(old) is (one is not None) and bool(new) is (two is not None):
                change = tensors.compare(one, two, ws.progress)
                return change, list(change.notes)
            return None, ["one side is a model, the other is none"]
    before, after = old.get(name), new.get(name)
    if tables.is_table(place):
        return tables.compare(before, after, place, ws.config.key_of(place))
    return media.compare(ws.git, before, after, place)


def _model(
    stack: contextlib.ExitStack, place: str, name: str, files: Mapping[str, Path]
) -> Model | None:
    if not files:
        return None
    with bounds.limited(place, bounds.MODEL_SECONDS):
        model = _opened(place, name, files)
    if model is not None:
        stack.enter_context(model).check_cost(place)
    return model


def _opened(place: str, name: str, files: Mapping[str, Path]) -> Model | None:
    if len(files) == 1 and not name.endswith(INDEXES):
        return models.read(files[name], place, steady=_are_steady(files))
    here = name.rpartition("/")[0]
    shards = {n.removeprefix(f"{here}/") if here else n: p for n, p in files.items()}
    index = shards.pop(name.rpartition("/")[2])
    return models.read_sharded(index, shards, steady=_are_steady(files))


def _are_steady(files: Mapping[str, Path]) -> bool:
    """Whether nobody writes these files: they are the cache's, or linked to it."""
    return not any(path.stat().st_mode & 0o222 for path in files.values())

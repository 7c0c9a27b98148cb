"""Whether one content may be the next version of another, under another path: a guess.

Where both are here: models by the names and shapes of their tensors, directories by their files.
Where one is not: by size. Only headers are read, and nothing is proven: what comes of it is told
as a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devml_git import bounds
from devml_git.cache import Corrupt
from devml_git.errors import DevmlError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from devml_git.cache import Cache
    from devml_git.nouns import Pointer

    Form = frozenset[tuple[str, tuple[int, ...]]]  # names and shapes of tensors


class Likeness:
    """Asked of two pointers. `cache` opens DVC's cache (None: by size), `kept` has summaries."""

    def __init__(self, cache: Callable[[], Cache] | None, kept: Path) -> None:
        self._cache = cache
        self._kept = kept

    def __call__(self, old: Pointer, new: Pointer) -> bool:
        """Whether `new` may be the next version of `old`."""
        if old.is_dir is not new.is_dir:
            return False
        if old.is_dir:
            before, after = self._files(old), self._files(new)
            if before is not None and after is not None:
                return _mostly_same(before, after)
        else:
            was, now = self._tensors(old), self._tensors(new)
            if was is not None and now is not None:
                return was == now
        return bool(old.size) and (old.size, old.nfiles) == (new.size, new.nfiles)

    def _files(self, pointer: Pointer) -> frozenset[tuple[str, str]] | None:
        """Return a directory's files, name and oid; None where its list is not here."""
        if self._cache is None or pointer.oid is None:
            return None
        try:
            return frozenset(self._cache().manifest(pointer.oid, pointer.hash_name).items())
        except (DevmlError, Corrupt):
            return None

    def _tensors(self, pointer: Pointer) -> Form | None:
        """Return a model's tensors; None where it is not here, cannot be read, or is no model."""
        from devml_git import models
        from devml_git.summaries import Summaries

        oid, kind = pointer.oid or "", pointer.hash_name
        kept = Summaries(self._kept).get(oid, kind, pointer.path)
        if kept is not None:
            return frozenset((t.name, t.shape) for t in kept.tensors) or None
        if self._cache is None:
            return None
        try:
            cache = self._cache()
            here = cache.has(oid, kind)
            with bounds.limited(pointer.path, bounds.MODEL_SECONDS):
                model = models.read(cache.object_path(oid, kind), pointer.path) if here else None
        except (DevmlError, OSError):
            return None
        if model is None:
            return None
        with model:
            return frozenset((t.name, t.shape) for t in model.tensors.values()) or None


def _mostly_same(old: frozenset[tuple[str, str]], new: frozenset[tuple[str, str]]) -> bool:
    """Whether half of the larger one's files are the same in both: what git calls a rename."""
    return 2 * len(old & new) >= max(len(old), len(new), 1)

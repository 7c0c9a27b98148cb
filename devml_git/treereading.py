"""The pointers and measured files of a commit's tree, as that tree says and nothing else."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from devml_git import gate, gitstream, pointers
from devml_git.errors import Refused
from devml_git.measures import MAX_BYTES
from devml_git.measuring import Stored, declared
from devml_git.plumbing import is_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from devml_git.cache import Cache
    from devml_git.nouns import Pointer
    from devml_git.plumbing import Git
    from devml_git.treefacts import Tree

_READ = 4096  # pointer files that are kept


class TreeReader:
    """Reads blobs of trees, and pointers in them; what was read is remembered for the next commit.

    `named` is true of the paths that every `Tree` knows anyway.
    """

    def __init__(self, git: Git, named: Callable[[str], bool]) -> None:
        self.objects = gitstream.Objects(git)
        self.named = named
        self._pointers: OrderedDict[Any, dict[str, Pointer] | str] = OrderedDict()

    def close(self) -> None:
        """End git's process."""
        self.objects.close()

    def pointers_of(self, tree: Tree, file: str, blob: str) -> dict[str, Pointer]:
        """Return the pointers of a file in a commit, by artifact path. Raises Refused."""
        key: Any = (file, blob)
        text = None
        if is_lock(file):
            text = self.text(file, blob)
            held = self._not_ours(tree, pointers.lock_paths(file, text))
            key = (file, blob, held)
        known = self._pointers.get(key)
        if known is None:
            try:
                known = self._read(file, self.text(file, blob) if text is None else text, key)
            except Refused as e:
                known = e.message
            self._pointers[key] = known
            if len(self._pointers) > _READ:
                self._pointers.popitem(last=False)
        if isinstance(known, str):
            raise Refused(known)
        return known

    def _read(self, file: str, text: bytes, key: Any) -> dict[str, Pointer]:  # noqa: ANN401
        if is_lock(file):
            decoded = text.decode("utf-8", "replace")
            stage = pointers.PipelineOut(stage="")
            found = pointers.read_lock(
                file, decoded, lambda path: None if path in key[2] else stage
            )
        else:
            found = pointers.read(file, text)
        return {p.path: p for p in found}

    def _not_ours(self, tree: Tree, outs: Sequence[str]) -> frozenset[str]:
        """Return which locked outputs DVC does not cache.

        That commit's `dvc.yaml` says so; what it does not name (a template) is cached unless git
        holds it.
        """
        cached: dict[str, bool] = {}
        for file, blob in tree.facts.items():
            if file.rsplit("/", 1)[-1] == "dvc.yaml" and blob:
                with contextlib.suppress(Refused):
                    cached |= declared(file, self.text(file, blob)).outs
        unnamed = tree.blobs([path for path in outs if path not in cached], lambda _: False)
        cached |= {path: not blob for path, blob in unnamed.items()}
        return frozenset(path for path in outs if not cached[path])

    def text(self, file: str, blob: str, limit: int = gate.MAX_POINTER_BYTES) -> bytes:
        """Return a blob's content. Raises Refused, naming the file."""
        try:
            text = self.objects.text(blob, limit)
        except Refused as e:
            raise Refused(f"{gate.shown(file)}: {e.message}") from e
        if text is None:
            why = (
                "not here, and the git remote did not send it" if self.objects.withheld else "gone"
            )
            raise Refused(f"{gate.shown(file)}: {why}")
        return text


def nested(tree: Tree) -> tuple[str, ...]:
    """Return the places of the projects below this one: what lies there is theirs."""
    ends = ".dvc/config"
    return tuple(p.removesuffix(ends) for p in tree.facts if p.endswith(f"/{ends}"))


class Files:
    """A commit's files, for `measuring`."""

    def __init__(self, reader: TreeReader, tree: Tree, cache: Callable[[], Cache] | None) -> None:
        self._reader = reader
        self._tree = tree
        self._cache = cache

    def names(self) -> Iterable[str]:
        """Return the files that are known by their name."""
        theirs = nested(self._tree)
        return [p for p, blob in self._tree.facts.items() if blob and not p.startswith(theirs)]

    def ahead(self, paths: Iterable[str]) -> None:
        """One git answers all of a walk's questions, and has been told what comes."""

    def text(self, path: str) -> bytes | None:
        """Return a file's content, from git or from DVC's cache. Raises Refused."""
        named = self._reader.named if self._reader.named(path) else lambda _: False
        blob = self._tree.blobs([path], named)[path]
        if blob:
            return self._reader.text(path, blob, MAX_BYTES)
        return None if self._cache is None else Stored(self._cache, self._pointer).text(path)

    def _pointer(self, place: str) -> Pointer | None:
        """Return the pointer of an artifact; by DVC's custom a `.dvc` file lies beside it."""
        if place in self._locked:
            return self._locked[place]
        file = f"{place}.dvc"
        blob = self._tree.blobs([file], lambda _: False)[file]
        return self._reader.pointers_of(self._tree, file, blob).get(place) if blob else None

    @cached_property
    def _locked(self) -> dict[str, Pointer]:
        found: dict[str, Pointer] = {}
        for file, blob in self._tree.facts.items():
            if is_lock(file) and blob:
                found |= self._reader.pointers_of(self._tree, file, blob)
        return found

"""The pointers and measured files of a commit's tree, as that tree says and nothing else."""

from __future__ import annotations

import posixpath
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from devml_git import gate, gitstream, pointers
from devml_git.dvc_config import DvcConfig
from devml_git.errors import Refused
from devml_git.measures import MAX_BYTES
from devml_git.measuring import Stored
from devml_git.pipelines import AtRevision, Pipelines, stand_in, yaml_of
from devml_git.plumbing import is_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from devml_git.cache import Cache
    from devml_git.gitstream import Row
    from devml_git.nouns import Pointer
    from devml_git.plumbing import Git
    from devml_git.pointers import Outputs, PipelineOut
    from devml_git.treefacts import Tree

_READ = 4096  # pointer files that are kept


class TreeReader:
    """Reads blobs of trees, and pointers in them; what was read is remembered for the next commit.

    `named` is true of the paths that every `Tree` knows anyway.
    """

    def __init__(self, git: Git, named: Callable[[str], bool]) -> None:
        self.git = git
        self.objects = gitstream.Objects(git)
        self.named = named
        self._pointers: OrderedDict[Any, dict[str, Pointer] | str] = OrderedDict()

    @cached_property
    def pipelines(self) -> Pipelines:
        """What pipelines say of their outputs."""
        return Pipelines(DvcConfig(self.git))

    def close(self) -> None:
        """End git's process."""
        self.objects.close()

    def pointers_of(self, tree: Tree, file: str, blob: str) -> dict[str, Pointer]:
        """Return the pointers of a file in a commit, by artifact path. Raises Refused."""
        key: Any = (file, blob)
        outputs: Outputs = {}
        if is_lock(file):
            said = self._said_of(tree, file, blob)
            outputs = {file: said}
            key = (file, blob, frozenset(said.items()))
        known = self._pointers.get(key)
        if known is None:
            try:
                found = pointers.read(file, self.text(file, blob), outputs)
                known = {p.path: p for p in found}
            except Refused as e:
                known = e.message
            self._pointers[key] = known
            if len(self._pointers) > _READ:
                self._pointers.popitem(last=False)
        if isinstance(known, str):
            raise Refused(known)
        return known

    def locks_meant(self, tree: Tree, rows: Iterable[Row]) -> list[tuple[str, str]]:
        """Return the locks (path, blob) that a commit leaves as they are, and which mean something
        else for what it does to their pipelines.
        """
        paths = {row.path for row in rows}
        names = {posixpath.basename(path) for path in paths}
        if names.isdisjoint(("dvc.yaml", ".dvcignore")) and paths.isdisjoint(
            self.pipelines.watched
        ):
            return []
        return [
            (file, blob)
            for file, blob in tree.facts.items()
            if blob and is_lock(file) and file not in paths and paths & self.pipelines.sources(file)
        ]

    def _said_of(self, tree: Tree, lock: str, blob: str) -> dict[tuple[str, str], PipelineOut]:
        """Return what that commit's `dvc.yaml` says of outputs; all where it cannot be read."""
        yaml = yaml_of(lock)
        said = self.pipelines.outs([yaml], _Texts(self, tree))
        if yaml not in said.unread:
            return said.known.get(lock, {})

        def in_git(paths: set[str]) -> set[str]:
            return {p for p, held in tree.blobs(sorted(paths), lambda _: False).items() if held}

        return stand_in(lock, self.text(lock, blob), in_git)

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


class _Texts:
    """A commit's files, for its pipelines: what the walk knows anyway, and others from git."""

    def __init__(self, reader: TreeReader, tree: Tree) -> None:
        self._reader = reader
        self._tree = tree
        self._others = AtRevision(reader.git, tree.commit)

    def ahead(self, paths: Iterable[str]) -> None:
        """Ask for those together that the walk does not know."""
        self._others.ahead([p for p in paths if self._blob(p) is None])

    def text(self, path: str) -> bytes | None:
        """Return a file's content, None where there is none. Raises Refused."""
        blob = self._blob(path)
        if blob is None:
            return self._others.text(path)
        return self._reader.text(path, blob, MAX_BYTES) if blob else None

    def _blob(self, path: str) -> str | None:
        """Return the blob of a file ("": not there); None where the walk does not know it."""
        if not self._reader.named(path):
            return None
        found = self._tree.facts.get(path)
        return found or ("" if posixpath.basename(path) == ".dvcignore" else None)


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

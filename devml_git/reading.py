"""What `import devml_git` hands out: files, tensors and artifacts of any revision.

The workspace stays as it is; what comes from a commit is proven to be what was committed.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
import itertools
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from devml_git import comparing, config, gate, models, savepointing
from devml_git.arrays import Tensors
from devml_git.choosing import Chosen
from devml_git.errors import NotARepository, Refused, StorageFailed, UsageError
from devml_git.finding import Finder
from devml_git.notebook import History
from devml_git.place import storage_error, what_is
from devml_git.plumbing import Git
from devml_git.selecting import Where
from devml_git.walking import walk
from devml_git.wording import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Self

    from devml_git.comparing import Comparison
    from devml_git.nouns import Pointer
    from devml_git.savepoints import Savepoint
    from devml_git.workspace import Workspace

_MODES = frozenset({"r", "rt", "rb"})
_INDEX = ".index.json"
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact of a revision: `path` relative to the project's root, `kind` "file" or "dir".

    `oid` is DVC's hash, None where it was never stored; `size` in bytes, `nfiles` for directories;
    `cached` is whether the cache has all of it.
    """

    path: str
    kind: str
    oid: str | None
    size: int | None
    nfiles: int | None
    cached: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


class Repo:
    """One repository, or one project in it, to be read from Python. A context manager; picklable.

    `path` is any directory inside (default: the current one). `fetch` says whether content that
    the cache lacks may be fetched from a DVC remote; None: as `hooks.fetch` in devml.toml says. A
    remote that a commit has brought or changed is not connected to before `devml-git trust`.

    Paths are relative to `root`, or absolute. `rev` is anything git accepts, or a snapshot's id or
    name; None is the workspace. Threads may share a Repo: what was found and proven is remembered,
    so that opening a file of a commit again costs little (least by its full id: a branch's name is
    looked up each time). Raises NotARepository; everything raised is a DevmlError.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, fetch: bool | None = None
    ) -> None:
        self._finder = Finder(Git.discover(Path(path) if path is not None else None), fetch=fetch)

    @property
    def root(self) -> Path:
        """Return the project's root, where paths start."""
        return self._finder.root

    @property
    def fetch(self) -> bool | None:
        """Return whether content may be fetched, as it was asked for."""
        return self._finder.fetch

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Repo, str(self.root), fetch=self.fetch), ()

    def __repr__(self) -> str:
        return f"Repo({str(self.root)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what was found; files and tensors handed out stay open."""
        self._finder.forget()

    # -- what there is -----------------------------------------------------------------------

    def artifacts(self, rev: str | None = None) -> tuple[Artifact, ...]:
        """Return the artifacts of a revision (None: as the pointers lie in the workspace).

        Raises UsageError for an unknown revision.
        """
        with self._finder.lock, self._finder.workspace() as ws:
            snapshot = ws.tree.snapshot if rev is None else ws.snapshot_at(self._finder.commit(rev))
            return tuple(_described(ws, p) for _, p in sorted(snapshot.pointers.items()))

    def log(
        self,
        *revs: str,
        n: int | None = None,
        paths: Collection[str | os.PathLike[str]] = (),
        where: str | None = None,
        since: str | None = None,
        author: str | None = None,
        everything: bool = False,
        first_parent: bool = False,
    ) -> History:
        """Return the commits of revisions and ranges (none: HEAD), as `devml-git log` lists them.

        Each tells its changed artifacts, metrics and parameters. `n` is how many at most; `paths`
        are artifacts, members or directories; `where` is as in `log --where "accuracy > 0.9"`; the
        rest is as in `git log` (`everything` is `--all`). Raises UsageError.
        """
        git = self._finder.git()
        settings = config.load(git.top)
        chosen = Chosen(
            revs, everything, first_parent, since, author=author,
            paths=tuple(self._inside(p) for p in paths),
        )  # fmt: skip
        with contextlib.closing(
            walk(git, settings, chosen, cache=lambda: self._finder.cache)
        ) as walking:
            found = walking if where is None else Where(where).among(walking)
            return History(tuple(itertools.islice(found, n)), settings, git.prefix)

    def compare(
        self,
        a: str | None = None,
        b: str | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> Comparison:
        """Return what differs between two revisions, as `devml-git diff` has it.

        Without `b`: `a` and the workspace (or what `A..B` means); without both: the index and the
        workspace. `path` narrows it down. Content is fetched as for `open`. Raises UsageError.
        """
        paths = () if path is None else (self._inside(path),)
        with self._finder.lock, self._finder.workspace() as ws:
            return comparing.compare(ws, a, b, paths, fetch=self._finder.why_not_to_fetch(ws) == [])

    def snapshot(
        self, message: str | None = None, metrics: Mapping[str, Any] | None = None
    ) -> Savepoint:
        """Record the whole state as a snapshot between commits; see `devml_git.snapshot`."""
        with self._finder.lock, self._finder.workspace() as ws:
            return savepointing.take(ws, message or "snapshot", metrics)

    # -- files -------------------------------------------------------------------------------

    def open(
        self,
        path: str | os.PathLike[str],
        rev: str | None = None,
        mode: str = "rb",
        *,
        encoding: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open an artifact, a file inside one, or a file that git itself has, for reading.

        `mode` is "rb", or "r" for text (UTF-8 without `encoding`). Raises UsageError for what is
        not there, ContentLost for what is not to be had whole.
        """
        if mode not in _MODES:
            raise UsageError(f"mode '{gate.shown(mode)}': files are opened for reading, rb or r")
        if "b" in mode and (encoding or newline is not None):
            raise UsageError("encoding and newline go with text: mode r")
        name = self._inside(path)
        raw = self._lying(name) if rev is None else self._committed(name, rev)
        if "b" in mode:
            return raw
        return io.TextIOWrapper(raw, encoding=encoding or "utf-8", newline=newline)

    def _lying(self, name: str) -> IO[bytes]:
        place = self._workspace_file(name)
        try:
            fd = os.open(place, _FLAGS)
        except OSError as e:
            raise storage_error(e, name) from e
        return os.fdopen(fd, "rb")

    def _committed(self, name: str, rev: str) -> IO[bytes]:
        commit = self._finder.commit(rev)
        found = self._finder.snapshot(commit).holder(name)
        if found is not None:
            (place,) = self._finder.proven(found[0], [self._file_of(*found)]).values()
            return place.open("rb")
        data = self._finder.git().file_at(commit, name)
        if data is None:
            raise self._nothing(name, rev)
        return io.BytesIO(data)

    def _file_of(self, pointer: Pointer, inside: str) -> str:
        """Return a file's name inside an artifact, or raise UsageError where it names none."""
        members = self._finder.members(pointer)
        if inside in members:
            return inside
        if not inside:
            some = listed([f"{pointer.path}/{name}" for name in sorted(members)])
            raise UsageError(f"{gate.shown(pointer.path)} is a directory", hint=f"it has {some}")
        raise UsageError(f"{gate.shown(pointer.path)} has no file {gate.shown(inside)} there")

    # -- models ------------------------------------------------------------------------------

    def load(self, path: str | os.PathLike[str], rev: str | None = None) -> Tensors:
        """Return a model's tensors as NumPy arrays, read when they are asked for.

        Nothing of a file is executed: of torch files, pickles and joblib's the arrays are read
        without unpickling, and a pickle without any is refused. For a model in several files name
        its `*.index.json`. Raises UsageError for what is no model or not there, models.Unreadable
        for a damaged one, ContentLost.
        """
        name = self._inside(path)
        files = self._lying_model(name) if rev is None else self._committed_model(name, rev)
        place = files[name.rsplit("/", 1)[-1]]
        if name.endswith(_INDEX):
            return Tensors(models.read_sharded(place, files))
        model = models.read(place, name)
        if model is None:
            raise UsageError(
                f"{gate.shown(name)} is no model of a format that is known",
                hint="devml_git.open reads any file",
            )
        if not model.tensors:
            model.close()
            why = "; ".join((*model.notes, "loading it would run code that is in it"))
            raise UsageError(
                f"{gate.shown(name)} ({model.format}) names no tensors: {why}",
                hint="if you trust who made it, give its own library devml_git.open(...)",
            )
        return Tensors(model)

    def _lying_model(self, name: str) -> dict[str, Path]:
        place = self._workspace_file(name)
        names = models.shards(place) if name.endswith(_INDEX) else []
        # one that is named elsewhere counts as not here
        beside = [n for n in names if os.path.basename(n) == n and (place.parent / n).is_file()]
        above = name[: name.rfind("/") + 1]
        return {place.name: place} | {n: self._workspace_file(f"{above}{n}") for n in beside}

    def _committed_model(self, name: str, rev: str) -> dict[str, Path]:
        found = self._finder.snapshot(self._finder.commit(rev)).holder(name)
        if found is None:
            raise self._nothing(name, rev)
        pointer, inside = found[0], self._file_of(*found)
        (place,) = self._finder.proven(pointer, [inside]).values()
        base, above = name.rsplit("/", 1)[-1], inside[: inside.rfind("/") + 1]
        members = self._finder.members(pointer)
        names = models.shards(place) if name.endswith(_INDEX) else []
        wanted = [f"{above}{n}" for n in names if f"{above}{n}" in members]
        shards = self._finder.proven(pointer, wanted) if wanted else {}
        return {base: place} | {n.removeprefix(above): p for n, p in shards.items()}

    # -- finding -----------------------------------------------------------------------------

    def _inside(self, path: str | os.PathLike[str]) -> str:
        """Return a path relative to the root, POSIX. Raises UsageError for one outside of it."""
        given = os.fspath(path)
        if "\0" in given:
            raise UsageError(f"{gate.shown(given)} has a NUL in it: no path has")
        root = os.path.realpath(self.root)
        place = os.path.normpath(os.path.join(root, given))
        if os.path.isabs(given):
            above, base = os.path.split(place)
            place = os.path.join(os.path.realpath(above), base)
        relative = os.path.relpath(place, root).replace(os.sep, "/")
        if relative in {".", ".."} or relative.startswith("../"):
            raise UsageError(
                f"{gate.shown(given)} is no path inside {gate.shown(self.root)}",
                hint="paths start at the project's root, wherever you are: models/clf.safetensors",
            )
        return relative

    def _workspace_file(self, name: str) -> Path:
        """Return where a file lies in the workspace. Raises UsageError where none does."""
        place = self.root / name
        try:
            found = place.stat()
        except OSError as e:
            raise UsageError(
                f"{gate.shown(name)} is not in the workspace (paths start at {self.root})",
                hint="devml-git checkout brings what is missing; rev='HEAD' reads the commit's",
            ) from e
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{gate.shown(name)} is a {what_is(found)}, not a file")
        real, homes = Path(os.path.realpath(place)), (self.root, self._finder.cache.root)
        if not any(real.is_relative_to(os.path.realpath(home)) for home in homes):
            raise UsageError(
                f"{gate.shown(name)} leads out of the repository, by a link",
                hint="if you know where to, open that file itself",
            )
        return place

    def _nothing(self, name: str, rev: str) -> UsageError:
        known = sorted(self._finder.snapshot(self._finder.commit(rev)).pointers)
        near = difflib.get_close_matches(name, known, n=1)
        start = f"paths start at {gate.shown(self.root)}"
        return UsageError(
            f"{gate.shown(name)} is neither an artifact nor a file at {gate.shown(rev)}",
            hint=f"did you mean {gate.shown(near[0])}?" if near else start,
        )


def _described(ws: Workspace, pointer: Pointer) -> Artifact:
    oid = pointer.oid
    try:
        cached = oid is not None and not ws.cache.missing_of(oid, pointer.hash_name)
    except (Refused, StorageFailed):
        cached = False
    kind = "dir" if pointer.is_dir else "file"
    return Artifact(pointer.path, kind, oid, pointer.size, pointer.nfiles, cached)


@functools.lru_cache(maxsize=8)
def _around(place: str, *, fetch: bool | None) -> Repo:
    return Repo(place, fetch=fetch)


def here(*, fetch: bool | None = None) -> Repo:
    """Return the Repo around the current directory: the same one, as long as that is the same."""
    try:
        place = os.getcwd()
    except OSError as e:
        raise NotARepository("the current directory is gone", hint="cd to the workspace") from e
    return _around(place, fetch=fetch)

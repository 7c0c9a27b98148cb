"""Where a commit's, or the workspace's, metrics and parameters are, and reading them.

Which files: the patterns of `devml.toml`, and what each `dvc.yaml` declares (DVC 3.67
`repo/metrics/show.py`, `repo/params/show.py`: a stage's `metrics:` and `params:`, the lists of the
same names at the top, and the files of `vars:`). What cannot be read is a note in words and stops
nothing.
"""

from __future__ import annotations

import fnmatch
import itertools
import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from devml_git import gate, pointers
from devml_git.amounts import counted
from devml_git.cache import Corrupt
from devml_git.errors import MEND, DevmlError, Refused
from devml_git.gate import MAX_PATH_BYTES, shown
from devml_git.inside import read_inside
from devml_git.measures import MAX_BYTES, Measures, flatten, kept_by_text, load
from devml_git.plumbing import LINK_MODE, decode, is_lock
from devml_git.templates import texts_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from devml_git.cache import Cache
    from devml_git.config import Config
    from devml_git.nouns import Pointer
    from devml_git.plumbing import Git, IndexEntry

_TEMPLATE = re.compile(r"\$\{[^{}]*+\}")
_VALUE = re.compile(r"\$\{\s*+([^{}\s]++)\s*+\}")
_GLOB = re.compile(r"[*?\[]")
_MOST_ODD = 2
# What one commit's dvc.yaml files may ask for: each of these is held against many, or looked up
_MOST_FILES = 1000
_MOST_PATTERNS = 100
_MOST_DOTS = 100
# What one commit's files may hold together
_MOST_BYTES = 8 << 20
_MOST_VALUES = 100_000
Tables = dict[str, dict[str, Any]]
T = TypeVar("T")


# -- where files are read ------------------------------------------------------------------------


class Reader(Protocol):
    """The files of one commit, or of the workspace, by path relative to the project's root."""

    def names(self) -> Iterable[str]:
        """Return the files there: all, or at least those that `candidate` is true of."""

    def ahead(self, paths: Iterable[str]) -> None:
        """Hear which files will be asked for next: a reader may bring them all at once."""

    def text(self, path: str) -> bytes | None:
        """Return a file's content, None where there is none; raise Refused where it is withheld."""


class Stored:
    """What the cache holds of a snapshot: files, and members of directories, by path.

    `find` returns the pointer of an artifact's path, or None.
    """

    def __init__(self, cache: Callable[[], Cache], find: Callable[[str], Pointer | None]) -> None:
        self._cache = cache
        self._find = find

    def text(self, path: str) -> bytes | None:
        """Return the content of an output or of a member of one, verified. Raises Refused."""
        found = self._artifact(path)
        if found is None:
            return None
        place, pointer = found
        if pointer.oid is None or (pointer.is_dir is (place == path)):
            return None
        cache = self._cache()
        try:
            oid: str | None = pointer.oid
            if pointer.is_dir:
                members = cache.manifest(pointer.oid, pointer.hash_name)
                oid = members.get(path.removeprefix(f"{place}/"))
            if oid is None:
                return None
            if cache.size_of(oid, pointer.hash_name) > MAX_BYTES:
                raise Refused(f"{shown(path)}: larger than {MAX_BYTES} bytes")
            if not cache.has(oid, pointer.hash_name):
                raise Refused(f"{shown(path)}: its content is not in the cache")
            claim = None if pointer.is_dir else pointer.sha256
            if not cache.verify(oid, pointer.hash_name, claim=claim):
                raise Corrupt(oid)
            return cache.object_path(oid, pointer.hash_name).read_bytes()
        except Corrupt as e:
            raise Refused(f"{shown(path)}: corrupt in the cache ({MEND})") from e
        except Refused:
            raise
        except (DevmlError, OSError) as e:
            raise Refused(f"{shown(path)}: its content is not in the cache") from e

    def _artifact(self, path: str) -> tuple[str, Pointer] | None:
        """Return the artifact that a path is, or lies in, and its pointer."""
        ends = [match.start() for match in re.finditer("/", path)]
        for place in (path, *(path[:end] for end in reversed(ends))):
            pointer = self._find(place) if place else None
            if pointer is not None:
                return place, pointer
        return None


class Committed:
    """The files of a commit: what git holds, and what the cache holds of its snapshot."""

    def __init__(self, git: Git, commit: str, stored: Stored | None = None) -> None:
        self._hold(git, git.tree_entries(commit, all_paths=True), stored)

    def _hold(self, git: Git, entries: Iterable[IndexEntry], stored: Stored | None) -> None:
        self._git = git
        self._stored = stored
        self._blobs = {e.path: e for e in entries}
        self._read: dict[str, bytes] = {}

    def names(self) -> Iterable[str]:
        """Return the files that git holds."""
        return self._blobs

    def ahead(self, paths: Iterable[str]) -> None:
        """Read files by two processes of git in place of two each, as many as may be held."""
        entries = (self._blobs.get(path) for path in paths)
        ids = [e.blob for e in entries if e is not None and e.mode.startswith("100")]
        sizes = zip(ids, self._git.blob_sizes(ids), strict=True)
        fit = {i: size for i, size in sizes if size <= MAX_BYTES}
        totals = itertools.accumulate(fit.values())
        held = [i for i, total in zip(fit, totals, strict=True) if total <= _MOST_BYTES]
        read = self._git.small_blobs(held, MAX_BYTES)
        self._read = {i: text for i, text in read.items() if text is not None}

    def text(self, path: str) -> bytes | None:
        """Return a file's content, None where there is none. Raises Refused."""
        entry = self._blobs.get(path)
        if entry is None:
            return self._stored.text(path) if self._stored else None
        if entry.mode == LINK_MODE:
            entry = self._behind(path, entry)
        if not entry.mode.startswith("100"):
            raise Refused(f"{shown(path)}: no file")
        read = self._read.get(entry.blob)
        if read is not None:
            return read
        return self._git.blob(entry.blob, path, MAX_BYTES)

    def _behind(self, path: str, entry: IndexEntry) -> IndexEntry:
        """Return the file that a link stands for, where git holds that beside it."""
        text = decode(self._git.blob(entry.blob, path, MAX_PATH_BYTES))
        where = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
        found = self._blobs.get(where)
        if found is None or not found.mode.startswith("100"):
            raise Refused(f"{shown(path)} is a link to no file that git holds: not followed")
        return found


class Staged(Committed):
    """The files of the index but for unmerged ones, and what the cache holds of its snapshot."""

    def __init__(self, git: Git, stored: Stored | None = None) -> None:
        self._hold(git, (e for e in git.index_entries() if e.stage == 0), stored)


class Lying:
    """The files as they lie in the workspace."""

    def __init__(self, git: Git) -> None:
        self._git = git

    def names(self) -> Iterable[str]:
        """Return what git holds or would take."""
        return self._git.names("ls-files", "-z", "-c", "-o", "--exclude-standard", "--deduplicate")

    def ahead(self, paths: Iterable[str]) -> None:
        """Nothing costs more for being read by itself."""

    def text(self, path: str) -> bytes | None:
        """Return a file's content, None where there is none. Raises Refused."""
        try:
            return read_inside(self._git.top, path, limit=MAX_BYTES)
        except DevmlError as e:
            raise Refused(e.message) from e


# -- which files ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Declared:
    """What `dvc.yaml` files say. Paths are relative to the root and may have `*` for a template.

    `params` by file: the keys that are used (none: all of them).
    """

    metrics: tuple[str, ...] = ()
    params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@kept_by_text
def declared(file: str, text: bytes) -> Declared:
    """Return what one `dvc.yaml` declares. Raises Refused for one that cannot be read."""
    data = load(file, text)
    if not isinstance(data, dict):
        return Declared()
    base = posixpath.dirname(file)
    metrics = _paths(data.get("metrics"), base)
    params: dict[str, list[str]] = {path: [] for path in _paths(data.get("params"), base)}
    files = [posixpath.join(base, "params.yaml"), *_vars_files(data.get("vars"), base)]
    for stage, place in _stages(data, base):
        metrics += _paths(stage.get("metrics"), place)
        files += _vars_files(stage.get("vars"), place)
        for name, keys in _stage_params(stage.get("params"), place):
            _add_keys(params, name, keys)
    values = _values_used(data.get("stages"))
    for name in dict.fromkeys(files) if values else ():
        _add_keys(params, name, values)
    used = {name: tuple(dict.fromkeys(keys)) for name, keys in params.items()}
    return Declared(tuple(dict.fromkeys(metrics)), used)


def _values_used(stages: Any) -> list[str]:  # noqa: ANN401
    """Return the values that templates name (`${a.b}`); of an item of a list, the list."""
    named = (value for text in texts_in(stages) for value in _VALUE.findall(text))
    return list(dict.fromkeys(value.partition("[")[0] for value in named))


def _vars_files(entries: Any, base: str) -> list[str]:  # noqa: ANN401
    """Return the files that templates take values from: parameters, as far as they are used.

    DVC 3.67 `repo/params/show.py` (`_collect_vars`).
    """
    texts = [e for e in entries if isinstance(e, str)] if isinstance(entries, list) else []
    return [_joined(base, text.partition(":")[0]) for text in texts]


def _add_keys(params: dict[str, list[str]], name: str, keys: Sequence[str]) -> None:
    """Add the keys that are used of a parameter file; none, there or here, means all of them."""
    if not keys or params.get(name) == []:
        params[name] = []
    else:
        params.setdefault(name, []).extend(keys)


def _stages(data: Mapping[str, Any], base: str) -> Iterator[tuple[dict[str, Any], str]]:
    stages = data.get("stages")
    for entry in stages.values() if isinstance(stages, dict) else ():
        inner = entry.get("do", entry) if isinstance(entry, dict) else None  # foreach, matrix
        if isinstance(inner, dict):
            yield inner, _joined(base, str(inner.get("wdir", ".")))


def _paths(entries: Any, base: str) -> list[str]:  # noqa: ANN401
    """Return the paths of a list of DVC's whose entries are a path or a mapping under one."""
    return [path for path, _ in _entries(entries, base)]


def _entries(entries: Any, base: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    for entry in entries if isinstance(entries, list) else ():
        named = entry if isinstance(entry, dict) else {entry: None}
        yield from ((_joined(base, k), v) for k, v in named.items() if isinstance(k, str))


def _joined(base: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(base, _TEMPLATE.sub("*", path)))


def _stage_params(entries: Any, base: str) -> Iterator[tuple[str, tuple[str, ...]]]:  # noqa: ANN401
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, str):
            yield _joined(base, "params.yaml"), (entry,)
        elif isinstance(entry, dict):
            for name, keys in entry.items():
                if isinstance(name, str):
                    known = keys if isinstance(keys, list) else ()
                    yield _joined(base, name), tuple(k for k in known if isinstance(k, str))


def candidate(config: Config) -> Callable[[str], bool]:
    """Return whether a file may decide by its name alone what is read: for who follows changes.

    Beyond these only what `measure` asks for by its own name counts.
    """
    patterns = [p for p in (*config.metrics, *config.params) if _GLOB.search(p)]
    match = _matcher(patterns)
    return lambda path: path.rsplit("/", 1)[-1] in {"dvc.yaml", "dvc.lock"} or match(path)


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    texts = [_as_regex(p) for p in patterns]
    if not texts:
        return lambda _: False
    whole = re.compile("|".join(texts))
    return lambda path: whole.fullmatch(path) is not None


def _as_regex(pattern: str) -> str:
    """Return a glob from the root as a regular expression; only `**` leaves a directory.

    What a wildcard has passed over is never tried again (atomic groups): nothing is lost, since
    all within a component, and all `**/`, are alike, and a hostile glob takes no exponential time.
    A `**` that is no component's whole name cannot be had so: beyond the second it counts as `*`.
    """
    runs = re.split(r"(?:(?<=/)|^)\*\*/", pattern.removeprefix("/"))
    if sum(run.count("**") for run in runs) > _MOST_ODD:
        runs = [re.sub(r"\*\*+", "*", run) for run in runs]
    first, *rest = ("/".join(map(_component, run.split("/"))) for run in runs)
    if not rest:
        return first
    between = "".join(f"(?>(?:[^/]*+/)*?{run})" for run in rest[:-1])
    return f"{first}{between}(?:[^/]*+/)*{rest[-1]}"


def _component(glob: str) -> str:
    if "**" in glob:
        return ".*".join(map(_component, glob.split("**")))
    first, *rest = (re.escape(part).replace(r"\?", "[^/]") for part in glob.split("*"))
    if not rest:
        return first
    between = "".join(f"(?>[^/]*?{part})" for part in rest[:-1])
    return f"{first}{between}[^/]*{rest[-1]}"


# -- reading them --------------------------------------------------------------------------------


def measure(config: Config, reader: Reader) -> Measures:
    """Return the metrics and parameters that configuration and `dvc.yaml` say are there."""
    return _Measuring(config, reader).result()


class _Measuring:
    """One commit's reading, and the notes on what could not be read."""

    def __init__(self, config: Config, reader: Reader) -> None:
        self.config = config
        self.reader = reader
        self.notes: list[str] = []
        self.names = sorted(filter(candidate(config), reader.names()))
        self._bytes, self._values = _MOST_BYTES, _MOST_VALUES

    def result(self) -> Measures:
        pipelines = [d for d in map(self._declared, self.names) if d is not None]
        locked = [lock for lock in map(self._lock, self.names) if lock is not None]
        wanted = self._matching(self.config.metrics)
        declared_ones = self._resolved([m for d in pipelines for m in d.metrics], locked)
        wanted |= self._bounded(dict.fromkeys(declared_ones))
        self.reader.ahead(filter(_may_be_here, wanted))
        tables = {f: self._table(f, lists=False) for f in wanted}
        metrics = {f: table for f, table in tables.items() if table is not None}
        params: Tables = {}
        keys: dict[str, list[str]] = {file: [] for file in self._matching(self.config.params)}
        asked: dict[str, list[str]] = {}
        for d in pipelines:
            for file, some in d.params.items():
                _add_keys(asked, file, some)
        for file, used in self._bounded(asked).items():
            _add_keys(keys, file, used)
        self.reader.ahead(filter(_may_be_here, keys))
        for file, used in keys.items():
            table = self._table(file, lists=True)
            if table is None:
                table = _used(locked, file)
            if table is not None:
                chosen = _chooser(used)
                params[file] = {k: v for k, v in table.items() if chosen(k)}
        return Measures(metrics, params, tuple(dict.fromkeys(self.notes)))

    def _matching(self, patterns: Sequence[str]) -> dict[str, None]:
        """Return the files that patterns mean; one without a wildcard means itself."""
        match = _matcher(p for p in patterns if _GLOB.search(p))
        plain_ones = [p.removeprefix("/") for p in patterns if not _GLOB.search(p)]
        return dict.fromkeys([*plain_ones, *filter(match, self.names)])

    def _resolved(self, paths: Iterable[str], locked: Sequence[_Locked]) -> Iterator[str]:
        """Yield paths; what a template names, from what the stages have locked."""
        outs = [path for lock in locked for path in lock.outs]
        known = dict.fromkeys(paths)
        yield from (path for path in known if "*" not in path)
        for path in self._bounded({p: None for p in known if "*" in p}, _MOST_PATTERNS):
            yield from fnmatch.filter(outs, path)

    def _bounded(self, files: dict[str, T], most: int = _MOST_FILES) -> dict[str, T]:
        """Return so many files, and note it if that are not all."""
        if len(files) <= most:
            return files
        self.notes.append(
            f"{counted(len(files), 'file')} of metrics or parameters: {most} are read"
        )
        return dict(itertools.islice(files.items(), most))

    def _text(self, path: str) -> bytes | None:
        if self._bytes < 0 or self._values < 0:
            self.notes.append(
                f"more than {_MOST_BYTES >> 20} MB, or {_MOST_VALUES} values, of metrics, "
                "parameters and pipelines: the rest is not read"
            )
            return None
        try:
            text = self.reader.text(gate.path(path, "metrics and parameters"))
        except Refused as e:
            self.notes.append(e.message)
            return None
        self._bytes -= len(text or b"")
        return text

    def _declared(self, name: str) -> Declared | None:
        text = self._text(name) if name.rsplit("/", 1)[-1] == "dvc.yaml" else None
        return None if text is None else self._tried(lambda: declared(name, text))

    def _lock(self, name: str) -> _Locked | None:
        text = self._text(name) if is_lock(name) else None
        return None if text is None else self._tried(lambda: _locked(name, text))

    def _table(self, file: str, *, lists: bool) -> dict[str, Any] | None:
        text = self._text(file)
        found = None if text is None else self._tried(lambda: _table(file, text, lists=lists))
        self._values -= len(found or ())
        return found

    def _tried(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except Refused as e:
            self.notes.append(e.message)
            return None


def _may_be_here(path: str) -> bool:
    """Whether a file's name stays in the project; one that does not gets its note later."""
    try:
        gate.path(path, "")
    except Refused:
        return False
    return True


def _table(file: str, text: bytes, *, lists: bool) -> dict[str, Any]:
    value = load(file, text)
    try:
        return flatten({} if value is None else value, lists=lists)
    except Refused as e:
        raise Refused(f"{shown(file)}{e.message}") from e


@dataclass(frozen=True, slots=True)
class _Locked:
    """What a `dvc.lock` says that stages made, and which parameters (dotted keys) they used."""

    outs: tuple[str, ...]
    params: Mapping[str, Mapping[str, Any]]


@kept_by_text
def _locked(file: str, text: bytes) -> _Locked:
    stages = pointers.load_mapping(file, text).get("stages")
    base = posixpath.dirname(file)
    params: Tables = {}
    for entry in stages.values() if isinstance(stages, dict) else ():
        used = entry.get("params") if isinstance(entry, dict) else None
        for name, keys in used.items() if isinstance(used, dict) else ():
            if isinstance(keys, dict):
                params.setdefault(_joined(base, str(name)), {}).update(keys)
    paths = dict.fromkeys(out.path for out in pointers.every_output(file, text).values())
    return _Locked(tuple(paths), params)


def _used(locked: Sequence[_Locked], file: str) -> dict[str, Any] | None:
    """Return what stages used of a parameter file that is not there itself."""
    tables = [lock.params[file] for lock in locked if file in lock.params]
    return {str(k): v for table in tables for k, v in table.items()} or None


def _chooser(wanted: Sequence[str]) -> Callable[[str], bool]:
    """Return whether a key is wanted: one of these or below one, by `*` too (none: every key).

    Of very many patterns all is wanted.
    """
    names = frozenset(wanted)
    globs = [w for w in names if _GLOB.search(w)]
    if not wanted or len(globs) > _MOST_PATTERNS:
        return lambda _: True

    def chosen(key: str) -> bool:
        dots = itertools.islice(re.finditer(r"\.", key), _MOST_DOTS)
        return (
            key in names
            or any(key[: dot.start()] in names for dot in dots)
            or any(fnmatch.fnmatchcase(key, g) or fnmatch.fnmatchcase(key, f"{g}.*") for g in globs)
        )

    return chosen

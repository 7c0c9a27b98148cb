"""Which outputs the `dvc.yaml` files of a revision have, and where: the one place that says so.

A file without templates is read here. DVC alone resolves templates (`${}`, foreach, matrix, vars).
What they would become is counted before it is asked, and it is asked in a process of its own
(`asking.py`), which gets the texts and may take so much processor time and memory and no more. The
answer is remembered under a digest of all that decides it: the file, those that it takes values
from, and `.dvcignore`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import posixpath
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from devml_git import plumbing, yamltext
from devml_git.bounds import ASK_SECONDS, charge, left_for_dvc, limited
from devml_git.errors import DevmlError, DvcFailed, Refused
from devml_git.gate import shown
from devml_git.inside import read_inside
from devml_git.patterns import has_patterns
from devml_git.pointers import PipelineOut, every_output
from devml_git.templates import LISTS, MAX_VARS_BYTES, Pipeline, counted, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from devml_git.dvc_config import DvcConfig
    from devml_git.plumbing import Git
    from devml_git.pointers import Outputs

_FORMAT = b"3"  # of what is remembered
_WAIT = 60  # seconds by the clock, where the machine has no time for DVC
_MOST = max(yamltext.MAX_BYTES, MAX_VARS_BYTES)  # bytes of any file
_IGNORES = ".dvcignore"
_TEMPLATE = frozenset({"foreach", "matrix", "do"})
_PRIVATE = frozenset({".git", ".dvc"})  # no values are taken from what lies there


@dataclass(slots=True)
class Outs:
    """What pipelines say of outputs, by the `dvc.lock` that would have them.

    `unread`: of `dvc.yaml` files, why one cannot be read.
    """

    known: Outputs = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


class Texts(Protocol):
    """The files of one revision, by path relative to the project's root."""

    def ahead(self, paths: Iterable[str]) -> None:
        """Hear which files will be asked for next: they may be brought all at once."""

    def text(self, path: str) -> bytes | None:
        """Return a file's content, None where there is none. May raise Refused."""


class Lying:
    """The files as they lie in the worktree; nothing outside of it is read."""

    def __init__(self, worktree: Path, prefix: str) -> None:
        self._worktree = worktree
        self._prefix = prefix

    def ahead(self, paths: Iterable[str]) -> None:
        """Nothing costs more for being read by itself."""

    def text(self, path: str) -> bytes | None:
        """Return a file's content, None where there is none. Raises Refused."""
        return read_inside(self._worktree, f"{self._prefix}{path}", limit=_MOST)


class AtRevision:
    """The files of a commit, or of the index ("")."""

    def __init__(self, git: Git, rev: str) -> None:
        self._git = git
        self._rev = rev
        self._known: dict[str, bytes | None] = {}

    def ahead(self, paths: Iterable[str]) -> None:
        """Read files by three processes of git, however many they are."""
        asked = list(paths)
        names = [f"{self._rev}:{posixpath.normpath(self._git.prefix + path)}" for path in asked]
        ids = dict(zip(asked, self._git.ids_of(names, follow=True), strict=True))
        there = sorted({blob for blob in ids.values() if blob is not None})
        texts = self._git.small_blobs(there, _MOST)
        for path, blob in ids.items():
            self._known[path] = None if blob is None else texts[blob]

    def text(self, path: str) -> bytes | None:
        """Return a file's content, None where there is none, or one that is too large."""
        if path not in self._known:
            self.ahead([path])
        return self._known[path]


@dataclass(frozen=True, slots=True)
class _Given:
    """A `dvc.yaml`, and the texts that decide what its templates become (None: not there)."""

    pipeline: Pipeline
    texts: Mapping[str, bytes | None]

    @property
    def digest(self) -> str:
        """What changes whenever the answer may change."""
        parts = [os.fsencode(self.pipeline.file), self.pipeline.text]
        for name, text in sorted(self.texts.items()):
            parts += [os.fsencode(name), b"-" if text is None else b"+" + text]
        digest = hashlib.sha256(_FORMAT)
        for part in parts:
            digest.update(b"%d\0" % len(part) + part)
        return digest.hexdigest()


class Pipelines:
    """Answers for revisions of one project.

    `remembered` and `remember` are by a digest of what decides an answer; without them this process
    alone remembers.
    """

    def __init__(
        self,
        config: DvcConfig,
        remembered: Callable[[str], str | None] = lambda _digest: None,
        remember: Callable[[str, str], None] = lambda _digest, _answer: None,
    ) -> None:
        self._config = config
        self._remembered = remembered
        self._remember = remember
        self._known: dict[str, Any] = {}  # answers of this process, by digest
        self._values_in: dict[str, set[str]] = {}  # by `dvc.yaml`

    def here(self, files: Iterable[str]) -> Outs:
        """Return what `dvc.yaml` files of the worktree say."""
        return self.outs(files, Lying(self._config.worktree, self._config.prefix))

    def outs(self, files: Iterable[str], texts: Texts) -> Outs:
        """Return what the project's `dvc.yaml` files (relative to the root) say in a revision.

        One that is not there says nothing. Raises DvcFailed where DVC gives no answer.
        """
        found = Outs()
        given: dict[str, _Given] = {}
        asked = sorted(files)
        texts.ahead(dict.fromkeys(name for file in asked for name in (file, *_above(file))))
        for file in asked:
            try:
                given[file] = self._given(file, texts)
            except DevmlError as e:
                found.unread[file] = e.message.removeprefix(f"{shown(file)}: ")
        for file, said in self._answers(given).items():
            if isinstance(said, str):
                found.unread[file] = said
            else:
                lock = posixpath.join(posixpath.dirname(file), "dvc.lock")
                found.known[lock] = {
                    (out["stage"], out["written"]): PipelineOut(**out) for out in said
                }
        return found

    def sources(self, lock: str) -> set[str]:
        """Return the files that have been seen to decide what a `dvc.lock` means, beside itself."""
        yaml = yaml_of(lock)
        return {yaml, *_above(yaml), *self._values_in.get(yaml, ())}

    @property
    def watched(self) -> list[str]:
        """The files that have been seen to give values to `dvc.yaml` files."""
        return sorted(name for some in self._values_in.values() for name in some)

    def _given(self, file: str, files: Texts) -> _Given:
        one = _parsed(file, files.text(file) or b"")
        texts: dict[str, bytes | None] = {}
        for name in _above(file):
            if has_patterns(ignores := files.text(name) or b""):
                texts[name] = ignores
        if one.is_template():
            values = self._values_in.setdefault(file, set())
            names = self._readable(one.vars_files())
            texts |= _values_files(names, files)
            with limited(file):
                known = _values(one, texts)
                counted(one, known)
                more = self._readable(one.stages_vars_files(known))
            texts |= _values_files(more, files)
            values.update(names, more)
        return _Given(one, texts)

    def _readable(self, names: Iterable[str]) -> list[str]:
        """Return those that lie in the worktree, and not where git or DVC keeps its own."""
        found = []
        for name in names:
            parts = posixpath.normpath(posixpath.join(self._config.prefix, name)).split("/")
            if parts[0] != ".." and not _PRIVATE.intersection(p.lower() for p in parts):
                found.append(name)
        return found

    def _answers(self, given: Mapping[str, _Given]) -> dict[str, Any]:
        """Return by file its outputs, or in words why it cannot be read."""
        said: dict[str, Any] = {}
        asked: dict[str, tuple[str, _Given]] = {}
        for file, one in given.items():
            outs = None if one.texts else _plain_outs(one.pipeline)
            if outs is not None:
                said[file] = outs
                continue
            digest = one.digest
            known = self._known.get(digest)
            if known is None and (text := self._remembered(digest)) is not None:
                known = self._known[digest] = json.loads(text)
            if known is None:
                asked[file] = digest, one
            else:
                said[file] = known
        if asked:
            in_time = left_for_dvc() == ASK_SECONDS
            answers = self._asked({file: one for file, (_, one) in asked.items()})
            for file, (digest, _) in asked.items():
                self._known[digest] = said[file] = answers[file]
                # another time, when nothing else has taken of it, what is refused now may be read
                if in_time or not isinstance(answers[file], str):
                    self._remember(digest, json.dumps(answers[file]))
        return said

    def _asked(self, given: Mapping[str, _Given]) -> dict[str, Any]:
        """Ask DVC. Of what it was busy with when its time was over, that is what is said."""
        seconds = left_for_dvc()
        said: dict[str, Any] = {}
        if seconds:
            import tempfile

            dvc = _Dvc.started()
            # ours to remove: the process may be stopped half-way
            with tempfile.TemporaryDirectory(
                prefix="devml-asking-", ignore_cleanup_errors=True
            ) as scratch:
                question = self._question(given, seconds, scratch)
                for line in dvc.ask(question, seconds=_WAIT):
                    said |= json.loads(line)
            if dvc.failed and not said:
                raise DvcFailed("DVC gave no answer", hint="dvc doctor")
            charge(said.pop("", seconds), dvc=True)
        late = f"DVC takes more than {ASK_SECONDS:.0f} s to resolve it and the others"
        if seconds < ASK_SECONDS:
            late = "DVC had too little time left to resolve it"
        return {file: said.get(file, late) for file in given}

    def _question(self, given: Mapping[str, _Given], seconds: float, scratch: str) -> str:
        texts: dict[str, str] = {}
        for file, one in given.items():
            whole = {file: one.pipeline.text, **one.texts}
            texts |= {n: t.decode("latin-1") for n, t in whole.items() if t is not None}
        settings = self._config.for_dvc()
        settings["core"]["no_scm"] = "true"  # no git there
        question = {
            "prefix": self._config.prefix, "texts": texts, "settings": settings,
            "files": list(given), "seconds": seconds, "scratch": scratch,
        }  # fmt: skip
        return json.dumps(question)


def stand_in(
    lock: str, text: bytes, in_git: Callable[[set[str]], set[str]]
) -> dict[tuple[str, str], PipelineOut]:
    """Return what stands for the word of a `dvc.yaml` that cannot be read: all that is locked.

    But for what git holds itself there, as `in_git` says of paths. Nothing for a lock that cannot
    be read, either.
    """
    try:
        every = every_output(lock, text)
    except Refused:
        return {}
    paths = {out.path for out in every.values()}
    held = in_git(paths) if paths else paths
    return {key: out for key, out in every.items() if out.path not in held}


def yaml_of(lock: str) -> str:
    """Return the `dvc.yaml` that a `dvc.lock` belongs to."""
    return posixpath.join(posixpath.dirname(lock), "dvc.yaml")


@functools.lru_cache(maxsize=256)
def _parsed(file: str, text: bytes) -> Pipeline:
    """Parse a `dvc.yaml`; the same text stands in many commits. Raises Refused."""
    if len(text) > yamltext.MAX_BYTES:
        raise Refused(f"{shown(file)}: larger than {yamltext.MAX_BYTES} bytes")
    data = yamltext.load_with_aliases(file, text.decode("utf-8", "replace"))
    if not isinstance(data, dict | None):
        raise Refused(f"{shown(file)}: not a mapping")
    return Pipeline(file, text, data or {})


def _values_files(names: list[str], files: Texts) -> dict[str, bytes | None]:
    """Read files that give values. Raises Refused for a large one."""
    files.ahead(names)
    texts = {name: files.text(name) for name in names}
    for name, text in texts.items():
        if text is not None and len(text) > MAX_VARS_BYTES:
            raise Refused(f"{shown(name)}: larger than {MAX_VARS_BYTES} bytes")
    return texts


def _values(one: Pipeline, texts: Mapping[str, bytes | None]) -> dict[str, Any]:
    return values_of(one, {n: t for n, t in texts.items() if posixpath.basename(n) != _IGNORES})


def _above(file: str) -> list[str]:
    """Return the `.dvcignore` files that may ignore a file."""
    found, place = [_IGNORES], ""
    for part in file.split("/")[:-1]:
        place = f"{place}{part}/"
        found.append(f"{place}{_IGNORES}")
    return found


def _plain_outs(one: Pipeline) -> list[dict[str, Any]] | None:
    """Return the outputs of a file without templates; None where DVC must be asked.

    As DVC 3.67 `stage/loader.py` and `output.py` (`load_from_pipeline`) read it.
    """
    stages = one.data.get("stages") or {}
    if not isinstance(stages, dict) or one.is_template():
        return None
    found: list[dict[str, Any]] = []
    for name, stage in stages.items():
        if not isinstance(name, str) or not isinstance(stage, dict) or _TEMPLATE & stage.keys():
            return None
        for kind in LISTS:
            entries = stage.get(kind) or []
            if not isinstance(entries, list):
                return None
            for entry in entries:
                outs = _entry(one.file, name, stage.get("wdir"), entry)
                if outs is None:
                    return None
                found += outs
    return found


def _entry(file: str, name: str, wdir: object, entry: object) -> list[dict[str, Any]] | None:
    table = {entry: None} if isinstance(entry, str) else entry
    if not isinstance(table, dict) or not isinstance(wdir, str | None):
        return None
    found = []
    for written, options in table.items():
        if not isinstance(written, str) or not isinstance(options, dict | None):
            return None
        path = posixpath.join(posixpath.dirname(file), wdir or "", written)
        path = posixpath.normpath(path)
        if (
            ":/" in written
            or posixpath.isabs(path)
            or path.startswith("../")
            or path in {".", ".."}
        ):
            return None
        said = options or {}
        remote = said.get("remote")
        if not isinstance(remote, str | None):
            return None
        out = PipelineOut(
            stage=name, written=written, path=path,
            addressing=name if file == "dvc.yaml" else f"{file}:{name}",
            cached=said.get("cache", True) is not False,
            push=said.get("push", True) is not False,
            remote=remote,
        )  # fmt: skip
        found.append(asdict(out))
    return found


class _Dvc:
    """The process in which DVC answers: one for all projects, so that it is loaded once."""

    _talk: plumbing.Conversation | None = None

    @classmethod
    def started(cls) -> plumbing.Conversation:
        """Return it; a new one where it has ended."""
        if cls._talk is None or not cls._talk.goes_on:
            cls._talk = plumbing.Conversation("asking")
        return cls._talk

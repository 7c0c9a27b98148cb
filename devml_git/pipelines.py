"""What the `dvc.yaml` files of a project say of their outputs.

DVC alone resolves templates (`${}`, foreach, matrix, vars). What they would become is counted
before it is asked, and it is asked in a process of its own (`asking.py`), which may take so much
processor time and memory and no more. The answer is remembered under a digest of all that decides
it: the files, what they name under `vars`, and `params.yaml`.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from devml_git import plumbing, yamltext
from devml_git.bounds import ASK_SECONDS, charge, left_for_dvc
from devml_git.errors import DevmlError, DvcFailed, Refused
from devml_git.gate import shown
from devml_git.inside import read_inside
from devml_git.pointers import PipelineOut
from devml_git.templates import MAX_VARS_BYTES, Pipeline, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from devml_git.dvc_config import DvcConfig

_FORMAT = b"2"  # of what is remembered
_WAIT = 60  # seconds by the clock, where the machine has no time for DVC


@dataclass(slots=True)
class Outs:
    """What pipelines say of outputs, by path; and of `dvc.yaml` files, why one cannot be read."""

    known: dict[str, PipelineOut] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def outs(
    config: DvcConfig,
    private: Path,
    files: Sequence[str],
    remembered: Callable[[str], str | None],
    remember: Callable[[str, str], None],
) -> Outs:
    """Return what the project's `dvc.yaml` files (relative to the root) say. Raises DvcFailed.

    Nothing outside of the worktree is read.

    `remembered` and `remember` are by a digest of what decides the answer.
    """
    found = Outs()
    pipelines, digest = [], hashlib.sha256(_FORMAT)
    for file in sorted(files):
        try:
            one = _read(config, file)
            digest.update(_identity(config, one))
        except DevmlError as e:
            found.unread[file] = e.message.removeprefix(f"{shown(file)}: ")
        else:
            pipelines.append(one)
    known = remembered(digest.hexdigest()) if pipelines else "{}"
    if known is None:
        in_time = left_for_dvc() == ASK_SECONDS
        answer = _answer(config, private, pipelines)
        known = json.dumps(answer)
        # another time, when nothing else has taken of it, what is refused now may be read
        if in_time or not any(isinstance(said, str) for said in answer.values()):
            remember(digest.hexdigest(), known)
    for file, said in json.loads(known).items():
        if isinstance(said, str):
            found.unread[file] = said
        else:
            found.known |= {path: PipelineOut(**value) for path, value in said.items()}
    return found


def _read(config: DvcConfig, file: str) -> Pipeline:
    text = _text(config, file, yamltext.MAX_BYTES) or b""
    data = yamltext.load_with_aliases(file, text.decode("utf-8", "replace"))
    if not isinstance(data, dict | None):
        raise Refused(f"{shown(file)}: not a mapping")
    return Pipeline(file, text, data or {})


def _identity(config: DvcConfig, one: Pipeline) -> bytes:
    """Return what changes whenever the answer may change."""
    digest = hashlib.sha256(os.fsencode(one.file) + b"\0" + one.text)
    for name in one.vars_files():
        digest.update(
            b"\0" + os.fsencode(name) + b"\0" + (_text(config, name, MAX_VARS_BYTES) or b"")
        )
    return digest.digest()


def _text(config: DvcConfig, file: str, limit: int) -> bytes | None:
    return read_inside(config.worktree, f"{config.prefix}{file}", limit=limit)


def _answer(config: DvcConfig, private: Path, pipelines: Sequence[Pipeline]) -> dict[str, Any]:
    """Return by file what DVC says of its outputs, by path, or in words why it cannot be read."""
    said: dict[str, Any] = {}
    for one in pipelines:
        try:
            counted(one, lambda name: _text(config, name, MAX_VARS_BYTES))
        except DevmlError as e:
            said[one.file] = e.message.removeprefix(f"{shown(one.file)}: ")
    asked = [one.file for one in pipelines if one.file not in said]
    return said | _asked(config, private, asked) if asked else said


def _asked(config: DvcConfig, private: Path, files: Sequence[str]) -> dict[str, Any]:
    """Ask DVC. Of what it was busy with when its time was over, that is what is said."""
    seconds = left_for_dvc()
    question = {
        "root": str(config.root), "worktree": str(config.worktree), "private": str(private),
        "settings": config.for_dvc(), "files": list(files), "seconds": seconds,
    }  # fmt: skip
    said: dict[str, Any] = {}
    if seconds:
        dvc = _Dvc.started()
        for line in dvc.ask(json.dumps(question), seconds=_WAIT):
            said |= json.loads(line)
        if dvc.failed and not said:
            raise DvcFailed("DVC gave no answer", hint="dvc doctor")
        charge(said.pop("", seconds), dvc=True)
    late = f"DVC takes more than {ASK_SECONDS:.0f} s to resolve it and the others"
    if seconds < ASK_SECONDS:
        late = "DVC had too little time left to resolve it"
    return {file: said.get(file, late) for file in files}


class _Dvc:
    """The process in which DVC answers: one for all projects, so that it is loaded once."""

    _talk: plumbing.Conversation | None = None

    @classmethod
    def started(cls) -> plumbing.Conversation:
        """Return it; a new one where it has ended."""
        if cls._talk is None or not cls._talk.goes_on:
            cls._talk = plumbing.Conversation("asking")
        return cls._talk

"""What log, show, diff, blame, git and Python show of strangers' content: only text, always the same.

scenarios.md H2 and H3, line by line, through the commands themselves.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import devml_git
from devml_git.errors import DevmlError
from tests.tensorfile import safetensors
from tests.world import Project, Shelf, run

if TYPE_CHECKING:
    from pathlib import Path

ESC = "\x1b[31m[red]<b>\u202e\x00"
NAME = "models/[red] <b>'\"é数.safetensors"
PICKLE = "models/p.pkl"
MARK = "it-was-loaded"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
COMMANDS = (
    ("log",), ("log", "--oneline"), ("log", "--graph"), ("log", "--columns", "a"), ("show",),
    ("diff", "HEAD~1", "HEAD"), ("diff", "HEAD~1", "HEAD", "--stat"), ("blame", "--", NAME),
)  # fmt: skip


class Evil:
    """Loading it makes a file."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {MARK} # {self.n}",)


@pytest.fixture
def strange(shelf: Shelf, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """Two commits with hostile names of artifacts, tensors, metrics, in messages, and pickles."""

    def make() -> Project:
        p: Project = request.getfixturevalue("project")
        p.differential = False
        for n in (1, 2):
            tensors = {ESC: np.full(3, n, np.float32), "nan": np.full(2, np.nan, np.float32)}
            p.write(NAME, safetensors(tensors, {"note": f"{ESC}{n}"}))
            p.write("metrics.json", json.dumps({ESC: n, "a": f"{ESC}{n}"}))
            p.write(PICKLE, pickle.dumps([Evil(n), np.full(3, n)]))
            p.write("models/alone.joblib", pickle.dumps(Evil(n)))
            p.commit(f"{n} {ESC[:-1]}")
        return p

    project = shelf.copy("strange", make, tmp_path / "strange")
    project.differential = False
    return project


@pytest.mark.parametrize("colour", [False, True], ids=["piped", "coloured"])
def test_names_and_values_are_only_text(
    strange: Project, colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if colour:
        monkeypatch.delenv("NO_COLOR")
        monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = 0
    for args in COMMANDS[::3] if colour else COMMANDS:
        ran = strange.devml(*args)
        coloured += "\x1b" in ran.out
        text = COLOUR.sub("", ran.out) + ran.err
        assert not set("\x1b\0\u202e") & set(text), args
        assert "[red]" in text, args
    assert bool(coloured) is colour
    words = run("git", "show", "--textconv", cwd=strange.path).out
    assert "\\x1b[31m[red]<b>" in words


def test_json_is_whole_the_same_each_time_and_has_no_controls(strange: Project) -> None:
    found = {}
    for args in (("log",), ("show",), ("diff", "HEAD~1", "HEAD"), ("blame", "--", NAME)):
        first, second = (strange.devml(args[0], "--json", *args[1:]).out for _ in range(2))
        assert first == second
        assert not set("\x1b\0\u202e") & set(first)
        found[args[0]] = json.loads(first)
    assert found["log"]["commits"][0]["metrics"]["metrics.json"]["a"] == f"{ESC}2"
    assert NAME in {a["path"] for a in found["show"]["artifacts"]}
    assert found["diff"]["metrics"][1] == {
        "file": "metrics.json", "key": "a", "old": f"{ESC}1", "new": f"{ESC}2"
    }  # fmt: skip
    (model,) = (a for a in found["diff"]["artifacts"] if a["path"] == NAME)
    assert [t["name"] for t in model["tensors"]] == [ESC]
    assert {t["name"] for t in found["blame"]["tensors"]} == {ESC, "nan"}


def test_pickles_are_shown_compared_and_never_loaded(strange: Project) -> None:
    strange.devml("diff", "HEAD~1", "HEAD", "--all")
    strange.devml("blame", "--", PICKLE)
    with devml_git.Repo(strange.path) as repo:
        assert dict(repo.load(PICKLE, "HEAD~1"))
        assert repo.compare("HEAD~1", "HEAD", PICKLE)
    with pytest.raises(DevmlError, match="would run code"):
        devml_git.Repo(strange.path).load("models/alone.joblib", "HEAD")
    run("git", "log", "-p", "--textconv", cwd=strange.path)
    assert not list(strange.path.rglob(MARK))
    run(
        sys.executable,
        "-c",
        f"import pickle; pickle.load(open('{PICKLE}', 'rb'))",
        cwd=strange.path,
    )
    assert strange.exists(MARK)

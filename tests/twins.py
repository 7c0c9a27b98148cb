"""Two contents with one MD5, and what a pointer says besides what `dvc add` writes."""

from __future__ import annotations

import hashlib
import re

import pytest

from tests.world import Project

# Two blocks with one MD5 (Wang and others, 2004), from which any content can go on
_TWIN = (
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f8955ad340609f4b30283e488832571415a"
    "085125e8f7cdc99fd91dbdf280373c5bd8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
)
TWINS = [
    bytes.fromhex(_TWIN),
    bytes(b ^ (0x80 if i in {19, 45, 59, 83, 109, 123} else 0) for i, b in enumerate(bytes.fromhex(_TWIN))),
]  # fmt: skip
GOOD, EVIL = TWINS
OID = hashlib.md5(GOOD).hexdigest()

_NOTE = re.compile(
    r"^  meta:\n    devml:\n      md5: (?P<md5>\S+)\n      sha256: (?P<sha256>\S+)\n", re.MULTILINE
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def without_note(text: str) -> str:
    """Return a pointer's text without our SHA-256."""
    return _NOTE.sub("", text)


def vouched(text: str) -> str | None:
    """Return the SHA-256 that a pointer's text vouches for; None where it was made for another."""
    found = _NOTE.search(text)
    assert found is None or f"- md5: {found['md5']}\n" in text, text
    return found and found["sha256"].strip("'")


@pytest.fixture
def twins(project: Project) -> Project:
    """A project with a DVC remote. DVC itself cannot tell twins apart: it is no judge here."""
    project.differential = False
    project.write(
        ".dvc/config", "[core]\n    remote = store\n['remote \"store\"']\n    url = ../../store\n"
    )
    project.devml("trust")
    project.write("data/x.csv", "x\n")
    project.commit("remote")
    return project

"""Random walks in every run, and every walk that once found a bug.

A failing walk is shrunk for a minute and written to the path that the failure names: put that
file under `found/` with a `bug` that says why, and it is replayed from then on. With `bug` it is
expected to fail (strictly: once mended, take `bug` out); without, to pass.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from tests.conftest import seal
from tests.fuzz.ground import build
from tests.fuzz.walk import DVC_EVERY, chosen, shrink, walk

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))
FIRST = int(os.environ.get("DEVML_FUZZ_SEED", "0"))
SHORT, SHORT_STEPS = 60, 30
BLOCKS, BLOCK, LONG_STEPS = 50, 40, 40
SHRINK_SECONDS = 60


@pytest.fixture(scope="session")
def fuzz_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository that walks start from, built once a worker."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        seal(tmp_path_factory.mktemp("fuzz-home"), monkeypatch)
        return build(tmp_path_factory.mktemp("fuzz") / "template")


def check(template: Path, seed: int, steps: int) -> None:
    """Walk; a walk that fails is shrunk and written down."""
    done = walk(template, chosen(seed, steps))
    if done.violation is None:
        return
    small = shrink(template, done.steps, done.violation.kind, SHRINK_SECONDS) or done
    place = Path(tempfile.gettempdir()) / f"walk-{seed}.json"
    small.save(place, why=str(small.violation), seed=str(seed))
    pytest.fail(f"seed {seed}: {small.violation}\n{place}:\n{place.read_text()}", pytrace=False)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SHORT))
def test_short_walk(fuzz_template: Path, seed: int) -> None:
    check(fuzz_template, seed, SHORT_STEPS)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block", range(BLOCKS))
def test_long_walks(fuzz_template: Path, block: int) -> None:
    """2,000 walks; `DEVML_FUZZ_SEED` moves them all to other seeds, `-k` picks blocks."""
    first = FIRST + 10_000 + block * BLOCK
    for seed in range(first, first + BLOCK):
        check(fuzz_template, seed, LONG_STEPS)


@pytest.mark.parametrize("file", FOUND, ids=lambda f: f.stem)
def test_found_walk(fuzz_template: Path, file: Path, request: pytest.FixtureRequest) -> None:
    case = json.loads(file.read_text())
    if case.get("bug"):
        request.applymarker(pytest.mark.xfail(reason=case["bug"], strict=True))
    done = walk(fuzz_template, case["steps"], dvc_every=1 if case["kind"] == "dvc" else DVC_EVERY)
    assert done.violation is None, str(done.violation)

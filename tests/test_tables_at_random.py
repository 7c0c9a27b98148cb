"""Random tables in each format, against an independent computation in plain Python.

DEVML_FUZZ_SEED is the first seed.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from devml_git import tables
from tests.tablefuzz import FORMATS, altered, differences, table, written

FIRST = int(os.environ.get("DEVML_FUZZ_SEED", "0"))


def campaign(place: Path, form: str, seeds: range) -> None:
    """Compare tables by seed; the seed of a failure is in what is raised."""
    for seed in seeds:
        rng = random.Random(seed)
        old = table(rng, form)
        new = altered(rng, old, form)
        for side, one in (("old", old), ("new", new)):
            (place / side).write_bytes(written(one, form, rng))
        key = rng.choice(("id", "id", "a", ""))
        change, notes = tables.compare(
            place / "old", place / "new", f"t.{form}", [key] if key else []
        )
        wanted = differences(old, new, form, key)
        found = {k: getattr(change, k) for k in wanted}
        assert found == wanted, f"seed {seed} of {form}, key {key}: {notes}\n{old}\n{new}"


@pytest.mark.parametrize("form", FORMATS)
def test_random_tables_differ_as_plain_python_says(tmp_path: Path, form: str) -> None:
    print(f"{form}: seeds from {FIRST}")
    campaign(tmp_path, form, range(FIRST, FIRST + 25))


@pytest.mark.long
@pytest.mark.parametrize("form", FORMATS)
def test_many_random_tables(tmp_path: Path, form: str) -> None:
    campaign(tmp_path, form, range(FIRST, FIRST + 5000))

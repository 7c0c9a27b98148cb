"""Damaged copies of every model file: Unreadable or a result, within bounds of time and memory.

Each file in a process of its own (fuzzing.py), whose memory is bounded, and which a crash of HDF5's
library would end. DEVML_FUZZ_SEED is the first seed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models.fuzzing import FILES, campaign

ROOT = Path(__file__).parents[2]
FIRST = int(os.environ.get("DEVML_FUZZ_SEED", "0"))
NAMES = sorted(f.name for f in FILES.iterdir() if f.suffix != ".json")
IN_PROCESS = [n for n in NAMES if not n.endswith((".h5", ".keras"))]


@pytest.mark.parametrize("name", IN_PROCESS)
def test_damaged_file_is_unreadable_or_a_result(name: str) -> None:
    print(f"{name}: seeds from {FIRST}")
    campaign(name, FIRST, 25)


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("checkpoint.ckpt", 20682662),  # an escape that Python warns of
        ("line-3.pkl", 20682044),  # a type of numbers that there is not
        ("line-5.pkl", 20683962),  # an array's content that is none
        ("sets.h5", 21253510),  # an attribute's name that is no UTF-8
        ("mixed.joblib", 20684440),  # an order of bytes that cannot be hashed
    ],
)
def test_damage_that_was_found(name: str, seed: int) -> None:
    campaign(name, seed, 1)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_many_damaged_files(name: str) -> None:
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "tests.models.fuzzing",
        name,
        str(FIRST),
        "3000",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{name}, seeds from {FIRST}: {done.stderr[-3000:]}"

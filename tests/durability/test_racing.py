"""A file that is written while it is snapshotted is stored as it was at one instant, or refused.

Four kinds of writers, each in a process of its own: append, overwrite in place, rename over, store
through a mapping. The writer's file holds one number, over and over: a mixture of two would show.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import signal
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from devml_git.cache import Cache, Source
from devml_git.errors import StorageFailed

SIZES = (4 << 10, 300 << 10, 2 << 20)  # around the limit up to which a file is read in one go
RENAMED = "rename over"
HOW = ("append", "overwrite", RENAMED, "mapping")


def write_for_ever(how: str, path: str, seed: int) -> None:
    """Be the writer, until killed."""
    rng = random.Random(seed)
    size = os.path.getsize(path)
    for n in range(1, 1 << 30):
        data = n.to_bytes(4, "little") * (size // 4)
        if how == "append":
            with open(path, "ab") as file:
                file.write(data[:4096])
            if n % 50 == 0:
                os.truncate(path, size)
        elif how == "overwrite":
            with open(path, "r+b") as file:
                file.write(data)
        elif how == RENAMED:
            Path(f"{path}.new").write_bytes(data)
            os.replace(f"{path}.new", path)
        else:
            with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
                mapped[:] = data
        time.sleep(rng.random() * 0.004)


def at_one_instant(how: str, data: bytes) -> bool:
    """Whether the file can ever have been so: each writer writes from the beginning to the end."""
    numbers = [n for n, _ in groupby(memoryview(data).cast("I"))]
    if how == "append":
        return numbers == sorted(numbers)
    overwritten = len(numbers) == 2 and numbers[0] == numbers[1] + 1 and how != RENAMED
    return len(numbers) == 1 or overwritten


def race(how: str, place: Path, trials: int, seed: int) -> str:
    """Put a file into the cache again and again while it is written; return what came of it."""
    rng = random.Random(f"{seed} {how}")
    stored = refused = 0
    for size in SIZES:
        path = place / "models.bin"
        path.write_bytes(bytes(size))
        cache = Cache(place / f"cache-{size}")
        writer = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import *; write_for_ever({how!r}, {str(path)!r}, {seed})"],
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        try:
            time.sleep(0.15)
            for _ in range(-(-trials // len(SIZES))):
                time.sleep(rng.random() * 0.003)
                try:
                    (done,) = cache.put([Source(str(path), "models.bin", os.path.getsize(path))])
                    stored += 1
                except StorageFailed as e:
                    refused += 1
                    assert e.message.startswith("models.bin "), e.message
                    continue
                data = cache.object_path(done.oid).read_bytes()
                assert hashlib.md5(data).hexdigest() == done.oid
                assert at_one_instant(how, data), "a mixture that never lay there"
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        for file in cache.objects.glob("??/*"):
            assert hashlib.md5(file.read_bytes()).hexdigest() == file.parent.name + file.name
        assert not list(cache.objects.glob("**/.*"))
    assert stored
    return f"racing, {how}: {stored} stored, {refused} refused by name, seed {seed}"


@pytest.mark.parametrize("how", HOW)
def test_file_that_is_being_written_is_stored_whole_or_refused(
    how: str, tmp_path: Path, seed: int, record_property: Any
) -> None:
    record_property("campaign", race(how, tmp_path, 27, seed))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("how", HOW)
def test_file_that_is_being_written_many_times(
    how: str, tmp_path: Path, seed: int, record_property: Any
) -> None:
    record_property("campaign", race(how, tmp_path, 300, seed + 1))

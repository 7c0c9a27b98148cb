"""Damage to model files, by seed, and the one thing that is asked of it: Unreadable, or a result.

    python -m tests.models.fuzzing FILE SEED COUNT

reads COUNT damaged copies of a committed file, one seed after the other, and ends with 1 and the
seed at the first that raised anything else, or took longer or more memory than it may.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

from devml_git import models
from devml_git.gate import shown
from devml_git.models.model import MAX_TENSORS

FILES = Path(__file__).parent / "files"
SECONDS = 20
MEMORY = 2 << 30  # bytes of address space beyond what the libraries take
INTERESTING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff" * 4,
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\0" * 8,
)


def damaged(data: bytes, seed: int) -> bytes:
    """Return a copy with a few bytes changed, moved, repeated, added or cut off."""
    rng = random.Random(seed)
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out)) if out else 0
        match rng.randrange(7):
            case 0 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at] = rng.randrange(256)
            case 2:
                piece = rng.choice(INTERESTING)
                out[at : at + len(piece)] = piece
            case 3:
                del out[at : at + rng.choice((1, 2, 8, 100))]
            case 4:
                start = rng.randrange(len(out)) if out else 0
                out[at:at] = out[start : start + rng.choice((1, 4, 30, 200))]
            case 5:
                start = rng.randrange(len(out)) if out else 0
                piece = out[start : start + rng.choice((1, 4, 8, 30))]
                out[at : at + len(piece)] = piece
            case 6 if rng.random() < 0.3:
                del out[at:]
    return bytes(out)


def look_at(path: Path, name: str) -> None:
    """Read all there is to read; raises what must not be raised."""
    try:
        model = models.read(path, name)
    except models.Unreadable as e:
        assert shown(e.message, 1 << 20) == e.message
        return
    if model is None:
        return
    with model:
        assert len(model.tensors) <= MAX_TENSORS
        for tensor in model.tensors:
            try:
                array = model.array(tensor)
                assert model.raw(tensor).nbytes == model.tensors[tensor].nbytes
                assert sum(b.nbytes for b in model.blocks(tensor)) == array.nbytes
            except models.Unreadable as e:
                assert shown(e.message, 1 << 20) == e.message


def campaign(name: str, first: int, count: int) -> None:
    """Look at damaged copies of one file; the seed of a failure is in what is raised."""
    data = (FILES / name).read_bytes()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model"
        for seed in range(first, first + count):
            path.write_bytes(damaged(data, seed))
            began = time.monotonic()
            try:
                look_at(path, name)
                assert time.monotonic() - began < SECONDS, "too slow"
            except BaseException as e:
                raise AssertionError(f"{name}, seed {seed}: {e!r}") from e


def main(name: str, first: int, count: int) -> int:
    look_at(FILES / name, name)  # the libraries are loaded before memory is bounded
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    try:
        campaign(name, first, count)
    except AssertionError:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

"""What changed? devml-git and stock DVC asked the same in one repository; and large models.

    python benchmarks/diff.py [--gigabytes 1] [--repeat 5]

Figures are medians of wall seconds, and how many times devml-git's; for two large safetensors,
bytes of both in a second of processor time, beside plainly reading them. Nothing fails by being
slow.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from run import environment, machine
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from collections.abc import Callable

_READ = 1 << 20


def run(place: Path, env: dict[str, str], *argv: str) -> None:
    """Run a command quietly; a failure ends the benchmark."""
    subprocess.run(argv, cwd=place, env=env, check=True, capture_output=True)


@dataclass(frozen=True)
class Size:
    """How large a project is: files in `data/`, artifacts, files of metrics, bytes of the model."""

    name: str
    files: int
    artifacts: int
    metrics: int
    megabytes: int


SMALL = Size("small", files=2000, artifacts=0, metrics=1, megabytes=40)
LARGE = Size("large", files=20_000, artifacts=200, metrics=50, megabytes=500)


def write_state(place: Path, size: Size, n: int) -> None:
    """Write data of which one file in 20 is new, small models, a large one, metrics, parameters."""
    rng = np.random.default_rng(n)
    for name in ("data", "models", "metrics"):
        (place / name).mkdir(exist_ok=True)
    for i in range(size.files):
        (place / "data" / f"{i}.csv").write_text(f"id,x\n{i},{i if i % 20 else i * n}\n")
    for i in range(size.artifacts):
        (place / "models" / f"{i}.bin").write_text(f"{i} {n if i % 4 == 0 else 0}")
    layers = {
        f"layer.{i}": rng.standard_normal((1000, 1000), np.float32)
        for i in range(size.megabytes // 4)
    }
    save_file(layers, place / "models" / "m.safetensors")
    for i in range(size.metrics):
        (place / "metrics" / f"{i}.json").write_text(json.dumps({"accuracy": 0.9 + (n + i) / 100}))
    (place / "params.yaml").write_text(f"lr: {n / 10}\n")


def make_project(place: Path, env: dict[str, str], size: Size) -> None:
    """Make a project with two commits, v1 and v2, that both tools read."""
    run(place, env, "git", "init", "-q")
    run(place, env, "devml-git", "init", "--track", "models/**", "--track", "data/")
    with (place / "devml.toml").open("a") as f:
        f.write('metrics = ["metrics/*.json"]\nparams = ["params.yaml"]\n')
    named = "".join(f"- metrics/{i}.json\n" for i in range(size.metrics))
    (place / "dvc.yaml").write_text(f"metrics:\n{named}params:\n- params.yaml\n")
    for n in (1, 2):
        write_state(place, size, n)
        run(place, env, "devml-git", "snapshot")
        run(place, env, "git", "add", "-A")
        run(place, env, "git", "commit", "-qm", f"v{n}")
        run(place, env, "git", "tag", f"v{n}")


def timed(place: Path, env: dict[str, str], repeat: int, *commands: tuple[str, ...]) -> float:
    """Return the median wall seconds of some commands, one after another."""
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        for argv in commands:
            run(place, env, *argv)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def questions(place: Path, env: dict[str, str], repeat: int, size: Size) -> None:
    """Ask both tools the same, and print it."""
    print(
        f"{size.name}: {size.files} files in a directory, {size.artifacts} small artifacts, "
        f"{size.metrics} files of metrics, a model of {size.megabytes} MB"
    )
    files = ("devml-git", "diff", "v1", "v2", "--no-content")
    get = ("dvc", "get", "-q", "-f", ".", "models/m.safetensors", "-o", "other.bin", "--rev")
    asked = {
        "which artifacts and files": ([files], [("dvc", "diff", "v1", "v2")]),
        "metrics and parameters": (
            [(*files, "--", "metrics/*", "params.yaml")],
            [("dvc", "metrics", "diff", "v1", "v2"), ("dvc", "params", "diff", "v1", "v2")],
        ),
        "the model: tensors / both versions got": (
            [("devml-git", "diff", "v1", "v2", "--", "models/m.safetensors")],
            [(*get, "v1"), (*get, "v2")],
        ),
    }
    for question, (ours, theirs) in asked.items():
        a, b = (timed(place, env, repeat, *commands) for commands in (ours, theirs))
        print(f"{question:<48} devml-git {a:.3f}   dvc {b:.3f} ({b / a:.1f}x)")


def cpu_seconds(work: Callable[[], object], repeat: int) -> float:
    """Return the least processor seconds of some work, all threads together."""
    found = []
    for _ in range(repeat):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def large_models(place: Path, gigabytes: float, repeat: int) -> None:
    """Compare two safetensors in which every tensor changed, beside reading both."""
    count = max(1, int(gigabytes * 1e9 / (4096 * 4096 * 4)))
    rng = np.random.default_rng(0)
    paths = [place / "a.safetensors", place / "b.safetensors"]
    for n, path in enumerate(paths):
        save_file(
            {
                f"layers.{i}.weight": rng.standard_normal((4096, 4096), np.float32) + np.float32(n)
                for i in range(count)
            },
            path,
        )
    child = [sys.executable, __file__, "--large", *map(str, paths), "--repeat", str(repeat)]
    subprocess.run(child, check=True)


def compare_large(paths: list[Path], repeat: int) -> None:
    """Print bytes a second and memory; in a process of its own, that made no model itself."""
    from devml_git import models, tensors

    buffer = bytearray(_READ)
    size = sum(p.stat().st_size for p in paths)

    def read() -> None:
        for path in paths:
            fd = os.open(path, os.O_RDONLY)
            while os.readv(fd, [buffer]):
                pass
            os.close(fd)

    def compare() -> None:
        one, two = (models.read(p, p.name) for p in paths)
        assert one is not None
        assert two is not None
        with one, two:
            assert tensors.compare(one, two).tensors

    read()
    plain, ours = cpu_seconds(read, repeat), cpu_seconds(compare, repeat)
    began = time.perf_counter()
    compare()
    wall = time.perf_counter() - began
    status = Path("/proc/self/status").read_text()  # getrusage counts what the parent had, too
    memory = int(status.split("VmHWM:")[1].split()[0]) / 1000
    print(
        f"two safetensors, {size / 1e9:.1f} GB together: {size / ours / 1e9:.2f} GB a second of "
        f"processor time (plain reading {size / plain / 1e9:.2f}, {ours / plain:.1f}x), "
        f"{size / wall / 1e9:.2f} GB/s by the clock, {memory:.0f} MB of memory at most"
    )


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--large", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.large:
        compare_large(args.large, args.repeat)
        return
    print(machine())
    with tempfile.TemporaryDirectory(prefix="devml-bench-") as base:
        env = environment(Path(base))
        for size in (SMALL, LARGE):
            place = Path(base) / size.name
            place.mkdir()
            make_project(place, env, size)
            questions(place, env, args.repeat, size)
        large_models(Path(base), args.gigabytes, args.repeat)


if __name__ == "__main__":
    main()

"""What the second hash costs: snapshots with `integrity = "sha256"` and with `"md5"`, in turn.

    python benchmarks/second_hash.py [--files 10000] [--model-mb 256] [--repeat 5]

Each round makes both projects anew, one after the other, so that a machine that becomes slower
slows both; the figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from run import Bench, environment, machine

# empty for git, which looks before the pointers are staged
COMMIT = (("git", "add", "-A"), ("git", "commit", "-q", "--allow-empty", "-m", "data"))
STEPS = ("first snapshot", "snapshot after 1 % + model", "switch between the two commits")


def measured(
    integrity: str, place: Path, env: dict[str, str], args: argparse.Namespace
) -> list[float]:
    """Return the wall seconds of each of `STEPS` with one setting of `integrity`."""
    bench = Bench(place, env, args)
    bench.run("devml-git", "init", "--track", "models/**", "--track", "data/")
    with open(place / "devml.toml", "a") as file:
        file.write(f'integrity = "{integrity}"\n')
    bench.run("git", "add", "-A")
    bench.run("git", "commit", "-qm", "set up")
    bench.make_data()
    first = bench.timed(*COMMIT)
    bench.run("git", "branch", "one")
    bench.settle()
    bench.change_one_percent()
    second = bench.timed(*COMMIT)
    bench.settle()
    turns = [bench.timed(("git", "checkout", "-q", rev)) for rev in ("one", "main")]
    return [first, second, statistics.median(turns)]


def main() -> None:
    """Print both settings' seconds, and the ratio of each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--model-mb", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    print(machine())
    print(
        f"{args.files} files of 400 bytes, one model of {args.model_mb} MiB; {args.repeat} rounds\n"
    )
    rounds: dict[str, list[list[float]]] = {"sha256": [], "md5": []}
    with tempfile.TemporaryDirectory(prefix="devml-bench-") as base:
        env = environment(Path(base))
        for n in range(args.repeat):
            # each is first in every other round: what the disk still has to write hits both
            for integrity in sorted(rounds, reverse=n % 2 == 0):
                place = Path(base) / integrity
                rounds[integrity].append(measured(integrity, place, env, args))
                shutil.rmtree(place)
    for n, step in enumerate(STEPS):
        sha256, md5 = ([times[n] for times in rounds[name]] for name in ("sha256", "md5"))
        ratio = statistics.median(a / b for a, b in zip(sha256, md5, strict=True))
        print(
            f"{step:28} sha256 {statistics.median(sha256):.3f}  md5 {statistics.median(md5):.3f}"
            f"  {ratio:.2f}x"
        )


if __name__ == "__main__":
    main()

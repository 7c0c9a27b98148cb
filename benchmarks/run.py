"""One command, side by side: devml-git, stock DVC with its hooks, git-lfs, and git alone.

A data set of small files and one model; figures are medians of wall seconds, and ratios to
devml-git. Not a test: it says what machine it ran on, and nothing fails by being slow.

    python benchmarks/run.py [--files 10000] [--model-mb 256] [--repeat 5]
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BIN = Path(sys.executable).parent
Timings = dict[str, float]
STEPS = (
    "code-only commit",
    "first snapshot",
    "snapshot after 1 % + model",
    "switch between the two commits",
)


def environment(home: Path) -> dict[str, str]:
    """A sealed HOME, and the tools of this interpreter first on PATH."""
    env = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("GIT_", "DVC_", "DEVML_", "PYTHON"))
    }
    (home / ".gitconfig").write_text(
        "[user]\n name = b\n email = b@example.org\n[init]\n defaultBranch = main\n"
        "[gc]\n auto = 0\n[advice]\n detachedHead = false\n"
    )
    env |= {
        "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "site"), "PATH": f"{BIN}{os.pathsep}{env['PATH']}",
    }  # fmt: skip
    return env


class Bench:
    """One tool in one repository of its own."""

    def __init__(self, place: Path, env: dict[str, str], args: argparse.Namespace) -> None:
        self.place = place
        self.env = env
        self.args = args
        self.random = random.Random(1)
        place.mkdir()
        self.run("git", "init", "-q")
        (place / "train.py").write_text("print(0)\n")

    def run(self, *argv: str) -> None:
        """Run a command quietly; a failure ends the benchmark."""
        subprocess.run(argv, cwd=self.place, env=self.env, check=True, capture_output=True)

    def timed(self, *commands: tuple[str, ...]) -> float:
        """Return the wall seconds of some commands, one after another."""
        began = time.perf_counter()
        for argv in commands:
            self.run(*argv)
        return time.perf_counter() - began

    def make_data(self) -> None:
        """Write the data set and the model."""
        for n in range(self.args.files):
            file = self.place / "data" / f"{n % 100:02}" / f"{n}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.random.randbytes(400))
        self.make_model()

    def make_model(self) -> None:
        """Write another model of the same size."""
        (self.place / "models").mkdir(exist_ok=True)
        with open(self.place / "models" / "m.safetensors", "wb") as f:
            f.writelines(self.random.randbytes(1 << 20) for _ in range(self.args.model_mb))

    def change_one_percent(self) -> None:
        """Change every hundredth file, and the model."""
        for n in range(0, self.args.files, 100):
            (self.place / "data" / f"{n % 100:02}" / f"{n}.txt").write_bytes(
                self.random.randbytes(400)
            )
        self.make_model()

    def measure(
        self, snapshot: tuple[tuple[str, ...], ...], switch: Callable[[str], tuple[str, ...]]
    ) -> Timings:
        """Run the four steps. `snapshot` are the commands that commit everything as it lies."""
        self.make_data()
        result = {STEPS[1]: self.timed(*snapshot)}
        self.run("git", "branch", "one")
        self.settle()
        self.change_one_percent()
        result[STEPS[2]] = self.timed(*snapshot)
        self.settle()
        code = []
        for n in range(self.args.repeat):
            (self.place / "train.py").write_text(f"print({n + 1})\n")
            code.append(self.timed(("git", "commit", "-qam", f"code {n}")))
        result[STEPS[0]] = statistics.median(code)
        turns = [self.timed(switch(rev)) for rev in ("one", "main") * 2]
        result[STEPS[3]] = statistics.median(turns)
        return result

    def settle(self) -> None:
        """A commit or two later: what was changed is older than git's clock can tell."""
        for _ in range(2):
            time.sleep(1.1)
            self.run("git", "commit", "-q", "--allow-empty", "-m", "settle")


def with_devml(place: Path, env: dict[str, str], args: argparse.Namespace) -> Timings:
    """devml-git: nothing but git."""
    bench = Bench(place, env, args)
    bench.run("devml-git", "init", "--track", "models/**", "--track", "data/")
    bench.run("git", "commit", "-qm", "set up")
    commands = (("git", "add", "-A"), ("git", "commit", "-q", "--allow-empty", "-m", "data"))
    return bench.measure(commands, lambda rev: ("git", "checkout", "-q", rev))


def with_dvc(place: Path, env: dict[str, str], args: argparse.Namespace) -> Timings:
    """Stock DVC with its hooks installed."""
    bench = Bench(place, env, args)
    bench.run("dvc", "init", "-q")
    bench.run("dvc", "install")
    bench.run("git", "commit", "-qm", "set up")
    commands = (
        ("dvc", "add", "-q", "data", "models/m.safetensors"),
        ("git", "add", "-A"),
        ("git", "commit", "-qm", "data"),
    )
    return bench.measure(commands, lambda rev: ("git", "checkout", "-q", rev))


def with_lfs(place: Path, env: dict[str, str], args: argparse.Namespace) -> Timings:
    """git-lfs for data and model."""
    bench = Bench(place, env, args)
    bench.run("git", "lfs", "install", "--local")
    bench.run("git", "lfs", "track", "data/**", "models/**")
    commands = (("git", "add", "-A"), ("git", "commit", "-qm", "data"))
    return bench.measure(commands, lambda rev: ("git", "checkout", "-q", rev))


def with_git(place: Path, env: dict[str, str], args: argparse.Namespace) -> Timings:
    """Git alone, which keeps it all in its own object store."""
    bench = Bench(place, env, args)
    commands = (("git", "add", "-A"), ("git", "commit", "-qm", "data"))
    return bench.measure(commands, lambda rev: ("git", "checkout", "-q", rev))


def machine() -> str:
    """Say what this ran on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{memory:.0f} GiB, Python {platform.python_version()}, "
        + subprocess.run(
            ["git", "version"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )


def main() -> None:
    """Run all tools and print seconds, and how many times devml-git's each one takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--model-mb", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=7)
    args = parser.parse_args()
    tools = {"devml-git": with_devml, "dvc": with_dvc, "git-lfs": with_lfs, "git": with_git}
    if shutil.which("git-lfs") is None:
        del tools["git-lfs"]
        print("git-lfs is not installed (Debian package git-lfs): left out")
    print(machine())
    print(f"{args.files} files of 400 bytes, one model of {args.model_mb} MiB; median seconds\n")
    results = {}
    with tempfile.TemporaryDirectory(prefix="devml-bench-") as base:
        env = environment(Path(base))
        for name, tool in tools.items():
            results[name] = tool(Path(base) / name, env, args)
            shutil.rmtree(Path(base) / name)
    width = max(map(len, STEPS))
    print(" " * width + "".join(f"{name:>18}" for name in results))
    for step in STEPS:
        ours = results["devml-git"][step]
        cells = [f"{r[step]:.3f} ({r[step] / ours:.1f}x)" for r in results.values()]
        print(step.ljust(width) + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()

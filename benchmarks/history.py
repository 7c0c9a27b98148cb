"""A long history, asked: `devml-git log` beside `git log --raw`, `show` beside `dvc metrics`.

    python benchmarks/history.py [--commits 2000] [--long 100000] [--repeat 5]

Written by `git fast-import`: code, data pointers, metrics and parameters of a project that goes on
for long. Medians of wall seconds, and ratios. Not a test: nothing fails by being slow.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from run import environment, machine

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = 300  # of code
POINTERS = 20
WALK = """
import time
from devml_git.config import load
from devml_git.plumbing import Git
from devml_git.choosing import Chosen
from devml_git.walking import walk
git = Git.discover()
began = time.perf_counter()
for commit in walk(git, load(git.top), Chosen()):
    pass
print(time.perf_counter() - began)
"""
QUESTIONS = (
    ["log"], ["log", "--json"], ["log", "--where", "accuracy > 0.5"], ["log", "--best", "accuracy"],
    ["log", "--", "models/m3.safetensors"],
)  # fmt: skip


def history(commits: int) -> Iterator[bytes]:
    """Yield the commands of a fast-import stream: a commit in five has a new model."""

    def file(path: str, text: str) -> bytes:
        return f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n".encode()

    def pointer(n: int, version: int) -> bytes:
        oid = hashlib.md5(f"{n} {version}".encode(), usedforsecurity=False).hexdigest()
        text = (f"outs:\n- md5: {oid}\n  size: {1000 + version}\n  hash: md5\n"
                f"  path: m{n}.safetensors\n")  # fmt: skip
        return file(f"models/m{n}.safetensors.dvc", text)

    for n in range(commits):
        yield (f"commit refs/heads/main\nmark :{n + 1}\n"
               f"committer B <b@example.org> {1_600_000_000 + n * 600} +0000\n"
               f"data {len(f'step {n}')}\nstep {n}\n").encode()  # fmt: skip
        if n:
            yield f"from :{n}\n".encode()
        else:
            yield file(".dvc/config", "") + file("devml.toml", '[better]\naccuracy = "higher"\n')
            yield b"".join(file(f"src/p{i % 20}/f{i}.py", f"print({i})\n") for i in range(FILES))
            yield b"".join(pointer(i, 0) for i in range(POINTERS))
        yield file(f"src/p{n % 20}/f{n % FILES}.py", f"print({n})\n")
        if n % 5 == 0:
            accuracy = {"accuracy": 1 - 1 / (n + 2), "loss": {"train": 1 / (n + 1)}}
            yield pointer(n // 5 % POINTERS, n + 1) + file("metrics.json", json.dumps(accuracy))
        if n % 20 == 0:
            yield file("params.yaml", f"lr: {1 / (n + 10):.6f}\nmodel:\n  depth: {n % 7}\n")


def build(place: Path, commits: int, env: dict[str, str]) -> None:
    """Make the repository, packed as a clone is."""
    place.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=place, env=env, check=True)
    stream = subprocess.Popen(
        ["git", "fast-import", "--quiet"], cwd=place, env=env, stdin=subprocess.PIPE
    )
    assert stream.stdin is not None
    for part in history(commits):
        stream.stdin.write(part)
    stream.stdin.close()
    if stream.wait():
        raise SystemExit("git fast-import failed")
    for argv in (["gc", "-q"], ["reset", "-q", "--hard"]):
        subprocess.run(["git", *argv], cwd=place, env=env, check=True)


def seconds(argv: list[str], place: Path, env: dict[str, str], repeat: int) -> float:
    """Return the median wall seconds of a command, its output read through a pipe."""
    taken = []
    for _ in range(repeat):
        began = time.perf_counter()
        subprocess.run(argv, cwd=place, env=env, check=True, capture_output=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def first_line(argv: list[str], place: Path, env: dict[str, str], repeat: int) -> float:
    """Return the median wall seconds until a command's first line."""
    taken = []
    for _ in range(repeat):
        began = time.perf_counter()
        with subprocess.Popen(argv, cwd=place, env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as process:  # fmt: skip
            assert process.stdout is not None
            process.stdout.readline()
            taken.append(time.perf_counter() - began)
            process.kill()
    return statistics.median(taken)


def told(what: str, ours: float, name: str, theirs: float) -> None:
    """Print one row."""
    ratio = f"{ours / theirs:.1f}x" if ours > theirs else f"1/{theirs / ours:.1f}"
    print(f"{what:<46}{ours:>9.3f}{name:>28}{theirs:>9.3f}   {ratio}")


def main() -> None:
    """Build, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commits", type=int, default=2000)
    parser.add_argument("--long", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    print(machine())
    print(f"{FILES} files of code, {POINTERS} pointers; median seconds of {args.repeat}\n")
    with tempfile.TemporaryDirectory(prefix="devml-bench-") as base:
        env = environment(Path(base))
        place = Path(base) / "history"
        build(place, args.commits, env)
        n = args.repeat
        raw = seconds(["git", "log", "--raw"], place, env, n)
        start = seconds(["devml-git", "--version"], place, env, n)
        print(f"{'devml-git':>55}{'beside':>28}\n")
        told("start of Python and Typer alone", start, "git --version",
             seconds(["git", "--version"], place, env, n))  # fmt: skip
        ours = statistics.median(
            float(subprocess.run([sys.executable, "-c", WALK], cwd=place, env=env, check=True,
                                 capture_output=True).stdout)
            for _ in range(n)
        )  # fmt: skip
        told(f"the walk alone, {args.commits} commits", ours, "git log --raw", raw)
        for argv in QUESTIONS:
            ours = seconds(["devml-git", *argv], place, env, n)
            told(f"{' '.join(argv)}, {args.commits} commits", ours, "git log --raw", raw)
        ours = seconds(["devml-git", "show", "--no-fetch", "HEAD~5"], place, env, n)
        theirs = seconds(["dvc", "metrics", "diff", "HEAD~6", "HEAD~5"], place, env, n)
        told("show HEAD~5", ours, "dvc metrics diff", theirs)
        ours = seconds(["devml-git", "log", "-n", "1", "HEAD~5"], place, env, n)
        told("log -n 1 HEAD~5", ours, "dvc metrics diff", theirs)
        if args.long:
            long = Path(base) / "long"
            build(long, args.long, env)
            ours = first_line(["devml-git", "log"], long, env, n)
            theirs = first_line(["git", "log", "--raw"], long, env, n)
            told(f"first line of log, {args.long} commits", ours, "git log --raw", theirs)


if __name__ == "__main__":
    main()

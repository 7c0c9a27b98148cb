"""Push of one new commit into a long history, and proof of all of it: devml-git, dvc, git-lfs.

A history of 2,000 commits with 5,000 objects (40 artifacts, two or three of them new in each
commit), all of it published; then one commit more, with one new object of 1 MiB. The remotes are
directories of this machine, so that the tools' own work is measured. DVC is asked for the current
commit only, as its hook does. Medians of wall seconds, and ratios to devml-git.

    python benchmarks/push.py [--commits 2000] [--objects 5000] [--repeat 5]
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from run import environment, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ARTIFACTS = 40
SMALL, LARGE = 1 << 10, 1 << 20
POINTER = "outs:\n- md5: {oid}\n  size: {size}\n  hash: md5\n  path: {name}\n"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


class Repository:
    """One tool's repository, with a bare git remote beside it."""

    def __init__(self, place: Path, env: dict[str, str]) -> None:
        self.place, self.env = place, env
        self.random = random.Random(1)
        place.mkdir()
        self.run("git", "init", "-q", "project")
        self.run("git", "init", "-q", "--bare", "bare")
        self.project = place / "project"
        self.run("git", "remote", "add", "origin", f"file://{place}/bare", cwd=self.project)

    def run(self, *argv: str, cwd: Path | None = None, stdin: bytes | None = None) -> None:
        """Run a command quietly; a failure ends the benchmark, and is shown."""
        done = subprocess.run(
            argv, cwd=cwd or self.place, env=self.env, input=stdin, capture_output=True, check=False
        )
        if done.returncode:
            sys.exit(f"{argv}: {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}")

    def timed(self, *commands: str) -> float:
        """Return the wall seconds of some command lines in the project."""
        began = time.perf_counter()
        for line in commands:
            self.run(*line.split(), cwd=self.project)
        return time.perf_counter() - began

    def contents(self, commits: int, objects: int) -> Iterator[list[tuple[str, bytes]]]:
        """Yield what is new in each commit: (name of the artifact, content)."""
        names = itertools.cycle(f"m{n}.bin" for n in range(ARTIFACTS))
        for n in range(commits):
            new = objects * (n + 1) // commits - objects * n // commits
            yield [(next(names), self.random.randbytes(SMALL)) for _ in range(new)]

    def history(
        self, commits: int, objects: int, store: Callable[[str, bytes], tuple[str, str]]
    ) -> None:
        """Add commits to main; `store` keeps a content, and returns its file in git, and text."""
        stream = []
        for n, new in enumerate(self.contents(commits, objects)):
            parent = "from refs/heads/main^0\n" if n == 0 else ""
            stream.append(
                f"commit refs/heads/main\ncommitter b <b@example.org> {1700000000 + n} +0000\n"
                f"data <<END\ncommit {n}\nEND\n{parent}"
            )
            for name, content in new:
                path, text = store(name, content)
                stream.append(f"M 100644 inline {path}\ndata {len(text)}\n{text}\n")
        self.run("git", "fast-import", "--quiet", cwd=self.project, stdin="".join(stream).encode())
        self.run("git", "reset", "-q", "--hard", cwd=self.project)

    def change(self) -> None:
        """Write one new large content."""
        (self.project / "m0.bin").write_bytes(self.random.randbytes(LARGE))


def pointer_into(cache: Path) -> Callable[[str, bytes], tuple[str, str]]:
    """Return what keeps contents in a DVC cache."""

    def store(name: str, content: bytes) -> tuple[str, str]:
        oid = hashlib.md5(content).hexdigest()
        place = cache / oid[:2] / oid[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(0o444)
        return f"{name}.dvc", POINTER.format(oid=oid, size=len(content), name=name)

    return store


def with_devml(repo: Repository, args: argparse.Namespace) -> dict[str, float]:
    """devml-git: its hook sees to all commits of a push."""
    repo.timed("devml-git init --track *.bin", "dvc remote add -q -d store ../store", "git add -A")
    repo.timed("git commit -qm init")
    repo.history(
        args.commits, args.objects, pointer_into(repo.project / ".git/devml/cache/files/md5")
    )
    found = {"publish the whole history": repo.timed("git push -q origin main")}
    new, again, own = [], [], []
    for _ in range(args.repeat):
        repo.change()
        repo.timed("devml-git commit -qam new")
        new.append(repo.timed("git push -q origin main"))
        again.append(repo.timed("git push -q origin main"))
        repo.timed("devml-git push -q origin main")
        own.append(repo.timed("devml-git push -q origin main"))
    found["publish one new commit"] = statistics.median(new)
    found["publish nothing new"] = statistics.median(again)
    found["devml-git push, nothing new"] = statistics.median(own)
    found["verify --all --remote, first"] = repo.timed("devml-git verify --all --remote")
    found["verify --all --remote, again"] = repo.timed("devml-git verify --all --remote")
    found["verify --all, again"] = repo.timed("devml-git verify --all")
    return found


def with_dvc(repo: Repository, args: argparse.Namespace) -> dict[str, float]:
    """Stock DVC: `dvc push` of the current commit, then git.

    `dvc push -A`, which would publish the history, takes many minutes: it is copied instead.
    """
    repo.timed("dvc init -q", "dvc remote add -q -d store ../store", "git add -A")
    repo.timed("git commit -qm init")
    repo.history(args.commits, args.objects, pointer_into(repo.project / ".dvc/cache/files/md5"))
    repo.timed("dvc checkout -q")
    shutil.copytree(repo.project / ".dvc/cache/files", repo.place / "store/files")
    repo.timed("dvc push -q", "git push -q origin main")
    found, new, again = {}, [], []
    for _ in range(args.repeat):
        repo.change()
        repo.timed("dvc add -q m0.bin", "git commit -qam new")
        new.append(repo.timed("dvc push -q", "git push -q origin main"))
        again.append(repo.timed("dvc push -q", "git push -q origin main"))
    found["publish one new commit"] = statistics.median(new)
    found["publish nothing new"] = statistics.median(again)
    return found


def with_lfs(repo: Repository, args: argparse.Namespace) -> dict[str, float]:
    """git-lfs with its pre-push hook; a directory is its server."""
    repo.timed("git lfs install --local", "git lfs track *.bin", "git add -A")
    repo.timed("git commit -qm init")
    objects = repo.project / ".git/lfs/objects"

    def store(name: str, content: bytes) -> tuple[str, str]:
        oid = hashlib.sha256(content).hexdigest()
        place = objects / oid[:2] / oid[2:4] / oid
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return name, LFS.format(oid=oid, size=len(content))

    repo.history(args.commits, args.objects, store)
    found = {"publish the whole history": repo.timed("git push -q origin main")}
    new, again = [], []
    for _ in range(args.repeat):
        repo.change()
        repo.timed("git commit -qam new")
        new.append(repo.timed("git push -q origin main"))
        again.append(repo.timed("git push -q origin main"))
    found["publish one new commit"] = statistics.median(new)
    found["publish nothing new"] = statistics.median(again)
    return found


def main() -> None:
    """Run all tools and print seconds, and how many times devml-git's each one takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commits", type=int, default=2000)
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    tools = {"devml-git": with_devml, "dvc": with_dvc, "git-lfs": with_lfs}
    if shutil.which("git-lfs") is None:
        del tools["git-lfs"]
        print("git-lfs is not installed (Debian package git-lfs): left out")
    print(machine())
    print(f"{args.commits} commits, {args.objects} objects; median seconds\n")
    results = {}
    with tempfile.TemporaryDirectory(prefix="devml-bench-") as base:
        env = environment(Path(base))
        for name, tool in tools.items():
            results[name] = tool(Repository(Path(base) / name, env), args)
    steps = list(results["devml-git"])
    width = max(map(len, steps))
    print(" " * width + "".join(f"{name:>18}" for name in results))
    for step in steps:
        ours = results["devml-git"][step]
        cells = [
            f"{r[step]:.3f} ({r[step] / ours:.1f}x)" if step in r else "" for r in results.values()
        ]
        print(step.ljust(width) + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()

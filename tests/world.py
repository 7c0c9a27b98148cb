"""Helpers of the tests: a project made and looked at in one readable line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

DATA_STATUS_EVERY = 4
GIT_CONFIG = """\
[user]
    name = Test
    email = test@example.org
[init]
    defaultBranch = main
[commit]
    gpgSign = false
[core]
    fsync = none
[advice]
    detachedHead = false
[protocol "file"]
    allow = always
"""


def settings_of(home: Path) -> dict[str, str]:
    """Return the environment that makes `home` the HOME, and nothing outside it a setting."""
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TEMPLATE_DIR": "",
        "GIT_EDITOR": "true",
        "GIT_TERMINAL_PROMPT": "0",
        "DVC_NO_ANALYTICS": "1",
        "DVC_TEST": "true",
        "DVC_SITE_CACHE_DIR": str(home / "dvc-site"),
        "DVC_GLOBAL_CONFIG_DIR": str(home / "dvc-global"),
        "DVC_SYSTEM_CONFIG_DIR": str(home / "dvc-system"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
    }


@dataclass
class Ran:
    """What a command returned and printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


class CommandFailed(AssertionError):
    """A command of a test failed that was expected to succeed."""


def run(*argv: str | Path, cwd: Path, check: bool = True, env: dict[str, str] | None = None,
        stdin: str | None = None) -> Ran:  # fmt: skip
    """Run a program; raise CommandFailed on failure unless `check` is off."""
    done = subprocess.run(
        [str(a) for a in argv], cwd=cwd, capture_output=True, check=False,
        env={**os.environ, **(env or {})}, input=stdin.encode() if stdin is not None else None,
    )  # fmt: skip
    ran = Ran(
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )
    if check and ran.status:
        raise CommandFailed(f"{argv} in {cwd}: {ran.status}\n{ran.out}\n{ran.err}")
    return ran


def devml(*args: str | Path, cwd: Path) -> Ran:
    """Run devml-git in this process (fast); stdout and stderr as a pipe would get them."""
    from devml_git.cli import main

    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    before = Path.cwd()
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([str(a) for a in args])
    finally:
        os.chdir(before)
    out.flush()
    err.flush()
    return Ran(status, out.buffer.getvalue().decode(), err.buffer.getvalue().decode())


def devml_process(*args: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Ran:
    """Run devml-git as users do, in a process of its own."""
    return run(sys.executable, "-m", "devml_git", *args, cwd=cwd, check=False, env=env)


def next_second() -> None:
    """Wait until what is written now is of a later second: git compares times in whole seconds.

    The kernel's time of files lags behind the clock by up to a tick (10 ms).
    """
    time.sleep(1.02 - time.time() % 1)


@dataclass
class Project:
    """A repository under test. `differential`: after each command, compare with stock DVC."""

    path: Path
    differential: bool = True
    _ran: list[str] = field(default_factory=list)

    # -- doing -------------------------------------------------------------------------------

    def git(self, *args: str, check: bool = True, env: dict[str, str] | None = None) -> Ran:
        """Run git, hooks and all."""
        self._ran.append(f"git {' '.join(args)}")
        ran = run("git", *args, cwd=self.path, check=check, env=env)
        self.agree()
        return ran

    def devml(self, *args: str, check: bool = True, cwd: str = ".") -> Ran:
        """Run devml-git in this process; raise CommandFailed on failure unless `check` is off."""
        self._ran.append(f"devml-git {' '.join(args)}")
        ran = devml(*args, cwd=self.path / cwd)
        if check and ran.status:
            raise CommandFailed(f"devml-git {args}: {ran.status}\n{ran.out}\n{ran.err}")
        self.agree()
        return ran

    def dvc(self, *args: str, check: bool = True) -> Ran:
        """Run stock DVC."""
        self._ran.append(f"dvc {' '.join(args)}")
        return run(sys.executable, "-m", "dvc", *args, cwd=self.path, check=check)

    def write(self, path: str, data: str | bytes) -> Path:
        """Write a file, making directories on the way."""
        place = self.path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data.encode() if isinstance(data, str) else data)
        return place

    def commit(self, message: str = "commit", *args: str) -> Ran:
        """`git add -A && git commit`; the commit is allowed to be empty of code."""
        run("git", "add", "-A", cwd=self.path)
        return self.git("commit", "--allow-empty", "-m", message, *args)

    # -- looking -----------------------------------------------------------------------------

    def read(self, path: str) -> str:
        return (self.path / path).read_text()

    def bytes(self, path: str) -> bytes:
        return (self.path / path).read_bytes()

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.path / path)

    def listing(self, path: str) -> dict[str, bytes]:
        """Return all files below a directory: relative path to content."""
        base = self.path / path
        return {
            p.relative_to(base).as_posix(): p.read_bytes() for p in base.rglob("*") if p.is_file()
        }

    def head(self, rev: str = "HEAD") -> str:
        return run("git", "rev-parse", rev, cwd=self.path).out.strip()

    def show(self, rev: str, path: str) -> str:
        """Return a file as a commit has it ("" for the index: `:path`)."""
        return run("git", "show", f"{rev}:{path}", cwd=self.path).out

    def porcelain(self) -> str:
        """`git status --porcelain`."""
        return run("git", "status", "--porcelain", cwd=self.path).out

    def status(self) -> dict[str, Any]:
        """`devml-git status --json`."""
        return devml("status", "--json", cwd=self.path).json

    def states(self) -> dict[str, str]:
        """Return the state of each artifact, by path."""
        return {a["path"]: a["state"] for a in self.status()["artifacts"]}

    def in_step(self) -> bool:
        """Whether every artifact is clean."""
        return set(self.states().values()) <= {"clean"}

    @property
    def cache(self) -> Path:
        """The cache's directory of objects."""
        return self.path / ".git" / "devml" / "cache" / "files" / "md5"

    def objects(self) -> dict[str, Path]:
        """Return the objects of the cache, by oid."""
        return {p.parent.name + p.name: p for p in self.cache.glob("??/*")}

    def object(self, pointer: str) -> Path:
        """Return the cache object that a pointer file in the worktree names."""
        text = self.read(pointer)
        oid = text.split("md5: ")[1].split("\n")[0].strip("'")
        return self.cache / oid[:2] / oid[2:]

    # -- stock DVC as judge ------------------------------------------------------------------

    def agree(self) -> None:
        """Stock DVC must call changed exactly what we call changed.

        `dvc status` is asked every time, `dvc data status`, which costs twice as much, in turn.
        """
        if not self.differential or not (self.path / ".dvc").is_dir():
            return
        found = self.status()
        if found["broken"] or found["unmanaged"]:
            return
        ours = {a["path"] for a in found["artifacts"] if a["state"] not in {"clean", "new"}}
        theirs = dvc_changed(self.path, both=len(self._ran) % DATA_STATUS_EVERY == 0)
        assert ours == theirs, f"ours {ours}, dvc {theirs} after {self._ran}"


def dvc_changed(root: Path, *, both: bool = True) -> set[str]:
    """Return the artifacts whose workspace differs from the pointer, by `dvc status`.

    With `both`, `dvc data status` must say the same.
    """
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        status = repo.status()
        data = repo.data_status(granular=False, untracked_files="no") if both else None
    outs = set()
    for changes in status.values():
        for change in changes:
            outs |= set(change.get("changed outs", {})) if isinstance(change, dict) else set()
    if data is not None:
        found = set()
        for kind in ("added", "modified", "deleted", "unknown"):
            found |= {str(p).rstrip("/") for p in data.get("uncommitted", {}).get(kind, [])}
        assert outs == found, f"dvc status {outs}, dvc data status {found}"
    return outs


def pull_with_dvc_alone(project: Project, place: Path, remote: Path) -> Path:
    """Push with stock DVC to a directory remote, clone with git alone, `dvc pull` there."""
    project.dvc("remote", "add", "-f", "--local", "-d", "judge", str(remote))
    project.dvc("push", "-q")
    run("git", "clone", "-q", str(project.path), str(place), cwd=project.path)
    run(
        sys.executable,
        "-m",
        "dvc",
        "remote",
        "add",
        "--local",
        "-d",
        "judge",
        str(remote),
        cwd=place,
    )
    run(sys.executable, "-m", "dvc", "pull", "-q", cwd=place)
    return place


def build_template(place: Path) -> Path:
    """Make the repository that the tests copy."""
    run("git", "init", "-q", cwd=place)
    ran = devml("init", "--track", "models/**", "--track", "data/", cwd=place)
    assert ran.status == 0, ran.err
    run("git", "commit", "-qm", "set up", cwd=place)
    return place


@dataclass
class Shelf:
    """Where the projects that were made lie; never used, only copied."""

    place: Path

    def copy(self, name: str, make: Callable[[], Project], place: Path) -> Project:
        """Return a copy, at `place`, of what `make` made the first time."""
        if not (self.place / name).exists():
            shutil.move(make().path, self.place / name)
        shutil.copytree(self.place / name, place, symlinks=True)
        run("git", "update-index", "-q", "--refresh", cwd=place)
        return Project(place)

"""Programs run by themselves: git without a repository, the pager, a user's own."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from devml_git import isolation
from devml_git.errors import GitFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Process = subprocess.Popen[bytes]
OLDEST_GIT = (2, 30)
# githooks(5): what must not leak into a call on another repository
_LOCAL_ENV = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
_ENDS = 5  # seconds that a process which has closed its output may take to be gone
_CLONE_VALUES = frozenset(
    {"-b", "--branch", "-o", "--origin", "-u", "--upload-pack", "--reference", "--template", "-c",
     "--reference-if-able", "--config", "--depth", "--shallow-since", "--shallow-exclude", "-j",
     "--jobs", "--separate-git-dir", "--server-option", "--filter", "--bundle-uri", "--ref-format"}
)  # fmt: skip
_LOOK = """\
import importlib.util, sys
print(importlib.util.find_spec("devml_git") is not None, *sys.path, sep="\\n")
"""


def decode(raw: bytes) -> str:
    """Return what git says as text that can be turned back into the same bytes."""
    return raw.decode("utf-8", "surrogateescape")


def environment() -> dict[str, str]:
    """Return what every program of ours is started with: git, too, looks for ssh on PATH."""
    env = dict(os.environ)
    if "PATH" in env:
        env["PATH"] = isolation.absolute(env["PATH"])
    return env


def foreign_environment() -> dict[str, str]:
    """Return an environment for a call on another repository (githooks(5))."""
    return {k: v for k, v in environment().items() if k not in _LOCAL_ENV}


def git_version() -> tuple[int, ...]:
    """Return the version of git on PATH, as numbers. Raises GitFailed when there is none."""
    try:
        out = subprocess.run(
            ["git", "version"], capture_output=True, check=True, text=True, env=environment()
        ).stdout
    except (OSError, subprocess.CalledProcessError) as e:
        raise GitFailed("git cannot be run", hint="install git 2.30 or later") from e
    words = out.split()
    digits = [part for part in words[2].split(".") if part.isdigit()] if words[2:] else []
    return tuple(int(part) for part in digits[:3])


def require_git() -> None:
    """Raise GitFailed when git is older than what is tested."""
    version = git_version()
    if version < OLDEST_GIT:
        have, need = (".".join(map(str, v)) for v in (version, OLDEST_GIT))
        raise GitFailed(f"git {have} is too old", hint=f"install git {need} or later")


def run_program(argv: Sequence[str], *, timeout: float, cwd: Path) -> int | None:
    """Run a program without input; return its exit status, or None when time was up."""
    try:
        return subprocess.run(
            list(argv), check=False, timeout=timeout, stdin=subprocess.DEVNULL, cwd=cwd,
            env=environment(),
        ).returncode  # fmt: skip
    except subprocess.TimeoutExpired:
        return None


@functools.cache
def isolated_python() -> tuple[bool, list[str]]:
    """Return whether `python -I` finds our package by itself, and its sys.path."""
    argv = [sys.executable, *isolation.OPTIONS, "-c", _LOOK]
    try:
        done = subprocess.run(argv, capture_output=True, check=True, env=environment())
    except (OSError, subprocess.CalledProcessError):
        return False, []
    found, *places = decode(done.stdout).splitlines()
    return found == "True", places


class Conversation:
    """A module of ours that answers questions in a Python of its own, until this process ends.

    A question is a line, its answer lines and an empty one.
    """

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            isolation.command(module), env=environment(), bufsize=-1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.goes_on = True
        self.failed = False  # by an exception of its own
        atexit.register(self.close)

    def ask(self, question: str, *, seconds: float) -> list[str]:
        """Return the lines of the answer: those before its end, if it ends or is not in time."""
        hears, tells = self._process.stdin, self._process.stdout
        assert hears is not None
        assert tells is not None
        lines = []
        self.goes_on = False  # unless the answer comes to its end
        late = threading.Timer(seconds, self._process.kill)
        late.daemon = True
        late.start()
        try:
            hears.write(question.encode() + b"\n")
            hears.flush()
            while (line := tells.readline()).endswith(b"\n") and line.strip():
                lines.append(decode(line))
            self.goes_on = line.endswith(b"\n")
        except OSError:  # it ended before it had read
            pass
        finally:
            late.cancel()
        if not self.goes_on:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.failed = self._process.wait(_ENDS) == 1
            self.close()
        return lines

    def close(self) -> None:
        """End it."""
        atexit.unregister(self.close)
        self.goes_on = False
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


def command_by_ps(pid: str) -> list[str]:
    """Return the arguments of a running process where there is no /proc, or [].

    ps(1) does not tell blanks inside an argument from those between two.
    """
    try:
        argv = ["ps", "-o", "args=", "-p", pid]
        return subprocess.run(
            argv, capture_output=True, check=False, text=True, env=environment()
        ).stdout.split()
    except OSError:
        return []


def start_pager(command: str) -> Process:
    """Start the user's pager, with what git itself gives it; it reads from its stdin."""
    env = {"LESS": "FRX", "LV": "-c", **environment()}
    return subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=env)  # noqa: S602


def read_as_published() -> None:
    """From here on, read commits as git sends them to others: git-replace(1) does not count."""
    os.environ["GIT_NO_REPLACE_OBJECTS"] = "1"


def clone(args: Sequence[str]) -> Path:
    """`git clone ARGS` with the user's terminal; return where it went. Raises GitFailed."""
    status = subprocess.run(
        ["git", "clone", *args], check=False, env=foreign_environment()
    ).returncode
    if status:
        raise GitFailed("git clone failed", status=status)
    named = list(_names_among(args))
    if len(named) > 1:
        return Path(named[1])
    name = named[0].rstrip("/").removesuffix("/.git").rsplit("/", 1)[-1].rsplit(":", 1)[-1]
    return Path(name.removesuffix(".bundle").removesuffix(".git"))


def _names_among(args: Sequence[str]) -> Iterator[str]:
    """Yield what in `git clone`'s arguments is no option: URL and directory."""
    rest = iter(args)
    for word in rest:
        if word == "--":
            yield from rest
        elif word in _CLONE_VALUES:
            next(rest, None)
        elif not word.startswith("-"):
            yield word

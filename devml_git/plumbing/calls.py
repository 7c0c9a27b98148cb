"""One repository's git, run: environment, errors, and where its directories are."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from devml_git.errors import GitFailed
from devml_git.gate import shown
from devml_git.index import busy, lock_of
from devml_git.plumbing.programs import Process, decode, environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

# Our own reads must see the file system, not a daemon's idea of it, and must not run one.
_READ_CONFIG = (
    "-c", "core.fsmonitor=false", "-c", "core.quotePath=false",
    "-c", "diff.autoRefreshIndex=true",  # else `diff` takes another time for another content
)  # fmt: skip


def _reason(stderr: str) -> str:
    """Return what git complains of: its first error, and the files it lists below."""
    lines = stderr.strip().splitlines()
    first = next(
        (x for x in lines if x.startswith(("error: ", "fatal: "))), lines[-1] if lines else ""
    )
    files = [x.strip() for x in lines if x.startswith("\t")]
    return " ".join(
        [first.removeprefix("error: ").removeprefix("fatal: "), ", ".join(files)]
    ).strip()


@dataclass(frozen=True)
class Calls:
    """The git program at the root of a project, and the places that it keeps.

    `top` is the project's root, `prefix` where that lies in the worktree: "" nearly always, else
    "sub/dir/". All paths are relative to `top`.
    """

    top: Path
    prefix: str = ""

    @property
    def worktree(self) -> Path:
        """Root of the worktree: `top`, or a directory above it."""
        return self.top.parents[self.prefix.count("/") - 1] if self.prefix else self.top

    @cached_property
    def whole(self) -> Self:
        """The same worktree, seen from its root."""
        return type(self)(self.worktree) if self.prefix else self

    def _environment(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        env = environment()
        env["GIT_TERMINAL_PROMPT"] = "0"
        env["LC_ALL"] = "C.UTF-8"
        # even `read-tree` fires post-index-change: it would wait for the lock that we hold
        env["DEVML_GIT_ACTIVE"] = "1"
        if self.prefix and env.get("GIT_DIR") and not env.get("GIT_WORK_TREE"):
            env["GIT_WORK_TREE"] = str(self.worktree)  # else git takes the cwd for the root
        if extra:
            env.update(extra)
        return env

    def raw(
        self,
        *args: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        ok: Sequence[int] = (0,),
    ) -> tuple[int, bytes]:
        """Run git and return its exit status and standard output.

        Raises GitFailed unless the status is one of `ok`.
        """
        done = self._completed(args, stdin, env, ok)
        return done.returncode, done.stdout

    def start(self, *args: str, errors: IO[bytes]) -> Process:
        """Start git and leave it running; whoever asked reads, writes and ends it (`gitstream`)."""
        try:
            return subprocess.Popen(
                ("git", *_READ_CONFIG, *args), cwd=self.top, env=self._environment(None),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        except OSError as e:
            raise GitFailed(f"git cannot be run: {e}", hint="install git 2.30 or later") from e

    def warned(self, *args: str) -> list[str]:
        """Run git and return what it warned of: a file that it could not remove is no failure."""
        said = decode(self._completed(args, None, None, (0,)).stderr).splitlines()
        told = [line for line in said if line.startswith(("warning: ", "error: "))]
        return [f"git: {shown(line.partition(': ')[2], 300)}" for line in told]

    def _completed(
        self,
        args: Sequence[str],
        stdin: bytes | None,
        env: Mapping[str, str] | None,
        ok: Sequence[int],
    ) -> subprocess.CompletedProcess[bytes]:
        argv = ("git", *_READ_CONFIG, *args)
        source: dict[str, object] = (
            {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        )
        try:
            done: subprocess.CompletedProcess[bytes] = subprocess.run(
                argv,
                cwd=self.top,
                env=self._environment(env),
                capture_output=True,
                check=False,
                **source,  # type: ignore[call-overload]
            )
        except OSError as e:
            raise GitFailed(f"git cannot be run: {e}", hint="install git 2.30 or later") from e
        if done.returncode not in ok:
            stderr = done.stderr.decode("utf-8", "replace")
            reason = _reason(stderr) or f"exit status {done.returncode}"
            raise GitFailed(
                f"git {args[0]}: {shown(reason, 300)}",
                hint=self._who_holds_the_index(stderr),
                argv=argv,
                stderr=stderr,
                status=done.returncode,
            )
        return done

    def _who_holds_the_index(self, stderr: str) -> str | None:
        """Return what to do where git refuses because of another git; some commands do not say so.

        `git stash` and `update-index --refresh` leave without a word.
        """
        if stderr and "index.lock" not in stderr:
            return None
        lock = lock_of(self.git_dir / "index")
        return busy(lock).hint if lock.exists() else None

    def out(self, *args: str, env: Mapping[str, str] | None = None) -> str:
        """Run git and return its standard output as text."""
        return decode(self.raw(*args, env=env)[1])

    def names(self, *args: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Run a git command that prints NUL-terminated names."""
        return [name for name in self.out(*args, env=env).split("\0") if name]

    def interactive(
        self, args: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> int:
        """Run git with the user's terminal, editor and configuration; return its status."""
        full = {**environment(), **(env or {})}
        return subprocess.run(["git", *args], cwd=cwd or self.top, env=full, check=False).returncode

    @cached_property
    def common_dir(self) -> Path:
        """Git's common directory, absolute: shared by all worktrees."""
        if self.prefix:
            return self.whole.common_dir
        # gitrepository-layout(5): only where one of the two is there does it lie elsewhere
        if not (self.git_dir / "commondir").exists() and not os.environ.get("GIT_COMMON_DIR"):
            return self.git_dir
        return self._absolute(self.out("rev-parse", "--git-common-dir"))

    @cached_property
    def git_dir(self) -> Path:
        """This worktree's own git directory, absolute."""
        if self.prefix:
            return self.whole.git_dir
        return self._absolute(self.out("rev-parse", "--git-dir"))

    @property
    def index(self) -> Path:
        """The index that git reads and writes: in a hook, the one that git tells (githooks(5))."""
        return self.worktree / (os.environ.get("GIT_INDEX_FILE") or self.git_dir / "index")

    def git_path(self, name: str) -> Path:
        """Where `name` lies for this worktree (`git rev-parse --git-path`)."""
        if self.prefix:
            return self.whole.git_path(name)
        return self._absolute(self.out("rev-parse", "--git-path", name))

    def _absolute(self, text: str) -> Path:
        return Path(os.path.abspath(self.top / text.rstrip("\n")))

    @cached_property
    def private(self) -> Path:
        """Directory of this project's records in this worktree, mode 0700, made on demand."""
        return self._made(self.git_dir)

    @cached_property
    def shared(self) -> Path:
        """Directory of what all worktrees share (rescue log), mode 0700, made on demand."""
        return self._made(self.common_dir)

    def _made(self, base: Path) -> Path:
        place = base / "devml"
        place.mkdir(mode=0o700, exist_ok=True)
        if self.prefix:
            key = self.prefix.rstrip("/").replace("%", "%25").replace("/", "%2F")
            place = place / "projects" / key
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return place

    @property
    def is_linked(self) -> bool:
        """Whether this is a linked worktree (`git worktree add`)."""
        return self.git_dir != self.common_dir

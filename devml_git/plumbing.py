"""The only door to the git program (and, for hooks, to any other process).

Lists as arguments, `-z` everywhere, revisions resolved to object ids before they are used, no
prompts, bytes in and text out (UTF-8 with surrogateescape, so that any file name survives).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from devml_git.errors import GitFailed, NotARepository, UsageError
from devml_git.gate import shown
from devml_git.index import busy, change, change_held, lock_of
from devml_git.place import temporary_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Process = subprocess.Popen[bytes]
OLDEST_GIT = (2, 30)
POINTER_PATHSPECS = (":(glob)**/*.dvc", ":(glob)**/dvc.lock")
PROJECT_PATHSPEC = ":(glob)**/.dvc/config"
NULL_MODE = "000000"
ASK_SECONDS = 20  # for a git remote to tell its refs
_FETCH_SECONDS = 120  # for what a partial clone has left out
_HALF_WAY = {
    "rebase-merge": "a rebase", "rebase-apply": "a rebase or am", "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick", "REVERT_HEAD": "a revert",
    "sequencer": "a row of cherry-picks or reverts",
}  # fmt: skip

# Our own reads must see the file system, not a daemon's idea of it, and must not run one.
_READ_CONFIG = (
    "-c", "core.fsmonitor=false", "-c", "core.quotePath=false",
    "-c", "diff.autoRefreshIndex=true",  # else `diff` takes another time for another content
)  # fmt: skip
_CONFIG_SECONDS = 2.0  # git itself does not wait at all for another that writes its configuration
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


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of `git ls-files -s`: octal mode, blob id, merge stage (0 to 3), path."""

    mode: str
    blob: str
    stage: int
    path: str


@dataclass(frozen=True, slots=True)
class ChangedBlob:
    """One file that a commit has otherwise than its parent; a side that is not there is ""."""

    commit: str
    path: str
    old: str
    new: str


def decode(raw: bytes) -> str:
    """Return what git says as text that can be turned back into the same bytes."""
    return raw.decode("utf-8", "surrogateescape")


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


def foreign_environment() -> dict[str, str]:
    """Return an environment for a call on another repository (githooks(5))."""
    return {k: v for k, v in os.environ.items() if k not in _LOCAL_ENV}


def git_version() -> tuple[int, ...]:
    """Return the version of git on PATH, as numbers. Raises GitFailed when there is none."""
    try:
        out = subprocess.run(["git", "version"], capture_output=True, check=True, text=True).stdout
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
    """Run a program with our environment; return its exit status, or None when time was up."""
    try:
        return subprocess.run(
            list(argv), check=False, timeout=timeout, stdin=subprocess.DEVNULL, cwd=cwd
        ).returncode
    except subprocess.TimeoutExpired:
        return None


def command_by_ps(pid: str) -> list[str]:
    """Return the arguments of a running process where there is no /proc, or [].

    ps(1) does not tell blanks inside an argument from those between two.
    """
    try:
        argv = ["ps", "-o", "args=", "-p", pid]
        return subprocess.run(argv, capture_output=True, check=False, text=True).stdout.split()
    except OSError:
        return []


def start_pager(command: str) -> Process:
    """Start the user's pager, with what git itself gives it; it reads from its stdin."""
    env = {"LESS": "FRX", "LV": "-c", **os.environ}
    return subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=env)  # noqa: S602


_CLONE_VALUES = frozenset(
    {"-b", "--branch", "-o", "--origin", "-u", "--upload-pack", "--reference", "--template", "-c",
     "--reference-if-able", "--config", "--depth", "--shallow-since", "--shallow-exclude", "-j",
     "--jobs", "--separate-git-dir", "--server-option", "--filter", "--bundle-uri", "--ref-format"}
)  # fmt: skip


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


def _no_worktree(cwd: Path, cause: GitFailed) -> NotARepository:
    """Say why there is no workspace at a directory."""
    if "must be run in a work tree" in cause.stderr:
        if Git(cwd).out("rev-parse", "--is-bare-repository").strip() == "true":
            return NotARepository(
                "this is a bare repository: it has no workspace", hint="run this in a clone"
            )
        return NotARepository("this is git's own directory", hint="cd to the workspace")
    if "not a git repository" not in cause.stderr:
        return NotARepository(cause.stderr.strip() or "git refuses this directory")
    return NotARepository(
        f"{shown(cwd)} is not in a git repository", hint="git init && devml-git init"
    )


@dataclass(frozen=True)
class Git:
    """One DVC project in a worktree, seen through the git program, which runs at its root.

    `top` is the project's root, `prefix` where that lies in the worktree: "" nearly always, else
    "sub/dir/". All paths are relative to `top`.
    """

    top: Path
    prefix: str = ""

    @classmethod
    def discover(cls, start: Path | None = None) -> Git:
        """Return the project that `start` (default: the current directory) lies in.

        That is the nearest directory upwards with a `.dvc`; without one, the worktree's root.
        Raises NotARepository outside of one, in a bare repository, and inside `.git`.
        """
        cwd = start or Path.cwd()
        try:
            answer = cls(cwd).out("rev-parse", "--is-inside-work-tree", "--show-toplevel")
        except GitFailed as e:
            raise _no_worktree(cwd, e) from e
        inside, _, top = answer.rstrip("\n").partition("\n")
        if inside != "true":
            raise NotARepository(f"{shown(cwd)} is outside of the workspace {shown(top)}")
        root = Path(top)
        here = Path(os.path.realpath(cwd))
        for place in (here, *here.parents):
            if place == root or not place.is_relative_to(root):
                break
            if (place / ".dvc").is_dir():
                return cls(root).project(place)
        return cls(root)

    @property
    def worktree(self) -> Path:
        """Root of the worktree: `top`, or a directory above it."""
        return self.top.parents[self.prefix.count("/") - 1] if self.prefix else self.top

    @cached_property
    def whole(self) -> Git:
        """The same worktree, seen from its root."""
        return Git(self.worktree) if self.prefix else self

    def project(self, place: Path) -> Git:
        """Return the project whose root is `place`, a directory of this worktree."""
        prefix = place.relative_to(self.worktree).as_posix()
        return self.whole if prefix == "." else Git(place, f"{prefix}/")

    def projects(self) -> list[Git]:
        """Return every project of this worktree: the root's, those in the index, those known."""
        root = self.whole
        listed = root.names("ls-files", "-z", "--", PROJECT_PATHSPEC)
        held = {name.removesuffix(".dvc/config").rstrip("/") for name in listed}
        below = set(held)
        with contextlib.suppress(OSError):
            keys = [p.name for p in (root.git_dir / "devml" / "projects").iterdir()]
            below.update(k.replace("%2F", "/").replace("%25", "%") for k in keys)
        top = os.path.realpath(root.top)
        return [
            root.project(root.top / place)
            for place in sorted(below | {""})
            if ((root.top / place / ".dvc").is_dir() or place in held)
            and os.path.realpath(root.top / place) == os.path.normpath(os.path.join(top, place))
        ]

    # -- running -----------------------------------------------------------------------------

    def _environment(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        env = dict(os.environ)
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

    def dry_push(self, args: Sequence[str], *, cwd: Path) -> str:
        """Return what `git push --dry-run --porcelain` says of a push. Raises GitFailed."""
        cut = args.index("--") if "--" in args else len(args)
        told = ("--dry-run", "--porcelain", "--no-verify", "--no-quiet")  # after a -q of the user's
        argv = ["git", "push", *args[:cut], *told, *args[cut:]]
        done = subprocess.run(
            argv, cwd=cwd, env=dict(os.environ), stdout=subprocess.PIPE, check=False
        )
        text = decode(done.stdout)
        if done.returncode:
            why = "git push would fail, so nothing was uploaded"
            raise GitFailed(why, argv=tuple(argv), status=done.returncode)
        return text

    def interactive(
        self, args: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> int:
        """Run git with the user's terminal, editor and configuration; return its status."""
        full = dict(os.environ)
        full.update(env or {})
        return subprocess.run(["git", *args], cwd=cwd or self.top, env=full, check=False).returncode

    # -- places ------------------------------------------------------------------------------

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

    def half_way(self) -> bool:
        """Whether a rebase or am stands half-way; a merge or cherry-pick does not count."""
        return any((self.git_dir / name).exists() for name in ("rebase-merge", "rebase-apply"))

    def stands_half_way(self) -> str | None:
        """Return what of git's stands half-way here, in words, or None; a bisect does not count."""
        for name, words in _HALF_WAY.items():
            if (self.git_dir / name).exists():
                return words
        return "a conflict" if self.whole.names("ls-files", "-u", "-z") else None

    def last_patch(self) -> bool:
        """Whether `git am` is at its last patch; a `rebase --apply`, which ends later, is not."""
        state = self.git_dir / "rebase-apply"
        with contextlib.suppress(OSError):
            ends = (state / "next").read_text() == (state / "last").read_text()
            return ends and (state / "applying").exists()
        return False

    def nothing_to_pick(self) -> bool:
        """Whether a rebase has no step left: where it never had one, no post-rewrite follows."""
        with contextlib.suppress(OSError):
            return not (self.git_dir / "rebase-merge" / "git-rebase-todo").read_bytes().strip()
        return False

    # -- configuration -----------------------------------------------------------------------

    def config(self, key: str) -> str | None:
        """Return a configuration value, or None when it is not set."""
        section, _, rest = key.partition(".")
        middle, dot, name = rest.rpartition(".")
        return self._settings.get(f"{section.lower()}.{middle}{dot}{name.lower()}")

    @cached_property
    def _settings(self) -> dict[str, str]:
        """All of git's configuration, as this process found it; the last of several values."""
        return dict(line.partition("\n")[::2] for line in self.names("config", "--list", "-z"))

    def seconds(self, key: str, default: float) -> float:
        """Return a setting in whole seconds. Raises UsageError for one that is none."""
        said = self.config(key)
        if said is None:
            return default
        if not re.fullmatch(r"[1-9][0-9]{0,5}", said):
            raise UsageError(
                f"{key} {shown(said)!r} is no number of seconds",
                hint=f"git config {key} {default:.0f}",
            )
        return float(said)

    def pager(self) -> str:
        """Return the command that shows long answers, as git has it; "" or "cat" for none.

        `pager.devml-git` may be a command, or false.
        """
        own = self.config("pager.devml-git") or ""
        if own.lower() in {"false", "no", "off", "0"}:
            return ""
        if own.lower() not in {"", "true", "yes", "on", "1"} and "GIT_PAGER" not in os.environ:
            return own
        status, out = self.raw("var", "GIT_PAGER", ok=(0, 1, 128))
        return "" if status else decode(out).strip()

    def config_path(self, key: str) -> str | None:
        """Return a configuration value with `~` expanded as git does, or None."""
        status, out = self.raw("config", "--type=path", "--get", key, ok=(0, 1))
        return None if status else decode(out).rstrip("\n")

    def set_config(self, key: str, value: str) -> None:
        """Set a value in this repository's own configuration, if it differs."""
        if self.config(key) != value:
            self._configure(key, value)

    def unset_config(self, key: str) -> None:
        """Remove a value from this repository's own configuration."""
        self._configure("--unset-all", key)

    def _configure(self, *args: str) -> None:
        until = time.monotonic() + _CONFIG_SECONDS
        while True:
            try:
                self.raw("config", "--local", *args, ok=(0, 5))  # 5: it was not set
                break
            except GitFailed as e:
                if "could not lock config file" not in e.stderr or time.monotonic() > until:
                    raise
                time.sleep(0.02)
        self.__dict__.pop("_settings", None)

    # -- revisions ---------------------------------------------------------------------------

    def commit_of(self, rev: str) -> str | None:
        """Return the full id of the commit that `rev` names, or None when it names none."""
        if not rev or "\0" in rev or rev.startswith("^"):  # `^REV` names what is left out
            return None
        status, out = self.raw(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}",
            ok=(0, 1, 128),
        )  # fmt: skip
        return None if status else decode(out).strip()

    def names_commits(self, text: str) -> bool:
        """Whether git takes a word for revisions: a commit, `A..B`, `^A`, `A^@`..."""
        if not text or text.startswith("-") or "\0" in text:
            return False
        status, out = self.raw("rev-parse", "--revs-only", text, ok=(0, 128))
        return status == 0 and bool(out)

    def require_commit(self, rev: str) -> str:
        """Return the commit id of `rev`. Raises UsageError for an unknown revision."""
        sha = self.commit_of(rev)
        if sha is None:
            raise self.unknown(rev)
        return sha

    @staticmethod
    def unknown(rev: str) -> UsageError:
        """Return the error for what names no commit; of HEAD, that there is none yet."""
        if rev == "HEAD":
            hint = 'git commit, or devml-git snapshot -m "..."'
            return UsageError("there is no commit yet", hint=hint)
        return UsageError(f"unknown revision {shown(rev)!r}", hint="git log --oneline --all")

    def merge_base(self, one: str, other: str) -> str:
        """Return the newest commit that two commits both descend from. Raises UsageError."""
        status, out = self.raw("merge-base", one, other, ok=(0, 1))
        if status:
            raise UsageError(
                f"{one[:10]} and {other[:10]} have no commit in common",
                hint="devml-git diff A B   compares the two themselves",
            )
        return decode(out).strip()

    def lines_changed(self, old: Path, new: Path) -> tuple[int, int]:
        """Return how many lines git's diff of two files, of any place, adds and removes."""
        options = ("--numstat", "-z", "--text", "--no-ext-diff", "--no-textconv", "--no-color")
        _, out = self.raw("diff", "--no-index", *options, "--", str(old), str(new), ok=(0, 1))
        words = out.split(b"\t")
        return (int(words[0]), int(words[1])) if out else (0, 0)

    def head(self) -> str | None:
        """Return the commit id of HEAD, or None before the first commit."""
        return self.commit_of("HEAD")

    def titles(self, commits: Sequence[str]) -> dict[str, str]:
        """Return the first lines of commits' messages, by commit id."""
        if not commits:
            return {}
        argv = ("log", "--no-walk=unsorted", "--format=%H %s", "--stdin")
        _, out = self.raw(*argv, stdin="".join(f"{c}\n" for c in commits).encode())
        return {c: title for c, _, title in (x.partition(" ") for x in decode(out).splitlines())}

    def branch(self) -> str | None:
        """Return the current branch's short name, or None when HEAD is detached."""
        status, out = self.raw("symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1))
        return None if status else decode(out).strip()

    def name_of(self, rev: str) -> str | None:
        """Return the branch that `rev` names, short, or None when it names a commit only."""
        status, out = self.raw("rev-parse", "--abbrev-ref", "--quiet", rev, ok=(0, 1, 128))
        name = decode(out).strip()
        return name if status == 0 and name not in {"", "HEAD"} else None

    # -- index and trees ---------------------------------------------------------------------

    def index_entries(
        self, *pathspecs: str, env: Mapping[str, str] | None = None
    ) -> list[IndexEntry]:
        """Return index entries, all merge stages, of the given pathspecs (none: all)."""
        entries = []
        for line in self.names("ls-files", "-s", "-z", "--", *pathspecs, env=env):
            meta, path = line.split("\t", 1)
            mode, blob, stage = meta.split(" ")
            entries.append(IndexEntry(mode, blob, int(stage), path))
        return entries

    def entries_of(self, paths: Iterable[str]) -> dict[str, IndexEntry]:
        """Return the index entries at merge stage 0 of these paths; one that has none is left out.

        Directories stand for themselves only.
        """
        wanted = list(paths)
        found = {}
        for start in range(0, len(wanted), 500):
            specs = [f":(literal){path}" for path in wanted[start : start + 500]]
            found.update({e.path: e for e in self.index_entries(*specs) if e.stage == 0})
        return {path: found[path] for path in wanted if path in found}

    def set_entries(self, entries: Mapping[str, str | None]) -> list[str]:
        """Make index entries "MODE BLOB" (None: no entry); return those that cannot be.

        Git forgets a blob that nothing names after two weeks.
        """
        here = self._existing(sorted({e.split(" ")[1] for e in entries.values() if e}))
        gone = [path for path, entry in entries.items() if entry is None]
        lost = [path for path, e in entries.items() if e and e.split(" ")[1] not in here]
        lines = [
            f"{entry}\t{self.prefix}{path}\0"  # here git takes names from the worktree's root
            for path, entry in entries.items()
            if entry is not None and path not in lost
        ]
        if lines:
            data = "".join(lines).encode("utf-8", "surrogateescape")
            self._edit_index("--add", "-z", "--index-info", stdin=data)
        self.unstage(gone)
        return lost

    def _existing(self, ids: Sequence[str]) -> set[str]:
        if not ids:
            return set()
        asked = "\n".join(ids).encode() + b"\n"
        _, out = self.raw("cat-file", "--batch-check=%(objectname)", stdin=asked)
        return {line for line in decode(out).splitlines() if " " not in line}

    def unmerged_pointers(self) -> dict[str, dict[int, str]]:
        """Return the unmerged pointer files: merge stage (1 base, 2 ours, 3 theirs) to blob id."""
        found: dict[str, dict[int, str]] = {}
        for entry in self.index_entries(*POINTER_PATHSPECS):
            if entry.stage:
                found.setdefault(entry.path, {})[entry.stage] = entry.blob
        return found

    def tree_entries(self, commit: str, *, all_paths: bool = False) -> list[IndexEntry]:
        """Return a commit's files: its pointer files, or all with `all_paths`."""
        entries = []
        nested = set()
        for line in self.names("ls-tree", "-r", "-z", commit):
            meta, path = line.split("\t", 1)
            mode, _kind, blob = meta.split(" ")
            if path.endswith("/.dvc/config"):
                nested.add(path.removesuffix(".dvc/config"))
            if all_paths or is_pointer_file(path):
                entries.append(IndexEntry(mode, blob, 0, path))
        return [e for e in entries if all_paths or not e.path.startswith(tuple(nested))]

    def tracked_among(self, paths: Iterable[str], env: Mapping[str, str] | None = None) -> set[str]:
        """Return which of these files, or files in these directories, the index has."""
        wanted = list(paths)
        found: set[str] = set()
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            literal = {"GIT_LITERAL_PATHSPECS": "1", **(env or {})}
            found.update(self.names("ls-files", "-z", "--", *part, env=literal))
        return found

    def comes_by_commits(self, path: str) -> bool:
        """Whether a commit can have brought a file: it is tracked, or lies behind a link."""
        linked = any((self.top / p).is_symlink() for p in (path, os.path.dirname(path)))
        return linked or bool(self.tracked_among([path]))

    def tracked_in(self, path: str, index: Path) -> bool:
        """Whether the index of another worktree has a file."""
        return bool(self.tracked_among([path], {"GIT_INDEX_FILE": str(index)}))

    def text_at(self, rev: str, path: str) -> str:
        """Return a file of a revision as text; nothing where there is none."""
        status, out = self.raw("cat-file", "blob", f"{rev}:{self.prefix}{path}", ok=(0, 128))
        return "" if status else decode(out)

    def blobs(self, ids: Sequence[str]) -> Iterator[bytes]:
        """Yield the content of blobs, in order, from one `git cat-file --batch`."""
        if not ids:
            return
        _, out = self.raw("cat-file", "--batch", stdin="\n".join(ids).encode() + b"\n")
        at = 0
        for _ in ids:
            end = out.index(b"\n", at)
            header = out[at:end].split(b" ")
            if len(header) != 3:  # noqa: PLR2004 - "<id> missing"
                raise GitFailed(f"git object {decode(out[at:end])}", hint="git fsck")
            length = int(header[2])
            yield out[end + 1 : end + 1 + length]
            at = end + 1 + length + 1

    def blob_sizes(self, ids: Sequence[str]) -> list[int]:
        """Return sizes in bytes of objects; 0 for what is missing (a submodule's commit)."""
        if not ids:
            return []
        _, out = self.raw(
            "cat-file", "--batch-check=%(objectsize)", stdin="\n".join(ids).encode() + b"\n"
        )
        return [int(line) if line.isdigit() else 0 for line in out.split(b"\n")[: len(ids)]]

    def committed(self, oids: Iterable[str]) -> set[str]:
        """Return which of DVC's oids the pointers of some commit name (stashes and reflog too).

        The commits just left are asked first: one `git grep`, and nearly always the answer.
        """
        wanted = set(oids)
        if not wanted:
            return set()
        # git dies at HEAD@{1} where HEAD's reflog has but one entry (new clone, new worktree): last
        names = b"HEAD^{commit}\nORIG_HEAD^{commit}\nHEAD@{1}^{commit}\n"
        _, out = self.raw("cat-file", "--batch-check=%(objectname)", stdin=names, ok=(0, 128))
        revs = {line for line in decode(out).splitlines() if " " not in line}
        found: set[str] = set()
        if revs:
            patterns = [word for oid in wanted for word in ("-e", oid)]
            where = ("--", *POINTER_PATHSPECS)
            _, out = self.raw("grep", "-h", "-F", *patterns, *revs, *where, ok=(0, 1))
            found = {oid for oid in wanted if oid.encode() in out}
        return found | {oid for oid in wanted - found if self._ever_committed(oid)}

    def _ever_committed(self, oid: str) -> bool:
        return bool(
            self.out(
                "log", "--all", "--reflog", "-m", "-1", "--format=%H", f"-S{oid}",
                "--no-textconv",  # -S would search in the words of our diff driver
                "--", *POINTER_PATHSPECS,
            )
        )  # fmt: skip

    def ever_held(self, paths: Iterable[str]) -> set[str]:
        """Return which of these files, or files in these directories, some commit holds in git.

        All refs count. Without their trees (`--filter=tree:0`) commits are not asked: each tree
        would be fetched by itself.
        """
        wanted = sorted(paths)
        filters = (v for k, v in self._settings.items() if k.endswith(".partialclonefilter"))
        if any(value.startswith("tree:") for value in filters):
            return set()
        argv = ("log", "--all", "--format=", "--name-only", "--no-renames", "--relative", "-z")
        found: set[str] = set()
        for start in range(0, len(wanted), 500):
            specs = [f":(literal){path}" for path in wanted[start : start + 500]]
            found.update(self.names(*argv, "--", *specs))
        return found

    def staged_changes(self) -> list[IndexEntry]:
        """Return the entries the index adds or changes against HEAD (or the empty tree)."""
        against = self.head() or self.empty_tree()
        fields = self.names(
            "diff-index", "--cached", "--raw", "--no-renames", "-z", "--no-abbrev", "--relative",
            "--diff-filter=AMT", against, "--",
        )  # fmt: skip
        pairs = zip(fields[::2], fields[1::2], strict=True)
        return [IndexEntry(m.split(" ")[1], m.split(" ")[3], 0, path) for m, path in pairs]

    def empty_tree(self) -> str:
        """Return the id of the tree that holds nothing: what lies before the first commit."""
        _, out = self.raw("hash-object", "-t", "tree", "--stdin", "-w", stdin=b"")
        return decode(out).strip()

    def stage(self, paths: Sequence[str], *, index: Path | None = None) -> None:
        """Put files of the worktree into the index (githooks(5): the inherited GIT_INDEX_FILE).

        `update-index` and not `add`: it asks no ignore rules. A path that is gone is removed.
        """
        if not paths:
            return
        names = b"".join(os.fsencode(p) + b"\0" for p in paths)
        self._edit_index("--add", "--remove", "-z", "--stdin", stdin=names, index=index)

    def stage_behind_lock(self, paths: Sequence[str]) -> None:
        """`git commit -a`: stage also in the index that git goes back to when it refuses.

        Git holds the lock of that index while it waits for our hook, so nobody else writes it.
        """
        index = self.index
        if index.name.endswith(".lock"):
            self.stage(paths, index=index.with_name(index.name.removesuffix(".lock")))

    def _edit_index(self, *args: str, stdin: bytes, index: Path | None = None) -> None:
        """`git update-index`, aside: a kill leaves neither a lock nor half of it."""

        def edit(aside: Path) -> None:
            self.raw("update-index", *args, stdin=stdin, env={"GIT_INDEX_FILE": str(aside)})

        place, held = index or self.index, self.index.name.endswith(".lock")
        (change_held if held else change)(place, edit)

    def unstage(self, paths: Sequence[str]) -> None:
        """Take paths out of the index; the files stay where they lie."""
        if paths:
            names = b"".join(os.fsencode(p) + b"\0" for p in paths)
            self._edit_index("--force-remove", "-z", "--stdin", stdin=names)

    def others_matching(self, lines: Sequence[str], pathspecs: Sequence[str] = ()) -> list[str]:
        """Return files on disk, in git or not, that gitignore lines match."""
        nothing = {"GIT_INDEX_FILE": str(self.private / "no-index")}
        with self._pattern_file(lines) as file:
            return self.names(
                "ls-files", "-o", "-i", "-z", f"--exclude-from={file}", "--", *pathspecs,
                env=nothing,
            )  # fmt: skip

    def tracked_matching(self, lines: Sequence[str]) -> list[str]:
        """Return the files in the index that gitignore lines match."""
        if not lines:
            return []
        with self._pattern_file(lines) as file:
            return self.names("ls-files", "-c", "-i", "-z", f"--exclude-from={file}")

    @contextlib.contextmanager
    def _pattern_file(self, lines: Sequence[str]) -> Iterator[Path]:
        """Yield a file of these lines; of its own, since `status` asks beside a hook."""
        file = self.private / temporary_name()
        text = "".join(f"{anchored(line, self.prefix)}\n" for line in lines)
        try:
            file.write_text(text, "utf-8", "surrogateescape")
            yield file
        finally:
            with contextlib.suppress(OSError):
                file.unlink()

    def ignored(self, paths: Sequence[str]) -> set[str]:
        """Return which of these paths git's ignore rules match (tracked or not)."""
        if not paths:
            return set()
        names = b"".join(os.fsencode(p) + b"\0" for p in paths)
        status, out = self.raw(
            "check-ignore", "-z", "--no-index", "--stdin", stdin=names, ok=(0, 1)
        )
        return {decode(name) for name in out.split(b"\0") if name} if not status else set()

    def attributes(self, name: str, paths: Sequence[str]) -> dict[str, str]:
        """Return what gitattributes say under `name` of each path ("unspecified": nothing)."""
        fields = self.out("check-attr", "-z", name, "--", *paths).split("\0")
        return dict(zip(fields[::3], fields[2::3], strict=False))

    def ignored_directories(self) -> list[str]:
        """Return the directories that git's rules ignore as such (not only all that is in them)."""
        listed = self.names(
            "--no-optional-locks", "status", "--porcelain", "-z", "--no-renames",
            "--ignore-submodules=all", "--untracked-files=all", "--ignored=matching", "--", ".",
        )  # fmt: skip
        found = [d[3:].rstrip("/") for d in listed if d.startswith("!! ") and d.endswith("/")]
        return [d.removeprefix(self.prefix) for d in found if d.startswith(self.prefix)]

    def staged_blob_for(self, pathname: str) -> str | None:
        """Return the blob id of a path in the index, stage 0, or None."""
        entries = self.index_entries(f":(literal){pathname}")
        return next((e.blob for e in entries if e.stage == 0 and e.path == pathname), None)

    def differing_from_index(
        self, files: Sequence[str], indexed: Mapping[str, IndexEntry]
    ) -> list[str]:
        """Return which pointer files are untracked or (perhaps) differ from the index."""
        if not files:
            return []
        dirty = set(
            self.names("diff-files", "--name-only", "-z", "--relative", "--", *POINTER_PATHSPECS)
        )
        return [f for f in files if f not in indexed or f in dirty]

    def file_differs_from_index(self, pathname: str) -> bool:
        """Whether a file of the worktree has changes that are not staged, or is untracked."""
        if self.staged_blob_for(pathname) is None:
            return (self.top / pathname).exists()
        # compares content where only times differ, and needs no lock of git's for that
        argv = ("diff", "--quiet", "--no-ext-diff", "--", f":(literal){pathname}")
        return bool(self.raw(*argv, ok=(0, 1))[0])

    def blobs_at(self, commit: str, paths: Sequence[str]) -> dict[str, str]:
        """Return the ids of the blobs or trees that a commit has at these paths, "" for none."""
        found = dict.fromkeys(paths, "")
        for start in range(0, len(paths), 500):
            listed = self.names("ls-tree", "-z", "--", commit, *paths[start : start + 500])
            found.update(
                {path: meta.split(" ")[2] for meta, _, path in (x.partition("\t") for x in listed)}
            )
        return found

    @property
    def shallow(self) -> frozenset[str]:
        """The commits of a shallow clone whose parents are not here."""
        try:
            return frozenset((self.common_dir / "shallow").read_text().split())
        except OSError:
            return frozenset()

    def commits_of(self, ids: Sequence[str]) -> list[str | None]:
        """Return the commits that objects are, or tags of; None for what is none."""
        return self.ids_of([f"{i}^{{commit}}" for i in ids])

    def ids_of(self, specs: Sequence[str]) -> list[str | None]:
        """Return the objects that git knows by these names (as COMMIT:PATH), None for none."""
        if not specs:
            return []
        # git before 2.38 takes a name a line: one with a newline in it counts as not there
        asked = "".join(f"{'' if chr(10) in s else s}\n" for s in specs)
        argv = ("cat-file", "--batch-check=%(objectname)")
        _, out = self.raw(*argv, stdin=asked.encode("utf-8", "surrogateescape"))
        return [None if " " in line else line for line in decode(out).split("\n")[: len(specs)]]

    def file_at(self, commit: str, path: str) -> bytes | None:
        """Return a file as a commit has it; None where it has none (a link is none)."""
        for line in self.names("ls-tree", "-z", commit, "--", path):
            meta, name = line.split("\t", 1)
            mode, _, blob = meta.split(" ")
            if name == path and mode.startswith("100"):
                return next(iter(self.blobs([blob])))
        return None

    def history_of(self, commit: str, file: str) -> dict[str, list[str]]:
        """Return the commits up to `commit` that change a file, children first, with their parents.

        Parents are such commits, too: what lies between has the file unchanged. Of a merge that has
        the file from one side, the others are left out (git-rev-list(1), history simplification).
        """
        argv = ("rev-list", "--topo-order", "--parents", "--end-of-options", commit, "--")
        rows = (line.split() for line in self.out(*argv, f":(literal){file}").splitlines())
        return {commit: parents for commit, *parents in rows}

    def bylines(self, commits: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return author and date (ISO 8601, with its zone) of commits, by commit id."""
        if not commits:
            return {}
        argv = ("log", "--no-walk=unsorted", "-z", "--format=%H%n%aI%n%an", "--stdin")
        _, out = self.raw(*argv, stdin="".join(f"{c}\n" for c in commits).encode())
        rows = (row.split("\n", 2) for row in decode(out).split("\0") if row)
        return {commit: (author, date) for commit, date, author in rows}

    def remotes(self) -> list[str]:
        """Return the names of the git remotes."""
        return self.out("remote").splitlines()

    def refs_of_remote(self, remote: str) -> list[str]:
        """Return the ids of a git remote's refs (`remote`: name or URL); none if it says nothing.

        Nothing is asked on a terminal, and not for longer than ASK_SECONDS.
        """
        env = self._unattended()
        argv = ["git", "ls-remote", "--refs", "--", remote]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                argv, cwd=self.top, env=env, check=True, timeout=ASK_SECONDS,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            return [line.split("\t")[0] for line in decode(done.stdout).splitlines()]
        return []

    def promisor(self) -> str:
        """Return the git remote that a partial clone fetches missing objects from; else ""."""
        promised = re.compile(r"remote\.(.*)\.promisor\Z")
        named = self.config("extensions.partialClone")
        found = [
            m[1] for k, v in self._settings.items() if (m := promised.match(k)) and v == "true"
        ]
        return named or (found[0] if found else "")

    def all_objects(self) -> set[str]:
        """Return the ids of all objects that are here; a partial clone fetches none for this."""
        argv = ("cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objectname)")
        return set(self.out(*argv).split())

    def fetch_promised(self, remote: str, ids: Sequence[str]) -> bool:
        """Fetch objects that a partial clone left out, in one go; return whether they came.

        Nothing is asked on a terminal.
        """
        argv = ["git", "-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "--no-tags",
                "--no-write-fetch-head", "--recurse-submodules=no", "--filter=blob:none",
                "--stdin", "--", remote]  # fmt: skip
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                argv, cwd=self.top, env=self._unattended(), check=True, timeout=_FETCH_SECONDS,
                input="".join(f"{i}\n" for i in ids).encode(), stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            return True
        return False

    def _unattended(self) -> dict[str, str]:
        """Return an environment in which ssh asks nothing on a terminal."""
        ssh = os.environ.get("GIT_SSH_COMMAND") or self.config("core.sshCommand") or "ssh"
        return self._environment({"GIT_SSH_COMMAND": f"{ssh} -oBatchMode=yes"})

    def parents(self, commits: Sequence[str]) -> dict[str, list[str]]:
        """Return the parents of commits, by commit id (a shallow clone's last ones have none)."""
        if not commits:
            return {}
        asked = "".join(f"{commit}\n" for commit in commits).encode()
        _, out = self.raw("rev-list", "--no-walk", "--parents", "--stdin", stdin=asked)
        return {line.split()[0]: line.split()[1:] for line in decode(out).splitlines()}

    def reachable(self, tips: Sequence[str], without: Sequence[str] = ()) -> list[str]:
        """Return the commits that `tips` reach and `without` (ids, or rev-list options) do not.

        Newest first. What git does not have is left out of `without`.
        """
        if not tips:
            return []
        options = [word for word in without if word.startswith("--")]
        ids = self._existing(sorted({word for word in without if not word.startswith("--")}))
        lines = [*tips, *(f"^{i}" for i in sorted(ids))]
        argv = ("rev-list", "--topo-order", "--stdin", *(["--not", *options] if options else []))
        _, out = self.raw(*argv, stdin="".join(f"{line}\n" for line in lines).encode())
        return decode(out).split()

    def all_commits(self) -> list[str]:
        """Return the commits of all refs and HEAD, newest first."""
        head = ["HEAD"] if self.head() else []
        return self.out("rev-list", "--topo-order", "--all", *head, "--").split()

    def commits_meant(self, revs: Sequence[str], *limits: str, walk: bool = False) -> list[str]:
        """Return the commits that revisions and ranges mean, newest first.

        A single revision is that commit alone, unless `walk`. Raises UsageError.
        """
        alone = not walk and not any(".." in rev or rev.startswith("^") for rev in revs)
        argv = ("rev-list", "--topo-order", *(["--no-walk"] if alone else []), *limits)
        try:
            return self.out(*argv, "--end-of-options", *revs, "--").split()
        except GitFailed as e:
            raise UsageError(
                f"unknown revision {shown(' '.join(revs))!r}", hint="git log --oneline --all"
            ) from e

    def fetch(self, args: Sequence[str], *, cwd: Path) -> None:
        """`git fetch` with the user's terminal. Raises GitFailed."""
        if self.interactive(["fetch", *args], cwd=cwd):
            raise GitFailed("git fetch failed", hint="git remote -v")

    def present(self, specs: Sequence[str]) -> list[bool]:
        """Return which objects git has; `specs` as COMMIT:PATH."""
        return [found is not None for found in self.ids_of(specs)]

    # -- another index than git's own --------------------------------------------------------

    @contextlib.contextmanager
    def private_index(self) -> Iterator[dict[str, str]]:
        """Copy the index to a private place; yield the environment in which git uses the copy.

        The copy keeps the index's time, by which git tells what may have changed unseen
        (technical/racy-git). Only one at a time: the caller has this project's lock.
        """
        copy = self.private / "scratch.index"
        for left in (copy, copy.with_name("scratch.index.lock")):  # of a run that was killed
            left.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(self.index, copy)
        try:
            yield {"GIT_INDEX_FILE": str(copy)}
        finally:
            copy.unlink(missing_ok=True)

    def differences(self, env: Mapping[str, str] | None = None) -> list[str]:
        """Return the files of the worktree that an index has not, or not so, but for deleted ones.

        Ignored files do not count; a repository of its own has a slash at the end.
        """
        argv = ("ls-files", "-m", "-o", "--exclude-standard", "-z")
        return sorted(set(self.whole.names(*argv, env=env)))

    def add_all(self, out_of_it: Iterable[str], env: Mapping[str, str]) -> None:
        """Bring an index in step with the whole worktree, but for paths that stay out of it."""
        specs = [":(top)", *(f":(top,exclude,literal){path}" for path in out_of_it)]
        names = b"".join(os.fsencode(spec) + b"\0" for spec in specs)
        argv = ("add", "-A", "--pathspec-from-file=-", "--pathspec-file-nul")
        self.whole.raw(*argv, stdin=names, env=env)

    def put_texts(self, texts: Mapping[str, bytes | None], env: Mapping[str, str]) -> None:
        """Put files into an index as a commit of these texts would (None: out of it)."""
        lines = []
        for path, text in texts.items():
            mode, blob = "0", "0" * 40
            if text is not None:
                argv = ("hash-object", "-w", "--stdin", f"--path={path}")
                mode, blob = "100644", decode(self.raw(*argv, stdin=text)[1]).strip()
            lines.append(os.fsencode(f"{mode} {blob}\t{self.prefix}{path}") + b"\0")
        if lines:
            argv = ("update-index", "--add", "-z", "--index-info")
            self.raw(*argv, stdin=b"".join(lines), env=env)

    def staged_only(self) -> bool:
        """Whether the index holds something that neither HEAD nor the worktree has."""
        against = self.head() or self.empty_tree()
        staged = self.whole.names("diff-index", "--cached", "--name-only", "-z", against, "--")
        self.whole.raw("update-index", "-q", "--refresh", ok=(0, 1))
        lying = set(self.whole.names("diff-files", "--name-only", "-z"))
        return any(path in lying for path in staged)

    @contextlib.contextmanager
    def standing_on(self, commit: str) -> Iterator[None]:
        """Point HEAD and index at a commit whose files lie in the worktree; back where that fails.

        No file is touched. Raises GitFailed where another git is at work on the index.
        """
        branch = self.raw("symbolic-ref", "--quiet", "HEAD", ok=(0, 1))[1].decode().strip()
        was, index = self.head(), self.index
        saved = self.private / "before.index"
        shutil.copy2(index, saved)

        def edit(aside: Path) -> None:
            env = {"GIT_INDEX_FILE": str(aside)}
            self.whole.raw("read-tree", commit, env=env)
            self.whole.raw("update-index", "-q", "--refresh", ok=(0, 1), env=env)

        try:
            change(index, edit)
            self.raw("update-ref", "--no-deref", "-m", "devml-git: snapshot", "HEAD", commit)
            yield
        except BaseException:
            if branch:
                self.raw("symbolic-ref", "HEAD", branch)
            elif was:
                self.raw("update-ref", "--no-deref", "HEAD", was)
            change(index, lambda aside: shutil.copy2(saved, aside))
            raise
        finally:
            saved.unlink(missing_ok=True)

    def changed_blobs(
        self,
        commits: Sequence[str],
        pathspecs: Sequence[str],
        parents: Mapping[str, str] | None = None,
    ) -> list[ChangedBlob]:
        """Return the files that commits have otherwise than any of their parents.

        `parents` names the one to compare with, where it is not all of them.
        """
        lines = [f"{c} {parents[c]}" if parents and c in parents else c for c in commits]
        argv = ("--stdin", "--root", "-m", "-r", "-z", "--raw", "--no-abbrev", "--no-renames")
        asked = "".join(f"{line}\n" for line in lines).encode()
        _, out = self.raw("diff-tree", *argv, "--relative", "--", *pathspecs, stdin=asked)
        found = []
        commit = ""
        words = iter(decode(out).split("\0"))
        for word in words:
            if word.startswith(":"):
                old, new = (blob if blob.strip("0") else "" for blob in word.split(" ")[2:4])
                found.append(ChangedBlob(commit, next(words), old, new))
            elif word:
                commit = word
        return found

    def differs_from_head(self, pathname: str) -> bool:
        """Whether a file of the worktree is not as HEAD has it."""
        spec = f":(literal){pathname}"
        return bool(self.raw("diff", "--quiet", "HEAD", "--", spec, ok=(0, 1, 128))[0])

    def export(self, commit: str, directory: Path) -> None:
        """Write a commit's files into a directory, without touching index or worktree."""
        if self.prefix:
            self.whole.export(commit, directory)
            return
        scratch = self.private / temporary_name()
        env = {"GIT_INDEX_FILE": str(scratch)}
        try:
            self.raw("read-tree", commit, env=env)
            self.raw("checkout-index", "-a", "-q", f"--prefix={directory}{os.sep}", env=env)
        finally:
            with contextlib.suppress(FileNotFoundError):
                scratch.unlink()


def is_lock(path: str) -> bool:
    """Whether a path is a `dvc.lock`: the outputs of a pipeline's stages."""
    return path.rsplit("/", 1)[-1] == "dvc.lock"


def is_pointer_file(path: str) -> bool:
    """Whether a path is a `.dvc` file or a `dvc.lock` (DVC 3.67 `dvc/dvcfile.py`)."""
    name = path.rsplit("/", 1)[-1]
    return name == "dvc.lock" or (name.endswith(".dvc") and name != ".dvc")


def anchored(line: str, prefix: str) -> str:
    """Return a gitignore line for the worktree's root that means what `line` means in `prefix`."""
    if not prefix or not line.strip() or line.startswith("#"):
        return line
    negated, body = line.startswith("!"), line.removeprefix("!")
    escaped = re.sub(r"([\\*?\[\] !#])", r"\\\1", prefix)
    middle = "" if "/" in body.rstrip("/") else "**/"
    return f"{'!' if negated else ''}/{escaped}{middle}{body.lstrip('/')}"

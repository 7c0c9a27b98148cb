"""One command under strace, in a network namespace of its own; what it did, in a few words."""

from __future__ import annotations

import codecs
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

WALL = 60  # seconds on an idle machine: for hangs only; what counts is processor time
CPU = 12  # a process that takes more is killed
_TWO = ("rename", "renameat", "renameat2")
_LAST = ("link", "linkat", "symlink", "symlinkat")
_ONE = ("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "mknod", "mknodat", "chmod", "fchmodat",
        "chown", "lchown", "fchownat", "truncate", "utimensat")  # fmt: skip
_OPEN = ("open", "openat", "openat2", "creat")
_NET = ("connect", "sendto", "sendmsg", "sendmmsg")
_FORK = ("clone", "clone3", "fork", "vfork")
_CALLS = (*_TWO, *_LAST, *_ONE, *_OPEN, *_NET, *_FORK, "execve", "execveat", "chdir", "fchdir",
          "fchmod", "fchown")  # fmt: skip
_STRACE = ("strace", "-f", "--seccomp-bpf", "-qq", "--signal=none", "-y", "-s", "4096",
           "-e", "trace=" + ",".join(f"?{c}" for c in _CALLS))  # fmt: skip


@dataclass(frozen=True)
class Act:
    """Something that a process did: `kind` is write, read, run or connect."""

    kind: str
    what: str
    program: str
    how: str = ""


@dataclass
class Done:
    """A command that has ended: what it printed, took, and did."""

    status: int
    out: bytes
    err: bytes
    cpu: float
    rss: int  # megabytes
    hung: bool
    acts: list[Act] = field(default_factory=list)


def missing() -> str:
    """Return which package this machine lacks, or what it forbids; "" if all is there."""
    for program, package in (("strace", "strace"), ("unshare", "util-linux")):
        if not shutil.which(program):
            return f"{program} is not installed (package {package})"
    tried = subprocess.run(["unshare", "-n", *_STRACE, "-o", "/dev/null", "true"],
                           capture_output=True, check=False)  # fmt: skip
    return "unshare -n or strace is not permitted here" if tried.returncode else ""


def traced(argv: list[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> Done:
    """Run a command and tell what it, and every process that it started, did."""
    strace = [_found("strace"), *_STRACE[1:], "-o", str(log)]
    done = untraced([*strace, *argv], cwd=cwd, env=env, log=log)
    done.acts += dict.fromkeys(read(log.read_text("latin-1").splitlines(), cwd))
    log.unlink()
    return done


def untraced(argv: list[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> Done:
    """Run a command, and tell all but what it did. strace makes the start of a program dear."""
    out, err, used = log.with_suffix(".out"), log.with_suffix(".err"), log.with_suffix(".used")
    with out.open("wb") as o, err.open("wb") as e:
        process = subprocess.Popen(
            [sys.executable, "-ISc", _COUNTS, used, _found("unshare"), "-n", *argv],
            cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=o, stderr=e,
            start_new_session=True, preexec_fn=_limits,
        )  # fmt: skip
        try:
            process.wait(WALL * max(1, os.getloadavg()[0] / (os.cpu_count() or 1)))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    status, cpu, rss = used.read_text().split() if used.exists() else ("-9", str(CPU), "0")
    used.unlink(missing_ok=True)
    done = Done(int(status), out.read_bytes(), err.read_bytes(), float(cpu), int(rss) // 1024,
                process.returncode == -signal.SIGKILL)  # fmt: skip
    for file in (out, err):
        file.unlink()
    return done


# A small process of its own counts: Linux gives a child the memory of whoever forked it, too.
# It searches the PATH that we have, not the one of the case.
_COUNTS = """
import os, sys
used, program, *argv = sys.argv[1:]
pid = os.posix_spawn(program, [program, *argv], os.environ)
_, status, it = os.wait4(pid, 0)
with open(used, "w") as file:
    print(os.waitstatus_to_exitcode(status), it.ru_utime + it.ru_stime, it.ru_maxrss, file=file)
"""


def _found(program: str) -> str:
    place = shutil.which(program)
    assert place
    return place


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))  # judge.py knows the error


# -- reading what strace wrote ---------------------------------------------------------------------

_LINE = re.compile(r"^(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))$")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(?:AT_FDCWD|\b\d+)<((?:[^>\\]|\\.)*)>')
_RESULT = re.compile(r"\) += (-?\d+)(?:<((?:[^>\\]|\\.)*)>)?[^\"]*$")
_ADDRESS = re.compile(r"sa_family=AF_INET6?[^}]*")


def read(lines: list[str], cwd: Path) -> Iterator[Act]:
    """Yield what the processes of a trace did; paths absolute, links of directories followed."""
    calls = list(_whole(lines))
    parents, leaders = _families(calls)
    where: dict[int, str] = {}
    runs: dict[int, str] = {}
    for pid, name, words, rest in calls:
        pid = leaders.get(pid, pid)
        if pid not in where:
            parent = leaders.get(parents.get(pid, 0), parents.get(pid, 0))
            where[pid] = where.get(parent, str(cwd))
            runs[pid] = runs.get(parent, "?")
        match = _RESULT.search(rest)
        fine = match is not None and not match[1].startswith("-")
        if name in _NET:
            for address in _ADDRESS.findall(rest):
                yield Act("connect", address, runs[pid], name)
        elif not fine or match is None:
            continue
        elif name in ("chdir", "fchdir"):
            where[pid] = os.path.realpath(os.path.join(where[pid], words[-1]))
        elif name in ("execve", "execveat"):
            program = os.path.normpath(os.path.join(where[pid], words[0]))
            runs[pid] = os.path.basename(program)
            yield Act("run", program, runs[pid], " ".join(words[1:])[:300])
        elif name in _OPEN:
            writes = name == "creat" or re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", rest)
            path = _text(match[2] or "")
            if path.startswith("/"):
                yield Act("write" if writes else "read", path, runs[pid], name)
        elif name not in _FORK:
            for path in _changed(name, words, rest, where[pid]):
                yield Act("write", path, runs[pid], name)


def _whole(lines: list[str]) -> Iterator[tuple[int, str, list[str], str]]:
    """Yield the calls (process, name, paths, text), those put together that others interrupt."""
    begun: dict[int, tuple[str, str]] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        pid, name, rest = int(match[1]), match[2], match[3]
        if name is None:
            name, start = begun.pop(pid, (match[4], ""))
            rest = start + match[5]
        elif rest.endswith("<unfinished ...>"):
            begun[pid] = (name, rest.removesuffix("<unfinished ...>"))
            if name not in _NET:
                continue
        words = []
        if name not in _NET and (end := _RESULT.search(rest)):
            found = _WORD.finditer(rest, 0, end.start())
            words = [_text(m[1] if m[1] is not None else m[2]) for m in found]
        yield pid, name, words, rest
    for pid, (name, rest) in begun.items():
        yield pid, name, [], rest


def _families(
    calls: list[tuple[int, str, list[str], str]],
) -> tuple[dict[int, int], dict[int, int]]:
    """Return who started whom, and which threads are whose."""
    parents, leaders = {}, {}
    for pid, name, _, rest in calls:
        match = _RESULT.search(rest) if name in _FORK else None
        if match is None or int(match[1]) <= 0:
            continue
        if "CLONE_THREAD" in rest:
            leaders[int(match[1])] = leaders.get(pid, pid)
        else:
            parents[int(match[1])] = pid
    return parents, leaders


def _changed(name: str, words: list[str], rest: str, cwd: str) -> Iterator[str]:
    """Return the paths that a call has changed."""
    if name in ("fchmod", "fchown"):
        yield from (w for w in words[:1] if w.startswith("/"))
        return
    if name == "utimensat" and ", NULL, " in rest:
        yield words[0]
        return
    if name.endswith(("at", "at2")):
        if name == "symlinkat":
            words = words[1:]
        pairs = list(zip(words[::2], words[1::2], strict=False))
    else:
        pairs = [(cwd, w) for w in words]
    if name in _LAST:
        pairs = pairs[-1:]
    for base, path in pairs:
        whole = os.path.join(base, path)
        if not whole.startswith("/"):
            continue
        head, tail = os.path.split(whole.rstrip("/"))
        yield os.path.join(os.path.realpath(head), tail)


def _text(quoted: str) -> str:
    """Undo strace's quoting."""
    data = codecs.escape_decode(quoted.encode("latin-1"))[0]
    assert isinstance(data, bytes)
    return data.decode("utf-8", "surrogateescape")

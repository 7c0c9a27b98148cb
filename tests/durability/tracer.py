"""Runs a command and stops it at each system call that changes the trial's files (ptrace, seccomp).

At such a stop a process, or all of them, can be killed, the call can be made to fail or to write
less than it was asked to, or the files can be copied as a kill would leave them at that instant.
strace counts calls (`when=N`) in each process by itself; here they have one count, over all
processes of the command, so every one of them can be hit.

A process of its own (`python -m tests.durability.tracer`), single-threaded because it forks and
waits for whatever it traces: one JSON request a line on stdin, one JSON answer a line on stdout.
`devml-git` is run in a fork of this process, which has the package imported already.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import stat
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long

# linux/ptrace.h, linux/seccomp.h, linux/bpf_common.h
_CONT, _GETREGS, _SETREGS, _SEIZE, _LISTEN = 7, 12, 13, 0x4206, 0x4208
_OPTIONS = (
    0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
)  # fork, vfork, clone, exec, seccomp, exitkill
_EVENT_SECCOMP, _EVENT_STOP = 7, 128
_WALL = 0x40000000
_AUDIT_ARCH_X86_64 = 0xC000003E
_ALLOW, _TRACE = 0x7FFF0000, 0x7FF00000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_FICLONE = 0x40049409
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# name: number on x86-64, and where its places are: argument of a descriptor, or of (directory, path)
CALLS: dict[str, tuple[int, tuple[Any, ...]]] = {
    "open": (2, ((None, 0),)), "openat": (257, ((0, 1),)), "creat": (85, ((None, 0),)),
    "write": (1, (0,)), "pwrite64": (18, (0,)), "writev": (20, (0,)), "pwritev": (296, (0,)),
    "sendfile": (40, (0,)), "copy_file_range": (326, (2,)), "ioctl": (16, (0,)),
    "rename": (82, ((None, 0), (None, 1))), "renameat": (264, ((0, 1), (2, 3))),
    "renameat2": (316, ((0, 1), (2, 3))),
    "link": (86, ((None, 0), (None, 1))), "linkat": (265, ((0, 1), (2, 3))),
    "symlink": (88, ((None, 1),)), "symlinkat": (266, ((1, 2),)),
    "unlink": (87, ((None, 0),)), "unlinkat": (263, ((0, 1),)), "rmdir": (84, ((None, 0),)),
    "mkdir": (83, ((None, 0),)), "mkdirat": (258, ((0, 1),)), "mknodat": (259, ((0, 1),)),
    "fsync": (74, (0,)), "fdatasync": (75, (0,)), "syncfs": (306, (0,)), "sync_file_range": (277, (0,)),
    "chmod": (90, ((None, 0),)), "fchmod": (91, (0,)), "fchmodat": (268, ((0, 1),)),
    "utimensat": (280, ((0, 1),)), "truncate": (76, ((None, 0),)), "ftruncate": (77, (0,)),
    "fallocate": (285, (0,)),
}  # fmt: skip
NAMES = {number: name for name, (number, _) in CALLS.items()}
_REGISTERS = 27  # of struct user_regs_struct
_ARGS = (14, 13, 12, 7, 9, 8)  # rdi rsi rdx r10 r8 r9
_RAX, _ORIG_RAX = 10, 15

# What a kill leaves, and nobody reads: not part of what a state is
_SCRATCH = re.compile(r"^(tmp_obj_.*|\..*\.tmp|.*\.db-journal|.*\.lock)$")


@dataclass
class Call:
    """One call that changes, or would change, the trial's files."""

    n: int
    program: str
    name: str
    places: list[str]

    def __str__(self) -> str:
        return f"call {self.n}: {self.program}: {self.name} {' '.join(self.places)}"


@dataclass
class Trace:
    """One command under trace, and what was asked of it."""

    root: str
    do: str  # count | kill | kill-all | fail | short | photos
    at: int = 0
    error: int = 0
    lasting: bool = False
    kinds: tuple[str, ...] = ()
    match: str = ""  # only calls on a place, or of a program, whose name has this in it
    photos_to: str = ""
    stride: int = 1
    offset: int = 0
    live: set[int] = field(default_factory=set)
    count: int = 0
    hit: Call | None = None
    calls: dict[str, int] = field(default_factory=dict)
    states: list[dict[str, Any]] = field(default_factory=list)
    _touched: list[str] = field(default_factory=list)
    _contents: dict[str, str] = field(default_factory=dict)

    def stopped(self, pid: int) -> None:
        """A process is about to make a call of CALLS: act if it concerns the trial's files."""
        registers = (ctypes.c_ulonglong * _REGISTERS)()
        if _ptrace(_GETREGS, pid, 0, ctypes.addressof(registers)) < 0:
            return
        name = NAMES[registers[_ORIG_RAX]]
        if self.kinds and name not in self.kinds:
            return
        args = [registers[i] for i in _ARGS]
        places = [_place(pid, args, where) for where in CALLS[name][1]]
        if not any(p.startswith(self.root) for p in places):
            return
        if self.match and not any(self.match in p for p in (*places, _program(pid))):
            return
        self.count += 1
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.do == "photos":
            self._photo(pid, name, places)
        elif self.count == self.at or (self.lasting and self.hit):
            self.hit = self.hit or Call(self.count, _program(pid), name, places)
            self._act(pid, registers)

    def _act(self, pid: int, registers: Any) -> None:
        if self.do == "kill":
            os.kill(pid, signal.SIGKILL)
        elif self.do == "kill-all":
            for one in self.live:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
        elif self.do == "fail":
            registers[_ORIG_RAX] = 2**64 - 1
            registers[_RAX] = 2**64 - self.error
            _ptrace(_SETREGS, pid, 0, ctypes.addressof(registers))
        elif self.do == "short":
            registers[_ARGS[2]] = max(1, registers[_ARGS[2]] // 2)
            _ptrace(_SETREGS, pid, 0, ctypes.addressof(registers))

    # -- copies of what a kill would leave -----------------------------------------------------

    def _photo(self, pid: int, name: str, places: list[str]) -> None:
        """Note which state the files are in; copy that of each `stride`-th call, once a state."""
        changed = self._changed()
        self._touched = [] if "sync" in name else places
        if changed or not self.states:
            self.states.append({"points": 0, "photo": "", "at": ""})
        state = self.states[-1]
        state["points"] += 1
        if (self.count + self.offset) % self.stride == 0 and not state["photo"]:
            state["photo"] = os.path.join(self.photos_to, f"call-{self.count}")
            state["at"] = str(Call(self.count, _program(pid), name, places))
            shutil.copytree(self.root, state["photo"], symlinks=True)

    def _changed(self) -> bool:
        """Whether the call before this one has changed a name or content that anybody reads."""
        changed = False
        for place in self._touched:
            if not _SCRATCH.match(os.path.basename(place)):
                now = _content(place)
                changed |= self._contents.get(place) != now
                self._contents[place] = now
        return changed


def _content(place: str) -> str:
    """Return what tells one state of a place from another."""
    try:
        st = os.lstat(place)
        if stat.S_ISREG(st.st_mode):
            return hashlib.sha1(Path(place).read_bytes()).hexdigest() + str(st.st_mode)
        return str(st.st_mode)
    except OSError:
        return ""


def _ptrace(request: int, pid: int, address: int, data: int) -> int:
    return int(_libc.ptrace(request, pid, address, data))


def _program(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    short = [os.path.basename(w).decode("utf-8", "replace")[:40] for w in words[:8] if w]
    return " ".join(short)


def _place(pid: int, args: list[int], where: Any) -> str:
    """Return the absolute path that an argument stands for; "" where it is no file."""
    try:
        if isinstance(where, int):
            return os.readlink(f"/proc/{pid}/fd/{args[where] & 0xFFFFFFFF}")
        directory, path = where
        name = _string(pid, args[path]) if args[path] else ""
        if name.startswith("/"):
            return os.path.normpath(name)
        fd = None if directory is None else ctypes.c_int(args[directory] & 0xFFFFFFFF).value
        base = f"/proc/{pid}/cwd" if fd in {None, -100} else f"/proc/{pid}/fd/{fd}"
        return os.path.normpath(os.path.join(os.readlink(base), name))
    except OSError:
        return ""


def _string(pid: int, address: int) -> str:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        data = memory.read(4096 - address % 4096)
        if b"\0" not in data:
            data += memory.read(4096)
    return data.split(b"\0")[0].decode("utf-8", "surrogateescape")


# -- running ---------------------------------------------------------------------------------------


def _filter(*, all_opens: bool) -> bytes:
    """Return the seccomp program that stops at CALLS: opens only for writing, ioctl only FICLONE."""
    code: list[tuple[int, int, int, int]] = [(_LOAD, 0, 0, 4)]
    plain = [n for name, (n, _) in CALLS.items() if name not in {"open", "openat", "ioctl"}]
    special = {
        2: (24, _JUMP_SET, _WRITES),
        257: (32, _JUMP_SET, _WRITES),
        16: (24, _JUMP_EQUAL, _FICLONE),
    }
    if all_opens:
        plain += [2, 257]
        special = {16: special[16]}
    code += [(_JUMP_EQUAL, 1, 0, _AUDIT_ARCH_X86_64), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, 0)]
    for number in plain:
        code += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _TRACE)]
    for number, (offset, test, value) in special.items():
        code += [
            (_JUMP_EQUAL, 0, 4, number), (_LOAD, 0, 0, offset),
            (test, 0, 1, value), (_RETURN, 0, 0, _TRACE), (_RETURN, 0, 0, _ALLOW),
        ]  # fmt: skip
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *one) for one in code)


def _become(program: bytes) -> None:
    """Put this process under the filter."""
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    held = ctypes.create_string_buffer(fprog, len(fprog))
    if _libc.prctl(38, 1, 0, 0, 0) or _libc.prctl(22, 2, ctypes.byref(held), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def _child(request: dict[str, Any], go: int) -> None:
    """Run the command; never returns."""
    os.setsid()
    os.read(go, 1)
    for fd, name in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), fd)
    os.closerange(3, 64)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    _become(_filter(all_opens="open" in request.get("kinds", ())))
    argv = request["argv"]
    if argv[0] != "devml-git":
        os.execvp(argv[0], argv)
    from devml_git.cli import main

    sys.argv[:] = argv
    status = main(argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run one command as the request says; return what became of it."""
    wanted = {k: request[k] for k in Trace.__dataclass_fields__ if k in request}
    trace = Trace(**wanted)
    ready, go = os.pipe()
    main = os.fork()
    if main == 0:
        try:
            os.close(go)
            _child(request, ready)
        except BaseException as e:
            os.write(2, f"tracer: {e!r}\n".encode())
        finally:
            os._exit(97)
    os.close(ready)
    if _ptrace(_SEIZE, main, 0, _OPTIONS) < 0:
        error = os.strerror(ctypes.get_errno())
        os.kill(main, signal.SIGKILL)
        os.waitpid(main, 0)
        os.close(go)
        return {"refused": f"ptrace: {error}"}
    os.write(go, b"x")
    os.close(go)
    trace.live.add(main)
    status = _follow(trace, main, request.get("seconds", 60))
    return {
        "status": os.waitstatus_to_exitcode(status), "count": trace.count, "calls": trace.calls,
        "hit": str(trace.hit) if trace.hit else "", "states": trace.states,
        "out": Path(request["out"]).read_text("utf-8", "replace"),
        "err": Path(request["err"]).read_text("utf-8", "replace"),
    }  # fmt: skip


def _follow(trace: Trace, main: int, seconds: float) -> int:
    """Wait for the command and all that it started; return its own wait status."""

    def give_up(*_: object) -> None:
        for one in trace.live:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    result = 0
    while True:
        try:
            pid, status = os.waitpid(-1, _WALL)
        except ChildProcessError:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return result
        if not os.WIFSTOPPED(status):
            trace.live.discard(pid)
            result = status if pid == main else result
            continue
        trace.live.add(pid)
        event, sign = status >> 16, os.WSTOPSIG(status)
        if event == _EVENT_SECCOMP:
            with contextlib.suppress(ProcessLookupError):
                trace.stopped(pid)
        if event == _EVENT_STOP and sign in {
            signal.SIGSTOP,
            signal.SIGTSTP,
            signal.SIGTTIN,
            signal.SIGTTOU,
        }:
            _ptrace(_LISTEN, pid, 0, 0)
        else:
            _ptrace(_CONT, pid, 0, 0 if event else int(sign))


def why_not() -> str:
    """Return why nothing can be traced here, or ""."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"the tracer knows the system calls of Linux on x86-64, not of {platform.machine()}"
    return ""


def _warm_up(place: str) -> None:
    """Import all that commands import, once, where it does no harm: forks then need not."""
    from devml_git.cli import main

    os.chdir(place)
    for command in (
        "snapshot",
        "checkout v1",
        "checkout v2 -- models/a.pt",
        "rescue list",
        "doctor",
    ):
        main(command.split())


def serve() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        if "warm_up" in request:
            os.environ.clear()
            os.environ.update(request["env"])
            _warm_up(request["warm_up"])
            answer = {}
        else:
            answer = run(request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()

"""Faults below a remote: a file system that is full, and permissions that root obeys, too."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs -o "size=$2" tmpfs "$1" && echo mounted && read line; umount -l "$1"'


@dataclass
class Disk:
    """A small file system at `place`. Its guard takes it away, also when the tests are killed."""

    place: Path
    guard: subprocess.Popen[str]

    @classmethod
    def mount(cls, place: Path, size: str) -> Disk:
        """Mount a tmpfs, such as `1m`; skip the test where that is not permitted."""
        guard = subprocess.Popen(
            ["sh", "-c", _MOUNT, "sh", str(place), size],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip
        disk = cls(place, guard)
        assert guard.stdout is not None
        if guard.stdout.readline() != "mounted\n":
            disk.unmount()
            pytest.skip("mounting a tmpfs is not permitted here")
        return disk

    def fill(self, *, leave: int = 0) -> None:
        """Fill it, but for about so many bytes."""
        free = shutil.disk_usage(self.place).free - leave
        with (self.place / ".filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free, 1))

    def make_room(self) -> None:
        """Take away again what fills it."""
        (self.place / ".filler").unlink()

    def unmount(self) -> None:
        """Take it away with all that is on it."""
        assert self.guard.stdin is not None
        self.guard.stdin.close()
        self.guard.wait()
        if self.guard.stdout is not None:
            self.guard.stdout.close()


_SECUREBITS, _NOROOT = 28, 1  # PR_SET_SECUREBITS (and 27, PR_GET_SECUREBITS), SECBIT_NOROOT
_VERSION_3 = 0x20080522
_PAST_PERMISSIONS = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextmanager
def permissions_hold() -> Iterator[None]:
    """Let permissions bind root, too: this thread, threads and processes that it starts.

    A process that is started inside has no capabilities at all (capabilities(7), SECBIT_NOROOT).
    """
    if os.geteuid():
        yield
        return
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    kept = (ctypes.c_uint32 * 6)()  # twice effective, permitted, inheritable
    _call("capget", header, kept)
    bits = _call("prctl", _SECUREBITS - 1)
    less = (ctypes.c_uint32 * 6)(kept[0] & ~_PAST_PERMISSIONS, *kept[1:])
    _call("prctl", _SECUREBITS, ctypes.c_ulong(bits | _NOROOT))
    _call("capset", header, less)
    try:
        yield
    finally:
        _call("capset", header, kept)
        _call("prctl", _SECUREBITS, ctypes.c_ulong(bits))


_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        pytest.skip(f"{name} is not permitted here: {os.strerror(ctypes.get_errno())}")
    return result

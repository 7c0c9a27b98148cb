"""A directory that another process keeps exchanging with a link: nothing goes where the link leads.

The exchange is one system call (renameat2(2), RENAME_EXCHANGE), so that at every instant either the
directory or the link lies there. Where it leads lie files of the same names, which must stay as they
are, and whose text must be in no object of the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devml_git import dvc_config, ignoring
from devml_git.errors import DevmlError
from devml_git.journal import Journal
from devml_git.place import move, remove
from devml_git.restoring import Restorer
from devml_git.workspace import Workspace
from tests.world import Project

CANARY = b"canary\n"
SWAP = """\
import ctypes, sys, time, random
libc = ctypes.CDLL(None, use_errno=True)
one, two = sys.argv[1].encode(), sys.argv[2].encode()
while True:
    if libc.renameat2(-100, one, -100, two, 2):
        sys.exit(f"renameat2: {ctypes.get_errno()}")
    time.sleep(random.random() * 0.0004)
"""


def _write_pointer(ws: Workspace, n: int, real: int) -> None:
    ws.journal.write("models/a.pt.dvc", b"# %d\n" % n)


def _remove_pointer(ws: Workspace, n: int, real: int) -> None:
    _put(real, "a.pt.dvc", b"")
    remove(ws.root, "models/a.pt.dvc")


def _edit_gitignore(ws: Workspace, n: int, real: int) -> None:
    ignoring.edit_lines(Journal(ws.git), "models/.gitignore", lambda _: [f"/{n}"])


def _write_config(ws: Workspace, n: int, real: int) -> None:
    dvc_config.set_cache_dir(ws.root, f"../cache{n}")


def _bring(ws: Workspace, path: str) -> None:
    observed = ws.observe(only={path}, with_new=False, check_cache=False)
    done = Restorer(ws, cause="race", fetch=False).bring(observed)
    if done.blocked:
        raise DevmlError(done.blocked[0][1])


def _restore_file(ws: Workspace, n: int, real: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink("a.pt", dir_fd=real)
    _bring(ws, "models/a.pt")


def _restore_member(ws: Workspace, n: int, real: int) -> None:
    for name in os.listdir(real):
        os.unlink(name, dir_fd=real)
    _bring(ws, "data")


def _take_away(ws: Workspace, n: int, real: int) -> None:
    _put(real, "a.pt", b"weights 1\n" * 50)
    Restorer(ws, cause="race", fetch=False).take_away(ws.look("models/a.pt"))


def _move(ws: Workspace, n: int, real: int) -> None:
    _put(real, "a.pt", b"")
    move(ws.root, "models/a.pt", f"models/b{n}")


def _snapshot_file(ws: Workspace, n: int, real: int) -> None:
    _put(real, "a.pt", b"%d\n" % n)
    work = ws.look("models/a.pt")
    if work.odd:
        raise DevmlError(work.odd)
    ws.learn([work], store_content=True)


def _snapshot_directory(ws: Workspace, n: int, real: int) -> None:
    """Members, their rows in the record, and the manifest."""
    _put(real, "x.csv", b"%d\n" % n)
    work = ws.look("data")
    if work.odd:
        raise DevmlError(work.odd)
    ws.learn([work], store_content=True)
    ws.content_of(work)


def _put(real: int, name: str, data: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=real)
    os.write(fd, data)
    os.close(fd)


Try = Callable[[Workspace, int, int], None]
KINDS: dict[str, tuple[str, Try]] = {
    "pointer": ("models", _write_pointer),
    "removed pointer": ("models", _remove_pointer),
    ".gitignore": ("models", _edit_gitignore),
    "config.local": (".dvc", _write_config),
    "restored file": ("models", _restore_file),
    "restored member": ("data", _restore_member),
    "file taken away": ("models", _take_away),
    "moved file": ("models", _move),
    "file into the cache": ("models", _snapshot_file),
    "directory into the cache": ("data", _snapshot_directory),
}


def swap(kind: str, project: Project, place: Path, trials: int) -> str:
    """Do one kind of write again and again beside the exchange; return what came of it."""
    if sys.platform != "linux":
        pytest.skip("renameat2(2) is Linux's")
    directory, attempt = KINDS[kind]
    outside = place / "outside"
    outside.mkdir()
    names = ["a.pt", "a.pt.dvc", ".gitignore", "x.csv", "part1.csv", "config", "config.local"]
    for name in names:
        (outside / name).write_bytes(CANARY if "config" not in name else b"")
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in outside.iterdir()}
    (place / "link").symlink_to(outside)
    target = project.path / directory
    real = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    done = refused = 0
    with Workspace.discover(project.path) as ws:
        _ = ws.tree, ws.ignores
        swapping = subprocess.Popen([sys.executable, "-c", SWAP, str(target), str(place / "link")])
        try:
            time.sleep(0.1)
            for n in range(20 * trials):
                if n >= trials and done and refused:
                    break
                try:
                    attempt(ws, n, real)
                    done += 1
                except DevmlError:
                    refused += 1
            assert swapping.poll() is None, "the exchange has ended"
        finally:
            swapping.send_signal(signal.SIGKILL)
            swapping.wait()
            os.close(real)
    after = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in outside.iterdir()}
    assert after == before
    oid = hashlib.md5(CANARY).hexdigest()
    assert oid not in project.objects()
    assert oid.encode() not in (project.path / ".git/devml/record.db").read_bytes()
    assert done
    assert refused
    return f"swapping, {kind}: {done} done, {refused} refused, none astray"


@pytest.mark.parametrize("kind", KINDS)
def test_link_put_in_the_way_leads_nothing_astray(
    kind: str, models: Project, tmp_path: Path, record_property: Any
) -> None:
    models.differential = False
    record_property("campaign", swap(kind, models, tmp_path, 100))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_link_put_in_the_way_many_times(
    kind: str, models: Project, tmp_path: Path, record_property: Any
) -> None:
    models.differential = False
    record_property("campaign", swap(kind, models, tmp_path, 5000))

"""A colleague without network or credentials, and a push that is killed: nothing hangs, all goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.remotes.proxy import Fault
from tests.remotes.remote import Remote
from tests.test_transfer import needed, prepared, whole
from tests.world import Project, run

Storages = Callable[..., Remote]


def cloned(models: Project, storage: Remote, place: Path) -> Project:
    """Publish v1 and v2, and clone with git and our hooks; the clone has v2's content."""
    bare = prepared(models, storage)
    models.git("push", "-q", "origin", "v2:refs/heads/main")
    run("git", "clone", "-q", "-b", "main", str(bare), str(place), cwd=models.path)
    clone = Project(place, differential=False)
    storage.configure(clone)
    clone.devml("init")
    return clone


def test_p16_pull_without_credentials_moves_the_pointers_and_says_what_is_missing(
    models: Project, storages: Storages, tmp_path: Path
) -> None:
    storage = storages("ssh")
    clone = cloned(models, storage, tmp_path / "clone")
    models.git("push", "-q", "origin", "main")
    storage.with_wrong_credentials().configure(clone)
    ran = clone.git("pull", "-q")
    assert ran.status == 0
    assert "refuses" in ran.err
    assert "dvc remote modify --local storage" in ran.err
    assert clone.head() == models.head()
    assert set(clone.states().values()) <= {"missing", "stale"}
    storage.configure(clone)
    clone.devml("checkout")
    assert clone.bytes("models/a.pt") == models.bytes("models/a.pt")


def test_r8_checkout_ends_in_time_where_the_remote_hangs_and_a_later_one_brings_all(
    models: Project, storages: Storages, tmp_path: Path
) -> None:
    storage = storages("webdav")
    clone = cloned(models, storage, tmp_path / "clone")
    run("git", "config", "devml.stallTimeout", "2", cwd=clone.path)
    with storage.behind(Fault("hang", times=0)) as (faulty, _):
        faulty.configure(clone)
        began = time.monotonic()
        ran = clone.git("checkout", "-q", "HEAD~1")
        assert time.monotonic() - began < 60
    assert ran.status == 0
    assert "has not answered for" in ran.err
    assert "weights 2" not in (clone.read("models/a.pt") if clone.exists("models/a.pt") else "")
    storage.configure(clone)
    clone.devml("checkout")
    assert clone.read("models/a.pt").startswith("weights 1")


def test_p10_push_that_is_killed_half_way_has_moved_nothing_and_the_next_one_completes(
    models: Project, storages: Storages
) -> None:
    storage = storages("webdav")
    bare = prepared(models, storage)
    with storage.behind(Fault("hang", where="PUT", at=4, times=0)) as (faulty, proxy):
        faulty.configure(models)
        push = subprocess.Popen(
            ["git", "push", "-q", "origin", "main"], cwd=models.path, start_new_session=True
        )
        end = time.monotonic() + 60
        while not proxy.met and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(push.pid, signal.SIGKILL)
        push.wait()
    assert run("git", "for-each-ref", cwd=bare).out == ""
    before = whole(storage)
    assert not any(path.endswith(".dir") for path in before), "manifests come last"
    storage.configure(models)
    models.git("push", "-q", "origin", "main")
    assert whole(storage) == needed(models)

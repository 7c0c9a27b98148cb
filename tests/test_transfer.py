"""Push, fetch and verify over every kind of DVC remote, and what goes wrong with them."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from devml_git import pushing, remote
from devml_git.errors import DevmlError
from devml_git.workspace import Workspace
from tests.conftest import commit_three, seal
from tests.remotes.proxy import Fault
from tests.remotes.remote import Remote
from tests.world import Project, devml, run

Storages = Callable[..., Remote]


def prepared(models: Project, storage: Remote) -> Path:
    """Configure the remote, and make a bare git remote beside the project."""
    models.differential = False
    storage.configure(models)
    bare = models.path.parent / "bare"
    run("git", "init", "-q", "--bare", str(bare), cwd=models.path)
    run("git", "remote", "add", "origin", str(bare), cwd=models.path)
    return bare


def needed(models: Project) -> dict[str, bytes]:
    """Return what v1 to v3 need, by path on the remote."""
    found = {}
    for oid, place in models.objects().items():
        data = place.read_bytes()
        assert hashlib.md5(data).hexdigest() == oid.removesuffix(".dir")
        found[f"files/md5/{oid[:2]}/{oid[2:]}"] = data
    return found


def test_push_uploads_every_commit_and_a_clone_gets_it_back(
    models: Project, storage: Remote, tmp_path: Path
) -> None:
    bare = prepared(models, storage)
    ran = models.git("push", "-q", "origin", "main")
    want = needed(models)
    assert storage.objects() == want
    assert f"uploaded {len(want)} objects" in ran.err
    run("git", "clone", "-q", str(bare), "clone", cwd=tmp_path)
    clone = tmp_path / "clone"
    storage.configure(clone)
    run("devml-git", "init", "--no-content", cwd=clone)
    assert devml("verify", "--all", "--remote", cwd=clone).status == 0
    ran = devml("fetch", "--all", cwd=clone)
    assert ran.status == 0, ran.err
    found = devml("verify", "--all", "--remote", "--full", "--json", cwd=clone).json
    assert {c["verdict"] for c in found["commits"]} == {"recoverable"}
    assert found["objects"]["checked"] == len(want)


def test_damage_on_the_remote_is_found_and_healed(models: Project, storage: Remote) -> None:
    prepared(models, storage)
    models.git("push", "-q", "origin", "main")
    (oid,) = set(re.findall(r"md5: ([0-9a-f]{32})", models.show("v2", "models/a.pt.dvc")))
    (other,) = set(re.findall(r"md5: ([0-9a-f]{32})", models.show("v1", "models/a.pt.dvc")))
    storage.truncate(oid)
    storage.remove(other)
    ran = models.devml("verify", "--all", "--remote", "--json", check=False)
    assert {p["oid"] for p in ran.json["problems"]} == {oid, other}
    (last,) = set(re.findall(r"md5: ([0-9a-f]{32})", models.show("v3", "models/a.pt.dvc")))
    storage.corrupt(last)
    ran = models.devml("verify", "--all", "--remote", "--full", "--json", check=False)
    assert {p["oid"] for p in ran.json["problems"]} == {oid, other, last}
    models.devml("verify", "--all", "--remote", "--full", "--repair")
    assert storage.objects() == needed(models)


def test_remote_that_only_lets_read_stops_the_push(models: Project, storage: Remote) -> None:
    bare = prepared(models, storage)
    with storage.read_only() as reading:
        reading.configure(models)
        ran = models.git("push", "-q", "origin", "main", check=False)
    assert ran.status
    assert "DVC remote storage" in ran.err
    assert "internal error" not in ran.err
    assert run("git", "for-each-ref", cwd=bare).out == ""
    storage.configure(models)
    models.git("push", "-q", "origin", "main")
    assert storage.objects() == needed(models)


@pytest.mark.parametrize("kind", ["ssh", "s3", "webdav"])
def test_wrong_credentials_are_named_and_nothing_is_asked(
    models: Project, storages: Storages, kind: str
) -> None:
    storage = storages(kind)
    bare = prepared(models, storage)
    storage.with_wrong_credentials().configure(models)
    ran = models.git("push", "-q", "origin", "main", check=False)
    assert ran.status
    assert "refuses" in ran.err, ran.err
    assert "dvc remote modify --local storage" in ran.err
    assert run("git", "for-each-ref", cwd=bare).out == ""


# -- faults on the way ---------------------------------------------------------------------------

KINDS = ("s3", "webdav", "http", "ssh")
WHATS = (
    "refuse", "cut request", "hang", "swallow", "unauthorized", "forbidden", "skewed", "missing",
    "gone", "too many", "broken", "unavailable", "expired", "quota", "cut", "stall", "slow", "short",
    "truncated", "flip", "flip request", "twice", "stale", "partial",
)  # fmt: skip
RELAYED = ("refuse", "cut", "hang", "slow", "flip")
SENDING = frozenset({"cut request", "flip request", "swallow", "twice"})
METHODS = {
    "s3": ("", "PUT", "HEAD", "GET"), "webdav": ("", "PUT", "PROPFIND", "MOVE"),
    "http": ("", "POST|PUT", "HEAD|GET"),
}  # fmt: skip


def schedule(rng: random.Random, kind: str) -> list[Fault]:
    """One to three faults, somewhere in the first dozen requests or connections."""
    found = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        what = rng.choice(RELAYED if kind == "ssh" else WHATS)
        if kind == "ssh":
            amount = 200_000 if what == "slow" else rng.randrange(400_000)
            found.append(
                Fault(what, at=rng.choice([1, 1, 2]), times=rng.choice([1, 0]), amount=amount)
            )
            continue
        amount = (
            1 if what in {"slow", "too many", "unavailable"} else rng.choice([0, 1, 7, 100, 5000])
        )
        where = "PUT|POST" if what in SENDING else rng.choice(METHODS[kind])
        at, times = rng.randrange(1, 13), rng.choice([1, 1, 3, 0])
        found.append(Fault(what, where=where, at=at, times=times, amount=amount))
    return found


def push_through_faults(models: Project, storage: Remote, seed: int) -> str:
    """Push while things go wrong; whatever was said must be true, and the next push completes."""
    rng = random.Random(seed)
    faults = schedule(rng, storage.kind)
    want = needed(models)
    print(f"seed {seed}: {storage.kind}, {'; '.join(map(str, faults))}")
    with storage.behind(*faults) as (faulty, _):
        faulty.configure(models)
        said = published(models)
    storage.settle()
    if said is None:
        assert whole(storage) == want, f"seed {seed}: said to be complete"
    else:
        assert "internal" not in said
        assert said.startswith("the DVC remote storage") or "not complete without" in said, said
    storage.configure(models)
    run("git", "config", "devml.stallTimeout", "60", cwd=models.path)
    assert published(models) is None, f"seed {seed}: the next push, with nothing wrong"
    assert whole(storage) == want, f"seed {seed}: after the next push"
    print("   ->", said)
    return "complete" if said is None else "refused"


def whole(storage: Remote) -> dict[str, bytes]:
    """Return what has its final name: a connection that is lost leaves half a file of another."""
    return {path: data for path, data in storage.objects().items() if ".tmp" not in path}


def published(models: Project) -> str | None:
    """Do what the pre-push hook does; return what it refuses with, or None."""
    with Workspace.discover(models.path) as ws:
        try:
            pushing.publish(ws, ws.git.all_commits(), upload=True)
        except DevmlError as e:
            return e.message
    return None


@pytest.fixture(scope="session")
def impatient(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fixture `models` makes and a large file, for faults alone: two silent seconds end it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        seal(tmp_path_factory.mktemp("faults-home"), monkeypatch)
        project = Project(tmp_path_factory.mktemp("faults") / "project", differential=False)
        shutil.copytree(template, project.path, symlinks=True)
        commit_three(project)
        project.write("models/b.pt", "b" * 300_000)
        project.devml("commit", "-qam", "b")
        run("git", "config", "devml.stallTimeout", "2", cwd=project.path)
    return project.path


FIRST = int(os.environ.get("DEVML_FAULT_SEED", "0"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + 60))
def test_push_through_faults_is_complete_or_refused(
    impatient: Path, storages: Storages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(remote, "PAUSES", (0.05, 0.1, 0.2))
    shutil.copytree(impatient, tmp_path / "project", symlinks=True)
    push_through_faults(Project(tmp_path / "project"), storages(KINDS[seed % 4]), seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_push_through_many_faults_is_complete_or_refused(
    impatient: Path, storages: Storages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(remote, "PAUSES", (0.05, 0.1, 0.2))
    shutil.copytree(impatient, tmp_path / "project", symlinks=True)
    push_through_faults(Project(tmp_path / "project"), storages(KINDS[seed % 4]), seed)


@pytest.mark.parametrize(
    ("options", "said"),
    [(["-n"], "nothing is checked out; once it is: devml-git init"), (["--sparse"], "git hooks installed")],
)  # fmt: skip
def test_clone_of_which_nothing_or_little_is_checked_out_says_how_to_go_on(
    models: Project, tmp_path: Path, options: list[str], said: str
) -> None:
    ran = devml("clone", "--no-content", "-q", *options, str(models.path), "clone", cwd=tmp_path)
    assert ran.status == 0
    assert said in ran.out
    assert run("git", "status", "--porcelain", cwd=tmp_path / "clone").out.count("M ") == 0

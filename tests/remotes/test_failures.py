"""Each way a DVC remote can fail: a clear cause, exit code 21, nothing published, and it goes on."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devml_git import causes, patience, pushing, remote, verifying
from devml_git.errors import DevmlError
from devml_git.remote import Wanted
from devml_git.workspace import Workspace
from tests.remotes.proxy import Fault
from tests.remotes.remote import Remote
from tests.test_transfer import needed, prepared, published, whole
from tests.world import Project, run

Storages = Callable[..., Remote]


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once; let S3's client, which tries five times five times, try twice."""
    monkeypatch.setattr(remote, "PAUSES", (0.02, 0.05, 0.1))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")


def failure(models: Project) -> DevmlError:
    """Do what the pre-push hook does; it must fail."""
    with Workspace.discover(models.path) as ws, pytest.raises(DevmlError) as raised:
        pushing.publish(ws, ws.git.all_commits(), upload=True)
    return raised.value


REFUSES, FULL, LATER, NOWHERE = "refuses", "is full", "overloaded or broken", "has no such place"
LOCAL = "dvc remote modify --local storage"
ALWAYS = [
    ("s3", "forbidden", REFUSES, LOCAL),
    ("s3", "skewed", REFUSES, "clock"),
    ("s3", "quota", FULL, "make space"),
    ("s3", "broken", LATER, "goes on"),
    ("webdav", "unauthorized", REFUSES, LOCAL),
    ("webdav", "quota", FULL, "make space"),
    ("http", "too many", LATER, "goes on"),
    ("http", "missing", NOWHERE, "dvc remote list"),
]
ALWAYS_TOO = [
    ("s3", "unauthorized", REFUSES, LOCAL),
    ("s3", "expired", "refuses|failed", ""),
    ("s3", "missing", NOWHERE, "dvc remote list"),
    ("s3", "too many", LATER, "goes on"),
    ("webdav", "unavailable", LATER, "goes on"),
    ("webdav", "gone", "failed", ""),
    ("http", "forbidden", REFUSES, LOCAL),
    ("http", "broken", LATER, "goes on"),
]


def some(first: list[tuple[str, ...]], others: list[tuple[str, ...]]) -> list[object]:
    """Return the first for `make test`, the others for `make test-long`."""
    return [*first, *(pytest.param(*row, marks=pytest.mark.long) for row in others)]


@pytest.mark.parametrize(("kind", "what", "words", "hint"), some(ALWAYS, ALWAYS_TOO))
def test_refusal_that_stays_is_named_and_the_next_push_completes(
    models: Project, storages: Storages, kind: str, what: str, words: str, hint: str
) -> None:
    storage = storages(kind)
    prepared(models, storage)
    with storage.behind(Fault(what, where="PUT|POST", times=0)) as (faulty, _):
        faulty.configure(models)
        error = failure(models)
    assert re.search(words, error.message), error.message
    assert "DVC remote storage" in error.message
    assert hint in (error.hint or "")
    assert error.exit_code == 21
    storage.settle()
    assert not any(path.endswith(".dir") for path in storage.objects())
    storage.configure(models)
    assert published(models) is None
    assert storage.objects() == needed(models)


ONCE = [
    ("s3", "unavailable"), ("s3", "cut request"), ("webdav", "too many"), ("webdav", "cut"),
    ("http", "broken"), ("http", "refuse"),
]  # fmt: skip
ONCE_TOO = [
    (kind, what)
    for kind in ("s3", "webdav", "http")
    for what in ("too many", "broken", "unavailable", "cut", "cut request", "refuse")
    if (kind, what) not in ONCE
]


@pytest.mark.parametrize(("kind", "what"), some(ONCE, ONCE_TOO))
def test_fault_that_passes_is_got_over_within_one_push(
    models: Project, storages: Storages, kind: str, what: str
) -> None:
    storage = storages(kind)
    prepared(models, storage)
    amount = {"cut": 10, "refuse": 0.05}.get(what, 0)
    fault = Fault(what, where="PUT|POST", at=2, times=2, amount=amount)
    with storage.behind(fault) as (faulty, proxy):
        faulty.configure(models)
        assert published(models) is None
        assert proxy.met
    storage.settle()
    assert whole(storage) == needed(models)


def test_remote_is_asked_once_for_content_that_it_has_not(
    models: Project, storages: Storages
) -> None:
    storage = storages("http")
    prepared(models, storage)
    assert published(models) is None
    lost = sorted(o for o in models.objects() if not o.endswith(".dir"))
    for oid in lost:
        storage.remove(oid)
    clone = Project(models.path.parent / "clone")
    with storage.behind() as (faulty, proxy):
        run("git", "clone", "-q", models.path, clone.path, cwd=models.path.parent)
        clone.devml("init", "--no-fetch", check=False)
        faulty.configure(clone)
        assert clone.devml("checkout", check=False).status == 30
        asked = [name for name, _ in proxy.seen]
    named = [oid for oid in lost if any(name.endswith(oid[2:]) for name in asked)]
    assert len(named) > 2
    assert all(sum(name.endswith(oid[2:]) for name in asked) == 1 for oid in named), asked


@pytest.mark.parametrize(("what", "amount"), [("cut", 20_000), ("refuse", 0.05)])
def test_lost_ssh_connection_is_made_anew_within_one_push(
    models: Project, storages: Storages, what: str, amount: float
) -> None:
    storage = storages("ssh")
    prepared(models, storage)
    models.write("models/big.pt", os.urandom(200_000))
    models.devml("commit", "-qm", "big")
    with storage.behind(Fault(what, at=1, amount=amount)) as (faulty, proxy):
        faulty.configure(models)
        assert published(models) is None
        assert proxy.met
    assert whole(storage) == needed(models)


def test_fault_that_passes_is_got_over_while_fetching(
    models: Project, storages: Storages, tmp_path: Path
) -> None:
    storage = storages("webdav")
    bare = prepared(models, storage)
    models.git("push", "-q", "origin", "main")
    run("git", "clone", "-q", str(bare), "clone", cwd=tmp_path)
    clone = Project(tmp_path / "clone", differential=False)
    with storage.behind(Fault("unavailable", where="GET", times=2)) as (faulty, proxy):
        faulty.configure(clone)
        clone.devml("init", "--no-content")
        clone.devml("fetch", "--all")
        assert proxy.met
    assert set(clone.objects()) == set(models.objects())


def test_pause_that_the_remote_asks_for_is_kept_and_a_long_one_is_for_the_user(
    models: Project, storages: Storages
) -> None:
    storage = storages("webdav")
    prepared(models, storage)
    with storage.behind(Fault("too many", where="PUT", amount=1)) as (faulty, proxy):
        faulty.configure(models)
        began = time.monotonic()
        assert published(models) is None
        assert time.monotonic() - began > 1
        assert len(proxy.met) == 1
    storage.wipe()
    asked = patience.LONGEST_WAIT + 1
    with storage.behind(Fault("too many", where="PUT", times=0, amount=asked)) as (faulty, proxy):
        faulty.configure(models)
        assert "overloaded" in failure(models).message
        met = list(proxy.met)
    assert len(met) == len(set(met)), "nothing was tried twice"


@pytest.mark.parametrize("kind", ["s3", "webdav", "ssh"])
def test_remote_that_hangs_or_is_not_there_ends_in_words(
    models: Project, storages: Storages, kind: str
) -> None:
    storage = storages(kind)
    prepared(models, storage)
    run("git", "config", "devml.stallTimeout", "2", cwd=models.path)
    hanging = Fault("hang", where="PUT|POST", times=0, amount=0)
    if kind == "ssh":
        hanging = Fault("hang", times=0, amount=8_000)
    with storage.behind(hanging) as (faulty, _):
        faulty.configure(models)
        began = time.monotonic()
        error = failure(models)
        assert "has not answered for" in error.message
        assert time.monotonic() - began < 40
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        storage.through(taken.getsockname()[1]).configure(models)
        run("git", "config", "devml.stallTimeout", "60", cwd=models.path)
        error = failure(models)
    assert re.search("cannot be reached|has not answered", error.message), error.message
    assert error.exit_code == 21
    storage.configure(models)
    assert published(models) is None


@pytest.mark.parametrize(
    ("what", "words"), [("refuse", "cannot be reached"), ("broken", LATER), ("forbidden", REFUSES)]
)
def test_http_remote_that_fails_is_never_taken_for_an_empty_one(
    models: Project, storages: Storages, monkeypatch: pytest.MonkeyPatch, what: str, words: str
) -> None:
    from dvc_http import HTTPFileSystem

    monkeypatch.setattr(HTTPFileSystem, "SESSION_RETRIES", 1)
    storage = storages("http")
    prepared(models, storage)
    assert published(models) is None
    with storage.behind(Fault(what, where="GET|HEAD", times=0)) as (faulty, _):
        faulty.configure(models)
        assert words in failure(models).message
        with Workspace.discover(models.path) as ws:
            commits = ws.git.all_commits()
            with pytest.raises(DevmlError, match=words) as raised:
                verifying.verify(ws, commits, remote="", full=False, repair=False)
            assert raised.value.exit_code == 21
            with pytest.raises(DevmlError, match=words):
                ws.remote("storage").get(Wanted("0" * 32))


def test_number_inside_an_oid_is_no_status() -> None:
    cut = causes.explained(ConnectionResetError("cut at files/md5/40/3507401403"), "storage")
    assert isinstance(cut, causes.Passing)
    assert "cannot be reached" in cut.message


def test_host_that_has_no_address_is_named_at_once(models: Project) -> None:
    models.differential = False
    models.dvc("remote", "add", "--local", "-q", "-d", "storage", "ssh://nowhere.invalid/x")
    error = failure(models)
    assert "cannot be found" in error.message
    assert "dvc remote list" in (error.hint or "")


def test_ssh_host_whose_key_has_changed_is_refused(
    models: Project, storages: Storages, sealed: Path, tmp_path: Path
) -> None:
    storage = storages("ssh")
    prepared(models, storage)
    place = Path(storage.options["keyfile"]).parent
    known = sealed / ".ssh" / "known_hosts"
    known.parent.mkdir(exist_ok=True)
    line = "[127.0.0.1]:{} {}"
    known.write_text(line.format(storage.port, (place / "stranger.pub").read_text()))
    error = failure(models)
    assert "is a host that ssh does not know" in error.message
    assert storage.objects() == {}
    known.write_text(line.format(storage.port, (place / "host.pub").read_text()))
    assert published(models) is None


@pytest.mark.parametrize("kind", ["ssh", "webdav"])
def test_password_is_never_asked_for_and_the_setting_is_named(
    models: Project, storages: Storages, kind: str
) -> None:
    """On a terminal of its own, where DVC itself would wait for an answer."""
    storage = storages(kind)
    bare = prepared(models, storage)
    wrong = storage.with_wrong_credentials() if kind == "ssh" else storage
    options = {k: v for k, v in wrong.options.items() if k != "password"}
    dataclasses.replace(wrong, options=options).configure(models, ask_password="true")
    if kind == "webdav":
        config = models.path / ".dvc/config.local"
        kept = [x for x in config.read_text().splitlines() if not x.strip().startswith("password")]
        config.write_text("\n".join(kept) + "\n")
    script = (
        "import os, pty, sys\n"
        "sys.exit(os.waitstatus_to_exitcode(pty.spawn(['git', 'push', 'origin', 'main'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=models.path, capture_output=True, text=True,
        timeout=100, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode, done.stdout
    assert "ask_password" in done.stdout
    assert "dvc remote modify --local storage password" in done.stdout
    assert "nter a pass" not in done.stdout
    assert run("git", "for-each-ref", cwd=bare).out == ""


def test_encrypted_key_without_agent_is_refused_and_its_passphrase_not_asked_for(
    models: Project, storages: Storages, sealed: Path
) -> None:
    storage = storages("ssh")
    prepared(models, storage)
    key = sealed / "locked"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key), cwd=sealed)
    dataclasses.replace(storage, options={**storage.options, "keyfile": str(key)}).configure(models)
    error = failure(models)
    assert error.exit_code == 21
    assert "storage" in error.message


@pytest.mark.parametrize("kind", ["ssh", "s3", "directory"])
def test_disk_that_is_full_at_the_remote_is_named_and_the_next_push_completes(
    models: Project, storages: Storages, kind: str
) -> None:
    storage = storages(kind, disk="1m")
    assert storage.disk is not None
    prepared(models, storage)
    storage.disk.fill()
    error = failure(models)
    assert error.exit_code == 21
    if kind == "directory":
        assert "is full" in error.message
    storage.disk.make_room()
    assert published(models) is None
    assert whole(storage) == needed(models)


def test_object_damaged_on_its_way_to_s3_is_sent_again(models: Project, storages: Storages) -> None:
    storage = storages("s3")
    prepared(models, storage)
    with storage.behind(Fault("flip request", where="PUT", at=2, amount=3)) as (faulty, _):
        faulty.configure(models)
        assert published(models) is None
    storage.settle()
    assert storage.objects() == needed(models)
    with storage.behind(Fault("flip request", where="PUT", times=0, amount=3)) as (faulty, _):
        storage.wipe()
        faulty.configure(models)
        assert "does not have it" in failure(models).message
    storage.settle()
    assert storage.objects() == {}, "no damaged copy is left under a good name"


def test_damage_that_s3_itself_tells_is_found_by_verify_without_reading_everything(
    models: Project, storages: Storages
) -> None:
    storage = storages("s3")
    prepared(models, storage)
    models.git("push", "-q", "origin", "main")
    oid = models.object("models/a.pt.dvc")
    name = oid.parent.name + oid.name
    storage.corrupt(name)
    found = models.devml("verify", "--remote", "--json").json
    assert [(p["oid"], p["problem"]) for p in found["problems"]] == [(name, "not-on-remote")]


def test_etags_that_are_no_md5_are_found_out_by_reading_one_object(
    models: Project, storages: Storages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a bucket with SSE-KMS."""
    storage = storages("s3")
    prepared(models, storage)
    models.git("push", "-q", "origin", "main")
    monkeypatch.setattr(remote, "_md5_in", lambda entry: "0" * 32)
    read: list[str] = []
    proves = remote.Remote.proves
    monkeypatch.setattr(
        remote.Remote, "proves", lambda self, w: read.append(w.oid) or proves(self, w)
    )
    with Workspace.discover(models.path) as ws:
        sent = pushing.transfer.publish(ws, ws.git.all_commits(), upload=True)
    assert (sent.uploaded, sent.lacking) == (0, [])
    assert len(read) <= 2


def test_bucket_that_is_not_there_is_a_wrong_address_and_no_empty_remote(
    models: Project, storages: Storages
) -> None:
    prepared(models, storages("s3"))
    models.git("push", "-q", "origin", "main")
    models.dvc("remote", "modify", "--local", "storage", "url", "s3://no-such-bucket/x")
    for command in ("verify --remote", "push --all"):
        ran = models.devml(*command.split(), check=False)
        assert ran.status == 21, command
        assert "bucket does not exist" in ran.err
        assert "dvc remote list" in ran.err


def test_same_digest_under_two_hash_names_is_two_objects(
    models: Project, storages: Storages
) -> None:
    storage = storages("directory")
    prepared(models, storage)
    models.git("push", "-q", "origin", "main")
    oid = next(oid for oid in storage.oids() if not oid.endswith(".dir"))
    with Workspace.discover(models.path) as ws:
        there = ws.remote("storage").sizes([Wanted(oid), Wanted(oid, "md5-dos2unix")])
    assert set(there) == {(oid, "md5")}


class Answer(Exception):
    """As an HTTP library raises it."""

    status = 503

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.headers = {"Retry-After": "7"}


def test_what_passes_is_told_from_what_stays() -> None:
    passing = causes.explained(Answer("busy"), "r")
    assert isinstance(passing, causes.Passing)
    assert passing.after == 7
    for error in (
        ConnectionResetError(104, "reset"),
        TimeoutError("slow"),
        BrokenPipeError(32, ""),
    ):
        assert isinstance(causes.explained(error, "r"), causes.Passing)
    for error in (
        PermissionError(13, "no"), OSError(28, "No space left on device"),
        socket.gaierror(-2, "Name or service not known"), FileNotFoundError("gone"), ValueError("x"),
    ):  # fmt: skip
        assert not isinstance(causes.explained(error, "r"), causes.Passing)
    response = type("Response", (), {"headers": {"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}})
    late = Answer("busy")
    late.headers = {}
    late.response = response()
    assert causes.explained(late, "r").after > 1e6

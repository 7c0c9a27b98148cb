"""Each fault really has its effect, on requests that are as simple as can be."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.remotes.proxy import HOST, LISTINGS, WRITES, Fault, Proxy, Relay, schedule
from tests.remotes.remote import Remote
from tests.remotes.servers import Storing
from tests.remotes.test_remotes import OID, PATH, Client

Storages = Callable[..., Remote]
BODY = bytes(range(256)) * 4
TARGET = "/stored"


class Raw:
    """An HTTP remote behind a proxy, asked by hand."""

    def __init__(self, storage: Remote, *faults: Fault) -> None:
        self.storage = storage
        self.proxy = Proxy((HOST, storage.port), faults)
        self.file = storage.place / TARGET[1:]

    def ask(
        self, method: str, body: bytes | None = None, seconds: float = 5
    ) -> tuple[int, Any, bytes]:
        """Ask on a connection of its own: status, headers, body."""
        client = http.client.HTTPConnection(HOST, self.proxy.port, timeout=seconds)
        try:
            path = f"/{self.storage.place.name}{TARGET}"
            client.request(method, path, body, {Storing.HEADER: Storing.TOKEN})
            answer = client.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            client.close()

    def put(self) -> int:
        return self.ask("PUT", BODY)[0]

    def get(self) -> bytes:
        return self.ask("GET")[2]


@pytest.fixture
def raw(storages: Storages) -> Iterator[Callable[..., Raw]]:
    """Make a raw client for faults; a file is stored already."""
    made: list[Raw] = []

    def make(*faults: Fault) -> Raw:
        one = Raw(storages("http"), *faults)
        one.file.write_bytes(BODY)
        made.append(one)
        return one

    yield make
    for one in made:
        one.proxy.close()


def test_without_a_fault_all_passes(raw: Callable[..., Raw]) -> None:
    client = raw()
    client.file.unlink()
    assert client.put() == 201
    assert client.file.read_bytes() == client.get() == BODY
    assert client.ask("HEAD")[1]["Content-Length"] == str(len(BODY))
    assert client.proxy.met == []


def test_faults_meet_the_requests_they_are_for_and_no_other(raw: Callable[..., Raw]) -> None:
    client = raw(Fault("broken", where="^GET", at=2, times=2), Fault("gone", where=WRITES, times=0))
    assert [client.ask("GET")[0] for _ in range(4)] == [200, 500, 500, 200]
    assert [client.put(), client.put()] == [410, 410]
    assert [met.split()[0] for met in client.proxy.met] == ["broken"] * 2 + ["gone"] * 2


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("unauthorized", 401), ("forbidden", 403), ("skewed", 403), ("missing", 404), ("gone", 410),
        ("too many", 429), ("broken", 500), ("unavailable", 503), ("expired", 401), ("quota", 507),
    ],
)  # fmt: skip
def test_errors_are_answered_and_nothing_is_stored(
    what: str, status: int, raw: Callable[..., Raw]
) -> None:
    client = raw(Fault(what, times=0, amount=7))
    client.file.unlink()
    found, headers, body = client.ask("PUT", BODY)
    assert found == status
    assert b"<Code>" in body
    assert headers["Retry-After"] == ("7" if status in {429, 503} else None)
    assert client.ask("HEAD")[0] == status
    assert not client.file.exists()


def test_connections_are_refused_for_a_time_or_for_good(raw: Callable[..., Raw]) -> None:
    client = raw(Fault("refuse", amount=0.2), Fault("refuse", at=3))
    with pytest.raises(ConnectionResetError):
        client.get()
    with pytest.raises(ConnectionRefusedError):
        client.get()
    time.sleep(0.3)
    assert client.get() == BODY
    with pytest.raises(ConnectionResetError):
        client.get()
    time.sleep(0.1)
    with pytest.raises(ConnectionRefusedError):
        client.get()
    client.proxy.open()
    assert client.get() == BODY


@pytest.mark.parametrize("amount", [0, 100])
def test_connection_cut_in_a_request(amount: int, raw: Callable[..., Raw]) -> None:
    client = raw(Fault("cut request", where=WRITES, amount=amount))
    client.file.unlink()
    with pytest.raises(ConnectionError):
        client.put()
    assert not client.file.exists()
    assert client.put() == 201


def test_webdav_keeps_what_came_before_the_cut(storages: Storages, tmp_path: Path) -> None:
    """Why the size of what was uploaded must be asked for: it lies at its final place."""
    storage = storages("webdav")
    with (
        storage.behind(Fault("cut request", where="^PUT", amount=2)) as (remote, _),
        pytest.raises(Exception, match=r"(?i)disconnected|reset|broken pipe"),
    ):
        Client(remote, tmp_path).put()
    end = time.monotonic() + 5
    while storage.objects() != {PATH: b"he"} and time.monotonic() < end:
        time.sleep(0.01)
    assert storage.objects() == {PATH: b"he"}


@pytest.mark.parametrize("amount", [0, 10, 400])
def test_connection_cut_in_an_answer(amount: int, raw: Callable[..., Raw]) -> None:
    client = raw(Fault("cut", amount=amount))
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        client.get()


def test_answer_that_is_lost_leaves_what_was_stored(raw: Callable[..., Raw]) -> None:
    client = raw(Fault("cut"))
    client.file.unlink()
    with pytest.raises(ConnectionError):
        client.put()
    assert client.file.read_bytes() == BODY


@pytest.mark.parametrize("what", ["hang", "stall"])
def test_hanging_ends_with_the_clients_patience_and_holds_up_nobody_else(
    what: str, raw: Callable[..., Raw]
) -> None:
    client = raw(Fault(what, amount=300 if what == "stall" else 0))
    with pytest.raises(TimeoutError):
        client.ask("GET", seconds=0.2)
    assert client.get() == BODY


def test_slow_answer_takes_its_time(raw: Callable[..., Raw]) -> None:
    client = raw(Fault("slow", amount=0.3))
    start = time.monotonic()
    assert client.get() == BODY
    assert time.monotonic() - start >= 0.29


def test_swallowed_upload_is_acknowledged_and_not_stored(raw: Callable[..., Raw]) -> None:
    client = raw(Fault("swallow", where=WRITES))
    client.file.unlink()
    assert client.put() == 201
    assert not client.file.exists()


def test_answers_are_shortened_with_the_right_or_the_wrong_length(raw: Callable[..., Raw]) -> None:
    client = raw(Fault("short", amount=24), Fault("truncated", at=2, amount=24))
    assert client.get() == BODY[:-24]
    with pytest.raises(http.client.IncompleteRead) as cut:
        client.get()
    assert cut.value.partial == BODY[:-24]


def test_one_bit_is_flipped_on_the_way_back_or_there(raw: Callable[..., Raw]) -> None:
    flipped = bytes([BODY[0], BODY[1] ^ 4]) + BODY[2:]
    client = raw(
        Fault("flip", where="^GET", amount=10), Fault("flip request", where="^PUT", amount=10)
    )
    assert client.get() == flipped
    assert client.file.read_bytes() == BODY
    assert client.put() == 201
    assert client.file.read_bytes() == flipped


def test_request_is_delivered_twice(raw: Callable[..., Raw]) -> None:
    outer = raw(Fault("twice"))
    inner = Proxy((HOST, outer.storage.port))
    outer.proxy.upstream = (HOST, inner.port)
    with inner:
        assert outer.put() == 201
        assert len(inner.seen) == 2
    assert outer.file.read_bytes() == BODY


def test_watcher_sees_each_request_before_it_is_answered(raw: Callable[..., Raw]) -> None:
    client = raw()
    client.proxy.watch = lambda name: client.file.unlink() if name.startswith("GET") else None
    assert client.ask("HEAD")[0] == 200
    assert client.ask("GET")[0] == 404


# -- through the file systems of DVC -------------------------------------------------------------


def names(client: Client) -> set[str]:
    client.fs.fs.invalidate_cache()
    return {Path(path).name for path in client.fs.find(client.path.rpartition("/")[0])}


@pytest.mark.parametrize("storage", ["s3", "webdav"], indirect=True)
def test_listings_are_stale_or_partial(storage: Remote, tmp_path: Path) -> None:
    for n in range(20):
        file = storage.object(f"{OID[:-2]}{n:02}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    storage.settle()
    with storage.behind(Fault("stale", LISTINGS, at=2)) as (remote, proxy):
        client = Client(remote, tmp_path)
        all_of_them = names(client)
        storage.wipe()
        assert names(client) == all_of_them
        assert len(all_of_them) == 20
        assert len(proxy.met) == 1
        client.put()
        assert names(client) == {OID[2:]}
    client = Client(storage, tmp_path)
    for n in range(20):
        storage.object(f"{OID[:-2]}{n:02}").write_bytes(b"x")
    storage.settle()
    with storage.behind(Fault("partial", LISTINGS, amount=1)) as (remote, proxy):
        assert 0 < len(names(Client(remote, tmp_path))) < 21
        assert len(names(Client(remote, tmp_path))) == 21


def test_s3_stores_what_was_changed_on_its_way_and_its_etag_tells(
    storages: Storages, tmp_path: Path
) -> None:
    storage = storages("s3")
    with storage.behind(Fault("flip request", "^PUT", amount=9)) as (remote, _):
        client = Client(remote, tmp_path)
        client.put()
        client.fs.fs.invalidate_cache()
        assert client.fs.info(client.path)["ETag"].strip('"') != OID
    assert storage.objects() == {PATH: b"hgllo"}


def test_s3_says_what_expired_and_what_is_full(
    storages: Storages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    storage = storages("s3")
    for what in ("expired", "quota", "skewed"):
        with (
            storage.behind(Fault(what, "^PUT", times=0)) as (remote, _),
            pytest.raises(OSError, match=what),
        ):
            Client(remote, tmp_path).put()
    with storage.behind(Fault("swallow", "^PUT")) as (remote, _):
        client = Client(remote, tmp_path)
        client.put()
        assert not client.is_there()


# -- any protocol --------------------------------------------------------------------------------


@pytest.fixture
def echo() -> Iterator[int]:
    """A port that says back what it is told."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            while data := connection.recv(100):
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    listener = socket.create_server((HOST, 0))
    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def told(port: int, data: bytes, seconds: float = 2) -> bytes:
    """Send, and return what comes back until it ends or nothing comes."""
    found = b""
    with socket.create_connection((HOST, port), timeout=seconds) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while piece := client.recv(100):
            found += piece
    return found


def test_relay_passes_cuts_hangs_flips_and_slows(echo: int) -> None:
    data = b"0123456789"
    with Relay((HOST, echo)) as relay:
        assert told(relay.port, data) == data
    with Relay((HOST, echo), [Fault("cut", amount=15)]) as relay:
        with pytest.raises(ConnectionResetError):
            told(relay.port, data)
        assert told(relay.port, data) == data
    with Relay((HOST, echo), [Fault("hang", amount=5)]) as relay, pytest.raises(TimeoutError):
        told(relay.port, data, 0.2)
    with Relay((HOST, echo), [Fault("flip", amount=12)]) as relay:
        assert told(relay.port, data) == b"0133456789"
    with Relay((HOST, echo), [Fault("refuse")]) as relay:
        with pytest.raises(ConnectionResetError):
            told(relay.port, data)
        with pytest.raises(ConnectionRefusedError):
            told(relay.port, data)
    with Relay((HOST, echo), [Fault("slow", amount=50)]) as relay:
        start = time.monotonic()
        assert told(relay.port, data) == data
        assert time.monotonic() - start > 0.3


def test_ssh_is_cut_and_hangs(storages: Storages, tmp_path: Path) -> None:
    storage = storages("ssh")
    with storage.behind() as (remote, relay):
        Client(remote, tmp_path).put()
        assert relay.seen == [("connection", None)]
    with (
        storage.behind(Fault("cut", amount=20_000)) as (remote, _),
        pytest.raises(asyncssh.Error, match="not open|lost"),  # not an OSError
    ):
        Client(remote, tmp_path).put(b"x" * 100_000)
    assert storage.objects().pop(PATH) == b"hello"  # what came of the other lies beside it
    with (
        storage.behind(Fault("hang", amount=1000)) as (remote, _),
        pytest.raises(Exception) as slow,
    ):
        Client(replace(remote, options={**remote.options, "timeout": "1"}), tmp_path).put()
    assert "imeout" in repr(slow)


# -- schedules -----------------------------------------------------------------------------------


def test_schedules_are_the_same_for_a_seed_and_have_every_kind() -> None:
    for door in (Proxy, Relay):
        drawn = [schedule(seed, door) for seed in range(400)]
        assert drawn == [schedule(seed, door) for seed in range(400)]
        assert {fault.what for faults in drawn for fault in faults} == set(door.KINDS)
    assert {f.what for s in range(50) for f in schedule(s, Proxy, ("flip",))} == {"flip"}

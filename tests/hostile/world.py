"""What lies around a hostile repository: a HOME with keys, neighbours, remotes. All is watched."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.world import GIT_CONFIG, settings_of

BIN = Path(sys.executable).parent
# Each of these files has a secret text of its own, by which a leak is told
SECRETS = (
    "home/.ssh/id_rsa",
    "home/.aws/credentials",
    "home/.netrc",
    "home/.config/gcloud/application_default_credentials.json",
    "home/x.yaml",
    "home/x.py",
    "home/notes.txt",
    "victim/secret.txt",
    "victim/params.yaml",
    "victim/metrics.json",
    "victim/data/a.csv",
    "victim/devml.toml",
    "work/neighbour/notes.txt",
)
# Read by the libraries that speak to a remote; allowed where the user typed his trust
KEYS = SECRETS[:4]


@dataclass
class World:
    """The directory of one case.

    `hub` has the git repositories that are cloned from, `remote` is the DVC remote of the honest
    part, `elsewhere` is where nothing was ever set up, `work` is where the victim works. What a
    payload leaves in `struck` proves that it ran.
    """

    root: Path
    secrets: dict[Path, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)  # stands in the tree, and is not to be shown

    def __post_init__(self) -> None:
        self.root = self.root.resolve()
        for name in ("home", "victim", "hub", "remote", "elsewhere", "work", "tmp", "struck"):
            (self.root / name).mkdir(parents=True)
            setattr(self, name, self.root / name)
        (self.home / ".gitconfig").write_text(GIT_CONFIG + "[devml]\n    stallTimeout = 3\n")
        for name in SECRETS:
            secret = "secret" + hashlib.sha256(name.encode()).hexdigest()[:16]
            self.secrets[self.root / name] = secret
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_with(secret, name))
        (self.home / ".ssh").chmod(0o700)
        (self.home / ".ssh/known_hosts").write_text("")
        self.before = self.outside()

    home: Path = field(init=False)
    victim: Path = field(init=False)
    hub: Path = field(init=False)
    remote: Path = field(init=False)
    elsewhere: Path = field(init=False)
    work: Path = field(init=False)
    tmp: Path = field(init=False)
    struck: Path = field(init=False)

    @property
    def minor(self) -> int:
        """The second number of this Python's version, which stands in paths."""
        return sys.version_info.minor

    @property
    def url(self) -> str:
        """The git repository that everybody clones."""
        return str(self.hub / "models.git")

    def bare(self) -> str:
        """Return the hub's repository, made when it is first asked for."""
        if not Path(self.url).exists():
            self.run("git", "init", "-q", "--bare", "-b", "main", self.url, cwd=self.root)
            self.run("git", "config", "gc.auto", "0", cwd=Path(self.url))
        return self.url

    def env(self) -> dict[str, str]:
        """Return the environment of every command, and nothing of the real one."""
        own = {
            "USER": "victim",
            "TMPDIR": str(self.tmp),
            "SSH_AUTH_SOCK": str(self.root / "agent.sock"),
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        }
        return settings_of(self.home) | own

    def run(self, *argv: str | Path, cwd: Path, stdin: bytes | None = None,
            check: bool = True, **env: str) -> str:  # fmt: skip
        """Run a program that nobody watches: what makes a case, not what is tried."""
        done = subprocess.run([str(a) for a in argv], cwd=cwd, env=self.env() | env, input=stdin,
                              capture_output=True, check=False)  # fmt: skip
        if check and done.returncode:
            err = (done.stdout + done.stderr).decode("utf-8", "replace")
            raise AssertionError(f"{argv} in {cwd}: {done.returncode}\n{err}")
        return done.stdout.decode("utf-8", "surrogateescape")

    def outside(self) -> dict[Path, tuple[int, bytes]]:
        """Return modes and contents of what no command may ever change."""
        found = {}
        for base in (self.home, self.victim, self.work / "neighbour"):
            for here, directories, files in os.walk(base):
                directories[:] = [d for d in directories if d not in HOME_MAY_HAVE]
                for name in (*directories, *files):
                    place = Path(here) / name
                    if name in HOME_MAY_HAVE:
                        continue
                    st = place.lstat()
                    plain = place.is_file() and not place.is_symlink()
                    found[place] = (st.st_mode, place.read_bytes() if plain else b"")
        return found


# What programs keep in a HOME without being asked: caches, DVC's own settings
HOME_MAY_HAVE = {".cache", "dvc-site", "dvc-global", "dvc-system", "dvc", ".pytest_cache"}


def _with(secret: str, name: str) -> str:
    """Return a text in the form that its reader would understand, with the secret in it."""
    if name.endswith("credentials"):
        return f"[default]\naws_access_key_id = {secret}\naws_secret_access_key = {secret}\n"
    if name.endswith(".netrc"):
        return f"machine 127.0.0.1 login x password {secret}\n"
    if name.endswith(".json"):
        return f'{{"{secret}": 1, "loss": 2}}\n'
    if name.endswith(".yaml"):
        return f"{secret}: 1\nlr: {secret}\n"
    if name.endswith((".py", ".toml")):
        return f'{secret} = "{secret}"\n'
    return f"{secret}\n"

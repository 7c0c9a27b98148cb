"""Honest repositories are not punished: with at most one `trust`, all works as before.

The project is made by plain git and DVC. What git tracks is the remote's address; keys and
passwords are in the user's own settings, as they should be.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from configobj import ConfigObj

from tests.remotes.remote import HOST, Remote
from tests.remotes.servers import Servers
from tests.world import Project, Ran, devml, run

TRACKED = ("endpointurl", "region")
# A directory, and an ssh host whose key is known: read from without a question
HARMLESS = ("directory", "ssh")


@dataclass
class Team:
    """A published project, and the remote with its content."""

    bare: Path
    storage: Remote
    place: Path

    @property
    def harmless(self) -> bool:
        """Whether what the user types may read from the remote without a question."""
        return self.storage.kind in HARMLESS

    def clone(self, *options: str) -> tuple[Project, Ran]:
        """Clone by devml-git; return the clone, and what was said."""
        place = self.place / "clone"
        ran = devml("clone", *options, str(self.bare), str(place), cwd=self.place)
        assert (place / ".git").is_dir(), ran.err
        return Project(place, differential=False), ran


@pytest.fixture
def team(storage: Remote, servers: Servers, tmp_path: Path, sealed: Path) -> Team:
    """Make a project with plain git and DVC, push it, and give the user his own settings."""
    from dvc.repo import Repo

    if storage.kind == "ssh":
        _know_the_host(servers, sealed)
    author = Project(tmp_path / "author", differential=False)
    author.path.mkdir()
    run("git", "init", "-q", cwd=author.path)
    Repo.init(str(author.path)).close()
    tracked = {k: v for k, v in storage.options.items() if k in TRACKED}
    private = {k: v for k, v in storage.options.items() if k not in TRACKED}
    _settings(author.path / ".dvc/config", {"url": storage.url, **tracked})
    _settings(author.path / ".dvc/config.local", private)
    author.write("m.bin", "weights\n")
    author.write("data/a.csv", "a\n1\n")
    with Repo(str(author.path)) as repo:
        repo.add([str(author.path / "m.bin"), str(author.path / "data")])
        repo.push()
    run("git", "add", "-A", cwd=author.path)
    run("git", "commit", "-qm", "made by plain DVC", cwd=author.path)
    run("git", "clone", "-q", "--bare", str(author.path), "bare", cwd=tmp_path)
    _settings(Path(os.environ["DVC_GLOBAL_CONFIG_DIR"]) / "config", private)
    return Team(tmp_path / "bare", storage, tmp_path)


def _settings(file: Path, options: dict[str, str]) -> None:
    """Write a DVC configuration with one remote."""
    if options:
        file.parent.mkdir(parents=True, exist_ok=True)
        config = ConfigObj(str(file), interpolation=False, encoding="utf-8")
        if "url" in options:
            config["core"] = {"remote": "storage"}
        config['remote "storage"'] = options
        config.write()


def _know_the_host(servers: Servers, home: Path) -> None:
    key = (servers.ssh.place / "host.pub").read_text()
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh/known_hosts").write_text(f"[{HOST}]:{servers.ssh.port} {key}")


def has_content(project: Project) -> bool:
    """Whether the artifacts are there, byte for byte."""
    return project.exists("m.bin") and project.exists("data/a.csv") and (
        project.read("m.bin") == "weights\n" and project.read("data/a.csv") == "a\n1\n"
    )  # fmt: skip


def test_clone_brings_content_of_a_harmless_remote_and_names_trust_for_others(team: Team) -> None:
    project, ran = team.clone()
    if team.harmless:
        assert ran.status == 0, ran.err
    else:
        assert not has_content(project)
        assert "devml-git trust" in ran.out + ran.err or "--trust" in ran.out + ran.err
        project.devml("trust", "storage")
        project.devml("checkout")
    assert has_content(project)


def test_clone_that_trusts_brings_content_and_sends_at_once(team: Team) -> None:
    project, ran = team.clone("--trust")
    assert ran.status == 0, ran.err
    assert has_content(project)
    before = team.storage.oids()
    project.write("m.bin", "better weights\n")
    project.git("commit", "-qam", "better", check=False)
    project.devml("commit", "-qam", "better", check=False)
    project.git("push", "-q", "origin", "HEAD")
    assert len(team.storage.oids() - before) == 1


def test_first_upload_of_a_clone_needs_one_trust(team: Team) -> None:
    project, _ = team.clone()
    if not team.harmless:
        pytest.skip("is trusted before anything is read from it")
    before = team.storage.oids()
    project.write("m.bin", "better weights\n")
    project.devml("commit", "-qam", "better")
    ran = project.git("push", "-q", "origin", "HEAD", check=False)
    assert ran.status
    assert "devml-git trust storage" in ran.err
    assert team.storage.oids() == before
    project.devml("trust", "storage")
    project.git("push", "-q", "origin", "HEAD")
    assert len(team.storage.oids() - before) == 1


def test_init_in_a_clone_by_git_is_as_clone_by_us(team: Team) -> None:
    run("git", "clone", "-q", str(team.bare), "clone", cwd=team.place)
    project = Project(team.place / "clone", differential=False)
    project.devml("init", "--trust")
    assert has_content(project)
    project.write("m.bin", "better weights\n")
    project.devml("commit", "-qam", "better")
    project.git("push", "-q", "origin", "HEAD")


def test_looking_at_a_plain_clone_connects_to_nothing(team: Team) -> None:
    """Nothing is set up here: `show` says that content is not here, `verify --remote` names init."""
    run("git", "clone", "-q", str(team.bare), "clone", cwd=team.place)
    place, tried, watched = team.place / "clone", [], [True]

    def note(event: str, args: tuple[object, ...]) -> None:
        if watched and event in {"socket.connect", "socket.getaddrinfo"}:
            tried.append(args[-1] if event == "socket.connect" else args[:2])

    sys.addaudithook(note)
    for words in (["show"], ["log"], ["diff"], ["status"], ["verify"], ["doctor"]):
        assert "Traceback" not in devml(*words, cwd=place).err
    ran = devml("verify", "--remote", cwd=place)
    watched.clear()
    assert ran.status
    assert "devml-git init" in ran.err
    assert [t for t in tried if not isinstance(t, str | bytes)] == []


def test_remote_that_the_user_adds_himself_needs_no_trust(
    project: Project, storage: Remote, tmp_path: Path
) -> None:
    project.differential = False
    run("git", "init", "-q", "--bare", str(tmp_path / "bare"), cwd=tmp_path)
    project.git("remote", "add", "origin", str(tmp_path / "bare"))
    storage.configure(project)
    project.write("models/a.pt", "weights\n")
    project.commit("a model")
    project.git("push", "-q", "origin", "HEAD")
    assert len(storage.oids()) == 1


def test_directory_remote_that_the_user_commits_himself_needs_no_trust(
    project: Project, tmp_path: Path
) -> None:
    project.differential = False
    run("git", "init", "-q", "--bare", str(tmp_path / "bare"), cwd=tmp_path)
    project.git("remote", "add", "origin", str(tmp_path / "bare"))
    project.dvc("remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    project.write("models/a.pt", "weights\n")
    project.commit("a model and where it goes")
    project.git("push", "-q", "origin", "HEAD")
    assert any((tmp_path / "store").rglob("files/md5/*/*"))


@pytest.mark.long
def test_demo_is_made_and_cloned(tmp_path: Path) -> None:
    ran = devml("demo", "demo", cwd=tmp_path)
    assert ran.status == 0, ran.err
    made = Project(tmp_path / "demo", differential=False)
    assert made.in_step()
    ran = devml("clone", "demo", "clone", cwd=tmp_path)
    assert ran.status in {0, 30}, ran.err  # 30: it has no DVC remote, so content stays there
    assert "Traceback" not in ran.err

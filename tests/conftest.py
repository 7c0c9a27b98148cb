"""A sealed world: nothing a test does reads or writes the real HOME or git's system settings."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.publish import published, world  # noqa: F401 - fixtures
from tests.remotes.fixtures import servers, storage, storages  # noqa: F401 - fixtures
from tests.twins import twins  # noqa: F401 - a fixture
from tests.world import GIT_CONFIG, Project, Shelf, build_template, devml, run, settings_of

# Hypothesis takes a machine that is busy for a test that is slow; pytest-timeout tells them apart
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def seal(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process a HOME of its own, and git and DVC no settings but ours."""
    (home / ".gitconfig").write_text(GIT_CONFIG)
    for name in list(os.environ):
        if name.startswith(("GIT_", "DVC_", "DEVML_", "AWS_", "SSH_")):
            monkeypatch.delenv(name)
    # set in many containers: every hook would compile all of devml-git, as it does for no user
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    settings = settings_of(home) | {
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home)


@pytest.fixture(autouse=True)
def sealed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seal every test."""
    home = tmp_path_factory.mktemp("home")
    seal(home, monkeypatch)
    return home


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository after `devml-git init --track 'models/**' --track data/`, built once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        seal(tmp_path_factory.mktemp("template-home"), monkeypatch)
        return build_template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def project(template: Path, tmp_path: Path, sealed: Path) -> Project:
    """A copy of the template: rules, hooks and DVC set up, committed; no artifact yet."""
    place = tmp_path / "project"
    shutil.copytree(template, place, symlinks=True)
    return Project(place)


@pytest.fixture(scope="session")
def history(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fixture `models` copies, built once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        seal(tmp_path_factory.mktemp("history-home"), monkeypatch)
        project = Project(tmp_path_factory.mktemp("history") / "project")
        shutil.copytree(template, project.path, symlinks=True)
        commit_three(project)
    return project.path


@pytest.fixture
def models(history: Path, tmp_path: Path, sealed: Path) -> Project:
    """A project with three commits, tagged v1 to v3: models/a.pt and data/ change in each."""
    place = tmp_path / "project"
    shutil.copytree(history, place, symlinks=True)
    at_home(place)
    return Project(place)


def at_home(place: Path) -> None:
    """Let git's index, the record and the tripwire know a copy's files, as where they were made."""
    run("git", "update-index", "-q", "--refresh", cwd=place)
    ran = devml("snapshot", cwd=place)
    assert ran.status == 0, ran.err


def commit_three(project: Project) -> None:
    """Make v1 to v3, as the fixture `models` says."""
    for n in (1, 2, 3):
        project.write("models/a.pt", f"weights {n}\n" * 50)
        project.write("data/x.csv", f"x,{n}\n")
        project.write(f"data/part{n}.csv", f"part {n}\n")
        project.write("train.py", f"print({n})\n")
        project.commit(f"v{n}")
        project.git("tag", f"v{n}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the campaigns have done, and how many hostile repositories held."""
    held = tried = 0
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if report.when == "call" and name == "campaign":
                    terminalreporter.write_line(text)
                elif report.when == "call" and name == "hostile":
                    held, tried = held + int(text.split()[0]), tried + int(text.split()[1])
    if tried:
        terminalreporter.write_line(f"hostile repositories: {held} of {tried} held")

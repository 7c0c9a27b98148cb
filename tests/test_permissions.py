"""Private files stay private, and a cache that others can write is noticed."""

from __future__ import annotations

import grp
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devml_git.dvc_config import add_private
from devml_git.place import write_text_safely
from tests.world import Project, devml, run

PASSWORD = "['remote \"mine\"']\n    url = https://example.org/x\n    password = hunter2\n"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing on Windows")


def mode(place: Path) -> int:
    return stat.S_IMODE(place.lstat().st_mode)


def findings(project: Project) -> list[tuple[str, str, str | None]]:
    found = devml("doctor", "--json", cwd=project.path).json["findings"]
    subjects = {"private files", "cache"}
    return [(f["subject"], f["text"], f["mend"]) for f in found
            if f["subject"] in subjects and f["verdict"] != "ok"]  # fmt: skip


def mend(project: Project) -> None:
    for _, _, command in findings(project):
        assert command
        run("sh", "-ec", command, cwd=project.path)


@pytest.fixture
def outside(project: Project) -> Iterator[Path]:
    """A cache outside of git's directory, where others can come, as they cannot to `tmp_path`."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        place = Path(above) / "cache"
        place.mkdir(mode=0o755)
        project.dvc("cache", "dir", "--local", str(place))
        project.write("models/a.pt", "a")
        project.commit("a")
        assert list(place.rglob("*"))
        yield place


# -- ours ----------------------------------------------------------------------------------------


def test_what_we_write_beside_git_is_private_from_its_beginning(project: Project) -> None:
    old = os.umask(0o022)
    try:
        run("rm", "-rf", ".git/devml/record.db", ".dvc/config.local", cwd=project.path)
        project.write("models/a.pt", "a")
        project.commit("a")
        project.write("models/a.pt", "b")
        project.devml("checkout", "--force", "--", "models/a.pt")
        project.devml("verify")
        project.devml("trust")
        run("git", "show", cwd=project.path)
        run("git", "worktree", "add", "-q", "../linked", cwd=project.path)
        linked = Project(project.path.parent / "linked", differential=False)
        linked.devml("show")
    finally:
        os.umask(old)
    git = project.path / ".git"
    for base in (git / "devml", git / "worktrees/linked/devml"):
        assert mode(base) == 0o700
        databases = [
            p for p in base.iterdir() if ".db" in p.name or p.suffix in {".json", ".jsonl"}
        ]
        assert databases
        assert {p.name: mode(p) & 0o077 for p in databases if mode(p) & 0o077} == {}
    assert mode(project.path / ".dvc/config.local") == 0o600
    assert mode(linked.path / ".dvc/config.local") == 0o600
    assert findings(project) == findings(linked) == []


def test_private_directory_that_others_can_enter_is_found_and_mended(project: Project) -> None:
    project.write("models/a.pt", "a")
    project.commit("a")
    place = project.path / ".git/devml"
    place.chmod(0o755)
    (place / "record.db").chmod(0o644)
    texts = [text for _, text, _ in findings(project)]
    assert any("can be entered by others" in text for text in texts)
    assert any("others can read" in text and "record.db" in text for text in texts)
    mend(project)
    assert findings(project) == []
    assert (mode(place), mode(place / "record.db")) == (0o700, 0o600)


def test_files_beside_a_shared_cache_are_looked_at_alone(project: Project) -> None:
    project.dvc("config", "--local", "cache.shared", "group")
    place = project.path / ".git/devml"
    place.chmod(0o755)
    assert [f for f in findings(project) if f[0] == "private files"] == []
    (place / "record.db").chmod(0o644)
    assert [text.split(": ")[1] for _, text, _ in findings(project)] == ["record.db"]
    mend(project)
    assert findings(project) == []


def test_private_settings_with_a_password_that_others_can_read_are_found(project: Project) -> None:
    file = project.write(".dvc/config.local", project.read(".dvc/config.local"))
    file.chmod(0o644)
    assert findings(project) == []
    project.write(".dvc/config.local", project.read(".dvc/config.local") + PASSWORD)
    ((_, text, _),) = findings(project)
    assert text == ".dvc/config.local has credentials in it, and can be read by others"
    mend(project)
    assert findings(project) == []
    assert mode(file) == 0o600


def test_remotes_are_never_added_through_a_link(project: Project, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    victim.chmod(0o644)
    place = project.path / ".dvc/config.local"
    place.unlink()
    place.symlink_to(victim)
    with pytest.raises(Exception, match="symbolic link"):
        add_private(project.path, {"mine": {"url": "x"}}, None)
    assert (mode(victim), victim.read_text()) == (0o644, "")


def test_private_file_is_private_before_anything_is_in_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write_text_safely(tmp_path, "new", b"x", private=True)
        (tmp_path / "old").write_text("")
        (tmp_path / "old").chmod(0o664)
        write_text_safely(tmp_path, "old", b"x")
        assert mode(tmp_path / "old") == 0o664
        write_text_safely(tmp_path, "old", b"x", private=True)
    finally:
        os.umask(old)
    assert (mode(tmp_path / "new"), mode(tmp_path / "old")) == (0o600, 0o600)


# -- the cache -----------------------------------------------------------------------------------


def test_cache_that_everybody_can_write_is_told_and_mended(project: Project, outside: Path) -> None:
    assert findings(project) == []
    (outside / "files/md5").chmod(0o777)
    ran = project.devml("show")
    assert ran.err.count("can be written by everybody (devml-git doctor)") == 1
    assert ["can be written by everybody" in text for _, text, _ in findings(project)] == [True]
    mend(project)
    assert findings(project) == []
    assert "written by" not in project.devml("show").err


def test_one_directory_of_objects_that_everybody_can_write_is_found(
    project: Project, outside: Path
) -> None:
    next((outside / "files/md5").iterdir()).chmod(0o777)
    assert "can be written by everybody" in findings(project)[0][1]
    mend(project)
    assert findings(project) == []


def test_directory_above_the_cache_that_everybody_can_write_is_told_by_doctor(
    project: Project, outside: Path
) -> None:
    outside.parent.chmod(0o1777)  # as /tmp is: only the owner can rename what is in it
    assert findings(project) == []
    outside.parent.chmod(0o777)
    ((_, text, _),) = findings(project)
    assert f"everybody can write in {outside.parent.resolve()}, so can put another cache" in text
    mend(project)
    assert findings(project) == []


def test_cache_that_a_group_can_write_is_told_unless_it_is_shared(
    project: Project, outside: Path
) -> None:
    other = next(g.gr_gid for g in grp.getgrall() if g.gr_gid != os.getgid())
    try:
        os.chown(outside, -1, other)
    except PermissionError:
        pytest.skip("only root may give a directory to another group")
    outside.chmod(0o2775)
    assert "can be written by its group" in findings(project)[0][1]
    project.dvc("config", "--local", "cache.shared", "group")
    assert findings(project) == []
    project.dvc("config", "--local", "--unset", "cache.shared")
    mend(project)
    assert findings(project) == []


def test_cache_of_the_users_own_group_is_in_order(project: Project, outside: Path) -> None:
    """umask 002, as many systems have it: the group has nobody in it but the user."""
    if grp.getgrgid(outside.stat().st_gid).gr_mem:
        pytest.skip("this user's group has others in it")
    outside.chmod(0o775)
    assert findings(project) == []


def test_cache_that_nobody_else_can_reach_is_in_order(project: Project, outside: Path) -> None:
    outside.chmod(0o777)
    outside.parent.chmod(0o700)
    assert findings(project) == []


def test_cache_of_another_user_is_told(project: Project, outside: Path) -> None:
    try:
        os.chown(outside, 12345, -1)
    except PermissionError:
        pytest.skip("only root may give a directory away")
    ran = project.devml("show")
    assert ran.err.count("belongs to another user, number 12345") == 1
    ((_, text, command),) = findings(project)
    assert "belongs to another user" in text
    assert "chown" in str(command)


def test_directory_of_ours_that_everybody_can_write_is_told_beside_a_shared_cache(
    project: Project,
) -> None:
    project.dvc("config", "--local", "cache.shared", "group")
    ours = project.path / ".git/devml"
    (ours / "tripwire").mkdir(exist_ok=True)
    for place in (ours, ours / "tripwire"):
        place.chmod(0o777)
    ((_, text, command),) = findings(project)
    assert text.count("tripwire") == 1
    run("sh", "-c", str(command), cwd=project.path)
    assert findings(project) == []


def test_link_in_place_of_our_directory_is_told_by_what_it_leads_to(
    project: Project, tmp_path: Path
) -> None:
    (project.path / ".git/devml").rename(tmp_path / "devml")
    (project.path / ".git/devml").symlink_to(tmp_path / "devml")
    (tmp_path / "devml").chmod(0o700)
    assert findings(project) == []

"""What git itself writes over before any hook runs: kept where it was seen, told afterwards."""

from __future__ import annotations

import pytest

from devml_git.cache import Cache
from devml_git.errors import StorageFailed
from devml_git.workspace import Workspace
from tests.world import Project, run


@pytest.fixture
def converted(project: Project) -> Project:
    """models/a.pt and data/x.csv were git's own at `old`, and are artifacts at `main`."""
    run("git", "-c", "core.hooksPath=/dev/null", "checkout", "-q", "-b", "old", cwd=project.path)
    for path in ("models/a.pt", "data/x.csv"):
        project.write(path, f"{path} as git held it\n")
        run("git", "add", "-f", path, cwd=project.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "in git", cwd=project.path)
    project.git("checkout", "-q", "main")
    project.write("models/a.pt", "an artifact\n")
    project.write("models/b.pt", "never in git\n")
    project.write("data/x.csv", "x\n")
    project.write("data/y.csv", "y\n")
    project.commit("artifacts")
    return project


def rescued(p: Project) -> dict[str, str]:
    """Return what was rescued: path to content, brought back each into a file of its own."""
    found = {}
    for one in p.devml("rescue", "list", "--json").json["rescues"]:
        p.devml("rescue", "restore", one["id"], "--to", f"back/{one['id']}")
        found[one["path"]] = p.read(f"back/{one['id']}")
    return found


def test_edit_that_status_saw_is_rescued_though_git_wrote_over_it(converted: Project) -> None:
    converted.write("models/a.pt", "an edit that no commit has\n")
    converted.write("data/x.csv", "x, edited\n")
    converted.devml("status")
    ran = converted.git("checkout", "-q", "old")
    assert converted.read("models/a.pt") == "models/a.pt as git held it\n"
    assert "models/a.pt was in no snapshot; yours is kept: devml-git rescue restore" in ran.err
    assert rescued(converted) == {
        "models/a.pt": "an edit that no commit has\n", "data/x.csv": "x, edited\n",
    }  # fmt: skip
    (one,) = [
        r for r in converted.devml("rescue", "list", "--json").json["rescues"]
        if r["path"] == "models/a.pt"
    ]  # fmt: skip
    assert (one["branch"], one["commit"]) == ("main", converted.head("main"))


def test_edit_that_a_hook_saw_is_rescued_though_git_wrote_over_it(converted: Project) -> None:
    converted.git("branch", "other", "main")
    converted.write("models/a.pt", "an edit that no commit has\n")
    converted.git("checkout", "-q", "other")
    converted.git("reset", "-q", "--hard", "old")
    assert rescued(converted)["models/a.pt"] == "an edit that no commit has\n"


def test_new_file_that_status_saw_is_rescued_though_git_wrote_over_it(converted: Project) -> None:
    converted.devml("untrack", "--delete", "models/a.pt")
    converted.commit("gone")
    converted.write("models/a.pt", "made anew\n")
    converted.devml("status")
    converted.git("checkout", "-q", "old")
    assert rescued(converted) == {"models/a.pt": "made anew\n"}


def test_what_a_snapshot_has_is_no_rescue_where_git_wrote_over_it(converted: Project) -> None:
    converted.devml("status")
    assert "rescue" not in converted.git("checkout", "-q", "old").err
    assert rescued(converted) == {}
    converted.git("checkout", "-q", "main")
    assert converted.read("models/a.pt") == "an artifact\n"
    assert converted.listing("data")["x.csv"] == b"x\n"


def test_git_wrote_over_an_edit_once_and_it_is_told_once(converted: Project) -> None:
    converted.write("models/a.pt", "an edit that no commit has\n")
    converted.devml("status")
    for branch in ("old", "main", "old", "main"):
        converted.git("checkout", "-q", branch)
    assert list(rescued(converted)) == ["models/a.pt"]


def test_status_stores_no_edit_that_git_cannot_write_over(converted: Project) -> None:
    converted.write("models/b.pt", "an edit that stays\n")
    converted.write("data/y.csv", "y, edited\n")
    with Workspace.discover(converted.path) as ws:
        count = ws.cache.total()[0]
        converted.devml("status")
        assert ws.cache.total()[0] == count


def test_status_answers_where_an_edit_cannot_be_kept(
    converted: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageFailed("no space left on device")

    converted.write("models/a.pt", "an edit that no commit has\n")
    monkeypatch.setattr(Cache, "put", full)
    ran = converted.devml("status")
    assert "modified  models/a.pt" in " ".join(ran.out.split(" "))
    assert "git could write over it: no space left" in ran.out + ran.err


def test_members_that_git_does_not_hold_go_and_come_back_with_their_directory(
    converted: Project,
) -> None:
    converted.git("checkout", "-q", "old")
    assert converted.listing("data") == {"x.csv": b"data/x.csv as git held it\n"}
    converted.git("checkout", "-q", "main")
    assert converted.listing("data") == {"x.csv": b"x\n", "y.csv": b"y\n"}
    assert converted.devml("status", "--exit-code", check=False).status == 0


def test_edited_member_beside_gits_own_stays_and_is_rescued(converted: Project) -> None:
    converted.write("data/y.csv", "y, edited\n")
    converted.git("checkout", "-q", "old")
    assert converted.listing("data")["y.csv"] == b"y, edited\n"
    (one,) = converted.devml("rescue", "list", "--json").json["rescues"]
    assert one["path"] == "data"

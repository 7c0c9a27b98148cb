"""The rescue log: what is written is found again, whatever else lies in the file."""

from __future__ import annotations

import json
import stat
import time
from typing import TYPE_CHECKING

import pytest

from devml_git import rescue
from devml_git.cache import Cache
from devml_git.errors import StorageFailed, UsageError
from devml_git.workspace import Workspace
from tests.world import Project, run

if TYPE_CHECKING:
    from pathlib import Path

OID = "0123456789abcdef" * 2


def add(place: Path, path: str = "models/a.pt", **more: object) -> rescue.Rescue:
    facts = {
        "path": path, "oid": OID, "size": 7, "cause": "checkout", "commit": "c" * 40,
        "branch": "main", "worktree": "/w",
    } | more  # fmt: skip
    return rescue.add(place, **facts)  # type: ignore[arg-type]


def test_log_that_is_not_there_has_no_rescues(tmp_path: Path) -> None:
    assert rescue.read(tmp_path) == []


def test_rescues_are_read_back_whole_and_newest_first(tmp_path: Path) -> None:
    before = time.time()
    first = add(tmp_path)
    second = add(tmp_path, "data", oid=f"{OID}.dir", executable=frozenset({"run", "b"}))
    assert rescue.read(tmp_path) == [second, first]
    assert second.executable == ("b", "run")
    assert first.id != second.id
    assert len(first.id) == len(second.id) == 8
    when = time.mktime(time.strptime(first.time, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert before - 1 <= when <= time.time()
    told = first.to_dict()
    assert "executable" not in told
    assert {k: told[k] for k in ("id", "path", "oid", "size", "cause")} == {
        "id": first.id, "path": "models/a.pt", "oid": OID, "size": 7, "cause": "checkout",
    }  # fmt: skip


def test_rescue_is_a_value_and_its_log_private(tmp_path: Path) -> None:
    found = add(tmp_path)
    with pytest.raises(AttributeError):
        found.oid = "x"  # type: ignore[misc]
    assert stat.S_IMODE((tmp_path / "rescue.jsonl").stat().st_mode) == 0o600


def test_torn_line_hides_neither_what_was_before_nor_what_comes_after(tmp_path: Path) -> None:
    first = add(tmp_path)
    log = tmp_path / "rescue.jsonl"
    log.write_bytes(log.read_bytes() + log.read_bytes()[:40])
    second = add(tmp_path)
    assert rescue.read(tmp_path) == [second, first]
    assert add(tmp_path) in rescue.read(tmp_path)
    assert log.read_bytes().count(b"\n") == 4


@pytest.mark.parametrize(
    "change",
    [
        {"oid": "short"},
        {"time": "noon"},
        {"oid": "../../x"},
        {"path": "../up"},
        {"path": "/etc/x"},
        {"more": 1},
        {"id": 5},
        {"id": ["a"]},
        {"size": "7"},
        {"size": -5},
        {"size": None},
        {"commit": 4},
        {"branch": 3},
        {"cause": ["a"]},
        {"executable": [["a"]]},
    ],
)
def test_line_that_is_not_ours_is_passed_by(tmp_path: Path, change: dict[str, object]) -> None:
    good = add(tmp_path)
    log = tmp_path / "rescue.jsonl"
    raw = json.loads(log.read_text()) | change
    log.write_text("[]\n" + json.dumps(raw) + "\n\xff\n" + log.read_text(), "latin-1")
    assert rescue.read(tmp_path) == [good]


def test_rescue_without_executable_members_is_one_of_an_older_version(tmp_path: Path) -> None:
    add(tmp_path)
    log = tmp_path / "rescue.jsonl"
    raw = json.loads(log.read_text())
    del raw["executable"]
    log.write_text(json.dumps(raw) + "\n")
    assert rescue.read(tmp_path)[0].executable == ()


def test_rescue_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    first, second = add(tmp_path), add(tmp_path)
    differs = next(n for n in range(8) if first.id[n] != second.id[n])
    assert rescue.find(tmp_path, second.id[: differs + 1]) == second
    assert rescue.find(tmp_path, first.id) == first


def test_unknown_empty_or_ambiguous_id_is_a_usage_error(tmp_path: Path) -> None:
    one = add(tmp_path)
    with pytest.raises(UsageError, match="is not in the rescue log") as info:
        rescue.find(tmp_path, "zz")
    assert info.value.hint == "devml-git rescue list"
    with pytest.raises(UsageError, match="is not in the rescue log"):
        rescue.find(tmp_path, "")
    with pytest.raises(UsageError, match="is not in the rescue log"):
        rescue.find(tmp_path, f"{one.id}0")
    log = tmp_path / "rescue.jsonl"
    log.write_text(log.read_text() * 2)
    with pytest.raises(UsageError, match="names several rescues"):
        rescue.find(tmp_path, one.id)


def test_log_that_cannot_be_written_stops_what_would_have_replaced_the_bytes(
    tmp_path: Path,
) -> None:
    (tmp_path / "rescue.jsonl").mkdir()
    with pytest.raises(StorageFailed, match=r"rescue\.jsonl"):
        add(tmp_path)


def test_dropped_rescue_is_off_the_list_and_its_line_stays(tmp_path: Path) -> None:
    first, second, third = add(tmp_path), add(tmp_path), add(tmp_path)
    rescue.drop(tmp_path, [first, third])
    assert rescue.read(tmp_path) == [second]
    assert first.id in (tmp_path / "rescue.jsonl").read_text()


@pytest.fixture
def left(models: Project) -> Project:
    """On v3, an edit of the model that `git checkout v1` met and set aside."""
    models.git("checkout", "-q", "main")
    models.write("models/a.pt", "never in a snapshot")
    models.git("checkout", "-q", "v1")
    return models


def test_rescue_of_a_hook_says_which_commit_was_left(left: Project) -> None:
    one = left.devml("rescue", "list", "--json").json["rescues"][0]
    assert one["commit"] == left.head("main")
    assert one["branch"] == "main"


def test_return_to_the_commit_tells_of_what_was_set_aside_there_until_it_is_back(
    left: Project,
) -> None:
    one = left.devml("rescue", "list", "--json").json["rescues"][0]["id"]
    assert "set aside" not in left.git("checkout", "-q", "v2").err
    line = f"set aside when you left this commit: models/a.pt: devml-git rescue restore {one}\n"
    assert line in left.git("checkout", "-q", "main").err
    left.git("checkout", "-q", "v1")
    assert line in left.devml("checkout", "main").out
    left.devml("rescue", "restore", one)
    assert left.read("models/a.pt") == "never in a snapshot"
    left.commit("now it is")
    left.git("checkout", "-q", "HEAD~1")
    left.devml("rescue", "drop", one)
    left.git("checkout", "-q", "v1")
    assert "set aside" not in left.git("checkout", "-q", "main~1").err


def test_show_says_what_it_was_and_whether_its_bytes_are_there(left: Project) -> None:
    one = left.devml("rescue", "list", "--json").json["rescues"][0]
    told = left.devml("rescue", "show", one["id"][:6]).out
    assert "by checkout, on main, commit " in told
    assert "whole in the cache" in told
    assert "what lies there now is other" in told
    shown = left.devml("rescue", "show", one["id"], "--json").json
    assert shown["schema"] == "devml.rescue-show/v1"
    assert shown["rescue"] == {**one, "cached": True, "members": None, "differs": [""]}
    left.devml("rescue", "restore", one["id"])
    assert "the same lies there now" in left.devml("rescue", "show", one["id"]).out
    left.objects()[one["oid"]].unlink()
    assert "NOT whole in the cache" in left.devml("rescue", "show", one["id"]).out


def test_show_of_a_directory_names_the_members_that_differ(models: Project) -> None:
    models.git("checkout", "-q", "v2")
    models.write("data/x", "mine")
    models.write("data/new", "mine, too")
    models.devml("checkout", "--force", "v1")
    one = models.devml("rescue", "list", "--json").json["rescues"][0]["id"]
    shown = models.devml("rescue", "show", one, "--json").json["rescue"]
    assert shown["members"].keys() >= {"x", "new"}
    assert {"x", "new"} <= set(shown["differs"])
    assert "not the same there now: " in models.devml("rescue", "show", one).out


def test_drop_by_age_or_by_name_and_nothing_else(left: Project) -> None:
    found = left.devml("rescue", "list", "--json").json["rescues"][0]
    assert left.devml("rescue", "drop", "--older-than", "1d").out == "no rescue is older than 1d\n"
    for wrong in ([], ["--older-than", "soon"], ["x", "--older-than", "1d"], ["nosuch"]):
        assert left.devml("rescue", "drop", *wrong, check=False).status == 2
    assert len(left.devml("rescue", "list", "--json").json["rescues"]) == 1
    out = left.devml("rescue", "drop", found["id"], found["id"][:5]).out
    assert out == f"dropped: {found['id']}  models/a.pt  (md5 {found['oid']}, still in the cache)\n"
    assert left.devml("rescue", "list").out == "nothing was rescued\n"
    assert found["oid"] in left.objects()
    assert left.status()["rescued"] == 0


def test_restore_says_what_it_put_aside_and_touches_nothing_of_git(left: Project) -> None:
    one = left.devml("rescue", "list", "--json").json["rescues"][0]["id"]
    code, pointer = left.read("train.py"), left.read("models/a.pt.dvc")
    for place in ("train.py", "models/a.pt.dvc", "models/fresh.pt.dvc", "models"):
        ran = left.devml("rescue", "restore", one, "--to", place, check=False)
        assert (ran.status, "--to PATH" in ran.err) == (2, True)
    assert (left.read("train.py"), left.read("models/a.pt.dvc")) == (code, pointer)
    left.write("models/a.pt", "an edit on v1")
    said = left.devml("rescue", "restore", one).out
    newest = left.devml("rescue", "list", "--json").json["rescues"][0]["id"]
    assert f"what lay there is kept: devml-git rescue restore {newest}" in said
    left.devml("rescue", "restore", newest)
    assert left.read("models/a.pt") == "an edit on v1"


# -- what git itself writes over before any hook runs ----------------------------------------------


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

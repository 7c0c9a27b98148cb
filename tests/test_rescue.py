"""The rescue log: what is written is found again, whatever else lies in the file."""

from __future__ import annotations

import json
import stat
import time
from typing import TYPE_CHECKING

import pytest

from devml_git import rescue
from devml_git.errors import StorageFailed, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import Project

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

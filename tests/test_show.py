"""show: the whole snapshot of a commit, and where the content of each artifact is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devml_git.errors import DvcFailed
from tests.world import Project


def where(p: Project, *args: str) -> dict[str, str | None]:
    return {a["path"]: a["content"] for a in p.devml("show", "--json", *args).json["artifacts"]}


@pytest.fixture
def plain(models: Project) -> Project:
    models.differential = False
    return models


def test_json_is_one_commit_and_its_whole_snapshot(plain: Project) -> None:
    plain.write("metrics.json", '{"acc": 0.5}')
    plain.write("params.yaml", "lr: 0.1\n")
    plain.commit("measured")
    found = plain.devml("show", "--json").json
    (logged,) = plain.devml("log", "--json", "-n1").json["commits"]
    assert found.pop("schema") == "devml.show/v1"
    artifacts = found.pop("artifacts")
    assert found == logged
    assert [a["path"] for a in artifacts] == ["data", "models/a.pt"]
    assert artifacts[0] == {
        "path": "data", "kind": "dir", "oid": artifacts[0]["oid"], "size": artifacts[0]["size"], "nfiles": 4,
        "content": "here", "pointer": "data.dvc",
    }  # fmt: skip
    assert (found["metrics"], found["params"]) == (
        {"metrics.json": {"acc": 0.5}}, {"params.yaml": {"lr": 0.1}}
    )  # fmt: skip


def test_text_tells_snapshot_measures_and_changes(plain: Project) -> None:
    plain.write("metrics.json", '{"acc": 0.5}')
    plain.commit("measured")
    text = plain.devml("show").out
    assert text.startswith(f"commit {plain.head()}  (HEAD -> main)\nTest <test@example.org>  20")
    (size,) = {a["size"] for a in plain.devml("show", "--json").json["artifacts"][:1]}
    assert f"    data         {size} B   4 files  here\n" in text
    assert "    models/a.pt  500 B           here\n" in text
    assert "metrics\n    metrics.json\n      acc  0.5\n" in text
    assert "changed by it\n    metrics.json  acc 0.5\n" in text
    old = plain.devml("show", "v2", "--", "models").out
    assert "data" not in old
    assert "modified  models/a.pt  500 B (+0 B)" in old


def test_paths_limit_all_that_is_shown(plain: Project) -> None:
    plain.write("metrics.json", '{"acc": 0.5}')
    plain.write("params.yaml", "lr: 0.1\n")
    plain.write("models/a.pt", "new")
    plain.write("models/b.pt", "new")
    plain.commit("measured")
    found = plain.devml("show", "--json", "--", "models/a.pt.dvc").json
    assert [a["path"] for a in found["artifacts"]] == ["models/a.pt"]
    assert [c["path"] for c in found["changes"]] == ["models/a.pt"]
    assert (found["metrics"], found["params"]) == ({}, {})
    found = plain.devml("show", "--json", "--", "metrics.json").json
    assert (found["artifacts"], found["changes"]) == ([], [])
    assert (found["metrics"], found["params"]) == ({"metrics.json": {"acc": 0.5}}, {})
    for cwd, path in ((".", "models/*b.pt"), ("models", "b.pt"), ("data", "../models/b.pt")):
        found = plain.devml("show", "--json", "--", path, cwd=cwd).json
        assert [a["path"] for a in found["artifacts"]] == ["models/b.pt"]
    text = plain.devml("show", "HEAD", "--", "models/b.pt").out
    assert ("models/b.pt" in text, "a.pt" in text, "acc" in text, "lr" in text) == (
        True, False, False, False
    )  # fmt: skip


def test_content_is_here_on_the_remote_or_nowhere(plain: Project, tmp_path: Path) -> None:
    assert set(where(plain).values()) == {"here"}
    remote = tmp_path / "remote"
    plain.dvc("remote", "add", "-d", "--local", "r", str(remote))
    plain.dvc("push", "-q")
    lacking = plain.object("models/a.pt.dvc")
    lacking.chmod(0o644)
    lacking.unlink()
    assert where(plain) == {"data": "here", "models/a.pt": "remote"}
    assert where(plain, "--no-fetch") == {"data": "here", "models/a.pt": "not here"}
    assert not lacking.exists()  # it was asked for, not fetched
    for file in remote.rglob(lacking.name):
        file.chmod(0o644)
        file.unlink()
    assert where(plain)["models/a.pt"] == "nowhere"
    members = [row["md5"] for row in json.loads(plain.object("data.dvc").read_bytes())][:2]
    for member in members:
        inner = plain.cache / member[:2] / member[2:]
        inner.chmod(0o644)
        inner.unlink()
    assert where(plain)["data"] == "remote"
    (there,) = remote.rglob(members[0][2:])
    there.unlink()
    assert where(plain)["data"] == "nowhere"


def test_names_are_aligned_by_the_columns_that_they_take(plain: Project) -> None:
    plain.write("models/数据.pt", "x")
    plain.write("metrics.json", '{"精度": 0.5, "loss": 1}')
    plain.commit("wide")
    lines = plain.devml("show").out.splitlines()
    ends = {line.index("here") + 2 * ("数据" in line) for line in lines if "  here" in line}
    assert len(ends) == 1
    assert "      精度  0.5" in lines
    assert "      loss  1" in lines


def test_a_remote_that_fails_is_a_warning(plain: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise DvcFailed("the DVC remote r has not answered")

    monkeypatch.setattr("devml_git.remote.Remote.sizes", failing)
    place = plain.path.parent / "remote"
    plain.dvc("remote", "add", "-d", "--local", "r", str(place))
    for file in plain.objects().values():
        file.chmod(0o644)
        file.unlink()
    ran = plain.devml("show", "--json")
    assert {a["content"] for a in ran.json["artifacts"]} == {"not here"}
    assert "warning: the DVC remote r is a directory that is not there" in ran.err
    place.mkdir()
    ran = plain.devml("show", "--json")
    assert {a["content"] for a in ran.json["artifacts"]} == {"not here"}
    assert "warning: the DVC remote r has not answered" in ran.err


def test_snapshots_between_commits_are_shown(plain: Project) -> None:
    plain.write("models/a.pt", "epoch 1")
    plain.devml("snapshot", "-m", "epoch 1")
    (point,) = plain.devml("log", "--snapshots", "--json").json["snapshots"]
    found = plain.devml("show", "--json", point["id"]).json
    assert (found["subject"], found["snapshot"]["id"]) == ("epoch 1", point["id"])
    assert [c["path"] for c in found["changes"]] == ["models/a.pt"]
    name = point["ref"].removeprefix("refs/devml/snapshots/")
    assert "a snapshot between commits, taken on main" in plain.devml("show", name).out


def test_old_revisions_and_broken_pointers(plain: Project) -> None:
    assert where(plain, "HEAD~3") == {}
    plain.write("models/a.pt.dvc", "outs: 7\n")
    plain.git("add", "-A")
    plain.git("commit", "-qm", "broken", "--no-verify", check=False)
    ran = plain.devml("show")
    assert "cannot be followed  models/a.pt.dvc" in ran.out
    assert plain.devml("show", "--json").json["broken"]


def test_bad_requests_are_exit_two_with_a_hint(plain: Project) -> None:
    plain.git("branch", "data")
    for args, said in {
        ("nope",): "unknown revision 'nope'",
        ("v1", "v2"): "one REV too many",
        ("data",): "both a revision and a path",
        ("--", "nothing"): "no artifact at HEAD is nothing",
        (
            "v1..v2",
            "--",
        ): "'v1..v2' is a range: one revision is asked for\nhint: devml-git log v1..v2",
        ("^v1",): "is a range",
        ("train.py",): "hint: git show HEAD:train.py ",
        ("train.py", "--"): "is a path, not a revision\nhint: devml-git show -- train.py",
        ("\x1b[31m",): "\\x1b",
    }.items():
        ran = plain.devml("show", *args, check=False)
        assert (ran.status, ran.out) == (2, ""), (args, ran.err)
        assert said in ran.err
        assert "\x1b" not in ran.err


def test_before_the_first_commit(project: Project) -> None:
    project.git("checkout", "-q", "--orphan", "fresh")
    ran = project.devml("show", check=False)
    assert (ran.status, "no commit yet" in ran.err) == (2, True)

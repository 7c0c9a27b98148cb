"""Snapshots between commits: what they hold, what they leave alone, and the way back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import devml_git
from devml_git import savepoints
from devml_git.errors import UsageError
from devml_git.plumbing import Git
from tests.world import Project, run

CKPT = "models/ckpt.pt"


def picture(project: Project) -> dict[str, object]:
    """Return all that a snapshot must not touch, the index to the byte."""
    files = {
        p.relative_to(project.path).as_posix(): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in project.path.rglob("*")
        if p.is_file() and not {".git", "tmp"} & set(p.relative_to(project.path).parts)
    }
    git = project.path / ".git"
    heads = run("git", "for-each-ref", "refs/heads", "refs/tags", "refs/stash", cwd=project.path)
    return {
        "HEAD": (git / "HEAD").read_text(),
        "reflog": (git / "logs/HEAD").read_text(),
        "refs": heads.out,
        "index": (git / "index").read_bytes(),
        "files": files,
        "operations": (git / "devml/operations.jsonl").read_bytes()
        if (git / "devml/operations.jsonl").exists()
        else b"",
    }


def take(project: Project, message: str) -> str:
    """Take a snapshot and return its id."""
    ran = project.devml("snapshot", "-m", message, "--json")
    return str(ran.json["id"])


def listed(project: Project) -> list[dict[str, object]]:
    return project.devml("log", "--snapshots", "--json").json["snapshots"]


def checked_out(project: Project, commit: str, place: Path) -> dict[str, bytes]:
    """Return what a commit restores to, in another directory, with stock DVC alone."""
    run("git", "-c", "core.hooksPath=/dev/null", "worktree", "add", "-q", place, commit, cwd=project.path)  # fmt: skip
    cache = project.path / ".git/devml/cache"
    run(sys.executable, "-m", "dvc", "config", "--local", "cache.dir", cache, cwd=place)
    run(sys.executable, "-m", "dvc", "checkout", cwd=place)
    return {
        p.relative_to(place).as_posix(): p.read_bytes()
        for p in place.rglob("*")
        if p.is_file() and not {".git", ".dvc", "tmp"} & set(p.relative_to(place).parts)
    }


def working(project: Project) -> None:
    """Code staged, code unstaged, code untracked, a model and a directory edited, a new model."""
    project.write("train.py", "print('staged')\n")
    run("git", "add", "train.py", cwd=project.path)
    project.write("train.py", "print('as it lies there')\n")
    project.write("notes.txt", "untracked\n")
    project.write("secret.log", "ignored\n")
    project.write(".git/info/exclude", project.read(".git/info/exclude") + "secret.log\n")
    project.write("models/a.pt", "retrained\n" * 40)
    project.write("data/x.csv", "edited\n")
    project.write("data/new.csv", "new\n")
    (project.path / "data/part1.csv").unlink()
    project.write("models/new.pt", "a new model\n")


def test_snapshot_holds_the_whole_state_and_touches_nothing(
    models: Project, tmp_path: Path
) -> None:
    working(models)
    before = picture(models)
    ran = models.devml("snapshot", "-m", "in the middle", "--json").json
    assert picture(models) == before
    assert ran["schema"] == "devml.snapshot/v1"
    assert (ran["fresh"], ran["notes"], ran["branch"]) == (True, [], "main")
    assert ran["parent"] == models.head()
    got = checked_out(models, ran["commit"], tmp_path / "other")
    want = {
        "train.py": b"print('as it lies there')\n",
        "notes.txt": b"untracked\n",
        "models/a.pt": b"retrained\n" * 40,
        "data/x.csv": b"edited\n",
        "data/new.csv": b"new\n",
        "models/new.pt": b"a new model\n",
    }
    assert {name: got.get(name) for name in want} == want
    assert "secret.log" not in got
    assert "data/part1.csv" not in got


def test_snapshot_of_an_unchanged_state_makes_no_second_one(models: Project) -> None:
    models.write(CKPT, "epoch 1\n")
    first = take(models, "epoch 1")
    again = models.devml("snapshot", "-m", "another word for it")
    assert f"nothing has changed since snapshot {first}" in again.out
    assert [p["message"] for p in listed(models)] == ["epoch 1"]
    models.write(CKPT, "epoch 2\n")
    take(models, "epoch 2")
    models.write(CKPT, "epoch 1\n")
    assert take(models, "back at epoch 1") == first
    assert len(listed(models)) == 2


def test_overwritten_checkpoint_comes_back_epoch_by_epoch(models: Project) -> None:
    epochs = {}
    for n in (1, 2, 3):
        models.write(CKPT, f"epoch {n}\n" * n)
        models.write("loss.txt", f"{1 / n}\n")
        epochs[n] = take(models, f"epoch {n}")
    for n in (1, 3, 2):
        ran = models.devml("checkout", epochs[n])
        assert f"HEAD is at snapshot {epochs[n]}" in ran.out
        assert models.read(CKPT) == f"epoch {n}\n" * n
        assert models.read("loss.txt") == f"{1 / n}\n"
    models.devml("checkout", "main")
    assert not models.exists(CKPT)
    assert not models.exists("loss.txt")
    assert models.in_step()


def test_single_checkpoint_is_brought_back_over_a_newer_one_in_a_snapshot(models: Project) -> None:
    models.write("models/a.pt", "epoch 1\n")
    first = take(models, "epoch 1")
    models.write("models/a.pt", "epoch 2\n")
    refused = models.devml("checkout", first, "--", "models/a.pt", check=False)
    assert refused.status == 31
    take(models, "epoch 2")
    models.devml("checkout", first, "--", "models/a.pt")
    assert models.read("models/a.pt") == "epoch 1\n"
    models.write("data/x.csv", "epoch 3\n")
    assert models.devml("checkout", "v1", "--", "data/x.csv", check=False).status == 31
    third = take(models, "epoch 3")
    models.devml("checkout", "v1", "--", "data/x.csv")
    assert models.read("data/x.csv") == "x,1\n"
    models.devml("checkout", third, "--", "data")
    assert models.read("data/x.csv") == "epoch 3\n"


def test_checkout_of_a_snapshot_refuses_work_in_none_and_keeps_it_when_forced(
    models: Project,
) -> None:
    models.write("models/a.pt", "epoch 1\n")
    models.write("log.txt", "1\n")
    first = take(models, "epoch 1")
    models.write("models/a.pt", "epoch 2\n")
    models.write("log.txt", "2\n")
    models.write("train.py", "print('edited')\n")
    before = picture(models)
    refused = models.devml("checkout", first, check=False)
    assert refused.status == 31
    assert picture(models)["files"] == before["files"]
    ran = models.devml("checkout", "--force", first)
    assert models.read("models/a.pt") == "epoch 1\n"
    assert models.read("log.txt") == "1\n"
    kept = listed(models)[0]["id"]
    assert f"kept as snapshot {kept}" in ran.out
    models.devml("checkout", "-")
    assert models.read("models/a.pt") == "epoch 2\n"
    assert models.read("log.txt") == "2\n"
    assert models.read("train.py") == "print('edited')\n"


def test_git_that_refuses_leaves_head_index_and_pointers_as_they_were(models: Project) -> None:
    models.write("models/a.pt", "epoch 1\n")
    models.write("in-the-way", "of the snapshot\n")
    first = take(models, "epoch 1")
    (models.path / "in-the-way").unlink()
    models.write("models/a.pt", "epoch 2\n")
    take(models, "epoch 2")
    models.write(".git/info/exclude", models.read(".git/info/exclude") + "in-the-way\n")
    models.write("in-the-way", "ignored, in no snapshot\n")
    before = picture(models)
    refused = models.devml("checkout", first, check=False)
    assert refused.status == 20
    after = picture(models)
    assert after["HEAD"] == before["HEAD"]
    assert {f: data for f, (data, _) in after["files"].items()} == {
        f: data for f, (data, _) in before["files"].items()
    }
    assert run("git", "status", "--porcelain", cwd=models.path).out == ""
    assert models.read("models/a.pt") == "epoch 2\n"
    assert models.states()["models/a.pt"] == "modified"


def test_commit_after_snapshots_goes_on_as_if_there_were_none(models: Project) -> None:
    models.write(CKPT, "epoch 1\n")
    take(models, "epoch 1")
    models.write(CKPT, "epoch 2\n")
    take(models, "epoch 2")
    models.commit("trained")
    models.git("checkout", "-q", "HEAD~1")
    assert not models.exists(CKPT)
    models.git("checkout", "-q", "main")
    assert models.read(CKPT) == "epoch 2\n"
    log = models.devml("log", "--snapshots").out.splitlines()
    kinds = [line.split()[0] for line in log]
    assert kinds == ["commit", "*", "added", "*", "added", "commit"]
    assert "trained" in log[0]
    assert "epoch 2" in log[1]
    assert "v3" in log[-1]
    (second, first) = listed(models)
    assert second["followed_by"] == first["followed_by"] == models.head()
    assert second["changes"][0]["new"]["size"] == 8


def test_call_in_a_training_loop_keeps_every_epoch_and_its_metrics(
    models: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    np = pytest.importorskip("numpy")
    monkeypatch.chdir(models.path / "models")
    points = []
    for n in range(3):
        models.write(CKPT, f"epoch {n}\n")
        metrics = {"loss": np.float32(0.5), "epoch": n, "per class": np.array([1.0, float("nan")])}
        points.append(devml_git.snapshot(f"epoch {n}", metrics))
    assert [p.fresh for p in points] == [True] * 3
    again = devml_git.snapshot("epoch 2 again", metrics)
    assert (again.fresh, again.commit) == (False, points[2].commit)
    assert not devml_git.snapshot("no metrics given").fresh
    assert devml_git.snapshot(metrics={"loss": 0.25}).fresh, "other metrics, another state"
    read = listed(models)
    assert read[1]["metrics"] == {"loss": 0.5, "epoch": 2, "per class": [1.0, "NaN"]}
    models.devml("checkout", points[0].id)
    assert models.read(CKPT) == "epoch 0\n"


def test_metrics_that_are_none_are_refused_before_anything_is_written(
    models: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models.path)
    for wrong in ({"loss": object()}, {1: 2}, [1], {"a": {"b": {3}}}):
        with pytest.raises(UsageError):
            devml_git.snapshot("x", wrong)  # type: ignore[arg-type]
    assert listed(models) == []


def test_what_git_cannot_take_is_left_out_and_named(models: Project) -> None:
    models.write("core.bin", b"\0" * 10_000_001)
    models.write("vendor/lib.py", "x\n")
    run("git", "init", "-q", cwd=models.path / "vendor")
    models.write("latest.pt", "x\n")
    ran = models.devml("snapshot", "-m", "x", "--json").json
    assert any("core.bin (10.0 MB)" in note and "devml-git track" in note for note in ran["notes"])
    assert any("vendor/" in note for note in ran["notes"])
    names = run("git", "ls-tree", "-r", "--name-only", ran["commit"], cwd=models.path).out.split()
    assert "latest.pt" in names
    assert "core.bin" not in names
    assert not any(n.startswith("vendor") for n in names)


def test_snapshot_before_the_first_commit_and_without_a_name_for_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path / "fresh")
    project.path.mkdir()
    run("git", "init", "-q", cwd=project.path)
    project.devml("init", "--track", "models/**")
    project.write("models/m.pt", "first weights\n")
    for key in ("user.name", "user.email"):
        run("git", "config", key, "", cwd=project.path)
    monkeypatch.setenv("EMAIL", "")
    first = project.devml("snapshot", "-m", "before any commit", "--json").json
    assert first["parent"] is None
    assert "before the first commit" in project.devml("log", "--snapshots").out
    project.write("models/m.pt", "second weights\n")
    take(project, "second")
    project.devml("checkout", first["id"])
    assert project.read("models/m.pt") == "first weights\n"


def test_snapshots_are_dropped_by_name_or_age_and_by_nothing_else(models: Project) -> None:
    models.write(CKPT, "1\n")
    first = take(models, "first")
    models.write(CKPT, "2\n")
    second = take(models, "second")
    for wrong in ([], ["nothing"], [first, "--older-than", "1d"], ["--older-than", "soon"]):
        assert models.devml("snapshots", "drop", *wrong, check=False).status == 2
    run("git", "gc", "-q", "--prune=now", cwd=models.path)
    assert "no snapshot is older" in models.devml("snapshots", "drop", "--older-than", "1d").out
    assert len(listed(models)) == 2
    models.devml("snapshots", "drop", first)
    assert [p["id"] for p in listed(models)] == [second]
    run("git", "gc", "-q", "--prune=now", cwd=models.path)
    models.devml("checkout", second)
    assert models.read(CKPT) == "2\n"


def test_snapshot_on_a_snapshot_has_the_commit_for_parent(models: Project) -> None:
    models.write(CKPT, "1\n")
    first = take(models, "first")
    models.devml("checkout", first)
    models.write(CKPT, "2\n")
    second = models.devml("snapshot", "-m", "second", "--json").json
    assert second["parent"] == models.git("rev-parse", "main").out.strip()
    models.devml("snapshots", "drop", first)
    models.devml("checkout", second["id"])
    assert models.read(CKPT) == "2\n"


def test_pointer_moved_by_git_is_followed_in_the_snapshot(models: Project, tmp_path: Path) -> None:
    models.differential = False
    run("git", "mv", "models/a.pt.dvc", "models/b.pt.dvc", cwd=models.path,
        env={"DEVML_GIT_ACTIVE": "1"})  # fmt: skip
    models.write("models/a.pt", "edited after the move\n")
    before = picture(models)
    point = models.devml("snapshot", "-m", "x", "--json").json
    assert picture(models) == before
    got = checked_out(models, point["commit"], tmp_path / "other")
    assert b"edited after the move\n" in got.values()


def test_conflict_is_refused_with_the_command_that_helps(models: Project) -> None:
    models.git("checkout", "-q", "-b", "side", "v2")
    models.write("models/a.pt", "side\n")
    models.commit("side")
    models.git("merge", "main", check=False)
    before = picture(models)
    refused = models.devml("snapshot", "-m", "x", check=False)
    assert refused.status == 31
    assert "--ours" in refused.err
    assert picture(models) == before


@pytest.mark.parametrize(
    "args",
    [
        ["-m", ""],
        ["-m", "  \n"],
        ["-m", "x", "models/a.pt"],
        ["--json"],
    ],
)
def test_bad_input_is_refused(models: Project, args: list[str]) -> None:
    assert models.devml("snapshot", *args, check=False).status == 2
    assert listed(models) == []


def test_no_snapshots_and_hostile_messages(models: Project) -> None:
    assert "snapshot -m" in models.devml("log", "--snapshots").out
    models.write(CKPT, "1\n")
    evil = 'a\x1b[31mred\nDevml-Snapshot: {"metrics": {"loss": 0}}\n\nDevml-Snapshot: nonsense'
    models.devml("snapshot", "-m", evil)
    (point,) = listed(models)
    assert point["metrics"] == {}
    assert point["message"] == evil
    assert "\x1b" not in models.devml("log", "--snapshots").out
    run("git", "update-ref", "refs/devml/snapshots/tag", "HEAD:train.py", cwd=models.path)
    run("git", "update-ref", "refs/devml/snapshots/foreign", "v1", cwd=models.path)
    titles = [p["message"] for p in listed(models)]
    assert "v1" in titles, "a commit that somebody else put there is shown as it is"


def test_content_held_by_a_snapshot_only_is_an_edit_where_the_record_is_lost(
    models: Project,
) -> None:
    models.write("models/a.pt", "epoch 1\n")
    take(models, "epoch 1")
    for file in (models.path / ".git/devml").glob("record*"):
        file.unlink()
    models.git("commit", "-q", "--allow-empty", "-m", "code only")
    assert models.read("models/a.pt") == "epoch 1\n"
    models.git("checkout", "-q", "v1")
    models.git("checkout", "-q", "main")
    assert models.read("models/a.pt") == "epoch 1\n"


def test_measures_that_git_ignores_belong_to_the_state(models: Project) -> None:
    models.write("devml.toml", models.read("devml.toml") + 'metrics = ["out/metrics.json"]\n')
    models.write("out/.gitignore", "*\n")
    models.write("out/metrics.json", '{"loss": 1}\n')
    point = models.devml("snapshot", "-m", "x", "--json").json
    shown = run("git", "show", f"{point['commit']}:out/metrics.json", cwd=models.path).out
    assert shown == '{"loss": 1}\n'


def test_two_processes_at_once_make_one_snapshot_of_one_state(models: Project) -> None:
    models.write(CKPT, "1\n")
    argv = [sys.executable, "-m", "devml_git", "snapshot", "-m", "rank"]
    ranks = [subprocess.Popen(argv, cwd=models.path, stdout=subprocess.PIPE) for _ in range(3)]
    assert [r.wait(60) for r in ranks] == [0, 0, 0]
    for r in ranks:
        assert r.stdout is not None
        r.stdout.close()
    assert len(listed(models)) == 1


def test_ids_of_all_kinds_find_one_snapshot(models: Project) -> None:
    models.write(CKPT, "1\n")
    point = models.devml("snapshot", "-m", "x", "--json").json
    git = Git(models.path)
    name = str(point["ref"]).removeprefix(savepoints.SPACE)
    for text in (point["id"], point["commit"], point["ref"], name, str(point["commit"])[:4]):
        assert savepoints.find(git, str(text)).commit == point["commit"]
    for text in ("", "zzzz", str(point["commit"])[:3], os.fsdecode(b"\xff\xff")):
        with pytest.raises(UsageError):
            savepoints.find(git, text)

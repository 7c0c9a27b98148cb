"""`devml-git diff`: which sides, which artifacts, what is inside, and what is said of it."""

from __future__ import annotations

import json
import shutil
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from devml_git import comparing
from devml_git.workspace import Workspace
from tests.conftest import commit_three, seal
from tests.world import Project, devml, devml_process, run


@pytest.fixture(scope="session")
def history(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """v1 to v3, as `models` has them, made once: comparing changes nothing."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        seal(tmp_path_factory.mktemp("history-home"), monkeypatch)
        place = tmp_path_factory.mktemp("history") / "project"
        shutil.copytree(template, place, symlinks=True)
        commit_three(Project(place, differential=False))
        return place


@pytest.fixture
def models(history: Path, tmp_path: Path, sealed: Path) -> Project:
    shutil.copytree(history, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", differential=False)


@pytest.fixture
def project(template: Path, tmp_path: Path, sealed: Path) -> Project:
    shutil.copytree(template, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", differential=False)


def diff(p: Project, *args: str) -> dict[str, Any]:
    """`devml-git diff --json`, without DVC as judge: nothing changes."""
    ran = devml("diff", "--json", *args, cwd=p.path)
    assert ran.status == 0, ran.err
    return ran.json


def told(p: Project, *args: str) -> list[str]:
    ran = devml("diff", *args, cwd=p.path)
    assert (ran.status, ran.err) == (0, "")
    return ran.out.splitlines()


def changes(found: dict[str, Any]) -> dict[str, str]:
    return {a["path"]: a["change"] for a in found["artifacts"]}


def artifact(found: dict[str, Any], path: str) -> dict[str, Any]:
    (one,) = [a for a in found["artifacts"] if a["path"] == path]
    return one


def refused(p: Project, *args: str) -> str:
    ran = devml("diff", *args, cwd=p.path)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    return ran.err


# -- which two sides -----------------------------------------------------------------------------


def test_two_commits(models: Project) -> None:
    found = diff(models, "v1", "v2")
    assert (found["schema"], found["from"], found["to"]) == (
        "devml.diff/v1", models.head("v1"), models.head("v2"),
    )  # fmt: skip
    assert changes(found) == {"data": "modified", "models/a.pt": "modified"}
    assert artifact(found, "data")["files"] == {
        "added": 1, "modified": 1, "deleted": 0, "moved": 0
    }  # fmt: skip


@pytest.mark.parametrize("given", ["v1..v3", "v1..", "v1...v3"])
def test_ranges_mean_what_they_mean_in_git(models: Project, given: str) -> None:
    found = diff(models, given)
    assert (found["from"], found["to"]) == (models.head("v1"), models.head("v3"))


def test_three_dots_begin_where_two_branches_parted(models: Project) -> None:
    models.git("checkout", "-q", "-b", "side", "v2")
    models.write("models/side.pt", "side")
    models.commit("side")
    found = diff(models, "main...side")
    assert found["from"] == models.head("v2")
    assert changes(found) == {"models/side.pt": "added"}


def test_without_a_revision_the_index_and_the_workspace(models: Project) -> None:
    assert diff(models)["artifacts"] == []
    models.write("models/a.pt", "edited")
    models.write("models/new.pt", "new")
    models.write("data/x.csv", "x,9\n")
    (models.path / "data/part2.csv").unlink()
    found = diff(models)
    assert (found["from"], found["to"]) == ("index", "worktree")
    assert changes(found) == {
        "data": "modified", "models/a.pt": "modified", "models/new.pt": "added"
    }  # fmt: skip
    assert artifact(found, "data")["files"] == {
        "added": 0, "modified": 1, "deleted": 1, "moved": 0
    }  # fmt: skip
    assert artifact(found, "models/a.pt")["new"]["size"] == 6


def test_staged_is_head_and_the_index(models: Project) -> None:
    models.write("models/a.pt", "edited")
    assert diff(models, "--staged")["artifacts"] == []
    models.devml("snapshot")
    models.write("models/a.pt", "edited again")
    found = diff(models, "--cached")
    assert (found["from"], found["to"]) == (models.head(), "index")
    assert artifact(found, "models/a.pt")["new"]["size"] == 6
    assert artifact(diff(models), "models/a.pt")["old"]["size"] == 6
    assert artifact(diff(models, "HEAD"), "models/a.pt")["new"]["size"] == 12


def test_deleted_artifact_is_deleted_and_one_that_never_came_is_not(models: Project) -> None:
    (models.path / "models/a.pt").unlink()
    assert changes(diff(models)) == {"models/a.pt": "deleted"}
    clone = Project(models.path.parent / "clone", differential=False)
    run("git", "clone", "-q", str(models.path), str(clone.path), cwd=models.path)
    clone.devml("init", "--no-content")
    found = diff(clone)
    assert found["artifacts"] == []
    assert found["notes"] == [
        "not in the workspace, taken as its pointer says: data, models/a.pt"
    ]  # fmt: skip


def test_snapshots_between_commits_and_the_metrics_they_were_told(models: Project) -> None:
    ids = []
    for epoch in (1, 2):
        models.write("models/a.pt", f"epoch {epoch}")
        with Workspace.discover(models.path) as ws:
            from devml_git import savepointing

            ids.append(savepointing.take(ws, f"epoch {epoch}", {"loss": 1 / epoch}).id)
    found = diff(models, *ids)
    assert changes(found) == {"models/a.pt": "modified"}
    assert found["metrics"] == [{"file": "snapshot", "key": "loss", "old": 1.0, "new": 0.5}]


def test_revision_before_tracking_began_has_no_artifacts(models: Project) -> None:
    root = run("git", "rev-list", "--max-parents=0", "HEAD", cwd=models.path).out.strip()
    found = diff(models, root, "v1")
    assert changes(found) == {"data": "added", "models/a.pt": "added"}
    assert "has no artifacts" in found["notes"][0]


def test_unborn_branch(project: Project) -> None:
    project.git("checkout", "-q", "--orphan", "fresh")
    project.write("models/a.pt", "first")
    assert changes(diff(project)) == {"models/a.pt": "added"}
    project.devml("snapshot")
    assert changes(diff(project, "--staged")) == {"models/a.pt": "added"}
    for args in (["HEAD", "--"], ["HEAD"]):
        assert "there is no commit yet" in refused(project, *args)


def test_unmerged_pointer_is_left_out_and_named(models: Project) -> None:
    models.git("checkout", "-q", "-b", "side", "v2")
    models.write("models/a.pt", "side")
    models.commit("side")
    models.git("merge", "main", check=False)
    for args in ((), ("--staged",)):
        found = diff(models, *args)
        assert "models/a.pt" not in changes(found)
        assert "models/a.pt.dvc is unmerged: left out" in found["notes"]


def test_corrupt_content_is_named_with_what_mends_it(models: Project, tmp_path: Path) -> None:
    models.dvc("remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    models.dvc("push", "-q")
    place = models.object("models/a.pt.dvc")
    place.chmod(0o644)
    place.write_bytes(b"cut")
    listed = models.object("data.dvc")
    listed.chmod(0o644)
    listed.write_bytes(b"[]")
    data, model = diff(models, "HEAD~1", "HEAD")["artifacts"]
    assert "is corrupt in the cache (devml-git verify --all --repair " in model["notes"][0]
    assert data["notes"][0].startswith("not compared file by file: the list of files of data ")
    (shown,) = models.devml("show", "--json", "--", "models").json["artifacts"]
    assert shown["content"] == "corrupt"
    told = models.devml("show").out
    assert "corrupt: devml-git verify --all --repair" in told
    assert models.devml("blame", "models/a.pt", check=False).err.startswith("error: models/a.pt (")
    models.devml("verify", "--all", "--repair")
    models.devml("fetch", "--all")
    assert "corrupt" not in json.dumps(diff(models, "HEAD~1", "HEAD"))


def test_renamed_artifact_is_one_line_and_in_json_added_and_deleted(models: Project) -> None:
    models.git("mv", "models/a.pt.dvc", "models/b.pt.dvc")
    models.commit("renamed")
    come, gone = diff(models, "HEAD~1", "HEAD")["artifacts"]
    assert (come["path"], come["change"], come["old"], come["moved_from"]) == (
        "models/b.pt", "added", None, "models/a.pt",
    )  # fmt: skip
    assert (gone["path"], gone["change"], gone["new"]) == ("models/a.pt", "deleted", None)
    assert come["new"] == gone["old"]
    told = models.devml("diff", "HEAD~1", "HEAD").out
    assert told == "renamed   models/a.pt -> models/b.pt  500 B\n"


def test_exec_bit_alone_is_a_change(models: Project) -> None:
    (models.path / "models/a.pt").chmod(0o755)
    one = artifact(diff(models), "models/a.pt")
    assert one["notes"] == ["only exec bits differ"]


def test_file_that_became_a_directory(models: Project) -> None:
    models.git("rm", "-q", "--cached", "models/a.pt.dvc")
    (models.path / "models/a.pt.dvc").unlink()
    (models.path / "models/a.pt").unlink()
    models.devml("untrack", "models/**", check=False)
    models.write("models/a.pt/inner", "x")
    run(sys.executable, "-m", "dvc", "add", "-q", "models/a.pt", cwd=models.path, check=False)
    models.commit("directory")
    one = artifact(diff(models, "v3", "HEAD"), "models/a.pt")
    assert one["notes"] == ["was a file, is a directory"]


# -- paths and options ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("models/a.pt", ["models/a.pt"]),
        ("models/a.pt.dvc", ["models/a.pt"]),
        ("models", ["models/a.pt"]),
        ("*", ["data", "models/a.pt"]),
        ("data/part2.csv", ["data"]),
        ("data/*.csv", ["data"]),
    ],
)
def test_paths_narrow_it(models: Project, path: str, expected: list[str]) -> None:
    found = diff(models, "v1", "v2", "--", path)
    assert sorted(changes(found)) == expected


def test_file_inside_a_directory_is_told_alone(models: Project) -> None:
    one = artifact(diff(models, "v1", "v2", "--", "data/x.csv"), "data")
    assert [f["name"] for f in one["changed_files"]] == ["x.csv"]
    assert diff(models, "v2", "v3", "--", "data/part1.csv")["artifacts"] == []


def test_paths_are_told_from_revisions_without_dashes(models: Project) -> None:
    assert changes(diff(models, "v1", "models/a.pt")) == {"models/a.pt": "modified"}
    models.write("v1", "a file")
    assert "both a revision and a path" in refused(models, "v1")
    assert changes(diff(models, "v1", "--")) != {}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("nosuch",), "unknown revision 'nosuch'"),
        (("v1", "nosuch", "--"), "unknown revision 'nosuch'"),
        (("v1..nosuch", "--"), "unknown revision 'nosuch'"),
        (("--", "nosuch"), "nosuch is an artifact on neither side"),
        (("--", "train.py"), "train.py is no artifact on either side"),
        (("--", "../elsewhere"), "outside of the repository"),
        (("v1", "v2", "v3"), "two revisions at most"),
        (("--staged", "v1", "v2"), "--staged compares the index with one revision"),
        (("--staged", "v1..v2"), "--staged compares the index with one revision"),
        (("^v1", "--"), "'^v1' is a range: one revision is asked for"),
    ],
)
def test_what_does_not_exist_is_a_usage_error(
    models: Project, args: tuple[str, ...], words: str
) -> None:
    assert words in refused(models, *args)


def test_unrelated_histories_have_no_merge_base(models: Project) -> None:
    models.git("checkout", "-q", "--orphan", "fresh")
    models.git("commit", "-qm", "fresh")
    assert "no commit in common" in refused(models, "main...fresh")


def test_exit_code_says_whether_anything_differs(models: Project) -> None:
    assert devml("diff", "--exit-code", cwd=models.path).status == 0
    assert devml("diff", "--exit-code", "v1", cwd=models.path).status == 1


def test_stat_is_one_line_an_artifact(models: Project) -> None:
    assert told(models, "--stat", "v1", "v2") == [
        "modified  data  3 files  11 B -> 18 B  2 files: 1 added, 1 modified",
        "modified  models/a.pt  500 B",
        "2 artifacts: 2 modified",
    ]


def test_names_from_a_subdirectory_and_json_paths_from_the_root(models: Project) -> None:
    ran = devml("diff", "--json", "v1", "--", "a.pt", cwd=models.path / "models")
    assert changes(ran.json) == {"models/a.pt": "modified"}


def test_bare_repository_is_refused(models: Project, tmp_path: Path) -> None:
    run("git", "clone", "-q", "--bare", str(models.path), str(tmp_path / "bare"), cwd=tmp_path)
    assert devml("diff", cwd=tmp_path / "bare").status == 10


def test_nothing_in_the_repository_changes(models: Project) -> None:
    models.write("models/a.pt", "edited")
    before = {p: p.read_bytes() for p in models.path.rglob("*") if p.is_file()}
    told(models, "v1")
    told(models)
    after = {p: p.read_bytes() for p in models.path.rglob("*") if p.is_file()}
    touched = {p.name for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    assert touched <= {"record.db", "record.db-wal", "record.db-shm", "verified.db", "index"}


# -- what is inside ------------------------------------------------------------------------------


def tensors(p: Project, path: str, **arrays: Any) -> None:
    place = p.path / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    save_file({k: np.asarray(v) for k, v in arrays.items()}, place)


def test_model_is_told_tensor_by_tensor(project: Project) -> None:
    tensors(project, "models/m.safetensors", w=[3.0, 4.0], same=[1.0], gone=[1.0, 2.0])
    project.commit("one")
    tensors(project, "models/m.safetensors", w=[3.0, 5.0], same=[1.0], come=[1.0, 2.0, 3.0])
    project.commit("two")
    one = artifact(diff(project, "HEAD~1", "HEAD"), "models/m.safetensors")
    by_name = {t["name"]: t for t in one["tensors"]}
    assert {n: t["change"] for n, t in by_name.items()} == {
        "w": "modified", "come": "added", "gone": "removed"
    }  # fmt: skip
    w = by_name["w"]
    assert (w["l2"], w["max_abs"], w["changed"]) == (pytest.approx(0.2), 1.0, 0.5)
    assert w["cosine"] == pytest.approx(29 / (5 * np.sqrt(34)))
    assert by_name["come"]["new"] == {"dtype": "float64", "shape": [3]}
    assert one["model"]["parameters"] == {"old": 5, "new": 6}
    (line,) = [x for x in told(project, "HEAD~1", "--stat") if "safetensors:" in x]
    assert "of 3 tensors; 6 parameters (+1); l2 up to 0.2" in line


def test_model_that_was_not_compared_whole_is_not_called_unchanged(project: Project) -> None:
    for n in (1, 2):
        pair = {"w": np.ones(3), "objects": np.array([n], object)}
        place = project.path / "models" / "m.npz"
        place.parent.mkdir(exist_ok=True)
        np.savez(place, allow_pickle=True, **pair)
        project.commit(f"{n}")
    (line,) = [x for x in told(project, "HEAD~1", "--stat") if "npz:" in x]
    assert "npz: none changed (not all was compared) of 1 tensor" in line


def test_what_moved_away_from_zeros_is_not_told_as_the_smallest_change(project: Project) -> None:
    tensors(project, "models/m.safetensors", **{"l.0.w": [0.0, 0.0], "l.1.w": [1.0, 1.0]})
    project.commit("one")
    tensors(project, "models/m.safetensors", **{"l.0.w": [1e6, 1e6], "l.1.w": [1.5, 1.5]})
    project.commit("two")
    text = "\n".join(told(project, "HEAD~1", "HEAD"))
    assert "l2 up to 0.5 (of 1 in 2)" in text
    assert "l2 0.5 (of 1 in 2)  max 0.5..1e+06  cos 1 (of 1 in 2)" in text


def test_model_in_several_files_is_one_model(project: Project) -> None:
    def shards(factor: float) -> None:
        for n in (1, 2):
            tensors(project, f"data/m-{n}.safetensors", **{f"layer.{n}": [1.0, n * factor]})
        names = {f"layer.{n}": f"m-{n}.safetensors" for n in (1, 2)}
        project.write("data/m.safetensors.index.json", json.dumps({"weight_map": names}))

    shards(1)
    project.commit("one")
    shards(2)
    project.commit("two")
    one = artifact(diff(project, "HEAD~1", "HEAD"), "data")
    (model,) = one["models"]
    assert model["name"] == "m.safetensors.index.json"
    assert [t["name"] for t in model["tensors"]] == ["layer.1", "layer.2"]
    assert all("tensors" not in f for f in one["changed_files"])


def test_file_named_like_a_model_and_none_is_told_in_words(models: Project) -> None:
    (note,) = artifact(diff(models, "v1", "v2"), "models/a.pt")["notes"]
    assert note.startswith("not looked into: models/a.pt cannot be read:")


def test_table_with_a_key_from_the_configuration(project: Project) -> None:
    text = project.read("devml.toml")
    project.write("devml.toml", f'{text}\n[tables]\n"data/*.csv" = ["id"]\n')
    project.write("data/t.csv", "id,x\n1,a\n2,b\n")
    project.commit("one")
    project.write("data/t.csv", "id,x\n1,a\n2,c\n3,d\n")
    project.commit("two")
    (file,) = artifact(diff(project, "HEAD~1", "HEAD"), "data")["changed_files"]
    table = file["table"]
    assert (table["added"], table["removed"], table["changed"]) == (1, 0, 1)
    assert table["examples"] == [{"key": ["2"], "column": "x", "old": "b", "new": "c"}]
    assert "csv: 2 -> 3 rows, +1 -0, 1 changed (by id)" in "\n".join(told(project, "HEAD~1"))


def test_images_recordings_and_text(project: Project) -> None:
    def write(n: int) -> None:
        project.write("data/t.txt", "same\n" + "line\n" * n)
        Image.new("RGB", (10 * n, 20)).save(project.path / "data/i.png")
        with wave.open(str(project.path / "data/s.wav"), "wb") as w:
            w.setnchannels(n)
            w.setsampwidth(2)
            w.setframerate(8000)
            w.writeframes(b"\0\0" * 8000 * n)

    write(1)
    project.commit("one")
    write(2)
    project.commit("two")
    text = "\n".join(told(project, "HEAD~1"))
    assert "text: 2 -> 3 lines, +1 -0" in text
    assert "image: PNG 10x20 RGB -> PNG 20x20 RGB" in text
    assert "audio: 1.00 s, 8000 Hz, 1 channel -> 1.00 s, 8000 Hz, 2 channels" in text


@pytest.mark.parametrize("name", ["i.png", "s.mp3"])
def test_damaged_media_are_told_in_words(project: Project, name: str) -> None:
    for n in (1, 2):
        project.write(f"data/{name}", f"nonsense {n}")
        project.commit(str(n))
    (note,) = artifact(diff(project, "HEAD~1", "HEAD"), "data")["notes"]
    assert "that can be read" in note


def test_image_of_billions_of_pixels_is_not_decoded(project: Project) -> None:
    import struct
    import zlib

    for n in (1, 2):
        ihdr = b"IHDR" + struct.pack(">IIBBBBB", 100_000 + n, 100_000, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))
        idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
        project.write("data/i.png", b"\x89PNG\r\n\x1a\n" + chunk + idat)
        project.commit(str(n))
    (note,) = artifact(diff(project, "HEAD~1", "HEAD"), "data")["notes"]
    assert "no image that can be read: Image size (10000" in note


def test_moved_files_and_what_they_add_up_to(project: Project) -> None:
    project.write("data/a.bin", "\0moved")
    project.write("data/b.bin", "\0same")
    project.commit("one")
    (project.path / "data/sub").mkdir()
    shutil.move(project.path / "data/a.bin", project.path / "data/sub/c.bin")
    project.write("data/d.csv", "1,2\n")
    project.commit("two")
    one = artifact(diff(project, "HEAD~1", "HEAD"), "data")
    assert one["files"] == {"added": 1, "modified": 0, "deleted": 0, "moved": 1}
    (moved,) = [f for f in one["changed_files"] if f["change"] == "moved"]
    assert (moved["name"], moved["from"]) == ("sub/c.bin", "a.bin")
    assert "  .csv  1 file: 1 added  +4 B" in told(project, "HEAD~1")


def test_few_files_of_a_directory_are_looked_into_unless_all_are_asked_for(
    project: Project,
) -> None:
    for n in (1, 2):
        for i in range(comparing.MOST + 3):
            project.write(f"data/{i}.txt", f"{n}\n")
        project.commit(str(n))

    def looked(*args: str) -> int:
        one = artifact(diff(project, "HEAD~1", "HEAD", *args), "data")
        return sum("lines" in f for f in one["changed_files"])

    assert looked() == comparing.MOST
    assert looked("--all") == comparing.MOST + 3
    assert looked("--no-content") == 0
    assert any(
        "not looked into: 3 more changed files (--all)" in x for x in told(project, "HEAD~1")
    )


def test_content_that_is_not_here_is_said_so_and_sizes_stand(models: Project) -> None:
    models.object("models/a.pt.dvc").unlink()
    one = artifact(diff(models, "v2", "v3"), "models/a.pt")
    (note,) = one["notes"]
    assert "is not in the cache" in note
    assert "devml-git fetch" in note
    assert one["new"]["size"] == 500


def test_list_of_files_that_is_not_here_is_said_so(models: Project) -> None:
    models.object("data.dvc").unlink()
    one = artifact(diff(models, "v2", "v3"), "data")
    assert one["notes"][0].startswith("not compared file by file: ")
    assert "files" not in one


def test_nothing_is_fetched_unless_asked_for(models: Project, tmp_path: Path) -> None:
    models.dvc("remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    models.dvc("push", "-q", "--all-commits")
    tensors(models, "models/a.pt", w=[1.0])
    models.object("data.dvc").unlink()
    assert "notes" in artifact(diff(models, "v2", "v3"), "data")
    assert artifact(diff(models, "--fetch", "v2", "v3"), "data")["files"]["added"] == 1


def test_metrics_and_parameters_old_new_and_change(project: Project) -> None:
    text = project.read("devml.toml")
    project.write(
        "devml.toml",
        f'metrics = ["m.json"]\nparams = ["p.yaml"]\n{text}\n[better]\nacc = "higher"\n',
    )
    project.write("m.json", '{"acc": 0.5, "n": {"a.b": 1}}')
    project.write("p.yaml", "lr: 0.1\n")
    project.commit("one")
    project.write("m.json", '{"acc": 0.75, "n": {"a.b": NaN}}')
    project.write("p.yaml", "lr: 0.2\nnew: [1]\n")
    found = diff(project)
    assert found["metrics"] == [
        {"file": "m.json", "key": "acc", "old": 0.5, "new": 0.75},
        {"file": "m.json", "key": 'n."a.b"', "old": 1, "new": "NaN"},
    ]
    assert found["params"] == [
        {"file": "p.yaml", "key": "lr", "old": 0.1, "new": 0.2},
        {"file": "p.yaml", "key": "new", "old": None, "new": [1]},
    ]
    assert diff(project, "--staged")["metrics"] == []
    assert diff(project, "--", "p.yaml")["metrics"] == []
    assert "  acc  0.5 -> 0.75  (+0.25)" in told(project)


# -- output --------------------------------------------------------------------------------------


def test_hostile_names_are_escaped(project: Project) -> None:
    tensors(project, "models/m.safetensors", **{"[red]\x1b[31m\u202e": [1.0]})
    project.write("data/a,b [red].csv", "a\x1b[31m,b\n1,2\n")
    out = "\n".join(told(project))
    assert "[red]\\x1b[31m\\u202e" in out
    assert not any(ord(c) < 32 and c != "\n" for c in out)


def test_colour_on_a_terminal_only(models: Project) -> None:
    plain = devml_process("diff", "v1", cwd=models.path)
    coloured = devml_process(
        "diff", "v1", cwd=models.path, env={"FORCE_COLOR": "1", "NO_COLOR": "", "TERM": "xterm"}
    )
    assert "\x1b" not in plain.out
    assert "\x1b[33mmodified" in coloured.out


def test_library_gives_frozen_data(models: Project) -> None:
    with Workspace.discover(models.path) as ws:
        found = comparing.compare(ws, "v1", "v2", ["models/a.pt"])
    assert [a.path for a in found.artifacts] == ["models/a.pt"]
    with pytest.raises(AttributeError):
        found.before = "x"  # type: ignore[misc]
    assert bool(found)


UNSTORED = {
    "import by a commit alone": "frozen: true\ndeps:\n- path: x\n  repo:\n    url: ../r\n    rev_lock: "
    + "0" * 40 + "\nouts:\n- path: {}\n",
    "import with a hash": "frozen: true\ndeps:\n- path: x\n  repo:\n    url: ../r\n    rev_lock: "
    + "0" * 40 + "\nouts:\n- md5: " + "0" * 32 + "\n  size: 1\n  hash: md5\n  path: {}\n",
    "import by address": "frozen: true\ndeps:\n- path: https://127.0.0.1:9/x\n  etag: '1'\nouts:\n- path: {}\n",
    "never stored": "outs:\n- path: {}\n",
    "not cached": "outs:\n- md5: " + "0" * 32 + "\n  size: 1\n  cache: false\n  path: {}\n",
    "outside": "outs:\n- path: ../../{}\n",
}  # fmt: skip


@pytest.mark.parametrize("lies_here", [False, True])
@pytest.mark.parametrize("kind", UNSTORED)
def test_pointer_without_content_that_this_tool_holds_is_looked_at(
    models: Project, kind: str, lies_here: bool
) -> None:
    models.write("x.bin.dvc", UNSTORED[kind].format("x.bin"))
    if lies_here:
        models.write("x.bin", "here\n")
        models.write(".gitignore", "/x.bin\n")
    models.git("add", "-A")
    for commit in (False, True):
        if commit:
            models.git("commit", "-qm", "theirs", check=False)
        for command in ("status", "log", "show", "diff", "diff --staged", "diff HEAD", "verify",
                        "diff HEAD~1", "blame x.bin", "blame x.bin.dvc", "doctor"):  # fmt: skip
            ran = models.devml(*command.split(), check=False)
            assert ran.status != 70, (command, ran.err)

"""blame: which commit last changed each tensor, through merges, renames, and what is not here."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from devml_git import blaming
from devml_git.workspace import Workspace
from tests.tensorfile import safetensors, weights
from tests.world import Project, Shelf, devml, run

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "models/clf.safetensors"


@pytest.fixture
def trained(shelf: Shelf, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """a: all tensors; b: layer.1; c: code only; d: layer.2 and layer.3 is new."""

    def make() -> Project:
        p: Project = request.getfixturevalue("project")
        p.differential = False
        save(p, "a", 1, 2, 3)
        save(p, "b", 1, 5, 3)
        p.write("train.py", "print()")
        p.commit("c")
        save(p, "d", 1, 5, 7, 8)
        return p

    project = shelf.copy("blame", make, tmp_path / "trained")
    project.differential = False
    return project


def save(p: Project, message: str, *values: float, path: str = MODEL) -> None:
    p.write(path, weights(*values))
    p.commit(message)
    run("git", "tag", "-f", message, cwd=p.path)


def blamed(p: Project, *args: str, path: str = MODEL) -> dict[str, str]:
    """Return by the tensor's number the subject of its commit, with a ? where that is not sure."""
    found = p.devml("blame", "--json", *args, "--", path).json
    subjects = {c: told["subject"] for c, told in found["commits"].items()}
    return {
        t["name"].removeprefix("layer.").removesuffix(".weight"): subjects[t["commit"]]
        + "".join(f"?{subjects[c]}" for c in t["possible"])
        for t in found["tensors"]
    }


def drop(p: Project, rev: str, path: str = MODEL) -> None:
    """Take the content of a version out of the cache, and what is known of it."""
    oid = p.show(rev, f"{path}.dvc").split("md5: ")[1][:32]
    (p.cache / oid[:2] / oid[2:]).unlink()
    (p.path / ".git/devml/kept.db").unlink(missing_ok=True)


def test_each_tensor_has_the_commit_that_changed_it(trained: Project) -> None:
    assert blamed(trained) == {"0": "a", "1": "b", "2": "d", "3": "d"}
    assert blamed(trained, "HEAD~1") == {"0": "a", "1": "b", "2": "a"}
    told = trained.devml("blame", "b", MODEL, "layer.1").out.split()
    assert told == [
        trained.head("b")[:10],
        "Test",
        told[2],
        "layer.1.weight",
        "float32",
        "[2,",
        "2]",
    ]


def test_second_blame_reads_no_content(trained: Project) -> None:
    before = blamed(trained)
    for oid in trained.objects().values():
        oid.unlink()
    assert blamed(trained) == before


def test_tensor_changed_back_is_the_later_commits(trained: Project) -> None:
    save(trained, "e", 2, 5, 7, 8)
    save(trained, "f", 1, 5, 7, 8)
    assert blamed(trained)["0"] == "f"


def test_same_numbers_in_another_type_or_shape_are_a_change(project: Project) -> None:
    project.differential = False
    zeros = np.zeros(4, np.float32)
    for message, array in (("a", zeros), ("b", zeros.reshape(2, 2)), ("c", zeros.view(np.uint8))):
        project.write(MODEL, safetensors({"t": array, "u": zeros}))
        project.commit(message)
        assert blamed(project) == {"t": message, "u": "a"}


def test_each_side_of_a_merge_is_followed(trained: Project) -> None:
    trained.git("checkout", "-q", "-b", "side", "b")
    save(trained, "s", 9, 5, 3)
    trained.git("checkout", "-q", "main")
    trained.git("merge", "side", check=False)
    trained.devml("checkout", "--ours", "--", MODEL)
    save(trained, "m", 9, 5, 7, 1)
    assert blamed(trained) == {"0": "s", "1": "b", "2": "d", "3": "m"}


def test_renamed_model_is_followed_and_the_old_path_named(trained: Project) -> None:
    new = "models/new.safetensors"
    trained.git("mv", f"{MODEL}.dvc", f"{new}.dvc")
    trained.commit("moved")
    save(trained, "e", 1, 5, 7, 9, path=new)
    assert blamed(trained, path=new) == {"0": "a", "1": "b", "2": "d", "3": "e"}
    lines = trained.devml("blame", new).out.splitlines()
    assert [line.split("]")[1].strip() for line in lines] == [MODEL, MODEL, MODEL, ""]


def test_model_moved_and_retrained_at_once_is_followed_and_the_guess_told(trained: Project) -> None:
    new = "models/new.safetensors"
    trained.git("mv", f"{MODEL}.dvc", f"{new}.dvc")
    save(trained, "e", 1, 6, 7, 8, path=new)
    assert blamed(trained, path=new) == {"0": "a", "1": "e", "2": "d", "3": "d"}
    said = trained.devml("blame", new)
    head = trained.head()
    assert said.err == f"{new} was probably moved from {MODEL}, and changed, in {head[:10]}\n"
    found = trained.devml("blame", new, "--json").json
    assert found["guessed_moves"] == [{"commit": head, "from": MODEL, "to": new}]
    drop(trained, "d")  # of the content before, only the size is known
    assert blamed(trained, path=new) == {"0": "a", "1": "e?d", "2": "e?d", "3": "e?d"}


def test_model_moved_and_replaced_by_another_is_not_followed(trained: Project) -> None:
    new = "models/new.safetensors"
    trained.git("mv", f"{MODEL}.dvc", f"{new}.dvc")
    save(trained, "e", 1, 5, path=new)
    assert blamed(trained, path=new) == {"0": "e", "1": "e"}
    assert "guessed_moves" not in trained.devml("blame", new, "--json").json


def test_of_models_with_the_same_content_the_renamed_one_is_followed(project: Project) -> None:
    project.differential = False
    save(project, "older", 1, 2, path="models/best.safetensors")
    save(project, "trained", 1, 5)
    save(project, "promoted", 1, 5, path="models/best.safetensors")
    project.git("mv", f"{MODEL}.dvc", "models/new.safetensors.dvc")
    project.commit("moved")
    assert blamed(project, path="models/new.safetensors") == {"0": "trained", "1": "trained"}


def test_older_content_that_is_not_here_leaves_a_doubt(trained: Project) -> None:
    drop(trained, "b")
    assert blamed(trained) == {"0": "a", "1": "d?b", "2": "d?b", "3": "d?b"}
    told = trained.devml("blame", MODEL)
    assert told.out.splitlines()[1].startswith(f"{trained.head('d')[:10]}?  ")
    assert "? or earlier: the content of 1 older commit is not here" in told.err
    drop(trained, "a")
    assert blamed(trained) == {"0": "d?b?a", "1": "d?b?a", "2": "d?b?a", "3": "d?b?a"}


def test_missing_content_is_fetched_when_asked_for(trained: Project, tmp_path: Path) -> None:
    trained.dvc("remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    shutil.copytree(trained.cache, tmp_path / "store/files/md5")
    drop(trained, "b")
    drop(trained, "d")
    assert devml("blame", MODEL, cwd=trained.path).status == 30
    assert blamed(trained, "--fetch") == {"0": "a", "1": "b", "2": "d", "3": "d"}


def test_model_in_a_directory_and_one_in_several_files(project: Project) -> None:
    project.differential = False
    index = json.dumps({"weight_map": {"layer.0.weight": "1.safetensors", "x": "2.safetensors"}})
    project.write("data/m.safetensors.index.json", index)
    project.write("data/1.safetensors", weights(1))
    project.write("data/2.safetensors", safetensors({"x": np.zeros(2, np.float32)}))
    project.commit("a")
    project.write("data/1.safetensors", weights(2))
    project.write("data/x.csv", "1")
    project.commit("b")
    assert blamed(project, path="data/1.safetensors") == {"0": "b"}
    assert blamed(project, path="data/2.safetensors") == {"x": "a"}
    assert blamed(project, path="data/m.safetensors.index.json") == {"0": "b", "x": "a"}
    said = devml("blame", "data", cwd=project.path)
    assert said.status == 2
    assert "hint: name one of its files: data/1.safetensors, " in said.err


def test_output_of_a_pipeline_is_followed(project: Project) -> None:
    project.differential = False
    project.write("dvc.yaml", "stages:\n  t:\n    cmd: cp in out.safetensors\n    deps: [in]\n"
                  "    outs: [out.safetensors]\n")  # fmt: skip
    for message, values in (("a", (1, 2)), ("b", (1, 3))):
        project.write("in", weights(*values))
        project.dvc("repro", "-q")
        project.commit(message)
    assert blamed(project, path="out.safetensors") == {"0": "a", "1": "b"}


WRONG = {
    "no arguments": ([], "which model?"),
    "unknown path": (["nix"], "nix is no artifact at HEAD"),
    "unknown revision": (["v9", "--", MODEL], "unknown revision 'v9'"),
    "a range": (["a..b", "--", MODEL], "'a..b' is a range: one revision is asked for"),
    "before it was": (["set-up", MODEL], "is no artifact at set-up"),
    "unknown tensor": ([MODEL, "nix"], "no tensor is called nix"),
    "no model": (["models/t.csv"], "models/t.csv is no model but table"),
    "two revisions": (["a", "b", "--", MODEL], "b stands before `--`: one REV at most"),
    "an option": (["--", "--output=x"], "--output=x is no artifact"),
    "outside": (["../x"], "outside of the repository"),
    "truncated": (["models/cut.safetensors"], "is no model that can be read: it ends too early"),
    "a pickle": (["models/p.pkl"], "has no tensors to tell apart"),
}


def test_what_cannot_be_answered_is_said(trained: Project) -> None:
    trained.write("models/t.csv", "a,b\n")
    trained.write("models/cut.safetensors", weights(1)[:60])
    trained.write("models/p.pkl", b"\x80\x04}q\x00.")
    trained.commit("more")
    trained.git("tag", "set-up", trained.git("rev-list", "--max-parents=0", "HEAD").out.strip())
    for argv, words in WRONG.values():
        said = devml("blame", *argv, cwd=trained.path)
        assert said.status == 2, (argv, said.err)
        assert words in said.err
        assert "Traceback" not in said.err


def test_unborn_branch_and_hostile_names(project: Project) -> None:
    project.differential = False
    evil = "a\x1b[2J\n\u202eb"
    project.write(MODEL, safetensors({evil: np.zeros(1, np.float32)}))
    project.commit("evil\x1b[1m")
    out = project.devml("blame", MODEL).out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert len(out.splitlines()) == 1
    project.git("checkout", "-q", "--orphan", "new")
    assert "there is no commit yet" in devml("blame", MODEL, cwd=project.path).err


def test_from_a_subdirectory_and_by_the_pointers_path(trained: Project) -> None:
    here = trained.devml("blame", "clf.safetensors", cwd="models").out
    assert here == trained.devml("blame", f"{MODEL}.dvc").out == trained.devml("blame", MODEL).out


def test_blame_is_data_for_the_library(trained: Project) -> None:
    with Workspace.discover(trained.path) as ws:
        found = blaming.blame(ws, MODEL, names=["*.1.*"])
    (line,) = found.tensors
    assert (line.tensor.name, line.commit, line.possible) == (
        "layer.1.weight",
        trained.head("b"),
        (),
    )
    assert found.to_dict()["schema"] == "devml.blame/v1"

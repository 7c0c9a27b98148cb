"""`import devml_git` in a program or a notebook: any revision is read, the workspace stays."""

from __future__ import annotations

import gc
import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import devml_git
from devml_git.errors import ContentLost, DevmlError, NotARepository, StorageFailed, UsageError
from devml_git.models import Unreadable
from devml_git.notebook import comparison
from tests.tensorfile import safetensors, weights
from tests.world import Project, Shelf, run

MODEL = "models/clf.safetensors"


@pytest.fixture
def trained(
    shelf: Shelf,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Project:
    """v1 to v3 of tests/conftest.py, then v4 with a model of two tensors and its metrics."""

    def make() -> Project:
        p: Project = request.getfixturevalue("models")
        p.write(MODEL, weights(1, 2))
        p.write("metrics.json", '{"accuracy": 0.5}')
        p.commit("v4")
        p.git("tag", "v4")
        return p

    project = shelf.copy("api", make, tmp_path / "trained")
    project.differential = False
    monkeypatch.chdir(project.path)
    return project


def read(path: str, rev: str | None = None, **how: str) -> bytes | str:
    with devml_git.open(path, rev, **how) as file:
        return file.read()


# -- open ----------------------------------------------------------------------------------------


def test_any_revision_is_read_and_the_workspace_stays(trained: Project) -> None:
    before, status = trained.listing("."), trained.porcelain()
    assert read("models/a.pt", "v1") == b"weights 1\n" * 50
    assert read("data/x.csv", "v2", mode="r") == "x,2\n"
    assert read("train.py", "HEAD~2") == b"print(2)\n"
    assert read("models/a.pt", trained.head("v3")) == b"weights 3\n" * 50
    assert read("models/a.pt.dvc", "v1") == b"weights 1\n" * 50
    here = trained.listing(".")
    changed = {p for p in {*before, *here} if before.get(p) != here.get(p)}
    assert all(p.startswith(".git/devml/") for p in changed)
    assert trained.porcelain() == status


def test_without_a_revision_the_workspace_is_read(trained: Project) -> None:
    trained.write("models/a.pt", "edited")
    assert read("models/a.pt") == b"edited"
    assert read("models/a.pt", "HEAD") == b"weights 3\n" * 50
    assert read(str(trained.path / "models/a.pt"), "v1") == b"weights 1\n" * 50


def test_paths_start_at_the_root_wherever_the_program_runs(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.path / "data")
    assert read("data/x.csv", "v1") == b"x,1\n"
    with pytest.raises(UsageError, match=r"x\.csv is neither an artifact nor a file at v1"):
        devml_git.open("x.csv", "v1")
    monkeypatch.chdir("/")
    with pytest.raises(NotARepository):
        devml_git.open("data/x.csv")
    with devml_git.Repo(trained.path / "models") as repo, repo.open("data/x.csv", "v1") as file:
        assert file.read() == b"x,1\n"


WRONG = {
    "unknown path": (("nix", "v1"), "nix is neither an artifact nor a file at v1"),
    "unknown in workspace": (("nix",), "nix is not in the workspace"),
    "unknown revision": (("models/a.pt", "v9"), "unknown revision 'v9'"),
    "an option": (("models/a.pt", "--all"), "unknown revision '--all'"),
    "a directory artifact": (("data", "v1"), "data is a directory"),
    "a directory here": (("data",), "data is a directory, not a file"),
    "a directory of git's": (("models", "v1"), "models is neither"),
    "not in it then": (("data/part3.csv", "v1"), "data has no file part3.csv"),
    "above": (("../x", "v1"), "is no path inside"),
    "git's own": (("/etc/passwd", "v1"), "is no path inside"),
    "root": (("", "v1"), "is no path inside"),
    "to write": (("models/a.pt", "v1", "wb"), "files are opened for reading"),
}


def test_what_cannot_be_opened_is_said(trained: Project) -> None:
    for args, words in WRONG.values():
        with pytest.raises(DevmlError) as raised:
            devml_git.open(*args)
        assert words in raised.value.message
        assert type(raised.value) is UsageError
    os.mkfifo(trained.path / "pipe")
    with pytest.raises(UsageError, match="is a named pipe, not a file"):
        devml_git.open("pipe")


def test_snapshot_between_commits_is_a_revision(trained: Project) -> None:
    trained.write("models/a.pt", "epoch 3")
    point = devml_git.snapshot("epoch 3")
    trained.write("models/a.pt", "epoch 4")
    for name in (point.id, point.name, point.commit):
        assert read("models/a.pt", name) == b"epoch 3"


def test_corrupt_and_missing_content_is_not_handed_out(trained: Project) -> None:
    repo = devml_git.Repo(trained.path)
    repo.open("models/a.pt", "v1").close()
    place = trained.objects()[trained.show("v1", "models/a.pt.dvc").split("md5: ")[1][:32]]
    place.chmod(0o644)
    place.write_bytes(b"wrongs 1\n" * 50)
    with pytest.raises(ContentLost, match=r"models/a\.pt .* was corrupt in the cache") as first:
        repo.open("models/a.pt", "v1")
    assert "devml-git fetch --all" in str(first.value.hint)
    with pytest.raises(ContentLost, match="was corrupt in the cache, and is set aside"):
        devml_git.open("models/a.pt", "v1")


def test_content_is_fetched_where_that_is_allowed(trained: Project, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(trained.cache, store / "files/md5")
    shutil.rmtree(trained.cache)
    trained.dvc("remote", "add", "-q", "-d", "store", str(store))
    trained.git("-c", "core.hooksPath=/dev/null", "commit", "-qam", "as if it were pulled")
    with pytest.raises(ContentLost, match="the DVC remote store is new") as raised:
        devml_git.open("data/x.csv", "v1")
    assert raised.value.hint == "devml-git trust"
    trained.devml("trust")
    with pytest.raises(ContentLost):
        devml_git.open("data/x.csv", "v1", fetch=False)
    trained.write("devml.toml", trained.read("devml.toml") + "\n[hooks]\nfetch = false\n")
    with pytest.raises(ContentLost):
        devml_git.open("data/x.csv", "v1")
    with devml_git.open("data/x.csv", "v1", fetch=True) as file:
        assert file.read() == b"x,1\n"


def test_many_threads_and_processes_read_together(trained: Project) -> None:
    repo = devml_git.Repo(trained.path)
    commits = [trained.head(v) for v in ("v1", "v2", "v3")]

    def one(n: int) -> bytes:
        with repo.open("data/x.csv", commits[n % 3]) as file:
            return file.read()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(300)))
    assert found == [f"x,{n % 3 + 1}\n".encode() for n in range(300)]
    again = pickle.loads(pickle.dumps(repo))
    with again.open("data/x.csv", "v2") as file:
        assert (again.root, file.read()) == (repo.root, b"x,2\n")


def test_no_file_is_left_open(trained: Project) -> None:
    gc.collect()  # what tests before this one have left to it, with its warnings
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
        for rev in ("v1", "v2", None):
            with devml_git.open("data/x.csv", rev, "r") as file:
                file.read()
            devml_git.artifacts(rev)
        with devml_git.load(MODEL, "v4") as tensors:
            dict(tensors)
        del tensors
        for _ in devml_git.log(n=2):
            pass
        gc.collect()
        if before:
            assert len(os.listdir("/proc/self/fd")) <= before


def test_reading_a_file_of_a_commit_again_starts_no_process(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, commit = devml_git.Repo(trained.path), trained.head("v1")
    repo.open("data/x.csv", commit).close()

    def none(*args: object, **kwargs: object) -> None:
        raise AssertionError(args)

    monkeypatch.setattr(subprocess, "run", none)
    monkeypatch.setattr(subprocess, "Popen", none)
    for name in ("data/x.csv", "data/part1.csv"):
        repo.open(name, commit).close()


# -- load ----------------------------------------------------------------------------------------


def test_tensors_of_a_revision_are_arrays(trained: Project) -> None:
    trained.write(MODEL, weights(7, 8, 9))
    with devml_git.load(MODEL, "v4") as tensors:
        assert list(tensors) == ["layer.0.weight", "layer.1.weight"]
        one = tensors["layer.1.weight"]
    assert (one == np.full((2, 2), 2, np.float32)).all()
    assert not one.flags.writeable
    assert tensors.format == "safetensors"
    assert tensors.info["layer.0.weight"].shape == (2, 2)
    assert "2 tensors, 32 B" in repr(tensors)
    assert len(devml_git.load(MODEL)) == 3
    with pytest.raises(KeyError):
        devml_git.load(MODEL)["nix"]


def test_model_in_several_files_is_one(trained: Project) -> None:
    index = '{"weight_map": {"layer.0.weight": "1.safetensors", "x": "2.safetensors"}}'
    trained.write("data/m.safetensors.index.json", index)
    trained.write("data/1.safetensors", weights(1))
    trained.write("data/2.safetensors", safetensors({"x": np.zeros(2, np.float32)}))
    trained.commit("sharded")
    for rev in (None, "HEAD"):
        with devml_git.load("data/m.safetensors.index.json", rev) as tensors:
            assert {name: a.shape for name, a in tensors.items()} == {
                "layer.0.weight": (2, 2), "x": (2,)
            }  # fmt: skip


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch pwned",))


def test_what_is_no_model_is_refused_and_no_pickle_is_run(trained: Project) -> None:
    trained.write("models/evil.pkl", pickle.dumps(_Evil()))
    trained.write("models/cut.safetensors", weights(1, 2)[:-3])
    trained.commit("bad")
    for rev in (None, "HEAD"):
        with pytest.raises(UsageError, match=r"\(pickle\) names no tensors: .*would run code"):
            devml_git.load("models/evil.pkl", rev)
        with pytest.raises(Unreadable, match=r"cut\.safetensors"):
            devml_git.load("models/cut.safetensors", rev)
        with pytest.raises(UsageError, match="is no model of a format that is known"):
            devml_git.load("train.py" if rev is None else "data/x.csv", rev)
    with pytest.raises(UsageError, match="nix is neither an artifact"):
        devml_git.load("nix", "HEAD")
    assert not trained.exists("pwned")


# -- artifacts, log ------------------------------------------------------------------------------


def test_artifacts_of_a_revision(trained: Project) -> None:
    found = {a.path: a for a in devml_git.artifacts("v2")}
    assert set(found) == {"data", "models/a.pt"}
    data = found["data"]
    assert (data.kind, data.nfiles, data.cached) == ("dir", 3, True)
    assert data.to_dict()["path"] == "data"
    assert MODEL in {a.path for a in devml_git.artifacts()}
    trained.object("models/a.pt.dvc").unlink()
    assert {a.path for a in devml_git.artifacts() if not a.cached} == {"models/a.pt"}


def test_history_is_a_sequence_of_commits(trained: Project) -> None:
    history = devml_git.log(n=3)
    assert [c.entry.subject for c in history] == ["v4", "v3", "v2"]
    assert [c.path for c in history[0].changes] == [MODEL]
    assert len(history[1:]) == 2
    assert history.to_dict()["commits"][0]["metrics"] == {"metrics.json": {"accuracy": 0.5}}
    assert [c.entry.subject for c in devml_git.log("v1..v3", paths=["models/a.pt"])] == ["v3", "v2"]
    assert len(devml_git.log(where="accuracy > 0.4")) == 1
    with pytest.raises(UsageError):
        devml_git.log("v9")


EVIL = '<script>alert(1)</script><img src=x onerror="x">&\x1b[2J\u202e'


def test_history_in_a_notebook_is_a_table_that_runs_nothing(trained: Project) -> None:
    trained.write("metrics.json", '{"<b>acc": "<i>high"}')
    run("git", "commit", "-q", "--allow-empty", "-am", EVIL, cwd=trained.path, check=False)  # fmt: skip
    assert f"{devml_git.log()}\n" == trained.devml("log").out
    text = devml_git.log()._repr_html_()
    assert text.startswith("<table>")
    assert "&lt;script&gt;alert(1)" in text
    assert MODEL in text
    for bad in ("<script", "<img", "<b>", "<i>", "\x1b", "\u202e"):
        assert bad not in text


def test_comparison_in_a_notebook_is_a_table_that_runs_nothing() -> None:
    found = {
        "from": "a" * 40, "to": "worktree", "params": [],
        "artifacts": [{"path": EVIL, "change": "modified", "old": {"size": 1500}, "new": None,
                       "files": {"added": 2, "modified": 0},
                       "tensors": [{"name": EVIL, "change": "modified", "l2": 0.25}],
                       "notes": [EVIL]}] * 300,
        "metrics": [{"file": EVIL, "key": EVIL, "old": EVIL, "new": None}],
    }  # fmt: skip
    text = comparison(found)
    assert "1.5 kB" in text
    assert "l2 0.25" in text
    assert "2 added" in text
    assert "and 101 more" in text
    for bad in ("<script", "<img", "\x1b", "\u202e", 'onerror="'):
        assert bad not in text


def test_two_revisions_are_compared_by_tensor(trained: Project) -> None:
    trained.write(MODEL, weights(1, 4))
    trained.commit("v5")
    found = devml_git.compare("v4", "HEAD", MODEL)
    (artifact,) = found.to_dict()["artifacts"]
    assert [t["name"] for t in artifact["tensors"]] == ["layer.1.weight"]
    assert f"{found}\n" == trained.devml("diff", "v4", "HEAD", MODEL).out
    text = found._repr_html_()
    assert "layer.1.weight  modified  l2 1" in text
    assert text.startswith("<table>")
    trained.write("models/a.pt", "edited")
    assert [a.path for a in devml_git.compare("HEAD").artifacts] == ["models/a.pt"]
    with devml_git.Repo(trained.path / "data") as repo:
        assert len(repo.compare("v1", "v2").artifacts) == 2


# -- the package itself --------------------------------------------------------------------------


def test_importing_loads_nothing_and_the_names_are_there(tmp_path: Path) -> None:
    code = (
        "import sys; import devml_git\n"
        "assert not [m for m in sys.modules if m.startswith('devml_git.')]\n"
        "assert 'numpy' not in sys.modules\n"
        "for name in devml_git.__all__: getattr(devml_git, name)\n"
        "assert 'numpy' not in sys.modules and 'dvc' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True)
    with pytest.raises(AttributeError):
        devml_git.nix  # noqa: B018


def test_where_there_is_nothing_to_read_it_is_said(
    tmp_path: Path, trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bare.git"
    run("git", "init", "-q", "--bare", str(bare), cwd=tmp_path)
    with pytest.raises(NotARepository, match="bare repository"):
        devml_git.Repo(bare)
    with pytest.raises((NotARepository, StorageFailed)):
        devml_git.Repo(tmp_path / "nowhere")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(NotARepository):
        devml_git.artifacts()


def test_documented_examples_run(trained: Project) -> None:
    text = (Path(__file__).parents[1] / "docs/PYTHON.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 5
    (trained.path.parent / "examples.py").write_text("\n".join(blocks))
    argv = [sys.executable, "-W", "error", str(trained.path.parent / "examples.py")]
    done = subprocess.run(argv, cwd=trained.path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "data/nothing.csv" not in done.stdout.splitlines()[0]
    assert "data has no file nothing.csv" in done.stdout

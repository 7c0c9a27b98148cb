"""Hazards that were reproduced in stock DVC 3.67 (H1 to H15): a test each that ours has none."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world import Project, devml_process, pull_with_dvc_alone, run


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def test_h1_one_missing_object_takes_nothing_else_away(models: Project) -> None:
    models.write(".dvcignore", "*.local\n")
    models.commit("ignore")
    models.git("checkout", "-q", "v1")
    models.write("data/notes.local", "never in the cache")
    oid = md5(b"x,3\n")
    (models.cache / oid[:2] / oid[2:]).unlink()
    ran = models.git("checkout", "-q", "main")
    assert "data/x.csv" in ran.err
    there = models.listing("data")
    assert set(there) == {"part1.csv", "part2.csv", "part3.csv", "notes.local"}


def test_h1_stock_dvc_has_the_hazard(models: Project) -> None:
    models.differential = False
    oid = md5(b"x,3\n")
    (models.cache / oid[:2] / oid[2:]).unlink()
    (models.path / "data/x.csv").unlink()
    models.dvc("checkout", "--force", check=False)
    assert not models.exists("data/part1.csv")


def test_h2_file_whose_pointer_is_gone_is_not_deleted_without_proof(models: Project) -> None:
    models.git("rm", "-q", "--cached", "models/a.pt.dvc")
    (models.path / "models/a.pt.dvc").unlink()
    models.write("models/a.pt", "edited since")
    models.devml("checkout")
    assert models.read("models/a.pt") == "edited since"


def test_h2_pointer_that_was_never_committed_does_not_take_its_model_along(
    project: Project,
) -> None:
    project.write("models/a.pt", "only copy")
    project.devml("snapshot")
    project.git("rm", "-q", "-f", "models/a.pt.dvc")
    project.git("checkout", "-q", "-b", "other")
    project.devml("checkout")
    assert project.read("models/a.pt") == "only copy"


def test_h4_rotten_object_is_never_checked_out_as_right(models: Project) -> None:
    models.git("checkout", "-q", "v1")
    place = models.object("models/a.pt.dvc")
    models.git("checkout", "-q", "main")
    data = bytearray(place.read_bytes())
    data[3] ^= 0x40
    place.chmod(0o644)
    place.write_bytes(data)
    place.chmod(0o444)
    models.git("checkout", "-q", "v1")
    assert not models.exists("models/a.pt")
    assert models.states()["models/a.pt"] == "missing"


def test_h6_hook_does_not_snapshot_an_old_model_over_a_new_pointer(models: Project) -> None:
    models.git("checkout", "-q", "-b", "mine", "v2")
    assert models.read("models/a.pt").startswith("weights 2")
    models.git("-c", "core.hooksPath=/dev/null", "merge", "-q", "--ff-only", "main")
    models.write("train.py", "mine")
    models.git("commit", "-qam", "mine")
    assert models.show("HEAD", "models/a.pt.dvc") == models.show("v3", "models/a.pt.dvc")


@pytest.mark.parametrize("form", [["-a"], ["--", "train.py"]])
def test_h7_staging_in_the_hook_survives_gits_lock(models: Project, form: list[str]) -> None:
    models.dvc("config", "--local", "core.autostage", "true")
    models.write("models/a.pt", "two")
    models.write("train.py", "two")
    models.git("commit", "-q", "-m", "two", *form)
    assert models.porcelain() == ""
    assert models.in_step()


@pytest.fixture
def pipeline(project: Project) -> Project:
    """A stage that was run: model.bin from params.yaml."""
    project.write("params.yaml", "lr: 1\n")
    project.write(
        "train.py", "open('model.bin','w').write('made with '+open('params.yaml').read())\n"
    )
    project.dvc("stage", "add", "-q", "-n", "train", "-d", "train.py", "-p", "lr", "-o", "model.bin",
                f"{sys.executable} train.py")  # fmt: skip
    project.dvc("repro", "-q")
    project.commit("run")
    return project


def test_h8_hand_made_output_changes_only_its_own_entry(pipeline: Project) -> None:
    runs = sorted(pipeline.path.joinpath(".git/devml/cache/runs").rglob("*"))
    before = pipeline.read("dvc.lock").splitlines()
    pipeline.write("model.bin", "by hand")
    pipeline.write("params.yaml", "lr: 2\n")
    pipeline.git("commit", "-qam", "by hand")
    after = pipeline.read("dvc.lock").splitlines()
    changed = [
        line.strip().split(":")[0] for a, line in zip(before, after, strict=True) if a != line
    ]
    assert changed == ["md5", "size"]
    assert sorted(pipeline.path.joinpath(".git/devml/cache/runs").rglob("*")) == runs
    assert "lr" in pipeline.dvc("status").out  # the parameters did not make this model
    pipeline.dvc("repro", "-q")
    assert pipeline.read("model.bin") == "made with lr: 2\n"
    pipeline.devml("checkout", "--force", "HEAD", "--", "model.bin")
    assert pipeline.read("model.bin") == "by hand"


def test_h8_pipeline_outputs_come_back(pipeline: Project) -> None:
    pipeline.write("params.yaml", "lr: 2\n")
    pipeline.dvc("repro", "-q")
    pipeline.git("commit", "-qam", "two")
    pipeline.devml("checkout", "HEAD~1")
    assert pipeline.read("model.bin") == "made with lr: 1\n"
    assert pipeline.dvc("status").out.strip() == "Data and pipelines are up to date."


def test_h9_linked_worktree_has_the_cache_and_the_models(models: Project, tmp_path: Path) -> None:
    models.git("worktree", "add", "-q", str(tmp_path / "linked"), "v1")
    linked = Project(tmp_path / "linked")
    assert linked.read("models/a.pt").startswith("weights 1")
    assert linked.dvc("status").out.strip() == "Data and pipelines are up to date."
    assert not linked.exists(".dvc/cache")


def test_h11_object_is_what_its_name_says_however_the_file_changes(project: Project) -> None:
    place = project.write("models/a.pt", os.urandom(8 << 20))
    stop = threading.Event()

    def overwrite() -> None:
        with open(place, "r+b") as f:
            while not stop.is_set():
                f.seek(int.from_bytes(os.urandom(3), "big") % (8 << 20))
                f.write(os.urandom(16))
                f.flush()

    writer = threading.Thread(target=overwrite)
    writer.start()
    try:
        for _ in range(5):
            project.differential = False
            project.devml("snapshot", check=False)
    finally:
        stop.set()
        writer.join()
    for oid, obj in project.objects().items():
        assert md5(obj.read_bytes()) == oid.removesuffix(".dir")
    assert not list(project.cache.glob(".*"))


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of 8 MB, really; or with the options that a test gives."""
    place = tmp_path / "disk"
    place.mkdir()
    options = getattr(request, "param", "size=8m")
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("mounting a tmpfs is not permitted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("small_disk", ["nr_inodes=600"], indirect=True)
def test_h12_disk_without_inodes_is_an_error_however_many_are_left(
    models: Project, small_disk: Path
) -> None:
    shutil.copytree(models.path, small_disk / "p", symlinks=True)
    project = Project(small_disk / "p", differential=False)
    (small_disk / "filler").mkdir()
    pointer = project.read("models/a.pt.dvc")
    project.write("models/a.pt", "retrained")
    project.write("data/x.csv", "changed")
    fillers = []
    while os.statvfs(small_disk).f_favail:
        fillers.append(small_disk / "filler" / str(len(fillers)))
        fillers[-1].touch()
    for left in range(40):
        ran = project.devml("snapshot", check=False)
        for oid, obj in project.objects().items():
            assert md5(obj.read_bytes()) == oid.removesuffix(".dir")
        if ran.status == 0:
            break
        assert ran.status in {20, 21}, ran.err
        assert "no space left" in ran.err.lower() or "record.db: " in ran.err
        assert "hint: " in ran.err or "git " in ran.err
        if project.read("models/a.pt.dvc") != pointer:
            assert project.object("models/a.pt.dvc").read_text() == "retrained"
        fillers.pop().unlink()
        if left % 3:
            fillers.pop().unlink()
    assert left > 1
    shutil.rmtree(small_disk / "filler")
    project.git("commit", "-q", "--allow-empty", "-m", "x")
    assert project.in_step()
    assert project.bytes("models/a.pt") == b"retrained"


def test_h12_full_disk_is_an_error_and_nothing_points_to_what_is_not_there(
    models: Project, small_disk: Path
) -> None:
    shutil.copytree(models.path, small_disk / "p", symlinks=True)
    project = Project(small_disk / "p", differential=False)
    project.devml("status")
    pointer = project.read("models/a.pt.dvc")
    project.write("models/a.pt", bytes(1_000_000))
    project.write("data/x.csv", os.urandom(1_000_000))
    filler = project.write("filler", bytes(shutil.disk_usage(small_disk).free - 1_200_000))
    objects = set(project.objects())
    ran = project.devml("snapshot", check=False)
    assert ran.status == 21
    assert "no space left" in ran.err
    assert "data/x.csv" in ran.err or "models/a.pt" in ran.err
    assert "hint: free some space" in ran.err
    assert project.read("models/a.pt.dvc") == pointer
    assert set(project.objects()) == objects
    assert project.bytes("models/a.pt") == bytes(1_000_000)
    assert project.git("commit", "-q", "--allow-empty", "-m", "x", check=False).status != 0
    filler.unlink()
    project.devml("snapshot")
    assert project.in_step()


def test_h12_full_disk_at_a_restore_leaves_the_old_version(
    models: Project, small_disk: Path
) -> None:
    models.write("data/big.bin", os.urandom(900_000))
    models.commit("big")
    models.devml("checkout", "v3")
    shutil.copytree(models.path, small_disk / "p", symlinks=True)
    project = Project(small_disk / "p", differential=False)
    project.devml("status")
    room = shutil.disk_usage(small_disk).free
    project.write("filler", bytes(max(room - 500_000, 0)))
    before = project.listing("data")
    ran = devml_process("checkout", "main", cwd=project.path)
    assert ran.status != 0
    assert "no space left" in ran.err + ran.out
    assert project.listing("data") == before
    (project.path / "filler").unlink()
    project.devml("checkout", "main", check=False)
    project.devml("checkout")
    assert len(project.bytes("data/big.bin")) == 900_000


@pytest.mark.parametrize(
    ("start", "command", "model"),
    [
        ("main", ["reset", "-q", "--hard", "v1"], "weights 1"),
        ("v1", ["merge", "-q", "main"], "weights 3"),
        ("v1", ["pull", "-q", ".", "main"], "weights 3"),
        ("v1", ["rebase", "-q", "main"], "weights 3"),
        ("main", ["revert", "--no-edit", "HEAD"], "weights 2"),
        ("v2", ["cherry-pick", "main"], "weights 3"),
        ("main", ["bisect", "start", "v3", "v1"], "weights 2"),
    ],
)  # fmt: skip
def test_h13_no_move_leaves_the_model_behind(
    models: Project, start: str, command: list[str], model: str
) -> None:
    models.git("checkout", "-q", start)
    models.git(*command)
    assert models.read("models/a.pt").startswith(model)
    assert models.in_step()


def test_h15_exec_bits_inside_a_directory_come_back_even_in_a_clone(
    models: Project, tmp_path: Path
) -> None:
    models.write("data/run.sh", "#!/bin/sh\n")
    (models.path / "data/run.sh").chmod(0o755)
    models.commit("script")
    remote = tmp_path / "remote"
    models.dvc("remote", "add", "-q", "-d", "store", str(remote))
    models.commit("remote")
    models.dvc("push", "-q")
    run("git", "clone", "-q", str(models.path), "clone", cwd=tmp_path)
    clone = Project(tmp_path / "clone")
    clone.devml("init")
    assert (clone.path / "data/run.sh").stat().st_mode & stat.S_IXUSR
    assert not (clone.path / "data/x.csv").stat().st_mode & stat.S_IXUSR


def test_h15_changing_one_file_leaves_links_and_bits_of_the_others(models: Project) -> None:
    models.write("data/target", "t")
    (models.path / "data/link").symlink_to("target")
    models.commit("link")
    models.write("data/x.csv", "changed")
    models.git("commit", "-q", "--allow-empty", "-m", "changed")
    models.devml("checkout", "HEAD~1")
    assert (models.path / "data/link").is_symlink()


def test_h15_what_the_format_cannot_hold_is_said(models: Project) -> None:
    (models.path / "data/link").symlink_to("x.csv")
    (models.path / "data/empty").mkdir()
    ran = models.git("commit", "-q", "--allow-empty", "-m", "odd")
    assert "symbolic link" in ran.err
    assert "data/empty is empty" in ran.err


def test_p8_clone_with_git_and_dvc_alone_gets_the_same_bytes(
    models: Project, tmp_path: Path
) -> None:
    models.write("models/deep/ünï code #1.pt", os.urandom(3000))
    models.write("data/sub dir/é", "accent")
    models.commit("names")
    place = Project(
        pull_with_dvc_alone(models, tmp_path / "clone", tmp_path / "remote"), differential=False
    )
    assert place.listing("data") == models.listing("data")
    ours = {k: v for k, v in models.listing("models").items() if not k.endswith(".dvc")}
    assert {
        k: v for k, v in place.listing("models").items() if not k.endswith((".dvc", ".gitignore"))
    } == ours


def test_conflict_in_dvc_yaml_stops_neither_the_artifacts_nor_the_status(pipeline: Project) -> None:
    pipeline.differential = False  # DVC cannot read the workspace at all
    stages = pipeline.read("dvc.yaml")
    pipeline.git("checkout", "-q", "-b", "other")
    pipeline.write("dvc.yaml", stages.replace("cmd: ", "cmd: echo theirs; "))
    pipeline.write("models/b.pt", "theirs")
    pipeline.commit("theirs")
    pipeline.git("checkout", "-q", "main")
    pipeline.write("dvc.yaml", stages.replace("cmd: ", "cmd: echo ours; "))
    pipeline.commit("ours")
    made = pipeline.read("model.bin")
    assert pipeline.git("merge", "other", check=False).status == 1
    assert pipeline.read("models/b.pt") == "theirs"
    assert pipeline.read("model.bin") == made
    found = pipeline.status()
    assert found["broken"] == [{"pointer": "dvc.yaml", "why": "has conflict markers in it"}]
    assert "left to dvc: model.bin (its dvc.yaml cannot be read)" in pipeline.devml("status").out
    pipeline.write("model.bin", "by hand, in between")
    pipeline.write("dvc.yaml", stages)
    pipeline.differential = True
    pipeline.commit("merged")
    assert pipeline.in_step()
    assert "by hand, in between" in {p.read_text() for p in pipeline.objects().values()}


def test_unreadable_dvc_yaml_refuses_the_commit_and_keeps_what_lies_there(
    pipeline: Project,
) -> None:
    pipeline.differential = False
    stages = pipeline.read("dvc.yaml")
    pipeline.write("dvc.yaml", stages + '"')
    pipeline.write("models/a.pt", "new")
    ran = pipeline.git("commit", "-qam", "half", check=False)
    assert ran.status == 1
    assert "dvc.yaml cannot be read: not valid YAML" in ran.err
    pipeline.git("checkout", "-q", "-f", "HEAD~1")
    assert pipeline.read("models/a.pt") == "new"
    assert not pipeline.exists("model.bin")
    pipeline.git("checkout", "-q", "main")
    assert pipeline.read("model.bin").startswith("made with")


def test_pointer_of_a_directory_that_is_not_here_stops_no_commit(models: Project) -> None:
    models.differential = False
    models.write(
        "sub/y.dvc",
        "wdir: gone/deep\nouts:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 0\n  path: n.txt\n",
    )
    models.commit("y")
    models.devml("snapshot")
    assert not models.exists("sub/gone")

"""`devml-git checkout` in all its forms: what comes back, what is refused, what stays untouched."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.world import Project, run


def model(project: Project) -> str:
    return project.read("models/a.pt").split("\n")[0]


def everything(project: Project) -> dict[str, object]:
    """Return all there is to be changed: HEAD, branch, index, and every file outside of `.git`."""
    files = {
        p.relative_to(project.path).as_posix(): p.read_bytes()
        for p in project.path.rglob("*")
        if p.is_file() and not {".git", "tmp"} & set(p.relative_to(project.path).parts)
    }
    index = run("git", "ls-files", "-s", cwd=project.path).out
    return {"head": (project.path / ".git/HEAD").read_text(), "index": index, "files": files}


def immutable(place: Path, *, on: bool) -> bool:
    """Make files read-only even for root, or writable again; return whether that worked."""
    done = subprocess.run(
        ["chattr", "-R", "+i" if on else "-i", str(place)], capture_output=True, check=False
    )
    return done.returncode == 0


def rescues(project: Project) -> list[dict[str, str]]:
    return json.loads(project.devml("rescue", "list", "--json").out)["rescues"]


@pytest.fixture
def remote(models: Project, tmp_path: Path) -> Project:
    """`models` with a directory DVC remote that has every version."""
    # in the private configuration: DVC pushes no commit whose own configuration has no remote
    models.dvc("remote", "add", "-q", "--local", "-d", "store", str(tmp_path / "remote"))
    models.dvc("push", "-q", "--all-commits")
    return models


# -- checkout REV --------------------------------------------------------------------------------


@pytest.mark.parametrize("rev", ["v1", "HEAD~2", "main~2", "@{-1}", "-", "sha", "refs/tags/v1"])
def test_rev_brings_code_data_and_model(models: Project, rev: str) -> None:
    models.git("checkout", "-q", "v1")
    models.git("checkout", "-q", "main")
    models.devml("checkout", models.head("v1") if rev == "sha" else rev)
    assert model(models) == "weights 1"
    assert set(models.listing("data")) == {"x.csv", "part1.csv"}
    assert models.read("train.py") == "print(1)\n"
    assert models.head() == models.head("v1")
    assert models.in_step()


def test_branch_is_attached_and_tag_is_detached(models: Project) -> None:
    models.devml("checkout", "v1")
    assert models.status()["branch"] is None
    models.devml("checkout", "main")
    assert models.status()["branch"] == "main"


def test_new_branch_here_and_at_a_revision(models: Project) -> None:
    models.devml("checkout", "-b", "here")
    assert (models.status()["branch"], model(models)) == ("here", "weights 3")
    models.devml("checkout", "-b", "there", "v1")
    assert (models.status()["branch"], model(models)) == ("there", "weights 1")
    assert models.devml("checkout", "-b", "there", check=False).status == 20


def test_branch_that_only_a_git_remote_has(models: Project, tmp_path: Path) -> None:
    models.git("branch", "feature", "v2")
    run("git", "clone", "-q", str(models.path), "clone", cwd=tmp_path)
    clone = Project(tmp_path / "clone", differential=False)
    clone.devml("init", "--no-hooks")
    for oid, place in models.objects().items():
        target = clone.cache / oid[:2] / oid[2:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(place.read_bytes())
    clone.devml("checkout", "feature")
    assert (clone.status()["branch"], model(clone)) == ("feature", "weights 2")


def test_r2_same_commit_touches_nothing(models: Project) -> None:
    place = models.path / "models/a.pt"
    before = place.stat()
    assert models.devml("checkout", "HEAD").out == "all in step\n"
    assert place.stat() == before


def test_r3_unsnapshotted_work_refuses_with_31_and_changes_nothing(models: Project) -> None:
    models.write("models/a.pt", "my edit")
    models.write("data/x.csv", "mine")
    before = everything(models)
    ran = models.devml("checkout", "v1", check=False)
    assert ran.status == 31
    assert "models/a.pt" in ran.err
    assert "data" in ran.err
    assert "--force" in ran.err
    assert everything(models) == before


def test_r3_force_goes_on_and_keeps_the_very_bytes(models: Project) -> None:
    models.write("models/a.pt", "my edit")
    models.write("data/mine.csv", "mine")
    models.write("train.py", "my code")
    models.devml("checkout", "--force", "v1")
    assert model(models) == "weights 1"
    assert {r["path"] for r in rescues(models)} == {"models/a.pt", "data"}
    assert rescues(models)[0]["branch"] == "main"
    for r in rescues(models):
        models.devml("rescue", "restore", r["id"][:6])
    assert model(models) == "my edit"
    assert models.read("data/mine.csv") == "mine"
    assert run("git", "show", "stash@{0}:train.py", cwd=models.path).out == "my code"


def test_edit_whose_pointer_is_the_same_there_is_carried_along(models: Project) -> None:
    models.git("branch", "same")
    models.write("models/a.pt", "my edit")
    models.devml("checkout", "same")
    assert model(models) == "my edit"


def test_r4_file_in_a_models_place_is_kept(models: Project) -> None:
    models.git("checkout", "-q", "-b", "without")
    models.devml("untrack", "--delete", "models/a.pt")
    models.git("commit", "-qam", "without")
    models.write("models/a.pt", "mine")
    before = everything(models)
    assert models.devml("checkout", "main", check=False).status == 31
    assert everything(models) == before


def test_dirty_code_is_gits_to_refuse_and_nothing_moves(models: Project) -> None:
    models.write("train.py", "dirty")
    before = everything(models)
    ran = models.devml("checkout", "v1", check=False)
    assert ran.status == 20
    assert everything(models) == before


def test_content_that_is_nowhere_refuses_with_30_and_changes_nothing(models: Project) -> None:
    models.git("checkout", "-q", "v1")
    place = models.object("models/a.pt.dvc")
    models.git("checkout", "-q", "main")
    place.unlink()
    before = everything(models)
    ran = models.devml("checkout", "v1", check=False)
    assert ran.status == 30
    assert "models/a.pt" in ran.err
    assert everything(models) == before


def corrupt(place: Path) -> None:
    data = bytearray(place.read_bytes())
    data[0] ^= 1
    os.chmod(place, 0o644)
    place.write_bytes(data)
    os.chmod(place, 0o444)


def test_corrupt_content_never_reaches_the_workspace(models: Project) -> None:
    models.git("checkout", "-q", "v1")
    place = models.object("models/a.pt.dvc")
    models.git("checkout", "-q", "main")
    corrupt(place)
    before = everything(models)
    assert models.devml("checkout", "v1", check=False).status == 30
    assert everything(models) == before
    ran = models.git("checkout", "-q", "v1")
    assert "missing" in ran.err or "corrupt" in ran.err
    assert not models.exists("models/a.pt")
    assert list((models.cache.parents[1] / "quarantine").iterdir())


@pytest.mark.parametrize("what", ["models/a.pt.dvc", "data.dvc", "member"])
@pytest.mark.parametrize("how", ["gone", "corrupt"])
def test_r7_content_is_fetched_again_from_the_remote(remote: Project, what: str, how: str) -> None:
    remote.git("checkout", "-q", "v1")
    if what == "member":
        oid = json.loads(remote.object("data.dvc").read_bytes())[1]["md5"]  # x.csv
        place = remote.cache / oid[:2] / oid[2:]
    else:
        place = remote.object(what)
    remote.git("checkout", "-q", "main")
    if how == "gone":
        place.unlink()
    else:
        corrupt(place)
    assert remote.devml("checkout", "--no-fetch", "v1", check=False).status == 30
    remote.devml("checkout", "v1")
    assert model(remote) == "weights 1"
    assert remote.listing("data") == {"x.csv": b"x,1\n", "part1.csv": b"part 1\n"}


def test_adoption_boundary_is_crossed_both_ways(project: Project) -> None:
    project.write("weights.bin", "in git")
    project.commit("in git")
    project.devml("track", "weights.bin")
    project.write("weights.bin", "tracked")
    project.commit("tracked")
    for _ in range(2):
        project.devml("checkout", "HEAD~1")
        assert project.read("weights.bin") == "in git"
        project.devml("checkout", "main")
        assert project.read("weights.bin") == "tracked"
    project.write("weights.bin", "edited")
    assert project.devml("checkout", "HEAD~1", check=False).status == 31
    assert project.read("weights.bin") == "edited"


def test_adoption_boundary_of_a_directory(project: Project) -> None:
    project.write("raw/a", "in git")
    project.write("raw/b/c", "c")
    project.commit("in git")
    project.devml("track", "raw/")
    project.write("raw/a", "tracked")
    project.write("raw/new", "new")
    project.commit("tracked")
    for _ in range(2):
        project.devml("checkout", "HEAD~1")
        assert project.listing("raw") == {"a": b"in git", "b/c": b"c"}
        project.devml("checkout", "main")
        assert project.listing("raw") == {"a": b"tracked", "b/c": b"c", "new": b"new"}
    project.git("checkout", "-q", "HEAD~1")
    project.write("raw/mine", "mine")
    before = everything(project)
    assert project.devml("checkout", "main", check=False).status == 31
    assert everything(project) == before


def test_gits_own_moves_of_ours_start_no_hook_of_ours(models: Project, tmp_path: Path) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f"#!/bin/sh\necho started >> {tmp_path}/started\n")
    wrapper.chmod(0o755)
    models.git("config", "devml.python", str(wrapper))
    models.write("train.py", "my code")
    models.devml("checkout", "--to", str(tmp_path / "out"), "v2")
    models.devml("checkout", "--force", "v1")
    models.devml("checkout", "main")
    assert not (tmp_path / "started").exists()


# -- checkout without REV ------------------------------------------------------------------------


def test_bare_checkout_restores_what_is_gone_and_keeps_an_edit(models: Project) -> None:
    (models.path / "data/x.csv").unlink()
    models.write("models/b.pt", "b")
    models.commit("b")
    (models.path / "models/b.pt").unlink()
    models.write("models/a.pt", "my edit")
    models.devml("checkout")
    assert models.read("models/b.pt") == "b"
    assert model(models) == "my edit"


def test_bare_checkout_brings_a_stale_model_in_step(models: Project) -> None:
    models.git("-c", "core.hooksPath=/dev/null", "checkout", "-q", "v1")
    assert set(models.states().values()) == {"stale"}
    models.devml("checkout")
    assert model(models) == "weights 1"


def test_bare_checkout_refuses_a_conflict_until_forced(models: Project) -> None:
    models.write("models/a.pt", "my edit")
    models.git("-c", "core.hooksPath=/dev/null", "checkout", "-q", "v1")
    assert models.states()["models/a.pt"] == "conflict"
    assert models.devml("checkout", check=False).status == 31
    assert model(models) == "my edit"
    models.devml("checkout", "--force")
    assert model(models) == "weights 1"
    assert [r["path"] for r in rescues(models)] == ["models/a.pt"]


# -- checkout [REV] -- PATH ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["models/a.pt", "models/a.pt.dvc", "models", "models/", "models/*.pt"]
)
def test_r22_one_artifact_of_a_revision_and_its_pointer(models: Project, path: str) -> None:
    head = models.head()
    models.devml("checkout", "v1", "--", path)
    assert model(models) == "weights 1"
    assert models.head() == head
    assert models.porcelain() == "M  models/a.pt.dvc\n"
    assert models.read("models/a.pt.dvc") == models.show("v1", "models/a.pt.dvc")
    assert models.read("data/x.csv") == "x,3\n"
    models.commit("old model, new code")
    assert models.in_step()


def test_r22_from_a_subdirectory(models: Project) -> None:
    models.devml("checkout", "v1", "--", "a.pt", cwd="models")
    assert model(models) == "weights 1"


@pytest.mark.parametrize("given", ["data/x.csv", "data/*.csv", "data/x*"])
def test_r22_members_of_a_directory_artifact(models: Project, given: str) -> None:
    head, before = models.head(), models.listing("data")
    models.devml("checkout", "v1", "--", given)
    assert models.listing("data") == {**before, "x.csv": b"x,1\n"}
    assert model(models) == "weights 3"
    assert models.porcelain() == "M  data.dvc\n"
    assert models.head() == head
    assert models.in_step()


@pytest.mark.parametrize(
    ("cwd", "given"), [("data", "x.csv"), ("data", "./x.csv"), (".", "data/x.csv")]
)
def test_path_alone_brings_a_member_that_was_deleted(models: Project, cwd: str, given: str) -> None:
    (models.path / "data/x.csv").unlink()
    models.devml("checkout", given, cwd=cwd)
    assert models.read("data/x.csv") == "x,3\n"
    assert models.in_step()


def test_member_of_a_stale_directory_comes_and_the_rest_stays_stale(models: Project) -> None:
    models.git("-c", "core.hooksPath=/dev/null", "checkout", "-q", "v1")
    models.devml("checkout", "--", "data/x.csv")
    assert models.read("data/x.csv") == "x,1\n"
    assert models.states()["data"] == "stale"
    models.git("commit", "-q", "--allow-empty", "-m", "next")
    assert models.show("HEAD", "data.dvc") == models.show("v1", "data.dvc")
    assert models.in_step()


def test_member_that_is_corrupt_and_nowhere_else_changes_nothing(models: Project) -> None:
    oid = hashlib.md5(b"x,1\n").hexdigest()
    corrupt(models.cache / oid[:2] / oid[2:])
    before = everything(models)
    ran = models.devml("checkout", "v1", "--", "data/x.csv", check=False)
    assert ran.status == 30
    assert "data/x.csv" in ran.err
    assert everything(models) == before


def test_r22_members_leave_other_edits_alone(models: Project) -> None:
    models.write("data/part2.csv", "edited")
    models.devml("checkout", "v1", "--", "data/x.csv")
    assert models.read("data/part2.csv") == "edited"
    assert models.states()["data"] == "modified"
    assert models.devml("checkout", "v3", "--", "data/part2.csv", check=False).status == 31
    models.devml("checkout", "--force", "v3", "--", "data/part2.csv")
    assert models.read("data/part2.csv") == "part 2\n"


def test_r22_one_member_where_the_directory_is_gone_does_not_delete_the_rest(
    models: Project,
) -> None:
    for place in (models.path / "data").iterdir():
        place.unlink()
    (models.path / "data").rmdir()
    models.differential = False
    models.devml("checkout", "--", "data/x.csv")
    assert set(models.listing("data")) == {"x.csv"}
    models.git("commit", "-q", "--allow-empty", "-m", "next")
    assert models.show("HEAD", "data.dvc") == models.show("v3", "data.dvc")


def test_path_over_unsnapshotted_work_refuses_until_forced(models: Project) -> None:
    models.write("models/a.pt", "my edit")
    for form in (["--", "models/a.pt"], ["v1", "--", "models/a.pt"], ["models/a.pt"]):
        assert models.devml("checkout", *form, check=False).status == 31
        assert model(models) == "my edit"
    models.devml("checkout", "--force", "--", "models/a.pt")
    assert model(models) == "weights 3"
    assert [r["path"] for r in rescues(models)] == ["models/a.pt"]


def test_artifact_that_is_gone_today_comes_back_from_history(models: Project) -> None:
    models.devml("untrack", "--delete", "models/a.pt")
    models.commit("gone")
    models.devml("checkout", "v2", "--", "models/a.pt")
    assert model(models) == "weights 2"
    models.commit("back")
    assert models.in_step()


# -- checkout --to DIR ---------------------------------------------------------------------------


def test_to_writes_everything_elsewhere_and_nothing_here(models: Project, tmp_path: Path) -> None:
    models.differential = False  # DVC's status does not look at exec bits
    (models.path / "models/a.pt").chmod(0o755)
    models.commit("executable")
    models.write("models/a.pt", "my edit")
    before = everything(models)
    models.devml("checkout", "--to", str(tmp_path / "out"), "main")
    out = tmp_path / "out"
    assert (out / "models/a.pt").read_text().startswith("weights 3")
    assert os.access(out / "models/a.pt", os.X_OK)
    assert (out / "data/x.csv").read_text() == "x,3\n"
    assert (out / "train.py").read_text() == "print(3)\n"
    assert everything(models) == before


def test_to_writes_one_artifact_or_member(models: Project, tmp_path: Path) -> None:
    models.devml("checkout", "v1", "--to", str(tmp_path / "a"), "--", "models/a.pt")
    assert {p.name for p in (tmp_path / "a").rglob("*") if p.is_file()} == {"a.pt"}
    models.devml("checkout", "v1", "--to", str(tmp_path / "b"), "--", "data/part*.csv")
    assert {p.name for p in (tmp_path / "b").rglob("*") if p.is_file()} == {"part1.csv"}


def test_to_makes_nothing_when_content_is_corrupt_and_nowhere_else(
    models: Project, tmp_path: Path
) -> None:
    models.git("checkout", "-q", "v1")
    corrupt(models.object("models/a.pt.dvc"))
    models.git("checkout", "-q", "main")
    for _ in range(2):
        assert models.devml("checkout", "v1", "--to", str(tmp_path / "a"), check=False).status == 30
        assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("paths", [[], ["--", "data"], ["--", "data/x.csv"]])
def test_to_fetches_what_the_cache_lacks(remote: Project, tmp_path: Path, paths: list[str]) -> None:
    for place in remote.objects().values():
        place.unlink()
    before = everything(remote)
    remote.differential = False
    remote.devml("checkout", "v1", "--to", str(tmp_path / "out"), *paths)
    assert (tmp_path / "out/data/x.csv").read_text() == "x,1\n"
    assert everything(remote) == before


def test_to_a_directory_in_use_is_refused(models: Project, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("x")
    assert models.devml("checkout", "--to", str(tmp_path / "full"), "v1", check=False).status == 2
    assert models.devml("checkout", "--to", ".git/x", "v1", check=False).status == 2


# -- checkout --ours | --theirs ------------------------------------------------------------------


@pytest.fixture
def merging(models: Project) -> Project:
    """A merge that stopped at a conflict in the pointer of models/a.pt."""
    models.git("checkout", "-q", "-b", "side", "v2")
    models.write("models/a.pt", "side")
    models.git("commit", "-q", "--allow-empty", "-m", "side")
    models.git("checkout", "-q", "main")
    models.write("models/a.pt", "main")
    models.git("commit", "-q", "--allow-empty", "-m", "main")
    assert models.git("merge", "-q", "side", check=False).status == 1
    assert models.states()["models/a.pt"] == "conflict"
    return models


@pytest.mark.parametrize(("side", "content"), [("--ours", "main"), ("--theirs", "side")])
def test_r10_pointer_conflict_is_settled_and_staged(
    merging: Project, side: str, content: str
) -> None:
    merging.devml("checkout", side, "--", "models/a.pt")
    assert model(merging) == content
    assert "models/a.pt.dvc" not in run("git", "ls-files", "-u", cwd=merging.path).out
    merging.git("commit", "-q", "-m", "merged")
    assert merging.in_step()
    assert merging.porcelain() == ""


@pytest.mark.parametrize(("side", "there"), [("--ours", True), ("--theirs", False)])
def test_r10_modified_here_and_deleted_there_is_settled(
    models: Project, side: str, there: bool
) -> None:
    models.git("checkout", "-q", "-b", "side", "v2")
    models.devml("untrack", "--delete", "models/a.pt")
    models.git("commit", "-qam", "gone")
    models.git("checkout", "-q", "main")
    assert models.git("merge", "-q", "side", check=False).status == 1
    models.devml("checkout", side, "--", "models/a.pt")
    models.git("commit", "-q", "-m", "merged")
    assert ("models/a.pt" in models.states()) is there
    assert models.in_step()
    assert hashlib.md5(b"weights 3\n" * 50).hexdigest() in models.objects()


@pytest.mark.parametrize(("side", "content"), [("--ours", "main"), ("--theirs", "side")])
def test_r10_conflict_of_a_directory_is_settled(models: Project, side: str, content: str) -> None:
    for branch, start in (("side", "v2"), ("main", "v3")):
        models.git("checkout", "-q", *(["-b", branch, start] if branch == "side" else [branch]))
        models.write("data/x.csv", branch)
        models.git("commit", "-q", "--allow-empty", "-m", branch)
    assert models.git("merge", "-q", "side", check=False).status == 1
    models.devml("checkout", side, "--", "data")
    assert models.read("data/x.csv") == content
    models.git("commit", "-q", "-m", "merged")
    assert models.in_step()


def test_commit_is_refused_while_a_pointer_is_in_conflict(merging: Project) -> None:
    assert merging.git("commit", "-q", "-am", "too early", check=False).status != 0


@pytest.mark.parametrize(("side", "content"), [("--ours", "my edit"), ("--theirs", "weights 1")])
def test_edit_that_met_a_new_pointer_is_settled(models: Project, side: str, content: str) -> None:
    models.write("models/a.pt", "my edit")
    models.git("-c", "core.hooksPath=/dev/null", "checkout", "-q", "-b", "work", "v1")
    ran = models.git("commit", "-q", "--allow-empty", "-m", "x", check=False)
    assert ran.status != 0
    assert "--ours" in ran.err
    models.devml("checkout", side, "--", "models/a.pt")
    assert model(models) == content
    models.git("commit", "-q", "--allow-empty", "-m", "settled")
    assert models.in_step()


# -- what is touched -----------------------------------------------------------------------------


def test_r23_fifty_random_switches_are_byte_equal(models: Project) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    models.differential = False
    expected = {}
    for rev in ("v1", "v2", "v3"):
        models.devml("checkout", rev)
        expected[rev] = models.listing("data") | {"a.pt": models.bytes("models/a.pt")}
    for n in range(50):
        rev = rng.choice(list(expected))
        if rng.random() < 0.5:
            models.devml("checkout", rev)
        else:
            models.git("checkout", "-q", rev)
        got = models.listing("data") | {"a.pt": models.bytes("models/a.pt")}
        assert got == expected[rev], f"seed {seed}, step {n}, {rev}"
    models.agree()


def test_r25_only_the_files_that_differ_are_touched(project: Project) -> None:
    for n in range(300):
        project.write(f"data/{n % 7}/{n}", f"{n}")
    project.commit("one")
    for n in (3, 77, 150):
        project.write(f"data/{n % 7}/{n}", "changed")
    project.commit("two")
    before = {p: p.stat() for p in (project.path / "data").rglob("*") if p.is_file()}
    project.devml("checkout", "HEAD~1")
    after = {p: p.stat() for p in (project.path / "data").rglob("*") if p.is_file()}
    touched = {p.name for p in after if after[p] != before[p] and not _same(after[p], before[p])}
    assert touched == {"3", "77", "150"}


def _same(a: os.stat_result, b: os.stat_result) -> bool:
    return (a.st_ino, a.st_mtime_ns, a.st_ctime_ns) == (b.st_ino, b.st_mtime_ns, b.st_ctime_ns)


def test_r5_read_only_file_is_replaced(models: Project) -> None:
    (models.path / "models/a.pt").chmod(0o444)
    models.devml("checkout", "v1")
    assert model(models) == "weights 1"


def test_r5_read_only_directory_is_an_error_and_what_lies_there_stays(models: Project) -> None:
    before = models.listing("data")
    if not immutable(models.path / "data", on=True):
        pytest.skip("chattr (e2fsprogs) does nothing here, and root may write anywhere")
    models.differential = False
    try:
        ran = models.devml("checkout", "v1", check=False)
        assert ran.status == 21
        assert "data" in ran.err
        assert models.listing("data") == before
    finally:
        immutable(models.path / "data", on=False)
    models.devml("checkout")
    assert models.in_step()


def test_r5_write_through_a_configured_hard_link_is_never_handed_out(models: Project) -> None:
    models.dvc("config", "--local", "cache.type", "hardlink")
    models.devml("checkout", "v1")
    models.differential = False  # DVC trusts the mode of an object
    with open(models.path / "models/a.pt", "r+b") as f:
        f.write(b"WRITTEN")
    models.git("commit", "-q", "--allow-empty", "-m", "written")
    written = models.bytes("models/a.pt")
    models.devml("checkout", "main")
    assert models.devml("checkout", "v1", check=False).status == 30
    assert model(models) == "weights 3"
    models.devml("checkout", "HEAD@{1}")
    assert models.bytes("models/a.pt") == written


def test_r24_after_git_clean_a_checkout_restores_all(models: Project) -> None:
    before = models.listing("data") | {"a.pt": models.bytes("models/a.pt")}
    models.git("clean", "-fdxq")
    assert not models.exists("data/x.csv")
    models.devml("checkout")
    assert models.listing("data") | {"a.pt": models.bytes("models/a.pt")} == before


def test_r5_hard_linked_file_is_replaced_and_the_other_name_keeps_its_bytes(
    models: Project,
) -> None:
    os.link(models.path / "models/a.pt", models.path / "mine.bin")
    models.devml("checkout", "v1")
    assert models.read("mine.bin").startswith("weights 3")
    assert model(models) == "weights 1"


@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_configured_links_restore_as_links_and_snapshots_make_none(
    models: Project, kind: str
) -> None:
    models.dvc("config", "--local", "cache.type", kind)
    models.devml("checkout", "v1")
    place = models.path / "models/a.pt"
    assert place.is_symlink() if kind == "symlink" else place.stat().st_nlink == 2
    assert model(models) == "weights 1"
    assert models.in_step()
    place.unlink()
    models.write("models/a.pt", "new")
    models.git("commit", "-q", "--allow-empty", "-m", "new")
    assert not place.is_symlink()
    assert place.stat().st_nlink == 1
    models.devml("checkout", "main")
    assert model(models) == "weights 3"


def test_member_never_replaces_a_file_that_took_the_directorys_place_without_a_word(
    models: Project,
) -> None:
    shutil.rmtree(models.path / "data")
    models.write("data", "a file of mine, in no snapshot")
    ran = models.devml("checkout", "v1", "--", "data/x.csv", check=False)
    assert (ran.status, models.read("data")) == (31, "a file of mine, in no snapshot")
    models.devml("checkout", "--force", "v1", "--", "data/x.csv")
    assert models.read("data/x.csv") == "x,1\n"
    (one,) = models.devml("rescue", "list", "--json").json["rescues"]
    models.devml("rescue", "restore", one["id"], "--to", "mine")
    assert models.read("mine") == "a file of mine, in no snapshot"

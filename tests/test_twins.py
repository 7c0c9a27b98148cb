"""Two contents with one MD5: told apart in the workspace, cache and remote, in history and rescues."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from devml_git.cache import Cache
from tests.twins import EVIL, GOOD, OID, sha256, vouched, without_note
from tests.world import Project, Ran, devml, run

FILE, MEMBER = "models/a.pt", "data/m.bin"
ORDERS = pytest.mark.parametrize("first", [GOOD, EVIL], ids=["good first", "evil first"])
PLACES = pytest.mark.parametrize("path", [FILE, MEMBER], ids=["file", "member"])


def other(data: bytes) -> bytes:
    return EVIL if data == GOOD else GOOD


def pointer(path: str) -> str:
    return "data.dvc" if path == MEMBER else f"{path}.dvc"


def artifact(path: str) -> str:
    return pointer(path).removesuffix(".dvc")


def replace(place: Path, data: bytes) -> None:
    """Write over an object, as nobody should."""
    assert place.exists()
    place.chmod(0o644)
    place.write_bytes(data)
    place.chmod(0o444)


def committed(project: Project, path: str, data: bytes, *, push: bool = False) -> Project:
    project.write(path, data)
    project.commit("first")
    if push:
        run("git", "init", "-q", "--bare", "../bare", cwd=project.path)
        project.git("push", "-q", "../bare", "main")
    return project


def store_object(project: Project) -> Path:
    return project.path.parent / "store/files/md5" / OID[:2] / OID[2:]


def cloned(project: Project, *args: str) -> tuple[Project, Ran]:
    place = project.path.parent / "clone"
    ran = devml("clone", *args, str(project.path.parent / "bare"), str(place), cwd=place.parent)
    return Project(place, differential=False), ran


def problems(project: Project, *args: str) -> set[str]:
    """Return the words of `verify` for what is not well at HEAD."""
    ran = devml("verify", "--json", *args, cwd=project.path)
    return {p["problem"] for p in ran.json["problems"]}


def no_bytes(project: Project, data: bytes) -> bool:
    """Whether a content lies nowhere in workspace and cache, quarantine aside."""
    found = [p for p in project.path.rglob("*") if p.is_file() and "quarantine" not in p.parts]
    return all(p.read_bytes() != data for p in found)


# -- what pointers say ---------------------------------------------------------------------------


def test_pointer_of_a_file_vouches_for_its_sha256_and_dvc_takes_it_as_it_is(
    project: Project,
) -> None:
    project.write(FILE, GOOD)
    project.write("models/run.sh", "x\n").chmod(0o755)
    project.commit("one")
    for name, data in ((FILE, GOOD), ("models/run.sh", b"x\n")):
        assert vouched(project.read(f"{name}.dvc")) == sha256(data)
    text = project.read(f"{FILE}.dvc")
    copy = project.path.with_name("copy")
    shutil.copytree(project.path, copy, symlinks=True)
    (copy / f"{FILE}.dvc").unlink()
    Project(copy, differential=False).dvc("add", "-q", FILE)
    assert without_note(text) == (copy / f"{FILE}.dvc").read_text() != text


def test_sha256_of_a_directory_is_what_the_documentation_says(project: Project) -> None:
    files = {"b": b"2\n", "a/é x": b"", "a.txt": GOOD}
    for name, data in files.items():
        project.write(f"data/{name}", data)
    project.write("data/run.sh", "x\n").chmod(0o755)
    project.commit("one")
    digest = hashlib.sha256(b"devml directory 1\0")
    for name in sorted([*files, "run.sh"]):
        data = files.get(name, b"x\n")
        digest.update(f"{sha256(data)} {len(data)} {name}".encode() + b"\0")
    assert f"sha256: {digest.hexdigest()}\n" in project.read("data.dvc")
    assert project.read("data.dvc").rstrip().endswith("- run.sh")
    assert project.in_step()


def test_with_integrity_md5_a_pointer_is_byte_for_byte_what_dvc_add_writes(
    project: Project,
) -> None:
    project.write("devml.toml", project.read("devml.toml") + 'integrity = "md5"\n')
    project.write(FILE, GOOD)
    project.write("data/x", "x\n")
    project.commit("one")
    texts = {name: project.bytes(f"{name}.dvc") for name in (FILE, "data")}
    for name in texts:
        (project.path / f"{name}.dvc").unlink()
        project.dvc("add", "-q", name)
    assert {name: project.bytes(f"{name}.dvc") for name in texts} == texts


def test_pointers_without_a_sha256_are_not_rewritten_for_it(project: Project) -> None:
    toml = project.read("devml.toml")
    project.write("devml.toml", toml + 'integrity = "md5"\n')
    project.write(FILE, GOOD)
    project.write("models/b.pt", "b\n")
    project.write("data/x", "x\n")
    project.commit("one")
    project.write("devml.toml", toml)
    old = {name: project.bytes(f"{name}.dvc") for name in (FILE, "models/b.pt", "data")}
    project.write("models/b.pt", "changed\n")
    project.commit("two")
    project.devml("verify")
    project.devml("checkout", "HEAD~1")
    project.devml("checkout", "main")
    project.devml("snapshot")
    assert {n: project.bytes(f"{n}.dvc") == text for n, text in old.items()} == {
        FILE: True, "models/b.pt": False, "data": True,
    }  # fmt: skip
    assert vouched(project.read("models/b.pt.dvc")) == sha256(b"changed\n")
    assert project.in_step()


def test_old_directory_vouches_once_all_its_files_were_read(project: Project) -> None:
    toml = project.read("devml.toml")
    project.write("devml.toml", toml + 'integrity = "md5"\n')
    project.write("data/x", "x\n")
    project.write("data/y", "y\n")
    project.commit("one")
    project.write("devml.toml", toml)
    project.write("data/y", "yy\n")
    project.commit("two: the first file was read before there was a second hash")
    assert vouched(project.read("data.dvc")) is None
    project.devml("verify")
    project.write("data/y", "yyy\n")
    project.commit("three")
    assert vouched(project.read("data.dvc")) is not None


def test_note_that_a_plain_dvc_add_left_behind_is_foreign_and_no_corruption(
    project: Project,
) -> None:
    project.write(FILE, "one\n")
    project.commit("one")
    project.write(FILE, "two\n")
    project.dvc("add", "-q", FILE)
    text = project.read(f"{FILE}.dvc")
    assert sha256(b"one\n") in text, "DVC keeps what is in meta"
    assert hashlib.md5(b"one\n").hexdigest() in text
    project.commit("two")
    assert project.read(f"{FILE}.dvc") == text
    assert project.in_step()
    assert project.devml("verify").status == 0
    project.git("checkout", "-q", "HEAD~1")
    project.git("checkout", "-q", "main")
    assert project.read(FILE) == "two\n"
    project.write(FILE, "three\n")
    project.commit("three")
    assert vouched(project.read(f"{FILE}.dvc")) == sha256(b"three\n")


def test_colleague_with_integrity_md5_drops_the_note_of_what_he_changes_alone(
    project: Project,
) -> None:
    project.write(FILE, "one\n")
    project.write("models/b.pt", "b\n")
    project.commit("one")
    project.write("devml.toml", project.read("devml.toml") + 'integrity = "md5"\n')
    project.write(FILE, "two\n")
    project.commit("two")
    assert vouched(project.read(f"{FILE}.dvc")) is None
    assert vouched(project.read("models/b.pt.dvc")) == sha256(b"b\n")
    replace(project.object("models/b.pt.dvc"), b"B\n")
    (project.path / "models/b.pt").unlink()
    assert project.devml("checkout", "--", "models/b.pt", check=False).status
    assert not project.exists("models/b.pt")


def test_note_goes_along_with_git_mv_and_comes_back_with_undo(project: Project) -> None:
    project.write(FILE, "one\n")
    project.commit("one")
    project.git("mv", f"{FILE}.dvc", "models/z.pt.dvc")
    project.commit("moved")
    assert vouched(project.read("models/z.pt.dvc")) == sha256(b"one\n")
    project.write("models/z.pt", "two\n")
    project.devml("snapshot")
    assert vouched(project.read("models/z.pt.dvc")) == sha256(b"two\n")
    project.devml("undo")
    assert vouched(project.read("models/z.pt.dvc")) == sha256(b"one\n")
    assert project.read("models/z.pt") == "two\n"


def test_status_with_a_warm_record_reads_no_content(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(FILE, GOOD)
    project.write("data/x", "x\n")
    project.commit("one")
    project.devml("status")
    monkeypatch.setattr(Cache, "_read_once", lambda *a: pytest.fail("a file was hashed"))
    assert project.in_step()


# -- put over the other in the workspace ---------------------------------------------------------


@ORDERS
@PLACES
def test_twin_in_the_workspace_is_modified_and_its_commit_is_refused(
    first: bytes, path: str, twins: Project
) -> None:
    committed(twins, path, first)
    head = twins.head()
    twins.write(path, other(first))
    for _ in range(2):  # the second time from the record
        assert twins.states()[artifact(path)] == "modified"
    ran = twins.devml("status")
    assert f"{path} has the MD5 of other content" in ran.out
    twins.write("train.py", "code\n")
    run("git", "add", "-A", cwd=twins.path)
    refused = twins.git("commit", "-m", "evil", check=False)
    assert refused.status
    assert path in refused.err
    assert "collide" in refused.err
    snapshot = twins.devml("snapshot", check=False)
    assert snapshot.status == twins.devml("snapshot", "-m", "x", check=False).status == 21
    assert (twins.head(), twins.bytes(path)) == (head, other(first))
    assert twins.objects()[OID].read_bytes() == first


@PLACES
def test_twin_in_the_workspace_is_neither_replaced_nor_taken_for_the_right_one(
    path: str, twins: Project
) -> None:
    committed(twins, path, GOOD)
    twins.write(path, "another\n")
    twins.commit("second")
    twins.devml("checkout", "HEAD~1")
    twins.write(path, EVIL)
    for argv in (["HEAD"], ["main"], ["--", artifact(path)], ["--force", "--", artifact(path)]):
        ran = twins.devml("checkout", *argv, check=False)
        assert twins.bytes(path) == EVIL, argv
        assert ran.status, argv
    twins.git("checkout", "-q", "main", check=False)
    assert twins.bytes(path) == EVIL
    (twins.path / path).unlink()
    twins.devml("checkout", "--force", "--", artifact(path))
    assert twins.read(path) == "another\n"
    twins.devml("checkout", "main~1")
    assert twins.bytes(path) == GOOD


@pytest.mark.parametrize("seen", [True, False], ids=["after status", "at once"])
def test_twin_of_a_file_that_a_pointer_vouches_for_and_nobody_has_here(
    seen: bool, twins: Project
) -> None:
    """The cache is gone and the table too: what the pointer says is enough."""
    committed(twins, FILE, GOOD, push=True)
    clone, ran = cloned(twins, "--no-content")
    assert ran.status == 0, ran.err
    clone.write(FILE, EVIL)
    if seen:
        assert clone.states()[FILE] == "modified"
    clone.write("train.py", "x\n")
    run("git", "add", "-A", cwd=clone.path)
    assert clone.git("commit", "-m", "evil", check=False).status
    assert OID not in clone.objects()
    (clone.path / FILE).unlink()
    ran = clone.devml("checkout", "--", FILE)
    assert clone.bytes(FILE) == GOOD


# -- rescues and undo ----------------------------------------------------------------------------


@ORDERS
def test_rescue_never_gives_the_other_twin(first: bytes, twins: Project) -> None:
    committed(twins, FILE, b"other\n")
    twins.write(FILE, first)
    twins.devml("checkout", "--force", "--", FILE)
    (rescue,) = twins.devml("rescue", "list", "--json").json["rescues"]
    assert rescue["oid"] == OID
    replace(twins.objects()[OID], other(first))
    assert twins.devml("rescue", "restore", rescue["id"], check=False).status
    assert twins.read(FILE) == "other\n"
    shutil.rmtree(twins.path / ".git/devml/cache/quarantine", ignore_errors=True)
    (twins.path / ".git/devml/fingerprints.db").unlink()
    assert twins.devml("rescue", "restore", rescue["id"], check=False).status
    assert twins.read(FILE) == "other\n"


@ORDERS
def test_rescue_log_alone_tells_twins_apart(first: bytes, twins: Project) -> None:
    """Nothing else is left that has seen the right one."""
    committed(twins, FILE, b"other\n")
    twins.write(FILE, first)
    twins.devml("checkout", "--force", "--", FILE)
    (rescue,) = twins.devml("rescue", "list", "--json").json["rescues"]
    replace(twins.objects()[OID], other(first))
    for file in (twins.path / ".git/devml").glob("fingerprints.db*"):
        file.unlink()
    assert twins.devml("rescue", "restore", rescue["id"], check=False).status
    assert twins.read(FILE) == "other\n"


@ORDERS
def test_undo_never_gives_the_other_twin(first: bytes, twins: Project) -> None:
    committed(twins, FILE, first)
    twins.write(FILE, "two\n")
    twins.commit("two")
    twins.devml("checkout", "--", FILE)
    twins.devml("checkout", "HEAD~1")
    twins.devml("checkout", "main")
    replace(twins.objects()[OID], other(first))
    (twins.path / ".git/devml/fingerprints.db").unlink()
    assert twins.devml("undo", check=False).status
    assert twins.read(FILE) == "two\n"


# -- in the cache --------------------------------------------------------------------------------


@ORDERS
@PLACES
@pytest.mark.parametrize("table", ["kept", "lost"])
def test_twin_in_the_cache_is_not_restored_and_verify_names_it(
    table: str, first: bytes, path: str, twins: Project
) -> None:
    committed(twins, path, first)
    if table == "lost":
        (twins.path / ".git/devml/fingerprints.db").unlink()
    replace(twins.objects()[OID], other(first))
    (twins.path / path).unlink()
    assert problems(twins, "--full") == {"corrupt"}
    exported = twins.path.parent / "out"
    assert twins.devml("checkout", "HEAD", "--to", str(exported), check=False).status
    assert not (exported / path).exists()
    ran = twins.devml("checkout", "--", artifact(path), check=False)
    assert ran.status
    assert not twins.exists(path)


def test_twin_in_the_cache_does_not_reach_the_remote(twins: Project) -> None:
    committed(twins, FILE, GOOD)
    replace(twins.objects()[OID], EVIL)
    run("git", "init", "-q", "--bare", "../bare", cwd=twins.path)
    assert twins.git("push", "-q", "../bare", "main", check=False).status
    assert not store_object(twins).exists()


def test_good_copy_of_the_remote_takes_the_place_of_a_twin_in_the_cache(twins: Project) -> None:
    committed(twins, FILE, GOOD, push=True)
    replace(twins.objects()[OID], EVIL)
    (twins.path / FILE).unlink()
    twins.devml("checkout", "--", FILE)
    assert twins.bytes(FILE) == GOOD == twins.objects()[OID].read_bytes()


def test_stranger_who_vouches_for_garbage_gets_no_object_out_of_the_cache(twins: Project) -> None:
    committed(twins, FILE, GOOD, push=True)
    text = twins.read(f"{FILE}.dvc")
    twins.write(f"{FILE}.dvc", text.replace(sha256(GOOD), sha256(b"garbage")))
    run("git", "commit", "-qnam", "garbage", cwd=twins.path)
    (twins.path / FILE).unlink()
    assert twins.devml("checkout", "--", FILE, check=False).status
    assert problems(twins, "--repair") >= {"corrupt"}
    assert twins.objects()[OID].read_bytes() == GOOD
    twins.write(f"{FILE}.dvc", text)
    twins.devml("checkout", "--", FILE)
    assert twins.bytes(FILE) == GOOD


# -- on the remote -------------------------------------------------------------------------------


@ORDERS
@PLACES
def test_clone_of_a_commit_that_vouches_refuses_the_remotes_twin(
    first: bytes, path: str, twins: Project
) -> None:
    committed(twins, path, first, push=True)
    replace(store_object(twins), other(first))
    clone, ran = cloned(twins)
    assert ran.status == 30
    assert no_bytes(clone, other(first))
    for argv in (["fetch"], ["checkout"], ["checkout", "--", artifact(path)]):
        assert clone.devml(*argv, check=False).status, argv
        assert no_bytes(clone, other(first)), argv
    assert "not-on-remote" in problems(clone, "--remote", "--full")
    replace(store_object(twins), first)
    clone.devml("checkout", "--", artifact(path))
    assert clone.bytes(path) == first
    assert problems(clone, "--remote", "--full") == set()


@PLACES
def test_remote_that_swaps_twins_is_found_out_by_verify_where_content_is_here(
    path: str, twins: Project
) -> None:
    committed(twins, path, GOOD, push=True)
    replace(store_object(twins), EVIL)
    assert problems(twins, "--remote") == set(), "sizes alone tell nothing"
    assert problems(twins, "--remote", "--full") == {"not-on-remote"}
    assert problems(twins, "--remote", "--repair", "--full") == set()
    assert store_object(twins).read_bytes() == GOOD


def test_plain_dvc_pull_of_a_twin_is_found_out(twins: Project) -> None:
    committed(twins, FILE, GOOD, push=True)
    replace(store_object(twins), EVIL)
    clone, _ = cloned(twins, "--no-content")
    clone.dvc("pull", "-q")
    assert clone.bytes(FILE) == EVIL
    assert clone.states()[FILE] == "modified"
    assert problems(clone, "--full") == {"corrupt"}
    (clone.path / FILE).unlink()
    assert clone.devml("checkout", "--", FILE, check=False).status
    assert not clone.exists(FILE)
    replace(store_object(twins), GOOD)
    clone.devml("checkout", "--", FILE)
    assert clone.bytes(FILE) == GOOD


# -- where a pointer says nothing ----------------------------------------------------------------

DVC_YAML = "stages:\n  train:\n    cmd: cp in out.bin\n    deps: [in]\n    outs: [out.bin]\n"


def test_twin_of_a_pipelines_output_is_told_by_what_was_seen_here(twins: Project) -> None:
    twins.write("in", GOOD)
    twins.write("dvc.yaml", DVC_YAML)
    twins.dvc("repro", "-q")
    twins.commit("pipeline")
    twins.write("out.bin", "two\n")
    twins.commit("two")
    assert "sha256" not in twins.read("dvc.lock")
    twins.devml("checkout", "HEAD~1")
    assert twins.bytes("out.bin") == GOOD
    twins.write("out.bin", EVIL)
    assert twins.states()["out.bin"] == "modified"
    assert twins.devml("snapshot", check=False).status
    (twins.path / "out.bin").unlink()
    replace(twins.objects()[OID], EVIL)
    assert twins.devml("checkout", "--", "out.bin", check=False).status
    assert not twins.exists("out.bin")


def test_table_that_is_broken_is_set_aside_and_begun_anew(twins: Project) -> None:
    committed(twins, FILE, GOOD)
    table = twins.path / ".git/devml/fingerprints.db"
    table.write_bytes(b"junk" * 5000)
    twins.write("models/b.pt", "b\n")
    twins.commit("more")
    twins.write("models/b.pt", "bb\n")
    twins.commit("more")
    assert table.read_bytes().startswith(b"SQLite")
    assert twins.in_step()


# -- merges and history --------------------------------------------------------------------------


def test_merged_directory_vouches_where_all_its_members_are_known(project: Project) -> None:
    project.write("data/x", "x\n")
    project.commit("base")
    project.git("checkout", "-q", "-b", "side")
    project.write("data/theirs", "t\n")
    project.commit("theirs")
    project.git("checkout", "-q", "main")
    project.write("data/ours", "o\n")
    project.commit("ours")
    project.git("merge", "-q", "-m", "merge", "side")
    assert vouched(project.read("data.dvc")) is not None
    assert project.in_step()
    assert project.devml("verify").status == 0
    project.git("checkout", "-q", "side")
    project.git("checkout", "-q", "main")
    assert project.listing("data") == {"x": b"x\n", "ours": b"o\n", "theirs": b"t\n"}


def test_commit_that_only_swaps_the_sha256_is_told_by_log_and_git_diff(twins: Project) -> None:
    committed(twins, FILE, GOOD)
    twins.write(f"{FILE}.dvc", twins.read(f"{FILE}.dvc").replace(sha256(GOOD), sha256(EVIL)))
    run("git", "commit", "-qnam", "swap", cwd=twins.path)
    assert sha256(EVIL) in run("git", "diff", "HEAD~1", cwd=twins.path).out
    (change,) = twins.devml("log", "-1", "--json").json["commits"][0]["changes"]
    assert change["path"] == FILE

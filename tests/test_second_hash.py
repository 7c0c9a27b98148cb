"""The second hash beyond the twins of `test_twins.py`: a test for each check that nothing else needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from devml_git.cache import Cache, Source
from devml_git.contents import Contents
from devml_git.errors import ContentLost, StorageFailed
from devml_git.fingerprints import Fingerprint, of_members
from devml_git.nouns import MD5
from devml_git.streams import SMALL
from devml_git.workspace import Workspace
from tests.test_twins import (
    DVC_YAML,
    FILE,
    MEMBER,
    ORDERS,
    cloned,
    committed,
    problems,
    replace,
    store_object,
)  # fmt: skip
from tests.twins import EVIL, GOOD, OID, sha256, vouched
from tests.world import Project, devml, run


def lose_table(project: Project) -> None:
    for file in (project.path / ".git/devml").glob("fingerprints.db*"):
        file.unlink()


def vouch_for(project: Project, data: bytes, message: str = "swap") -> None:
    """Commit a pointer that vouches for other content of the same MD5."""
    text = project.read(f"{FILE}.dvc")
    was = vouched(text)
    assert was is not None
    project.write(f"{FILE}.dvc", text.replace(was, sha256(data)))
    run("git", "commit", "-qnam", message, cwd=project.path)


def read_content(project: Project, path: str) -> list[bytes]:
    """Read an artifact as `diff`, `blame` and the API do."""
    with Workspace.discover(project.path) as ws:
        found = Contents(ws, fetch=False).files(ws.tree.snapshot.pointers[path])
        return [place.read_bytes() for place in found.values()]


def test_fetch_tells_of_content_that_is_here_and_not_what_the_pointer_vouches_for(
    twins: Project,
) -> None:
    committed(twins, FILE, GOOD, push=True)
    vouch_for(twins, EVIL)
    assert twins.devml("fetch", check=False).status
    assert twins.objects()[OID].read_bytes() == GOOD


def test_twin_does_not_enter_a_cache_that_only_remembers_the_other(twins: Project) -> None:
    twins.write("in", GOOD)
    twins.write("dvc.yaml", DVC_YAML)
    twins.dvc("repro", "-q")
    twins.commit("pipeline")
    twins.objects()[OID].unlink()
    twins.write("out.bin", EVIL)
    assert twins.devml("snapshot", check=False).status
    assert OID not in twins.objects()


def test_content_that_was_believed_is_not_read_for_a_pointer_that_vouches_for_its_twin(
    twins: Project,
) -> None:
    committed(twins, FILE, GOOD)
    assert read_content(twins, FILE) == [GOOD]
    vouch_for(twins, EVIL)
    with pytest.raises(ContentLost):
        read_content(twins, FILE)


@pytest.mark.parametrize("path", [FILE, MEMBER])
def test_twin_in_the_cache_is_not_read(path: str, twins: Project) -> None:
    committed(twins, path, GOOD)
    replace(twins.objects()[OID], EVIL)
    lose_table(twins)
    with pytest.raises(ContentLost):
        read_content(twins, "data" if path == MEMBER else path)


def test_what_was_verified_lately_is_not_believed_for_another_sha256(twins: Project) -> None:
    committed(twins, FILE, GOOD)
    assert problems(twins) == set()
    lose_table(twins)
    vouch_for(twins, EVIL)
    assert problems(twins) == {"corrupt"}


def test_each_of_two_pointers_that_disagree_gets_its_own_verdict(twins: Project) -> None:
    committed(twins, FILE, GOOD)
    for n in range(8):
        vouch_for(twins, b"%d" % n)
    said = twins.devml("verify", "--all", "--json", "--full", check=False).json["commits"]
    right = twins.head("HEAD~8")
    verdicts = {c["commit"]: c["verdict"] for c in said}
    wrong = {twins.head(f"HEAD~{n}") for n in range(8)}
    assert verdicts[right] == "recoverable"
    assert all(verdicts[commit] != "recoverable" for commit in wrong)


@ORDERS
def test_pointers_that_disagree_keep_nothing_from_being_fetched(
    first: bytes, twins: Project
) -> None:
    committed(twins, FILE, GOOD, push=True)
    vouch_for(twins, first if first == EVIL else b"another")
    if first == GOOD:
        vouch_for(twins, GOOD)
    run("git", "push", "-q", "--no-verify", "../bare", "main", cwd=twins.path)
    clone, _ = cloned(twins, "--no-content")
    clone.devml("fetch", "--all", check=False)
    assert clone.objects()[OID].read_bytes() == GOOD


def test_member_hashed_under_md5_alone_is_read_before_it_counts_as_vouched_for(
    twins: Project,
) -> None:
    committed(twins, MEMBER, GOOD)
    twins.write("data/x.csv", "y\n")
    twins.commit("two")
    twins.devml("checkout", "HEAD~1")
    toml = twins.read("devml.toml")
    twins.write("devml.toml", toml + 'integrity = "md5"\n')
    twins.write(MEMBER, EVIL)
    twins.states()
    twins.write("devml.toml", toml)
    ran = twins.devml("checkout", "main", check=False)
    assert ran.status or twins.states()["data"] != "clean"
    assert twins.bytes(MEMBER) == EVIL, "nobody's bytes are lost"


def test_merged_members_are_vouched_for_by_what_the_commit_has_of_them(project: Project) -> None:
    project.write("data/a", "a\n")
    project.write("data/b", "b\n")
    project.commit("base")
    project.git("checkout", "-q", "-b", "side")
    project.write("data/b", "theirs\n")
    project.commit("theirs")
    project.git("checkout", "-q", "main")
    project.write("data/a", "mine\n")
    run("git", "-c", "core.hooksPath=/dev/null", "merge", "-q", "side", cwd=project.path)
    assert project.read("data/b") == "b\n", "the content has not followed"
    project.commit("mine")
    files = project.listing("data")
    assert files == {"a": b"mine\n", "b": b"theirs\n"}
    right = of_members({n: Fingerprint(len(d), sha256(d)) for n, d in files.items()})
    assert f"sha256: {right}\n" in project.read("data.dvc")


@pytest.mark.parametrize("tail", [b"", b"x" * (2 * SMALL)], ids=["small", "large"])
def test_two_twins_at_once_are_refused(tail: bytes, tmp_path: Path) -> None:
    sources = []
    for name, data in (("one", GOOD + tail), ("two", EVIL + tail)):
        (tmp_path / name).write_bytes(data)
        sources.append(Source(str(tmp_path / name), name, len(data)))
    cache = Cache(tmp_path / "cache", second=False)
    with pytest.raises(StorageFailed, match="collide"):
        cache.put(sources)
    assert list(cache.objects.glob("??/*")) == []


def test_what_was_restored_is_remembered(twins: Project) -> None:
    twins.write("in", GOOD)
    twins.write("dvc.yaml", DVC_YAML)
    twins.dvc("repro", "-q")
    committed(twins, "train.py", b"x\n", push=True)
    clone, _ = cloned(twins, "--no-content")
    clone.dvc("fetch", "-q")
    clone.devml("checkout")
    clone.write("out.bin", EVIL)
    assert clone.states()["out.bin"] == "modified"


def test_foreign_note_in_a_pointer_of_any_form_is_ignored(project: Project) -> None:
    project.write(FILE, "one\n")
    project.commit("one")
    project.write(f"{FILE}.dvc", project.read(f"{FILE}.dvc") + "desc: mine\n")
    project.commit("desc")
    project.write(FILE, "two\n")
    project.dvc("add", "-q", FILE)
    text = project.read(f"{FILE}.dvc")
    assert sha256(b"one\n") in text
    assert "desc: mine" in text
    assert project.in_step()
    project.commit("two")
    assert project.read(f"{FILE}.dvc") == text
    assert project.devml("verify").status == 0
    (project.path / FILE).unlink()
    project.devml("checkout", "--", FILE)
    assert project.read(FILE) == "two\n"


@pytest.mark.parametrize("kind", ["copy", "hardlink", "symlink"])
def test_good_copy_of_the_remote_takes_the_place_of_a_twin_that_nothing_was_known_of(
    kind: str, twins: Project
) -> None:
    committed(twins, FILE, GOOD, push=True)
    twins.write(".dvc/config.local", f"[cache]\n    type = {kind}\n")
    replace(twins.objects()[OID], EVIL)
    lose_table(twins)
    (twins.path / FILE).unlink()
    twins.devml("checkout", "--", FILE)
    assert twins.bytes(FILE) == GOOD == twins.objects()[OID].read_bytes()


def test_twin_in_the_cache_does_not_reach_the_remote_though_nothing_is_known(
    twins: Project,
) -> None:
    committed(twins, FILE, GOOD)
    replace(twins.objects()[OID], EVIL)
    lose_table(twins)
    run("git", "init", "-q", "--bare", "../bare", cwd=twins.path)
    assert twins.git("push", "-q", "../bare", "main", check=False).status
    assert not store_object(twins).exists()


def test_claim_alone_tells_twins_apart(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(GOOD)
    cache = Cache(tmp_path / "cache", second=False)
    cache.put([Source(str(tmp_path / "good"), "good", len(GOOD))])
    assert not cache.verify(OID, claim=sha256(EVIL))
    assert cache.seen.of(OID) is None, "what was refused does not count as seen"
    temp = cache.new_temporary()
    temp.write_bytes(EVIL)
    assert not cache.adopt(OID, temp, MD5, sha256(GOOD))
    assert cache.object_path(OID).read_bytes() == GOOD
    assert cache.verify(OID, claim=sha256(GOOD))


def test_repair_does_not_bring_a_twin(twins: Project) -> None:
    """Without --full only sizes have been compared: the pointer is what tells."""
    committed(twins, FILE, GOOD, push=True)
    replace(store_object(twins), EVIL)
    replace(twins.objects()[OID], b"rot".ljust(len(GOOD)))
    lose_table(twins)
    assert "corrupt" in problems(twins, "--repair")
    objects = twins.objects()
    assert OID not in objects or objects[OID].read_bytes() != EVIL


def test_twin_of_a_member_on_the_remote_is_found_out_where_no_content_is(twins: Project) -> None:
    committed(twins, MEMBER, GOOD, push=True)
    clone, _ = cloned(twins, "--no-content")
    clone.devml("trust")
    assert "not-on-remote" not in problems(clone, "--remote", "--full")
    replace(store_object(twins), EVIL)
    ran = devml("verify", "--json", "--remote", "--full", cwd=clone.path)
    found = {(p["path"], p["problem"]) for p in ran.json["problems"]}
    assert ("data", "not-on-remote") in found

"""Promise P9: nothing that a repository says leads a read or a write astray."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from devml_git import gate
from devml_git.errors import Refused
from tests.world import Project, devml, run

OID = "d41d8cd98f00b204e9800998ecf8427e"


def pointer(path: str, oid: str = OID, extra: str = "") -> str:
    return f"outs:\n- md5: {json.dumps(oid)}\n  size: 0\n  hash: md5\n{extra}  path: {json.dumps(path)}\n"


def put_object(project: Project, data: bytes, suffix: str = "") -> str:
    """Put bytes into the cache under their right name; return the oid."""
    oid = hashlib.md5(data).hexdigest() + suffix
    place = project.cache / oid[:2] / oid[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return oid


def outside(project: Project) -> set[str]:
    """Return every path around the project and in its .git/hooks."""
    around = {str(p) for p in project.path.parent.rglob("*") if project.path not in p.parents}
    return around | {str(p) for p in (project.path / ".git/hooks").iterdir()}


HOSTILE_PATHS = [
    "../evil", "../../evil", "a/../../../evil", "/tmp/devml-evil", ".git/hooks/post-commit", ".GIT/config",
    ".git./config", ".git /config", "git~1/config", ".g\u200cit/config", ".dvc/config", ".DVC/config",
    "a//.git/x", "a\nb", "a\x1b[2Jb", "a\u202eb", "x" * 300, "/".join("d" * 70), "",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_hostile_output_path_writes_nothing_and_is_named(project: Project, path: str) -> None:
    project.differential = False
    oid = put_object(project, b"evil")
    project.write("x.dvc", pointer(path, oid))
    before = outside(project)
    project.devml("checkout", check=False)
    assert outside(project) == before
    found = project.status()
    told = [b["pointer"] for b in found["broken"]] + [u["pointer"] for u in found["unmanaged"]]
    assert told == ["x.dvc"]
    assert not os.path.exists("/tmp/devml-evil")


@pytest.mark.parametrize(
    "oid",
    ["../../../etc/passwd", "", "zz", OID.upper(), OID + ".dirx", OID + "/..", OID[:31], "0" * 33],
)
def test_hostile_oid_is_refused(project: Project, oid: str) -> None:
    project.differential = False
    project.write("x.dvc", pointer("x", oid))
    assert project.devml("status", "--json").json["broken"][0]["pointer"] == "x.dvc"
    assert project.git("commit", "-q", "--allow-empty", "-m", "x", check=False).status != 0


HOSTILE_MANIFESTS = {
    "climbs": [{"md5": OID, "relpath": "../../evil"}],
    "git": [{"md5": OID, "relpath": ".git/hooks/x"}],
    "absolute": [{"md5": OID, "relpath": "/tmp/devml-evil"}],
    "nul": [{"md5": OID, "relpath": "a\0b"}],
    "twice": [{"md5": OID, "relpath": "a"}, {"md5": OID, "relpath": "a"}],
    "file and directory": [{"md5": OID, "relpath": "a"}, {"md5": OID, "relpath": "a/b"}],
    "GIT": [{"md5": OID, "relpath": "a/.GIT/hooks/x"}],
    "bidi": [{"md5": OID, "relpath": "a\u202eb"}],
    "dots": [{"md5": OID, "relpath": "./a"}],
    "empty part": [{"md5": OID, "relpath": "a//b"}],
    "bad oid": [{"md5": "../../x", "relpath": "a"}],
    "dir oid": [{"md5": OID + ".dir", "relpath": "a"}],
    "no path": [{"md5": OID}],
    "no mapping": ["a"],
    "no list": {"md5": OID, "relpath": "a"},
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE_MANIFESTS)
def test_hostile_manifest_writes_nothing(project: Project, kind: str) -> None:
    project.differential = False
    put_object(project, b"")
    oid = put_object(project, json.dumps(HOSTILE_MANIFESTS[kind]).encode(), ".dir")
    project.write("set.dvc", pointer("set", oid, "  nfiles: 1\n"))
    before = outside(project)
    ran = project.devml("checkout", check=False)
    assert "manifest" in ran.out + ran.err
    assert outside(project) == before
    assert not project.exists("set")


def test_manifest_that_is_no_json_is_refused(project: Project) -> None:
    project.differential = False
    oid = put_object(project, b"[" * 100_000, ".dir")
    project.write("set.dvc", pointer("set", oid, "  nfiles: 1\n"))
    assert "not JSON" in project.devml("checkout", check=False).out


def test_oversized_manifest_is_refused_unread(project: Project) -> None:
    project.differential = False
    place = project.cache / "00" / ("0" * 30 + ".dir")
    place.parent.mkdir(parents=True)
    with open(place, "wb") as f:
        f.truncate(gate.MAX_MANIFEST_BYTES + 1)
    project.write("set.dvc", pointer("set", "0" * 32 + ".dir", "  nfiles: 1\n"))
    ran = project.devml("checkout", check=False)
    assert ran.status == 21
    assert "larger than" in ran.out


def test_manifest_of_another_content_is_set_aside(project: Project) -> None:
    project.differential = False
    place = project.cache / "00" / ("0" * 30 + ".dir")
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps([{"md5": OID, "relpath": "a"}]))
    project.write("set.dvc", pointer("set", "0" * 32 + ".dir", "  nfiles: 1\n"))
    assert project.devml("checkout", check=False).status == 30
    assert not project.exists("set")


@pytest.mark.parametrize("kind", ["fifo", "link", "large"])
def test_pointer_that_is_no_small_file_is_named_and_hangs_nothing(
    models: Project, kind: str
) -> None:
    models.differential = False
    place = models.path / "models/a.pt.dvc"
    text = place.read_text()
    place.unlink()
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to("/etc/passwd")
    else:
        place.write_text(text + "#" * gate.MAX_POINTER_BYTES)
    found = models.status()
    assert [b["pointer"] for b in found["broken"]] == ["models/a.pt.dvc"]
    assert models.devml("checkout", check=False).status == 21
    ran = models.git("commit", "-q", "--allow-empty", "-m", "x", check=False)
    assert ran.status != 0
    assert "models/a.pt.dvc" in ran.err
    assert models.read("models/a.pt").startswith("weights 3")


YAML = {
    "alias bomb": "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nouts:\n- md5: x\n  meta: [*b,*b]\n  path: x\n",
    "tag": f"outs:\n- md5: {OID}\n  path: !!python/object:os.system x\n",
    "deep": "outs: " + "[" * 500 + "]" * 500,
    "duplicate key": f"outs:\n- md5: {OID}\n  md5: {OID}\n  path: x\n",
    "not a mapping": "- a\n- b\n",
    "outs is text": "outs: x\n",
    "binary": "\x00\x01",
    "no path": f"outs:\n- md5: {OID}\n",
    "negative size": f"outs:\n- md5: {OID}\n  size: -1\n  hash: md5\n  path: x\n",
    "huge size": f"outs:\n- md5: {OID}\n  size: {10**30}\n  hash: md5\n  path: x\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", YAML)
def test_hostile_yaml_is_refused_quickly_and_named(project: Project, kind: str) -> None:
    project.differential = False
    project.write("x.dvc", YAML[kind])
    ran = devml("status", "--json", cwd=project.path)
    assert [b["pointer"] for b in ran.json["broken"]] == ["x.dvc"]


@pytest.mark.parametrize("target", [".git/hooks", "{tmp}"])
def test_link_in_git_as_a_parent_is_not_followed(
    project: Project, tmp_path: Path, target: str
) -> None:
    project.differential = False
    (project.path / "lnk").symlink_to(target.format(tmp=tmp_path))
    oid = put_object(project, b"#!/bin/sh\necho evil\n")
    project.write("x.dvc", pointer("lnk/post-merge", oid, "  isexec: true\n"))
    before = outside(project)
    content = (project.path / ".git/hooks/post-merge").read_bytes()
    project.git("add", "-A")
    ran = project.devml("checkout", check=False)
    assert "link" in ran.out + ran.err
    assert outside(project) == before
    assert (project.path / ".git/hooks/post-merge").read_bytes() == content


@pytest.mark.parametrize("form", [["HEAD"], ["--force", "HEAD"], ["--to", "../out", "HEAD"]])
def test_link_in_a_commit_is_not_followed_by_any_checkout(
    project: Project, tmp_path: Path, form: list[str]
) -> None:
    project.differential = False
    victim = tmp_path / "victim"
    victim.mkdir()
    (project.path / "lnk").symlink_to(victim)
    project.write("x.dvc", pointer("lnk/evil", put_object(project, b"evil")))
    project.git("add", "-A")
    project.git("-c", "core.hooksPath=/dev/null", "commit", "-qm", "hostile")
    ran = project.devml("checkout", *form, check=False)
    assert ran.status == 21
    assert "lnk" in ran.err
    assert list(victim.iterdir()) == []


def test_nothing_is_read_through_a_linked_parent(project: Project, tmp_path: Path) -> None:
    project.differential = False
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("SECRET")
    (project.path / "lnk").symlink_to(secret)
    project.write("x.dvc", pointer("lnk/key"))
    assert project.devml("snapshot", check=False).status == 21
    assert project.git("commit", "-q", "--allow-empty", "-m", "x", check=False).status != 0
    assert hashlib.md5(b"SECRET").hexdigest() not in project.objects()


@pytest.mark.parametrize("to", ["lnk/x", ".git/hooks/x", "../x", ".GIT/x"])
def test_rescue_is_restored_nowhere_else(models: Project, tmp_path: Path, to: str) -> None:
    (models.path / "lnk").symlink_to(tmp_path)
    models.write("models/a.pt", "my edit")
    models.devml("checkout", "--force", "v1")
    rescue = json.loads(models.devml("rescue", "list", "--json").out)["rescues"][0]["id"]
    before = outside(models)
    assert models.devml("rescue", "restore", rescue, "--to", to, check=False).status in {2, 21}
    assert outside(models) == before


def test_link_where_the_artifact_goes_is_replaced_not_followed(
    models: Project, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (models.path / "models/a.pt").unlink()
    (models.path / "models/a.pt").symlink_to(victim)
    models.differential = False
    models.devml("checkout", check=False)
    models.git("checkout", "-q", "v1", check=False)
    assert victim.read_text() == "mine"


def test_tracked_configuration_cannot_move_the_cache_outside(
    models: Project, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    run("git", "clone", "-q", str(models.path), "clone", cwd=tmp_path)
    clone = Project(tmp_path / "clone", differential=False)
    clone.write(".dvc/config", f"[cache]\n    dir = {victim}\n")
    clone.write("models/b.pt", "b")
    assert devml("snapshot", cwd=clone.path).status == 0
    assert not victim.exists()
    assert "devml-git trust --cache" in clone.devml("init").err
    assert not victim.exists()
    (clone.path / "models/b.pt").write_text("c")
    clone.devml("snapshot")
    assert not victim.exists()


@pytest.fixture
def shared(models: Project, tmp_path: Path) -> Path:
    """The place of a team's cache, that `.dvc/config` names; a clone of it is beside."""
    models.dvc("config", "cache.dir", str(tmp_path / "shared"))
    models.git("-c", "core.hooksPath=/dev/null", "commit", "-qam", "one cache for all")
    run("git", "clone", "-q", str(models.path), "clone", cwd=tmp_path)
    return tmp_path / "shared"


def test_clone_that_is_trusted_makes_no_cache_outside(shared: Path, tmp_path: Path) -> None:
    """Remotes are trusted by that; a place that is no cache yet could be any."""
    clone = Project(tmp_path / "clone", differential=False)
    assert "devml-git trust --cache" in clone.devml("init", "--trust").err
    assert not shared.exists()
    shared.mkdir()
    (shared / "id_rsa").write_text("another thing")
    assert "devml-git trust --cache" in clone.devml("init", "--trust").err
    assert [p.name for p in shared.iterdir()] == ["id_rsa"]
    clone.devml("trust", "--cache")
    assert clone.dvc("cache", "dir").out.strip() == str(shared)


def test_teams_cache_counts_once_it_is_trusted(shared: Path, tmp_path: Path) -> None:
    shared.mkdir()
    clone = Project(tmp_path / "clone", differential=False)
    assert str(shared) in clone.devml("init", "--trust").out
    clone.write("models/b.pt", "b")
    clone.devml("snapshot")
    assert (shared / "files").is_dir()
    assert clone.dvc("cache", "dir").out.strip() == str(shared)


def test_private_configuration_in_git_cannot_move_the_cache_either(
    models: Project, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    models.differential = False
    run("git", "clone", "-q", str(models.path), "evil", cwd=tmp_path)
    evil = Project(tmp_path / "evil", differential=False)
    evil.write(".dvc/config.local", f"[cache]\n    dir = {victim}\n")
    evil.git("add", "-f", ".dvc/config.local")
    evil.git("-c", "core.hooksPath=/dev/null", "commit", "-qm", "hostile")
    run("git", "clone", "-q", str(evil.path), "clone", cwd=tmp_path)
    ran = devml("status", cwd=tmp_path / "clone")
    assert ran.status == 0, ran.err
    models.git("pull", "-q", str(evil.path), "main")
    models.write("models/b.pt", "b")
    models.git("commit", "-q", "--allow-empty", "-m", "b", check=False)
    assert list(victim.iterdir()) == []
    assert hashlib.md5(b"b").hexdigest() in models.objects()


def test_hooks_do_not_connect_to_a_remote_that_a_commit_changed(
    models: Project, tmp_path: Path
) -> None:
    models.dvc("remote", "add", "-q", "-d", "store", str(tmp_path / "remote"))
    models.commit("remote")
    models.dvc("push", "-q")
    run("git", "clone", "-q", str(models.path), "clone", cwd=tmp_path)
    clone = Project(tmp_path / "clone")
    clone.devml("init")
    models.dvc("remote", "modify", "-q", "store", "url", str(tmp_path / "elsewhere"))
    models.write("models/a.pt", "newer")
    models.commit("moved")
    models.dvc("push", "-q")
    ran = clone.git("pull", "-q")
    assert "devml-git trust" in ran.err
    assert not clone.exists("models/a.pt")
    clone.devml("trust")
    clone.devml("checkout")
    assert clone.read("models/a.pt") == "newer"


@pytest.mark.parametrize(
    "good", ["a", "a/b", "A.TXT", "ünï", ".hidden", "a b", "x:y", "a.git", ".gitignore", "con"]
)
def test_ordinary_paths_pass(good: str) -> None:
    assert gate.path(good, "test") == good


@pytest.mark.parametrize("bad", [None, 3, b"a", "\udcff", "a\\..\\b\n", "a/./b", "a/", "/a"])
def test_what_is_no_path_does_not_pass(bad: object) -> None:
    with pytest.raises(Refused):
        gate.path(bad, "test")

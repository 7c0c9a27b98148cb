"""`verify`: every damage is found, every commit gets its verdict, and good copies heal bad ones."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from pathlib import Path

import pytest

from devml_git import verifying
from devml_git.workspace import Workspace
from tests.conftest import commit_three
from tests.world import Project, Ran, devml, run

REMOTE = "[core]\n    remote = store\n['remote \"store\"']\n    url = ../../store\n"


class World:
    """v1 to v3 and a branch, complete here and on a DVC remote."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.store = project.path.parent / "store"
        project.differential = False
        (project.path / ".dvc/config").write_text(REMOTE)
        project.devml("trust")
        commit_three(project)
        project.git("checkout", "-q", "-b", "side", "v1")
        project.write("models/s.pt", "side\n")
        project.devml("commit", "-qam", "side")
        project.git("checkout", "-q", "main")
        run("git", "init", "-q", "--bare", "../bare", cwd=project.path)
        project.git("push", "-q", "--all", "../bare")

    def oid(self, rev: str, path: str) -> str:
        return re.findall(r"md5: ([0-9a-f]{32}(?:\.dir)?)", self.project.show(rev, f"{path}.dvc"))[
            0
        ]

    def here(self, oid: str) -> Path:
        return self.project.cache / oid[:2] / oid[2:]

    def there(self, oid: str) -> Path:
        return self.store / "files/md5" / oid[:2] / oid[2:]

    def verify(self, *args: str) -> Ran:
        return devml("verify", *args, cwd=self.project.path)

    def verdicts(self, *args: str) -> dict[str, str]:
        ran = self.verify("--all", "--json", *args)
        names = {self.project.head(n): n for n in ("v1", "v2", "v3", "side")}
        return {
            names[c["commit"]]: c["verdict"] for c in ran.json["commits"] if c["commit"] in names
        }


def damage(place: Path, how: str, rng: random.Random) -> None:
    """Change an object as a bad disk would: mode and time stay."""
    st = place.stat()
    data = bytearray(place.read_bytes())
    if how == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == "truncate":
        del data[rng.randrange(len(data)) :]
    elif how == "extend":
        data += b"\0"
    elif how == "zero":
        data[:] = bytes(len(data))
    place.chmod(0o644)
    place.write_bytes(data)
    os.utime(place, ns=(st.st_atime_ns, st.st_mtime_ns))
    place.chmod(0o444)


@pytest.fixture
def world(project: Project) -> World:
    return World(project)


def test_whole_history_is_recoverable_and_each_object_is_read_once(world: World) -> None:
    first = world.verify("--all", "--remote", "--json")
    assert first.status == 0
    assert {c["verdict"] for c in first.json["commits"]} == {"recoverable"}
    assert first.json["problems"] == []
    objects = set(world.project.cache.glob("??/*"))
    assert first.json["objects"]["checked"] == len(objects)
    assert first.json["objects"]["bytes"] == sum(p.stat().st_size for p in objects)
    again = world.verify("--all", "--json").json
    assert again["objects"]["bytes"] == 0, "verdicts are remembered"
    full = world.verify("--all", "--full", "--json").json
    assert full["objects"]["bytes"] == first.json["objects"]["bytes"]


def test_lost_object_is_blamed_on_the_commits_that_need_it(world: World) -> None:
    oid = world.oid("v2", "models/a.pt")
    world.here(oid).unlink()
    assert world.verdicts() == {
        "v1": "recoverable",
        "v2": "unknown",
        "v3": "recoverable",
        "side": "recoverable",
    }
    problem = {
        "path": "models/a.pt",
        "oid": oid,
        "size": 500,
        "commits": [world.project.head("v2")],
    }
    ran = world.verify("--all", "--json")
    assert ran.json["problems"] == [{**problem, "problem": "missing"}]
    ran = world.verify("--all", "--remote", "--json")
    assert ran.status == 0
    assert ran.json["problems"] == []
    assert set(world.verdicts("--remote").values()) == {"recoverable"}
    world.there(oid).unlink()
    ran = world.verify("--all", "--remote", "--json")
    assert ran.status == 1
    assert world.verdicts("--remote")["v2"] == "lost"
    kinds = sorted(p["problem"] for p in ran.json["problems"])
    assert kinds == ["missing", "not-on-remote"]
    text = world.verify("--all", "--remote").out
    assert "1 lost" in text
    assert "models/a.pt" in text


def test_object_that_several_commits_share_is_blamed_on_all_of_them(world: World) -> None:
    oid = world.oid("v1", "models/a.pt")
    world.here(oid).unlink()
    assert world.verdicts() == {
        "v1": "unknown",
        "v2": "recoverable",
        "v3": "recoverable",
        "side": "unknown",
    }


@pytest.mark.parametrize("how", ["flip", "truncate", "extend", "zero"])
@pytest.mark.parametrize("where", ["here", "there"])
def test_every_damaged_object_is_found_and_healed_from_the_other_copy(
    world: World, how: str, where: str
) -> None:
    rng = random.Random(f"{how} {where}")
    objects = sorted(p for p in getattr(world, where)("0" * 32).parents[1].glob("??/*"))
    world.verify("--all", "--remote")
    for place in objects:
        if place.stat().st_size:
            damage(place, how, rng)
    found = world.verify("--all", "--remote", "--full", "--json").json
    bad = {p["oid"] for p in found["problems"]}
    assert bad == {p.parent.name + p.name for p in objects if p.stat().st_size or how == "truncate"}
    healed = world.verify("--all", "--remote", "--full", "--repair", "--json")
    assert healed.status == 0
    assert "5 recoverable" in world.verify("--all", "--remote", "--full").out
    after = world.verify("--all", "--remote", "--full", "--json").json
    assert after["problems"] == []
    for place in objects:
        assert hashlib.md5(place.read_bytes()).hexdigest() == (
            place.parent.name + place.name
        ).removesuffix(".dir")
    if where == "here":
        aside = world.project.path / ".git/devml/cache/quarantine"
        assert len(list(aside.iterdir())) == len(objects)


def test_bad_copy_never_replaces_a_good_one(world: World) -> None:
    oid = world.oid("v3", "models/a.pt")
    damage(world.there(oid), "flip", random.Random(1))
    good = world.here(oid).read_bytes()
    world.verify("--all", "--remote", "--full", "--repair")
    assert world.here(oid).read_bytes() == good == world.there(oid).read_bytes()
    damage(world.here(oid), "flip", random.Random(2))
    damage(world.there(oid), "flip", random.Random(3))
    ran = world.verify("--all", "--remote", "--full", "--repair", "--json")
    assert ran.status == 1
    assert world.verdicts("--remote", "--full")["v3"] == "lost"


def test_corrupt_content_is_said_no_to_wherever_it_is(world: World) -> None:
    oid = world.oid("v2", "models/a.pt")
    good = world.here(oid).read_bytes()
    damage(world.here(oid), "flip", random.Random(1))
    for words, verdict in (((), "at-risk"), (("--remote",), "at-risk")):
        assert world.verify("v2", *words).status == 1
        assert world.verdicts(*words)["v2"] == verdict
    world.here(oid).chmod(0o644)
    world.here(oid).write_bytes(good)
    damage(world.there(oid), "flip", random.Random(1))
    ran = world.verify("v2", "--remote", "--full", "--json")
    assert ran.status == 1
    assert [p["problem"] for p in ran.json["problems"]] == ["not-on-remote"]
    assert [c["verdict"] for c in ran.json["commits"]] == ["at-risk"]


def test_remote_that_is_not_configured_cannot_be_asked(models: Project) -> None:
    models.differential = False
    ran = models.devml("verify", "--remote", check=False)
    assert ran.status == 2
    assert "dvc remote add -d NAME URL" in ran.err
    oid = re.search(r"md5: (\w+)", models.show("v1", "models/a.pt.dvc"))
    assert oid is not None
    models.object("models/a.pt.dvc").unlink()
    ran = models.devml("verify", "--json", check=False)
    assert ran.status == 1
    assert [c["verdict"] for c in ran.json["commits"]] == ["lost"]


def test_remote_directory_that_is_not_there_is_told_of(world: World, tmp_path: Path) -> None:
    world.store.rename(tmp_path / "unmounted")
    ran = world.verify("--all", "--remote")
    assert ran.status == 0
    assert "is a directory that is not there" in ran.err
    assert set(world.verdicts("--remote").values()) == {"at-risk"}
    oid = world.oid("v2", "models/a.pt")
    world.here(oid).unlink()
    ran = devml("fetch", "--all", cwd=world.project.path)
    assert ran.status == 30
    assert "is a directory that is not there" in ran.err
    assert "is here" not in ran.out
    (tmp_path / "unmounted").rename(world.store)
    assert world.verify("--all", "--remote").status == 0


def test_manifest_of_which_no_good_copy_is_left_makes_its_commits_lost(world: World) -> None:
    oid = world.oid("v1", "data")
    world.here(oid).unlink()
    damage(world.there(oid), "flip", random.Random(1))
    assert world.verdicts("--remote")["v1"] == "lost"
    damage(world.there(oid), "extend", random.Random(1))
    assert world.verdicts("--remote")["v1"] == "lost"


def test_repair_sends_no_bytes_that_have_rotted_since_they_were_verified(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    oid = world.oid("v3", "models/a.pt")
    world.there(oid).unlink()
    damage(world.here(oid), "flip", random.Random(1))
    monkeypatch.setattr(verifying.Verified, "whole", lambda _, paths: set(paths))
    with Workspace.discover(world.project.path) as ws:
        commits = ws.git.all_commits()
        found = verifying.verify(ws, commits, remote="", full=False, repair=True)
    assert not world.there(oid).exists()
    assert found.commits[world.project.head("v3")] == "lost"


def test_ranges_and_revisions_choose_the_commits(world: World) -> None:
    def count(*args: str) -> int:
        return len(world.verify(*args, "--json").json["commits"])

    assert count() == 1
    assert count("v2") == 1
    assert count("v1..v3") == 2
    assert count("v1", "side") == 2
    assert count("--all") == 5
    assert count("v1..v1") == 0
    for wrong in (["nonsense"], ["--all", "v1"], ["--remote", "nonsense"]):
        assert world.verify(*wrong).status == 2
    assert world.verify("v3", "--remote", "store").status == 0


def test_broken_pointer_in_history_is_named_and_lost(world: World) -> None:
    world.project.write("models/a.pt.dvc", "outs: [\n")
    run("git", "add", "models/a.pt.dvc", cwd=world.project.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "broken", cwd=world.project.path)
    ran = world.verify("HEAD", "--json")
    assert ran.status == 1
    assert ran.json["commits"][0]["verdict"] == "lost"
    assert "models/a.pt.dvc" in ran.json["broken"][0]
    assert world.verify("v3").status == 0


def test_unborn_branch_and_repository_without_artifacts(project: Project, tmp_path: Path) -> None:
    ran = project.devml("verify", "--all", "--json")
    assert {c["verdict"] for c in ran.json["commits"]} == {"recoverable"}
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    run("git", "init", "-q", cwd=fresh)
    devml("init", cwd=fresh)
    assert devml("verify", "--all", "--json", cwd=fresh).json["commits"] == []
    assert devml("verify", cwd=fresh).status == 2


def test_clone_without_content_is_at_risk_until_it_has_it(world: World, tmp_path: Path) -> None:
    place = tmp_path / "clone"
    assert (
        devml(
            "clone",
            "-q",
            str(tmp_path / "bare"),
            str(place),
            "-b",
            "main",
            "--no-content",
            cwd=tmp_path,
        ).status
        == 0
    )
    assert not (place / "models/a.pt").exists()
    ran = devml("verify", "--json", cwd=place)
    assert [c["verdict"] for c in ran.json["commits"]] == ["unknown"]
    assert "no DVC remote was asked: devml-git verify --remote" in devml("verify", cwd=place).err
    assert devml("fetch", cwd=place).status == 0
    assert [
        c["verdict"] for c in devml("verify", "--remote", "--json", cwd=place).json["commits"]
    ] == ["recoverable"]
    assert devml("checkout", cwd=place).status == 0
    assert (place / "models/a.pt").read_bytes() == world.project.bytes("models/a.pt")


def test_fetch_by_path_number_and_ref_brings_only_that(world: World, tmp_path: Path) -> None:
    def cached(place: Path) -> set[str]:
        return {p.parent.name + p.name for p in (place / ".git/devml/cache/files/md5").glob("??/*")}

    place = tmp_path / "clone"
    devml(
        "clone",
        "-q",
        str(tmp_path / "bare"),
        str(place),
        "-b",
        "main",
        "--no-content",
        cwd=tmp_path,
    )
    assert cached(place) == set()
    assert devml("fetch", "--", "models/*", cwd=place).status == 0
    assert cached(place) == {world.oid("v3", "models/a.pt")}
    assert devml("fetch", "-n", "2", "--", "models/a.pt", cwd=place).status == 0
    assert cached(place) == {world.oid(v, "models/a.pt") for v in ("v2", "v3")}
    assert devml("fetch", "origin", "side", "--", "models/s.pt", cwd=place).status == 0
    assert world.oid("side", "models/s.pt") in cached(place)
    assert devml("fetch", "--since", "1.week", cwd=place).status == 0
    assert {world.oid(v, "data") for v in ("v1", "v2", "v3")} <= cached(place)
    assert devml("fetch", "--", "nothing", cwd=place).status == 2
    assert devml("fetch", "origin", "nonsense", cwd=place).status == 2
    assert "is here" in devml("fetch", "--all", cwd=place).out
    world.there(world.oid("v3", "models/a.pt")).unlink()
    for oid in cached(place):
        (place / ".git/devml/cache/files/md5" / oid[:2] / oid[2:]).unlink()
    ran = devml("fetch", cwd=place)
    assert ran.status == 30
    assert "models/a.pt" in ran.err
    assert world.oid("v3", "data") in cached(place), "the rest comes all the same"


def test_pull_brings_what_was_merged(world: World, tmp_path: Path) -> None:
    place = tmp_path / "clone"
    devml("clone", "-q", str(tmp_path / "bare"), str(place), "-b", "main", cwd=tmp_path)
    world.project.write("models/a.pt", "newer\n")
    world.project.devml("commit", "-qam", "newer")
    world.project.git("push", "-q", "../bare", "main")
    ran = run("git", "pull", "-q", cwd=place)
    assert "restored models/a.pt" in ran.err
    assert (place / "models/a.pt").read_text() == "newer\n"
    world.project.write("models/a.pt", "newest\n")
    world.project.devml("commit", "-qam", "newest")
    world.project.git("push", "-q", "../bare", "main")
    assert devml("pull", "-q", "--rebase", cwd=place).status == 0
    assert (place / "models/a.pt").read_text() == "newest\n"
    assert devml("pull", "nowhere", cwd=place).status == 20


def test_renamed_and_nested_history_is_judged_by_first_parents_and_merges(world: World) -> None:
    p = world.project
    p.git("merge", "-q", "-m", "merge", "side")
    (p.path / "models/s.pt").rename(p.path / "models/t.pt")
    p.devml("commit", "-qam", "renamed")
    world.here(world.oid("side", "models/s.pt")).unlink()
    found = world.verify("--all", "--json").json
    worse = {c["commit"] for c in found["commits"] if c["verdict"] != "recoverable"}
    assert worse == {p.head("side"), p.head("HEAD~1"), p.head("HEAD")}
    assert {x["path"] for x in found["problems"]} == {"models/s.pt", "models/t.pt"}


def test_manifest_that_is_gone_is_fetched_to_judge_what_is_inside(world: World) -> None:
    oid = world.oid("v3", "data")
    inside = json.loads(world.here(oid).read_bytes())
    world.here(oid).unlink()
    world.there(inside[0]["md5"]).unlink()
    found = world.verify("v3", "--remote", "--json").json
    assert [x["problem"] for x in found["problems"]] == ["not-on-remote"]
    assert not world.here(oid).exists(), "verify alone changes nothing"
    world.there(oid).unlink()
    assert world.verify("v3", "--remote", "--json").json["commits"][0]["verdict"] == "lost"

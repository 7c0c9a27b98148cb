"""fetch and verify by path and pattern, with several remotes, and what is not to be pushed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.publish import World
from tests.world import Ran, devml, run


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


class Split:
    """What one clone has that only looks at pointers; three artifacts lie on two remotes."""

    def __init__(self, world: World) -> None:
        world.sh(
            "dvc remote add -q other ../other; mkdir -p models/deep; "
            "echo o >models/o.pt; echo n >models/n.pt; echo d >models/deep/d.bin; "
            "echo n >models/twin.pt; mkdir -p data/in; echo 1 >data/in/1.csv; echo 2 >data/in/2.txt; "
            "devml-git snapshot >/dev/null; "
            "printf '  remote: other\\n' >>models/o.pt.dvc; printf '  push: false\\n' >>models/n.pt.dvc; "
            "printf '  remote: other\\n' >>models/deep/d.bin.dvc; "
            "git add -A; git commit -qm split 2>&1; git push -q origin main 2>&1"
        )
        self.world = world
        self.other = world.place / "other"
        self.clone = world.clone("clone")
        assert devml("init", "--no-content", cwd=self.clone.path).status == 0

    def fetch(self, *paths: str) -> Ran:
        return devml("fetch", "--", *paths, cwd=self.clone.path)

    def cached(self) -> set[str]:
        return set(self.clone.objects())


@pytest.fixture
def split(world: World) -> Split:
    return Split(world)


def names(place: Path) -> set[str]:
    return {p.parent.name + p.name for p in place.rglob("*") if p.is_file()}


def test_each_output_went_to_its_remote_and_comes_back_from_it(split: Split) -> None:
    assert names(split.other) == {md5("o\n"), md5("d\n")}
    assert not {md5("o\n"), md5("d\n")} & split.world.objects()
    ran = split.fetch()
    assert ran.status == 0, ran.err
    assert "push: false" not in ran.err, "its twin has brought it"
    assert {md5("o\n"), md5("d\n"), md5("n\n")} <= split.cached()


@pytest.mark.parametrize("file", ["models/a_twin.pt", "models/z_twin.pt"])
def test_content_that_one_of_two_remotes_has_comes_to_all_that_want_it(
    split: Split, file: str
) -> None:
    """Whichever is asked first: another artifact's remote lacks what this one's has."""
    split.world.sh(
        f"cp models/o.pt {file}; devml-git commit -qam twin >/dev/null; git push -q origin main 2>&1"
    )
    oid = md5("o\n")
    (split.world.store / "files/md5" / oid[:2] / oid[2:]).unlink()
    split.clone.git("pull", "-q")
    split.clone.devml("trust")
    ran = split.clone.devml("checkout", check=False)
    assert split.clone.read("models/o.pt") == split.clone.read(file) == "o\n", ran.err


def test_what_is_not_to_be_pushed_is_on_no_remote_and_missed_by_nobody(split: Split) -> None:
    split.world.sh(
        "git rm -q models/twin.pt.dvc; git commit -qm 'no twin' 2>&1; git push -q origin main 2>&1"
    )
    split.world.object(md5("n\n")).unlink()
    run("git", "pull", "-q", cwd=split.clone.path)
    ran = split.fetch()
    assert ran.status == 0, ran.err
    assert "push: false): models/n.pt" in ran.err
    found = devml("verify", "--remote", "--json", cwd=split.clone.path)
    assert found.status == 0
    assert [c["verdict"] for c in found.json["commits"]] == ["unknown"]
    assert [(p["path"], p["problem"]) for p in found.json["problems"]] == [
        ("models/n.pt", "missing")
    ]
    assert devml("verify", "--remote", cwd=split.world.project.path).status == 0
    split.clone.write("models/a.pt", "mine\n")
    split.clone.devml("commit", "-qam", "without it")
    assert "models/n.pt.dvc" in split.clone.git("ls-files").out
    for command in (["init"], ["checkout"], ["pull"], ["checkout", "HEAD~1"], ["checkout", "main"]):
        ran = devml(*command, cwd=split.clone.path)
        assert ran.status == 0, ran.err
        assert "content is" not in ran.out + ran.err
    assert "push: false): models/n.pt" in ran.out
    assert split.clone.states()["models/n.pt"] == "missing"


def test_object_that_two_remotes_must_have_is_asked_for_on_both(split: Split) -> None:
    world = split.world
    world.sh(
        "cp models/o.pt models/o2.pt; devml-git commit -qm o2 >/dev/null; git push -q origin main 2>&1"
    )
    oid = md5("o\n")
    assert oid in names(split.other) & world.objects()
    world.object(oid).unlink()
    found = world.project.devml("verify", "--remote", "--json").json
    assert [(p["path"], p["problem"]) for p in found["problems"]] == [
        ("models/o2.pt", "not-on-remote")
    ]
    world.project.devml("verify", "--remote", "--repair")
    assert oid in names(split.other) & world.objects()


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (["models/*.pt"], {"o\n", "n\n", "weights"}),
        (["models/o.pt"], {"o\n"}),
        (["models/o.pt.dvc"], {"o\n"}),
        (["models/deep"], {"d\n"}),
        (["*.bin", "models/o*"], {"d\n", "o\n"}),
        (["data/in/1.csv"], {"1\n", "data"}),
        (["data/in/*.txt"], {"2\n", "data"}),
        (["data/in"], {"1\n", "2\n", "data"}),
    ],
)
def test_fetch_brings_what_the_patterns_mean_and_nothing_else(
    split: Split, given: list[str], want: set[str]
) -> None:
    known = {md5(text): text for text in ("o\n", "n\n", "d\n", "1\n", "2\n")}
    project = split.world.project
    for name, path in (("weights", "models/a.pt.dvc"), ("data", "data.dvc")):
        place = project.object(path)
        known[place.parent.name + place.name] = name
    ran = split.fetch(*given)
    assert ran.status == 0, ran.err
    assert {known.get(oid, oid) for oid in split.cached()} == want


@pytest.mark.parametrize("given", ["nothing", "models/*.zip", "data/in/9.csv", "../elsewhere"])
def test_pattern_that_means_nothing_is_named(split: Split, given: str) -> None:
    ran = split.fetch(given)
    assert ran.status == 2
    assert "internal" not in ran.err

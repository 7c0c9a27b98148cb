"""Power cuts: what is on the disk then is a commit whose content is whole, or an older commit.

An ext4 image on a loop device is copied while it is mounted and worked on, and the copy is mounted:
the journal is replayed as after a power cut, and what was only in memory is gone.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devml_git.setup import FSYNC
from tests.durability.operations import edited
from tests.durability.trial import Workshop, clear_locks, lying, md5, objects
from tests.durability.trial import wrong as wrong_after_kill
from tests.world import Project, run

MEGABYTES = 64
OPTIONS = ("defaults", "commit=300", "noauto_da_alloc,commit=300", "data=writeback,noauto_da_alloc")


def call(*argv: str) -> str:
    """Run a system program; return "" or why it failed."""
    try:
        done = subprocess.run(argv, capture_output=True, check=False, text=True)
    except OSError as e:
        return str(e)
    return done.stderr.strip() or f"exit status {done.returncode}" if done.returncode else ""


class Disk:
    """An image with an ext4 file system, mounted."""

    def __init__(self, image: Path, place: Path, options: str) -> None:
        self.image, self.place = image, place
        place.mkdir(exist_ok=True)
        why = call("mount", "-o", f"loop,{options}", str(image), str(place))
        if why:
            pytest.skip(f"an ext4 image cannot be mounted here: {why}")

    def close(self) -> None:
        call("umount", str(self.place))


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    """An image with an empty file system."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(MEGABYTES << 20)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is missing (Debian: e2fsprogs)")
    why = call("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,nodiscard", str(image))
    if why:
        pytest.skip(f"mkfs.ext4: {why}")
    return image


@pytest.fixture
def cut(tmp_path: Path) -> Iterator[Any]:
    """Return a function that copies an image as it is now and mounts the copy."""
    made: list[Disk] = []

    def copy(image: Path) -> Path:
        target = tmp_path / f"cut-{len(made)}"
        run("cp", "--sparse=always", str(image), str(target), cwd=tmp_path)
        made.append(Disk(target, tmp_path / f"after-{len(made)}", "defaults"))
        return made[-1].place / "p"

    yield copy
    for disk in made:
        disk.close()


def judge(place: Path, kept: set[str], newest: list[str]) -> list[str]:
    """What a cut must leave: HEAD is one of our commits, and what it names is there, and whole."""
    clear_locks(place)
    head = run("git", "rev-parse", "HEAD", cwd=place, check=False).out.strip()
    if head not in newest:
        return [f"HEAD is {head!r}"]
    if run("git", "ls-files", cwd=place, check=False).status:
        # with noauto_da_alloc: git does not sync its index, which can be had from HEAD again
        (place / ".git/index").unlink()
        run("git", "reset", "-q", cwd=place, check=False)
    rows = run("git", "ls-tree", "-r", "HEAD", cwd=place, check=False)
    found = [f"git ls-tree: {rows.err}"] if rows.status else []
    p = Project(place, differential=False)
    ran = p.devml("checkout", "--force", check=False)
    if ran.status:
        found.append(f"devml-git checkout: {ran.err}")
    for name, data in objects(place).items():
        if md5(data) != name.removesuffix(".dir"):
            found.append(f"object {name} is not what its name says, {len(data)} bytes")
    here = {*lying(place).values(), *objects(place)}
    found += [f"content {oid} is gone" for oid in kept - here]
    return found + [f for f in wrong_after_kill(place, set()) if "which the cache lacks" in f]


def campaign(workshop: Workshop, blank: Path, cut: Any, cuts: int, options: str, seed: int) -> str:
    """Commit again and again on the image, and cut at random moments."""
    rng = random.Random(f"{seed} {options}")
    disk = Disk(blank, blank.parent / "disk", options)
    try:
        shutil.copytree(workshop.base, disk.place / "p", symlinks=True)
        p = Project(disk.place / "p", differential=False)
        # as `init` sets it; in the tests' own configuration it is none
        run("git", "config", "core.fsync", FSYNC, cwd=p.path)
        run("sync", "-f", str(disk.place), cwd=disk.place)
        kept = set(lying(p.path).values())
        newest = [p.head()]
        old = 0
        for n in range(cuts):
            edited(p)
            p.write("models/a.pt", f"retrained {n}\n" * rng.randrange(20, 20_000))
            worker = subprocess.Popen(
                ["git", "commit", "-qam", f"cut {n}"], cwd=p.path,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if n % 3:
                time.sleep(rng.random() * 0.4)
            else:
                worker.wait()  # a commit that has returned
            before = cut_head(p)
            after = cut(blank)
            worker.wait()
            newest.append(p.head())
            found = judge(after, kept, newest)
            assert found == [], f"seed {seed}, {options}, cut {n}: {found}"
            old += cut_head(Project(after, differential=False)) != before
        return (
            f"power cuts, {options}: {cuts}, in {old} of them HEAD was an older commit, seed {seed}"
        )
    finally:
        disk.close()


def cut_head(p: Project) -> str:
    return run("git", "rev-parse", "HEAD", cwd=p.path, check=False).out.strip()


@pytest.mark.parametrize("options", OPTIONS[1:3])
def test_power_cut_leaves_a_commit_that_is_whole(
    options: str, workshop: Workshop, blank: Path, cut: Any, seed: int, record_property: Any
) -> None:
    record_property("campaign", campaign(workshop, blank, cut, 3, options, seed))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("options", OPTIONS)
def test_many_power_cuts(
    options: str, workshop: Workshop, blank: Path, cut: Any, seed: int, record_property: Any
) -> None:
    record_property("campaign", campaign(workshop, blank, cut, 16, options, seed + 1))

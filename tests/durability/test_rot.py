"""Bits that rot: found wherever they lie, and a good copy is never replaced by a bad one.

A place in the cache, in a manifest or in a pointer is changed behind everybody's back, size, mode
and times kept where the change allows. Then v1 is brought back with `checkout`. The remote has a
good copy, or is the one that rots.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.durability.trial import Workshop, lying, md5, objects
from tests.world import Project

CHANGES: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "flip": lambda d, rng: _at(d, at := rng.randrange(len(d)), d[at] ^ 1 << rng.randrange(8)),
    "truncate": lambda d, rng: d[: rng.randrange(len(d))],
    "extend": lambda d, rng: d + rng.randbytes(rng.randrange(1, 99)),
    "zero": lambda d, _: bytes(len(d)),
    "swap": lambda d, rng: d[(at := rng.randrange(1, len(d))) :] + d[:at],
}
# Where, and how many places in every run; fetching costs half a second
WHERE = {"cache": 36, "pointer": 15, "cache, with a remote": 5, "remote": 5}


def _at(data: bytearray, place: int, value: int) -> bytes:
    data[place] = value
    return data


def rot(place: Path, how: str, rng: random.Random) -> None:
    """Change a file, and hide it: mode and times are as they were."""
    before = place.stat()
    data = place.read_bytes()
    new = data
    while new == data:
        new = bytes(CHANGES[how](bytearray(data), rng))
    place.chmod(0o644)
    place.write_bytes(new)
    place.chmod(before.st_mode & 0o777)
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


class Ground:
    """A repository at v3 whose v1 is to be brought back, with a remote that has everything."""

    def __init__(self, workshop: Workshop, place: Path) -> None:
        self.workshop = workshop
        self.remote = place / "remote"
        self.base = workshop.copy(workshop.base)
        p = Project(self.base, differential=False)
        p.devml("checkout", "v1")
        self.good = lying(self.base)
        self.objects = sorted(
            oid
            for oid in objects(self.base)
            if oid in self.good.values() or f"md5: {oid}" in p.read("data.dvc")
        )
        p.devml("checkout", "v3")
        # what v3 has as well is not brought from anywhere
        self.objects = [oid for oid in self.objects if oid not in lying(self.base).values()]
        cache = self.base / ".git/devml/cache/files"
        shutil.copytree(cache, self.remote / "files")

    def trial(self, where: str, how: str, rng: random.Random) -> None:
        """Let one place rot, and bring v1 back."""
        place = self.workshop.copy(self.base)
        p = Project(place, differential=False)
        oid = rng.choice(self.objects)
        cached = place / ".git/devml/cache/files/md5" / oid[:2] / oid[2:]
        remote = place.parent / f"{place.name}-remote"
        if where != "cache":
            shutil.copytree(self.remote, remote)
            config = place / ".dvc/config.local"
            config.write_text(f"{config.read_text()}[core]\n    remote = r\n['remote \"r\"']\n    url = {remote}\n")  # fmt: skip
        if where == "remote":
            rot(remote / "files/md5" / oid[:2] / oid[2:], how, rng)
            cached.unlink()
        else:
            rot(cached, how, rng)
        before = lying(place)
        ran = p.devml("checkout", "v1", check=False)
        what = f"{where}, {how}, {oid}: {ran.status} {ran.out} {ran.err}"
        if where == "cache, with a remote":
            assert ran.status == 0, what
            assert lying(place) == self.good, what
            assert md5(cached.read_bytes()) == oid.removesuffix(".dir"), what
        else:
            assert ran.status == 30, what
            assert "v1" not in p.git("describe", "--tags").out, what
            assert lying(place) == before, what
            assert not cached.exists() or md5(cached.read_bytes()) == oid.removesuffix(".dir"), what
        for name, data in objects(place).items():
            assert md5(data) == name.removesuffix(".dir"), what
        shutil.rmtree(place)
        shutil.rmtree(remote, ignore_errors=True)

    def pointer(self, how: str, rng: random.Random) -> None:
        """Let a pointer in the worktree rot: it is a change, an error, or the same pointer."""
        place = self.workshop.copy(self.base)
        p = Project(place, differential=False)
        file = rng.choice(("data.dvc", "models/a.pt.dvc"))
        good = lying(place)
        rot(place / file, how, rng)
        for command in (("status",), ("checkout",), ("snapshot",)):
            ran = p.devml(*command, check=False)
            assert ran.status != 70, f"{file}, {how}: {ran.err}"
        gone = set(good.values()) - set(lying(place).values()) - set(objects(place))
        assert not gone, f"{file}, {how}: {gone}"
        for name, data in objects(place).items():
            assert md5(data) == name.removesuffix(".dir")
        text = (place / file).read_bytes()
        head = p.show("HEAD", file).encode()
        assert text == head or p.git("status", "--porcelain", "--", file).out, f"{file}, {how}"
        shutil.rmtree(place)


def campaign(workshop: Workshop, place: Path, where: str, trials: int, seed: int) -> str:
    rng = random.Random(f"{seed} {where}")
    ground = Ground(workshop, place)
    for n in range(trials):
        how = list(CHANGES)[n % len(CHANGES)]
        if where == "pointer":
            ground.pointer(how, rng)
        else:
            ground.trial(where, how, rng)
    return f"bit rot, {where}: {trials} places, seed {seed}"


@pytest.mark.parametrize("where", WHERE)
def test_rot_is_found(
    where: str, workshop: Workshop, tmp_path: Path, seed: int, record_property: Any
) -> None:
    record_property("campaign", campaign(workshop, tmp_path, where, WHERE[where], seed))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("where", WHERE)
def test_rot_is_found_in_many_places(
    where: str, workshop: Workshop, tmp_path: Path, seed: int, record_property: Any
) -> None:
    record_property("campaign", campaign(workshop, tmp_path, where, 130, seed + 1))

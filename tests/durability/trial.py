"""One operation on one copy of its repository: traced, judged, run again, judged again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.durability import tracer
from tests.durability.operations import Operation
from tests.world import Project, Ran, devml, run

_OID = re.compile(rb"^-? *md5: '?([0-9a-f]{32}(?:\.dir)?)'?$", re.MULTILINE)
_NOT_CONTENT = (".gitignore", ".dvc", ".tmp")
ARTIFACTS = ("models", "data")


class Machine:
    """The tracer's process."""

    def __init__(self) -> None:
        if why := tracer.why_not():
            pytest.skip(why)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.durability.tracer"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self._scratch = Path(tempfile.mkdtemp())

    def run(self, argv: tuple[str, ...], place: Path, do: str = "count", **wanted: Any) -> Traced:
        """Run a command in a repository, and do to it what `Trace` of tracer.py knows."""
        request = {
            "argv": argv, "cwd": str(place), "root": str(place), "do": do, "env": dict(os.environ),
            "out": str(self._scratch / "out"), "err": str(self._scratch / "err"), **wanted,
        }  # fmt: skip
        answer = self._ask(request)
        if "refused" in answer:
            pytest.skip(f"{answer['refused']}: tracing is forbidden here")
        return Traced(**answer)

    def warm_up(self, place: Path) -> None:
        """Let the tracer import all that devml-git needs, in a repository that nobody needs."""
        self._ask({"warm_up": str(place), "env": dict(os.environ)})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)
        shutil.rmtree(self._scratch)


@dataclass
class Traced:
    """What a traced command returned and printed; `hit`: the call that was acted on."""

    status: int
    count: int
    calls: dict[str, int]
    hit: str
    states: list[dict[str, Any]]
    out: str
    err: str


# -- the oracle ----------------------------------------------------------------------------------


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def lying(place: Path) -> dict[str, str]:
    """Return the files in artifacts' places: path to hash."""
    return {
        str(p.relative_to(place)): md5(p.read_bytes())
        for top in ARTIFACTS
        for p in sorted((place / top).rglob("*"))
        if p.is_file() and not p.name.endswith(_NOT_CONTENT)
    }


def objects(place: Path, cache: Path | None = None) -> dict[str, bytes]:
    """Return the objects of a repository's cache, which may lie elsewhere."""
    if cache is None:
        own = place / ".git/devml/cache"
        cache = own if own.is_dir() else place / ".dvc/cache"
    found = (cache / "files/md5").glob("??/*")
    return {p.parent.name + p.name: p.read_bytes() for p in found if p.name[0] != "."}


def contents(place: Path) -> set[str]:
    """Return the hashes of all content that must never be lost from here on."""
    return {*lying(place).values(), *(oid for oid in objects(place) if not oid.endswith(".dir"))}


def wrong(place: Path, kept: set[str], cache: Path | None = None) -> list[str]:
    """Return everything that must not be: empty if nothing is lost and no pointer lacks content."""
    found = []
    held = objects(place, cache)
    for oid, data in held.items():
        if md5(data) != oid.removesuffix(".dir"):
            found.append(f"object {oid} is not what its name says ({len(data)} bytes)")
    whole = {oid for oid, data in held.items() if md5(data) == oid.removesuffix(".dir")}
    for oid in kept - whole - set(lying(place).values()):
        found.append(f"content {oid} is gone")
    for where, text in _pointers(place, found):
        named = [m.decode() for m in _OID.findall(text)]
        if not named and b"<<<<<<<" not in text and text:
            found.append(f"{where} is torn: {text[:80]!r}")
        for oid in named:
            members = json.loads(held[oid]) if oid.endswith(".dir") and oid in whole else []
            for one in (oid, *(m["md5"] for m in members)):
                if one not in whole:
                    found.append(f"{where} names {one}, which the cache lacks")
    fsck = run("git", "fsck", "--no-progress", "--no-dangling", cwd=place, check=False)
    if fsck.status:
        found.append(f"git fsck: {fsck.out}{fsck.err}")
    return found


def _pointers(place: Path, found: list[str]) -> list[tuple[str, bytes]]:
    """Return the pointers of every commit (of refs and reflogs), of the index, of the worktree."""
    listed = run("git", "rev-list", "--objects", "--all", "--reflog", "--indexed-objects", cwd=place, check=False)  # fmt: skip
    if listed.status:
        found.append(f"git rev-list: {listed.err}")
    rows = [row.split(" ", 1) for row in listed.out.splitlines() if row.endswith(".dvc")]
    ids = [row[0] for row in rows if len(row) > 1 and row[1] != ".dvc"]
    read = subprocess.run(
        ["git", "cat-file", "--batch"], cwd=place, input="\n".join(ids).encode() + b"\n",
        capture_output=True, check=False,
    ).stdout  # fmt: skip
    texts = []
    for blob in ids:
        head, _, rest = read.partition(b"\n")
        size = int(head.split()[2])
        texts.append((f"blob {blob[:8]} of history or index", rest[:size]))
        read = rest[size + 1 :]
    for file in (f for top in (".", *ARTIFACTS) for f in (place / top).glob("*.dvc")):
        if file.is_file():
            texts.append((file.name, file.read_bytes()))
    return texts


# -- the same command once more ------------------------------------------------------------------


def end(place: Path, operation: Operation) -> dict[str, Any]:
    """Return what tells that an operation is done, whatever happened on the way."""

    def git(*args: str) -> str:
        return run("git", *args, cwd=place, check=False).out

    hooks = place / ".git/hooks"
    half_way = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "rebase-merge", "rebase-apply")
    return {
        "tree": git("rev-parse", "HEAD^{tree}"),
        "commits": git("rev-list", "--count", "HEAD"),
        "index": git("write-tree"),
        "artifacts": lying(place),
        "branch": git("rev-parse", "--abbrev-ref", "HEAD"),
        "half way": [name for name in half_way if (place / ".git" / name).exists()],
        "hooks": {p.name: md5(p.read_bytes()) for p in hooks.glob("[!.]*")}
        if operation.hooks_matter
        else {},
    }


def states(place: Path) -> list[Any]:
    """Return what `status` says of each artifact."""
    return devml("status", "--json", cwd=place).json["artifacts"]


def clear_locks(place: Path) -> list[str]:
    """Remove what git tells its users to remove when a git has died: `Another git process...`."""
    locks = [*(place / ".git").rglob("*.lock")]
    for lock in locks:
        lock.unlink()
    return [lock.name for lock in locks]


@dataclass
class Tally:
    """What the re-runs took, to be printed."""

    points: int = 0
    reruns: int = 0
    gave_up: int = 0  # git's own --abort or reset --hard was needed, as without devml-git
    brought: int = 0  # content came with `devml-git checkout`, as `status` says
    locks: int = 0
    calls: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.points} points, {self.reruns} re-runs; by hand: stale locks of git {self.locks}, "
            f"git's own abort or reset {self.gave_up}, devml-git checkout {self.brought}"
        )


def again(argv: tuple[str, ...], place: Path) -> Ran:
    """Run the same command once more."""
    if argv[0] == "devml-git":
        return devml(*argv[1:], cwd=place)
    return run(*argv, cwd=place, check=False)


def finish(operation: Operation, place: Path, wanted: dict[str, Any], tally: Tally) -> str:
    """Run the same command once more, and what git tells its users if git is half-way.

    Returns "" once everything is as after a run that nobody killed, else what happened.
    """
    tally.reruns += 1
    tally.locks += bool(clear_locks(place))
    told = []
    for attempt in range(2):
        ran = again(operation.argv, place)
        told.append(f"{operation.argv}: {ran.status} {ran.out} {ran.err}")
        now = end(place, operation)
        if now != wanted and {**now, "index": ""} == {**wanted, "index": ""}:
            # git died after it had moved HEAD, before it gave the new index its name
            run("git", "reset", "-q", cwd=place)
            now, attempt = end(place, operation), 1
        if now == wanted:
            tally.gave_up += attempt
            return ""
        told.append(_compared(now, wanted))
        if {**now, "artifacts": None} == {**wanted, "artifacts": None}:
            return _bring(operation, place, wanted, tally, told)
        if not operation.give_up or attempt:
            break
        told.append(_give_up(operation, place))
        if end(place, operation) == wanted:  # it was done: a pick that is picked again is empty
            return ""
    return "\n".join(told)


def _give_up(operation: Operation, place: Path) -> str:
    """Do what git says where it died half-way: give up, with what it half wrote out of the way."""
    said = []

    def git(*args: str) -> bool:
        ran = run("git", *args, cwd=place, check=False)
        said.append(f"git {args}: {ran.status} {ran.out} {ran.err}")
        return ran.status == 0

    if not git(*operation.give_up):
        git("reset", "-q", "--hard")
        git("clean", "-q", "-f")
        if not git(*operation.give_up):  # 'If that is not the case, please rm -fr'
            for name in ("rebase-merge", "rebase-apply"):
                shutil.rmtree(place / ".git" / name, ignore_errors=True)
    git("clean", "-q", "-f")
    return "\n".join(said)


def _bring(
    operation: Operation, place: Path, wanted: dict[str, Any], tally: Tally, told: list[str]
) -> str:
    """A hook was killed: `status` says so, and `devml-git checkout` brings the content."""
    said = devml("status", "--exit-code", cwd=place)
    ran = devml("checkout", cwd=place)
    told += [f"status: {said.status} {said.out}", f"devml-git checkout: {ran.status} {ran.err}"]
    now = end(place, operation)
    if said.status == 1 and now == wanted:
        tally.brought += 1
        return ""
    return "\n".join([*told, _compared(now, wanted)])


def _compared(now: dict[str, Any], wanted: dict[str, Any]) -> str:
    different = {k: (now[k], wanted[k]) for k in wanted if now[k] != wanted[k]}
    return f"differs (is, should be): {different}"


# -- where trials take place ---------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """Of one operation: contents that must stay, and how it ends where nothing disturbs it."""

    kept: set[str]
    end: dict[str, Any]
    states: list[Any]


@dataclass
class Workshop:
    """Prepared repositories, one an operation, and what is known of them."""

    place: Path
    base: Path
    machine: Machine
    _known: dict[str, Known] = field(default_factory=dict)
    _counts: dict[str, dict[str, int]] = field(default_factory=dict)
    _made: int = 0

    def template(self, operation: Operation) -> Path:
        """Return the repository in which an operation is about to be run; never used, only copied."""
        place = self.place / operation.name.replace(" ", "-")
        if not place.exists():
            shutil.copytree(self.base, place, symlinks=True)
            operation.prepare(Project(place, differential=False))
        return place

    def known(self, operation: Operation) -> Known:
        """Return what an operation must keep, and how everything is after an undisturbed run."""
        if operation.name not in self._known:
            kept = contents(self.template(operation))
            place = self.copy(self.template(operation))
            ran = again(operation.argv, place)
            assert ran.status == 0, ran.err
            assert wrong(place, kept) == []
            self._known[operation.name] = Known(kept, end(place, operation), states(place))
            shutil.rmtree(place)
        return self._known[operation.name]

    def copy(self, source: Path) -> Path:
        """Return a new copy; git's index knows it as it lies there."""
        self._made += 1
        place = self.place / f"copy-{self._made}"
        shutil.copytree(source, place, symlinks=True)
        return place

    def count(self, operation: Operation, kinds: tuple[str, ...]) -> int:
        """Return how many calls of these kinds an operation makes on files of the repository."""
        every = self._counts.get(operation.name)
        if every is None:
            place = self.copy(self.template(operation))
            traced = self.machine.run(operation.argv, place, kinds=tuple(tracer.CALLS))
            every = self._counts[operation.name] = traced.calls
            shutil.rmtree(place)
        return sum(every.get(kind, 0) for kind in kinds)

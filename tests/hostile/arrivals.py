"""How a hostile repository comes to its victim, and where he then works.

An arrival is a generator of visits. What stands between two of them is done unwatched; the steps
of a visit are watched. Where a victim has something before (an initialised clone, trusted), it is
the honest part alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.builder import Hostile
from tests.hostile.course import COURSE, DEVML, GETS, GIT, INIT, LOOKS, SHORT, WORK, Step
from tests.hostile.world import World


@dataclass(frozen=True)
class Visit:
    """Steps in one place. `steps` are those that bring the repository, `course` what follows.

    `trusted`: the user typed that he trusts the hostile repository's remotes. `sends`: the honest
    remote was trusted before. `set_up`: `init` or `clone` of ours was run there before. `may_change`
    are the directories that are the victim's own.
    """

    name: str
    cwd: Path
    place: Path
    steps: tuple[Step, ...]
    course: tuple[Step, ...]
    may_change: tuple[Path, ...]
    trusted: bool = False
    sends: bool = True
    set_up: bool = True


Arrival = Callable[[World, Hostile], Iterator[Visit]]
ARRIVALS: dict[str, Arrival] = {}
LAUNDERINGS: dict[str, Arrival] = {}


def arrival(build: Arrival) -> Arrival:
    """Put a way to arrive on the list of those that every template is tried by."""
    ARRIVALS[build.__name__] = build
    return build


def _git(*args: str) -> Step:
    return Step(f"git-{args[0]}", (GIT, *args))


@arrival
def clone(world: World, it: Hostile) -> Iterator[Visit]:
    """By plain git and then looked at; by devml-git; by devml-git with trust."""
    _publish(world, it, "HEAD")
    place = world.work / "plain"
    steps = (_git("clone", world.url, "plain"),)
    course = (*LOOKS, *GETS, *INIT, *SHORT, *WORK)
    yield Visit("plain", world.work, place, steps, course, (place,), sends=False, set_up=False)
    place = world.work / "own"
    steps = (Step("clone", (DEVML, "clone", world.url, "own"), gets=True),)
    yield Visit("own", world.work, place, steps, COURSE, (place,), sends=False)
    place = world.work / "trusting"
    steps = (Step("clone--trust", (DEVML, "clone", "--trust", world.url, "trusting"), gets=True),)
    yield Visit("trusting", world.work, place, steps, COURSE, (place,), trusted=True)


@arrival
def pull(world: World, it: Hostile) -> Iterator[Visit]:
    """By `git pull` into an honest clone."""
    place = _honest(world, it)
    yield Visit("pull", place, place, (_git("pull", "-q"),), COURSE, (place,))


@arrival
def squash(world: World, it: Hostile) -> Iterator[Visit]:
    """By `git merge --squash`, and a commit of the victim's own."""
    place = _honest(world, it)
    world.run("git", "fetch", "-q", cwd=place)
    steps = (_git("merge", "--squash", "origin/main"), _git("commit", "-m", "merged"))
    yield Visit("squash", place, place, steps, COURSE, (place,))


@arrival
def worktree(world: World, it: Hostile) -> Iterator[Visit]:
    """By a linked worktree for their branch."""
    main = _honest(world, it)
    world.run("git", "fetch", "-q", cwd=main)
    place = world.work / "linked"
    steps = (_git("worktree", "add", "-q", "-b", "theirs", str(place), "origin/main"),)
    yield Visit("worktree", main, place, steps, COURSE, (main, place))


@arrival
def submodule(world: World, it: Hostile) -> Iterator[Visit]:
    """As a submodule of an honest project."""
    _publish(world, it, "HEAD")
    top = world.work / "super"
    world.run("git", "init", "-q", "-b", "main", "super", cwd=world.work)
    world.run(DEVML, "init", "--track", "own/*.pt", cwd=top)
    (top / "own").mkdir()
    (top / "own/m.pt").write_text("m\n")
    world.run("git", "add", "-A", cwd=top)
    world.run("git", "commit", "-qm", "honest", cwd=top)
    steps = (_git("submodule", "--quiet", "add", world.url, "sub"), _git("commit", "-qm", "sub"))
    yield Visit("super", top, top, steps, SHORT, (top,), sends=False)
    yield Visit(
        "sub", top, top / "sub", (), (*LOOKS, *INIT, *SHORT), (top,), sends=False, set_up=False
    )


def _laundering(name: str, *steps: tuple[str, ...]) -> None:
    """A way in which lines of a hostile commit become lines of the victim's own commit."""

    def build(world: World, it: Hostile) -> Iterator[Visit]:
        place = _honest(world, it)
        world.run("git", "fetch", "-q", cwd=place)
        world.run("sh", "-c", f"git format-patch -k --binary --stdout {it.base}..origin/main > ../theirs.patch",
                  cwd=place)  # fmt: skip
        yield Visit(name, place, place, tuple(_git(*s) for s in steps), SHORT, (place,))

    LAUNDERINGS[name] = build


_COMMIT = ("commit", "-aqm", "mine")
_TAKE = ("checkout", "origin/main", "--", ".")
_laundering("pick", ("cherry-pick", "-n", "origin/main"), _COMMIT)
_laundering("take", _TAKE, _COMMIT)
_laundering("restore", ("restore", "--source", "origin/main", "--", "."), ("add", "-A"), _COMMIT)
_laundering("apply", ("apply", "--index", "../theirs.patch"), _COMMIT)
_laundering("am", _COMMIT, ("am", "-q", "-k", "../theirs.patch"))
_laundering("stash", _TAKE, ("stash", "-q"), ("stash", "pop", "-q"), _COMMIT)
_laundering(
    "revert", _TAKE, _COMMIT, ("revert", "--no-edit", "HEAD"), ("revert", "-n", "HEAD"), _COMMIT
)
_laundering("amend", _COMMIT, _TAKE, ("commit", "-aq", "--amend", "--no-edit"))
_laundering("reset", ("reset", "-q", "--soft", "origin/main"), ("reset", "-q", "--hard"), _COMMIT)
_laundering("rebase", _COMMIT, ("rebase", "-q", "origin/main"))


def _publish(world: World, it: Hostile, rev: str) -> None:
    """Let the hub's branch `main` be at `rev`, as if pushed."""
    it.git("push", "-q", "-f", "--tags", world.bare(), f"{rev}:refs/heads/main")


def _honest(world: World, it: Hostile) -> Path:
    """Make a clone of the honest part, initialised and trusted; then publish the rest."""
    _publish(world, it, it.base)
    place = world.work / "mine"
    alone = ("unshare", "-n", DEVML)  # its remote may be one that is not there
    world.run(*alone, "clone", world.url, str(place), cwd=world.work, check=False)
    world.run(*alone, "trust", cwd=place)
    _publish(world, it, "HEAD")
    return place

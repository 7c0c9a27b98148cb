"""Making up the next step of a walk, at random, as data (`steps.py` says what a step is)."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

from tests.fuzz.ground import BRANCHES, CODE, FILES, MEMBERS, TREES, Ground
from tests.fuzz.steps import Step

ARTIFACTS = (*FILES, "data")
POINTERS = tuple(f"{a}.dvc" for a in ARTIFACTS)
LEAVE_OUT = os.environ.get("FUZZ_LEAVE_OUT", "").split(",")  # kinds of steps, as `pointer,mail`
NO_HOOKS = ("-c", "core.hooksPath=/dev/null")


class Chooser:
    """A seeded source of steps. Looks at the ground only to choose what makes sense there."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self.ground = ground
        self.rng = random.Random(seed)
        self.written: list[str] = ["weights 1\n", "weights 2\n", "data/x\n"]
        self.tree = ""

    def next(self) -> Step:
        rng = self.rng
        trees = self.ground.trees()
        self.tree = rng.choice([*trees, ""])
        half_way = self.ground.half_way(self.tree) - {"BISECT_START"}
        if half_way and rng.random() < 0.5:
            return self.go_on(half_way)
        kinds: list[tuple[int, Callable[[], Step]]] = [
            (26, self.hand), (16, self.commit), (14, self.checkout), (6, self.restore),
            (6, self.merge), (6, self.rebase), (6, self.pick), (8, self.reset), (7, self.stash),
            (2, self.bisect), (3, self.mail), (4, self.worktree), (2, self.sparse),
            (3, self.plumbing), (12, self.devml), (3, self.pointer), (1, self.lose),
        ]  # fmt: skip
        weights = [0 if kind.__name__ in LEAVE_OUT else n for n, kind in kinds]
        return rng.choices([kind for _, kind in kinds], weights)[0]()

    # -- material ----------------------------------------------------------------------------

    def git(self, *args: str) -> Step:
        return ["git", self.tree, *args]

    def rev(self) -> str:
        return self.rng.choice(
            [
                *BRANCHES,
                *BRANCHES,
                "HEAD",
                "HEAD~1",
                "HEAD~2",
                "v1",
                "v2",
                "v3",
                "@{1}",
                "ORIG_HEAD",
            ]
            + (["before"] if self.rng.random() < 0.1 else [])
        )

    def branch(self) -> str:
        return self.rng.choice(BRANCHES)

    def place(self) -> str:
        return self.rng.choice([*FILES, *MEMBERS, "data/x1", "data/new", "models/new.pt"])

    def text(self) -> str:
        """New content, mostly; now and then one that was there before."""
        if self.rng.random() < 0.2:
            return self.rng.choice(self.written)
        size = self.rng.choice([0, 1, 1, 1, 300])
        self.written.append(f"{self.rng.getrandbits(32):08x}\n" * size)
        return self.written[-1]

    # -- the user's hand ---------------------------------------------------------------------

    def hand(self) -> Step:
        rng, tree, place = self.rng, self.tree, self.place()
        other = self.place()
        return rng.choice([
            ["write", tree, place, self.text()],
            ["write", tree, place, self.text()],
            ["write", tree, rng.choice(CODE), f"{rng.random()}\n"],
            ["write", tree, "train.py", "".join(f"line {i} of {rng.randrange(3) if i == rng.randrange(10) else 0}\n" for i in range(10))],
            ["append", tree, place, "more\n"],
            ["truncate", tree, place],
            ["same-size", tree, place, rng.choice("abc")],
            ["same-mtime", tree, place, rng.choice("def")],
            ["rename", tree, place, other],
            ["copy", tree, place, other],
            ["delete", tree, place],
            ["delete", tree, rng.choice(["data", "data/sub", "models/deep", "models", place])],
            ["to-directory", tree, place],
            ["to-file", tree, rng.choice(["data", "data/sub", place]), self.text()],
            ["chmod", tree, place, rng.choice("+-")],
            ["touch", tree, place],
        ])  # fmt: skip

    def lose(self) -> Step:
        return ["lose-record", self.tree]

    # -- commits -----------------------------------------------------------------------------

    def commit(self) -> Step:
        c = ("commit", "-q", "-m", "c")
        return self.rng.choice([
            self.git(*c, "-a"), self.git(*c, "-a", "--allow-empty"), self.git(*c, "--allow-empty"),
            self.git(*c), self.git(*c, "-i", "train.py"), self.git(*c, "--", "train.py"),
            self.git(*c, "--", self.rng.choice([*CODE, *POINTERS])),
            self.git(*c, "--amend"), self.git(*c, "--amend", "-a"),
            self.git(*c, "--amend", "--", "train.py"),
            self.git(*c, "-n", "-a"), self.git(*c, "--no-verify", "--allow-empty"),
            self.git(*NO_HOOKS, *c, "-a"),
            self.git("add", "-A"), self.git("add", self.rng.choice(CODE)),
        ])  # fmt: skip

    def plumbing(self) -> Step:
        return self.rng.choice([
            ["plumb", self.tree, "refs/heads/plumbed"],
            ["plumb", self.tree, "HEAD"],
            self.git("read-tree", "-mu", "HEAD", self.rev()),
            self.git("branch", "-f", self.branch(), self.rev()),
        ])  # fmt: skip

    # -- moving ------------------------------------------------------------------------------

    def checkout(self) -> Step:
        rng, rev = self.rng, self.rev()
        return rng.choice([
            self.git("checkout", "-q", rev), self.git("checkout", "-q", self.branch()),
            self.git("checkout", "-q", self.branch()), self.git("switch", "-q", self.branch()),
            self.git("switch", "-q", "--detach", rev), self.git("checkout", "-qf", rev),
            self.git("checkout", "-q", "-b", f"b{rng.randrange(100)}", rev),
            self.git("checkout", "-q", "-B", self.branch(), rev), self.git("checkout", "-q", "-"),
            self.git("checkout", "-q", "-m", rev), self.git("switch", "-q", "--discard-changes", self.branch()),
            self.git("checkout", "-q", "--orphan", f"o{rng.randrange(100)}"),
            self.git(*NO_HOOKS, "checkout", "-q", rev), self.git("pull", "-q", "--no-rebase", ".", self.branch()),
            self.git("pull", "-q", "--rebase", ".", self.branch()),
        ])  # fmt: skip

    def restore(self) -> Step:
        rev, pointer = self.rev(), self.rng.choice([*POINTERS, *CODE, ".", "models"])
        return self.rng.choice([
            self.git("checkout", "-q", rev, "--", pointer), self.git("checkout", "-q", "--", pointer),
            self.git("restore", pointer), self.git("restore", "-s", rev, pointer),
            self.git("restore", "-s", rev, "--staged", pointer),
            self.git("restore", "-s", rev, "-SW", pointer),
        ])  # fmt: skip

    def merge(self) -> Step:
        rev = self.rev()
        return self.rng.choice([
            self.git("merge", "-q", "-m", "m", rev), self.git("merge", "-q", "-m", "m", self.branch()),
            self.git("merge", "-q", "--ff-only", rev), self.git("merge", "-q", "--no-ff", "-m", "m", rev),
            self.git("merge", "-q", "--squash", rev), self.git("merge", "-q", "--no-commit", "--no-ff", rev),
            self.git("merge", "-q", "-X", "theirs", "-m", "m", rev),
            self.git("merge", "-q", "-s", "ours", "-m", "m", rev),
            self.git(*NO_HOOKS, "merge", "-q", "-m", "m", rev),
        ])  # fmt: skip

    def rebase(self) -> Step:
        rng, rev = self.rng, self.rev()
        verbs = ",".join(
            rng.choices(["pick", "pick", "drop", "squash", "fixup", "edit", "exec", "break"], k=3)
        )
        return rng.choice([
            self.git("rebase", "-q", rev), self.git("rebase", "-q", "--apply", rev),
            self.git("rebase", "-q", self.branch()), self.git("rebase", "-q", "--autostash", rev),
            self.git("rebase", "-q", "--onto", self.branch(), "HEAD~1"),
            ["todo", self.tree, verbs, "HEAD~3"], ["todo", self.tree, verbs, rev],
            ["todo", self.tree, "reverse", "HEAD~2"],
            self.git("rebase", "-q", "--root"), self.git("rebase", "-q", "-f", "HEAD~2"),
        ])  # fmt: skip

    def pick(self) -> Step:
        rev = self.rng.choice(
            [*BRANCHES, "v2", "v3", "HEAD~1", "HEAD~1..HEAD", "v1..one", "v1..v3"]
        )
        return self.rng.choice([
            self.git("cherry-pick", rev), self.git("cherry-pick", "--allow-empty", rev),
            self.git("cherry-pick", "-n", rev), self.git("cherry-pick", "-X", "theirs", rev),
            self.git("revert", "--no-edit", rev), self.git("revert", "-n", rev),
            self.git("revert", "--no-edit", "HEAD"),
        ])  # fmt: skip

    def mail(self) -> Step:
        return [
            "mail",
            self.tree,
            self.rng.choice([*BRANCHES, "v2", "v3"]),
            *self.rng.choice([[], ["-3"]]),
        ]

    def reset(self) -> Step:
        rev = self.rev()
        return self.rng.choice([
            self.git("reset", "-q", "--soft", rev), self.git("reset", "-q", rev),
            self.git("reset", "-q", "--hard", rev), self.git("reset", "-q", "--hard"),
            self.git("reset", "-q", "--keep", rev), self.git("reset", "-q", "--merge", rev),
            self.git("reset", "-q", rev, "--", self.rng.choice([*POINTERS, "."])),
            self.git("reset", "-q"), self.git("reset", "-q", "--hard", "ORIG_HEAD"),
            self.git(*NO_HOOKS, "reset", "-q", "--hard", rev),
        ])  # fmt: skip

    def stash(self) -> Step:
        return self.rng.choice([
            self.git("stash", "-q"), self.git("stash", "push", "-q", "-u"),
            self.git("stash", "push", "-q", "--", self.rng.choice([*POINTERS, *CODE])),
            self.git("stash", "push", "-q", "--keep-index"),
            self.git("stash", "apply", "-q"), self.git("stash", "apply", "-q", "--index"),
            self.git("stash", "pop", "-q"), self.git("stash", "pop", "-q"),
            self.git("stash", "branch", f"s{self.rng.randrange(100)}"), self.git("stash", "drop", "-q"),
        ])  # fmt: skip

    def bisect(self) -> Step:
        if "BISECT_START" not in self.ground.half_way(self.tree):
            return self.git("bisect", "start", self.branch(), "v1")
        return self.git("bisect", self.rng.choice(["good", "bad", "skip", "reset", "reset"]))

    def go_on(self, half_way: set[str]) -> Step:
        """Settle what stands half-way, in one of the ways there are."""
        rng = self.rng
        name = (
            "merge" if "MERGE_HEAD" in half_way
            else "am" if (self.ground.git_dir(self.tree) / "rebase-apply/applying").exists()
            else "rebase" if half_way & {"rebase-merge", "rebase-apply"}
            else "revert" if "REVERT_HEAD" in half_way
            else "cherry-pick"
        )  # fmt: skip
        settle = [
            [
                "devml",
                self.tree,
                "checkout",
                rng.choice(["--ours", "--theirs"]),
                "--",
                rng.choice(ARTIFACTS),
            ],
            self.git("checkout", "-q", rng.choice(["--ours", "--theirs"]), "--", "."),
            self.git("add", "-A"),
            self.git("commit", "-q", "-am", "settled"),
            ["devml", self.tree, "commit", "-q", "-am", "settled"],
        ]
        ways = ["--continue", "--abort", *(["--skip"] if name != "merge" else []), "--quit"]
        return rng.choice([*settle, *(self.git(name, w) for w in [*ways, "--continue", "--abort"])])

    # -- worktrees ---------------------------------------------------------------------------

    def worktree(self) -> Step:
        rng, name, other = self.rng, *self.rng.sample(TREES, 2)
        there = name in self.ground.trees()
        if not there:
            return [
                "add-tree",
                "",
                name,
                *rng.choice(
                    [["--detach"], ["-b", f"w{rng.randrange(100)}"], ["--detach", "--no-checkout"]]
                ),
                self.rev(),
            ]
        return rng.choice([
            ["move-tree", "", name, other], ["remove-tree", "", name],
            ["remove-tree", "", name, "--force"], ["git", name, "checkout", "-q", self.branch()],
        ])  # fmt: skip

    def sparse(self) -> Step:
        return self.rng.choice([
            self.git("sparse-checkout", "set", ".dvc", "models"), self.git("sparse-checkout", "set", ".dvc", "models/deep"),
            self.git("sparse-checkout", "set", "--no-cone", "/*", "!/data.dvc"),
            self.git("sparse-checkout", "set", "models"), self.git("sparse-checkout", "reapply"),
            self.git("sparse-checkout", "disable"), self.git("sparse-checkout", "disable"),
        ])  # fmt: skip

    # -- pointers and devml-git --------------------------------------------------------------

    def pointer(self) -> Step:
        pointer = self.rng.choice(POINTERS)
        return self.rng.choice([
            self.git("mv", pointer, "models/moved.dvc"), self.git("mv", "models", "models2"),
            self.git("mv", "models/deep", "models/deeper"), self.git("rm", "-q", pointer),
            self.git("rm", "-q", "--cached", pointer), ["delete", self.tree, pointer],
        ])  # fmt: skip

    def devml(self) -> Step:
        rng, tree, rev = self.rng, self.tree, self.rev()
        place = rng.choice([*ARTIFACTS, *MEMBERS, "data/*"])
        return rng.choice([
            ["devml", tree, "snapshot"], ["devml", tree, "snapshot", rng.choice(ARTIFACTS)],
            ["devml", tree, "commit", "-m", "d"], ["devml", tree, "commit", "-qam", "d"],
            ["devml", tree, "commit", "-m", "d", "--", rng.choice(ARTIFACTS)],
            ["devml", tree, "checkout", rev], ["devml", tree, "checkout", self.branch()],
            ["devml", tree, "checkout", "--force", rev], ["devml", tree, "checkout"],
            ["devml", tree, "checkout", "--force"], ["devml", tree, "checkout", rev, "--", place],
            ["devml", tree, "checkout", "--force", rev, "--", place],
            ["devml", tree, "checkout", "-b", f"d{rng.randrange(100)}", rev],
            ["devml", tree, "checkout", rng.choice(["--ours", "--theirs"]), "--", rng.choice(ARTIFACTS)],
            ["devml", tree, "untrack", rng.choice(ARTIFACTS)], ["devml", tree, "untrack", "--delete", rng.choice(FILES)],
            ["devml", tree, "track", rng.choice([*FILES, "data/", "*.pt", "extra/"])],
            ["rescue", tree, str(rng.randrange(10))],
            ["devml", tree, "undo"], ["devml", tree, "undo", "--force"],
            ["devml", tree, "snapshot", "-m", "kept a"], ["devml", tree, "snapshot", "-m", "kept b"],
            ["devml", tree, "checkout", rng.choice([":/kept", ":/kept a", ":/kept b"])],
            ["devml", tree, "checkout", "--force", ":/kept"],
            ["devml", tree, "checkout", ":/kept", "--", rng.choice(ARTIFACTS)],
        ])  # fmt: skip

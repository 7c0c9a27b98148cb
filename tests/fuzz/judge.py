"""What must hold after every step of a walk. Each check says which promise (product.md) it is.

Checks are incremental: a commit is looked at once, an object of the cache is hashed once, and
afterwards only its stat is compared.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field

from tests.fuzz.ground import Ground, Lying, Pointer, oid_of, read_pointer
from tests.fuzz.steps import Step, by_hand, command, hooked
from tests.world import Ran, dvc_changed, run

# Commands after which, with exit 0 and nothing half-way, no pointer that moved may be stale
MOVING = frozenset(
    {"checkout", "switch", "merge", "pull", "rebase", "reset", "stash", "cherry-pick", "revert",
     "bisect", "am", "read-tree", "add-tree", "devml checkout"}
)  # fmt: skip
# Commands that are asked to change what lies there to something that is not the pointer's
FREE = frozenset({"rescue", "mv", "move-tree", "add-tree", "devml untrack", "devml undo"})
ALLOWED_EXITS = frozenset({0, 1, 2, 10, 20, 21, 30, 31})  # 10: before the adoption


class Violation(AssertionError):
    """Something that must hold does not. `kind` is one word, so that shrinking keeps to it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass
class Look:
    """One worktree as it was found after a step."""

    lying: dict[str, Lying]
    pointers: dict[str, Pointer]
    half_staged: frozenset[str] = frozenset()  # the index has another one than HEAD


@dataclass
class Judge:
    """What is known so far, and the checks."""

    ground: Ground
    commits: dict[str, dict[str, Pointer]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    looks: dict[str, Look] = field(default_factory=dict)
    states: dict[str, dict[str, str]] = field(default_factory=dict)
    blind: dict[tuple[str, str], int] = field(default_factory=dict)
    forgot: set[str] = field(default_factory=set)  # worktrees whose record was lost

    def begin(self) -> None:
        self.looks = {t: self._look(t) for t in self.ground.trees()}
        self._check_cache()
        self._check_commits()

    def after(self, step: Step, ran: Ran, *, dvc: bool) -> None:
        """Check everything after one step. `dvc`: also ask stock DVC, which takes its time."""
        before = self.looks
        self.looks = {t: self._look(t) for t in self.ground.trees()}
        self._check_exit(step, ran)
        self._check_cache()
        self._check_commits()
        self._check_nothing_lost(step, before)
        if step[0] == "same-mtime":
            self._remember_blind(step)
        tree = step[2] if step[0] == "add-tree" else step[3] if step[0] == "move-tree" else step[1]
        if tree not in self.looks:
            return
        self._check_other_trees(step, tree, before)
        old = before.get(tree, Look({}, {}))
        known = self.states.get(tree, {})
        states = self._check_status(step, tree)
        if states is None:
            self.states.pop(tree, None)
            return
        self.states[tree] = states
        if step[0] == "lose-record":
            self.forgot.add(tree)
        elif not by_hand(step):
            self._check_no_third_thing(step, tree, old)
            self._check_edits_stay(step, ran, tree, old, known)
        if ran.status == 0 and hooked(step):
            self._check_in_step(step, tree, old, states)
            self._check_tied(step, tree, old)
        if dvc:
            self._check_dvc(tree)

    def _look(self, tree: str) -> Look:
        half = self.ground.git(tree, "diff", "--cached", "--name-only", "--", "*.dvc").out.split()
        return Look(self.ground.lying(tree), self.ground.pointers(tree), frozenset(half))

    # -- (a) commits and the cache -----------------------------------------------------------

    def _check_cache(self) -> None:
        """P3, P5: no object ever goes or changes, and a new one is what its name says."""
        now = self.ground.objects()
        for oid, key in self.objects.items():
            if now.get(oid) != key:
                raise Violation("cache", f"object {oid} is gone or was changed")
        for oid in now.keys() - self.objects.keys():
            if hashlib.md5(self.ground.object(oid)).hexdigest() != oid.removesuffix(".dir"):
                raise Violation("cache", f"object {oid} is not what its name says")
        self.objects = now

    def _check_commits(self) -> None:
        """P1, P6: what a commit's pointers name, of any ref or reflog, is in the cache."""
        listed = self.ground.git("", "rev-list", "--all", "--reflog")
        for commit in set(listed.out.split()) - self.commits.keys():
            self.commits[commit] = self._pointers_of(commit)
            for pointer in self.commits[commit].values():
                for oid in self._named_by(pointer):
                    if oid not in self.objects:
                        raise Violation(
                            "content", f"{commit}: {pointer.file} names {oid}, not in the cache"
                        )

    def _pointers_of(self, commit: str) -> dict[str, Pointer]:
        found = {}
        for row in self.ground.git("", "ls-tree", "-rz", commit).out.split("\0"):
            if row.endswith(".dvc"):
                blob, file = row.split("\t")[0].split(" ")[2], row.split("\t")[1]
                if blob not in self.blobs:
                    self.blobs[blob] = self.ground.git("", "cat-file", "blob", blob).out.encode()
                one = read_pointer(file, self.blobs[blob])
                found[one.path] = one
        return found

    def _named_by(self, pointer: Pointer) -> list[str]:
        if pointer.oid is None:
            return []
        if pointer.oid.endswith(".dir") and pointer.oid in self.objects:
            return [pointer.oid, *self.ground.members(pointer.oid).values()]
        return [pointer.oid]

    # -- (c) nothing is lost -----------------------------------------------------------------

    def _check_nothing_lost(self, step: Step, before: dict[str, Look]) -> None:
        """P3: what lay anywhere is still somewhere, in the cache, or in git itself.

        What the user's own hand took away may go (what the cache had of it, stays: see above).
        """
        if by_hand(step):
            return
        lies = {f.oid for look in self.looks.values() for f in look.lying.values()}
        for tree, look in before.items():
            for name, file in look.lying.items():
                if file.oid not in lies and file.oid not in self.objects and not self._in_git(file):
                    raise Violation("lost", f"{tree}:{name} held {file.data[:20]!r}")

    def _in_git(self, file: Lying) -> bool:
        blob = hashlib.sha1(b"blob %d\0" % len(file.data) + file.data).hexdigest()
        return run("git", "cat-file", "-e", blob, cwd=self.ground.path, check=False).status == 0

    def _check_other_trees(self, step: Step, tree: str, before: dict[str, Look]) -> None:
        """A step in one worktree leaves the files of the others alone."""
        for other, look in self.looks.items():
            if other != tree and other in before and look != before[other]:
                raise Violation("other-tree", f"{other} was changed by a step in {tree!r}")

    # -- (b) the workspace -------------------------------------------------------------------

    def _check_exit(self, step: Step, ran: Ran) -> None:
        """No internal error, no traceback, from a command or from a hook."""
        told = ran.err + ran.out
        bad = step[0] in {"devml", "rescue"} and ran.status not in ALLOWED_EXITS
        if bad or "internal error" in told or "Traceback" in told:
            raise Violation("internal", f"exit {ran.status}: {told}")

    def _check_status(self, step: Step, tree: str) -> dict[str, str] | None:
        """P2: `status` calls clean what is the pointer's content, and nothing else.

        None: there is nothing to be asked (before the adoption, or settings in conflict).
        """
        root = self.ground.root(tree)
        left_out = self.ground.git(tree, "ls-files", "-t", ".dvc/config").out.startswith("S")
        here = left_out or (root / ".dvc/config").is_file()
        if not here or not (root / "devml.toml").is_file():
            return None
        ran = self.ground.devml(tree, "status", "--json")
        if ran.status:
            if "<<<<<<<" in (root / "devml.toml").read_text() + (root / ".dvc/config").read_text():
                return None
            raise Violation("status", f"exit {ran.status}: {ran.err}")
        found = ran.json
        states = {a["path"]: a["state"] for a in found["artifacts"]}
        broken = {b["pointer"] for b in found["broken"]}
        look = self.looks[tree]
        for path, pointer in look.pointers.items():
            if pointer.file in broken or pointer.oid is None:
                continue
            if path not in states:
                raise Violation("unreported", f"{path} has a pointer, status does not name it")
            w, state = oid_of(look.lying, path), states[path]
            allowed = (
                {"deleted", "missing", "modified"} if w is None  # an empty directory is an edit
                else {"clean"} if w == pointer.oid and not self._exec_bits(look, pointer)
                else {"clean", "modified", "stale", "conflict"} if w == pointer.oid
                else {"modified", "stale", "conflict"}
            )  # fmt: skip
            if state not in allowed:
                raise Violation("wrong-state", f"{path}: pointer {pointer.oid}, there {w}: {state}")
        return states

    def _exec_bits(self, look: Look, pointer: Pointer) -> bool:
        inside = f"{pointer.path}/"
        files = [f for n, f in look.lying.items() if n == pointer.path or n.startswith(inside)]
        return (
            b"isexec" in pointer.text
            or b"devml" in pointer.text
            or any(f.executable for f in files)
        )

    def _check_no_third_thing(self, step: Step, tree: str, old: Look) -> None:
        """P2: every file is the pointer's, or what lay there before the step, or is reported.

        Reported is not "modified", which says that the user did it.
        """
        if command(step) in FREE:
            return
        look = self.looks[tree]
        told = {p for p, one in look.pointers.items() if one.oid is None}
        told |= {p for p, state in self.states[tree].items() if state in {"stale", "conflict"}}
        allowed: dict[str, str] = {}
        for path, pointer in look.pointers.items():
            if pointer.oid and pointer.oid.endswith(".dir"):
                allowed |= {f"{path}/{n}": o for n, o in self.ground.members(pointer.oid).items()}
            elif pointer.oid:
                allowed[path] = pointer.oid
        for name, file in look.lying.items():
            same = name in old.lying and old.lying[name].oid == file.oid
            if allowed.get(name) == file.oid or same:
                continue
            reported = any(name == path or name.startswith(f"{path}/") for path in told)
            if not reported and not self._in_git(file):
                raise Violation(
                    "third-thing",
                    f"{name} is {file.data[:20]!r}: neither the pointer's nor what lay there",
                )

    def _check_edits_stay(
        self, step: Step, ran: Ran, tree: str, old: Look, known: dict[str, str]
    ) -> None:
        """P2: git never takes an edit away whose pointer it did not move, or it is told where it is.

        A merge that git gives up resets hard and applies a stash: pointers move there and back.
        """
        if command(step).startswith("devml checkout") or command(step) in FREE:
            return
        look = self.looks[tree]
        for path, pointer in look.pointers.items():
            was = old.pointers.get(path)
            if was and was.oid == pointer.oid and known.get(path) == "modified":
                w = oid_of(old.lying, path)
                told = f"{path} was in no snapshot; yours is kept" in ran.err
                told |= self._stashed(old, path)
                told |= bool(re.search(f"{re.escape(path)}/[^ ]* was in no snapshot", ran.err))
                # pointers that moved there and back: what an undo brought from there is no edit there
                told |= command(step) in {"merge", "pull"} and self._committed(w)
                if (
                    not told
                    and w != pointer.oid
                    and w is not None
                    and oid_of(look.lying, path) != w
                ):
                    raise Violation(
                        "edit-gone", f"{path} was edited, the pointer stayed, the edit is gone"
                    )

    def _committed(self, oid: str | None) -> bool:
        return any(p.oid == oid for pointers in self.commits.values() for p in pointers.values())

    def _stashed(self, old: Look, path: str) -> bool:
        """`stash -u` takes a file where a directory is ignored: it is git's own now."""
        inside = f"{path}/"
        return all(
            self._in_git(f) for n, f in old.lying.items() if n == path or n.startswith(inside)
        )

    def _check_in_step(self, step: Step, tree: str, old: Look, states: dict[str, str]) -> None:
        """P2: what git moved, has followed (unless a rebase stands half-way)."""
        half_way = self.ground.half_way(tree) & {"rebase-merge", "rebase-apply"}
        if command(step) not in MOVING or half_way:
            return
        for path, pointer in self.looks[tree].pointers.items():
            was = old.pointers.get(path)
            moved = was is None or was.oid != pointer.oid
            if any(word.startswith(f"{path}/") for word in step):
                continue  # a member alone was asked for
            if moved and states.get(path) in {"stale", "deleted", "missing"}:
                raise Violation("not-in-step", f"{path} is {states[path]} after its pointer moved")
        if tree in self.forgot:
            return  # what no rule matches cannot be told from the user's own any more
        here = self.looks[tree]
        committed = {p.oid for pointers in self.commits.values() for p in pointers.values()}
        for path, was in old.pointers.items():
            stays = was.oid in committed and path not in here.pointers
            stays = stays and oid_of(old.lying, path) == was.oid == oid_of(here.lying, path)
            # with the pointer in the index it is sparse, or deleted by the user's hand
            if stays and not self.ground.git(tree, "ls-files", "--", was.file).out:
                raise Violation(
                    "left-over", f"{path} has no pointer here any more, its content stays"
                )

    def _check_tied(self, step: Step, tree: str, old: Look) -> None:
        """P1: the new commit's pointers are what lies there, and git's index agrees."""
        words = set(step)
        rebasing = self.ground.half_way(tree) & {"rebase-merge", "rebase-apply"}
        if (
            command(step) not in {"commit", "devml commit"}
            or rebasing
            or words & {"-n", "--no-verify"}
            or self.ground.git(tree, "ls-files", "-u").out  # a partial commit beside a conflict
        ):
            return
        head = self.ground.git(tree, "rev-parse", "HEAD").out.strip()
        look = self.looks[tree]
        for path, pointer in self.commits[head].items():
            w = oid_of(look.lying, path)
            if path not in look.pointers:
                continue  # outside the sparse cone, or deleted by the user's hand
            if pointer.oid != w and w is not None and oid_of(old.lying, path) is not None:
                raise Violation("untied", f"{path}: the commit says {pointer.oid}, there lies {w}")
        for path, state in self.states[tree].items():
            if state in {"modified", "new", "stale", "conflict"}:
                raise Violation("untied", f"{path} is {state} after a commit")
        rows = self.ground.git(tree, "status", "--porcelain", "--", "*.dvc").out
        here = {p.file for path, p in look.pointers.items() if oid_of(old.lying, path) is not None}
        if "--" in step:  # what the user staged otherwise stays as it is in a partial commit
            here -= old.half_staged
        wrong = [row for row in rows.splitlines() if "M" in row[:2] and row[3:] in here]
        if wrong:
            raise Violation("half-staged", f"after a commit, git status: {wrong}")

    # -- (d) stock DVC -----------------------------------------------------------------------

    def _remember_blind(self, step: Step) -> None:
        """Stock DVC does not see an edit of the same size and time: note what it cannot judge."""
        place = self.ground.root(step[1]) / step[2]
        if place.is_file():
            self.blind[step[1], step[2]] = place.stat().st_mtime_ns

    def _check_dvc(self, tree: str) -> None:
        """P8: stock DVC calls changed what differs from its pointer, and nothing else.

        Left out: what is half-way (DVC cannot read it), exec bits (it does not look at them), and
        files with an edit that it cannot see.
        """
        look = self.looks[tree]
        head = self.ground.git(tree, "rev-parse", "HEAD").out.strip()  # `dvc data status` reads it
        pointers = [*look.pointers.values(), *self.commits.get(head, {}).values()]
        if any(p.oid is None for p in pointers) or len(look.pointers) == 0:
            return
        unseen = set()
        for (where, name), mtime in self.blind.items():
            place = self.ground.root(where) / name
            if where == tree and place.is_file() and place.stat().st_mtime_ns == mtime:
                unseen.add(name)
        skip = {p for p in look.pointers if any(n == p or n.startswith(f"{p}/") for n in unseen)}
        ours = {p for p, one in look.pointers.items() if oid_of(look.lying, p) != one.oid} - skip
        before = os.getcwd()
        try:
            theirs = dvc_changed(self.ground.root(tree)) - skip
        finally:
            os.chdir(before)
        if ours != theirs:
            raise Violation("dvc", f"differs from its pointer: {ours}; DVC says {theirs}")

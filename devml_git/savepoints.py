"""Checked states between commits: snapshots that are commits under `refs/devml/snapshots/`.

Each has the commit it was taken on as its one parent, and no other snapshot: so each can be dropped
by itself, and a branch made from one has no other in its history. Its tree is the whole worktree.
The message ends in one line of JSON with what a tree does not hold: metrics and the branch.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from devml_git.errors import GitFailed, UsageError
from devml_git.gate import shown
from devml_git.plumbing import POINTER_PATHSPECS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devml_git.plumbing import Git

SPACE = "refs/devml/snapshots/"
_TRAILER = "Devml-Snapshot: "
_FIELDS = ("refname", "objectname", "tree", "parent", "committerdate:unix", "contents")
_ID = 10  # digits of a commit id that are shown
_SHORTEST = 4  # as git's own abbreviations


@dataclass(frozen=True, slots=True)
class Savepoint:
    """One snapshot. `commit`, `tree` and `parent` are git's ids (no parent before any commit);
    `seconds` is its time since 1970, `branch` the branch it was taken on (None: detached).

    As the answer of a call that takes one: `fresh` is whether it was made by that call, `notes`
    say in words what it could not hold.
    """

    ref: str
    commit: str
    tree: str
    parent: str | None
    seconds: int
    message: str
    branch: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The commit's abbreviated id: any command of git's takes it, too."""
        return self.commit[:_ID]

    @property
    def name(self) -> str:
        """The ref's name below `refs/devml/snapshots/`."""
        return self.ref.removeprefix(SPACE)

    @property
    def title(self) -> str:
        """The message's first line."""
        return self.message.split("\n", 1)[0]

    @property
    def time(self) -> str:
        """UTC, ISO 8601."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.seconds))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "id": self.id, "commit": self.commit, "ref": self.ref, "parent": self.parent,
            "date": self.time, "branch": self.branch, "message": self.message,
            "metrics": dict(self.metrics),
        }  # fmt: skip


# -- metrics -------------------------------------------------------------------------------------


def plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics as JSON can hold them: numbers of NumPy or PyTorch as Python's own.

    What is no finite number becomes the text "NaN", "Infinity" or "-Infinity". Raises UsageError.
    """
    if not hasattr(metrics, "items"):
        raise UsageError("metrics are a mapping of names to values")
    return {_name(key): _plain(value, str(key)) for key, value in metrics.items()}


def _name(key: object) -> str:
    if not isinstance(key, str):
        raise UsageError(f"the name of a metric is no text: {shown(repr(key))}")
    return key


def _plain(value: Any, where: str) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if hasattr(value, "items"):
        return {_name(k): _plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, where) for v in value]
    for convert in ("item", "tolist"):  # a scalar, an array
        with contextlib.suppress(AttributeError, TypeError, ValueError, RuntimeError):
            converted = getattr(value, convert)()
            if type(converted) is not type(value):
                return _plain(converted, where)
    raise UsageError(f"metric {shown(where)}: {shown(repr(value))} is no number, text or list")


# -- reading -------------------------------------------------------------------------------------


def read(git: Git, *narrowed: str) -> list[Savepoint]:
    """Return all snapshots of the repository, all worktrees', newest first.

    `narrowed` are options of `git for-each-ref`, as `--points-at=COMMIT`.
    """
    form = "%00".join(f"%({name})" for name in _FIELDS) + "%00"
    texts = git.out("for-each-ref", f"--format={form}", *narrowed, SPACE).split("\0")
    width = len(_FIELDS)
    rows = (texts[i : i + width] for i in range(0, len(texts) - width, width))
    found = [point for row in rows if (point := _parsed(row)) is not None]
    return sorted(found, key=lambda p: (p.seconds, p.ref), reverse=True)


def _parsed(row: Sequence[str]) -> Savepoint | None:
    ref, commit, tree, parents, seconds, contents = row
    if not tree:  # somebody else's tag or blob in our place
        return None
    message, _, last = f"\n{contents.rstrip()}".rpartition(f"\n{_TRAILER}")
    more: Any = None
    with contextlib.suppress(ValueError):
        more = json.loads(last)
    if not isinstance(more, dict):
        message, more = contents, {}
    branch, metrics = more.get("branch"), more.get("metrics")
    return Savepoint(
        ref=ref.lstrip("\n"),
        commit=commit,
        tree=tree,
        parent=parents.split(" ")[0] or None,
        seconds=int(seconds),
        message=message.strip(),
        branch=branch if isinstance(branch, str) else None,
        metrics=metrics if isinstance(metrics, dict) else {},
    )


def find(git: Git, text: str) -> Savepoint:
    """Return the snapshot whose name, ref or (abbreviated) id this is. Raises UsageError."""
    points = read(git)
    exact = [p for p in points if text in {p.name, p.ref, p.commit}]
    found = exact or [p for p in points if p.commit.startswith(text) and len(text) >= _SHORTEST]
    if len(found) != 1:
        why = "names several snapshots" if found else "is no snapshot"
        raise UsageError(f"'{shown(text)}' {why}", hint="devml-git log --snapshots")
    return found[0]


def at(git: Git, commit: str) -> Savepoint | None:
    """Return the snapshot that a commit is, or None."""
    return next(iter(read(git, f"--points-at={commit}")), None)


def hold(git: Git, oid: str | None) -> bool:
    """Whether a pointer of some snapshot, otherwise than its parent's, names this oid of DVC's."""
    argv = ("--no-walk", f"--glob={SPACE}*", "--format=%H", "--no-textconv", f"-S{oid}", "--")
    return oid is not None and bool(git.out("log", *argv, *POINTER_PATHSPECS))


def followers(git: Git, points: Sequence[Savepoint]) -> dict[str, str]:
    """Return by snapshot the commit that came after it, where there is one.

    That is the first child of its parent, on a branch or HEAD, made no earlier than the snapshot.
    """
    if not points:
        return {}
    oldest = min(p.seconds for p in points)
    children: dict[str, list[tuple[int, str]]] = {}
    head = ["HEAD"] if git.head() else []
    form = f"--since={oldest - 1}", "--format=%ct %H %P"
    for line in git.out("log", *form, "--branches", *head, "--").splitlines():
        seconds, commit, *parents = line.split(" ")
        for parent in parents:
            children.setdefault(parent, []).append((int(seconds), commit))
    return {
        p.commit: min(later)[1]
        for p in points
        if (later := [c for c in children.get(p.parent or "", ()) if c[0] >= p.seconds])
    }


# -- making and dropping -------------------------------------------------------------------------


def make(
    git: Git,
    *,
    tree: str,
    parent: str | None,
    message: str,
    branch: str | None,
    metrics: Mapping[str, Any],
) -> Savepoint:
    """Write a snapshot's commit and its ref. Raises UsageError for a message git cannot hold."""
    text = message.strip() or "snapshot"
    if "\0" in text:
        raise UsageError("the message has a NUL byte in it")
    more = {"branch": branch, "metrics": metrics}
    whole = f"{text}\n\n{_TRAILER}{json.dumps(more, allow_nan=False)}\n"
    commit = _commit_tree(git, tree, parent, whole.encode("utf-8", "surrogateescape"))
    now = time.time_ns()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now // 10**9))
    ref = f"{SPACE}{stamp}.{now // 1000 % 10**6:06d}-{commit[:_ID]}"
    git.raw("update-ref", "--no-deref", ref, commit, "0" * len(commit))
    return Savepoint(ref, commit, tree, parent, now // 10**9, text, branch, metrics, fresh=True)


def _commit_tree(git: Git, tree: str, parent: str | None, message: bytes) -> str:
    """Nobody need have told git a name for this: as for `git stash`, there is one of its own."""
    argv = ["commit-tree", tree, *(["-p", parent] if parent else [])]
    try:
        return git.raw(*argv, stdin=message)[1].decode().strip()
    except GitFailed:
        env = {}
        for role in ("AUTHOR", "COMMITTER"):
            if git.raw("var", f"GIT_{role}_IDENT", ok=(0, 1, 128))[0]:
                env[f"GIT_{role}_NAME"] = "devml-git"
                env[f"GIT_{role}_EMAIL"] = "devml-git@snapshot"
        if not env:
            raise
        return git.raw(*argv, stdin=message, env=env)[1].decode().strip()


def drop(git: Git, points: Sequence[Savepoint]) -> None:
    """Delete snapshots' refs, all or none; what they hold stays until somebody collects."""
    lines = b"".join(b"delete %s\0%s\0" % (p.ref.encode(), p.commit.encode()) for p in points)
    git.raw("update-ref", "--no-deref", "-z", "--stdin", stdin=lines)

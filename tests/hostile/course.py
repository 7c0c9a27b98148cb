"""What the victim types, in order. A step that makes no sense in some repository fails, and may."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.world import BIN

GIT = "/usr/bin/git"
DEVML = str(BIN / "devml-git")


@dataclass(frozen=True)
class Step:
    """One command. `gets`: the user asked for content; `edits`: he worked before he typed it.

    `asks`: he asked what the remote has, which is reading where something has been set up.
    """

    name: str
    argv: tuple[str, ...]
    gets: bool = False
    edits: bool = False
    asks: bool = False

    @property
    def is_git(self) -> bool:
        """Whether only hooks and drivers of ours run in it."""
        return self.argv[0] == GIT


def _ours(
    name: str, *args: str, gets: bool = False, edits: bool = False, asks: bool = False
) -> Step:
    return Step(name, (DEVML, *(args or tuple(name.split()))), gets, edits, asks)


def _git(name: str, *args: str, edits: bool = False) -> Step:
    return Step(name, (GIT, *(args or tuple(name.split()[1:]))), edits=edits)


LOOKS = (
    _ours("status"),
    _ours("status--json", "status", "--json"),
    _ours("log"),
    _ours("show"),
    _ours("show--json", "show", "--json"),
    _ours("diff", "diff", "HEAD~1", "HEAD"),
    _ours("diff-work", "diff"),
    _git("git-diff", "-c", "core.pager=cat", "diff", "HEAD~1", "HEAD"),
    _git("git-log", "log", "-p", "-3"),
    _git("git-status", "status"),
    _ours("blame", "blame", "models/w.safetensors"),
    _ours("verify"),
    _ours("verify--remote", "verify", "--all", "--remote", asks=True),
    _ours("doctor"),
)
GETS = (
    _ours("fetch", gets=True),
    _ours("checkout", gets=True),
    _ours("fetch-before", "fetch", "HEAD~1", gets=True),
    _ours("diff-inside", "diff", "HEAD~1", "HEAD"),  # now that both versions' content is here
    _ours("pull", gets=True),
)
INIT = (_ours("init", gets=True),)
WORK = (
    _git("git-commit", "commit", "-am", "my own work", edits=True),
    _ours("snapshot", edits=True),
    _git("git-commit-again", "commit", "-am", "more of it"),
    _ours("push"),
    _git("git-push", "push", "origin", "HEAD:refs/heads/mine"),
    _git("git-checkout", "checkout", "-q", "HEAD~1"),
    _git("git-checkout-back", "checkout", "-q", "-"),
    _git("git-reset", "reset", "-q", "--hard", "HEAD~1"),
    _ours("commit", "commit", "-am", "mine again", edits=True),
    _ours("undo"),
    _ours("rescue", "rescue", "list"),
)
COURSE = (*LOOKS, *GETS, *WORK)
SHORT = tuple(s for s in COURSE if s.name in {
    "status", "show", "git-commit", "git-push", "git-checkout", "git-checkout-back", "fetch",
})  # fmt: skip


def edit(place: Path, turn: str) -> None:
    """Work as a user does: on code, a model, parameters. Never through a link."""
    for name, text in (("train.py", f"print({turn!r})\n"), ("models/a.pt", f"my weights {turn}\n"),
                       ("data/mine.csv", f"{turn}\n")):  # fmt: skip
        file = place / name
        try:
            if os.path.realpath(file) != str(place.resolve() / name) or not file.parent.is_dir():
                continue
            if not file.is_dir():
                file.unlink(missing_ok=True)
                file.write_text(text)
        except OSError:
            continue

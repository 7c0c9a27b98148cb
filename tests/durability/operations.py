"""What is killed, and where: one line an operation, each on a copy of one prepared repository.

The repository: `main` with tags v1 to v3 (models/a.pt and data/ change in each), `side` from v2
(another file of data/ and models/b.pt), `topic`, five commits from v2. Each operation starts on
`main` at v3 with the edits that `prepare` makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.world import Project, devml, run


def _commit(p: Project, message: str, *, tag: bool = False) -> None:
    """Commit everything without starting any hook: devml-git in this process, then git alone."""
    p.devml("snapshot")
    run("git", "add", "-A", cwd=p.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", message, cwd=p.path)
    if tag:
        run("git", "tag", message, cwd=p.path)


def _switch(p: Project, *args: str) -> None:
    run("git", "-c", "core.hooksPath=/dev/null", "checkout", "-q", *args, cwd=p.path)
    p.devml("checkout")


def build(template: Path, place: Path) -> Project:
    """Make the repository that all operations start from."""
    run("cp", "-a", str(template), str(place), cwd=template.parent)
    p = Project(place, differential=False)
    for n in (1, 2, 3):
        p.write("models/a.pt", f"weights {n}\n" * 50)
        p.write("data/x.csv", f"x,{n}\n")
        p.write(f"data/part{n}.csv", f"part {n}\n")
        p.write("train.py", f"print({n})\n")
        _commit(p, f"v{n}", tag=True)
    _switch(p, "-b", "side", "v2")
    p.write("models/b.pt", "b of side\n")
    p.write("data/side.csv", "side\n")
    p.write("side.py", "print('side')\n")
    _commit(p, "side")
    _switch(p, "-b", "topic", "v2")
    for n in range(1, 6):
        p.write("models/c.pt", f"c {n}\n")
        p.write(f"topic{n}.py", f"print({n})\n")
        if n == 3:
            p.write("data/topic.csv", "topic\n")
        _commit(p, f"topic {n}")
    _switch(p, "main")
    run("git", "repack", "-adq", cwd=p.path)  # fewer files to be copied, hundreds of times
    return p


# -- before the operation ------------------------------------------------------------------------


def edited(p: Project) -> None:
    """A model, a directory and the code changed; nothing of it is in any snapshot."""
    p.write("models/a.pt", "retrained\n" * 40)
    p.write("data/x.csv", "x,edited\n")
    p.write("data/new.csv", "new\n")
    p.write("train.py", "print('edited')\n")


def edited_and_added(p: Project) -> None:
    edited(p)
    p.write("models/new.pt", "a new model\n")
    run("git", "add", "train.py", cwd=p.path)


def nothing(p: Project) -> None:
    """As main is."""


def on_topic(p: Project) -> None:
    _switch(p, "topic")


def overwritten(p: Project) -> None:
    """An edit was set aside, and another one lies there."""
    edited(p)
    ran = devml("checkout", "--force", cwd=p.path)
    assert ran.status == 0, ran.err
    p.write("models/a.pt", "edited once more\n")
    log = p.path / ".git/devml/rescue.jsonl"
    log.write_text(log.read_text().replace(_first_id(log), "00000000", 1))


def _first_id(log: Path) -> str:
    return next(
        line.split('"id": "')[1][:8] for line in log.read_text().splitlines() if "a.pt" in line
    )


def taken_away(p: Project) -> None:
    """A directory was untracked and deleted; to take that back brings all of it."""
    p.devml("untrack", "--delete", "data")
    log = p.path / ".git/devml/operations.jsonl"
    *lines, last = log.read_text().splitlines()
    renamed = {**json.loads(last), "id": "00000000"}
    log.write_text("\n".join([*lines, json.dumps(renamed)]) + "\n")


def without_hooks(p: Project) -> None:
    """A hook of somebody else's, and none of ours."""
    p.devml("hooks", "uninstall")
    p.write(".git/hooks/pre-commit", "#!/bin/sh\nexit 0\n").chmod(0o755)


# -- the table -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """A command, what goes before it, and how a user gets out of where git stops half-way."""

    name: str
    argv: tuple[str, ...]
    prepare: Callable[[Project], None]
    give_up: tuple[str, ...] = ()  # run where the same command refuses because it is half done
    hooks_matter: bool = False


OPERATIONS = (
    Operation("commit", ("git", "commit", "-qm", "x"), edited_and_added),
    Operation("commit -a", ("git", "commit", "-qam", "x"), edited),
    Operation("partial commit", ("git", "commit", "-qm", "x", "--", "train.py"), edited),
    Operation("amend", ("git", "commit", "-q", "--amend", "-a", "-m", "x"), edited),
    Operation("merge", ("git", "merge", "-q", "side", "-m", "m"), nothing, ("merge", "--abort")),
    Operation("rebase of 5", ("git", "rebase", "-q", "main"), on_topic, ("rebase", "--abort")),
    Operation("cherry-pick", ("git", "cherry-pick", "side"), nothing, ("cherry-pick", "--abort")),
    Operation("checkout", ("git", "checkout", "-q", "v1"), nothing, ("reset", "-q", "--hard")),
    Operation("switch", ("git", "switch", "-q", "side"), nothing, ("reset", "-q", "--hard")),
    Operation("reset --hard", ("git", "reset", "-q", "--hard", "v1"), edited),
    Operation("devml snapshot", ("devml-git", "snapshot"), edited),
    Operation("devml snapshot -m", ("devml-git", "snapshot", "-m", "x"), edited_and_added),
    Operation("devml commit", ("devml-git", "commit", "-qam", "x"), edited),
    Operation("devml checkout", ("devml-git", "checkout", "v1"), nothing, ("reset", "-q", "--hard")),
    Operation("devml checkout --force", ("devml-git", "checkout", "--force", "v2"), edited, ("reset", "-q", "--hard")),
    Operation("devml checkout path", ("devml-git", "checkout", "v1", "--", "models/a.pt", "data"), nothing),
    Operation("rescue restore", ("devml-git", "rescue", "restore", "00000000"), overwritten),
    Operation("undo", ("devml-git", "undo", "00000000"), taken_away),
    Operation("hooks install", ("devml-git", "hooks", "install"), without_hooks, hooks_matter=True),
)  # fmt: skip

"""Doing one step of a walk. A step is data, so that a walk can be written down and replayed:
[what, worktree, arguments...], all strings. A step that makes no sense where it comes to be done
(its file is not there) does nothing: steps before it may have been removed by the shrinking.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.ground import Ground
from tests.world import Ran

Step = list[str]

NOTHING = Ran(0, "", "")
TODO = """\
import sys
verbs, lines = sys.argv[1].split(","), []
with open(sys.argv[2]) as f:
    lines = [line for line in f if line.strip() and not line.startswith("#")]
if verbs[0] == "reverse":
    lines.reverse()
new = []
for n, line in enumerate(lines):
    verb = verbs[n % len(verbs)]
    word, rest = line.split(" ", 1) if " " in line else (line, "")
    if verb == "exec":
        new += [line, "exec true\\n"]
    elif verb == "break":
        new += [line, "break\\n"]
    elif word == "pick" and verb != "reverse" and not (n == 0 and verb in ("squash", "fixup")):
        new.append(f"{verb} {rest}")
    else:
        new.append(line)
with open(sys.argv[2], "w") as f:
    f.writelines(new)
"""


# What the user's own hand does: what is gone afterwards is gone by the user's wish.
def _write(g: Ground, tree: str, path: str, text: str) -> None:
    g.write(tree, path, text)


def _append(g: Ground, tree: str, path: str, text: str) -> None:
    with open(g.root(tree) / path, "a") as f:
        f.write(text)


def _truncate(g: Ground, tree: str, path: str) -> None:
    os.truncate(g.root(tree) / path, os.path.getsize(g.root(tree) / path) // 2)


def _same_size(g: Ground, tree: str, path: str, char: str) -> None:
    place = g.root(tree) / path
    place.write_text(char * place.stat().st_size)


def _same_mtime(g: Ground, tree: str, path: str, char: str) -> None:
    """Same size, and the time put back: stock DVC cannot see it; ctime shows it."""
    st = (g.root(tree) / path).stat()
    _same_size(g, tree, path, char)
    os.utime(g.root(tree) / path, ns=(st.st_atime_ns, st.st_mtime_ns))


def _rename(g: Ground, tree: str, path: str, to: str) -> None:
    place = g.root(tree) / to
    place.parent.mkdir(parents=True, exist_ok=True)
    (g.root(tree) / path).rename(place)


def _copy(g: Ground, tree: str, path: str, to: str) -> None:
    data = (g.root(tree) / path).read_text()
    g.write(tree, to, data)


def _delete(g: Ground, tree: str, path: str) -> None:
    place = g.root(tree) / path
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()


def _to_directory(g: Ground, tree: str, path: str) -> None:
    data = (g.root(tree) / path).read_text()
    g.write(tree, f"{path}/inside", data)


def _to_file(g: Ground, tree: str, path: str, text: str) -> None:
    if (g.root(tree) / path).is_dir():
        g.write(tree, path, text)


def _chmod(g: Ground, tree: str, path: str, sign: str) -> None:
    (g.root(tree) / path).chmod(0o755 if sign == "+" else 0o644)


def _touch(g: Ground, tree: str, path: str) -> None:
    os.utime(g.root(tree) / path)


def _lose_record(g: Ground, tree: str) -> None:
    (g.git_dir(tree) / "devml/record.db").unlink()


HAND: dict[str, Callable[..., None]] = {
    "write": _write, "append": _append, "truncate": _truncate, "same-size": _same_size,
    "same-mtime": _same_mtime, "rename": _rename, "copy": _copy, "delete": _delete,
    "to-directory": _to_directory, "to-file": _to_file, "chmod": _chmod, "touch": _touch,
    "lose-record": _lose_record,
}  # fmt: skip


class MustSucceed(AssertionError):
    """A step that a found walk expects to exit with 0 did not."""


# What git and devml-git do.
def _git(g: Ground, tree: str, *args: str) -> Ran:
    return g.git(tree, *args)


def _devml(g: Ground, tree: str, *args: str) -> Ran:
    return g.devml(tree, *args)


def _must(g: Ground, tree: str, what: str, *args: str) -> Ran:
    """A step of found walks: this command exits with 0."""
    ran = PROGRAMS[what](g, tree, *args)
    if ran.status:
        raise MustSucceed(f"{what} {args}: exit {ran.status}: {ran.err}")
    return ran


def _todo(g: Ground, tree: str, verbs: str, *args: str) -> Ran:
    """`git rebase -i` whose todo list an editor changes."""
    script = Path(os.environ["HOME"]) / "todo.py"
    script.write_text(TODO)
    editor = f"'{sys.executable}' -S -E '{script}' {verbs}"
    return g.git(tree, "rebase", "-i", *args, env={"GIT_SEQUENCE_EDITOR": editor})


def _mail(g: Ground, tree: str, rev: str, *args: str) -> Ran:
    """`git am` of what `git format-patch` made of one revision."""
    patch = g.git(tree, "format-patch", "-1", "--binary", "--stdout", rev).out
    place = Path(os.environ["HOME"]) / "one.patch"
    place.write_text(patch)
    return g.git(tree, "am", "-q", *args, str(place))


def _plumb(g: Ground, tree: str, ref: str) -> Ran:
    """A commit of the index without any hook of `git commit`; then a branch is moved to it."""
    made = g.git(tree, "write-tree")
    if made.status:
        return made
    commit = g.git(tree, "commit-tree", "-p", "HEAD", "-m", "plumbing", made.out.strip())
    return g.git(tree, "update-ref", ref, commit.out.strip()) if commit.status == 0 else commit


def _rescue(g: Ground, tree: str, number: str, *args: str) -> Ran:
    """Restore one of the rescues, by its place in the list: ids are random."""
    ran = g.devml(tree, "rescue", "list", "--json")
    if ran.status:
        return ran
    found = ran.json["rescues"]
    return (
        g.devml(tree, "rescue", "restore", found[int(number) % len(found)]["id"], *args)
        if found
        else NOTHING
    )


def _add_tree(g: Ground, tree: str, name: str, *args: str) -> Ran:
    return g.git(tree, "worktree", "add", "-q", *args[:-1], str(g.root(name)), args[-1])


def _move_tree(g: Ground, tree: str, name: str, to: str) -> Ran:
    if g.root(to).exists():
        return NOTHING
    return g.git("", "worktree", "move", str(g.root(name)), str(g.root(to)))


def _remove_tree(g: Ground, tree: str, name: str, *args: str) -> Ran:
    return g.git("", "worktree", "remove", *args, str(g.root(name)))


PROGRAMS: dict[str, Callable[..., Ran]] = {
    "git": _git, "devml": _devml, "must": _must, "todo": _todo, "mail": _mail, "plumb": _plumb,
    "rescue": _rescue, "add-tree": _add_tree, "move-tree": _move_tree, "remove-tree": _remove_tree,
}  # fmt: skip


def do(g: Ground, step: Step) -> Ran:
    """Do one step; return what the program returned (nothing, for the user's hand)."""
    what, tree, *args = step
    if tree not in g.trees():
        return NOTHING
    if what in HAND:
        with contextlib.suppress(OSError):  # there is no such file here
            HAND[what](g, tree, *args)
        return NOTHING
    return PROGRAMS[what](g, tree, *args)


def by_hand(step: Step) -> bool:
    """Whether what this step takes away is gone by the user's wish.

    `git worktree remove` deletes what git ignores without a word and without any hook.
    """
    return step[0] in HAND or step[0] == "remove-tree"


def command(step: Step) -> str:
    """The git or devml-git command of a step: "commit", "devml checkout"."""
    if step[0] == "todo":
        return "rebase"
    if step[0] == "mail":
        return "am"
    if step[0] not in {"git", "devml"}:
        return step[0]
    words = step[2:]
    while words and words[0] == "-c":
        words = words[2:]
    name = words[0] if words else ""
    return name if step[0] == "git" else f"devml {name}"


def hooked(step: Step) -> bool:
    return not any(word.startswith("core.hooksPath") for word in step)

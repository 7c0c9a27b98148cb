"""What a push publishes: which commits are new to a git remote, and whether their content is up.

For the pre-push hook (githooks(5): lines of "local-ref local-id remote-ref remote-id") and for
`devml-git push`, which asks git itself for such lines before it calls it.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devml_git import gate, operations, transfer
from devml_git.amounts import counted, human
from devml_git.errors import ContentLost, DevmlError
from devml_git.gathering import gather
from devml_git.operations import Operation
from devml_git.published import Published

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from devml_git.plumbing import Git
    from devml_git.transfer import Lack, Sent
    from devml_git.workspace import Workspace

_SHOWN = 10
UPLOADED = "DEVML_GIT_UPLOADED"  # set by `devml-git push`: the hook only checks then
INCOMPLETE_KEY = "devml.allowIncompletePush"


@dataclass(frozen=True, slots=True)
class Update:
    """One ref of a push: what it becomes there (None: it is deleted), and what it was (None: new).

    `ref` is its full name on the remote.
    """

    new: str | None
    ref: str
    old: str | None


def updates(lines: str) -> list[Update]:
    """Parse what git tells pre-push on its standard input.

    The local ref is as the user gave it, and may have spaces in it: `HEAD^{/two words}`. A name may
    have what Python takes for the end of a line.
    """
    found = []
    for line in lines.split("\n"):
        words = line.rsplit(" ", 3)
        if len(words) == 4:  # noqa: PLR2004 - as githooks(5) has it
            _, new, ref, old = words
            found.append(Update(_known(new), ref, _known(old)))
    return found


def _known(commit: str) -> str | None:
    return commit if commit.strip("0") else None


def unpublished(git: Git, remote: str, pushed: Sequence[Update]) -> list[str]:
    """Return the commits that a push brings to a git remote, newest first.

    Where only our tracking refs say that a commit is there, the remote itself is asked for its
    refs: a branch may be gone from it. If it does not answer, all commits count as new.
    """
    tips = [u.new for u in pushed if u.new is not None]
    commits = sorted({c for c in git.commits_of(tips) if c is not None})
    told = [u.old for u in pushed if u.old is not None]
    sure = git.reachable(commits, told)
    if not sure:
        return []
    believed = [f"--remotes={remote}"] if remote in git.remotes() else []
    if believed and git.reachable(commits, [*told, *believed]) == sure:
        return sure
    return git.reachable(commits, [*told, *git.refs_of_remote(remote)])


def outside_of_worktree(git: Git, commits: Sequence[str]) -> list[str]:
    """Return what is to be told, an error and a hint, of pointers in projects that are not here.

    Without a project's directory (a sparse checkout) nobody can say what its content needs.
    """
    for place in git.projects_not_here():
        specs = [f":(glob){place}/{name}" for name in ("**/*.dvc", "**/dvc.lock")]
        if any(row.new for row in git.whole.changed_blobs(commits, specs)):
            why = "not in this worktree, so nobody can tell whether a DVC remote has their content"
            return [
                f"error: pointers in {gate.shown(place)} would be published: it is {why}",
                f"hint: git sparse-checkout add {gate.quoted(place)}   and push again",
            ]
    return []


def asked(git: Git, args: Sequence[str], *, cwd: Path) -> list[str]:
    """Return the commits that `git push ARGS` would push, as git says itself (--dry-run).

    Raises GitFailed, as git would fail.
    """
    text = git.dry_push(args, cwd=cwd)
    sources = []
    for line in text.split("\n"):
        _, tab, rest = line.partition("\t")
        source = rest.partition("\t")[0].rpartition(":")[0]
        if tab and source and not line.startswith("!"):
            sources.append(source)
    return [c for c in (git.commit_of(s) for s in dict.fromkeys(sources)) if c is not None]


def publish_all(ws: Workspace, tips: Sequence[str]) -> list[str]:
    """Publish the content of these commits and of all before them, also of those pushed already.

    What was seen complete lately, and all before it, is not asked for again.
    """
    git, fresh = ws.git, list(dict.fromkeys(tips))
    remotes = ws.dvc.remotes
    said = [[r.name, r.url, sorted(r.options.items())] for r in remotes.values()]
    complete = Published(git.shared, json.dumps([sorted(said), ws.dvc.default]))
    lines = publish(ws, git.reachable(fresh, sorted(complete.all())), upload=True)
    if remotes and git.config(INCOMPLETE_KEY) != "true":
        complete.remember(fresh)
    return lines


def publish(ws: Workspace, commits: Sequence[str], *, upload: bool) -> list[str]:
    """See to it that the DVC remotes have what commits need; return lines on what was done.

    Raises ContentLost when something is nowhere to be had, DvcFailed for a remote that fails.
    """
    if not commits:
        return []
    if not ws.dvc.remotes:
        return _without_remote(ws, commits, upload=upload)
    sent = transfer.publish(ws, commits, upload=upload)
    lines = [f"warning: cannot be followed by anybody: {why}" for why in sent.broken[:_SHOWN]]
    if sent.uploaded:
        where = ", ".join(gate.shown(name) for name in dict.fromkeys(sent.remotes))
        lines.append(f"uploaded {counted(sent.uploaded, 'object')} ({human(sent.size)}) to {where}")
    if sent.lacking:
        if ws.git.config(INCOMPLETE_KEY) != "true":
            raise _incomplete(sent)
        lines += [f"warning: published without content: {_line(x)}" for x in sent.lacking[:_SHOWN]]
    return lines


def write_down(ws: Workspace, what: str) -> None:
    """Put a push into the log of operations, so that `undo` says that it is one.

    It is no failure of the push if that cannot be written.
    """
    number, time = operations.new_id()
    final = "what was published stays so: others may have it"
    push = Operation(
        number, time, what, *ws.origin, str(ws.git.top), {}, {}, {}, final=final
    )  # fmt: skip
    with contextlib.suppress(DevmlError):
        operations.append(ws.git.private, push)


def _without_remote(ws: Workspace, commits: Sequence[str], *, upload: bool) -> list[str]:
    gathered = gather(ws.git, commits, ws.pipelines, nested=ws.tree.nested)
    if not any(gathered.pointers.values()):
        return []
    text = "no DVC remote is configured: nobody else can get the data and models of these commits"
    if not upload:  # pre-push = "check"
        raise ContentLost(text, hint="dvc remote add -d NAME URL")
    return [f"warning: {text} (dvc remote add -d NAME URL)"]


def _incomplete(sent: Sent) -> ContentLost:
    shown = "".join(f"\n  {_line(lack)}" for lack in sent.lacking[:_SHOWN])
    more = f"\n  and {len(sent.lacking) - _SHOWN} more" if len(sent.lacking) > _SHOWN else ""
    return ContentLost(
        f"these commits are not complete without:{shown}{more}",
        hint="on the machine that has it: devml-git push   "
        f"(to publish without it: git config {INCOMPLETE_KEY} true)",
    )


def _line(lack: Lack) -> str:
    path = gate.shown(lack.path)
    return f"{path}  commit {lack.commit[:12]}  md5 {lack.oid}  {lack.why}"

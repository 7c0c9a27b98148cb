"""checkout, in all its forms."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from devml_git import arming, gate, savepoints, settling, switching
from devml_git.cli.context import out, repo_paths, workspace
from devml_git.errors import StorageFailed, UsageError
from devml_git.rescuing import set_aside_here
from devml_git.wording import done_lines, listed

if TYPE_CHECKING:
    from devml_git.restoring import Done
    from devml_git.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(checkout)


def checkout(
    args: Annotated[
        list[str] | None, typer.Argument(metavar="[REV] [--] [PATH]...", help="See below.")
    ] = None,
    branch: Annotated[
        str | None, typer.Option("-b", metavar="NAME", help="Make a branch there.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="DIR", help="Materialise into DIR instead.")
    ] = None,
    ours: Annotated[bool, typer.Option("--ours", help="Settle a conflict: this side.")] = False,
    theirs: Annotated[
        bool, typer.Option("--theirs", help="Settle a conflict: the other side.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", "-f", help="Go on over unsnapshotted work; it is kept (rescue)."),
    ] = False,
    no_fetch: Annotated[
        bool, typer.Option("--no-fetch", help="Only what the cache has; no DVC remote.")
    ] = False,
) -> None:
    """Bring code, data and models back as they were at REV.

    Without REV and PATH: bring the workspace in step with the pointers as they lie there. With
    PATH: only those artifacts (or files or globs inside a directory artifact); HEAD stays.

    Example: devml-git checkout v1.2 -- models/clf.safetensors
    """
    aside: list[str] = []
    with workspace(connects=not no_fetch) as ws:
        rev, given = _split(ws, args or [])
        paths = repo_paths(ws.root, given)
        _refuse_mixtures(rev, paths, branch, to, ours=ours, theirs=theirs)
        fetch = not no_fetch
        if ours or theirs:
            done = settling.settle(ws, paths, ours=ours, fetch=fetch)
        elif to is not None:
            done = switching.export(ws, rev, to, paths, fetch=fetch)
        elif paths:
            done = switching.checkout_paths(ws, rev, paths, force=force, fetch=fetch)
        elif rev is not None or branch is not None:
            done = switching.checkout_rev(ws, rev, branch=branch, force=force, fetch=fetch)
            aside = [*_snapshot_here(ws), *set_aside_here(ws)]
        else:
            done = switching.bring(ws, force=force, fetch=fetch)
        if to is None:
            _settle_down(ws)
    _tell(ws, done, to)
    for line in aside:
        out().answer(line.removeprefix("devml-git: "))


def _snapshot_here(ws: Workspace) -> list[str]:
    """Return a line where HEAD is a snapshot between commits now: what it is, and the way back."""
    head = ws.git.head()
    point = savepoints.at(ws.git, head) if head else None
    if point is None or ws.git.branch() is not None:
        return []
    back = f"; back: devml-git checkout {gate.quoted(point.branch)}" if point.branch else ""
    return [f"HEAD is at snapshot {point.id} ({gate.shown(point.title)}){back}"]


def _settle_down(ws: Workspace) -> None:
    """R := P where all is clean now, drop the mark, and let the shell answer from now on."""
    ws.refresh()
    observed = ws.observe(check_cache=False)
    ws.settle(observed)
    arming.arm(ws, observed)


def _tell(ws: Workspace, done: Done, to: str | None) -> None:
    o = out()
    for line in done_lines(done):
        text = line.removeprefix("devml-git: ")
        o.answer(f"{text} into {to}" if to and text.startswith("restored") else text)
    for path in done.settled:
        o.answer(f"settled and staged: {path}")
    for path in done.kept:
        o.answer(f"your edit stays: {path}")
    if not (done.anything or done.kept or done.settled):
        o.answer("all in step")
    if done.missing:
        raise ws.not_here(done.missing)
    if done.blocked:
        raise StorageFailed(
            f"not brought in step: {listed([path for path, _ in done.blocked])}",
            hint="devml-git status",
        )


def _split(ws: Workspace, args: list[str]) -> tuple[str | None, list[str]]:
    """Tell REV from PATH as git does; raise UsageError for what could be either."""
    if "--" in args:
        cut = args.index("--")
        before, after = args[:cut], args[cut + 1 :]
        if len(before) > 1:
            raise UsageError(f"{gate.shown(before[1])} stands before `--`: one REV at most")
        return (before[0] if before else None), after
    if not args:
        return None, []
    first = args[0]
    is_rev = _is_rev(ws, first)
    is_path = os.path.lexists(first) or _names_artifact(ws, first)
    if is_rev and is_path:
        raise UsageError(
            f"{gate.shown(first)} is both a revision and a path",
            hint=f"devml-git checkout {gate.quoted(first)} --   or   "
            f"devml-git checkout -- {gate.quoted(first)}",
        )
    if is_rev:
        return first, args[1:]
    if is_path or len(args) > 1 or "/" in first or "*" in first or _inside_artifact(ws, first):
        return None, args
    switching.resolve(ws, first)
    return first, []


def _is_rev(ws: Workspace, text: str) -> bool:
    try:
        switching.resolve(ws, text)
    except UsageError:
        return False
    return True


def _names_artifact(ws: Workspace, given: str) -> bool:
    try:
        (path,) = repo_paths(ws.root, [given])
    except UsageError:
        return False
    return any(path in {p.path, p.file} for p in ws.tree.snapshot.pointers.values())


def _inside_artifact(ws: Workspace, given: str) -> bool:
    """Whether a name that is no revision can be a member, perhaps one that is gone."""
    try:
        (path,) = repo_paths(ws.root, [given])
    except UsageError:
        return False
    return any(path.startswith(f"{p}/") for p in ws.tree.snapshot.pointers)


def _refuse_mixtures(
    rev: str | None,
    paths: list[str],
    branch: str | None,
    to: str | None,
    *,
    ours: bool,
    theirs: bool,
) -> None:
    if ours and theirs:
        raise UsageError("--ours or --theirs, not both")
    if (ours or theirs) and (not paths or rev or branch or to):
        raise UsageError("--ours and --theirs take PATHs and nothing else",
                         hint="devml-git checkout --ours -- models/x")  # fmt: skip
    if branch and (paths or to):
        raise UsageError("-b goes with a REV, not with PATHs or --to")

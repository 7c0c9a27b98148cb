"""diff."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated

import typer

from devml_git import comparing, describing, gate, sides
from devml_git.cli.context import out, repo_paths, workspace
from devml_git.errors import UsageError

if TYPE_CHECKING:
    from devml_git.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(diff)


def diff(
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="[A [B]] [-- PATH...]", help="Revisions, A..B or A...B, and paths."),
    ] = None,
    staged: Annotated[
        bool, typer.Option("--staged", "--cached", help="The index against A (HEAD without one).")
    ] = False,
    stat: Annotated[bool, typer.Option("--stat", help="One line an artifact.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Look into every file; list all files and tensors.")
    ] = False,
    no_content: Annotated[
        bool, typer.Option("--no-content", help="Which artifacts and files, not what is inside.")
    ] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch content that the cache lacks.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if anything differs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show what differs between revisions, index and workspace: models tensor by tensor, tables
    row by row, metrics and parameters.

    Without A: the index and the workspace. With A: A and the workspace.

    Example: devml-git diff HEAD~1 HEAD -- models/clf.safetensors
    """
    with workspace(writes=False) as ws:
        (a, b), paths = _split(ws, args or [])
        found = comparing.compare(
            ws, a, b, paths, staged=staged, fetch=fetch, content=not no_content,
            most=None if everything else comparing.MOST,
        )  # fmt: skip
        pager = ws.git.pager
    if as_json:
        out().document(found.to_dict())
    else:
        told = describing.stat(found) if stat else describing.lines(found, everything=everything)
        with out().paged(pager):
            for tone, line in told:
                out().line([(line, describing.STYLES.get(tone, ""))])
    if exit_code and found:
        raise typer.Exit(1)


def _split(ws: Workspace, args: list[str]) -> tuple[tuple[str | None, str | None], list[str]]:
    """Tell revisions from paths as git does. Raises UsageError."""
    cut = args.index("--") if "--" in args else len(args)
    revs, paths = args[:cut], args[cut + 1 :]
    if "--" not in args:
        known = next((i for i, a in enumerate(revs) if not _is_rev(ws, a)), len(revs))
        revs, paths = revs[:known], revs[known:]
        _refuse_what_may_be_either(ws, revs, paths)
    if len(revs) > 2:  # noqa: PLR2004
        raise UsageError(
            f"{gate.shown(revs[2])}: two revisions at most, before `--`",
            hint="devml-git diff A B -- PATH...",
        )
    a, b, *_ = [*revs, None, None]
    return (a, b), repo_paths(ws.root, paths)


def _is_rev(ws: Workspace, text: str) -> bool:
    ends = re.split(r"\.{2,3}", text, maxsplit=1) if ".." in text else [text]
    return all(sides.commit_named(ws, end or "HEAD") is not None for end in ends)


def _refuse_what_may_be_either(ws: Workspace, revs: list[str], paths: list[str]) -> None:
    for rev in revs:
        if os.path.lexists(rev):
            raise UsageError(
                f"{gate.shown(rev)} is both a revision and a path",
                hint=f"devml-git diff {gate.quoted(rev)} --   or   devml-git diff -- "
                f"{gate.quoted(rev)}",
            )
    if paths and "/" not in paths[0] and not os.path.lexists(paths[0]):
        known = {path for p in ws.tree.snapshot.pointers.values() for path in (p.path, p.file)}
        if not known & set(repo_paths(ws.root, paths[:1])) and "*" not in paths[0]:
            ws.git.require_commit(paths[0])

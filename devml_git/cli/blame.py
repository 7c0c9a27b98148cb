"""blame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from devml_git import blaming, gate
from devml_git.amounts import counted
from devml_git.cli.context import out, repo_paths, workspace
from devml_git.errors import UsageError

if TYPE_CHECKING:
    from devml_git.blaming import Blame
    from devml_git.workspace import Workspace

_SHORT = 10  # digits of a commit id


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(blame)


def blame(
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REV] [--] PATH [TENSOR]...", help="A model; HEAD without REV."),
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Bring older versions that the cache lacks.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show which commit last changed each tensor of a model, also across renames of the file.

    TENSOR is a name, a prefix (encoder.layer.0) or a pattern ('*.bias').

    Example: devml-git blame models/clf.safetensors encoder
    """
    with workspace(writes=False) as ws:
        rev, path, names = _split(ws, args or [])
        found = blaming.blame(ws, path, rev, names, fetch=fetch)
        pager = ws.git.pager
    if as_json:
        out().document(found.to_dict())
    else:
        with out().paged(pager):
            _show(found)
        _remark(found)


def _split(ws: Workspace, args: list[str]) -> tuple[str, str, list[str]]:
    """Tell REV from PATH: what stands before `--`, or a revision that is no artifact's path."""
    cut = args.index("--") if "--" in args else None
    before, after = ([], args) if cut is None else (args[:cut], args[cut + 1 :])
    if (
        cut is None
        and len(args) > 1
        and not _is_artifact(ws, args[0])
        and ws.git.commit_of(args[0])
    ):
        before, after = args[:1], args[1:]
    if len(before) > 1:
        raise UsageError(f"{gate.shown(before[1])} stands before `--`: one REV at most")
    if not after:
        raise UsageError("which model?", hint="devml-git blame models/x.safetensors")
    (path,) = repo_paths(ws.root, after[:1])
    return (before or ["HEAD"])[0], path, after[1:]


def _is_artifact(ws: Workspace, given: str) -> bool:
    try:
        (path,) = repo_paths(ws.root, [given])
    except UsageError:
        return False
    return ws.tree.snapshot.holder(path) is not None


def _show(found: Blame) -> None:
    o = out()
    rows = []
    for line in found.tensors:
        told = found.commits[line.commit]
        mark = "?" if line.possible else ""
        path = "" if line.path == found.path else line.path
        rows.append(
            (f"{line.commit[:_SHORT]}{mark}", told.author, told.date[:10], line.tensor.name,
             f"{line.tensor.dtype} {list(line.tensor.shape)}", path)
        )  # fmt: skip
    o.table(rows)


def _remark(found: Blame) -> None:
    o = out()
    for move in found.moves:
        o.remark(
            f"{move.path} was probably moved from {move.source}, and changed, in "
            f"{move.commit[:_SHORT]}"
        )
    unsure = {c for line in found.tensors for c in line.possible}
    if unsure:
        o.remark(
            f"? or earlier: the content of {counted(len(unsure), 'older commit')} is not here: "
            "devml-git blame --fetch brings it"
        )

"""undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from devml_git import arming, gate, operations, undoing
from devml_git.cli.context import out, workspace
from devml_git.errors import StorageFailed, UsageError
from devml_git.wording import done_lines, listed

if TYPE_CHECKING:
    from devml_git.operations import Operation
    from devml_git.undoing import Undone


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(undo)


def undo(
    operation_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="From `--list`; without one, the last.")
    ] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="List the operations of this worktree, newest first.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", "-f", help="Go on over what has changed since; `rescue list` has it."
        ),
    ] = False,
    no_fetch: Annotated[
        bool, typer.Option("--no-fetch", help="Only what the cache has; no DVC remote.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Bring artifacts and pointers back to before the last operation; once more: redo.

    An operation is a devml-git command or a hook that changed them. Commits and HEAD stay as they
    are: for those, git reflog and git reset.

    Example: devml-git undo --list
    """
    if show_list:
        if operation_id or force:
            raise UsageError("--list takes no ID and no --force", hint="devml-git undo --list")
        _list(as_json=as_json)
        return
    with workspace() as ws:
        done = undoing.undo(ws, operation_id, force=force, fetch=not no_fetch)
        prefix = ws.git.prefix
        ws.refresh()
        observed = ws.observe(check_cache=False)
        ws.settle(observed)
        arming.arm(ws, observed)
    if as_json:
        out().document(_document(done, prefix))
    else:
        _tell(done)
    if done.done.blocked:
        path, why = done.done.blocked[0]
        hint = "put that right and undo once more: it goes on where it stopped"
        raise StorageFailed(f"{gate.shown(path)}: {why}", hint=hint)


def _list(*, as_json: bool) -> None:
    with workspace(writes=False) as ws:
        found = operations.read(ws.git.private)
        prefix = ws.git.prefix
    gone = operations.undone(found)
    if as_json:
        listing = [{**_operation(op, prefix), "undone": op.id in gone} for op in found]
        out().document({"schema": "devml.operations/v1", "operations": listing})
    elif not found:
        out().answer("no operation has changed anything yet")
    else:
        rows = [
            (op.id, op.time, _what(op, gone), listed(op.paths()), op.branch or "-") for op in found
        ]
        out().table(rows, ("id", "time", "what", "changed", "branch"))


def _what(op: Operation, gone: set[str]) -> str:
    undoes = f" {op.undoes}" if op.undoes else ""
    end = " (undone)" if op.id in gone else " (broken off)" if op.broken else ""
    return f"{op.what}{undoes}{end}"


def _operation(op: Operation, prefix: str) -> dict[str, Any]:
    """Return an operation as JSON has it: paths relative to the repository's root."""
    raw = op.to_dict()
    for key in ("artifacts", "files", "index"):
        raw[key] = [{"path": f"{prefix}{path}", **sides} for path, sides in raw[key].items()]
    del raw["released"]
    return raw


def _document(undone: Undone, prefix: str) -> dict[str, Any]:
    done = undone.done
    return {
        "schema": "devml.undo/v1",
        "operation": _operation(undone.operation, prefix),
        "restored": [f"{prefix}{path}" for path in done.restored],
        "removed": [f"{prefix}{path}" for path in done.removed],
        "files": [f"{prefix}{path}" for path in undone.files],
        "restaged": [f"{prefix}{path}" for path in undone.restaged],
        "left": undone.left,
        "edits": [f"{prefix}{path}" for path in undone.edits],
        "rescued": [rescue.id for rescue in done.rescued],
        "blocked": [{"path": f"{prefix}{path}", "why": why} for path, why in done.blocked],
    }


def _tell(undone: Undone) -> None:
    o = out()
    op = undone.operation
    if not undone.anything:
        o.answer(f"nothing to do: all is as it was before {op.id} ({op.what})")
    else:
        o.answer(f"undone: {op.id}, {op.what} of {op.time}; once more undoes the undo")
    for line in done_lines(undone.done):
        o.answer(line.removeprefix("devml-git: ").replace("not in this revision, ", ""))
    if undone.files:
        o.answer(f"as before: {listed(undone.files)}")
    if undone.restaged:
        o.answer(
            f"git has forgotten what was staged, as it lies instead: {listed(undone.restaged)}"
        )
    if undone.edits:
        o.answer(f"counts as your edit, the next commit takes it up: {listed(undone.edits)}")
    if undone.left is not None:
        where = gate.shown(undone.left)
        o.answer(f"HEAD stays; before this it was {where}: commits are for git reflog, git reset")

"""rescue list | restore."""

from __future__ import annotations

from typing import Annotated

import typer

from devml_git import rescue, rescuing
from devml_git.cli.context import out, repo_paths, workspace
from devml_git.wording import human

app = typer.Typer(
    no_args_is_help=True,
    help="Content that would have been overwritten, and was kept.",
    rich_markup_mode=None,
)


@app.command("list")
def list_rescues(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List rescues, newest first.

    Example: devml-git rescue list
    """
    with workspace(writes=False) as ws:
        found = rescue.read(ws.git.shared)
        listed = [{**r.to_dict(), "path": f"{ws.git.prefix}{r.path}"} for r in found]
    if as_json:
        out().document({"schema": "devml.rescue/v1", "rescues": listed})
    elif not found:
        out().answer("nothing was rescued")
    else:
        rows = [(r.id, r.time, human(r.size), r.path, r.cause, r.branch or "-") for r in found]
        out().table(rows, ("id", "time", "size", "path", "cause", "branch"))


@app.command()
def restore(
    rescue_id: Annotated[str, typer.Argument(metavar="ID", help="From `rescue list`.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="PATH", help="Somewhere else in the workspace.")
    ] = None,
) -> None:
    """Bring rescued content back to its place; what lies there now is rescued in turn.

    Example: devml-git rescue restore 1a2b3c4d --to models/mine.pt
    """
    with workspace() as ws:
        place = repo_paths(ws.root, [to])[0] if to else None
        done = rescuing.restore(ws, rescue_id, place)
        out().answer(f"restored: {done}")

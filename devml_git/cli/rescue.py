"""rescue list | show | restore | drop."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from devml_git import rescue, rescuing
from devml_git.amounts import counted, human
from devml_git.cli.context import age_seconds, out, repo_paths, workspace
from devml_git.errors import UsageError
from devml_git.wording import listed

app = typer.Typer(
    no_args_is_help=True,
    help="Content that would have been overwritten, and was kept.",
    rich_markup_mode=None,
)


def register(main: typer.Typer) -> None:
    """Add this family's commands."""
    main.add_typer(app, name="rescue")


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
def show(
    rescue_id: Annotated[str, typer.Argument(metavar="ID", help="From `rescue list`.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show one rescue: what it was, where its bytes are, how it differs from what lies there.

    Example: devml-git rescue show 1a2b3c4d
    """
    with workspace(writes=False) as ws:
        found = rescuing.show(ws, rescue_id)
        prefix = ws.git.prefix
    o = out()
    if as_json:
        o.document({"schema": "devml.rescue-show/v1", "rescue": found.to_dict(prefix)})
        return
    one = found.rescue
    where = f"{one.branch or 'no branch'}, commit {(one.commit or 'none')[:12]}, {one.worktree}"
    files = "" if found.members is None else f", {counted(len(found.members), 'file')}"
    o.answer(f"{one.id}  {prefix}{one.path}  {human(one.size)}{files}")
    o.answer(f"  set aside {one.time} by {one.cause}, on {where}")
    state = "whole in the cache" if found.cached else "NOT whole in the cache any more"
    o.answer(f"  md5 {one.oid}: {state}")
    if not found.differs:
        o.answer("  the same lies there now")
    elif found.differs == ("",):
        o.answer("  what lies there now is other")
    else:
        o.answer(f"  not the same there now: {listed(found.differs)}")
    o.answer(f"  bring it back: devml-git rescue restore {one.id}   (or --to PATH)")


@app.command()
def drop(
    rescue_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="From `rescue list`.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="30m, 12h, 90d, 4w: all that are older."),
    ] = None,
) -> None:
    """Take rescues off the list; their content stays in the cache.

    Example: devml-git rescue drop --older-than 90d
    """
    if bool(rescue_ids) is (older_than is not None):
        raise UsageError(
            "name rescues, or an age: one of the two", hint="devml-git rescue drop --older-than 90d"
        )
    with workspace() as ws:
        shared = ws.git.shared
        if older_than is not None:
            until = time.time() - age_seconds(older_than)
            gone = [r for r in rescue.read(shared) if r.seconds() < until]
        else:
            gone = list(
                {r.id: r for r in (rescue.find(shared, i) for i in rescue_ids or [])}.values()
            )
        rescue.drop(shared, gone)
    for one in gone:
        out().answer(f"dropped: {one.id}  {one.path}  (md5 {one.oid}, still in the cache)")
    if not gone:
        out().answer(f"no rescue is older than {older_than}")


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
        done, rescued = rescuing.restore(ws, rescue_id, place)
        out().answer(f"restored: {done}")
        for one in rescued:
            out().answer(f"what lay there is kept: devml-git rescue restore {one.id}")

"""log --snapshots, and snapshots drop: the snapshots between commits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devml_git import gate, savepoints
from devml_git.amounts import human
from devml_git.choosing import Chosen
from devml_git.cli.context import age_seconds, out, workspace
from devml_git.errors import UsageError
from devml_git.walking import walk
from devml_git.wording import value_text

if TYPE_CHECKING:
    from devml_git.changing import Change
    from devml_git.savepoints import Savepoint
    from devml_git.workspace import Workspace

_SHORT = 10  # digits of a commit's id that people read
_WIDE = 200  # characters of a title, at most
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Snapshots between commits.")


def register(main: typer.Typer) -> None:
    """Add this family's commands."""
    main.add_typer(app, name="snapshots")


def show_snapshots(number: int | None, *, as_json: bool) -> None:
    """List the snapshots that lie between commits (`snapshot -m`), newest first."""
    with workspace(writes=False) as ws:
        points = savepoints.read(ws.git)[:number]
        after = savepoints.followers(ws.git, points)
        changes = _changes(ws, points)
        known = sorted({*after.values(), *(p.parent for p in points if p.parent)})
        titles = ws.git.titles(known)
    if as_json:
        out().document(
            {
                "schema": "devml.snapshots/v1",
                "snapshots": [_entry(p, after, changes) for p in points],
            }
        )
    elif points:
        _show(points, after, changes, titles)
    else:
        out().answer('no snapshots between commits; to take one: devml-git snapshot -m "epoch 1"')


def _changes(ws: Workspace, points: list[Savepoint]) -> dict[str, tuple[Change, ...]]:
    """Return by commit which artifacts a snapshot has that its parent has not, or not so."""
    if not points:
        return {}
    chosen = Chosen(revs=tuple(p.commit for p in points), alone=True)
    return {c.entry.commit: c.changes for c in walk(ws.git, ws.config, chosen)}


def _entry(
    point: Savepoint, after: dict[str, str], changes: dict[str, tuple[Change, ...]]
) -> dict[str, Any]:
    changed = [c.to_dict() for c in changes.get(point.commit, ())]
    return {**point.to_dict(), "followed_by": after.get(point.commit), "changes": changed}


def _show(
    points: list[Savepoint],
    after: dict[str, str],
    changes: dict[str, tuple[Change, ...]],
    titles: dict[str, str],
) -> None:
    """Print the snapshots of one commit together: below what followed them, above the commit."""
    o = out()
    for parent in dict.fromkeys(p.parent for p in points):
        above = ""
        for point in (p for p in points if p.parent == parent):
            follower = after.get(point.commit, "")
            if follower and follower != above:
                o.answer(_commit(follower, titles))
            above = follower or above
            metrics = "".join(f"  {k}={value_text(v)}" for k, v in point.metrics.items())
            title = gate.shown(point.title, _WIDE)
            o.answer(f"* {point.id}  {point.time}  {title}{gate.shown(metrics, _WIDE)}")
            for change in changes.get(point.commit, ()):
                size = human(change.new.size or 0) if change.new else "-"
                o.answer(f"    {change.kind}  {change.path}  {size}")
        o.answer(_commit(parent, titles) if parent else "before the first commit")


def _commit(commit: str, titles: dict[str, str]) -> str:
    return f"commit {commit[:_SHORT]}  {gate.shown(titles.get(commit, ''), _WIDE)}"


@app.command()
def drop(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="From `log --snapshots`.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="30m, 12h, 90d, 4w: all that are older."),
    ] = None,
) -> None:
    """Take snapshots off the list; nothing else ever does. Their content stays in the cache.

    Example: devml-git snapshots drop --older-than 90d
    """
    if bool(names) is (older_than is not None):
        raise UsageError(
            "name snapshots, or an age: one of the two",
            hint="devml-git snapshots drop --older-than 90d",
        )
    with workspace() as ws:
        gone = _chosen(ws, names or [], older_than)
        if gone:
            savepoints.drop(ws.git, gone)
    for point in gone:
        title = gate.shown(point.title, _WIDE)
        out().answer(f"dropped: {point.id}  {title}  (git keeps {point.commit} for a while)")
    if not gone:
        out().answer(f"no snapshot is older than {older_than}")


def _chosen(ws: Workspace, names: list[str], older_than: str | None) -> list[Savepoint]:
    if older_than is not None:
        until = time.time() - age_seconds(older_than)
        return [p for p in savepoints.read(ws.git) if p.seconds < until]
    return list({p.ref: p for p in (savepoints.find(ws.git, name) for name in names)}.values())

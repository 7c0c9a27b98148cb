"""status, snapshot, commit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devml_git import arming, credentials, gate, savepointing, setup
from devml_git.amounts import counted, human
from devml_git.cli.context import out, repo_paths, workspace
from devml_git.errors import Refused, UsageError
from devml_git.nouns import State
from devml_git.status import report
from devml_git.wording import taken_lines, would_overwrite

if TYPE_CHECKING:
    from devml_git.nouns import Pointer
    from devml_git.status import Status
    from devml_git.workspace import Workspace

_WITH_MESSAGE = "devml-git snapshot -m TEXT"
_HINTS = {
    State.MODIFIED: "git commit snapshots it, or now: devml-git snapshot",
    State.NEW: "git commit snapshots it, or now: devml-git snapshot",
    State.STALE: "its pointer moved on: devml-git checkout brings it in step",
    State.DELETED: "devml-git checkout restores it; devml-git untrack --delete deletes on purpose",
    State.MISSING: "devml-git checkout fetches it; with no remote yet: dvc remote add -d NAME URL",
    State.CONFLICT: "devml-git checkout --ours -- PATH   or   --theirs",
}


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    app.command()(status)
    app.command()(snapshot)
    app.command(
        context_settings={
            "ignore_unknown_options": True,
            "allow_extra_args": True,
            "help_option_names": ["-h", "--help"],
        }
    )(commit)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 unless all is clean.")
    ] = False,
) -> None:
    """Show what differs between workspace, pointers and cache, and what to do about it.

    Example: devml-git status --json
    """
    with workspace(writes=False) as ws:
        found = report(ws)
        ws.warnings.clear()
    if as_json:
        out().document(found.to_dict())
    else:
        _show(found)
    if exit_code and not found.in_order():
        raise typer.Exit(1)


def _show(found: Status) -> None:
    o = out()
    wrong = [a for a in found.artifacts if a.state is not State.CLEAN]
    where = f"branch {found.branch}" if found.branch else f"HEAD at {(found.head or 'none')[:12]}"
    count = len(wrong) + len(found.broken)
    step = "all in step" if found.in_order() else f"{count} not in step"
    o.answer(f"{where}: {counted(len(found.artifacts), 'artifact')}, {step}")
    shown = found.artifacts if o.verbose else wrong
    o.table((a.state.value, a.path, human(_size(a.pointer, a.work.size))) for a in shown)
    for state in sorted({a.state for a in wrong}):
        o.answer(f"  {state.value}: {_HINTS[state]}")
    for broken in found.broken:
        word = "conflict" if broken.unmerged else "broken"
        o.answer(f"{word}  {broken.file} {broken.why}")
    for contest in found.contests:
        sides = [_side(name, p, here=name in contest.here) for name, p in contest.sides()]
        if contest.ours or contest.theirs:
            o.answer(f"  {contest.path}: {', '.join(sides)}")
    if any(b.unmerged for b in found.broken):
        o.answer(f"  conflict: {_HINTS[State.CONFLICT]}")
    for pointer in found.left_alone:
        o.answer(f"left to dvc: {pointer.path} ({pointer.why_left_alone})")
    for path in found.in_git:
        command = f"devml-git track {gate.quoted(path)}"
        o.answer(f"matches a track rule, but git holds it: {path}   ({command})")
    for note in found.notes:
        o.answer(f"note: {note}")
    if found.rescued:
        o.answer(f"{found.rescued} rescued: devml-git rescue list")


def _side(name: str, pointer: Pointer | None, *, here: bool) -> str:
    """Return what one side of a conflict has, in words."""
    if pointer is None or pointer.oid is None:
        return f"{name} has none"
    where = "" if here else ", not in the cache yet"
    return f"{name} {pointer.oid} ({human(pointer.size or 0)}{where})"


def _size(pointer: object, lying: int) -> int:
    size = getattr(pointer, "size", None)
    return size if isinstance(size, int) else lying


def snapshot(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH]...", help="Artifacts; all without one.")
    ] = None,
    message: Annotated[
        str | None,
        typer.Option("-m", "--message", metavar="TEXT", help="Record all of it; change nothing."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With -m: one JSON document.")] = False,
) -> None:
    """Put changed content into the cache now and stage its pointers, without committing.

    With -m: record the whole state, code too, as a snapshot between commits; HEAD, branch, index
    and files stay as they are. `log --snapshots` lists them, `checkout` brings one back.

    Example: devml-git snapshot -m "epoch 3"
    """
    o = out()
    if message is not None:
        if paths:
            raise UsageError("-m records the whole state: it takes no PATH", hint=_WITH_MESSAGE)
        _record(message, as_json=as_json)
        return
    if as_json:
        raise UsageError("--json goes with -m", hint=_WITH_MESSAGE)
    with workspace() as ws:
        wanted = repo_paths(ws.root, paths or [])
        taken = _snapshot(ws, wanted)
    if not taken:
        o.answer("nothing has changed")


def _record(message: str, *, as_json: bool) -> None:
    """Take a snapshot between commits, and say which one it is."""
    if not message.strip():
        raise UsageError("the message is empty", hint=_WITH_MESSAGE)
    with workspace(writes=False) as ws:
        point = savepointing.take(ws, message)
    o = out()
    if as_json:
        document = {"schema": "devml.snapshot/v1", **point.to_dict()}
        o.document({**document, "fresh": point.fresh, "notes": list(point.notes)})
        return
    if point.fresh:
        o.answer(f"snapshot {point.id}: {gate.shown(point.title, 200)}")
    else:
        o.answer(f"nothing has changed since snapshot {point.id}: {gate.shown(point.title, 200)}")
    for note in point.notes:
        o.answer(f"  {note}")


def _snapshot(ws: Workspace, wanted: list[str]) -> bool:
    """Snapshot, tell, and let the shell answer from now on; return whether there was anything."""
    o = out()
    known = ws.tree.snapshot
    fresh = set(ws.new_artifacts()[0])
    by_file = {p.file: p.path for p in known.pointers.values()}
    chosen = [by_file.get(p, p) for p in wanted]
    for path in chosen:
        removed = path in ws.record.materialised()
        broken = any(b.file in {path, f"{path}.dvc"} for b in known.broken)
        if path not in known.pointers and path not in fresh and not removed and not broken:
            raise UsageError(f"{path} is not tracked", hint=setup.nearest(ws, path))
    taken = setup.snapshot_paths(ws, chosen)
    lines = taken_lines(taken)
    for line in lines:
        o.answer(line.removeprefix("devml-git: "))
    if taken.conflicts:
        raise would_overwrite(taken.conflicts)
    ws.refresh()
    observed = ws.observe()
    ws.settle(observed)
    arming.arm(ws, observed)
    return bool(lines)


def commit(ctx: typer.Context) -> None:
    """Snapshot, then `git commit` with the arguments given (all of git commit's own).

    Example: devml-git commit -m "retrained" -- models/clf.safetensors
    """
    args = list(ctx.args)
    with workspace() as ws:
        git = ws.git
        if "--dry-run" not in args:
            _refuse_credentials(ws, args)
            _snapshot(ws, [])
        args = _with_pointers(ws, args)
    raise typer.Exit(git.interactive(["commit", *args], cwd=Path.cwd()))


def _refuse_credentials(ws: Workspace, args: list[str]) -> None:
    """Raise Refused for what is staged of credentials; the hook looks at what `-a` or PATH adds."""
    if {"-n", "--no-verify"}.isdisjoint(args):
        refused, _ = credentials.staged(ws.git, ws.git.staged_changes())
        if refused:
            what, *hints = (line.partition(": ")[2] for line in refused)
            raise Refused("\n  ".join([what, *hints[:-1]]), hint=hints[-1])


def _with_pointers(ws: Workspace, args: list[str]) -> list[str]:
    """Replace artifacts after `--` by their pointers: git knows only those."""
    if "--" not in args:
        return args
    cut = args.index("--") + 1
    ws.refresh()
    pointers = ws.tree.snapshot.pointers
    named = []
    for given in args[cut:]:
        (path,) = repo_paths(ws.root, [given])
        pointer = pointers.get(path)
        named.append(f":(top,literal){ws.git.prefix}{pointer.file}" if pointer else given)
    return [*args[:cut], *named]

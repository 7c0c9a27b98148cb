"""verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from devml_git import gate, plumbing, verifying
from devml_git.amounts import counted, human
from devml_git.cli.context import out, workspace
from devml_git.errors import UsageError
from devml_git.wording import listed

if TYPE_CHECKING:
    from devml_git.verifying import Verdicts

_SHOWN = 20
_HINTS = {
    "missing": "devml-git fetch --all   brings what a DVC remote has",
    "corrupt": "devml-git verify --all --repair   mends it from the other copy",
    "not-on-remote": "devml-git verify --all --repair   sends what is here",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    revs: Annotated[
        list[str] | None, typer.Argument(metavar="[REV|RANGE]...", help="HEAD without one.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every commit of every ref.")] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="Ask the DVC remotes, too, or only `--remote NAME`.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Believe nothing that was verified before.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend bad copies from good ones, here and there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Prove which commits can be recovered: each object is hashed, each commit gets a verdict.

    Exit code 1 where anything is lost or corrupt.

    Example: devml-git verify --all --remote
    """
    plumbing.read_as_published()
    with workspace(writes=False, connects=remote or repair) as ws:
        if (remote or repair) and not ws.access.is_set_up:
            raise UsageError("nothing has been set up here: no DVC remote is asked",
                             hint="devml-git init")  # fmt: skip
        if remote and not ws.dvc.remotes:
            raise UsageError("no DVC remote is configured here, so none can be asked",
                             hint="dvc remote add -d NAME URL")  # fmt: skip
        if ws.git.shallow:
            out().remark("note: a shallow clone: what came before is not here, and not looked at"
                         "   (git fetch --unshallow)")  # fmt: skip
        name = verifying.remote_among(ws, revs or []) if remote else None
        meant = [rev for rev in revs or [] if rev != name]
        commits = verifying.commits_of(ws, meant, everything=everything)
        asked = (name or "") if remote else None
        found = verifying.verify(ws, commits, remote=asked, full=full, repair=repair)
    if as_json:
        out().document(found.to_dict())
    else:
        _show(found)
    if not found.passed:
        raise typer.Exit(1)


def _show(found: Verdicts) -> None:
    o = out()
    for problem in found.problems[:_SHOWN]:
        commits = listed([c[:10] for c in problem.commits])
        o.answer(f"{problem.problem}  {gate.shown(problem.path)}  md5 {problem.oid}  in {commits}")
    if len(found.problems) > _SHOWN:
        o.answer(f"and {len(found.problems) - _SHOWN} more: devml-git verify --json")
    for text in found.broken[:_SHOWN]:
        o.answer(f"cannot be followed: {text}")
    counts = [f"{n} {verdict}" for verdict in verifying.VERDICTS if (n := found.count(verdict))]
    o.answer(f"{counted(len(found.commits), 'commit')}: {', '.join(counts) or 'none'}")
    healed = f", {found.healed} healed" if found.healed else ""
    o.answer(f"{counted(found.checked, 'object')} checked, {human(found.bytes)} read{healed}")
    if found.count(verifying.UNKNOWN):
        o.remark("unknown: not here, and no DVC remote was asked: devml-git verify --remote")
    kinds = {problem.problem for problem in found.problems}
    for kind, hint in _HINTS.items():
        if kind in kinds:
            o.remark(f"{kind}: {hint}")

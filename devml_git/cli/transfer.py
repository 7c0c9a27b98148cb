"""push, fetch, pull: content of every commit concerned, and git's own part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from devml_git import arming, fetching, plumbing, pushing
from devml_git.amounts import counted, human
from devml_git.cli.context import out, repo_paths, workspace
from devml_git.errors import GitFailed
from devml_git.instep import bring_in_step
from devml_git.wording import by_choice, done_lines

_AS_GIT = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": ["-h", "--help"],
}


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    app.command(context_settings=_AS_GIT)(push)
    app.command()(fetch)
    app.command(context_settings=_AS_GIT)(pull)


def push(ctx: typer.Context) -> None:
    """Upload data and models of all commits concerned, then `git push` with the arguments given.

    Example: devml-git push origin main
    """
    args = list(ctx.args)
    o = out()
    plumbing.read_as_published()
    with workspace(writes=False, connects=True) as ws:
        git = ws.git
        tips = pushing.asked(git, args, cwd=Path.cwd())
        dry = bool({"-n", "--dry-run"} & set(args))
        for line in [] if dry else pushing.publish_all(ws, tips):
            o.answer(line)
    status = git.interactive(["push", *args], cwd=Path.cwd(), env={pushing.UPLOADED: "1"})
    if status:
        raise GitFailed("git push failed; what was uploaded stays up", hint="git push   says why")


def fetch(
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GIT-REMOTE [REF]...] [-- PATH...]", help="As git fetch has them."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every commit of every ref.")] = False,
    number: Annotated[
        int, typer.Option("-n", metavar="N", min=1, help="The newest N commits of each ref.")
    ] = 1,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="All commits since: 2.weeks.")
    ] = None,
) -> None:
    """`git fetch`, then bring the content of commits into the cache; the workspace stays as it is.

    Without REF: HEAD and its upstream. PATH may be a glob over artifacts, or over the files of a
    directory artifact: 'data/raw/2024-*'.

    Example: devml-git fetch origin main -n 10 -- 'models/*'
    """
    given = list(args or [])
    cut = given.index("--") if "--" in given else len(given)
    o = out()
    with workspace(writes=False, connects=True) as ws:
        chosen = fetching.Chosen(
            words=tuple(given[:cut]), everything=everything, number=number, since=since,
            paths=tuple(repo_paths(ws.root, given[cut + 1 :])),
        )  # fmt: skip
        done = fetching.fetch(ws, chosen)
    commits = counted(done.commits, "commit")
    if done.objects:
        o.answer(f"fetched {counted(done.objects, 'object')} ({human(done.size)}) for {commits}")
    elif not done.missing:
        o.answer(f"all content of {commits} is here")
    if done.withheld:
        o.remark(by_choice(done.withheld))
    if done.missing:
        raise ws.not_here(done.missing)


def pull(ctx: typer.Context) -> None:
    """`git pull` with the arguments given, and the content of what was merged.

    Example: devml-git pull --rebase
    """
    with workspace(writes=False) as ws:
        git = ws.git
    status = git.interactive(["pull", *ctx.args], cwd=Path.cwd())
    if status:
        raise GitFailed("git pull failed", hint="git status")
    with workspace(connects=True) as ws:
        done = bring_in_step(ws, cause="pull", fetch=True)
        for line in done_lines(done):
            out().answer(line.removeprefix("devml-git: "))
        ws.refresh()
        observed = ws.observe(check_cache=False)
        ws.settle(observed)
        arming.arm(ws, observed)
    if done.missing:
        raise ws.not_here(done.missing)

"""hooks install | uninstall | status | run."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from devml_git import attributes, hook, installer
from devml_git.cli.context import out
from devml_git.errors import UsageError
from devml_git.hook import calling_git
from devml_git.plumbing import Git

app = typer.Typer(no_args_is_help=True, help="The git hooks.", rich_markup_mode=None)


def register(main: typer.Typer) -> None:
    """Add this family's commands."""
    main.add_typer(app, name="hooks")


@app.command()
def install(
    outside: Annotated[
        bool, typer.Option("--outside", help="Even into a hooks directory of all repositories.")
    ] = False,
) -> None:
    """Install or update the hooks; hooks of others stay and run first.

    Example: devml-git hooks install
    """
    changed = installer.install(Git.discover(), allow_outside=outside)
    out().answer(f"installed: {', '.join(changed)}" if changed else "all hooks are in place")


@app.command()
def uninstall() -> None:
    """Remove the hooks and the merge driver; hooks that were there before come back as they were.

    Example: devml-git hooks uninstall
    """
    git = Git.discover()
    changed = installer.uninstall(git)
    attributes.unregister(git)
    out().answer(f"removed: {', '.join(changed)}" if changed else "no hooks of ours are here")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show each hook: ours, outdated, foreign or absent.

    Example: devml-git hooks status
    """
    git = Git.discover()
    states = installer.status(git)
    overlooked = installer.overlooked(git)
    if as_json:
        place = str(installer.hooks_directory(git))
        hooks = [s.to_dict() for s in states]
        document = {"schema": "devml.hooks/v1", "directory": place, "hooks": hooks}
        out().document({**document, "overlooked": str(overlooked) if overlooked else None})
        return
    out().table((s.event, s.state, _beside(s)) for s in states)
    if overlooked is not None:
        out().remark(
            f"warning: core.hooksPath is set, so git does not run our hooks in {overlooked}; "
            "to mend it: devml-git hooks install"
        )


def _beside(state: installer.HookState) -> str:
    before = "and one before it" if state.chained else ""
    through = f"run by {state.through}" if state.through else ""
    return ", ".join(filter(None, (through, before)))


@app.command(context_settings={"ignore_unknown_options": True})
def run(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="A hook's name.")],
    args: Annotated[list[str] | None, typer.Argument(help="The hook's own arguments.")] = None,
) -> None:
    """Run what a hook would do, as the pre-commit framework and the shim's fallback do.

    Example: devml-git hooks run pre-commit
    """
    if event not in installer.EVENTS:
        raise UsageError(
            f"{event} is no hook of ours", hint=f"one of {', '.join(installer.EVENTS)}"
        )
    rest = [a for a in args or [] if a != "--"]
    os.environ.setdefault("DEVML_GIT_PARENT", calling_git())
    raise typer.Exit(hook.main([event, *rest]))

"""The Typer application: all command families put together."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from devml_git import __version__

_HELP = "git commit records code, data and models together; git checkout brings all of them back."
# Which family has which commands, in the order of `--help`: only the one that is asked is imported
FAMILIES = {
    "project": ("clone", "init", "track", "untrack", "trust", "doctor", "demo"),
    "snapshots": ("status", "snapshot", "commit"),
    "checkout": ("checkout",),
    "undo": ("undo",),
    "log": ("log", "show"),
    "transfer": ("push", "fetch", "pull"),
    "verify": ("verify",),
    "blame": ("blame",),
    "diff": ("diff",),
    "savepoints": ("snapshots",),  # groups stand last
    "hooks": ("hooks",),
    "rescue": ("rescue",),
}


def build(command: str = "") -> typer.Typer:
    """Return the application with the family of one command, or with all where it is none."""
    app = typer.Typer(
        name="devml-git",
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(global_options)
    named = [family for family, commands in FAMILIES.items() if command in commands]
    for family in named or FAMILIES:
        importlib.import_module(f"devml_git.cli.{family}").register(app)
    return app


def _version(value: bool) -> None:
    if value:
        typer.echo(f"devml-git {__version__}")
        raise typer.Exit


def global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but answers.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show no progress.")] = False,
    no_pager: Annotated[bool, typer.Option("--no-pager", help="Start no pager.")] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error comes from.")
    ] = False,
) -> None:
    """Take the options that stand anywhere on the line (the funnel has read them already)."""
    del version, quiet, verbose, no_progress, no_pager, traceback

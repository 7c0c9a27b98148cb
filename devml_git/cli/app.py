"""The Typer application: all command families put together."""

from __future__ import annotations

from typing import Annotated

import typer

from devml_git import __version__
from devml_git.cli import (
    blame,
    checkout,
    diff,
    hooks,
    log,
    project,
    rescue,
    savepoints,
    snapshots,
    transfer,
    undo,
    verify,
)

app = typer.Typer(
    name="devml-git",
    help="git commit records code, data and models together; git checkout brings all of them back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"devml-git {__version__}")
        raise typer.Exit


@app.callback()
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


project.register(app)
snapshots.register(app)
checkout.register(app)
undo.register(app)
log.register(app)
savepoints.register(app)
transfer.register(app)
verify.register(app)
blame.register(app)
diff.register(app)
app.add_typer(hooks.app, name="hooks")
app.add_typer(rescue.app, name="rescue")

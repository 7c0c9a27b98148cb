"""From arguments to an exit code: every error ends here, as two lines or as one JSON document."""

from __future__ import annotations

import re
from functools import cache

import typer
import typer.main

from devml_git import bounds
from devml_git.cli import app as commands
from devml_git.cli.context import State, set_state
from devml_git.errors import DevmlError
from devml_git.output import Output
from devml_git.place import refused_by_the_system

_GLOBAL = ("-q", "--quiet", "-v", "--verbose", "--no-progress", "--no-pager", "--traceback")
# Their arguments belong to git: `devml-git commit -v` is git's -v
_PASS_THROUGH = frozenset({"commit", "push", "pull"})
# Tell REV from PATH by `--`
_SEES_DASHES = frozenset({"blame", "checkout", "diff", "fetch", "log", "show"})
# Of two words, as they are written down
_GROUPS = frozenset({"hooks", "rescue", "snapshots"})
# Options of `log` that a word like `-3` may belong to
_TAKES_NUMBERS = frozenset({"--grep", "--author", "-n", "--max-count", "--skip"})
_INTERRUPTED = 130
_OUR_BUG = 70


_command = cache(lambda name: typer.main.get_command(commands.build(name)))


def run(argv: list[str]) -> int:
    """Run one command line; return its exit code."""
    args, state = _sort_out(argv)
    set_state(state)
    as_json = "--json" in _before_dashes(args)
    out = state.output
    bounds.begin()
    try:
        result = _command(state.command.partition(" ")[0]).main(
            args=args, prog_name="devml-git", standalone_mode=False
        )
        if result == _INTERRUPTED:  # how Typer returns a KeyboardInterrupt
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except DevmlError as e:
        if state.traceback:
            out.trace()
        out.error(e.message, e.hint, e.exit_code, as_json=as_json)
        return e.exit_code
    except (KeyboardInterrupt, typer.Abort):
        out.error("interrupted", "run the same command again: it goes on", 130, as_json=as_json)
        return _INTERRUPTED
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else 1
    except Exception as e:  # noqa: BLE001 - the funnel
        return _other(e, out, as_json=as_json)
    finally:
        bounds.end()


def _other(e: Exception, out: Output, *, as_json: bool) -> int:
    """Usage errors of Typer's parser (known by shape, it has no public class), a full disk and
    the like where no door has translated it, and our bugs.
    """
    message = getattr(e, "format_message", None)
    code = getattr(e, "exit_code", None)
    if callable(message) and isinstance(code, int):
        context = getattr(e, "ctx", None)
        hint = f"{getattr(context, 'command_path', 'devml-git')} --help"
        text = str(message()).rstrip(".")
        if hasattr(e, "possibilities"):  # not what the parser finds alike: --min for --oneline
            text = text.partition(" (")[0]
            hint = f"it has {', '.join(_options(context))}   {hint}"
        out.error(text[:1].lower() + text[1:], hint, 2, as_json=as_json)
        return 2
    refused = refused_by_the_system(e)
    if refused is not None:
        out.error(refused.message, refused.hint, refused.exit_code, as_json=as_json)
        return refused.exit_code
    out.trace()
    out.error(f"internal error: {type(e).__name__}: {e}", None, _OUR_BUG, as_json=as_json)
    return _OUR_BUG


def _options(context: object) -> list[str]:
    """Return the options of the command that was asked, each by its first name."""
    params = getattr(getattr(context, "command", None), "params", [])
    options = [p.opts[0] for p in params if p.opts[0].startswith("-") and not p.hidden]
    return [*options, "--help"]


def _counted(args: list[str]) -> list[str]:
    """Write `-3`, which the parser does not know, as `-n3`, but for `--grep -3` and `-n -1`."""
    return [
        re.sub(r"^-(?=\d+$)", "-n", arg) if last not in _TAKES_NUMBERS else arg
        for last, arg in zip(["", *args], args, strict=False)
    ]


def _before_dashes(args: list[str]) -> list[str]:
    return args[: args.index("--")] if "--" in args else args


def _sort_out(argv: list[str]) -> tuple[list[str], State]:
    """Take the global options out, wherever they stand, and keep `--` from being swallowed."""
    command = next((a for a in argv if not a.startswith("-")), "")
    place = argv.index(command) if command else len(argv)
    head, tail = argv[:place], argv[place:]
    ours = [*head, *([] if command in _PASS_THROUGH else _before_dashes(tail))]
    state = State(
        Output(
            quiet="-q" in ours or "--quiet" in ours,
            verbose="-v" in ours or "--verbose" in ours,
            progress="--no-progress" not in ours,
            pager="--no-pager" not in ours,
        ),
        " ".join(tail[: 2 if command in _GROUPS else 1]),
        traceback="--traceback" in ours,
    )
    head = [a for a in head if a not in _GLOBAL]
    if command in _PASS_THROUGH:
        plain_help = tail[1:] in (["--help"], ["-h"])
        return [*head, *(tail if plain_help else [tail[0], "--", *tail[1:]])], state
    rest = [a for a in _before_dashes(tail) if a not in _GLOBAL]
    rest = _counted(rest) if command == "log" else rest
    after = tail[len(_before_dashes(tail)) :]
    if command in _SEES_DASHES and after:  # the parser takes the first `--` away
        rest.append("--")
    rest += after
    return [*head, *rest], state

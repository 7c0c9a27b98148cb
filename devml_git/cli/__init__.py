"""The command line: parse, call one verb of the library, render. And the one error funnel."""

import sys

from devml_git import isolation

isolation.leave_the_worktree()  # before anything else is imported

from devml_git.cli.funnel import run  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    """Run `devml-git ARGS...`; return the exit code of product.md's table."""
    return run(sys.argv[1:] if argv is None else argv)

"""The command line: parse, call one verb of the library, render. And the one error funnel."""

from __future__ import annotations

import sys

from devml_git.cli.funnel import run


def main(argv: list[str] | None = None) -> int:
    """Run `devml-git ARGS...`; return the exit code of product.md's table."""
    return run(sys.argv[1:] if argv is None else argv)

"""The merge driver that git starts: `python -I ... %O %A %B %L %P`.

Exits with 0 when the file `%A` has the merge, with 11 when it has markers. Anything else makes
the command in git's configuration (`attributes.py`) fall back to git's own text merge.
"""

from __future__ import annotations

import os
import sys

_FAILED = 12


def main(argv: list[str] | None = None) -> int:
    """Merge one file, or fetch one manifest; return the exit status."""
    args = sys.argv[1:] if argv is None else argv
    from devml_git.errors import DevmlError
    from devml_git.place import refused_by_the_system

    try:
        if args[:1] == ["--fetch"]:
            from devml_git import resolving

            return 0 if resolving.fetch(args[1], args[2] or None) else _FAILED
        return _merge(args)
    except DevmlError as e:
        _say(f"devml-git: error: {e.message}")
    except KeyboardInterrupt:
        return 130
    except Exception as e:  # noqa: BLE001 - the funnel
        if os.environ.get("DEVML_GIT_TRACEBACK"):
            import traceback

            for line in traceback.format_exc().splitlines():
                _say(line)
        refused = refused_by_the_system(e)
        if refused is not None:
            _say(f"devml-git: error: {refused.message}")
        else:
            _say(f"devml-git: internal error in the merge driver: {type(e).__name__}: {e}")
    return _FAILED


def _merge(args: list[str]) -> int:
    from pathlib import Path

    from devml_git import resolving
    from devml_git.place import write_text_safely

    base, ours, theirs, size, file = args
    done = resolving.resolve(file, (base, ours, theirs), int(size))
    for line in done.lines:
        _say(line)
    place = Path(ours).absolute()
    write_text_safely(place.parent, place.name, done.text)
    return done.status


def _say(line: str) -> None:
    from devml_git.escaping import shown_lines  # once more: a name that nobody escaped does no harm

    # not to stdout, which is the answer of `git merge-tree`
    sys.stderr.buffer.write(shown_lines(line).encode() + b"\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())

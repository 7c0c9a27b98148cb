"""Our own Python and the programs it runs, kept from what lies in the worktree.

`python -I` imports nothing because of the current directory, PYTHONPATH or the user's site
directory (python(1)): `sitecustomize.py` of a repository would run before a line of ours. What was
installed in such a place is found by directories that are written down where git does not look at
the tree: `devml.path` in git's configuration. Imports nothing that Python has not loaded already.
"""

# No `__future__`, no `typing`: these would be imported from there, too
import os
import sys

OPTIONS = ("-I", "-X", "utf8")  # `-I` pays no heed to PYTHONUTF8
OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # where `devml_git` lies
# Between the standard library, which nothing may stand in for, and what else is installed. Exits
# with 1, without a word, where this Python has no such package. Its first line is for ps(1).
_PROGRAM = """\
# devml_git.MODULE
import os, sys
n = next((n for n, p in enumerate(sys.path) if p.endswith("-packages")), len(sys.path))
given = sys.argv.pop(1).split(os.pathsep)
sys.path[n:n] = [p for p in given if os.path.isabs(p) and p not in sys.path]
try:
    from devml_git.MODULE import main
except ModuleNotFoundError:
    raise SystemExit(1)
raise SystemExit(main())
"""


def program(module: str) -> str:
    """Return what runs a module's `main` by `python -I -c`; its first argument is `devml.path`."""
    return _PROGRAM.replace("MODULE", module)


def command(module: str, *args: str) -> list[str]:
    """Return the command that runs `main` of a module of ours in a process of its own."""
    places = os.pathsep.join(outside(sys.path, worktree()))
    return [sys.executable, *OPTIONS, "-c", program(module), places, *args]


def absolute(path: str) -> str:
    """Return a PATH without its empty and relative elements: both mean the current directory."""
    kept = os.pathsep.join(p for p in path.split(os.pathsep) if os.path.isabs(p))
    return kept or os.defpath


def worktree() -> str | None:
    """Return the root of the worktree around the current directory, as far as no git is asked."""
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:  # it was deleted
        return None
    while not os.path.lexists(os.path.join(here, ".git")):
        above = os.path.dirname(here)
        if above == here:
            return None
        here = above
    return here


def outside(places: list[str], top: str | None) -> list[str]:
    """Return those of some places that are absolute and not in the worktree `top`."""
    return [p for p in places if os.path.isabs(p) and not (top and _is_below(p, top))]


def _is_below(place: str, top: str) -> bool:
    return os.path.join(os.path.realpath(place), "").startswith(os.path.join(top, ""))


def leave_the_worktree() -> None:
    """From here on, import and run nothing from the worktree because of PYTHONPATH or PATH.

    Called first of all by a command that the user typed; what `sitecustomize` did then is done.
    Where the package itself was found so, it stays as it is: there is nothing to keep out.
    """
    if "PATH" in os.environ:
        os.environ["PATH"] = absolute(os.environ["PATH"])
    try:
        away = _named_in_the_worktree()
    except OSError:  # the current directory was deleted: it holds nothing
        return
    if OWN not in away:
        sys.path[:] = [p for p in sys.path if p and p not in away]


def _named_in_the_worktree() -> set[str]:
    """Return the elements of sys.path that are PYTHONPATH's or the current directory's own."""
    said = os.environ.get("PYTHONPATH")
    named = said.split(os.pathsep) if said else []
    kept = outside(named, worktree())
    found = {os.path.abspath(p) for p in named if p not in kept}  # as Python has made them
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:  # by `python -m`
        found.add(os.getcwd())
    return found

"""A process of its own in which DVC resolves pipelines: what hangs or explodes is this process.

Run by `pipelines.py` with a question on standard input; answers with one line of JSON a `dvc.yaml`.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devml_git import bounds, store
from devml_git.errors import DevmlError
from devml_git.gate import shown

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    """Answer the question; what cannot be answered is a text in place of outputs."""
    question = json.load(sys.stdin)
    answered, sys.stdout = sys.stdout, sys.stderr  # whatever DVC prints is no answer
    root, private, worktree = (Path(question[key]) for key in ("root", "private", "worktree"))
    with store.asking_of_pipelines(root, private, worktree, question["settings"]) as ask:
        confine()
        for file in question["files"]:
            answered.write(json.dumps({file: said(file, ask)}) + "\n")
            answered.flush()
    return 0


def said(file: str, ask: Callable[[str], dict[str, Any]]) -> Any:  # noqa: ANN401
    """Return what a file says of outputs, by path, or why it cannot be read."""
    try:
        with bounds.limited(file, bounds.ASK_SECONDS):
            return {path: asdict(out) for path, out in ask(file).items()}
    except DevmlError as e:
        return e.message.removeprefix(f"{shown(file)}: ")
    except MemoryError:
        return "DVC takes too much memory to resolve it"


def confine() -> None:
    """Bound this process's time and memory, where the system can; DVC is loaded by now."""
    try:
        import resource
    except ImportError:  # Windows: `limited` and the clock must do
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + bounds.ASK_SECONDS) + 1
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    with contextlib.suppress(ValueError, OSError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        most = pages * resource.getpagesize() + bounds.ASK_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    sys.exit(main())

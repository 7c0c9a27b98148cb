"""A process of its own in which DVC resolves pipelines: what hangs or explodes is this process.

Run by `pipelines.py`. A question is a line of JSON on standard input, one a revision of a project,
so that DVC is loaded once: the texts of files, which are laid out in a directory of their own, so
that DVC meets nothing else of the worktree. The answer has a line of JSON for each `dvc.yaml`, one
with the processor time that it took, under "", and an empty line.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devml_git import bounds, store
from devml_git.errors import DevmlError
from devml_git.gate import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from devml_git.pointers import PipelineOut


def main() -> int:
    """Answer questions; what cannot be answered is a text in place of outputs."""
    answered, sys.stdout = sys.stdout, sys.stderr  # whatever DVC prints is no answer
    for line in sys.stdin:
        for said in answers(json.loads(line)):
            answered.write(json.dumps(said) + "\n")
            answered.flush()
        answered.write("\n")
        answered.flush()
    return 0


def answers(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what is said of each file that there is time for, and what all took, under ""."""
    scratch = Path(question["scratch"])
    root = scratch / question["prefix"]
    lay_out(root, question["texts"])
    os.chdir(root)
    with store.asking_of_pipelines(root, scratch, question["settings"]) as ask:
        begun, most = time.process_time(), question["seconds"]
        with confined(most):
            for file in question["files"]:
                if (rest := most - (time.process_time() - begun)) <= 0:
                    break
                yield {file: said(file, ask, rest)}
        yield {"": time.process_time() - begun}
    os.chdir("/")  # who asked removes it


def lay_out(root: Path, texts: dict[str, str]) -> None:
    """Write files (their texts as Latin-1) for DVC to read; one that cannot be is not there."""
    (root / ".dvc").mkdir(parents=True)
    for name, text in texts.items():
        place = Path(os.path.normpath(root / name))
        with contextlib.suppress(OSError, ValueError):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text.encode("latin-1"))


def said(file: str, ask: Callable[[str], list[PipelineOut]], seconds: float) -> Any:  # noqa: ANN401
    """Return what a file says of outputs, or why it cannot be read."""
    try:
        with bounds.limited(file, seconds):
            return [asdict(out) for out in ask(file)]
    except DevmlError as e:
        return e.message.removeprefix(f"{shown(file)}: ").replace(f"{os.getcwd()}/", "")
    except MemoryError:
        return "DVC takes too much memory to resolve it"


@contextlib.contextmanager
def confined(seconds: float) -> Iterator[None]:
    """Bound this process's time and memory, where the system can; DVC is loaded by now."""
    try:
        import resource
    except ImportError:  # Windows: `limited` and the clock must do
        yield
        return
    most = {resource.RLIMIT_CPU: int(time.process_time() + seconds) + 1}
    with contextlib.suppress(ValueError, OSError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        most[resource.RLIMIT_AS] = pages * resource.getpagesize() + bounds.ASK_MEMORY
    before = {limit: resource.getrlimit(limit) for limit in most}
    try:
        for limit, (soft, hard) in before.items():
            bound = most[limit] if soft == resource.RLIM_INFINITY else min(most[limit], soft)
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(limit, (bound, hard))
        yield
    finally:
        for limit, those in before.items():
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(limit, those)


if __name__ == "__main__":
    sys.exit(main())

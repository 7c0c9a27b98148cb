"""Hunt: `python -m tests.fuzz FIRST LAST [LENGTH]` walks; `python -m tests.fuzz FILE...` replays."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.conftest import seal
from tests.fuzz.ground import build
from tests.fuzz.walk import Walk, chosen, shrink, walk


def show(done: Walk) -> None:
    for step, told in zip(done.steps, [*done.told, ""], strict=False):
        print("   ", step, "->", told[:300].replace("\n", " | "))
    print("  ", str(done.violation))


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="fuzz-home-"))
    files = [Path(f).resolve() for f in sys.argv[1:] if f.endswith(".json")]
    out = Path(os.environ.get("FUZZ_OUT", "/tmp/fuzz-found")).resolve()
    out.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        seal(home, monkeypatch)
        template = build(home / "template")
        for file in files:
            print(file.name)
            show(walk(template, json.loads(file.read_text())["steps"]))
        if files:
            return
        first, last = int(sys.argv[1]), int(sys.argv[2])
        length = int(sys.argv[3]) if len(sys.argv) > 3 else 30
        for seed in range(first, last):
            start = time.monotonic()
            done = walk(template, chosen(seed, length))
            spent = time.monotonic() - start
            print(
                f"seed {seed}: {len(done.steps)} steps, {spent / max(1, len(done.steps)):.3f} s each",
                flush=True,
            )
            if done.violation is None:
                continue
            kind = done.violation.kind
            print("  ", done.violation, flush=True)
            small = (
                shrink(template, done.steps, kind, float(os.environ.get("FUZZ_SHRINK", "60")))
                or done
            )
            small.save(out / f"{kind}-{seed}.json", why=str(small.violation), seed=str(seed))
            show(small)
            sys.stdout.flush()


if __name__ == "__main__":
    main()

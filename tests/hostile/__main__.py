"""`python -m tests.hostile [--only NAME]... [--arrival NAME] [--quick] [--jobs N] [-v] [--list]`.

Says which cases break, after which command, and why. `--keep DIR` leaves a case's files there.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.hostile import trace, trial
from tests.hostile.trial import Case, Told


def main() -> int:
    """Try what was asked for; 1 if anything broke."""
    ask = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    ask.add_argument(
        "--only", action="append", default=[], help="templates or modules with this in their name"
    )
    ask.add_argument("--arrival", action="append", default=[])
    ask.add_argument(
        "--quick", action="store_true", help="one arrival, few commands: what `make test` does"
    )
    ask.add_argument("--jobs", type=int, default=2)
    ask.add_argument("--keep", type=Path)
    ask.add_argument("--list", action="store_true")
    ask.add_argument(
        "-v", "--verbose", action="store_true", help="each command, how it ended, what it took"
    )
    asked = ask.parse_args()
    if why := trace.missing():
        print(f"cannot be run: {why}", file=sys.stderr)
        return 2
    cases = [
        c for c in (trial.quick_cases() if asked.quick else trial.cases())
        if (not asked.only or any(word in f"{c.template.kind}.{c.template.name}" for word in asked.only))
        and (not asked.arrival or c.arrival in asked.arrival)
    ]  # fmt: skip
    if asked.list:
        print(*cases, f"{len(cases)} cases", sep="\n")
        return 0

    def one(case: Case) -> Told:
        begun = time.monotonic()
        keep = asked.keep and asked.keep / str(case)
        try:
            told = trial.attempt(case, quick=asked.quick, keep=keep)
        except Exception as error:
            error.add_note(f"in {case}")
            raise
        show(told, time.monotonic() - begun, verbose=asked.verbose)
        return told

    with ThreadPoolExecutor(asked.jobs) as pool:
        all_told = list(pool.map(one, cases))
    held = sum(not told.breaks for told in all_told)
    print(f"hostile repositories: {held} of {len(all_told)} held")
    kinds: dict[str, set[str]] = {}
    for told in all_told:
        for broken in told.breaks:
            kinds.setdefault(broken.kind, set()).add(told.case.template.name)
    for kind, names in sorted(kinds.items()):
        print(f"  {kind}: {', '.join(sorted(names))}")
    return int(held < len(all_told))


def show(told: Told, seconds: float, *, verbose: bool) -> None:
    """Print what became of a case."""
    spent = f"{seconds:.0f} s, of the processor {sum(done.cpu for _, done in told.ran):.1f} s"
    word = "BROKE" if told.breaks else "held "
    lines = [f"{word} {told.case} ({len(told.ran)} commands, {spent})"]
    lines += [f"    {broken}" for broken in dict.fromkeys(told.breaks)]
    if verbose:
        for name, done in told.ran:
            lines.append(f"  {name}: {done.status}, {done.cpu:.1f} s, {done.rss} MB")
            for text in (done.out, done.err):
                lines += [
                    "      | " + ascii(x)[1:-1]
                    for x in text.decode("utf-8", "replace").splitlines()[:8]
                ]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())

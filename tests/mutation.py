"""Break the modules that everything rests on, one small thing at a time: do their tests notice?

`python -m tests.mutation [MODULE...]`: cosmic-ray in a copy of the project, one line per module,
and every mutant that no test noticed. Exits with 1 when fewer than `LEAST` in a hundred were.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = {
    "rule": "tests/test_rule.py",
    "record": "tests/test_record.py",
    "rescue": "tests/test_rescue.py",
    "cache": "tests/test_cache.py",
}
LEAST = 80
SECONDS = 120.0
# Changes that change nothing: annotations are never evaluated, values are frozen for the reader
HARMLESS = [r"core/ReplaceBinaryOperator_BitOr_.*", r"core/RemoveDecorator"]
# Nor do those of such lines: what is for another system, for FIPS, for the type checker
SAME = re.compile(r'getattr\(os, "O_|usedforsecurity|@dataclass|= field\(|if TYPE_CHECKING')
CONFIG = """\
[cosmic-ray]
module-path = "devml_git/{name}.py"
timeout = {seconds}
excluded-modules = []
test-command = "{python} -m pytest -q -x -n 0 -p no:cacheprovider {tests}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = {harmless}
"""
ROWS = """\
SELECT m.start_pos_row, m.operator_name, r.test_outcome, r.diff
FROM mutation_specs m JOIN work_results r USING (job_id)
WHERE r.worker_outcome != 'SKIPPED' ORDER BY m.start_pos_row
"""


def mutate(copy: Path, name: str) -> tuple[int, list[str]]:
    """Return how many mutants there were, and those that survived, one line each."""
    config, session = copy / f"{name}.toml", copy / f"{name}.sqlite"
    config.write_text(
        CONFIG.format(
            name=name, seconds=SECONDS, python=sys.executable, tests=TESTS[name], harmless=HARMLESS
        )
    )
    tool = Path(sys.executable).with_name("cosmic-ray")
    calls = (
        [tool, "init", config, session],
        [tool.with_name("cr-filter-operators"), session, config],
        [tool.with_name("cr-filter-pragma"), session],
        [tool, "exec", config, session],
    )
    for call in calls:
        subprocess.run([str(word) for word in call], cwd=copy, check=True)
    with sqlite3.connect(session) as db:
        rows = [(*row, _changed(diff)) for *row, diff in db.execute(ROWS).fetchall()]
    rows = [row for row in rows if not SAME.search(row[-1])]
    left = [
        f"{row}: {operator.removeprefix('core/')}: {changed}"
        for row, operator, outcome, changed in rows
        if "SURVIVED" in str(outcome)
    ]
    return len(rows), left


def _changed(diff: str) -> str:
    lines = [line[1:].strip() for line in diff.splitlines() if re.match(r"[-+](?![-+])", line)]
    return "  ->  ".join(line for line in lines if line)


def main() -> int:
    """Run it; return the exit status."""
    project = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory(prefix="mutation-") as place:
        copy = Path(place) / "project"
        ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache")
        shutil.copytree(project, copy, ignore=ignored)
        count = noticed = 0
        for name in sys.argv[1:] or TESTS:
            mutants, left = mutate(copy, name)
            print(f"{name}: {mutants - len(left)} of {mutants} noticed", flush=True)
            print("".join(f"    {line}\n" for line in left), end="", flush=True)
            count, noticed = count + mutants, noticed + mutants - len(left)
    print(f"score: {100 * noticed / max(1, count):.1f} %")
    return 0 if noticed * 100 >= LEAST * count else 1


if __name__ == "__main__":
    sys.exit(main())

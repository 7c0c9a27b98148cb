"""Public DVC repositories, read by us and by DVC itself: pointers, metrics and parameters.

    git clone https://github.com/iterative/example-get-started /tmp/x
    python benchmarks/public_repositories.py [--commits 25] /tmp/x ...

Of each clone, some commits, evenly spread over all refs: what `devml-git log` says a commit
changed must be how DVC's own index of it differs from that of its parent, and metrics and
parameters must be what `dvc metrics show` and `dvc params` read. Status 1 where anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devml_git import config
from devml_git.choosing import Chosen
from devml_git.location import open_cache
from devml_git.measures import flatten, plain
from devml_git.plumbing import Git
from devml_git.walking import walk

if TYPE_CHECKING:
    from dvc.repo import Repo

    from devml_git.changing import Commit


def dvc_pointers(repo: Repo, rev: str) -> dict[str, str] | None:
    """Return what DVC's index has at a commit: output to hash; None where DVC cannot read it."""
    found = {}
    try:
        for _ in repo.brancher(revs=[rev]):
            if _ == "workspace":
                continue
            for out in repo.index.outs:
                ours = out.use_cache and out.hash_info and out.hash_info.name.startswith("md5")
                left = out.stage.is_import or (out.stage.path.endswith(".dvc") and out.stage.cmd)
                if ours and not left and out.is_in_repo and not out.files:
                    path = repo.dvcfs.from_os_path(repo.fs.relpath(out.fs_path, repo.root_dir))
                    found[path] = out.hash_info.value
    except Exception as e:  # noqa: BLE001 - a commit that DVC cannot read is no judge
        print(f"    DVC cannot read {rev[:10]}: {str(e).splitlines()[0][:90]}")
        return None
    return found


def dvc_measures(repo: Repo, kind: str, rev: str) -> dict[str, dict[str, Any]]:
    """Return what DVC shows of a commit's metrics or parameters, flattened as ours."""
    with contextlib.suppress(Exception):
        shown = getattr(repo, kind).show(revs=[rev], hide_workspace=False)
        for name, result in shown.items():
            if name == "workspace" and len(shown) > 1:
                continue
            tables = {f: d["data"] for f, d in result.get("data", {}).items() if "data" in d}
            return {f: _flat(t) for f, t in tables.items() if t}
    return {}


def _flat(table: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a table of DVC's as ours; of `vars` it names what is used by dotted keys."""
    flat = {k: plain(v) for k, v in flatten(table).items()}
    return {k.strip('"'): v for k, v in flat.items()}


def differing(commit: Commit, before: dict[str, str], after: dict[str, str]) -> str:
    """Return how our changes differ from DVC's, "" for not at all."""
    theirs = {
        path: (before.get(path), after.get(path))
        for path in {*before, *after}
        if before.get(path) != after.get(path)
    }
    ours = {
        c.path: (c.old.oid if c.old else None, c.new.oid if c.new else None)
        for c in commit.changes
        if any(p is not None and p.oid for p in (c.old, c.new))
    }
    return "" if ours == theirs else f"ours {ours}\n      dvc  {theirs}"


def compare(place: Path, most: int) -> tuple[int, int, int]:
    """Compare one clone; return commits, values compared, and differences."""
    from dvc.repo import Repo

    git = Git.discover(place)
    settings = config.load(git.top)
    commits = list(walk(git, settings, Chosen(everything=True), cache=lambda: open_cache(git)))
    usable = [c for c in commits if len(c.entry.parents) == 1 and not c.cut]
    step = max(len(usable) // most, 1)
    values = wrong = seen = 0
    with Repo(str(git.top)) as repo:
        for commit in usable[::step]:
            sha, parent = commit.entry.commit, commit.entry.parents[0]
            before, after = dvc_pointers(repo, parent), dvc_pointers(repo, sha)
            if before is None or after is None:
                continue
            seen += 1
            problems = [differing(commit, before, after)]
            for kind, ours in (
                ("metrics", commit.measures.metrics),
                ("params", commit.measures.params),
            ):
                theirs = dvc_measures(repo, kind, sha)
                mine = {f: {k: plain(v) for k, v in t.items()} for f, t in ours.items() if t}
                problems.append(
                    "" if mine == theirs else f"{kind}: ours {mine}\n      dvc {theirs}"
                )
                values += sum(map(len, theirs.values()))
            values += len(after)
            for problem in filter(None, problems):
                wrong += 1
                print(f"    {sha[:10]} {commit.entry.subject[:50]}\n      {problem[:1500]}")
    return seen, values, wrong


def main() -> None:
    """Compare the clones that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commits", type=int, default=25)
    parser.add_argument("clone", nargs="+", type=Path)
    args = parser.parse_args()
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    failed = 0
    for place in args.clone:
        seen, values, wrong = compare(place, args.commits)
        print(f"{place.name}: {seen} commits, {values} pointers and values, {wrong} differences")
        failed += wrong
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

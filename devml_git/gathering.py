"""What commits need: every object that their pointers name, once.

From one `git diff-tree` over all commits and one `git cat-file --batch` over the pointers' texts,
however many commits there are. What a commit has unchanged, its parents have; of parents that are
not among the commits, the trees are read.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devml_git import bounds, gate, pointers
from devml_git.errors import Refused
from devml_git.plumbing import POINTER_PATHSPECS, is_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from devml_git.nouns import Pointer
    from devml_git.plumbing import Git
    from devml_git.pointers import PipelineOut


@dataclass(slots=True)
class Gathered:
    """What some commits need.

    `pointers` by (file, blob id), each distinct one once; `commits` by the same the commits in
    which it is first seen, newest first; `broken` the pointer files that cannot be followed.
    """

    pointers: dict[tuple[str, str], list[Pointer]] = field(default_factory=dict)
    commits: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    broken: dict[tuple[str, str], str] = field(default_factory=dict)


def gather(
    git: Git,
    commits: Sequence[str],
    stages: Mapping[str, PipelineOut],
    *,
    nested: Iterable[str] = (),
) -> Gathered:
    """Return what these commits' pointers name. `stages` is what the pipelines say today.

    `nested` are the projects below this one, whose files are theirs.
    Pointers that are not ours (imports, `cache: false`, cloud-versioned) are left out.
    """
    found = Gathered()
    blobs: dict[tuple[str, str], list[str]] = {}
    new = set(commits)
    changed: dict[str, set[str]] = {}
    theirs = tuple(f"{place}/" for place in nested)
    for row in git.changed_blobs(commits, POINTER_PATHSPECS):
        changed.setdefault(row.commit, set()).add(row.path)
        if row.new and not row.path.startswith(theirs):
            blobs.setdefault((row.path, row.new), []).append(row.commit)
    parents = git.parents(commits)
    above = {c: [p for p in parents[c] if p not in new] for c in commits}
    trees = _trees(git, list(dict.fromkeys(p for ps in above.values() for p in ps)))
    for commit, outside in above.items():
        for path, blob in (entry for p in outside for entry in trees[p].items()):
            if path not in changed.get(commit, ()) and not path.startswith(theirs):
                blobs.setdefault((path, blob), []).append(commit)
    found.commits = blobs
    for some in _by_size(git, blobs):
        _read(git, some, stages, found)
    return found


def _by_size(
    git: Git, blobs: Mapping[tuple[str, str], list[str]]
) -> Iterator[dict[tuple[str, str], list[str]]]:
    """Yield parts of them that may be in memory at once: a history may hold many large ones."""
    ids = _ids(blobs)
    sizes = dict(zip(ids, git.blob_sizes(ids), strict=True))
    part: dict[tuple[str, str], list[str]] = {}
    total = 0
    for key, where in blobs.items():
        part[key] = where
        total += min(sizes[key[1]], gate.MAX_POINTER_BYTES)
        if total >= bounds.MAX_POINTERS_BYTES:
            yield part
            part, total = {}, 0
    if part:
        yield part


def _read(
    git: Git,
    blobs: Mapping[tuple[str, str], list[str]],
    stages: Mapping[str, PipelineOut],
    found: Gathered,
) -> None:
    small = git.small_blobs(_ids(blobs), gate.MAX_POINTER_BYTES)
    texts = {blob: text for blob, text in small.items() if text is not None}
    known = _known_outs(git, blobs, texts, stages)
    for (file, blob), where in blobs.items():
        bounds.renew()  # a history may be long
        if blob not in texts:
            why = f"{gate.shown(file)}: larger than {gate.MAX_POINTER_BYTES} bytes"
            found.broken[file, blob] = f"{why} ({where[0][:12]})"
            continue
        try:
            read = pointers.read(file, texts[blob], known.get((file, blob), stages))
        except Refused as e:
            found.broken[file, blob] = f"{e.message} ({where[0][:12]})"
            continue
        found.pointers[file, blob] = [p for p in read if p.why_left_alone is None and p.oid]


def _trees(git: Git, commits: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the pointer files (path to blob id) of commits: the first one's tree, and differences.

    Two processes, where a push of many branches has as many commits that they branch off from.
    """
    if not commits:
        return {}
    first, *others = commits
    base = {e.path: e.blob for e in git.tree_entries(first)}
    trees = {commit: dict(base) for commit in commits}
    for row in git.changed_blobs(others, POINTER_PATHSPECS, dict.fromkeys(others, first)):
        if row.new:
            trees[row.commit][row.path] = row.new
        else:
            trees[row.commit].pop(row.path, None)
    return trees


def _ids(blobs: Iterable[tuple[str, str]]) -> list[str]:
    return sorted({blob for _, blob in blobs})


def _known_outs(
    git: Git,
    blobs: Mapping[tuple[str, str], Sequence[str]],
    texts: Mapping[str, bytes],
    stages: Mapping[str, PipelineOut],
) -> dict[tuple[str, str], dict[str, PipelineOut]]:
    """Return what the pipelines say of each `dvc.lock`'s outputs, by its (file, blob id).

    An output that today's `dvc.yaml` does not know, or keeps out of the cache, counts as cached,
    unless that commit holds the path in git itself (as `tree.read_commit`).
    """
    unknown: dict[tuple[str, str], list[str]] = {}
    for file, blob in blobs:
        if is_lock(file) and blob in texts:
            with contextlib.suppress(Refused):
                locked = pointers.lock_paths(file, texts[blob])
                unknown[file, blob] = [p for p in locked if p not in stages or not stages[p].cached]
    asked = [(key, path) for key, paths in unknown.items() for path in paths]
    held = git.present([f"{blobs[key][0]}:{git.prefix}{path}" for key, path in asked])
    known: dict[tuple[str, str], dict[str, PipelineOut]] = {key: dict(stages) for key in unknown}
    for (key, path), in_git in zip(asked, held, strict=True):
        if not in_git:
            known[key][path] = pointers.PipelineOut(stage="")
    return known

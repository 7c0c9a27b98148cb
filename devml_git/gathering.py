"""What commits need: every object that their pointers name, once.

From a few `git diff-tree` over all commits and a `git cat-file --batch` over the pointers' texts,
however many commits there are; what a `dvc.lock` means is asked once for all commits in which it
and its pipeline are the same. What a commit has unchanged, its parents have; of parents that are
not among the commits, the trees are read.
"""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from devml_git import bounds, gate, pointers
from devml_git.errors import Refused
from devml_git.pipelines import AtRevision, stand_in, yaml_of
from devml_git.plumbing import POINTER_PATHSPECS, YAML_PATHSPECS, is_lock, is_pointer_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from devml_git.nouns import Pointer
    from devml_git.pipelines import Pipelines
    from devml_git.plumbing import Git
    from devml_git.pointers import PipelineOut

_SPECS = 200  # names that one git is given as arguments
Version = tuple[str, str]  # a pointer file, and what it is in some commits
_Said = dict[tuple[str, str], "PipelineOut"]  # what a `dvc.yaml` says, by stage and path as written


@dataclass(slots=True)
class Gathered:
    """What some commits need.

    A version is of a pointer file: its blob id, and for a `dvc.lock` also what the pipelines of the
    commit make of it. `pointers` by version, each distinct one once; `commits` by version the
    commits in which it is first seen, newest first; `broken` the pointer files that cannot be
    followed; `locks` by commit the versions of the locks that mean something else there than in a
    parent ("": it has none).
    """

    pointers: dict[Version, list[Pointer]] = field(default_factory=dict)
    commits: dict[Version, list[str]] = field(default_factory=dict)
    broken: dict[Version, str] = field(default_factory=dict)
    locks: dict[str, dict[str, str]] = field(default_factory=dict)


def gather(
    git: Git, commits: Sequence[str], pipelines: Pipelines, *, nested: Iterable[str] = ()
) -> Gathered:
    """Return what these commits' pointers name.

    `nested` are the projects below this one, whose files are theirs.
    Pointers that are not ours (imports, `cache: false`, cloud-versioned) are left out.
    """
    found = Gathered()
    new = set(commits)
    changed: dict[str, set[str]] = {}
    theirs = tuple(f"{place}/" for place in nested)
    for row in git.changed_blobs(commits, (*POINTER_PATHSPECS, *YAML_PATHSPECS)):
        changed.setdefault(row.commit, set()).add(row.path)
        if row.new and _is_file(row.path) and not row.path.startswith(theirs):
            found.commits.setdefault((row.path, row.new), []).append(row.commit)
    parents = git.parents(commits)
    above = {c: [p for p in parents[c] if p not in new] for c in commits}
    trees = _trees(git, list(dict.fromkeys(p for ps in above.values() for p in ps)))
    locks = _Locks(git, pipelines)
    for commit in commits:
        for path, blob in (entry for p in above[commit] for entry in trees[p].items()):
            if path.startswith(theirs):
                continue
            if is_lock(path):
                locks.meet(commit, path)
            elif path not in changed.get(commit, ()):
                found.commits.setdefault((path, blob), []).append(commit)
    locks.find(commits, changed, theirs)
    blobs = {key: key[1] for key in found.commits}
    for (commit, file), version in locks.versions.items():
        found.locks.setdefault(commit, {})[file] = version
        if version:
            found.commits.setdefault((file, version), []).append(commit)
            blobs[file, version] = locks.said[file, version][0]
    for some in _by_size(git, blobs):
        _read(git, some, locks, found)
    return found


def _is_file(path: str) -> bool:
    """Whether a path is a pointer file that says by itself what it means."""
    return is_pointer_file(path) and not is_lock(path)


class _Locks:
    """What each `dvc.lock` means in the commits where that may have changed.

    `versions` by commit and file, "" for none; `said` by file and version its blob id and what the
    pipelines say of its outputs.
    """

    def __init__(self, git: Git, pipelines: Pipelines) -> None:
        self._git = git
        self._pipelines = pipelines
        self._met: dict[tuple[str, str], None] = {}
        self._known: dict[tuple[str, tuple[str | None, ...]], str] = {}
        self.versions: dict[tuple[str, str], str] = {}
        self.said: dict[Version, tuple[str, _Said]] = {}

    def meet(self, commit: str, file: str) -> None:
        """Hear of a commit in which a lock may mean something new."""
        self._met[commit, file] = None

    def find(
        self,
        commits: Sequence[str],
        changed: Mapping[str, set[str]],
        theirs: tuple[str, ...],
    ) -> None:
        """Find the versions. `changed` are the pointers and pipelines that commits have changed."""
        rows = [(c, p) for c, paths in changed.items() for p in paths if not p.startswith(theirs)]
        files = sorted({p for _, p in rows if is_lock(p)} | {file for _, file in self._met})
        whole = [(commit, self._whole(path)) for commit, path in rows]
        watched: set[str] = set()
        while files:
            locks_of: dict[str, list[str]] = {}
            for file in files:
                for source in (file, *self._pipelines.sources(file)):
                    locks_of.setdefault(self._whole(source), []).append(file)
            for commit, path in whole:
                for file in locks_of.get(path, ()):
                    self.meet(commit, file)
            self._resolve()
            sources = {self._whole(s) for file in files for s in self._pipelines.sources(file)}
            fresh = sorted(sources - watched)
            if not fresh:
                return
            watched.update(fresh)
            whole = []
            for start in range(0, len(fresh), _SPECS):
                specs = [f":(literal){name}" for name in fresh[start : start + _SPECS]]
                found = self._git.whole.changed_blobs(commits, specs)
                whole += [(row.commit, row.path) for row in found]

    def _whole(self, path: str) -> str:
        """Return a path as seen from the worktree's root: values may come from above a project."""
        return posixpath.normpath(f"{self._git.prefix}{path}")

    def _resolve(self) -> None:
        """Ask for what is not known: once for all commits that have the same files."""
        events = list(self._met)
        names = [(file, *sorted(self._pipelines.sources(file))) for _, file in events]
        specs = [
            f"{commit}:{self._whole(name)}"
            for (commit, _), some in zip(events, names, strict=True)
            for name in some
        ]
        ids = iter(self._git.ids_of(specs, follow=True))
        for (commit, file), some in zip(events, names, strict=True):
            blob, *others = (next(ids) for _ in some)
            key = file, (blob, *others)
            if key not in self._known:
                self._known[key] = self._version(commit, file, blob)
            self.versions[commit, file] = self._known[key]

    def _version(self, commit: str, file: str, blob: str | None) -> str:
        if blob is None:
            return ""
        bounds.renew(dvc=True)  # a history may be long
        yaml = yaml_of(file)
        outs = self._pipelines.outs([yaml], AtRevision(self._git, commit))
        said = outs.known.get(file, {})
        if yaml in outs.unread:
            text = self._git.small_blobs([blob], gate.MAX_POINTER_BYTES)[blob] or b""
            said = stand_in(file, text, partial(self._held, commit))
        words = repr(sorted(said.items())).encode("utf-8", "surrogatepass")
        version = f"{blob}-{hashlib.sha256(words).hexdigest()[:16]}"
        self.said[file, version] = blob, said
        return version

    def _held(self, commit: str, paths: set[str]) -> set[str]:
        """Return which of these paths git holds itself in a commit."""
        asked = sorted(paths)
        there = self._git.present([f"{commit}:{self._git.prefix}{path}" for path in asked])
        return {path for path, is_in in zip(asked, there, strict=True) if is_in}


def _by_size(git: Git, blobs: Mapping[Version, str]) -> Iterator[dict[Version, str]]:
    """Yield parts of them that may be in memory at once: a history may hold many large ones."""
    ids = sorted(set(blobs.values()))
    sizes = dict(zip(ids, git.blob_sizes(ids), strict=True))
    part: dict[Version, str] = {}
    total = 0
    for key, blob in blobs.items():
        part[key] = blob
        total += min(sizes[blob], gate.MAX_POINTER_BYTES)
        if total >= bounds.MAX_POINTERS_BYTES:
            yield part
            part, total = {}, 0
    if part:
        yield part


def _read(git: Git, blobs: Mapping[Version, str], locks: _Locks, found: Gathered) -> None:
    texts = git.small_blobs(sorted(set(blobs.values())), gate.MAX_POINTER_BYTES)
    for key, blob in blobs.items():
        bounds.renew()  # a history may be long
        file, where, text = key[0], found.commits[key][0][:12], texts[blob]
        if text is None:
            why = f"{gate.shown(file)}: larger than {gate.MAX_POINTER_BYTES} bytes"
            found.broken[key] = f"{why} ({where})"
            continue
        try:
            read = pointers.read(file, text, {file: locks.said[key][1]} if is_lock(file) else None)
        except Refused as e:
            found.broken[key] = f"{e.message} ({where})"
            continue
        found.pointers[key] = [p for p in read if p.why_left_alone is None and p.oid]


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

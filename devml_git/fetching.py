"""`fetch`: content of commits from the DVC remotes into the cache; the workspace stays."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from devml_git.errors import ContentLost, UsageError
from devml_git.gate import shown
from devml_git.gathering import gather
from devml_git.remote import Wanted
from devml_git.supply import Supply
from devml_git.switching import means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devml_git.nouns import Pointer
    from devml_git.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to be fetched.

    `words` are a git remote and refs, as for git fetch; `number` the newest commits of each ref,
    `since` a date as git takes it, `paths` artifacts, files of directory artifacts, or globs over
    either, relative to the root; none: all.
    """

    words: tuple[str, ...] = ()
    everything: bool = False
    number: int = 1
    since: str | None = None
    paths: tuple[str, ...] = ()


@dataclass(slots=True)
class Fetched:
    """What came: objects and bytes, for how many commits; `missing` are artifact paths.

    `matched` is how many artifacts' versions were meant; `withheld` are those that are not here and
    on no remote by choice (`push: false`).
    """

    commits: int = 0
    matched: int = 0
    objects: int = 0
    size: int = 0
    missing: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)


def fetch(ws: Workspace, chosen: Chosen) -> Fetched:
    """Run `git fetch`, then bring what is chosen. Raises GitFailed, UsageError, DvcFailed."""
    git = ws.git
    remotes = git.remotes()
    remote = chosen.words[0] if chosen.words and chosen.words[0] in remotes else None
    refs = chosen.words[1:] if remote else chosen.words
    if remotes:
        git.fetch([remote] if remote else [], cwd=Path.cwd())
    commits = _commits(ws, chosen, remote, refs)
    wanted = [(p, part) for p in _pointers(ws, commits) if (part := _parts(p, chosen.paths))]
    done = _bring(ws, wanted, Fetched(commits=len(commits)))
    if chosen.paths and not done.matched:
        raise UsageError(f"no artifact there matches {shown(', '.join(chosen.paths))}")
    return done


def _commits(ws: Workspace, chosen: Chosen, remote: str | None, refs: Sequence[str]) -> list[str]:
    if chosen.everything:
        return ws.git.all_commits()
    tips = [_tip(ws, remote, ref) for ref in refs]
    if not refs:
        tips = [c for c in map(ws.git.commit_of, ("HEAD", "@{upstream}")) if c is not None]
    limits = [f"--since={chosen.since}"] if chosen.since else [f"--max-count={chosen.number}"]
    found: dict[str, None] = {}
    for tip in dict.fromkeys(tips):
        found.update(dict.fromkeys(ws.git.commits_meant([tip], *limits, walk=True)))
    return list(found)


def _tip(ws: Workspace, remote: str | None, ref: str) -> str:
    names = ([f"refs/remotes/{remote}/{ref}"] if remote else []) + [ref, f"refs/remotes/{ref}"]
    for name in names:
        commit = ws.git.commit_of(name)
        if commit is not None:
            return commit
    return ws.git.require_commit(ref)


def _pointers(ws: Workspace, commits: Sequence[str]) -> list[Pointer]:
    """Return each content once: the pointers of these commits, by what they name."""
    gathered = gather(ws.git, commits, ws.pipelines, nested=ws.tree.nested)
    found: dict[tuple[str, str, str, str | None], Pointer] = {}
    for pointers in gathered.pointers.values():
        for p in pointers:
            found.setdefault((p.path, p.oid or "", p.hash_name, p.sha256), p)
    return list(found.values())


def _parts(pointer: Pointer, paths: Sequence[str]) -> list[str]:
    """Return what of an artifact is meant: [""] for all of it, globs over a directory's files."""
    if not paths or any(not p or p == pointer.file or means(p, pointer.path) for p in paths):
        return [""]
    inside = f"{pointer.path}/"
    return [p.removeprefix(inside) for p in paths if pointer.is_dir and p.startswith(inside)]


def _bring(
    ws: Workspace, chosen: Sequence[tuple[Pointer, Sequence[str]]], done: Fetched
) -> Fetched:
    supply = Supply(ws, fetch=True)
    cache = ws.cache
    kept = [p for p, _ in chosen if not p.push]
    done.matched += len(kept)
    chosen = [(p, parts) for p, parts in chosen if p.push]
    tops = [p for p, _ in chosen if p.oid and not cache.has(p.oid, p.hash_name)]
    gone = set(supply.fetch_wanted([Wanted.of(p, p.oid or "") for p in tops]))
    lacking: dict[tuple[str, str], tuple[Wanted, str]] = {}
    for p, parts in chosen:
        try:
            members = supply.members(p)
        except ContentLost:
            gone.add(p.oid or "")
            done.matched += 1
            continue
        meant = {n: oid for n, oid in members.items() if any(not q or means(q, n) for q in parts)}
        done.matched += parts == [""] or bool(meant)
        for name, oid in meant.items():
            if p.is_dir and not cache.has(oid, p.hash_name):
                place = f"{p.path}/{name}"
                lacking.setdefault((oid, p.hash_name), (Wanted.of(p, oid), place))
    lost = set(supply.fetch_wanted([w for w, _ in lacking.values()]))
    unlike = {p.path for p, _ in chosen if p.oid not in gone and supply.disagrees(p)}
    here = [(p.oid or "", p.hash_name) for p in tops if p.oid not in gone and p.path not in unlike]
    here += [key for key in lacking if key[0] not in lost]
    done.withheld = sorted({p.path for p in kept if cache.missing_of(p.oid or "", p.hash_name)})
    done.objects = len(here)
    done.size = sum(cache.size_of(*key) for key in here)
    done.missing = sorted(
        {p.path for p, _ in chosen if p.oid in gone}
        | unlike
        | {place for (oid, _), (_, place) in lacking.items() if oid in lost}
    )
    return done

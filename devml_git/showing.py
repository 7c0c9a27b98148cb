"""`show`: the whole snapshot of a commit, and where the content of each artifact is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from devml_git import gate, savepoints
from devml_git.choosing import Chosen, unknown_revision
from devml_git.errors import DevmlError, DvcFailed, UsageError
from devml_git.following import Following, concerns
from devml_git.remote import Wanted
from devml_git.trust import NotTrusted
from devml_git.walking import snapshot, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from devml_git.changing import Commit
    from devml_git.nouns import Pointer
    from devml_git.savepoints import Savepoint
    from devml_git.workspace import Workspace

HERE, REMOTE, NOWHERE = "here", "remote", "nowhere"
UNASKED = "not here"  # and no DVC remote was asked, or none answered
CORRUPT = "corrupt"  # all that is known of: too short or too long, or set aside
_STALL_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Held:
    """An artifact of the snapshot, and where its content is: HERE, REMOTE, NOWHERE, UNASKED or
    CORRUPT. HERE is not proven: that is what `verify` is for.

    None for what this tool does not manage: imports, cloud-versioned outputs.
    """

    pointer: Pointer
    content: str | None

    def to_dict(self, prefix: str) -> dict[str, Any]:
        """Return one entry of `artifacts` in `show --json`."""
        p = self.pointer
        files = {} if p.nfiles is None else {"nfiles": p.nfiles}
        return {
            "path": prefix + p.path, "kind": "dir" if p.is_dir else "file", "oid": p.oid,
            "size": p.size, **files, "content": self.content, "pointer": prefix + p.file,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shown:
    """A commit, its whole snapshot, and `broken`: the pointers that cannot be followed, in words.

    `point` is set where the commit is a snapshot between commits.
    """

    commit: Commit
    artifacts: tuple[Held, ...]
    broken: tuple[str, ...] = ()
    point: Savepoint | None = None
    prefix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return product.md's `show --json`."""
        found = {"schema": "devml.show/v1", **self.commit.to_dict(self.prefix)}
        found["artifacts"] = [held.to_dict(self.prefix) for held in self.artifacts]
        found |= {"broken": list(self.broken)} if self.broken else {}
        return found | ({"snapshot": self.point.to_dict()} if self.point else {})


def show(ws: Workspace, rev: str, paths: Sequence[str] = (), *, fetch: bool) -> Shown:
    """Return the snapshot of a revision, or of a snapshot between commits.

    `paths`: only these artifacts, metrics and parameters, also of what changed. `fetch`: what the
    cache lacks is asked of the DVC remotes; nothing is transferred. Raises UsageError.
    """
    sha = _commit(ws, rev)
    whole = snapshot(ws.git, ws.config, sha)
    kept = {path: p for path, p in whole.pointers.items() if _meant(p, paths)}
    chosen = Chosen(revs=(sha,), alone=True)
    with contextlib.closing(walk(ws.git, ws.config, chosen, cache=lambda: ws.cache)) as walking:
        commit = next(walking)
    if paths:
        commit = Following(paths, lambda: ws.cache).narrowed(commit, frozenset(paths)).told()
        measured = (*commit.measures.metrics, *commit.measures.params)
        if not (kept or commit.changes or measured):
            raise UsageError(
                f"no artifact at {gate.shown(rev)} is {gate.shown(', '.join(paths))}",
                hint=_where_else(ws, rev, paths[0]),
            )
    where = whereabouts(ws, list(kept.values()), fetch=fetch)
    held = tuple(Held(p, where.get(path)) for path, p in sorted(kept.items()))
    broken = tuple(f"{b.file}: {b.why}" for b in whole.broken)
    return Shown(commit, held, broken, savepoints.at(ws.git, sha), ws.git.prefix)


def _where_else(ws: Workspace, rev: str, path: str) -> str:
    if ws.git.blobs_at(_commit(ws, rev), [path])[path]:
        return (
            f"git show {gate.quoted(f'{rev}:{ws.git.prefix}{path}')}   shows what git itself holds"
        )
    return f"devml-git show {gate.quoted(rev)}   lists all"


def _meant(pointer: Pointer, paths: Sequence[str]) -> bool:
    return not paths or pointer.file in paths or concerns(pointer.path, paths)


def _commit(ws: Workspace, rev: str) -> str:
    """Return the commit that a revision, or the name of a snapshot between commits, is."""
    sha = ws.git.commit_of(rev)
    if sha is None:
        sha = next((p.commit for p in savepoints.read(ws.git) if rev in {p.name, p.ref}), None)
    if sha is None:
        raise unknown_revision(ws.git, rev, "show")
    return sha


def whereabouts(ws: Workspace, pointers: Sequence[Pointer], *, fetch: bool) -> dict[str, str]:
    """Return by artifact where its content is; a remote that fails is a warning."""
    found: dict[str, str] = {}
    asked: dict[str, dict[str, list[Wanted]]] = {}
    remote_of = cache(lambda remote: _remote(ws, remote))  # each reads DVC's configuration
    for p in pointers:
        if p.oid is None or p.why_left_alone is not None:
            continue
        lacking = _lacking(ws, p)
        found[p.path] = _here(ws, p) if not lacking else UNASKED if fetch is False else NOWHERE
        name = remote_of(p.remote) if lacking and fetch and p.push else None
        if name is not None:
            wanted = [Wanted(oid, p.hash_name, p.remote) for oid in lacking]
            asked.setdefault(name, {})[p.path] = wanted
    for name, wanted_by_path in asked.items():
        found |= _ask(ws, name, wanted_by_path)
    for p in pointers:
        if found.get(p.path) in {NOWHERE, UNASKED} and ws.cache.quarantined(p.oid or ""):
            found[p.path] = CORRUPT
    return found


def _here(ws: Workspace, pointer: Pointer) -> str:
    """Return whether what the cache has can be right: sizes alone are looked at."""
    size = ws.cache.size_of(pointer.oid or "", pointer.hash_name)
    wrong = not pointer.is_dir and pointer.size is not None and size != pointer.size
    return CORRUPT if wrong else HERE


def _lacking(ws: Workspace, pointer: Pointer) -> list[str]:
    assert pointer.oid is not None
    try:
        return ws.cache.missing_of(pointer.oid, pointer.hash_name)
    except DevmlError:  # a hostile manifest
        return [pointer.oid]


def _remote(ws: Workspace, wanted: str | None) -> str | None:
    with contextlib.suppress(DvcFailed):  # a colleague's own, that is not configured here
        return ws.dvc.name_of(wanted)
    return None


def _ask(ws: Workspace, name: str, wanted: Mapping[str, Iterable[Wanted]]) -> dict[str, str]:
    """Ask one remote for all. A manifest that is there stands for its files: it is sent last."""
    try:
        there = ws.remote(name, stall=_STALL_SECONDS)
        absence = there.absence()
        if absence is not None:
            raise DvcFailed(absence)
        known = there.sizes([w for some in wanted.values() for w in some])
    except DvcFailed as e:
        ws.warnings.append(f"{e.message}   ({e.hint})" if isinstance(e, NotTrusted) else e.message)
        return dict.fromkeys(wanted, UNASKED)
    return {
        path: REMOTE if all(w.key in known for w in some) else NOWHERE
        for path, some in wanted.items()
    }

"""`checkout` in all its forms: code, data and models as they were at a revision.

Everything is checked before anything moves: work that is in no snapshot (exit 31), content that
is nowhere to be had (exit 30). Then git moves, then the content follows.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import posixpath
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from devml_git import gate, instep, pointers, savepointing, savepoints
from devml_git.errors import GitFailed, StorageFailed, UsageError
from devml_git.manifest import manifest_oid
from devml_git.nouns import Content, State
from devml_git.place import Absent, lstat, parent, storage_error
from devml_git.plumbing import is_lock
from devml_git.restoring import Done, Restorer
from devml_git.setup import nearest
from devml_git.supply import Supply
from devml_git.wording import lost, would_overwrite
from devml_git.workspace import token

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devml_git.nouns import Pointer, Snapshot
    from devml_git.savepointing import Present
    from devml_git.savepoints import Savepoint
    from devml_git.workspace import Observed, Workspace

_CAUSE = "checkout"


# -- checkout REV --------------------------------------------------------------------------------


def resolve(ws: Workspace, rev: str) -> tuple[str, str]:
    """Return (what to tell git, commit id) for a REV, as `git checkout` would understand it.

    Raises UsageError for an unknown revision.
    """
    name = "@{-1}" if rev == "-" else rev
    sha = ws.git.commit_of(name)
    if sha is not None:
        return rev, sha
    if not rev.startswith("-"):
        refs = ws.git.names(
            "for-each-ref", "--format=%(objectname)%00", "--", f"refs/remotes/*/{rev}"
        )
        found = [ref.strip() for ref in refs if ref.strip()]
        if len(found) == 1:
            return rev, found[0]
    raise UsageError(f"unknown revision '{gate.shown(rev)}'", hint="git log --oneline --all")


def checkout_rev(
    ws: Workspace, rev: str | None, *, branch: str | None, force: bool, fetch: bool
) -> Done:
    """Move HEAD, code, data and models to a revision (or make a branch there).

    Raises WouldOverwrite, ContentLost or GitFailed before anything has moved. On the way to a
    snapshot between commits, work that is in another one of those is in a snapshot, too.
    """
    _ = ws.origin
    told, sha = resolve(ws, rev) if rev is not None else ("HEAD", ws.git.head() or "")
    target = ws.snapshot_at(sha) if sha else None
    observed = ws.observe()
    ws.settle(observed)
    in_the_way: list[str] = []
    held = None
    if target is not None:
        held = _held(ws, sha, force=force)
        if not force and held is None:
            _refuse_overwriting(ws, observed, target)
        _obtain(ws, observed, target, fetch=fetch)
        in_the_way = _artifacts_git_tracks(ws, observed, sha, force=force or held is not None)
    taken_away = _step_aside(ws, observed, in_the_way)
    try:
        with contextlib.ExitStack() as stack:
            if held is not None:
                stack.enter_context(savepointing.standing_on(ws, *held))
            elif force:
                _keep_code_edits(ws)
            _git_checkout(ws, told if rev is not None else None, branch)
    except GitFailed:
        instep.bring_in_step(ws, cause=_CAUSE, fetch=False)
        raise
    with ws.record.writing():
        for path in taken_away:
            ws.record.forget(path)
    done = instep.bring_in_step(ws, cause=_CAUSE, fetch=fetch, force=force)
    done.blocked += [(b.file, b.why) for b in ws.tree.snapshot.broken]
    done.left = held[0] if held is not None else None
    return done


def _held(ws: Workspace, sha: str, *, force: bool) -> tuple[Savepoint, Present] | None:
    """Towards a snapshot between commits: the one that the workspace is now, made if forced.

    None where all is as HEAD has it, or where git would have to go by the ordinary way.
    """
    if savepoints.at(ws.git, sha) is None or ws.git.stands_half_way() or ws.tree.snapshot.broken:
        return None
    now = savepointing.present(ws)
    point = savepointing.held(ws, now)
    if point is None and force:
        point = savepointing.make(ws, now, "before checkout --force")
    if point is None or point.commit == ws.git.head() or ws.git.staged_only():
        return None
    return point, now


def _git_checkout(ws: Workspace, rev: str | None, branch: str | None) -> None:
    argv = ["checkout", "--quiet", "--no-overwrite-ignore"]
    argv += ["-b", branch] if branch else []
    argv += [rev] if rev is not None else []
    ws.warnings += ws.git.warned(*argv, "--")


def _keep_code_edits(ws: Workspace) -> None:
    """`--force` throws away edits of code, as in git; here they stay findable, as a stash."""
    if ws.git.out("ls-files", "-u"):
        raise GitFailed(
            "a merge stands half-way, and its edits could not be kept",
            hint="git merge --abort, or settle it: git status",
        )
    if ws.git.head() is None:
        return  # on a branch without a commit there is nothing to put away against
    ws.git.raw("update-index", "-q", "--refresh", ok=(0, 1, 128))  # 128: another git is at work
    made = ws.git.out("stash", "create", "devml-git checkout --force").strip()
    if made:
        ws.git.raw("stash", "store", "-m", "devml-git checkout --force", made)
        ws.warnings.append("your edits of code are kept: git stash list")
    ws.git.raw("reset", "--hard", "--quiet")


def _refuse_overwriting(ws: Workspace, observed: Sequence[Observed], target: Snapshot) -> None:
    """Raise WouldOverwrite for work in no snapshot that the target's content would replace."""
    seen = {o.path: o for o in observed}
    wrong = [o.path for o in observed if _would_be_lost(ws, o, target.managed().get(o.path))]
    known = seen.keys() | ws.tree.snapshot.pointers.keys()
    fresh = {path: p for path, p in target.managed().items() if path not in known}
    in_git = ws.git.tracked_among(fresh)  # git's own to keep: it refuses if they are dirty
    for path, pointer in fresh.items():
        if path in in_git:
            continue
        work = ws.look(path)
        if work.kind == "dir" and {f"{path}/{name}" for name in work.files} <= in_git:
            continue
        if work.kind != "absent":
            ws.learn([work], store_content=False)
            o = ws.judge(work, pointer, ws.record.materialised().get(path))
            if o.state in {State.MODIFIED, State.CONFLICT}:
                wrong.append(path)
    if wrong:
        raise would_overwrite(wrong)


def _would_be_lost(ws: Workspace, o: Observed, pointer: Pointer | None) -> bool:
    if o.state not in {State.MODIFIED, State.CONFLICT, State.NEW} or pointer is None:
        return False
    same_pointer = o.pointer is not None and o.pointer.oid == pointer.oid
    if o.state is State.MODIFIED and same_pointer:
        return False  # the edit is carried along, as git carries edits of code
    if o.state is State.MODIFIED and ws.edit_stands(o, pointer):
        return False
    return pointer.oid is not None and o.w != token(pointer.oid, pointer.executable)


def _obtain(ws: Workspace, observed: Sequence[Observed], target: Snapshot, *, fetch: bool) -> None:
    have = {o.path: o.work for o in observed}
    pointers = target.managed()
    missing = Supply(ws, fetch).obtain(pointers.values(), have, verify=True)
    withheld = {path for path, p in pointers.items() if not p.push}  # nobody else can have it
    missing = [m for m in missing if not any(m == p or m.startswith(f"{p}/") for p in withheld)]
    if missing:
        raise lost(missing)


def _artifacts_git_tracks(
    ws: Workspace, observed: Sequence[Observed], sha: str, *, force: bool
) -> list[str]:
    """Return artifacts whose place the target's tree holds as files of git's own."""
    tracked = {e.path for e in ws.git.tree_entries(sha, all_paths=True)}
    prefixes = {p[: i + 1] for p in tracked for i, c in enumerate(p) if c == "/"}
    held = [o for o in observed if o.path in tracked or f"{o.path}/" in prefixes]
    edited = [o.path for o in held if o.state not in {State.CLEAN, State.DELETED, State.MISSING}]
    if edited and not force:
        raise would_overwrite(edited)
    return [o.path for o in held]


def _step_aside(ws: Workspace, observed: Sequence[Observed], paths: Sequence[str]) -> list[str]:
    """Take artifacts away that git is about to write itself; the cache has them."""
    restorer = Restorer(ws, cause=_CAUSE, fetch=False)
    for o in observed:
        if o.path in paths and o.work.kind != "absent":
            restorer.take_away(o.work)
    return list(paths)


# -- checkout without REV ------------------------------------------------------------------------


def bring(ws: Workspace, *, force: bool, fetch: bool) -> Done:
    """Bring the workspace in step with the pointers as they lie there; edits stay unless forced."""
    observed = ws.observe(with_new=False)
    conflicts = [o.path for o in observed if o.state is State.CONFLICT]
    if conflicts and not force:
        raise would_overwrite(conflicts)
    done = instep.bring_in_step(ws, cause=_CAUSE, fetch=fetch, force=force)
    done.blocked += [(b.file, b.why) for b in ws.tree.snapshot.broken]
    return done


# -- checkout [REV] -- PATH ----------------------------------------------------------------------


def checkout_paths(
    ws: Workspace, rev: str | None, paths: Sequence[str], *, force: bool, fetch: bool
) -> Done:
    """Bring single artifacts, or members of directory artifacts, and their pointers; HEAD stays.

    Raises UsageError for a path that is not tracked there, WouldOverwrite, ContentLost.
    """
    sha = resolve(ws, rev)[1] if rev is not None else None
    source = ws.snapshot_at(sha) if sha else ws.tree.snapshot
    whole, parts = select(ws, source, paths)
    observed = {o.path: o for o in ws.observe(only={*whole, *parts})}
    restorer = Restorer(ws, cause=_CAUSE, fetch=fetch)
    chosen = {p: source.pointers[p] for p in {*whole, *parts}}
    works = {path: ws.look(path) for path in chosen}
    ws.learn(works.values(), store_content=False)
    if not force:
        _refuse_paths(whole, chosen, observed, ws)
    manifests = [p for p in chosen.values() if p.path in whole]
    missing = restorer.supply.obtain(manifests, works, verify=True)
    picked = {path: _pick(restorer, chosen[path], patterns) for path, patterns in parts.items()}
    missing += _obtain_members(restorer, chosen, picked)
    if missing:
        raise lost(missing)
    for path in parts:
        _bring_members(ws, restorer, path, chosen[path], picked[path], force=force)
    if sha is not None:
        ws.refresh()
        _write_pointers(ws, sha, [chosen[p] for p in whole])
    if whole:
        ws.refresh()
        now = ws.observe(only=set(whole), with_new=False)
        restorer.bring(now, force=True)
        ws.settle(now)
    return restorer.done


def means(given: str, path: str) -> bool:
    """Whether PATH as it was given (a path, a directory above, or a glob) means a path."""
    return path == given or path.startswith(f"{given}/") or fnmatch.fnmatchcase(path, given)


def select(
    ws: Workspace, source: Snapshot, paths: Sequence[str]
) -> tuple[list[str], dict[str, list[str]]]:
    """Return (whole artifacts, members: artifact to patterns) that PATH arguments mean.

    PATH is an artifact's path, its pointer's, a directory above artifacts, a file or glob inside
    a directory artifact, or a glob over artifacts; all relative to the root.
    """
    managed = source.managed()
    by_file = {p.file: p.path for p in managed.values()}
    whole: list[str] = []
    parts: dict[str, list[str]] = {}
    for path in paths:
        if path in source.pointers and path not in managed:
            why = source.pointers[path].why_left_alone
            raise UsageError(f"{gate.shown(path)} is left alone ({why})", hint="dvc checkout")
        name = by_file.get(path, path)
        found = [a for a in managed if not name or means(name, a)]
        inside = next((a for a in managed if name.startswith(f"{a}/") and managed[a].is_dir), None)
        if found:
            whole += found
        elif inside:
            parts.setdefault(inside, []).append(name[len(inside) + 1 :])
        else:
            raise UsageError(f"{gate.shown(path)} is not an artifact", hint=nearest(ws, path))
    return sorted(set(whole)), {a: p for a, p in parts.items() if a not in whole}


def _refuse_paths(
    whole: Sequence[str],
    chosen: Mapping[str, Pointer],
    observed: Mapping[str, Observed],
    ws: Workspace,
) -> None:
    wrong = []
    for path in whole:
        pointer = chosen[path]
        o = observed.get(path)
        if o is None:
            work = ws.look(path)
            ws.learn([work], store_content=False)
            o = ws.judge(work, pointer, ws.record.materialised().get(path))
        unsaved = o.state in {State.MODIFIED, State.CONFLICT, State.NEW}
        same = pointer.oid is not None and o.w == token(pointer.oid, pointer.executable)
        if unsaved and o.w is not None and not same and not savepoints.hold(ws.git, o.work.oid()):
            wrong.append(path)
    if wrong:
        raise would_overwrite(wrong)


def _pick(restorer: Restorer, pointer: Pointer, patterns: Sequence[str]) -> dict[str, str]:
    """Return the members (name to oid) of a directory artifact that files or globs mean."""
    restorer.supply.obtain_manifest(pointer)
    members = restorer.supply.members(pointer)
    picked = {}
    for pattern in patterns:
        plain = pattern.rstrip("/")
        found = [n for n in members if means(plain, n)]
        if not found:
            raise UsageError(
                f"{gate.shown(pattern)} matches nothing in {gate.shown(pointer.path)} there"
            )
        picked.update({n: members[n] for n in found})
    return picked


def _obtain_members(
    restorer: Restorer, chosen: Mapping[str, Pointer], picked: Mapping[str, dict[str, str]]
) -> list[str]:
    missing = []
    for path, members in picked.items():
        supply, pointer = restorer.supply, chosen[path]
        lost_oids = set(supply.obtain_objects(pointer, members.values(), verify=True))
        lost_oids |= set(members.values()) if supply.disagrees(pointer) else set()
        missing += [f"{path}/{n}" for n, oid in members.items() if oid in lost_oids]
    return missing


def _bring_members(
    ws: Workspace,
    restorer: Restorer,
    path: str,
    source: Pointer,
    picked: Mapping[str, str],
    *,
    force: bool,
) -> None:
    """Bring some members; the pointer then has them beside what it had."""
    current = ws.tree.snapshot.managed().get(path)
    base = restorer.supply.members(current) if current is not None and current.is_dir else {}
    work = ws.look(path)
    ws.learn([work], store_content=False)
    r = ws.record.materialised().get(path)
    put_there = (ws.members_of(r.oid) if r else None) or {}
    edited = [
        n
        for n, oid in picked.items()
        if work.oids.get(n) not in {None, oid, base.get(n), put_there.get(n)}
    ]
    if edited and not force and not savepoints.hold(ws.git, work.oid()):
        raise would_overwrite([f"{path}/{n}" for n in edited])
    lies = work.oids if work.kind == "dir" else {}
    if work.kind == "file" and not force and not ws.git.committed(work.oids.values()):
        raise would_overwrite([path])  # a file where the directory was, in no snapshot
    members = {**base, **picked}
    pointer = _pointer_with(ws, current, source, members)
    restorer.bring_part(
        pointer, work, {**lies, **picked}, known={**(put_there or base), **picked}, force=force
    )


def _pointer_with(
    ws: Workspace, current: Pointer | None, source: Pointer, members: Mapping[str, str]
) -> Pointer:
    """Write (and stage) a directory's pointer for other members; return it."""
    pointer = current or source
    if current is not None and current.oid == manifest_oid(members):
        return current
    oid, _ = ws.cache.put_manifest(members)
    executable = frozenset(n for n in source.executable | pointer.executable if n in members)
    sizes = sum(ws.cache.size_of(o, source.hash_name) for o in members.values())
    vouched = ws.vouch(members)
    content = Content(oid, sizes, len(members), executable, vouched)
    _write_pointer(ws, pointer, content)
    return replace(
        pointer, oid=oid, size=sizes, nfiles=len(members), executable=executable, sha256=vouched
    )


def _write_pointer(ws: Workspace, pointer: Pointer, content: Content) -> None:
    old = ws.tree.texts.get(pointer.file)
    if old is None:
        name = posixpath.relpath(pointer.path, posixpath.dirname(pointer.file) or ".")
        text = pointers.new(name, content)
    else:
        text = pointers.updated(old, pointer, content)
    ws.journal.write(pointer.file, text, create=True)
    ws.tree.texts[pointer.file] = text
    ws.journal.stage([pointer.file])


def _write_pointers(ws: Workspace, sha: str, chosen: Sequence[Pointer]) -> None:
    """Bring the pointers of a revision into worktree and index, as `git checkout REV -- x.dvc`."""
    entries = {e.path: e.blob for e in ws.git.tree_entries(sha)}
    for pointer in chosen:
        if is_lock(pointer.file):
            if pointer.oid is not None:
                content = Content(
                    pointer.oid, pointer.size or 0, pointer.nfiles, pointer.executable
                )
                _write_pointer(ws, pointer, content)
            continue
        text = ws.git.blob(entries[pointer.file], pointer.file, gate.MAX_POINTER_BYTES)
        if ws.tree.texts.get(pointer.file) != text:
            ws.journal.write(pointer.file, text, create=True)
        ws.journal.stage([pointer.file])


# -- checkout --to DIR ---------------------------------------------------------------------------


def export(
    ws: Workspace, rev: str | None, directory: str, paths: Sequence[str], *, fetch: bool
) -> Done:
    """Materialise a revision (or some of its artifacts) in another directory.

    The directory must not exist or be empty. The workspace, its index and HEAD stay untouched.
    """
    sha = resolve(ws, rev or "HEAD")[1]
    source = ws.snapshot_at(sha)
    place = Path(os.path.abspath(directory))
    _refuse_directory(ws, place)
    restorer = Restorer(ws, cause=_CAUSE, fetch=fetch)
    whole, parts = select(ws, source, paths) if paths else (list(source.managed()), {})
    want: list[tuple[str, Pointer, str, bool]] = []
    missing = restorer.supply.obtain([source.pointers[p] for p in whole], {}, verify=True)
    picked = {a: _pick(restorer, source.pointers[a], globs) for a, globs in parts.items()}
    missing += _obtain_members(restorer, source.pointers, picked)
    if missing:
        raise lost(missing)
    for path in whole:
        picked[path] = restorer.supply.members(source.pointers[path])
    for path, members in picked.items():
        pointer = source.pointers[path]
        for name, oid in members.items():
            inner = f"{ws.git.prefix}{path}/{name}" if name else f"{ws.git.prefix}{path}"
            want.append((inner, pointer, oid, name in pointer.executable))
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise storage_error(e, place) from e
    if not paths:
        ws.git.export(sha, place)
    for inner, pointer, oid, executable in want:
        _write_elsewhere(ws, restorer, place, inner, pointer, oid, executable=executable)
    restorer.done.restored = sorted(picked)
    return restorer.done


def _refuse_directory(ws: Workspace, place: Path) -> None:
    if place.is_relative_to(ws.git.common_dir) or place == ws.root:
        raise UsageError(f"--to {gate.shown(place)}: choose a directory of its own")
    if os.path.lexists(place) and (not place.is_dir() or any(place.iterdir())):
        raise UsageError(f"--to {gate.shown(place)}: exists and is not empty")


def _write_elsewhere(
    ws: Workspace,
    restorer: Restorer,
    place: Path,
    inner: str,
    pointer: Pointer,
    oid: str,
    *,
    executable: bool,
) -> None:
    copies = replace(ws.cache, types=("reflink", "copy"))
    try:
        with parent(place, inner, create=True) as (fd, base):
            if lstat(fd, base) is not None:
                raise StorageFailed(f"{gate.shown(inner)}: git has a file of that name there")
            restorer.supply.write_verified(copies, pointer, oid, fd, base, executable=executable)
            done = os.stat(base, dir_fd=fd, follow_symlinks=False)
            restorer.done.size += done.st_size
    except Absent as e:
        raise StorageFailed(f"{gate.shown(inner)} vanished") from e
    except OSError as e:
        raise storage_error(e, inner) from e

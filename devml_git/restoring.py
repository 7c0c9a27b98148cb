"""Bring content from the cache to the workspace, so that W = P.

Everything is copied out and verified first, into temporary files; only then does anything in the
workspace move, and a file is replaced or removed only once its very bytes are proven to be in
the cache (P3). Stock DVC deletes first and copies afterwards (hazard H1).
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from devml_git import gate, store
from devml_git.cache import Corrupt
from devml_git.errors import ContentLost, DevmlError, Refused, StorageFailed
from devml_git.fingerprints import Fingerprint, of_members
from devml_git.manifest import manifest_oid
from devml_git.nouns import State
from devml_git.place import (
    Absent,
    Stat,
    directory,
    lstat,
    parent,
    storage_error,
    temporary_name,
    wait_out_the_grain,
)
from devml_git.record import Hashed
from devml_git.remote import Wanted
from devml_git.rule import AtMove
from devml_git.scan import Found, Work
from devml_git.streams import in_parallel
from devml_git.supply import Supply
from devml_git.wording import corrupt, twin
from devml_git.workspace import token

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from devml_git.nouns import Pointer
    from devml_git.record import Materialised
    from devml_git.rescue import Rescue
    from devml_git.savepoints import Savepoint
    from devml_git.workspace import Observed, Workspace

_EXEC = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


@dataclass(slots=True)
class Done:
    """What a restore did, by artifact path. `size` is in bytes written to the workspace.

    `strange`: files in an artifact's place that nobody knows where they are from, left there;
    `missing`: content nowhere to be had (an artifact, or a member inside one); `withheld`: the same
    of outputs that are on no DVC remote by choice (`push: false`); `kept`: the user's own edits
    that stayed; `settled`: conflicts that are none any more; `blocked`: (path, why) left as it
    lies; `left`: the snapshot between commits that holds what lay here before.
    """

    restored: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    blocked: list[tuple[str, str]] = field(default_factory=list)
    rescued: list[Rescue] = field(default_factory=list)
    left: Savepoint | None = None
    size: int = 0

    @property
    def anything(self) -> bool:
        """Whether there is something to tell."""
        told = (self.restored, self.removed, self.missing, self.blocked, self.rescued, self.strange)
        return any(told) or bool(self.withheld)

    def note_missing(self, pointer: Pointer, places: Iterable[str]) -> None:
        """Write down what of an output is not to be had."""
        (self.missing if pointer.push else self.withheld).extend(places)


@dataclass(slots=True)
class _Plan:
    """One artifact to bring: what its files shall be, and what is in the way."""

    path: str
    pointer: Pointer
    work: Work
    want: dict[str, str]
    executable: frozenset[str]
    pointed: dict[str, str]  # what the pointer itself names: R afterwards
    temps: dict[str, str] = field(default_factory=dict)
    placed: dict[str, os.stat_result] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    barred: list[str] = field(default_factory=list)  # a link that is no member lies in their place
    written: dict[str, Fingerprint] = field(default_factory=dict)

    def to_write(self) -> list[str]:
        return [n for n, oid in self.want.items() if self.work.oids.get(n) != oid]

    def to_remove(self) -> list[str]:
        return [n for n in self.work.files if n not in self.want]

    def place_of(self, name: str) -> str:
        return f"{self.path}/{name}" if name else self.path


class Restorer:
    """Brings artifacts in step. `cause` goes into the rescue log; `fetch`: may use the remote."""

    def __init__(self, ws: Workspace, *, cause: str, fetch: bool) -> None:
        self.ws = ws
        self.cause = cause
        self.supply = Supply(ws, fetch)
        self.done = Done(corrupt=self.supply.corrupt)
        self._newest = 0
        self._busy: set[str] = set()

    # -- artifacts that have a pointer -------------------------------------------------------

    def bring(self, observed: Sequence[Observed], *, force: bool = False) -> Done:
        """Apply the rule's "when the worktree moved" column to these artifacts.

        `force` replaces the user's edits too; they are rescued first. Writes R.
        """
        uncommitted = self._uncommitted(observed)
        self._busy = store.busy_paths(self.ws.git)
        looked = [self._looked_into(o) for o in observed]
        todo = [o for o in looked if self._wanted(o, uncommitted, force=force)]
        self.supply.obtain([o.pointer for o in todo if o.pointer], {o.path: o.work for o in todo})
        plans = [plan for o in todo if (plan := self._plan(o, force=force)) is not None]
        scratch = self._scratch()
        try:
            self._copy_out(plans, scratch)
            states = {o.path: o for o in todo}
            for plan in plans:
                if self._vouched(plan):
                    self._apply_or_report(plan, scratch)
                elif plan.work.odd:
                    self.done.blocked.append((plan.path, plan.work.odd))
                else:
                    self._withdraw(states[plan.path], plan.pointer)
        finally:
            self._empty(scratch)
            os.close(scratch)
        wait_out_the_grain(self._newest)
        return self.done

    def bring_part(
        self,
        pointer: Pointer,
        work: Work,
        want: Mapping[str, str],
        *,
        known: Mapping[str, str],
        force: bool,
    ) -> None:
        """Bring some members of a directory; `want` is all that shall lie there afterwards.

        `known` is R afterwards: what we put there before and now. Members that were stale stay
        so, else the next commit would snapshot them over the pointer.
        """
        if work.odd:
            raise StorageFailed(work.odd)
        if force and work.kind != "absent" and not self._all_held(work):
            self.rescue(work)
        plan = _Plan(pointer.path, pointer, work, dict(want), pointer.executable, dict(want))
        scratch = self._scratch()
        try:
            self._copy_out([plan], scratch)
            if not self._vouched(plan):
                raise corrupt(gate.shown(plan.path), aside=False)
            if plan.missing:
                raise ContentLost(f"{gate.shown(plan.place_of(plan.missing[0]))} is corrupt")
            self._apply(plan, scratch)
        finally:
            self._empty(scratch)
            os.close(scratch)
        # where the rest was never here, R is what is here now: it counts as stale, not edited
        left = want if work.kind == "absent" else known
        oid, _ = self.ws.cache.put_manifest(left)
        if oid != pointer.oid:
            with self.ws.record.writing():
                executable = (n for n in plan.executable if n in left)
                self.ws.remember_clean(plan.path, work, token(oid, executable), oid)
        wait_out_the_grain(self._newest)

    def _looked_into(self, o: Observed) -> Observed:
        """Judge a directory in conflict member by member, once its new manifest is here."""
        if o.state is not State.CONFLICT or o.members is not None or not o.is_dir or not o.pointer:
            return o
        self.supply.obtain_manifest(o.pointer)
        return self.ws.judge(o.work, o.pointer, o.r)

    def _uncommitted(self, observed: Sequence[Observed]) -> set[str]:
        """Return the oids lying at stale places that no commit names.

        The cache holds them, but nobody would find them again: they are rescued.
        """
        oids = {o.r.oid for o in observed if o.state is State.STALE and o.r is not None}
        return oids - self.ws.git.committed(oids)

    def _wanted(self, o: Observed, uncommitted: set[str], *, force: bool) -> bool:
        """Decide about one artifact; rescue what would be replaced."""
        if o.pointer is None or o.pointer.oid is None or o.verdict.at_move is AtMove.NOTHING:
            return False
        if o.work.odd:
            self.done.blocked.append((o.path, o.work.odd))
            return False
        if o.verdict.at_move is AtMove.KEEP_EDIT and not force:
            (self.done.kept if o.r is not None else self.done.strange).append(o.path)
            return False
        if store.is_busy(o.path, self._busy):
            self.done.blocked.append((o.path, "a DVC command is writing it"))
            return False
        if o.work.kind == "absent":
            return True
        new_to_history = o.r is not None and o.r.oid in uncommitted
        stale = o.verdict.at_move is AtMove.RESTORE
        if new_to_history or (force and not stale):
            self.rescue(o.work)
        elif o.members is not None:
            self._rescue_members(o.work, o.members.colliding)
        elif not stale:
            self.rescue(o.work)
        return True

    def _rescue_members(self, work: Work, names: Iterable[str]) -> None:
        for name in sorted(names):
            if name in work.files:
                inner = f"{work.path}/{name}"
                second = {"": work.sha256s[name]} if name in work.sha256s else {}
                one = {"": work.files[name]}
                self.rescue(Work(inner, "file", one, {"": work.oids[name]}, sha256s=second))

    def rescue(self, work: Work) -> None:
        """Keep what lies at a place in the cache and in the rescue log."""
        self.done.rescued.append(self.ws.rescue(work, self.cause))

    def _plan(self, o: Observed, *, force: bool) -> _Plan | None:
        pointer = o.pointer
        assert pointer is not None
        try:
            want = self.supply.members(pointer)
        except (ContentLost, Refused) as e:
            if isinstance(e, Refused):
                self.done.blocked.append((o.path, e.message))
            else:
                self._withdraw(o, pointer)
            return None
        executable = pointer.executable
        if pointer.is_dir and not executable:
            executable = frozenset(n for n in o.work.executable() if n in want)
        plan = _Plan(o.path, pointer, o.work, want, executable, want)
        plan.barred = [name for name in want if o.work.in_a_link(name)]
        if o.members is not None and not force:
            plan.want = o.members.merged(o.work.oids, want)
            edited = o.members.edited
            plan.executable = (executable - edited) | (o.work.executable() & edited)
        plan.want = {name: oid for name, oid in plan.want.items() if name not in plan.barred}
        return plan

    def _withdraw(self, o: Observed, pointer: Pointer) -> None:
        """Content nowhere to be had: a wrong model must not pose as the right one."""
        self.done.note_missing(pointer, [o.path])
        if o.state is State.STALE and self._all_held(o.work):
            self._clear(o.work)

    def _copy_out(self, plans: Sequence[_Plan], scratch: int) -> None:
        """Copy everything out of the cache, verified, beside the workspace."""
        every = [(p, n) for p in plans for n in p.to_write()]
        jobs = [(p, n) for p in plans for n in self._held_here(p, p.to_write())]
        sizes = [self.ws.cache.size_of(p.want[n], p.pointer.hash_name) for p, n in jobs]
        order = sorted(range(len(jobs)), key=lambda i: -sizes[i])
        self.ws.progress.start("restoring", sum(sizes))
        try:
            in_parallel(lambda i: self._copy_one(*jobs[i], scratch), order, sizes)
        finally:
            self.ws.progress.finish()
        again = [(p, n) for p, n in every if n not in p.temps]
        if again and self.supply.fetch:
            self.supply.fetch_wanted([Wanted.of(p.pointer, p.want[n]) for p, n in again])
            for p in plans:
                for n in self._held_here(p, [n for n in p.to_write() if n not in p.temps]):
                    self._copy_one(p, n, scratch)
        for p, n in again:
            if n not in p.temps:
                p.missing.append(n)

    def _held_here(self, plan: _Plan, names: Sequence[str]) -> list[str]:
        """Return those whose content the cache has: a directory may lack hundreds of thousands."""
        oids = {plan.want[name] for name in names}
        lacking = self.ws.cache.lacking(oids, plan.pointer.hash_name)
        return [name for name in names if plan.want[name] not in lacking]

    def _copy_one(self, plan: _Plan, name: str, scratch: int) -> None:
        """Copy one file out; on a missing or corrupt object leave `temps` without it."""
        temp = temporary_name()
        oid, hash_name = plan.want[name], plan.pointer.hash_name
        executable = name in plan.executable
        try:
            written = self.ws.cache.write_out(
                oid, scratch, temp, executable=executable, hash_name=hash_name,
                progress=self.ws.progress, claim=plan.pointer.claim,
            )  # fmt: skip
        except Corrupt:
            self.supply.set_aside(oid, hash_name, plan.place_of(name))
        except ContentLost:
            pass
        except OSError as e:
            raise storage_error(e, plan.place_of(name)) from e
        else:
            plan.temps[name] = temp
            plan.written[name] = written

    def _vouched(self, plan: _Plan) -> bool:
        """Whether what has been copied out, and what lies there already, is what the pointer
        vouches for. What lies there and is not makes the place odd.
        """
        pointer, work = plan.pointer, plan.work
        part = pointer.is_dir and manifest_oid(plan.want) != pointer.oid
        if pointer.sha256 is None or plan.missing or part:
            return True  # members have been compared with what was seen of each
        lying = {n for n in plan.want if n not in plan.written}
        self.ws.learn_second(work, lying)
        found = {**{n: f for n, f in work.fingerprints().items() if n in lying}, **plan.written}
        if found.keys() != plan.want.keys():
            return True
        right = (of_members(found) if pointer.is_dir else found[""].sha256) == pointer.sha256
        if not right and not plan.written:
            work.odd = twin(plan.path)
        elif not right:
            self.supply.distrust(pointer, plan.want.values())
        return right

    def _apply_or_report(self, plan: _Plan, scratch: int) -> None:
        try:
            self._apply(plan, scratch)
        except (Refused, StorageFailed) as e:
            self.done.blocked.append((plan.path, e.message))
        except OSError as e:
            self.done.blocked.append((plan.path, storage_error(e, plan.path).message))

    def _apply(self, plan: _Plan, scratch: int) -> None:
        """Remove what is not wanted, put the copies in place, write R."""
        self._hold(plan.work, [*plan.to_remove(), *plan.to_write()])
        self.ws.journal.was(plan.path, self.ws.lying(plan.work))
        self._remove_files(plan.work, [*plan.to_remove(), *plan.missing])
        for name, temp in plan.temps.items():
            self._put(plan, name, temp, scratch)
        if plan.pointer.is_dir and not plan.want:
            with directory(self.ws.root, plan.path, create=True):
                pass
        self._fix_modes(plan)
        if plan.missing:
            self.done.note_missing(plan.pointer, map(plan.place_of, plan.missing))
        for place in map(plan.place_of, plan.barred):
            self.done.blocked.append((place, f"{gate.shown(place)}: a link is there; not followed"))
        if plan.temps or plan.to_remove() or not plan.missing:
            self.done.restored.append(plan.path)
        self._write_record(plan)

    def _put(self, plan: _Plan, name: str, temp: str, scratch: int) -> None:
        place = plan.place_of(name)
        with parent(self.ws.root, place, create=True) as (fd, base):
            old = lstat(fd, base)
            seen = plan.work.files.get(name)
            if old is not None and (seen is None or not _same_file(old, seen.stat)):
                raise StorageFailed(f"{gate.shown(place)} changed meanwhile; left as it lies")
            os.replace(temp, base, src_dir_fd=scratch, dst_dir_fd=fd)
            st = os.stat(base, dir_fd=fd, follow_symlinks=False)
            self._newest = max(self._newest, st.st_ctime_ns)
            self.done.size += st.st_size
        if stat.S_ISLNK(st.st_mode):
            st = os.stat(self.ws.root / place)
        plan.placed[name] = st

    def _fix_modes(self, plan: _Plan) -> None:
        """Set exec bits where only they differ."""
        for name, found in plan.work.files.items():
            if name in plan.want and name not in plan.temps and not found.link:
                wanted = name in plan.executable
                if found.executable != wanted and name not in plan.missing:
                    with parent(self.ws.root, plan.place_of(name)) as (fd, base):
                        _set_exec(fd, base, on=wanted)

    def _write_record(self, plan: _Plan) -> None:
        """R := P for what was brought; a part that is missing leaves R without it."""
        ws = self.ws
        work = self._as_it_lies_now(plan)
        oid = plan.pointer.oid
        lacking = {*plan.missing, *plan.barred}
        if lacking:
            left = {n: o for n, o in plan.pointed.items() if n not in lacking}
            oid = ws.cache.put_manifest(left)[0] if plan.pointer.is_dir else None
        known = work.files if plan.work.kind == work.kind else {}
        gone = [n for n in plan.work.files if n not in known]
        rows = [
            (n, Hashed(work.files[n].stat, plan.want[n], work.sha256s.get(n)))
            for n in plan.placed
            if not work.files[n].link
        ]
        ws.journal.lies(plan.path, ws.lying(work))
        with ws.record.writing():
            ws.record.forget_files(plan.path, [*gone, *plan.placed])
            ws.record.remember(plan.path, rows)
            ws.record.forget_content(plan.path)
            if oid is not None:
                pointed = plan.pointed.keys() - lacking
                executable = frozenset(n for n in plan.executable if n in pointed)
                ws.remember_clean(plan.path, work, token(oid, executable), oid)

    def _as_it_lies_now(self, plan: _Plan) -> Work:
        """What was there and stayed, and what was put there; nothing is read again."""
        files = {
            n: f
            if f.link or f.executable == (n in plan.executable)
            else replace(f, executable=n in plan.executable)
            for n, f in plan.work.files.items()
            if n in plan.want and n not in plan.missing
        }
        links = {"symlink"} & set(self.ws.cache.types)
        for name, st in plan.placed.items():
            link = links and self.ws.cache.object_behind(self.ws.root / plan.place_of(name))
            behind = str(link) if link else None
            files[name] = Found(Stat.of(st), bool(st.st_mode & _EXEC), behind, st)
        oids = {name: plan.want[name] for name in files}
        second = {n: sha for n, sha in plan.work.sha256s.items() if n in files}
        second |= {n: plan.written[n].sha256 for n in plan.placed}
        kind = "dir" if plan.pointer.is_dir else "file"
        return Work(plan.path, kind, files, oids, sha256s=second)

    # -- artifacts that have none here -------------------------------------------------------

    def drop(self, path: str, r: Materialised, work: Work, *, in_git: Collection[str] = ()) -> None:
        """The artifact is not in this revision: remove W if it is R and held, else leave it.

        `in_git` are the names that git itself has here ("": the artifact's own): those stay.
        """
        ws = self.ws
        was = r.oid
        if in_git:
            members = ws.members_of(r.oid) or {}
            was = manifest_oid({n: oid for n, oid in members.items() if n not in in_git})
            files = {n: f for n, f in work.files.items() if n not in in_git and "" not in in_git}
            second = {n: sha for n, sha in work.sha256s.items() if n in files}
            oids = {n: work.oids[n] for n in files}
            work = replace(work, files=files, oids=oids, sha256s=second)
        if work.kind == "absent" or (in_git and not work.files):
            with ws.record.writing():
                ws.record.forget(path)
            return
        if work.odd:
            self.done.blocked.append((path, work.odd))
            return
        if work.oid() == was and self._all_held(work) and ws.git.committed([r.oid]):
            self._clear(work)
            self.done.removed.append(path)
        else:
            self.rescue(work)
            self.done.kept.append(path)
            with ws.record.writing():
                ws.record.forget(path)

    def take_away(self, work: Work) -> None:
        """Remove an artifact's files on the user's word; what no snapshot has is rescued first."""
        if work.odd:
            raise StorageFailed(work.odd)
        self.ws.learn([work], store_content=False)
        oid = work.oid()
        if oid is not None and not self.ws.git.committed([oid]):
            self.rescue(work)
        self._hold(work, work.files)
        self._clear(work)

    # -- removing, with proof ----------------------------------------------------------------

    def _hold(self, work: Work, names: Iterable[str]) -> None:
        """Prove that the cache has the bytes of these files; rescue the artifact if not."""
        if work.kind in {"file", "dir"} and not self._held(work, names):
            self.rescue(work)
            if not self._held(work, names):
                raise StorageFailed(f"{gate.shown(work.path)} changed meanwhile; left as it lies")

    def _all_held(self, work: Work) -> bool:
        return self._held(work, work.files)

    def _held(self, work: Work, names: Iterable[str]) -> bool:
        for name in names:
            if name not in work.files:
                continue
            oid = work.oids.get(name)
            if oid is None or not self._holds(work, name, oid):
                return False
        return True

    def _holds(self, work: Work, name: str, oid: str) -> bool:
        """Prove it by the bytes of the file, or of the file that a link stands for."""
        if work.files[name].link:
            try:
                fd = work.source(self.ws.root, name).open()
            except DevmlError:
                return False
            try:
                return self.ws.cache.has_bytes(oid, fd)
            finally:
                os.close(fd)
        place = f"{work.path}/{name}" if name else work.path
        with parent(self.ws.root, place) as (fd, base):
            return self.ws.cache.holds(oid, fd, base)

    def _clear(self, work: Work) -> None:
        """Remove all that an artifact has at its place, once it is proven to be in the cache."""
        self.ws.journal.was(work.path, self.ws.lying(work))
        self._remove_files(work, work.files)
        self.ws.journal.lies(work.path, None)
        with self.ws.record.writing():
            self.ws.record.forget(work.path)

    def _remove_files(self, work: Work, names: Iterable[str]) -> None:
        """Unlink files that are proven to be in the cache, and directories left empty."""
        for name in list(names):
            found = work.files.get(name)
            if found is None:
                continue
            place = f"{work.path}/{name}" if name else work.path
            with contextlib.suppress(Absent), parent(self.ws.root, place) as (fd, base):
                now = lstat(fd, base)
                if now is None:
                    continue
                if not _same_file(now, found.stat):
                    raise StorageFailed(f"{gate.shown(place)} changed meanwhile; left as it lies")
                os.unlink(base, dir_fd=fd)
            if name:
                self._remove_empty(work.path, name)
        if work.kind == "dir" and not (self.ws.root / work.path).is_symlink():
            self._rmdir(work.path)

    def _remove_empty(self, path: str, name: str) -> None:
        cut = name.rfind("/")
        while cut > 0 and self._rmdir(f"{path}/{name[:cut]}"):
            cut = name.rfind("/", 0, cut)

    def _rmdir(self, place: str) -> bool:
        try:
            with parent(self.ws.root, place) as (fd, base):
                os.rmdir(base, dir_fd=fd)
        except (OSError, Absent):
            return False
        return True

    # -- scratch -----------------------------------------------------------------------------

    def _scratch(self) -> int:
        """Open the directory for copies: private, on the workspace's file system if it can be."""
        place = self.ws.git.private / "tmp"
        place.mkdir(mode=0o700, exist_ok=True)
        if place.stat().st_dev != self.ws.root.stat().st_dev:
            with directory(self.ws.root, ".dvc/tmp/devml", create=True) as fd:
                return os.dup(fd)
        return os.open(place, os.O_RDONLY)

    def _empty(self, scratch: int) -> None:
        for name in os.listdir(scratch):
            if name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=scratch)


def _same_file(now: os.stat_result, seen: Stat) -> bool:
    """Whether a file is the one that was looked at (a link's stat is its target's: by kind)."""
    return stat.S_ISLNK(now.st_mode) or Stat.of(now) == seen


def _set_exec(fd: int, base: str, *, on: bool) -> None:
    handle = os.open(base, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0), dir_fd=fd)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        readable = (mode & 0o444) >> 2
        os.fchmod(handle, mode | readable if on else mode & ~_EXEC)
    finally:
        os.close(handle)

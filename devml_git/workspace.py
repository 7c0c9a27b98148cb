"""One workspace: its pointers, its record, its cache, and what the three-way rule says of it."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from devml_git import history, operations, rescue, tripwire
from devml_git.errors import DevmlError
from devml_git.index import clear_dead, lock_of
from devml_git.journal import Journal
from devml_git.locks import held
from devml_git.looking import Looking
from devml_git.manifest import manifest_oid
from devml_git.nouns import LEGACY, Content, Pointer, State
from devml_git.patience import STALL_SECONDS
from devml_git.place import storage_error
from devml_git.published import Published
from devml_git.record import Materialised
from devml_git.rule import CONFLICT, MIXED, NEW, Members, Verdict, decide, decide_members
from devml_git.streams import legacy_hash
from devml_git.trust import NotTrusted
from devml_git.wording import listed, lost

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from devml_git.remote import Remote
    from devml_git.scan import Work
    from devml_git.trust import Access


@dataclass(frozen=True, slots=True)
class Observed:
    """One artifact as it stands: W, P and R as tokens (oid and exec bits), and the verdict.

    `cached` says whether the pointer's content is in the cache; `members` what the rule says
    inside a directory where all three differ (None: not a directory, or a manifest is not here).
    """

    path: str
    pointer: Pointer | None
    work: Work
    w: str | None
    p: str | None
    r: Materialised | None
    verdict: Verdict
    cached: bool
    is_dir: bool
    members: Members | None = None

    @property
    def state(self) -> State:
        """The state that `status` shows."""
        return self.verdict.state


def token(oid: str, executable: Iterable[str]) -> str:
    """Return what the three-way rule compares: an oid, and which files have an exec bit."""
    names = sorted(executable)
    if not names:
        return oid
    return f"{oid}+x{hashlib.sha256('/'.join(names).encode()).hexdigest()[:16]}"


class Workspace(Looking):
    """An open workspace. Use as a context manager; `exclusive` for anything that writes."""

    @contextlib.contextmanager
    def exclusive(self, what: str) -> Iterator[None]:
        """Hold this worktree's lock for one operation; the kernel drops it when a process dies.

        What it changed goes into the log of operations, under the name `what`.

        From here on the tripwire counts for nothing: whatever happens now, also a kill, the next
        hook looks for itself unless this operation arms it anew at its end. Raises StorageFailed
        when another devml-git keeps the lock for longer than `locks.LOCK_SECONDS`.
        """
        with self.locked():
            clear_dead(lock_of(self.git.index))
            tripwire.disarm(self.git)
            released = self.record.released()
            try:
                yield
            except BaseException:
                self.journal.broken = True
                raise
            finally:
                if not self.journal.empty:
                    self._log(what, released)

    def _log(self, what: str, released: Iterable[str]) -> None:
        """Write down what the operation changed. It is done: a log that is full fails nothing."""
        try:
            for path in self.journal.unfinished():
                self.journal.lies(path, self.lying(self.look(path)))
            operation = self.journal.operation(what, self.origin, released)
            if operation is not None:
                operations.append(self.git.private, operation)
        except (DevmlError, OSError) as e:
            why = e.message if isinstance(e, DevmlError) else str(e)
            self.warnings.append(f"this cannot be undone, it could not be written down: {why}")
        self.journal = Journal(self.git)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this worktree's lock for what changes neither workspace nor pointers nor index."""
        with held(self.git.private / "lock", "another devml-git is at work in this worktree"):
            yield

    def remote(self, name: str, *, stall: float | None = None) -> Remote:
        """Open a DVC remote to read from it. Raises DvcFailed, NotTrusted.

        `stall` is how many seconds it may say nothing.
        """
        return self._opened(self.access, name, stall)

    def _opened(self, access: Access, name: str, stall: float | None = None) -> Remote:
        from devml_git.remote import Remote

        seconds = stall or self.git.seconds("devml.stallTimeout", STALL_SECONDS)
        config = access.require(name)
        remote = Remote(config, self.cache, self.git.shared, stall=seconds)
        if remote.is_directory and remote.absence() is None:
            Published(self.git.shared, config.url).meet()
        return remote

    def source(self, name: str) -> Remote | None:
        """Open a DVC remote to read from it; None, and a warning, if that is not allowed."""
        try:
            return self.reader(name)
        except NotTrusted as e:
            self.warn(f"{e.message}   ({e.hint})")
            return None

    def source_by(self, access: Access, name: str) -> Remote | None:
        """Open a remote of another configuration; None, without a word, if it may not be."""
        with contextlib.suppress(NotTrusted):
            remote = self._opened(access, name)
            return None if remote.absence() else remote
        return None

    def reader(self, name: str) -> Remote:
        """Open a DVC remote to read from it; a directory that is not there is a warning.

        Raises DvcFailed, NotTrusted.
        """
        remote = self.remote(name)
        absence = remote.absence()
        if absence is not None:
            self.warn(absence)
        return remote

    def not_here(self, paths: Iterable[str]) -> DevmlError:
        """Return the error for content that could not be had: why a remote was not asked, if so."""
        refused = next(iter(self.access.refused.values()), None)
        if refused is None:
            return lost(paths)
        return NotTrusted(
            f"content is not here: {listed(sorted(paths))}; {refused.message}", hint=refused.hint
        )

    def observe(
        self,
        *,
        store_content: bool = False,
        only: Collection[str] | None = None,
        with_new: bool = True,
        check_cache: bool = True,
    ) -> list[Observed]:
        """Apply the three-way rule to every artifact (or those in `only`).

        `check_cache` off leaves out whether the cache has what is clean (a look at every object).

        Unknown hashes are computed, all in one parallel pass; with `store_content` the content
        enters the cache in that same read.
        """
        managed = self.tree.snapshot.managed()
        paths = [p for p in managed if only is None or p in only]
        works = {path: self.look(path) for path in paths}
        if with_new:
            fresh, _ = self.new_artifacts()
            works |= self._fit([p for p in fresh if only is None or p in only])
        self.learn(works.values(), store_content=store_content)
        materialised = self.record.materialised()
        return [
            self.judge(work, managed.get(path), materialised.get(path), check_cache=check_cache)
            for path, work in works.items()
        ]

    def judge(
        self,
        work: Work,
        pointer: Pointer | None,
        r: Materialised | None,
        *,
        check_cache: bool = True,
    ) -> Observed:
        """Apply the rule to one artifact whose hashes are known."""
        if r is not None and not r.token:
            r = None  # released by `untrack`
        oid = None if work.odd else work.oid()
        self.refuse_twin(work, pointer, oid)
        if r is None and not work.files and pointer is not None and oid != pointer.oid:
            oid = None  # `mkdir -p data` before the data came: that edits nothing
        legacy = pointer is not None and pointer.hash_name == LEGACY
        if oid is not None and legacy and pointer is not None and oid != pointer.oid:
            oid = self._legacy_oid(work, pointer) or oid
        executable = self._executable(work, pointer)
        w = token(oid, executable) if oid is not None else None
        p = self._pointer_token(pointer, r, oid, w)
        look = check_cache or w != p
        cached = (
            pointer is not None and pointer.oid is not None and (not look or self._has(pointer))
        )
        if work.odd:
            w = "odd"
        if pointer is None:
            verdict = NEW
        else:
            verdict = decide(w=w, p=p, r=r.token if r else None, cached=cached)
            if r is None and w is not None and w not in {p, "odd"} and oid is not None:
                earlier = self.was_pointer(pointer.file, pointer.path, oid)
                verdict = decide(w=w, p=p, r=None, cached=cached, w_was_pointer=earlier)
        is_dir = work.kind == "dir" if pointer is None or pointer.oid is None else pointer.is_dir
        members = None
        if verdict is CONFLICT and pointer is not None and r is not None:
            members = self._members(work, pointer, r)
            if members is not None and not members.colliding:
                verdict = MIXED
        return Observed(work.path, pointer, work, w, p, r, verdict, cached, is_dir, members)

    def was_pointer(self, file: str, path: str, oid: str) -> bool:
        """Whether a pointer file ever said `oid` of an artifact, in any commit."""
        top, prefix = self.git.worktree, self.git.prefix
        return history.was_pointer(top, file, path, oid, self.tree.outputs, prefix=prefix)

    def _members(self, work: Work, pointer: Pointer, r: Materialised) -> Members | None:
        """Apply the rule inside a directory; None where it cannot be looked into."""
        if work.kind != "dir" or not pointer.is_dir or pointer.hash_name == LEGACY:
            return None
        p, known = self.members_of(pointer.oid), self.members_of(r.oid)
        if p is None or known is None:
            return None
        members = decide_members(work.oids, p, known)
        # only exec bits differ: nothing that members could tell apart
        return members if members.edited or members.stale or members.colliding else None

    def _has(self, pointer: Pointer) -> bool:
        if pointer.oid is None:
            return False
        with contextlib.suppress(DevmlError):
            return not self.cache.missing_of(pointer.oid, pointer.hash_name)
        return False

    def _executable(self, work: Work, pointer: Pointer | None) -> frozenset[str]:
        if self._file_mode or pointer is None:
            return work.executable() if self._file_mode else frozenset()
        return pointer.executable

    def _pointer_token(
        self, pointer: Pointer | None, r: Materialised | None, oid: str | None, w: str | None
    ) -> str | None:
        """Return P. A directory's exec bits are unknown to a pointer DVC wrote: R's or W's hold."""
        if pointer is None or pointer.oid is None:
            return None
        if pointer.is_dir and not pointer.executable:
            if r is not None and r.oid == pointer.oid:
                return r.token
            if oid == pointer.oid:
                return w
        return token(pointer.oid, pointer.executable)

    def _legacy_oid(self, work: Work, pointer: Pointer) -> str | None:
        """Return the pointer's oid when the workspace has that content by DVC 2's hash."""
        try:
            hashes = {n: legacy_hash(work.source(self.root, n).open()) for n in work.files}
            found = hashes[""] if work.kind == "file" else manifest_oid(hashes)
        except OSError as e:
            raise storage_error(e, work.path) from e
        return found if found == pointer.oid else None

    def edit_stands(self, o: Observed, target: Pointer) -> bool:
        """Whether an edited directory's edits touch no member in which `target` differs."""
        if o.work.kind != "dir" or not target.is_dir or o.pointer is None:
            return False
        p, r = self.members_of(target.oid), self.members_of(o.pointer.oid)
        if p is None or r is None:
            return False
        return not decide_members(o.work.oids, p, r).colliding

    def merged_content(self, o: Observed) -> Content | None:
        """Return what a pointer says of a directory where edits and new members both stand.

        The stale members may not lie here yet. None where a size is not to be had.
        """
        p = self.members_of(o.pointer.oid) if o.pointer else None
        if o.members is None or o.pointer is None or p is None:
            return None
        merged = o.members.merged(o.work.oids, p)
        sizes = []
        for name, oid in merged.items():
            here = o.work.oids.get(name) == oid
            if not here and not self.cache.has(oid):
                return None
            sizes.append(o.work.files[name].stat.size if here else self.cache.size_of(oid))
        bits = {n for n in o.work.executable() if n not in o.members.stale} | o.pointer.executable
        executable = frozenset(n for n in bits if n in merged)
        oid, _ = self.cache.put_manifest(merged)
        vouched = self.vouch(merged, o.work)
        return Content(oid, sum(sizes), len(merged), executable, vouched)

    def remember_clean(self, path: str, work: Work, content_token: str, oid: str) -> None:
        """R := what lies at a place now."""
        nfiles = len(work.files) if work.kind == "dir" else None
        self.record.set(path, Materialised(content_token, oid, work.size, nfiles))

    def release(self, path: str) -> None:
        """Remember that a path was untracked: no rule picks it up again, nothing takes it away."""
        with self.record.writing():
            self.record.forget(path)
            self.record.set(path, Materialised("", ""))

    def settle(self, observed: Iterable[Observed]) -> None:
        """R := P for everything that is clean, whoever did it."""
        with self.record.writing():
            for o in observed:
                oid = o.pointer.oid if o.pointer else None
                stale_r = o.r is None or o.r.token != o.w
                if o.state is State.CLEAN and o.w is not None and oid is not None and stale_r:
                    self.remember_clean(o.path, o.work, o.w, oid)

    @cached_property
    def origin(self) -> tuple[str | None, str | None]:
        """Commit and branch that a rescue comes from; asked before HEAD moves, where we move it.

        Where git has moved it, a hook has set `moved_from` to the revision that was left.
        """
        if self.moved_from is None:
            return self.git.head(), self.git.branch()
        left = self.git.commit_of(self.moved_from)
        if self.git.commit_of("@{-1}") == left:
            return left, self.git.name_of("@{-1}")
        return left, None if left is None else self.git.branch()

    def rescue(self, work: Work, cause: str) -> rescue.Rescue:
        """Put what lies at a place into the cache and into the rescue log (P3)."""
        self.learn([work], store_content=True)
        self.ensure_stored([work])
        content = self.content_of(work)
        return rescue.add(
            self.git.shared,
            path=work.path,
            oid=content.oid,
            size=content.size,
            cause=cause,
            commit=self.origin[0],
            branch=self.origin[1],
            worktree=str(self.root),
            executable=content.executable,
            sha256=content.sha256,
        )

"""One workspace: its pointers, its record, its cache, and what the three-way rule says of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from devml_git import config as config_module
from devml_git import gate, history, operations, rescue, store, tripwire
from devml_git.cache import Corrupt
from devml_git.errors import DevmlError, NotARepository, StorageFailed
from devml_git.gate import shown
from devml_git.index import clear_dead, lock_of
from devml_git.journal import Journal
from devml_git.location import cache_setting, open_cache
from devml_git.locks import held
from devml_git.manifest import manifest_oid
from devml_git.nouns import LEGACY, MD5, Content, Pointer, Snapshot, State
from devml_git.patience import STALL_SECONDS
from devml_git.place import Stat, storage_error, wait_out_the_grain, write_text_safely
from devml_git.plumbing import Git
from devml_git.progress import SILENT, Progress
from devml_git.record import Materialised, Record
from devml_git.rule import CONFLICT, MIXED, NEW, Members, Verdict, decide, decide_members
from devml_git.rules import Rules, literal_line
from devml_git.scan import Work, recall, scan
from devml_git.streams import legacy_hash
from devml_git.tree import read_commit, read_tree

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from devml_git.config import Config
    from devml_git.nouns import Snapshot
    from devml_git.pointers import PipelineOut
    from devml_git.remote import Remote
    from devml_git.tree import Tree

# States that nothing is to be done about until the next commit
_CALM = frozenset({State.CLEAN, State.MODIFIED, State.NEW})
_NAMED = 5  # how many paths an error names


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


class Workspace:
    """An open workspace. Use as a context manager; `exclusive` for anything that writes."""

    def __init__(self, git: Git, *, progress: Progress = SILENT) -> None:
        _require_project(git)
        self.git = git
        self.root = git.top
        self.progress = progress
        self.config: Config = config_module.load(self.root)
        self.cache = open_cache(git)
        self.record = Record(git.private)
        self.rules = Rules(self.root, self.config.track)
        self.journal = Journal(git)
        self.warnings: list[str] = []
        self.moved_from: str | None = None  # what HEAD was, where git has moved it already
        self.unfit: dict[str, str] = {}  # matches of rules that cannot be artifacts, and why
        if self.record.rebuilt:
            self.warnings.append("the record was broken: it has been set aside and begun anew")

    @classmethod
    def discover(cls, start: Path | None = None, *, progress: Progress = SILENT) -> Workspace:
        """Open the workspace around `start` (default: the current directory)."""
        return cls(Git.discover(start), progress=progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.record.close()

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

    def remote(self, name: str) -> Remote:
        """Open a DVC remote. Raises DvcFailed."""
        from devml_git.remote import Remote

        stall = self.git.seconds("devml.stallTimeout", STALL_SECONDS)
        return Remote(self.root, name, self.cache, stall=stall)

    def source(self, name: str) -> Remote:
        """Open a DVC remote to read from it; a directory that is not there is a warning."""
        remote = self.remote(name)
        absence = remote.absence()
        if absence is not None and absence not in self.warnings:
            self.warnings.append(absence)
        return remote

    # -- P -----------------------------------------------------------------------------------

    @cached_property
    def tree(self) -> Tree:
        """The pointers as they lie in the worktree, read once."""
        tree = read_tree(self.git, self._stages)
        self.journal.saw_index(tree.indexed)
        return tree

    def _stages(self, yamls: list[str]) -> dict[str, PipelineOut]:
        return store.pipeline_outs(
            self.root, self.git.shared, yamls, self.record.pipeline, self.record.set_pipeline
        )

    def refresh(self) -> None:
        """Forget what was read of the worktree: git, or we, have changed it."""
        self.__dict__.pop("tree", None)
        self.__dict__.pop("ignores", None)

    def reload(self) -> None:
        """Read the configuration and its track rules anew, and what they decide."""
        self.config = config_module.load(self.root)
        self.rules = Rules(self.root, self.config.track)
        self.refresh()

    def snapshot_at(self, commit: str) -> Snapshot:
        """Return the snapshot of a commit: the pointers in its tree."""
        return read_commit(self.git, commit, self.tree)

    # -- W, P and R --------------------------------------------------------------------------

    @cached_property
    def ignores(self) -> Any:  # noqa: ANN401
        """DVC's ignore filter for this workspace, or None where nothing is ignored."""
        return store.ignore_filter(self.root, self.tree.dvcignores)

    @cached_property
    def _file_mode(self) -> bool:
        return self.git.config("core.fileMode") != "false"

    def look(self, path: str) -> Work:
        """Look at one place, with the hashes that are known."""
        work = scan(self.root, path, self.cache, self.ignores)
        recall(work, self.record.hashes(path))
        return work

    def new_artifacts(self) -> tuple[list[str], list[str]]:
        """Return what the rules match and no pointer names: new paths, and paths git holds.

        A path whose record is known is not new: its pointer was removed on purpose. Nor is what
        was put there as a member of such a directory.
        """
        known = self.tree.snapshot.pointers
        materialised = self.record.materialised()
        broken = {b.file.removesuffix(".dvc") for b in self.tree.snapshot.broken}
        sparse = {f.removesuffix(".dvc") for f in self.tree.sparse}
        matches = [path for path, _ in self.rules.find(self.git)] if self.rules else []
        gone = {p: r for p, r in materialised.items() if p not in known}
        ours = self._put_there({p: r for p, r in gone.items() if _above_any(p, matches)})
        found = []
        for path in matches:
            gate.path(path, "track rules")
            skip = path in materialised or path in broken or path in sparse
            inner = _inside_any(path, known) or _inside_any(path, self.tree.nested)
            if path not in known and not skip and not inner and path not in ours:
                found.append(path)
        tracked = self.git.tracked_among(found) if found else set()
        held = {f for f in found if f in tracked or any(t.startswith(f"{f}/") for t in tracked)}
        return [f for f in found if f not in held], sorted(held)

    def _put_there(self, without: Mapping[str, Materialised]) -> set[str]:
        """Return the files of directories that we know of and that have no pointer now.

        All that lies in one that was untracked counts.
        """
        put = set()
        for path, r in without.items():
            work = self.look(path) if not r.token else None
            names = self.members_of(r.oid) if work is None else work.files
            put |= {f"{path}/{name}" for name in names or ()}
        return put

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

    def _fit(self, paths: Iterable[str]) -> dict[str, Work]:
        """Look at new matches of rules, and leave out what cannot be an artifact: it is noted.

        A link beside the models (`latest.pt`) must not stop every commit.
        """
        self.unfit = {}
        fit = {}
        for path in paths:
            work = self.look(path)
            if work.odd:
                self.unfit[path] = f"{work.odd}: not tracked"
            elif work.kind == "dir" and not work.files:
                self.unfit[path] = f"{gate.shown(path)} is empty: tracked once it has a file"
            else:
                fit[path] = work
        return fit

    def learn(self, works: Iterable[Work], *, store_content: bool) -> None:
        """Compute all unknown hashes of these places, and remember them.

        What git could write over before any hook runs goes into the cache in the same read.
        """
        todo = [(w, name) for w in works if not w.odd for name in w.unknown()]
        if not todo:
            return
        wait_out_the_grain(max(w.files[name].stat.newest_ns for w, name in todo))
        if not store_content:
            self._keep_exposed(todo)
            todo = [(w, name) for w, name in todo if name not in w.oids]
        self._take_up(todo, store_content=store_content)

    def _keep_exposed(self, todo: Iterable[tuple[Work, str]]) -> None:
        """Put those files into the cache whose very path some commit holds in git itself.

        Git replaces an ignored file by the one it tracks at another revision without a question;
        `instep.bring_in_step` finds out afterwards. A full disk is no error here.
        """
        held = self.git.ever_held({work.path for work, _ in todo})
        exposed = [(w, n) for w, n in todo if (f"{w.path}/{n}" if n else w.path) in held]
        try:
            self._take_up(exposed, store_content=True)
        except StorageFailed as e:
            self.warnings.append(f"not kept, though git could write over it: {e.message}")

    def ensure_stored(self, works: Iterable[Work]) -> None:
        """Put those files into the cache whose hash is known but whose content it lacks."""
        todo = [(w, n) for w in works for n, oid in w.oids.items() if not self.cache.has(oid)]
        self._take_up(todo, store_content=True)

    def _take_up(self, todo: Sequence[tuple[Work, str]], *, store_content: bool) -> None:
        if not todo:
            return
        sources = [work.source(self.root, name) for work, name in todo]
        self.progress.start(
            "snapshot" if store_content else "hashing", sum(s.size for s in sources)
        )
        try:
            run = self.cache.put if store_content else self.cache.hash
            stored = run(sources, self.progress)
        finally:
            self.progress.finish()
        remembered: dict[str, list[tuple[str, Stat, str]]] = {}
        for (work, name), one in zip(todo, stored, strict=True):
            work.oids[name] = one.oid
            work.files[name] = replace(work.files[name], stat=one.stat)
            if one.quiet and not work.files[name].link:
                remembered.setdefault(work.path, []).append((name, one.stat, one.oid))
        with self.record.writing():
            for path, rows in remembered.items():
                self.record.remember(path, rows)

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
        return history.was_pointer(top, file, path, oid, self.tree.stages, prefix=prefix)

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

    def members_of(self, oid: str | None) -> dict[str, str] | None:
        """Return a directory's files (name to oid), or None when the cache has no such manifest."""
        if oid is None or not oid.endswith(".dir") or not self.cache.has(oid):
            return None
        with contextlib.suppress(Corrupt, DevmlError):
            return self.cache.manifest(oid)
        return None

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
            if work.kind == "file":
                found = legacy_hash(self.root / work.path)
            else:
                found = manifest_oid(
                    {n: legacy_hash(self.root / work.path / n) for n in work.files}
                )
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
        return Content(oid, sum(sizes), len(merged), executable)

    # -- after an operation ------------------------------------------------------------------

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

    def arm(self, observed: Iterable[Observed]) -> None:
        """Let the shell answer at the next hook if all is in order; else make it start Python."""
        items = list(observed)
        self.refresh()
        if not self.calm() or any(o.state not in _CALM for o in items) or self.has_neighbours():
            tripwire.disarm(self.git)
            return
        if any(o.state is not State.CLEAN for o in items):
            tripwire.arm_pointers(self.git, large_file=self.config.large_file)
            return
        files: dict[str, os.stat_result | None] = dict(self.tree.stats)
        for o in items:
            known = self.record.hashes(o.path)
            for name, found in o.work.files.items():
                inner = f"{o.path}/{name}" if name else o.path
                sure = name in known and not found.link and Stat.of(found.raw) == found.stat
                files[inner] = found.raw if sure else None
        for name in self._deciding_files():
            with contextlib.suppress(OSError):
                files[name] = os.lstat(self.root / name)
        lines = self.rules.exclude_lines()
        watched = [*self.rules.glob_directories(), *lines]
        # a directory that a rule names counts from its first file on
        places = {o.path for o in items if o.work.kind == "dir"}
        places.update(self.rules.literal_directories())
        links = [path for path in self.unfit if (self.root / path).is_symlink()]
        tripwire.arm(
            self.git,
            files=files,
            member_places=sorted(places),
            rule_lines=watched,
            rule_places=self.rules.places(self.git) if watched else [],
            owned=[*lines, *(literal_line(o.path, o.work.kind == "dir") for o in items)],
            held=[*self.git.tracked_matching(watched), *links],
            large_file=self.config.large_file,
        )

    def arm_pointers(self) -> None:
        """Let the shell answer whether the pointers have moved since now, and nothing more."""
        self.refresh()
        if self.calm() and not self.has_neighbours():
            tripwire.arm_pointers(self.git, large_file=self.config.large_file)
        else:
            tripwire.disarm(self.git)

    def has_neighbours(self) -> bool:
        """Whether the worktree holds several projects: the shell can answer for one only."""
        return len(self.git.projects()) > 1

    def calm(self) -> bool:
        """Whether no pointer is broken, none differs from the index, and no rebase is half-way.

        The shim asks only the index: a pointer that is not staged can change behind its back.
        """
        tree = self.tree
        if tree.snapshot.broken or self.git.half_way():
            return False
        if any(file not in tree.texts and file not in tree.sparse for file in tree.indexed):
            return False
        return not self.git.differing_from_index(list(tree.texts), tree.indexed)

    def _deciding_files(self) -> list[str]:
        """Files whose change can change what is an artifact or where its content lies."""
        fixed = [config_module.OWN_FILE, config_module.PYPROJECT, ".dvc/config",
                 ".dvc/config.local", ".dvcignore"]  # fmt: skip
        return [n for n in {*fixed, *self.tree.dvcignores} if (self.root / n).is_file()]

    # -- rescue and status -------------------------------------------------------------------

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
        )

    def exec_bits(self, work: Work) -> frozenset[str]:
        """Return the files with an exec bit, none where the file system has no such thing."""
        return work.executable() if self._file_mode else frozenset()

    def lying(self, work: Work) -> Pointer | None:
        """Return what lies at a place as a pointer would say it, or None where nothing does.

        Its files need not be in the cache; the manifest of a directory is, afterwards.
        """
        if work.kind not in {"file", "dir"} or (work.kind == "file" and not work.files):
            return None
        self.learn([work], store_content=False)
        oid = work.oid()
        if oid is None:
            return None
        hash_name = MD5
        if not self.cache.has(oid):
            if self.cache.has(oid, LEGACY):
                hash_name = LEGACY
            else:
                oid = self.content_of(work).oid
        nfiles = len(work.files) if work.kind == "dir" else None
        return Pointer(
            work.path, f"{work.path}.dvc", oid, work.size, nfiles, self.exec_bits(work), hash_name
        )

    def content_of(self, work: Work) -> Content:
        """Return what a pointer says of a place whose files are in the cache.

        Stores the manifest of a directory.
        """
        executable = self.exec_bits(work)
        if work.kind == "file":
            return Content(work.oids[""], work.size, None, executable)
        members = {name: work.oids[name] for name in work.files}
        oid, _ = self.cache.put_manifest(members)
        return Content(oid, work.size, len(members), executable)


def _require_project(git: Git) -> None:
    """Raise NotARepository where nothing was ever set up.

    At a revision from before that, what was set up in this clone counts. A sparse checkout in
    cone mode leaves `.dvc` out; DVC cannot work without it: it is written back from the index.
    """
    if not store.is_project(git.top):
        for entry in git.index_entries(":(literal).dvc/config", ":(literal).dvc/.gitignore"):
            (text,) = git.blobs([entry.blob])
            write_text_safely(git.top, entry.path, text, create=True)
    if git.config(cache_setting(git)) is not None:
        return
    try:
        store.require_project(git.top)
    except NotARepository as e:
        below = [shown(p.prefix) for p in git.projects()]
        if not below:
            raise
        raise NotARepository(
            e.message, hint=f"cd to one of its projects: {', '.join(below)}"
        ) from e


def _above_any(path: str, places: Iterable[str]) -> bool:
    return any(place.startswith(f"{path}/") for place in places)


def _inside_any(path: str, places: Collection[str]) -> bool:
    cut = path.rfind("/")
    while cut > 0:
        if path[:cut] in places:
            return True
        cut = path.rfind("/", 0, cut)
    return False

"""What is in a worktree: its pointers, and what lies at their places, with its hashes."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from devml_git import config as config_module
from devml_git import dvcignores, gate, links, store
from devml_git.bounds import MAX_CONFIG_BYTES
from devml_git.cache import Corrupt
from devml_git.dvc_config import DvcConfig
from devml_git.errors import DevmlError, NotARepository, StorageFailed
from devml_git.fingerprints import of_members
from devml_git.gate import quoted, shown
from devml_git.journal import Journal
from devml_git.location import open_cache
from devml_git.nouns import LEGACY, MD5, Content, Pointer
from devml_git.permissions import exposed_cache
from devml_git.pipelines import Pipelines
from devml_git.place import wait_out_the_grain, write_text_safely
from devml_git.plumbing import Git
from devml_git.progress import SILENT, Progress
from devml_git.record import Hashed, Record
from devml_git.rules import Rules, within_bounds
from devml_git.scan import Ignores, Work, recall, scan
from devml_git.tree import read_commit, read_tree
from devml_git.trust import Access, cache_setting
from devml_git.wording import twin

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from devml_git.cache import Source
    from devml_git.config import Config
    from devml_git.nouns import Snapshot
    from devml_git.record import Materialised
    from devml_git.tree import Tree


class Looking:
    """An open worktree: P and W of the three-way rule. `workspace.Workspace` knows R, too."""

    def __init__(self, git: Git, *, progress: Progress = SILENT) -> None:
        _require_project(git)
        self.git = git
        self.root = git.top
        self.progress = progress
        self.warnings: list[str] = []
        self.config: Config = config_module.load(self.root)
        second = self.config.integrity == "sha256"
        self.cache = replace(open_cache(git, self.dvc), second=second)
        self.access = Access(git, lambda: self.dvc)
        self.record = Record(git.private)
        fit, warnings = within_bounds(self.config.track)
        self.warnings += warnings
        self.rules = Rules(self.root, fit)
        self.journal = Journal(git)
        self.moved_from: str | None = None  # what HEAD was, where git has moved it already
        self.unfit: dict[str, str] = {}  # matches of rules that cannot be artifacts, and why
        self.empty: set[str] = set()  # those of them that only have no file yet
        if self.record.rebuilt:
            self.warnings.append("the record was broken: it has been set aside and begun anew")
        if exposed := exposed_cache(git, self.cache):
            self.warnings.append(f"{exposed[0]} (devml-git doctor)")

    @classmethod
    def discover(cls, start: Path | None = None, *, progress: Progress = SILENT) -> Self:
        """Open the workspace around `start` (default: the current directory)."""
        return cls(Git.discover(start), progress=progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cache.seen.close()
        self.record.close()

    @cached_property
    def tree(self) -> Tree:
        """The pointers as they lie in the worktree, read once."""
        tree = read_tree(self.git, self.pipelines.here)
        self.journal.saw_index(tree.indexed)
        return tree

    @cached_property
    def pipelines(self) -> Pipelines:
        """What the pipelines of any revision say of their outputs."""
        return Pipelines(self.dvc, self.record.pipeline, self.record.set_pipeline)

    @cached_property
    def dvc(self) -> DvcConfig:
        """DVC's configuration, as far as it counts."""
        return DvcConfig(self.git, self.warn)

    def warn(self, text: str) -> None:
        """Note a warning to be shown, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def refresh(self) -> None:
        """Forget what was read of the worktree: git, or we, have changed it."""
        self.__dict__.pop("dvc", None)
        self.__dict__.pop("tree", None)
        self.__dict__.pop("pipelines", None)
        self.__dict__.pop("ignores", None)
        self.__dict__.pop("links_in_git", None)

    def reload(self) -> None:
        """Read the configuration and its track rules anew, and what they decide."""
        self.config = config_module.load(self.root)
        self.rules = Rules(self.root, within_bounds(self.config.track)[0])
        self.refresh()

    def snapshot_at(self, commit: str) -> Snapshot:
        """Return the snapshot of a commit: the pointers in its tree."""
        return read_commit(self.git, commit, self.pipelines)

    @cached_property
    def ignores(self) -> Ignores | None:
        """DVC's ignore filter for this workspace, or None where nothing is ignored.

        Nor where the one at the root cannot be used: no directory is looked into then.
        """
        if ".dvcignore" in self.tree.unfit_ignores:
            return None
        found = store.ignore_filter(self.root, self.tree.dvcignores, self.git.worktree)
        return None if found is None else Ignores(found)

    @cached_property
    def links_in_git(self) -> frozenset[str]:
        """The links that git tracks; asked only where a link lies in an artifact's place."""
        return links.in_git(self.git)

    @cached_property
    def _file_mode(self) -> bool:
        return self.git.config("core.fileMode") != "false"

    def exec_bits(self, work: Work) -> frozenset[str]:
        """Return the files with an exec bit, none where the file system has no such thing."""
        return work.executable() if self._file_mode else frozenset()

    def look(self, path: str) -> Work:
        """Look at one place, with the hashes that are known."""
        undecided = dvcignores.undecided(path, self.tree.unfit_ignores)
        if undecided is not None and (self.root / path).is_dir():
            why = self.tree.unfit_ignores[undecided]
            return Work(path, "odd", odd=f"{shown(path)}: {shown(undecided)} {why}")
        work = scan(self.root, path, self.cache, self.ignores, lambda: self.links_in_git)
        recall(work, self.record.hashes(path))
        pointer = self.tree.snapshot.pointers.get(path) if work.sha256s else None
        if pointer is not None and pointer.sha256 is not None and work.kind == "file":
            self.refuse_twin(work, pointer)
        return work

    def refuse_twin(self, work: Work, pointer: Pointer | None, oid: str | None = None) -> None:
        """See whether bytes only share the MD5 of what they should be: then the place is odd.

        What they should be is what the pointer vouches for, else what was seen under that MD5.
        `oid` is the place's, where it has been computed.
        """
        if work.odd or not work.sha256s:
            return
        same = pointer is not None and pointer.oid == (oid or work.oid())
        if pointer is not None and pointer.sha256 is not None and same:
            found = work.vouching()
            if found not in {None, pointer.sha256}:
                self._refuse_unlike_seen(work, work.sha256s)  # which file, if that is known
                work.odd = work.odd or twin(work.path)
        else:
            self._refuse_unlike_seen(work, work.sha256s)

    def _refuse_unlike_seen(self, work: Work, names: Iterable[str]) -> None:
        """As `refuse_twin`, for some of its files, against what was seen under their MD5s."""
        mine = {n: work.sha256s[n] for n in names if n in work.sha256s}
        seen = self.cache.seen.known(work.oids[n] for n in mine)
        for name, sha256 in mine.items():
            known = seen.get(work.oids[name])
            if known is not None and known.sha256 != sha256:
                work.odd = twin(f"{work.path}/{name}" if name else work.path)

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
        fresh: dict[str, list[str]] = {}
        for work, name in todo:
            fresh.setdefault(work.path, []).append(name)
        for work in {w.path: w for w, _ in todo}.values():
            self._refuse_unlike_seen(work, fresh[work.path])

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

    def learn_second(self, work: Work, names: Iterable[str]) -> None:
        """Read those of a place's files of which only DVC's hash is known; remember the second."""
        todo = [n for n in names if n in work.files and n not in work.sha256s]
        if not todo:
            return
        sources = [work.source(self.root, name) for name in todo]
        found = replace(self.cache, second=True).hash(sources, self.progress)
        for name, one in zip(todo, found, strict=True):
            if one.oid == work.oids.get(name) and one.sha256 is not None:
                work.sha256s[name] = one.sha256
        rows = [
            (name, Hashed(one.stat, one.oid, one.sha256))
            for name, one in zip(todo, found, strict=True)
            if one.quiet and not work.files[name].link
        ]
        with self.record.writing():
            self.record.remember(work.path, rows)

    def ensure_stored(self, works: Iterable[Work]) -> None:
        """Put those files into the cache whose hash is known but whose content it lacks."""
        todo = [(w, n) for w in works for n, oid in w.oids.items() if not self.cache.has(oid)]
        self._take_up(todo, store_content=True)

    def _take_up(self, todo: Sequence[tuple[Work, str]], *, store_content: bool) -> None:
        if not todo:
            return
        sources = [self._source(work, name) for work, name in todo]
        self.progress.start(
            "snapshot" if store_content else "hashing", sum(s.size for s in sources)
        )
        try:
            run = self.cache.put if store_content else self.cache.hash
            stored = run(sources, self.progress)
        finally:
            self.progress.finish()
        remembered: dict[str, list[tuple[str, Hashed]]] = {}
        for (work, name), one in zip(todo, stored, strict=True):
            work.oids[name] = one.oid
            if one.sha256 is not None:
                work.sha256s[name] = one.sha256
            work.files[name] = replace(work.files[name], stat=one.stat)
            if one.quiet and not work.files[name].link:
                row = (name, Hashed(one.stat, one.oid, one.sha256))
                remembered.setdefault(work.path, []).append(row)
        with self.record.writing():
            for path, rows in remembered.items():
                self.record.remember(path, rows)

    def _source(self, work: Work, name: str) -> Source:
        """Return a file as a source for the cache, with what its pointer vouches for."""
        source = work.source(self.root, name)
        pointer = None if name else self.tree.snapshot.pointers.get(work.path)
        if pointer is None or pointer.oid is None or pointer.sha256 is None:
            return source
        return replace(source, vouched=(pointer.oid, pointer.sha256))

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
        found = [f for f in found if f not in tracked or f not in self.links_in_git]
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

    def _fit(self, paths: Iterable[str]) -> dict[str, Work]:
        """Look at new matches of rules, and leave out what cannot be an artifact: it is noted.

        A link beside the models (`latest.pt`) must not stop every commit. A directory that a rule
        names is an artifact also where something in it cannot be stored: that stops the commit.
        """
        self.unfit, self.empty = {}, set()
        fit = {}
        named = set(self.rules.literal_directories())
        for path in paths:
            work = self.look(path)
            if work.odd and not (work.odd_members and path in named):
                self.unfit[path] = f"{work.odd}: not tracked"
                if (self.root / path).is_symlink():
                    self.unfit[path] += f" (git can keep it: git add -f -- {quoted(path)})"
            elif work.kind == "dir" and not work.files:
                self.unfit[path] = f"{gate.shown(path)} is empty: tracked once it has a file"
                self.empty.add(path)
            else:
                fit[path] = work
        return fit

    def members_of(self, oid: str | None) -> dict[str, str] | None:
        """Return a directory's files (name to oid), or None when the cache has no such manifest."""
        if oid is None or not oid.endswith(".dir") or not self.cache.has(oid):
            return None
        with contextlib.suppress(Corrupt, DevmlError):
            return self.cache.manifest(oid)
        return None

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
            work.path, f"{work.path}.dvc", oid, work.size, nfiles, self.exec_bits(work), hash_name,
            sha256=work.vouching() if hash_name == MD5 else None,
        )  # fmt: skip

    def content_of(self, work: Work) -> Content:
        """Return what a pointer says of a place whose files are in the cache.

        Stores the manifest of a directory.
        """
        executable = self.exec_bits(work)
        if work.kind == "file":
            return Content(
                work.oids[""], work.size, None, executable, self.vouch({"": work.oids[""]}, work)
            )
        members = {name: work.oids[name] for name in work.files}
        oid, _ = self.cache.put_manifest(members)
        return Content(oid, work.size, len(members), executable, self.vouch(members, work))

    def vouch(self, members: Mapping[str, str], work: Work | None = None) -> str | None:
        """Return the SHA-256 that a pointer is to vouch for: of these files (name to oid).

        Known from a workspace's own, or from what the cache had. None where one is not known, or
        none is wanted (`integrity`).
        """
        if not self.cache.second:
            return None
        mine = work.fingerprints() if work is not None else {}
        prints = {n: f for n, f in mine.items() if work and work.oids.get(n) == members.get(n)}
        seen = self.cache.seen.known(oid for n, oid in members.items() if n not in prints)
        prints |= {n: seen[oid] for n, oid in members.items() if n not in prints and oid in seen}
        if not members.keys() <= prints.keys():
            return None
        if members.keys() == {""}:
            return prints[""].sha256
        return of_members({name: prints[name] for name in members})


def _require_project(git: Git) -> None:
    """Raise NotARepository where nothing was ever set up.

    At a revision from before that, what was set up in this clone counts. A sparse checkout in
    cone mode leaves `.dvc` out; DVC cannot work without it: it is written back from the index.
    """
    if not store.is_project(git.top):
        for entry in git.index_entries(":(literal).dvc/config", ":(literal).dvc/.gitignore"):
            text = git.blob(entry.blob, entry.path, MAX_CONFIG_BYTES)
            write_text_safely(git.top, entry.path, text, create=True)
    if git.config(cache_setting(git)) is not None:
        return
    try:
        store.require_project(git.top)
    except NotARepository as e:
        below = [quoted(p.prefix) for p in git.projects()]
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

"""The pointer files of a worktree or a commit, read into a snapshot (P of the three-way rule)."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from devml_git import dvcignores, gate, pointers, yamltext
from devml_git.bounds import MAX_POINTERS_BYTES
from devml_git.errors import DevmlError
from devml_git.inside import read_inside
from devml_git.nouns import Broken, Snapshot
from devml_git.pipelines import AtRevision, Outs, stand_in, yaml_of
from devml_git.place import Absent, parent, what_is
from devml_git.plumbing import (
    POINTER_PATHSPECS,
    PROJECT_PATHSPEC,
    YAML_PATHSPECS,
    is_lock,
    is_pointer_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from devml_git.pipelines import Pipelines
    from devml_git.plumbing import Git, IndexEntry
    from devml_git.pointers import Outputs

# Neither a link nor a named pipe in a pointer's place may lead astray or hang
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_TOO_LARGE = f"is larger than {gate.MAX_POINTER_BYTES} bytes"


@dataclass(slots=True)
class Tree:
    """The pointer files as they lie in the worktree, and what else decides what they mean.

    `texts` and `stats` are by pointer file; `indexed` are the index's entries at merge stage 0;
    `sparse` are the files a sparse checkout leaves out; `nested` are other projects' roots inside
    this one, whose files are theirs; `outputs` is what the pipelines say; `unfit_ignores` are the
    `.dvcignore` files that cannot be used, and why.
    """

    snapshot: Snapshot
    texts: dict[str, bytes]
    stats: dict[str, os.stat_result]
    indexed: dict[str, IndexEntry]
    sparse: frozenset[str]
    dvcignores: list[str]
    nested: frozenset[str]
    outputs: Outputs = field(default_factory=dict)
    unfit_ignores: dict[str, str] = field(default_factory=dict)


def read_tree(git: Git, ask: Callable[[list[str]], Outs]) -> Tree:
    """Read the worktree's pointers; `ask` is told the `dvc.yaml` files and answers for DVC."""
    listed = git.names(
        "ls-files", "-z", "-c", "-o", "--exclude-standard", "--deduplicate", "--",
        *POINTER_PATHSPECS, *YAML_PATHSPECS, PROJECT_PATHSPEC,
    )  # fmt: skip
    nested = {n.removesuffix("/.dvc/config") for n in listed if n.endswith("/.dvc/config")}
    theirs = tuple(f"{n}/" for n in nested)
    names = [n for n in listed if not n.startswith(theirs)]
    entries = [
        e
        for e in git.index_entries(*POINTER_PATHSPECS)
        if is_pointer_file(e.path) and not e.path.startswith(theirs)
    ]
    indexed = {e.path: e for e in entries if e.stage == 0}
    unmerged = sorted({e.path for e in entries if e.stage})
    files = _read_files(git, (n for n in names if is_pointer_file(n) and n not in unmerged))
    texts, stats, unread = files
    yamls = [n for n in names if n.endswith("dvc.yaml") and (git.top / n).is_file()]
    said = ask(yamls) if yamls else Outs()
    left = _unread_locks(texts, said)
    outputs = said.known | {n: stand_in(n, t, git.tracked_among) for n, t in left.items()}
    snapshot = _left_alone(pointers.collect(texts.items(), outputs), left)
    unread += [_bad_pipeline(git, file, why) for file, why in said.unread.items()]
    conflicts = tuple(Broken(f, "is unmerged", unmerged=True) for f in unmerged)
    ignores = [n for n in names if n.rsplit("/", 1)[-1] == ".dvcignore"]
    unfit = dvcignores.unfit(git.top, ignores)
    snapshot = _undecided_left_alone(snapshot, unfit)
    unread += [Broken(file, why) for file, why in unfit.items()]
    return Tree(
        snapshot=Snapshot(snapshot.pointers, (*snapshot.broken, *unread, *conflicts)),
        texts=texts,
        stats=stats,
        indexed=indexed,
        sparse=frozenset(_sparse(git, [path for path in indexed if path not in texts])),
        dvcignores=ignores,
        nested=frozenset(nested),
        outputs=outputs,
        unfit_ignores=unfit,
    )


def _unread_locks(texts: Mapping[str, bytes], said: Outs) -> dict[str, bytes]:
    """Return the locks whose `dvc.yaml` is there and cannot be read."""
    return {n: t for n, t in texts.items() if is_lock(n) and yaml_of(n) in said.unread}


def _left_alone(snapshot: Snapshot, locks: Collection[str]) -> Snapshot:
    why = "its dvc.yaml cannot be read"
    kept = {
        path: replace(p, why_left_alone=why) if p.file in locks else p
        for path, p in snapshot.pointers.items()
    }
    return Snapshot(kept, snapshot.broken)


def _undecided_left_alone(snapshot: Snapshot, unfit: Mapping[str, str]) -> Snapshot:
    if not unfit:
        return snapshot
    kept = dict(snapshot.pointers)
    for path, pointer in snapshot.pointers.items():
        file = dvcignores.undecided(path, unfit) if pointer.is_dir else None
        if file is not None:
            why = f"{gate.shown(file)} {unfit[file]}"
            kept[path] = replace(pointer, why_left_alone=pointer.why_left_alone or why)
    return Snapshot(kept, snapshot.broken)


def _bad_pipeline(git: Git, file: str, why: str) -> Broken:
    """Say of a `dvc.yaml` that a merge left it unfinished, or why else it cannot be read."""
    with contextlib.suppress(DevmlError):
        text = read_inside(git.top, file, limit=yamltext.MAX_BYTES)
        if pointers.has_conflict_markers(text or b""):
            return Broken(file, "has conflict markers in it")
    return Broken(file, f"cannot be read: {why}")


def _read_files(
    git: Git, names: Iterable[str]
) -> tuple[dict[str, bytes], dict[str, os.stat_result], list[Broken]]:
    """Return text and stat of the files that are there, and those that cannot be read as one."""
    texts, stats, unread = {}, {}, []
    total = 0
    for name in names:
        try:
            with parent(git.top, name) as (above, base):
                fd = os.open(base, _READ_FLAGS, dir_fd=above)
        except (Absent, FileNotFoundError, NotADirectoryError):
            continue
        except DevmlError as e:
            unread.append(Broken(name, f"cannot be read: {e.message}"))
            continue
        except OSError as e:
            link = e.errno == errno.ELOOP
            why = "is a link, not a file" if link else f"cannot be read: {e.strerror}"
            unread.append(Broken(name, why))
            continue
        try:
            st = os.fstat(fd)
            if not stat.S_ISREG(st.st_mode):
                unread.append(Broken(name, f"is a {what_is(st)}, not a file"))
            elif st.st_size > gate.MAX_POINTER_BYTES:
                unread.append(Broken(name, _TOO_LARGE))
            elif (total := total + st.st_size) > MAX_POINTERS_BYTES:
                why = f"is not read: the pointer files before it have {MAX_POINTERS_BYTES} bytes"
                unread.append(Broken(name, why))
            else:
                texts[name] = os.read(fd, st.st_size + 1)
                stats[name] = st
        finally:
            os.close(fd)
    return texts, stats, unread


def _sparse(git: Git, gone: list[str]) -> list[str]:
    """Return which absent pointer files a sparse checkout leaves out."""
    if not gone or git.config("core.sparseCheckout") != "true":
        return []
    tagged = git.names("ls-files", "-t", "-z", "--", *(f":(literal){g}" for g in gone))
    return [line[2:] for line in tagged if line.startswith("S ")]


def read_commit(git: Git, commit: str, pipelines: Pipelines) -> Snapshot:
    """Return the snapshot of a commit, as its own pointer files and pipelines say."""

    def in_git(paths: set[str]) -> set[str]:
        return paths & {e.path for e in git.tree_entries(commit, all_paths=True)}

    return _collected(git, git.tree_entries(commit), in_git, commit, pipelines)


def read_index(git: Git, now: Tree, pipelines: Pipelines) -> Snapshot:
    """Return the snapshot that the index would commit; what is unmerged is left out."""
    return _collected(git, list(now.indexed.values()), git.tracked_among, "", pipelines)


def _collected(
    git: Git,
    entries: list[IndexEntry],
    in_git: Callable[[set[str]], set[str]],
    rev: str,
    pipelines: Pipelines,
) -> Snapshot:
    texts = git.small_blobs([e.blob for e in entries], gate.MAX_POINTER_BYTES)
    found = [(e.path, texts[e.blob]) for e in entries]
    files = {path: text for path, text in found if text is not None}
    large = [Broken(path, _TOO_LARGE) for path, text in found if text is None]
    yamls = [yaml_of(path) for path in files if is_lock(path)]
    said = pipelines.outs(yamls, AtRevision(git, rev)) if yamls else Outs()
    left = _unread_locks(files, said)
    outputs = said.known | {n: stand_in(n, t, in_git) for n, t in left.items()}
    snapshot = pointers.collect(files.items(), outputs)
    return Snapshot(snapshot.pointers, (*snapshot.broken, *large))

"""The full state of a workspace as a snapshot between commits: code, data, models and metrics.

Nothing that git or the user looks at changes: neither HEAD nor branch, index, pointers or files.
The content goes into the cache, then the rest into a tree that an index of our own is written to.
"""

from __future__ import annotations

import contextlib
import posixpath
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devml_git import bounds, credentials, gate, moving, pointers, savepoints, snapshotting
from devml_git.amounts import human
from devml_git.errors import GitFailed
from devml_git.nouns import State
from devml_git.wording import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from devml_git.nouns import Content, Pointer
    from devml_git.savepoints import Savepoint
    from devml_git.workspace import Observed, Workspace

_ATTEMPTS = 2  # at adding files that others are writing, before it counts
_SHOWN = 4
_ABSENT = {
    State.DELETED: "not there, the pointers stay",
    State.MISSING: "not there, and content not here",
}


@dataclass(frozen=True, slots=True)
class Present:
    """What lies in the worktree now.

    `tree` is git's id of it; `texts` the pointer files that say otherwise than the worktree's
    (None: it goes); `notes` what the tree could not take, in words.
    """

    tree: str
    parent: str | None
    observed: tuple[Observed, ...]
    texts: Mapping[str, bytes | None]
    notes: tuple[str, ...]


def take(ws: Workspace, message: str, metrics: Mapping[str, Any] | None = None) -> Savepoint:
    """Record the state of the whole worktree; the same state, recorded already, is returned.

    Other metrics make another state; without metrics, those of the snapshot that is there do.

    Raises UsageError for metrics that are none, WouldOverwrite for pointers in conflict,
    StorageFailed when the cache cannot take the content (there is no snapshot then).
    """
    measured = None if metrics is None else savepoints.plain(metrics)
    with ws.locked():
        now = present(ws)
        point = held(ws, now, measured) or make(ws, now, message, measured)
    return replace(point, notes=now.notes)


def make(
    ws: Workspace, now: Present, message: str, metrics: Mapping[str, Any] | None = None
) -> Savepoint:
    """Write a snapshot of what lies there, whether or not there is one."""
    return savepoints.make(
        ws.git, tree=now.tree, parent=now.parent, message=message, branch=ws.git.branch(),
        metrics=metrics or {},
    )  # fmt: skip


def held(ws: Workspace, now: Present, metrics: Mapping[str, Any] | None = None) -> Savepoint | None:
    """Return the snapshot that is this state (and has these metrics), or None."""
    for point in savepoints.read(ws.git):
        same = (point.tree, point.parent) == (now.tree, now.parent)
        if same and (metrics is None or point.metrics == metrics):
            return point
    return None


@contextlib.contextmanager
def standing_on(ws: Workspace, point: Savepoint, now: Present) -> Iterator[None]:
    """Let HEAD, index and pointers be those of the snapshot that the workspace is the same as.

    Git can go on from there as from any commit, and the content is no edit any more. If what
    follows fails, all is as before.
    """
    before = {file: ws.tree.texts.get(file) for file in now.texts}
    try:
        _put(ws, now.texts)
        with ws.git.standing_on(point.commit):
            yield
    except BaseException:
        _put(ws, before)
        raise
    with ws.record.writing():
        for o in now.observed:
            if o.w is not None and o.work.kind != "absent":
                content = ws.content_of(o.work)
                ws.remember_clean(o.path, o.work, o.w, content.oid)


def _put(ws: Workspace, texts: Mapping[str, bytes | None]) -> None:
    for file, text in texts.items():
        if text is None:
            ws.journal.remove(file)
        else:
            ws.journal.write(file, text, create=True)


# -- what lies there -----------------------------------------------------------------------------


def present(ws: Workspace) -> Present:
    """Put the content of all artifacts into the cache, and all else into a tree.

    Raises as `take` does.
    """
    snapshotting.refuse_broken(ws, None)
    observed = ws.observe(store_content=True)
    snapshotting.refuse_odd(observed)
    texts, elsewhere = _texts(ws, observed)
    artifacts = {o.path for o in observed} | ws.tree.snapshot.pointers.keys()
    with ws.git.private_index() as env:
        left_out, notes = _left_out(ws, artifacts, env)
        _add_all(ws, left_out, env)
        ws.git.stage(_ignored_measures(ws, artifacts), index=Path(env["GIT_INDEX_FILE"]))
        ws.git.put_texts(texts, env)
        notes += _without_credentials(ws, env)
        tree = ws.git.whole.out("write-tree", env=env).strip()
    for state, words in _ABSENT.items():
        names = [o.path for o in observed if o.state is state and o.path not in elsewhere]
        notes += [f"{words}: {listed(names)}"] if names else []
    return Present(tree, _parent(ws), tuple(observed), texts, (*notes, *ws.unfit.values()))


def _parent(ws: Workspace) -> str | None:
    """HEAD; where that is a snapshot, the commit it was taken on: each can be dropped by itself."""
    head = ws.git.head()
    point = savepoints.at(ws.git, head) if head else None
    return point.parent if point else head


def _texts(ws: Workspace, observed: Sequence[Observed]) -> tuple[dict[str, bytes | None], set[str]]:
    """Return the pointers' texts that say what lies there, where the worktree's do not.

    And the artifacts whose content still lies where it was before `git mv` of the pointer.
    """
    texts: dict[str, bytes | None] = {}
    elsewhere = set()

    def say(pointer: Pointer | None, path: str, content: Content) -> None:
        file = pointer.file if pointer else f"{path}.dvc"
        old = texts.get(file) or ws.tree.texts.get(file)
        if pointer is None or old is None:
            texts[file] = pointers.new(posixpath.basename(path), content)
        else:
            texts[file] = pointers.updated(old, pointer, content)

    moves = snapshotting.find_moves(observed)
    for o in observed:
        if o.w is None or o.work.kind == "absent":
            continue
        content = snapshotting.stored(ws, o)
        if o.state is not State.CLEAN:
            say(o.pointer, o.path, content)
        source = moves.get(o.path)
        if source is not None and source.pointer is not None:
            texts[source.pointer.file] = None
    for old, _, pointer in moving.candidates(ws):
        work = ws.look(old)
        if work.kind != "absent" and not work.odd:
            ws.learn([work], store_content=True)
            ws.ensure_stored([work])
            say(pointer, pointer.path, ws.content_of(work))
            elsewhere.add(pointer.path)
    return texts, elsewhere


def _left_out(
    ws: Workspace, artifacts: Collection[str], env: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return the paths (from the worktree's root) that must not enter git, and notes of them."""
    held_by_pointers = {f"{ws.git.prefix}{path}" for path in artifacts}
    out_of_it, nested, large = [], [], []
    for path in ws.git.differences(env):
        if path.endswith("/"):
            nested.append(path)
        elif path in held_by_pointers or any(
            path[:i] in held_by_pointers for i, c in enumerate(path) if c == "/"
        ):
            out_of_it.append(path)
        elif (size := _size(ws.git.worktree / path)) > ws.config.large_file:
            large.append((path, size))
    notes = [f"repositories of their own, left out: {listed(nested)}"] if nested else []
    if large:
        names = [f"{gate.shown(path)} ({human(size)})" for path, size in large]
        notes.append(
            f"too large for git, left out: {', '.join(names[:_SHOWN])}"
            + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
            + f"   (devml-git track {gate.quoted(large[0][0])})"
        )
    return [*out_of_it, *(n.rstrip("/") for n in nested), *(path for path, _ in large)], notes


def _size(place: Path) -> int:
    with contextlib.suppress(OSError):
        st = place.lstat()
        return st.st_size if stat.S_ISREG(st.st_mode) else 0
    return 0


def _add_all(ws: Workspace, left_out: Sequence[str], env: Mapping[str, str]) -> None:
    """Add the worktree; a file that grows or goes while git reads it stops git: once more then."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(GitFailed):
            ws.git.add_all(left_out, env)
            return
    ws.git.add_all(left_out, env)


def _without_credentials(ws: Workspace, env: Mapping[str, str]) -> list[str]:
    """Let DVC's settings, of any project, be HEAD's where they have credentials that git has not.

    Those that are the user's own (`config.local`) always are. Returns notes of it.
    """
    git = ws.git.whole
    names = [f":(glob)**/{name}" for name in (credentials.CONFIG, credentials.PRIVATE)]
    texts: dict[str, bytes | None] = {}
    notes = []
    for file in git.names("ls-files", "-z", "--", *names, env=env):
        text = git.data_at("", file, bounds.MAX_CONFIG_BYTES, env)
        fresh = credentials.fresh_in(git, file, text or b"")
        if fresh or text is None or file.endswith(credentials.PRIVATE):
            texts[file] = git.data_at("HEAD", file, bounds.MAX_POINTERS_BYTES)
        why = f"{gate.shown(file)} as the last commit has it, for this "
        if text is None:
            notes.append(f"{why}is too large to be looked through for credentials")
        elif fresh:
            named = ", ".join(map(str, fresh[:_SHOWN]))
            notes.append(f"{why}has a credential: {named}   ({credentials.moves(fresh, file)[0]})")
    git.put_texts(texts, env)
    return notes


def _ignored_measures(ws: Workspace, artifacts: Collection[str]) -> list[str]:
    """Return files of metrics and parameters that git ignores: they belong to the state."""
    named = [f for f in (*ws.config.metrics, *ws.config.params) if f not in artifacts]
    return sorted(f for f in ws.git.ignored(named) if (ws.root / f).is_file())

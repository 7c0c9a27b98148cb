"""`init`, `track` and `untrack`: what makes a repository a project, and a path an artifact."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devml_git import (
    attributes,
    config,
    gate,
    ignoring,
    installer,
    links,
    pointers,
    rules,
    snapshotting,
    store,
)
from devml_git.dvc_config import DvcConfig
from devml_git.errors import DevmlError, DvcFailed, UsageError
from devml_git.location import OWN_CACHE, cache_key, point_dvc, public_counts, settings_that_count
from devml_git.locks import held
from devml_git.place import TEMPORARY, what_is
from devml_git.plumbing import git_version, require_git
from devml_git.trust import Trust, cache_setting
from devml_git.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from devml_git.nouns import Pointer
    from devml_git.plumbing import Git
    from devml_git.progress import Progress

# What frameworks call the files they save models in
MODEL_SUFFIXES = frozenset(
    {".safetensors", ".pt", ".pth", ".ckpt", ".onnx", ".gguf", ".h5", ".hdf5", ".keras", ".pb",
     ".tflite", ".joblib", ".pkl", ".pickle", ".npz", ".npy", ".parquet", ".msgpack", ".bin",
     ".model", ".mlmodel", ".feather", ".arrow"}
)  # fmt: skip
_SUGGESTED = 20
_LEGACY = re.compile(r"[0-9a-f]{2}")
FSYNC = "committed,reference"
FSYNC_GIT = (2, 36)  # the first that knows core.fsync


@dataclass(slots=True)
class SetUp:
    """What `init` did and found. `suggestions` are (path, bytes, already in git)."""

    made: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    cache: str = ""
    rules: list[str] = field(default_factory=list)
    suggestions: list[tuple[str, int, bool]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def init(
    git: Git, *, track: Sequence[str], prefix: str, hooks: bool, trusted: bool, progress: Progress
) -> SetUp:
    """Set a repository up, or bring an earlier set-up up to date (idempotent).

    `trusted`: what the repository says of remotes counts from now on, and of a cache that is there.

    One at a time in a repository, with all its worktrees. Raises GitFailed or DvcFailed when git or
    DVC is too old, HookInTheWay for hooks, StorageFailed when another `init` does not end.
    """
    require_git()
    store.require_dvc()
    with held(git.whole.shared / "lock-setup", "another devml-git is setting up this repository"):
        links.refuse_below_dvc(git)
        if trusted:
            trust_all(git)
        elif git.config(cache_setting(git)) is None:
            with contextlib.suppress(DvcFailed):
                Trust(git, DvcConfig(git)).note_found()
        return _init(git, track=track, prefix=prefix, hooks=hooks, progress=progress)


def trust_all(git: Git) -> None:
    """Trust the DVC remotes as they are now, and a cache that is a team's already.

    A place that the repository names and that is not there yet, or holds something else, is made
    the cache by `devml-git trust --cache` alone.
    """
    dvc = DvcConfig(git)
    trust = Trust(git, dvc)
    trust.allow(r for r in dvc.remotes.values() if r.refusal is None)
    said = dvc.public_cache
    if said is not None and (said.directory is None or _is_a_cache(said.directory)):
        trust.allow_cache(said)


def _init(git: Git, *, track: Sequence[str], prefix: str, hooks: bool, progress: Progress) -> SetUp:
    links.refuse_below_dvc(git)
    done = SetUp()
    if hooks:
        # first: it is the step that most often has to be refused, before anything was made
        done.hooks = installer.install(git)
    if not store.is_project(git.top):
        done.made += store.set_up(git.top, subdir=bool(git.prefix))
    done.cache = settle_cache(git)
    done.notes += _cache_note(git)
    if config.create(git.top):
        done.made.append(config.OWN_FILE)
    git.stage([f for f in done.made if (git.top / f).is_file()])
    driver = attributes.register(git)
    git.stage(driver.staged)
    done.made += driver.staged
    done.notes += driver.notes
    done.notes += _make_durable(git)
    ignoring.exclude_privately(git, [".dvc/config.local", ".dvc/tmp/", ".dvc/cache/", TEMPORARY])
    with Workspace(git, progress=progress) as ws, ws.exclusive("devml-git init --track"):
        for pattern in track:
            added = add_rule(ws, pattern, prefix)
            done.rules.append(added.rule)
            done.notes += added.notes
        done.suggestions = suggest(ws)
    return done


def _make_durable(git: Git) -> list[str]:
    """Let git flush commits and refs to the disk, as we flush their content (git-config(1)).

    Git's default flushes packs only: after a power cut a commit can be empty whose models are
    safe. Whoever has set it, decides; git before 2.36 does not know it.
    """
    if git_version() < FSYNC_GIT or git.config("core.fsync") is not None:
        return []
    git.set_config("core.fsync", FSYNC)
    return [f"git now flushes commits to the disk, too: core.fsync={FSYNC}"]


def _cache_note(git: Git) -> list[str]:
    """Say so where what the repository says of the cache does not count."""
    if public_counts(git, DvcConfig(git)):
        return []
    return [
        (
            "what the tracked .dvc/config says of the cache does not count until: "
            "devml-git trust --cache"
        )
    ]


def settle_cache(git: Git) -> str:
    """Decide once where the cache is, keep that in git's configuration, and point DVC to it."""
    dvc = DvcConfig(git)
    settings = settings_that_count(git, dvc)
    known = git.config(cache_setting(git))
    default = git.top / ".dvc" / "cache"
    if known is not None:
        place = (git.common_dir / known).resolve()
    elif settings.directory is not None:
        place = settings.directory
    elif _has_objects(default):
        place = default
    else:
        main = git.common_dir.parent / git.prefix / ".dvc" / "cache"
        place = main if git.is_linked and _has_objects(main) else git.common_dir / OWN_CACHE
    return use_cache(git, place)


def use_cache(git: Git, place: Path) -> str:
    """Make a place the cache, for us and for plain DVC; return it as text."""
    dvc = DvcConfig(git)
    settings = settings_that_count(git, dvc)
    git.set_config(cache_setting(git), cache_key(git, place))
    if place != dvc.dvc_cache_dir:
        point_dvc(git, place, dvc)
    if not settings.shared:
        _ = git.shared  # makes it private; mkdir below would make it readable by everybody
    place.mkdir(parents=True, exist_ok=True)
    return str(place)


def _is_a_cache(place: Path) -> bool:
    """Whether a directory has DVC's objects (before 3.0: in `00` to `ff`), or nothing."""
    try:
        names = [entry.name for entry in place.iterdir()]
    except OSError:
        return False
    return (place / "files" / "md5").is_dir() or all(map(_LEGACY.fullmatch, names))


def _has_objects(place: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(entry.name != "runs" for entry in place.iterdir())
    return False


# -- suggestions ---------------------------------------------------------------------------------


def suggest(ws: Workspace) -> list[tuple[str, int, bool]]:
    """Return large and model-like files that no rule or pointer covers: (path, bytes, in git)."""
    in_git = set(ws.git.names("ls-files", "-z"))
    others = ws.git.names("ls-files", "-o", "-z", "--exclude-standard")
    known = ws.tree.snapshot.pointers
    found = []
    for path in sorted({*in_git, *others}):
        suffix = os.path.splitext(path)[1].lower()
        if path in known or ws.rules.match(path):
            continue
        with contextlib.suppress(OSError):
            size = os.lstat(ws.root / path).st_size
            model_like = suffix in MODEL_SUFFIXES and size > 1024  # noqa: PLR2004
            if size > ws.config.large_file or model_like:
                found.append((path, size, path in in_git))
    return sorted(found, key=lambda f: -f[1])[:_SUGGESTED]


# -- track ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tracked:
    """What `track` did: the rule as written, where, and what was moved out of git's index."""

    rule: str
    config_file: str
    ignore_file: str = ".gitignore"
    matches: list[str] = field(default_factory=list)
    moved_out: list[str] = field(default_factory=list)
    unstaged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def add_rule(ws: Workspace, pattern: str, prefix: str) -> Tracked:
    """Write a track rule and what git must ignore for it; take matching files out of the index.

    `prefix` is the user's directory below the root ("" or "sub/"). Raises UsageError for what
    cannot be an artifact.
    """
    rule = rules.normalise(pattern, prefix, ws.root)
    _refuse_odd(ws, rule)
    for path, _ in rules.Rules(ws.root, (rule,)).find(ws.git):
        gate.path(path, "track")  # nothing is written for a rule that would stop every command
    before = {f: ws.git.file_differs_from_index(f) for f in (config.OWN_FILE, config.PYPROJECT)}
    ws.journal.watch(config.config_file(ws.root))
    file = config.change_track(ws.root, add=rule)
    tracked = Tracked(rule, file)
    ws.reload()
    staged = ignoring.ignore_rule(ws.journal, ws.rules.ignore_lines(rule))
    ignoring.exclude_privately(ws.git, ws.rules.ignore_lines(rule))
    if before[file] and (ws.git.staged_blob_for(file) is not None):
        tracked.unstaged.append(file)
    else:
        staged.append(file)
    if ".gitignore" not in staged and ws.git.file_differs_from_index(".gitignore"):
        tracked.unstaged.append(".gitignore")
    ws.journal.stage(staged)
    _take_out_of_git(ws, tracked)
    _forget_removed(ws, rule)
    fresh, _ = ws.new_artifacts()
    tracked.matches = fresh
    return tracked


def _refuse_odd(ws: Workspace, rule: str) -> None:
    literal = rule.strip("/")
    if rule.startswith("!") or any(c in literal for c in "*?["):
        return
    gate.path(literal, "track")
    if literal.endswith(".dvc") or literal.rsplit("/", 1)[-1] in {"dvc.yaml", "dvc.lock"}:
        raise UsageError(f"{gate.shown(literal)} is a pointer, not content")
    place = ws.root / literal
    if os.path.lexists(place):
        st = place.lstat()
        if what_is(st) not in {"file", "directory"}:
            raise UsageError(
                f"{gate.shown(literal)} is a {what_is(st)}: only files and directories are tracked",
                hint="track what it points to" if place.is_symlink() else None,
            )
        if rule.endswith("/") and what_is(st) == "file":
            raise UsageError(
                f"{gate.shown(literal)} is a file", hint=f"devml-git track {gate.quoted(literal)}"
            )
    for pointer in ws.tree.snapshot.pointers.values():
        inner, outer = f"{literal}/", f"{pointer.path}/"
        if literal != pointer.path and (outer.startswith(inner) or inner.startswith(outer)):
            raise UsageError(
                f"{gate.shown(literal)} overlaps with the artifact {gate.shown(pointer.path)}",
                hint=f"devml-git untrack {gate.quoted(pointer.path)}",
            )
        if literal == pointer.path and pointer.stage:
            raise UsageError(
                f"{gate.shown(literal)} is an output of stage {pointer.stage}: snapshots follow it"
            )


def _take_out_of_git(ws: Workspace, tracked: Tracked) -> None:
    """A path already in git leaves the index; the file stays, history keeps the old versions."""
    held = ws.git.tracked_matching(ws.rules.exclude_lines())
    for directory in ws.rules.literal_directories():
        held += sorted(ws.git.tracked_among([directory]))
    held = [h for h in held if (ws.root / h).exists() and h not in ws.links_in_git]
    ws.journal.unstage(held)
    tracked.moved_out = held
    ws.refresh()


def _forget_removed(ws: Workspace, rule: str) -> None:
    """Tracking again what had been untracked: it counts as new once more."""
    one = rules.Rules(ws.root, (rule,))
    with ws.record.writing():
        for path in ws.record.materialised():
            matches = one.match(path) or one.match(f"{path}/member")
            if path not in ws.tree.snapshot.pointers and matches:
                ws.record.forget(path)


# -- untrack -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Untracked:
    """What `untrack` did to each path; old snapshots keep their content in every case."""

    removed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def untrack(ws: Workspace, paths: Sequence[str], *, delete: bool) -> Untracked:
    """Take artifacts out of tracking; with `delete` also out of the workspace.

    A pointer file stands for all that it points to. The pointer leaves the worktree and the index;
    with `delete`, content that is in no snapshot yet goes into the cache and the rescue log first.
    """
    done = Untracked()
    known = ws.tree.snapshot.pointers.values()
    meant = [[p.path for p in known if p.file == path and not p.stage] or [path] for path in paths]
    for path in dict.fromkeys(path for some in meant for path in some):
        rule = rules.covering(ws.config.track, path)
        pointer = ws.tree.snapshot.pointers.get(path)
        if pointer is None and rule is None:
            raise UsageError(f"{gate.shown(path)} is not tracked", hint=nearest(ws, path))
        if pointer is not None and pointer.stage:
            raise UsageError(
                f"{gate.shown(path)} is an output of stage {pointer.stage}",
                hint="dvc remove removes the stage",
            )
        if pointer is not None:
            _untrack_pointer(ws, pointer, done, delete=delete)
        if rule is not None:
            _untrack_rule(ws, rule, done)
        elif pointer is not None and not delete and ws.rules.match(path):
            done.notes.append(
                f"{gate.shown(path)} still matches a track rule, but stays untracked until "
                f"`devml-git track {gate.quoted(path)}`"
            )
        ws.refresh()
    return done


def _untrack_pointer(ws: Workspace, pointer: Pointer, done: Untracked, *, delete: bool) -> None:
    """Take out one output; with the last one the pointer file goes."""
    path, file = pointer.path, pointer.file
    text = ws.tree.texts.get(file)
    rest = None if text is None else pointers.without(text, pointer)
    if delete:
        from devml_git.restoring import Restorer

        restorer = Restorer(ws, cause="untrack --delete", fetch=False)
        work = ws.look(path)
        restorer.take_away(work)
        done.deleted.append(path)
    else:
        ws.release(path)
        done.removed.append(path)
    if rest is not None:
        ws.journal.write(file, rest)
    elif not (ws.root / file).is_symlink():
        ws.journal.remove(file)
    staged = ignoring.unignore_artifact(ws.journal, path)
    ws.journal.stage([file, *staged])


def _untrack_rule(ws: Workspace, rule: str, done: Untracked) -> None:
    lines = ws.rules.ignore_lines(rule)
    users_own = ws.git.file_differs_from_index(config.config_file(ws.root))
    ws.journal.watch(config.config_file(ws.root))
    file = config.change_track(ws.root, remove=rule)
    ws.reload()
    kept = [line for r in ws.config.track for line in ws.rules.ignore_lines(r)]
    staged = ignoring.unignore_rule(ws.journal, lines, kept)
    ignoring.include_privately(ws.git, [line for line in lines if line not in kept])
    ws.journal.stage(staged if users_own else [*staged, file])
    done.rules.append(rule)


def nearest(ws: Workspace, path: str) -> str:
    """Return a hint that names the tracked path nearest to a mistyped one."""
    import difflib

    known = list(ws.tree.snapshot.pointers)
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.4)
    if near:
        return f"did you mean {gate.shown(near[0])}?"
    return f"devml-git track {gate.quoted(path)}" if known or path else "devml-git status"


def snapshot_paths(ws: Workspace, paths: Sequence[str]) -> snapshotting.Taken:
    """Snapshot some artifacts (all without paths); a path removed on purpose counts again."""
    with ws.record.writing(), contextlib.suppress(DevmlError):
        for path in paths:
            if path not in ws.tree.snapshot.pointers and path in ws.record.materialised():
                ws.record.forget(path)
    return snapshotting.take(ws, set(paths) or None)

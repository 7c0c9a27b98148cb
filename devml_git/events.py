"""What each git hook does once the shim has found that something may concern us.

Events return the lines to be told and the exit status; git-facts.md says when to act and when
only to mark. Failures of post-* hooks are told, never passed on.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devml_git import (
    arming,
    credentials,
    gate,
    isolation,
    moving,
    plumbing,
    snapshotting,
    tripwire,
)
from devml_git.amounts import human
from devml_git.dvc_config import PUBLIC, shown_remotes
from devml_git.errors import ContentLost, DevmlError, Refused
from devml_git.instep import bring_in_step
from devml_git.nouns import State
from devml_git.other_remotes import any_accepted
from devml_git.rescuing import set_aside_here
from devml_git.restoring import Restorer
from devml_git.supply import Supply
from devml_git.wording import done_lines, listed, taken_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from devml_git.plumbing import IndexEntry
    from devml_git.workspace import Workspace

REFUSED = 31
FETCH_SECONDS = 300
_SHOWN = 4


@dataclass(slots=True)
class Told:
    """What a hook has to say (lines for stderr) and its exit status."""

    lines: list[str] = field(default_factory=list)
    status: int = 0


def run(
    ws: Workspace,
    args: Sequence[str],
    *,
    git_pid: str = "",
    command: Collection[str] = (),
    verb: str = "",
) -> Told:
    """Run one hook event in an open workspace, under the worktree's lock.

    `args` are the event and what git gave the hook (githooks(5)); `git_pid`, `command` and its
    `verb` are of the git process that runs it, empty where unknown.
    """
    event = args[0]
    if event == "post-checkout":
        ws.moved_from = args[1] if args[1:] else None
    elif event in {"post-merge", "post-rewrite", "post-applypatch"}:
        ws.moved_from = "ORIG_HEAD"
    with ws.exclusive(f"git {verb}" if verb else event):
        told = _act(ws, event, git_pid, command)
        known = len(ws.warnings)
    told.lines += [f"devml-git: warning: {text}" for text in ws.warnings[known:]]
    return told


def _act(ws: Workspace, event: str, git_pid: str, command: Collection[str]) -> Told:
    if event == "pre-commit":
        return _pre_commit(ws, git_pid, command)
    if event == "post-commit":
        return _post_commit(ws, git_pid, command)
    if event in {"post-checkout", "post-merge", "post-rewrite", "post-applypatch"}:
        return _moved(ws, event, command)
    if event == "post-index-change":
        return _renamed(ws) if "mv" in command else _moved(ws, event, command)
    return Told()


# -- pre-commit ----------------------------------------------------------------------------------


def _pre_commit(ws: Workspace, git_pid: str, command: Collection[str]) -> Told:
    told = Told()
    policy = ws.config.hooks.pre_commit
    if policy == "off":
        return told
    staged = ws.git.staged_changes()
    _refuse_staged(ws, staged, told)
    _refuse_credentials(ws, staged, told)
    if told.status:
        return told
    told.lines += _trust_own_remotes(ws)
    if policy == "check":
        return _check(ws, told)
    # the pre-commit framework has put unstaged pointers away: what looks stale is the newer one
    put_away = bool(os.environ.get("PRE_COMMIT"))
    taken = snapshotting.take(ws, restore_stale=not ws.git.half_way() and not put_away)
    told.lines += taken_lines(taken)
    if taken.conflicts:
        names = listed(taken.colliding or taken.conflicts)
        one = gate.quoted(taken.conflicts[0])
        told.lines += [
            f"devml-git: error: edited here and changed by a commit since: {names}",
            (
                f"devml-git: hint: keep yours: devml-git checkout --ours -- {one}; "
                f"take the commit's: devml-git checkout --theirs -- {one} (yours is rescued)"
            ),
        ]
        told.status = REFUSED
        return told
    partial = _real_index_of_partial_commit(ws)
    if partial is not None:
        snapshotting.stage_in_partial_commit(ws, taken.staged, partial)
    alone = bool(taken.staged) and not staged and partial is None
    if alone and _may_refuse(ws, command) and ws.git.staged_changes():
        ws.git.stage_behind_lock(taken.staged)
        told.lines.append(
            'devml-git: if git now says "nothing to commit" or "nothing added", run the same '
            "command again: it had looked before the pointers were staged"
        )
    _rearm(ws)
    how = "python" if partial is not None and taken.staged else "quick"
    note = ws.git.whole.private / tripwire.COMMITTING
    if how == "python" or not _says(note, f"python {git_pid}"):  # of another project here
        note.write_text(f"{how} {git_pid}\n")
    return told


def _trust_own_remotes(ws: Workspace) -> list[str]:
    """Trust the DVC remotes that the user commits himself: `dvc remote add` and `git commit`.

    Not in the middle of a merge or pick: what is staged then is somebody else's word. Nor what any
    commit here has already, which a squash or a checkout of the file can have brought.
    """
    staged = any(e.path == PUBLIC for e in ws.git.staged_changes())
    if not staged or ws.git.stands_half_way() or ws.git.file_differs_from_index(PUBLIC):
        return []
    trust = ws.access.trust
    fresh = [remote for remote in trust.unknown() if trust.was_typed_here(remote)]
    if not fresh:
        return []
    trust.allow(fresh)
    return [f"devml-git: DVC remote trusted as you commit it: {shown_remotes(fresh)}"]


def _says(note: Path, text: str) -> bool:
    try:
        return note.read_text() == f"{text}\n"
    except OSError:
        return False


def _may_refuse(ws: Workspace, command: Collection[str]) -> bool:
    """Whether git may call the commit empty; where its arguments can be seen, they are asked."""
    merging = (ws.git.git_dir / "MERGE_HEAD").exists()
    return not merging and not {"--amend", "--allow-empty"}.intersection(command)


def _refuse_staged(ws: Workspace, staged: Sequence[IndexEntry], told: Told) -> None:
    """Stop content on its way into git itself: artifacts by rule, anything else by size."""
    managed = ws.tree.snapshot.managed()
    in_rules = set(ws.git.tracked_matching(ws.rules.exclude_lines()))
    content = [
        e.path
        for e in staged
        if e.mode != plumbing.LINK_MODE  # git keeps links, which DVC's format does not
        and (
            e.path in in_rules
            or any(e.path == a or e.path.startswith(f"{a}/") for a in managed)
            or any(e.path.startswith(f"{d}/") for d in ws.rules.literal_directories())
        )
    ]
    sizes = ws.git.blob_sizes([e.blob for e in staged])
    large = [
        (e.path, n)
        for e, n in zip(staged, sizes, strict=True)
        if n > ws.config.large_file and e.path not in content
    ]
    if content:
        told.status = REFUSED
        told.lines += [
            f"devml-git: error: tracked, but staged as content for git: {listed(content)}",
            (
                f"devml-git: hint: git rm --cached -- {gate.pathspec(content[0])}   "
                "(the file stays; its pointer is what is committed)"
            ),
        ]
    if large:
        told.status = REFUSED
        shown = ", ".join(f"{gate.shown(p)} ({human(n)})" for p, n in large[:_SHOWN])
        told.lines += [
            f"devml-git: error: too large for git itself: {shown}",
            (
                f"devml-git: hint: devml-git track {gate.quoted(large[0][0])}   "
                "(or raise large-file in devml.toml)"
            ),
        ]


def _refuse_credentials(ws: Workspace, staged: Sequence[IndexEntry], told: Told) -> None:
    refused, warned = credentials.staged(ws.git, staged)
    told.lines += [f"devml-git: {line}" for line in (*refused, *warned)]
    if refused:
        told.status = REFUSED


def _check(ws: Workspace, told: Told) -> Told:
    wrong = [o for o in ws.observe() if o.state in {State.MODIFIED, State.NEW, State.CONFLICT}]
    if wrong or ws.tree.snapshot.broken:
        told.status = REFUSED
        names = listed([o.path for o in wrong] + [b.file for b in ws.tree.snapshot.broken])
        told.lines += [
            f"devml-git: error: not in a snapshot yet: {names}",
            "devml-git: hint: devml-git snapshot",
        ]
    return told


def _real_index_of_partial_commit(ws: Workspace) -> Path | None:
    """`git commit -- path` gives hooks a temporary index; index.lock becomes the real one."""
    index = os.path.basename(os.environ.get("GIT_INDEX_FILE", ""))
    if index.startswith("next-index-") and index.endswith(".lock"):
        return ws.git.git_path("index.lock")
    return None


# -- post-commit ---------------------------------------------------------------------------------


def _post_commit(ws: Workspace, git_pid: str, command: Collection[str]) -> Told:
    told = Told()
    if ws.config.hooks.pre_commit == "off":
        return told
    with contextlib.suppress(OSError):
        how = (ws.git.whole.private / tripwire.COMMITTING).read_text().split()
        if how == ["python", git_pid]:
            _restage_after_partial_commit(ws)
            _rearm(ws)
            return told
        if how == ["quick", git_pid]:
            return told
    if ws.git.half_way():
        return told
    committed = "commit" in command  # else a cherry-pick or revert
    if not committed:
        return _moved(ws, "post-commit", command)
    if _pointers_moved(ws):
        told = _bring_stale(ws)
    _tell_unverified(ws, told)
    return told


def _restage_after_partial_commit(ws: Workspace) -> None:
    """The real index must have the pointers the commit has, else the next one reverts them."""
    ws.refresh()
    observed = ws.observe(with_new=False)
    clean = [o.pointer.file for o in observed if o.pointer and o.state is State.CLEAN]
    ws.git.stage(ws.git.differing_from_index(clean, ws.tree.indexed))


def _pointers_moved(ws: Workspace) -> bool:
    return any(
        r.oid != p.oid
        for path, r in ws.record.materialised().items()
        if (p := ws.tree.snapshot.pointers.get(path)) is not None
    )


def _tell_unverified(ws: Workspace, told: Told) -> None:
    """`git commit --no-verify`: the bytes are kept, and one line says what the commit lacks."""
    observed = ws.observe(store_content=True)
    behind = [o.path for o in observed if o.state in {State.MODIFIED, State.NEW}]
    if behind:
        told.lines.append(
            f"devml-git: this commit does not have what lies there of {listed(behind)} "
            "(kept in the cache); to add it: devml-git commit --amend --no-edit"
        )


def _bring_stale(ws: Workspace) -> Told:
    """A commit does not move the worktree: what the user deleted stays so."""
    observed = ws.observe(with_new=False)
    stale = [o for o in observed if o.state is State.STALE]
    done = Restorer(ws, cause="post-commit", fetch=False).bring(stale)
    ws.refresh()
    return Told(done_lines(done))


# -- the worktree moved --------------------------------------------------------------------------


def _moved(ws: Workspace, event: str, command: Collection[str]) -> Told:
    told = Told()
    if not ws.config.hooks.restore:
        return told
    if _waits(ws, event, command):
        return told
    if event != "post-index-change" and ws.config.hooks.fetch:
        told.lines += _fetch_missing(ws)
    done = bring_in_step(ws, cause=event.removeprefix("post-"), fetch=False)
    # git names the unmerged ones itself
    done.blocked += [(b.file, b.why) for b in ws.tree.snapshot.broken if not b.unmerged]
    told.lines += done_lines(done)
    if event == "post-checkout":
        told.lines += set_aside_here(ws)
    if done.missing or done.withheld or done.blocked:
        tripwire.disarm(ws.git)
    else:
        with contextlib.suppress(DevmlError, OSError):
            arming.arm_pointers(ws)
    return told


def pre_push(ws: Workspace, args: Sequence[str], lines: str) -> Told:
    """Let git go on once the DVC remotes have what is published. Errors are for git: no push.

    `args` are the git remote's name (its URL where it has none) and its URL; `lines` what git
    tells on standard input. Without the worktree's lock: an upload may take hours.
    """
    from devml_git import pushing  # half of all modules, for this event alone

    plumbing.read_as_published()
    mode = ws.config.hooks.pre_push
    if mode == "off":
        return Told()
    commits = pushing.unpublished(ws.git, args[0] if args else "", pushing.updates(lines))
    if refused := credentials.unpublished(ws.git, commits):
        return Told([f"devml-git: {line}" for line in refused], REFUSED)
    if unseen := pushing.outside_of_worktree(ws.git, commits):
        return Told([f"devml-git: {line}" for line in unseen], REFUSED)
    upload = mode == "upload" and not os.environ.get(pushing.UPLOADED)
    said = pushing.publish(ws, commits, upload=upload)
    if commits:
        pushing.write_down(ws, "git push")
    said += [f"warning: {text}" for text in ws.warnings]
    return Told([f"devml-git: {line}" for line in said])


def _renamed(ws: Workspace) -> Told:
    """`git mv` of a directory took content along: R must know of it at its new place.

    Content that did not go along follows at the commit: until then the user may move it himself.
    """
    observed = ws.observe(with_new=False, check_cache=False)
    moving.take_records_along(ws, observed)
    ws.settle(observed)
    return Told()


def _waits(ws: Workspace, event: str, command: Collection[str]) -> bool:
    """Whether a rebase or am stands half-way here: content follows once, at its end.

    What the shim lets through of post-index-change is an end, an abort, or a stop for the user.
    """
    git = ws.git
    if event in {"post-rewrite", "post-index-change"} or not git.half_way():
        return False
    # the last hook of an am runs before git tidies up, and nothing comes after it
    if event == "post-applypatch":
        return not git.last_patch()
    if event == "post-checkout":
        by_itself = not command or not {"rebase", "am"}.isdisjoint(command)
        return by_itself and not git.nothing_to_pick()
    return True


def _fetch_missing(ws: Workspace) -> list[str]:
    """Fetch in a process of its own, bounded in time: a hook never hangs on the network."""
    trust = ws.access.trust
    remotes = ws.dvc.remotes.values()
    wary = [r for r in remotes if not (trust.may_read(r) or trust.was_typed_here(r))]
    asked = len(wary) < len(remotes) or any_accepted(ws.git, ws.dvc, ws.access)
    if not (asked or wary) or not _anything_missing(ws):
        return []
    lines = _fetched_aside(ws) if asked else []
    if wary and not lines and _anything_missing(ws):
        names = " ".join(map(gate.quoted, [r.name for r in wary]))
        lines.append(
            "devml-git: content is missing, and the DVC remote that came with the repository, or "
            f"was changed by a commit, is not trusted: devml-git trust {names}, then "
            "devml-git checkout"
        )
    return lines


def _fetched_aside(ws: Workspace) -> list[str]:
    seconds = ws.git.seconds("devml.fetchTimeout", FETCH_SECONDS)
    status = plumbing.run_program(isolation.command("hook", "fetch"), timeout=seconds, cwd=ws.root)
    if status is None:
        return [
            f"devml-git: fetching took over {seconds:.0f} s; it goes on with: devml-git checkout"
        ]
    return []


def _anything_missing(ws: Workspace) -> bool:
    observed = ws.observe(with_new=False)
    return any(o.state is not State.CLEAN and not o.cached for o in observed)


def fetch(ws: Workspace) -> None:
    """Bring into the cache what the pointers need and the workspace does not have."""
    observed = [o for o in ws.observe(with_new=False) if o.pointer and o.state is not State.CLEAN]
    with contextlib.suppress(ContentLost, Refused):
        pointers = [o.pointer for o in observed if o.pointer]
        Supply(ws, fetch=True).obtain(pointers, {o.path: o.work for o in observed})


def _rearm(ws: Workspace) -> None:
    ws.refresh()
    observed = ws.observe(check_cache=False)
    ws.settle(observed)
    with contextlib.suppress(DevmlError, OSError):
        arming.arm(ws, observed)

"""init, track, untrack, trust, doctor, demo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devml_git import arming, gate, plumbing, setup, store
from devml_git import doctor as doctor_module
from devml_git.amounts import human
from devml_git.cli.context import out, prefix, repo_paths, workspace
from devml_git.dvc_config import DvcConfig, RemoteConfig, shown_remotes
from devml_git.errors import DevmlError, DvcFailed
from devml_git.instep import bring_in_step
from devml_git.nouns import State
from devml_git.plumbing import Git
from devml_git.trust import Trust
from devml_git.wording import done_lines, lost

if TYPE_CHECKING:
    from devml_git.workspace import Workspace

_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    app.command(
        context_settings={
            "ignore_unknown_options": True,
            "allow_extra_args": True,
            "help_option_names": ["-h", "--help"],
        }
    )(clone)
    for function in (init, track, untrack, trust_remote, doctor, demo):
        name = "trust" if function is trust_remote else function.__name__
        app.command(name)(function)


def init(
    track: Annotated[
        list[str] | None, typer.Option("--track", metavar="PATTERN", help="Track this, too.")
    ] = None,
    no_hooks: Annotated[bool, typer.Option("--no-hooks", help="Install no git hooks.")] = False,
    subdir: Annotated[
        bool, typer.Option("--subdir", help="Make this directory a project of its own.")
    ] = False,
    no_content: Annotated[
        bool, typer.Option("--no-content", help="Bring no data and models, only their pointers.")
    ] = False,
    trusted: Annotated[
        bool,
        typer.Option("--trust", help="Trust the repository's DVC remotes, and its shared cache."),
    ] = False,
) -> None:
    """Set this repository up: DVC, hooks, merge driver, devml.toml, ignore rules; safe to repeat.

    Example: devml-git init --track 'models/**' --track data/raw/
    """
    git = Git.discover()
    if subdir:
        git = git.project(Path(os.path.realpath(Path.cwd())))
    _set_up(git, track or [], hooks=not no_hooks, content=not no_content, trusted=trusted)


def _set_up(
    git: Git, track: list[str], *, hooks: bool, content: bool, trusted: bool
) -> DevmlError | None:
    """Run `init`, and bring the content. Return why a DVC remote was not connected to, if so."""
    o = out()
    done = setup.init(
        git, track=track, prefix=prefix(git.top), hooks=hooks, trusted=trusted,
        progress=o.progress(),
    )  # fmt: skip
    if done.made:
        o.answer(f"made and staged: {', '.join(done.made)}")
    if done.hooks:
        o.answer(f"git hooks installed: {', '.join(done.hooks)}")
    o.answer(f"cache: {done.cache}")
    for rule in done.rules:
        o.answer(f"tracked: {rule}")
    for note in done.notes:
        o.remark(f"note: {note}")
    with workspace(connects=True) as ws:
        if trusted:
            _tell_trusted(ws, list(ws.dvc.remotes.values()))
        ws.access.welcome(later=not content)
        if content:
            for line in done_lines(bring_in_step(ws, cause="init", fetch=True)):
                o.answer(line.removeprefix("devml-git: "))
        ws.refresh()
        arming.arm(ws, ws.observe())
        refused = next(iter(ws.access.refused.values()), None)
    _suggest(done.suggestions)
    return refused


def clone(
    ctx: typer.Context,
    no_content: Annotated[
        bool, typer.Option("--no-content", help="Bring no data and models, only their pointers.")
    ] = False,
    trusted: Annotated[
        bool,
        typer.Option("--trust", help="Trust the repository's DVC remotes, and its shared cache."),
    ] = False,
) -> None:
    """`git clone` with the arguments given, then hooks, configuration, data and models.

    Example: devml-git clone https://example.org/team/models.git --branch main
    """
    place = plumbing.clone(ctx.args)
    os.chdir(place)
    git = Git.discover()
    if not store.is_project(git.top) and not git.index_entries(":(literal).dvc/config"):
        later = not git.index_entries() and git.present(["HEAD:.dvc/config"])[0]
        why = (
            "nothing is checked out; once it is"
            if later
            else "no DVC project at its root; to make it one"
        )
        out().answer(f"{why}: devml-git init")
        return
    refused = _set_up(git, [], hooks=True, content=not no_content, trusted=trusted)
    with workspace(writes=False) as ws:
        gone = [] if no_content else [o for o in ws.observe() if o.state is State.MISSING]
        missing = [o.path for o in gone if o.pointer and o.pointer.push]
    if missing:
        raise refused or lost(missing)


def _suggest(found: list[tuple[str, int, bool]]) -> None:
    if not found:
        return
    o = out()
    o.answer()
    o.answer("large or model-like, and not tracked yet:")
    for path, size, in_git in found[:_SHOWN]:
        note = "   (in git now; its history there stays)" if in_git else ""
        o.answer(f"  {human(size):>9}  devml-git track {gate.quoted(path)}{note}")
    if len(found) > _SHOWN:
        o.answer(f"  and {len(found) - _SHOWN} more")


def track(
    patterns: Annotated[
        list[str], typer.Argument(metavar="PATTERN...", help="Path or gitignore-style pattern.")
    ],
) -> None:
    """Make paths, or whatever matches a pattern, artifacts; new matches come along at commit.

    Example: devml-git track 'models/**' data/raw/ '*.safetensors'
    """
    o = out()
    with workspace() as ws:
        for pattern in patterns:
            done = setup.add_rule(ws, pattern, prefix(ws.root))
            o.answer(
                f"tracked: {done.rule}   (rule in {done.config_file}, "
                f"ignored in {done.ignore_file})"
            )
            for path in done.moved_out:
                o.answer(
                    f"  moved out of git's index: {path} (the file stays, and so does history)"
                )
            if done.matches:
                names = ", ".join(done.matches[:_SHOWN])
                more = f" and {len(done.matches) - _SHOWN} more" if done.matches[_SHOWN:] else ""
                o.answer(f"  matches now: {names}{more}; the next commit snapshots them")
            for file in done.unstaged:
                command = f"git add {gate.pathspec(file)}"
                o.remark(f"note: {file} has edits of yours and was not staged: {command}")


def untrack(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Artifact or track rule.")],
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete it from the workspace, too.")
    ] = False,
) -> None:
    """Stop tracking artifacts. Every old snapshot keeps its content.

    Example: devml-git untrack models/old.pt --delete
    """
    o = out()
    with workspace() as ws:
        known = [p if p in ws.config.track else repo_paths(ws.root, [p])[0] for p in paths]
        done = setup.untrack(ws, known, delete=delete)
        for path in done.removed:
            o.answer(f"untracked: {path}   (the file stays in the workspace)")
        for path in done.deleted:
            o.answer(f"untracked and deleted: {path}   (old commits keep it)")
        for rule in done.rules:
            o.answer(f"rule removed: {rule}")
        for note in done.notes:
            o.remark(f"note: {note}")
        ws.refresh()
        arming.arm(ws, ws.observe())


def trust_remote(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[REMOTE]...", help="All without a name.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Trust what .dvc/config says of the cache instead.")
    ] = False,
) -> None:
    """Trust DVC remotes as they are configured now: content may be sent there, and hooks connect.

    Example: devml-git trust storage
    """
    if cache:
        _trust_cache()
        return
    with workspace() as ws:
        known = ws.dvc.remotes
        chosen = [ws.dvc.require(name) for name in names or known]
        ws.access.trust.allow(r for r in chosen if r.refusal is None)
        _tell_trusted(ws, chosen)


def _tell_trusted(ws: Workspace, chosen: list[RemoteConfig]) -> None:
    """Say what is trusted now, and learn the keys of ssh hosts that are not known yet."""
    o = out()
    good = [r for r in chosen if r.refusal is None]
    o.answer(f"trusted: {shown_remotes(good)}" if good else "no DVC remote configured")
    for remote in chosen:
        if remote.refusal is not None:
            o.remark(f"not trusted: {remote.shown}: {remote.refusal}")
        for option in remote.left_out:
            o.remark(
                f"note: {gate.shown(option)} of {gate.shown(remote.name)} counts in your own "
                f"configuration only: dvc remote modify --local"
            )
    for remote in good:
        try:
            fingerprint = ws.access.meet(remote)
        except DvcFailed as e:
            o.remark(f"note: {e.message}   ({e.hint})")
        else:
            if fingerprint is not None:
                o.remark(f"key of {remote.shown} written down: {fingerprint}")


def _trust_cache() -> None:
    git = Git.discover()
    said = DvcConfig(git).public_cache
    if said is None:
        out().answer("the tracked .dvc/config says nothing of the cache")
        return
    Trust(git, DvcConfig(git)).allow_cache(said)
    with workspace() as ws:
        moved = said.directory is not None and said.directory != ws.cache.root
        if moved and said.directory is not None and not ws.cache.total()[0]:
            setup.use_cache(git, said.directory)
        elif moved:
            out().remark(f"note: the cache stays where its content is: {gate.shown(ws.cache.root)}")
    place = said.directory or "where it was"
    out().answer(f"trusted, what .dvc/config says of the cache: {gate.shown(place)}")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Check git, DVC, hooks, cache and remote; name the command that mends each finding.

    Example: devml-git doctor
    """
    o = out()
    findings = doctor_module.examine()
    if as_json:
        o.document({"schema": "devml.doctor/v1", "findings": [f.to_dict() for f in findings]})
    else:
        o.table([(f.verdict, f.subject, f.text) for f in findings])
        for f in findings:
            if f.mend:
                o.answer(f"to mend {f.subject}: {f.mend}")
    if any(f.verdict == "fail" for f in findings):
        raise typer.Exit(1)


def demo(
    directory: Annotated[str, typer.Argument(metavar="[DIR]")] = "devml-demo",
) -> None:
    """Build a repository with real data and a few trained versions, and show it all in a minute.

    Example: devml-git demo /tmp/demo
    """
    from devml_git.demo import story

    o = out()
    rows = story.run(directory, o.answer)
    o.answer()
    o.table([row.cells() for row in rows], story.HEADS)
    o.answer()
    o.answer(f"yours to play with: cd {gate.quoted(directory)}")

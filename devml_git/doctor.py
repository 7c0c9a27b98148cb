"""Is everything in order: git, DVC, hooks, cache, remote, record; what mends each finding."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from devml_git import (
    attributes,
    config,
    credentials,
    gate,
    installer,
    leftovers,
    links,
    permissions,
    store,
)
from devml_git.amounts import counted, human
from devml_git.dvc_config import PRIVATE, DvcConfig, shown_remotes
from devml_git.errors import DevmlError
from devml_git.location import settings_that_count
from devml_git.nouns import State
from devml_git.plumbing import Git, git_version, require_git
from devml_git.status import report
from devml_git.trust import Trust, listed_unknown
from devml_git.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from devml_git.dvc_config import RemoteConfig


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: "ok", "warn" or "fail", and the command that mends it."""

    verdict: str
    subject: str
    text: str
    mend: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything; an error in one thing does not hide the others.

    Raises NotARepository.
    """
    git = Git.discover()
    found: list[Finding] = []
    for subject, check in _CHECKS:
        try:
            found += check(git)
        except DevmlError as e:
            found.append(Finding("fail", subject, e.message, e.hint))
        except OSError as e:
            found.append(Finding("fail", subject, f"{e.strerror}: {gate.shown(e.filename)}"))
    return found


def _git(git: Git) -> Iterator[Finding]:
    del git
    require_git()
    yield Finding("ok", "git", ".".join(map(str, git_version())))


def _dvc(git: Git) -> Iterator[Finding]:
    version = store.require_dvc()
    store.require_project(git.top)
    yield Finding("ok", "dvc", version)


def _hooks(git: Git) -> Iterator[Finding]:
    mend = "devml-git hooks install"
    overlooked = installer.overlooked(git)
    if overlooked is not None:
        text = f"core.hooksPath is set: git does not run those in {overlooked} any more"
        yield Finding("fail", "hooks", text, mend)
    states = installer.status(git)
    for state in states:
        if state.state != "ours":
            words = {
                "absent": "is not installed",
                "outdated": "is of another version, or not executable",
                "foreign": "was overwritten by somebody else's, or never ours",
            }
            where = f" in {state.file.parent}" if state.through else ""
            yield Finding("fail", "hooks", f"{state.event} {words[state.state]}{where}", mend)
    python = git.config(installer.PYTHON_KEY)
    gone = python is not None and not os.access(python, os.X_OK)
    if gone:
        yield Finding("fail", "hooks", f"{python} is gone", mend)
    elif python is not None and not installer.is_found(git, python):
        gone = True
        yield Finding("fail", "hooks", f"{python} does not find devml-git where git looks", mend)
    if not gone and all(s.state == "ours" for s in states):
        through = sorted({s.through for s in states if s.through})
        by = f", run by {' and '.join(through)}" if through else ""
        yield Finding("ok", "hooks", f"{installer.hooks_directory(git)}{by}")


def _driver(attribute: str, git: Git) -> Iterator[Finding]:
    subject = f"{attribute} driver"
    lacking = attributes.missing(git, attribute)
    for text in lacking:
        yield Finding("warn", subject, text, "devml-git init")
    if not lacking:
        yield Finding("ok", subject, attributes.NAME)


def _config(git: Git) -> Iterator[Finding]:
    loaded = config.load(git.top)
    if loaded.file is None:
        yield Finding("warn", "config", "no devml.toml", "devml-git init")
    else:
        yield Finding("ok", "config", f"{loaded.file}, {counted(len(loaded.track), 'track rule')}")


def _cache(git: Git) -> Iterator[Finding]:
    store.require_project(git.top)
    with Workspace(git) as ws:
        place = ws.cache.root
        if place.exists() and not os.access(place, os.W_OK | os.X_OK):
            yield Finding(
                "fail", "cache", f"{place} cannot be written", f"chmod u+w {gate.quoted(place)}"
            )
            return
        count, size = ws.cache.total()
        yield Finding("ok", "cache", f"{place}: {counted(count, 'object')}, {human(size)}")
        if exposed := permissions.exposed_cache(git, ws.cache, thorough=True):
            yield Finding("warn", "cache", *exposed)
        aside = ws.cache.root / "quarantine"
        if aside.is_dir() and any(aside.iterdir()):
            yield Finding("warn", "cache", f"corrupt objects were set aside in {aside}")
        if ws.record.rebuilt:
            yield Finding("warn", "record", "it was broken and has been begun anew")


def _leftovers(git: Git) -> Iterator[Finding]:
    store.require_project(git.top)
    with Workspace(git) as ws:
        count, size = leftovers.clean(ws)
    if count:
        what = counted(count, "temporary file")
        text = f"{what} of killed commands removed, {counted(size, 'byte')}"
        yield Finding("ok", "left-overs", text)


def _privacy(git: Git) -> Iterator[Finding]:
    exposed = list(
        permissions.exposed_files(
            git, shared=settings_that_count(git, DvcConfig(git), place=False).shared
        )
    )
    for text, mend in exposed:
        yield Finding("warn", "private files", text, mend)
    if not exposed:
        yield Finding("ok", "private files", "nobody else can read them")


def _remote(git: Git) -> Iterator[Finding]:
    links.refuse_below_dvc(git)
    dvc = DvcConfig(git)
    if dvc.private_is_brought:
        text = f"{PRIVATE} came with a commit: nothing in it counts"
        yield Finding(
            "warn", "DVC remote", text, f"git rm -f --ignore-unmatch {PRIVATE}; rm -f {PRIVATE}"
        )
    if not dvc.remotes:
        text = "none configured: nobody else can fetch your models"
        yield Finding("warn", "DVC remote", text, "dvc remote add -d NAME URL")
        return
    remotes = list(dvc.remotes.values())
    yield Finding("ok", "DVC remote", shown_remotes(remotes))
    for remote in remotes:
        yield from _settings_of(remote)
    unknown = [r for r in Trust(git, dvc).unknown() if r.refusal is None]
    if unknown:
        text = f"came with the repository, nothing is sent there: {listed_unknown(unknown)}"
        yield Finding("warn", "DVC remote", text, "devml-git trust NAME")


def _settings_of(remote: RemoteConfig) -> Iterator[Finding]:
    """Tell what of a remote's settings in git does not count."""
    name = gate.quoted(remote.name)
    if remote.refusal is not None:
        mend = f"dvc remote modify --local {name} url URL"
        yield Finding(
            "fail", "DVC remote", f"{remote.shown} cannot be used: {remote.refusal}", mend
        )
    for option in remote.left_out:
        text = f"{name}: {gate.shown(option)} counts in your own configuration only"
        mend = f"dvc remote modify --local {name} {gate.quoted(option)} ..."
        yield Finding("warn", "DVC remote", text, mend)


def _credentials(git: Git) -> Iterator[Finding]:
    for project in git.projects():
        file = f"{project.prefix}{credentials.CONFIG}"
        for found in credentials.committed(project):
            text = f"in git, for everybody who has the repository: {gate.shown(file)}: {found}"
            yield Finding("warn", "credentials", f"{text}; make new ones", found.move(file))


def _artifacts(git: Git) -> Iterator[Finding]:
    store.require_project(git.top)
    with Workspace(git) as ws:
        status = report(ws)
    for broken in status.broken:
        yield Finding("fail", "pointers", f"{broken.file} {broken.why}", "devml-git status")
    gone = [a.path for a in status.artifacts if not a.cached and a.state.value == "missing"]
    if gone:
        text = f"content is not here: {', '.join(gone[:5])}"
        yield Finding("warn", "content", text, "devml-git checkout")
    bare = [a.path for a in status.artifacts if not a.cached and a.state is State.CLEAN]
    if bare:
        text = f"in the workspace only, not in the cache: {', '.join(bare[:5])}"
        yield Finding("warn", "content", text, "devml-git snapshot")
    if not status.broken and not gone and not bare:
        yield Finding("ok", "artifacts", f"{len(status.artifacts)}")


_CHECKS: tuple[tuple[str, Callable[[Git], Iterator[Finding]]], ...] = (
    ("git", _git),
    ("dvc", _dvc),
    ("config", _config),
    ("hooks", _hooks),
    ("merge driver", partial(_driver, "merge")),
    ("diff driver", partial(_driver, "diff")),
    ("cache", _cache),
    ("private files", _privacy),
    ("left-overs", _leftovers),
    ("DVC remote", _remote),
    ("credentials", _credentials),
    ("artifacts", _artifacts),
)

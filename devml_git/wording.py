"""What commands and hooks say of the same things in the same words."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from devml_git import gate
from devml_git.amounts import human, is_number, number, numbers_apart
from devml_git.errors import MEND, ContentLost, WouldOverwrite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from devml_git.restoring import Done
    from devml_git.snapshotting import Taken

_SHOWN = 4
_WIDEST = 60  # characters of a value


def taken_lines(taken: Taken) -> list[str]:
    """Return one or two lines on what a snapshot did; none when it did nothing."""
    lines = []
    stored = [*taken.changed, *taken.new]
    if stored:
        lines.append(f"devml-git: snapshot of {listed(stored)} ({human(taken.size)})")
    for old, new in taken.moved:
        lines.append(f"devml-git: {gate.shown(old)} moved to {gate.shown(new)}")
    if taken.restored:
        lines.append(f"devml-git: brought in step with the commit: {listed(taken.restored)}")
    if taken.deleted:
        lines.append(
            f"devml-git: not in the workspace, its pointer is kept: {listed(taken.deleted)} "
            "(devml-git checkout restores, devml-git untrack --delete deletes)"
        )
    if taken.missing:
        lines.append(f"devml-git: content is missing: {listed(taken.missing)}")
    if taken.busy:
        lines.append(f"devml-git: left out, a DVC command is writing it: {listed(taken.busy)}")
    if stored:
        lines += [f"devml-git: note: {note}" for note in taken.notes]
    return [*lines, *(f"devml-git: warning: {text}" for text in taken.left)]


def done_lines(done: Done) -> list[str]:
    """Return the lines on what a restore did; none when it did nothing."""
    lines = []
    if done.restored:
        lines.append(f"devml-git: restored {listed(done.restored)} ({human(done.size)})")
    if done.removed:
        lines.append(f"devml-git: not in this revision, taken away: {listed(done.removed)}")
    lines += [
        f"devml-git: {gate.shown(rescue.path)} was in no snapshot; yours is kept: "
        f"devml-git rescue restore {rescue.id}"
        for rescue in done.rescued
    ]
    if done.corrupt:
        lines.append(
            f"devml-git: corrupt in the cache, set aside: {listed(sorted(set(done.corrupt)))}"
        )
    if done.missing:
        lines.append(
            f"devml-git: content is missing: {listed(done.missing)} "
            "(with a DVC remote, devml-git checkout fetches it)"
        )
    if done.withheld:
        lines.append(f"devml-git: {by_choice(done.withheld)}")
    if done.strange:
        lines.append(
            f"devml-git: not the commit's, and left as it lies: {listed(done.strange)} "
            "(devml-git checkout --force replaces it and keeps yours)"
        )
    for path, why in done.blocked:
        lines.append(f"devml-git: left as it lies: {gate.shown(path)} ({why})")
    if done.left is not None:
        lines.append(
            f"devml-git: what lay here is kept as snapshot {done.left.id}: "
            f"devml-git checkout {done.left.id}"
        )
    return lines


def listed(names: Sequence[str]) -> str:
    """Return a few names, and how many more there are."""
    shown = ", ".join(gate.shown(n) for n in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def value_text(value: Any) -> str:  # noqa: ANN401
    """Return a metric, parameter or cell as people read it."""
    return _short(number(value) if is_number(value) else str(value))


def from_to(old: Any, new: Any) -> str:  # noqa: ANN401
    """Return both values of a change: 0.85 -> 0.9; a side that has none (None) is a dash."""
    if is_number(old) and is_number(new):
        return " -> ".join(numbers_apart(old, new))
    return " -> ".join("-" if v is None else value_text(v) for v in (old, new))


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def lost(paths: Iterable[str]) -> ContentLost:
    """Return the error for content that is nowhere to be had."""
    return ContentLost(
        f"content is neither in the cache nor on a DVC remote: {listed(sorted(paths))}",
        hint="ask whoever made it to `dvc push`; with no remote yet: dvc remote add -d NAME URL",
    )


def twin(path: str) -> str:
    """Return why a file cannot be an artifact: its bytes only look like what they replace."""
    return (
        f"{gate.shown(path)} has the MD5 of other content that is known here: the two were made to "
        "collide, and DVC can keep only one"
    )


def corrupt(what: str, *, aside: bool) -> ContentLost:
    """Return the error for content whose bytes in the cache are not what its name says.

    `aside`: it has been moved out of the way, so that a fetch brings it anew.
    """
    if aside:
        return ContentLost(
            f"{what} was corrupt in the cache, and is set aside",
            hint="devml-git fetch --all   brings it, if a DVC remote has it",
        )
    return ContentLost(f"{what} is corrupt in the cache", hint=f"{MEND}   if a DVC remote has it")


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: letters of East Asia take two, marks
    that combine with the letter before them none (Unicode Standard Annex 11).
    """
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in {"W", "F"} for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def padded(text: str, width: int) -> str:
    """Return a text with spaces behind it, up to a number of columns."""
    return text + " " * (width - width_of(text))


def by_choice(paths: Sequence[str]) -> str:
    """Return the words for outputs that are not here, and that no DVC remote is to have."""
    return f"not here, and on no DVC remote by choice (push: false): {listed(paths)}"


def would_overwrite(paths: Iterable[str]) -> WouldOverwrite:
    """Return the error for work that is in no snapshot."""
    return WouldOverwrite(
        f"would overwrite what is in no snapshot yet: {listed(sorted(paths))}",
        hint="devml-git commit keeps it; --force goes on and keeps it: devml-git rescue list",
    )

"""What `log` and `show` say of a commit: lines of (text, style), in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devml_git.amounts import counted, human, number, signed_size
from devml_git.gate import shown
from devml_git.measures import improved
from devml_git.wording import from_to, padded, value_text, width_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from devml_git.changing import Change, Commit
    from devml_git.config import Config
    from devml_git.measures import Measured

Line = list[tuple[str, str]]  # texts and their styles ("": none)
_SHORT = 10  # digits of a commit's id
_KINDS = {"added": "green", "modified": "yellow", "deleted": "red", "moved": "cyan"}
_FEW = 4  # metrics on a line of --oneline
_SHOWN = 20  # artifacts of a commit in log, and metrics or parameters of a file
_COLUMN = 10  # at least so wide: the rows are printed as they come


def commit_line(commit: Commit) -> Line:
    """Return the line of a commit: id, date, author, subject, refs."""
    e = commit.entry
    refs = f"  ({e.refs})" if e.refs else ""
    return [(e.commit[:_SHORT], "yellow"), (f"  {e.date[:10]}  {e.author}  ", ""),
            (e.subject, "bold"), (refs, "cyan")]  # fmt: skip


def one_line(commit: Commit, config: Config) -> Line:
    """Return a commit in one line: id, refs, subject, how many artifacts it changed, and the
    metrics that it did. At a merge: what differs from the first parent.
    """
    e = commit.entry
    line: Line = [(e.commit[:_SHORT], "yellow"), (f" ({e.refs})" if e.refs else "", "cyan")]
    line.append((f" {e.subject}", "bold"))
    changed = len(worth_telling(commit.changes))
    line.append((f"  {counted(changed, 'artifact')}" if changed else "", "green"))
    metrics = commit.told().metrics
    for one in metrics[:_FEW]:
        line += [("  ", ""), *_measured(one, config)]
    return [*line, (f"  and {len(metrics) - _FEW} more" if len(metrics) > _FEW else "", "")]


def detail_lines(commit: Commit, config: Config, *, most: int = _SHOWN) -> list[Line]:
    """Return what a commit changed: artifacts, metrics, parameters; at a merge, by parent."""
    commit = commit.told()
    lines: list[Line] = []
    for parent, changes in commit.against:
        if changes:
            lines.append([(f"against {parent[:_SHORT]}", "")])
            lines += [[("  ", ""), *line] for line in change_lines(changes, most)]
    if not commit.against:
        lines += change_lines(commit.changes, most)
    lines += measure_lines(commit.metrics, config, most=most)
    lines += measure_lines(commit.params, None, most=most)
    return lines + [[("note", "red"), (f"  {note}", "")] for note in commit.notes]


def change_lines(changes: Sequence[Change], most: int) -> list[Line]:
    """Return a line for each artifact that changed, with its size and the change of size."""
    told = worth_telling(changes)
    lines: list[Line] = []
    for c in told[:most]:
        moved = c.moved_from is not None and not c.guessed
        kind = "moved" if moved else c.kind
        name = f"{c.moved_from} -> {c.path}" if moved else c.path
        doubt = f"  (probably moved from {c.moved_from})" if c.guessed else ""
        lines.append([(f"{kind:<8}", _KINDS[kind]), (f"  {name}  {_sizes(c)}{doubt}", "")])
    if len(told) > most:
        lines.append([(f"and {counted(len(told) - most, 'more artifact')}: devml-git show", "")])
    return lines


def worth_telling(changes: Sequence[Change]) -> list[Change]:
    """Return the changes without those that say only where a moved artifact had been."""
    sources = {c.moved_from for c in changes if c.moved_from and not c.guessed}
    return [c for c in changes if c.new is not None or c.path not in sources]


def _sizes(change: Change) -> str:
    side = change.new or change.old
    if side is None or side.size is None:
        return ""
    files = f"{counted(side.nfiles, 'file')}, " if side.nfiles is not None else ""
    was = change.old.size if change.old and change.new else None
    delta = "" if was is None else f" ({signed_size(side.size - was)})"
    return f"{files}{human(side.size)}{delta}"


def measure_lines(
    measured: Iterable[Measured], config: Config | None, *, most: int = _SHOWN
) -> list[Line]:
    """Return a line for each file whose metrics (with `config`) or parameters changed."""
    files: dict[str, list[Measured]] = {}
    for one in measured:
        files.setdefault(one.file, []).append(one)
    lines = []
    for file, some in files.items():
        line: Line = [(file, "")]
        for one in some[:most]:
            line += [("  ", ""), *_measured(one, config)]
        if len(some) > most:
            line.append((f"  and {len(some) - most} more", ""))
        lines.append(line)
    return lines


def _measured(one: Measured, config: Config | None) -> Line:
    """Metrics: the new value and its change; parameters: from what to what."""
    key = one.key or "value"
    if one.new is None:
        return [(f"{key} gone (was {value_text(one.old)})", "")]
    if one.old is None:
        return [(f"{key} {value_text(one.new)}", "")]
    if config is None or one.difference is None:
        return [(f"{key} {from_to(one.old, one.new)}", "")]
    good = improved(config, one)
    word = {True: ", better", False: ", worse", None: ""}[good]
    style = {True: "green", False: "red", None: ""}[good]
    return [
        (f"{key} {value_text(one.new)} ", ""),
        (f"({number(one.difference, '+')}{word})", style),
    ]


def whole_lines(files: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    """Return all metrics or parameters, a line each below their file."""
    lines: list[Line] = []
    for file, table in files.items():
        lines += [[(file, "")]] if file else []
        width = max((width_of(shown(k)) for k in table), default=0)
        for key, value in table.items():
            lines.append([(f"  {padded(shown(key or 'value'), width)}  {value_text(value)}", "")])
    return lines


def table_head(names: Sequence[str]) -> str:
    """Return the heads of `log --columns`."""
    cells = [shown(n).rjust(max(len(n), _COLUMN)) for n in names]
    return "  ".join(["commit".ljust(_SHORT), "date".ljust(10), *cells, "subject"])


def table_row(commit: Commit, values: Sequence[Any], names: Sequence[str]) -> Line:
    """Return a commit's row in that table; a value that it has not is a dash."""
    e = commit.entry
    cells = [
        shown("-" if v is None else value_text(v)).rjust(max(len(n), _COLUMN))
        for v, n in zip(values, names, strict=True)
    ]
    return [(e.commit[:_SHORT], "yellow"), ("  ".join(["", e.date[:10], *cells, e.subject]), "")]

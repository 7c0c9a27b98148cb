"""Histories and comparisons as HTML for a notebook (IPython's `_repr_html_`), and as text.

Names, messages and values come from a repository: each is escaped, none is ever markup.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

from devml_git import telling
from devml_git.amounts import counted, human
from devml_git.gate import shown
from devml_git.wording import value_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from devml_git.changing import Commit
    from devml_git.config import Config

_ROWS = 200
_LINES = 40  # of one cell
_LONGEST = 1 << 16  # characters of a line
_LEFT = ' style="text-align:left;vertical-align:top"'


@dataclass(frozen=True, slots=True)
class History(Sequence["Commit"]):
    """Commits, newest first, each with what it changed; a table in a notebook.

    `config` says which way a metric is better, `prefix` where the project lies in the repository.
    """

    commits: tuple[Commit, ...]
    config: Config = field(repr=False)
    prefix: str = ""

    @overload
    def __getitem__(self, index: int) -> Commit: ...
    @overload
    def __getitem__(self, index: slice) -> History: ...
    def __getitem__(self, index: int | slice) -> Commit | History:
        if isinstance(index, slice):
            return replace(self, commits=self.commits[index])
        return self.commits[index]

    def __len__(self) -> int:
        return len(self.commits)

    def to_dict(self) -> dict[str, Any]:
        """Return product.md's `devml.log/v1`."""
        return {"schema": "devml.log/v1", "commits": [c.to_dict(self.prefix) for c in self]}

    def __str__(self) -> str:
        """Return what `devml-git log` prints."""
        lines = []
        for c in self:
            lines.append(_text(telling.commit_line(c)))
            lines += [f"    {_text(line)}" for line in telling.detail_lines(c, self.config)]
        return "\n".join(shown(line, _LONGEST) for line in lines)

    def _repr_html_(self) -> str:
        return _of_history(self.commits, self.config)


def _of_history(commits: Sequence[Commit], config: Config) -> str:
    rows: list[list[str | list[str]]] = [
        [
            c.entry.commit[:10], c.entry.date[:10], c.entry.author, c.entry.subject,
            [_text(line) for line in telling.detail_lines(c, config)],
        ]
        for c in commits[:_ROWS]
    ]  # fmt: skip
    more = f"and {counted(len(commits) - _ROWS, 'more commit')}" if len(commits) > _ROWS else ""
    return _table(["commit", "date", "author", "subject", "changed"], rows, more)


def comparison(found: Mapping[str, Any]) -> str:
    """Return product.md's `devml.diff/v1` as a table of artifacts, then metrics and parameters."""
    rows: list[list[str | list[str]]] = [
        [a["path"], a["change"], _size(a.get("old")), _size(a.get("new")), list(_inside(a))]
        for a in found["artifacts"]
    ]
    for kind in ("metrics", "params"):
        rows += [
            [f"{m['file']}: {m['key']}", kind, _value(m["old"]), _value(m["new"]), ""]
            for m in found[kind]
        ]
    more = f"and {len(rows) - _ROWS} more" if len(rows) > _ROWS else ""
    title = f"{found['from'][:10]} to {found['to'][:10]}"
    return _table([title, "change", "old", "new", "what"], rows[:_ROWS], more)


def _inside(artifact: Mapping[str, Any]) -> Iterator[str]:
    files = artifact.get("files")
    if files:
        yield ", ".join(f"{n} {what}" for what, n in files.items() if n)
    for tensor in artifact.get("tensors") or ():
        told = [f"{k} {_value(tensor[k])}" for k in ("l2", "max_abs", "cosine") if k in tensor]
        yield "  ".join([tensor["name"], tensor["change"], *told])
    yield from artifact.get("notes") or ()


def _size(side: Mapping[str, Any] | None) -> str:
    size = side.get("size") if side else None
    return "" if size is None else human(size)


def _value(value: Any) -> str:  # noqa: ANN401
    return "" if value is None else value_text(value)


def _text(line: Iterable[tuple[str, str]]) -> str:
    return "".join(text for text, _ in line)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str | list[str]]], more: str) -> str:
    head = "".join(f"<th{_LEFT}>{_cell(h)}</th>" for h in heads)
    body = "".join(
        f"<tr>{''.join(f'<td{_LEFT}>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    foot = f"<p>{_cell(more)}</p>" if more else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{foot}"


def _cell(content: str | list[str]) -> str:
    if isinstance(content, str):
        return html.escape(shown(content, 500))
    lines = [html.escape(shown(line, 500)) for line in content[:_LINES]]
    if len(content) > _LINES:
        lines.append(f"and {len(content) - _LINES} more")
    return "<br>".join(lines)

"""The only door to ruamel.yaml, DVC's own YAML library, and a quick reader for what DVC writes.

ruamel takes 15 ms for each kilobyte, which is minutes for a history of `dvc.lock` files. `quick`
reads block mappings and lists of plain values, and leaves to ruamel whatever it is not sure of.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from devml_git import gate
from devml_git.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ruamel.yaml import YAML

MAX_YAML_DEPTH = 32
_MAX_ALIASES = 200
_MAX_SLOW_BYTES = 256 << 10  # four seconds of ruamel
_MAX_QUICK_BYTES = 2 << 20  # two of `quick`

_NOT_PLAIN = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"})
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)\Z")
_OID = re.compile(r"(?![0-9]+(?:e[0-9]+)?\Z)[0-9a-f]{32}(?:\.dir)?\Z")  # and no number
# In a plain value anything may follow the first letter but `: ` and ` #`; here neither `:` nor `#`
_WORDS = re.compile(r"[A-Za-z_/][!\"$-9;-~]*(?: [!\"$-9;-~]+)*\Z")
_COMMENT = re.compile(r" *#[ -~]*\Z")
_QUOTED = re.compile(r"'([ -&(-~]*)'\Z|\"([ !#-\[\]-~]*)\"\Z")
_LINE = re.compile(r"( *)((?:- )*)(?:([A-Za-z_][A-Za-z0-9_./@+-]*):(?: (.+))?|(.+))\Z")


class Unsure(Exception):
    """This is for ruamel."""


# -- with ruamel ---------------------------------------------------------------------------------


def parser(kind: str) -> YAML:
    """Return ruamel's parser and writer: "safe" for plain data, "rt" keeps comments and order."""
    from ruamel.yaml import YAML

    yaml = YAML(typ=kind, pure=True)
    yaml.default_flow_style = False
    return yaml


def dump(data: object) -> bytes:
    """Return data as DVC writes it."""
    stream = io.StringIO()
    parser("rt").dump(data, stream)
    return stream.getvalue().encode("utf-8")


def load_mapping(file: str, text: str) -> dict[str, Any]:
    """Parse YAML that is a mapping; refuse what a stranger could use to burn time or memory."""
    data = load(file, text)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise Refused(f"{gate.shown(file)}: not a mapping")
    return data


def load(file: str, text: str, *, aliases: int = 0) -> Any:  # noqa: ANN401
    """Parse YAML as plain data, with at most so many aliases. Raises Refused."""
    try:
        return quick(text)
    except Unsure:
        pass
    if aliases and len(text) > _MAX_SLOW_BYTES:
        raise Refused(f"{gate.shown(file)}: larger than {_MAX_SLOW_BYTES} bytes")
    from ruamel.yaml.error import YAMLError

    yaml = parser("safe")
    try:
        _check_events(file, yaml.parse(text), aliases)
        return yaml.load(text)
    except (YAMLError, ValueError, RecursionError) as e:
        line = getattr(getattr(e, "problem_mark", None), "line", None)
        place = "" if line is None else f" (line {line + 1})"
        raise Refused(f"{gate.shown(file)}: not valid YAML{place}") from e


def load_with_aliases(file: str, text: str) -> Any:  # noqa: ANN401
    """Parse YAML that people write: a few anchors and aliases are read. Raises Refused.

    Aliases make one value stand at many places: walk over the result within bounds.
    """
    return load(file, text, aliases=_MAX_ALIASES)


def is_slow(text: str) -> bool:
    """Whether reading a text may take more than a few seconds, by size and by style."""
    if not _MAX_SLOW_BYTES < len(text) <= _MAX_QUICK_BYTES:
        return len(text) > _MAX_QUICK_BYTES
    try:
        quick(text)
    except Unsure:
        return True
    return False


def _check_events(file: str, events: Iterable[Any], aliases: int) -> None:
    depth = seen = 0
    for event in events:
        kind = type(event).__name__
        seen += kind == "AliasEvent"
        if seen > aliases or (not aliases and getattr(event, "anchor", None)):
            many = f"more than {aliases} " if aliases else ""
            raise Refused(f"{gate.shown(file)}: {many}YAML anchors and aliases are not read")
        if getattr(event, "tag", None) and kind != "DocumentStartEvent":
            raise Refused(f"{gate.shown(file)}: YAML tags are not read")
        depth += kind in {"MappingStartEvent", "SequenceStartEvent"}
        depth -= kind in {"MappingEndEvent", "SequenceEndEvent"}
        if depth > MAX_YAML_DEPTH:
            raise Refused(f"{gate.shown(file)}: nested deeper than {MAX_YAML_DEPTH}")


# -- without -------------------------------------------------------------------------------------


def quick(text: str) -> Any:  # noqa: ANN401
    """Return what ruamel's safe loader would return for a text of DVC's style.

    Raises Unsure for everything else: that may be valid, too.
    """
    lines = _lines(text)
    if not lines:
        raise Unsure
    value, end = _block(lines, 0, lines[0][0], 0)
    if end != len(lines) or lines[0][0]:
        raise Unsure
    return value


# One line: column, is it an item of a list, key ("": none), value ("": what follows below)
_Row = tuple[int, bool, str, str]


def _lines(text: str) -> list[_Row]:
    rows: list[_Row] = []
    for line in text.split("\n"):
        if not line or _COMMENT.match(line):
            continue
        found = _LINE.match(line)
        if found is None:
            raise Unsure
        column = len(found[1])
        for _ in range(len(found[2]) // 2 - 1):  # a list as the item of a list
            rows.append((column, True, "", ""))
            column += 2
        dash = bool(found[2])
        if dash and found[3]:  # a mapping that begins on the line of its dash
            rows.append((column, True, "", ""))
            rows.append((column + 2, False, found[3], found[4] or ""))
        else:
            rows.append((column, dash, found[3] or "", found[4] or found[5] or ""))
    return rows


def _block(rows: list[_Row], at: int, column: int, depth: int) -> tuple[Any, int]:
    """Return the value that begins at a row, and the row after it."""
    if depth > MAX_YAML_DEPTH:
        raise Unsure
    read = _sequence if rows[at][1] else _mapping
    return read(rows, at, column, depth)


def _sequence(rows: list[_Row], at: int, column: int, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    while at < len(rows) and rows[at][0] == column and rows[at][1]:
        value = rows[at][3]
        if value:
            items.append(_scalar(value))
            at += 1
        elif at + 1 < len(rows) and rows[at + 1][0] == column + 2:
            item, at = _block(rows, at + 1, column + 2, depth + 1)
            items.append(item)
        else:
            raise Unsure
    return items, at


def _mapping(rows: list[_Row], at: int, column: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while at < len(rows) and rows[at][0] == column and not rows[at][1]:
        _, _, key, value = rows[at]
        if not key or key in found or key.lower() in _NOT_PLAIN:
            raise Unsure
        at += 1
        if value:
            found[key] = _scalar(value)
            continue
        inner = rows[at][0] if at < len(rows) else -1
        if inner > column or (inner == column and rows[at][1]):
            found[key], at = _block(rows, at, inner, depth + 1)
        else:
            found[key] = None
    return found, at


def _scalar(text: str) -> Any:  # noqa: ANN401
    if _INT.match(text) and len(text) < 1000:  # noqa: PLR2004 - Python's own limit is 4300
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    if _OID.match(text):
        return text
    if _WORDS.match(text):
        if text in {"true", "false"}:
            return text == "true"
        if text == "null":
            return None
        if text.lower() in _NOT_PLAIN:
            raise Unsure
        return text
    quoted = _QUOTED.match(text)
    if quoted:
        return quoted[1] if quoted[1] is not None else quoted[2]
    if text.startswith("[") and text.endswith("]") and not set("[]{}'\"") & set(text[1:-1]):
        return [_scalar(part.strip()) for part in text[1:-1].split(",")] if text[1:-1] else []
    raise Unsure

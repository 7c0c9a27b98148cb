"""The only door to ruamel.yaml, DVC's own YAML library, and two quicker readers.

ruamel takes 15 ms for each kilobyte, which is minutes for a history of `dvc.lock` files. `quick`
reads block mappings and lists of plain values, as DVC writes them; libyaml's parser, through
PyYAML, the rest, at a twentieth of ruamel's time. What these are not sure of is left to ruamel.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from devml_git import gate
from devml_git.bounds import (
    MAX_ALIASES,
    MAX_YAML_DEPTH,
    MAX_YAML_VALUES,
    limited,
    refuse_large_numbers,
)
from devml_git.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ruamel.yaml import YAML

MAX_BYTES = 4 << 20  # four seconds of the quicker readers
_MAX_SLOW_BYTES = 256 << 10  # four of ruamel
_MAX_HALF_A_SECOND = 512 << 10  # of the quicker readers

_NOT_PLAIN = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"})
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)\Z")
_OID = re.compile(r"(?![0-9]+(?:e[0-9]+)?\Z)[0-9a-f]{32}(?:\.dir|[0-9a-f]{32})?\Z")  # no number
# In a plain value anything may follow the first letter but `: ` and ` #`; here neither `:` nor `#`
_WORDS = re.compile(r"[A-Za-z_/][!\"$-9;-~]*(?: [!\"$-9;-~]+)*\Z")
_COMMENT = re.compile(r" *#[ -~]*\Z")
_QUOTED = re.compile(r"'([ -&(-~]*)'\Z|\"([ !#-\[\]-~]*)\"\Z")
_LONGEST_INT = 1000  # digits: Python's own limit is 4300
_KINDS = frozenset({"null", "bool", "int", "float", "timestamp"})  # of values without quotes
# What libyaml and ruamel take for different things
_ODD = re.compile("[\t\x85\u2028\u2029\ufeff]|^\\.\\.\\.", re.MULTILINE)
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
    if len(text) > MAX_BYTES:
        raise Refused(f"{gate.shown(file)}: larger than {MAX_BYTES} bytes")
    with limited(file):
        return _loaded(file, text, aliases)


def _loaded(file: str, text: str, aliases: int) -> Any:  # noqa: ANN401
    try:
        return quick(text)  # which takes no number of more than _LONGEST_INT digits
    except Unsure:
        pass
    try:
        built = _Built(file, aliases).of(text)
    except Unsure:
        built = _ruamels(file, text, aliases)
    refuse_large_numbers(built, file)
    return built


def _ruamels(file: str, text: str, aliases: int) -> Any:  # noqa: ANN401
    if len(text) > _MAX_SLOW_BYTES:
        raise Refused(f"{gate.shown(file)}: no valid YAML, or too large for a rare kind of it")
    yaml = parser("safe")
    try:
        _check_events(file, yaml.parse(text), aliases)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would show a stranger's text as it is
            return yaml.load(text)
    except (Refused, MemoryError):
        raise
    except Exception as e:  # of odd texts ruamel raises anything: AssertionError, TypeError
        line = getattr(getattr(e, "problem_mark", None), "line", None)
        place = "" if line is None else f" (line {line + 1})"
        raise Refused(f"{gate.shown(file)}: not valid YAML{place}") from e


def load_with_aliases(file: str, text: str) -> Any:  # noqa: ANN401
    """Parse YAML that people write: a few anchors and aliases are read. Raises Refused.

    Aliases make one value stand at many places: at no more than MAX_YAML_VALUES in all.
    """
    return load(file, text, aliases=MAX_ALIASES)


def is_slow(text: str) -> bool:
    """Whether reading a text may take more than half a second, by its size."""
    return len(text) > _MAX_HALF_A_SECOND


def _check_events(file: str, events: Iterable[Any], aliases: int) -> None:
    checked = _Checked(file, aliases)
    for event in events:
        checked.see(event)


class _Checked:
    """Events of a parser, ruamel's or libyaml's, each of which must be allowed."""

    def __init__(self, file: str, aliases: int) -> None:
        self._file = file
        self._aliases = aliases
        self._depth = self._seen = 0
        self._values = 0  # so far, as often as aliases repeat them
        self._open: list[tuple[str | None, int]] = []  # anchor, and the values before it
        self._sizes: dict[str, int] = {}

    def see(self, event: Any) -> str:  # noqa: ANN401 - of either library
        """Return the event's kind. Raises Refused."""
        kind = type(event).__name__
        self._seen += kind == "AliasEvent"
        if self._seen > self._aliases or (not self._aliases and getattr(event, "anchor", None)):
            many = f"more than {self._aliases} " if self._aliases else ""
            raise Refused(f"{gate.shown(self._file)}: {many}YAML anchors and aliases are not read")
        if getattr(event, "tag", None) and kind != "DocumentStartEvent":
            raise Refused(f"{gate.shown(self._file)}: YAML tags are not read")
        self._depth += kind in {"MappingStartEvent", "SequenceStartEvent"}
        self._depth -= kind in {"MappingEndEvent", "SequenceEndEvent"}
        if self._depth > MAX_YAML_DEPTH:
            raise Refused(f"{gate.shown(self._file)}: nested deeper than {MAX_YAML_DEPTH}")
        self._count(kind, getattr(event, "anchor", None))
        return kind

    def _count(self, kind: str, anchor: str | None) -> None:
        """Count values before they are built: what an alias repeats, and a merge key copies."""
        match kind:
            case "ScalarEvent":
                self._values += 1
                self._name(anchor, 1)
            case "AliasEvent":
                if anchor in {name for name, _ in self._open}:
                    raise Refused(f"{gate.shown(self._file)}: a YAML alias of what it stands in")
                self._values += self._sizes.get(anchor or "", 1)
            case "MappingStartEvent" | "SequenceStartEvent":
                self._values += 1
                self._open.append((anchor, self._values - 1))
            case "MappingEndEvent" | "SequenceEndEvent":
                name, before = self._open.pop()
                self._name(name, self._values - before)
        if self._values > MAX_YAML_VALUES:
            raise Refused(f"{gate.shown(self._file)}: more than {MAX_YAML_VALUES} values")

    def _name(self, anchor: str | None, size: int) -> None:
        if anchor is not None:
            self._sizes[anchor] = size


# -- with libyaml's parser, and ruamel's scalars -------------------------------------------------


class _Built:
    """One document, built from the events of libyaml. What may be a matter of taste is Unsure."""

    def __init__(self, file: str, aliases: int) -> None:
        self._checked = _Checked(file, aliases)
        self._anchors: dict[str, Any] = {}
        self._open: list[_Open] = [_Open([])]
        self._scalar = _plain_scalars()

    def of(self, text: str) -> Any:  # noqa: ANN401
        """Return what a text says. Raises Unsure, Refused."""
        if _ODD.search(text):
            raise Unsure
        events, wrong = _libyaml()
        try:
            for event in events(text):
                self._take(self._checked.see(event), event)
        except (wrong, ValueError) as e:
            raise Unsure from e
        found = self._open[0].value
        return found[0] if found else None

    def _take(self, kind: str, event: Any) -> None:  # noqa: ANN401 - PyYAML's
        match kind:
            case "ScalarEvent":
                value = self._scalar(event.value) if event.implicit[0] else event.value
                self._put(value, event.anchor)
            case "SequenceStartEvent":
                self._open.append(_Open([], event.anchor))
            case "MappingStartEvent":
                self._open.append(_Open({}, event.anchor))
            case "SequenceEndEvent" | "MappingEndEvent":
                done = self._open.pop()
                self._put(done.value, done.anchor)
            case "AliasEvent":
                if event.anchor not in self._anchors:
                    raise Unsure  # none, or of what it stands in
                self._put(self._anchors[event.anchor], None)
            case "DocumentStartEvent" if event.version or self._open[0].value:
                raise Unsure

    def _put(self, value: Any, anchor: str | None) -> None:  # noqa: ANN401
        if anchor in self._anchors:
            raise Unsure
        if anchor is not None:
            self._anchors[anchor] = value
        self._open[-1].put(value)


@dataclass(slots=True)
class _Open:
    """A list or mapping that has begun, and the key that waits for its value."""

    value: Any
    anchor: str | None = None
    _key: list[Any] = field(default_factory=list)

    def put(self, value: Any) -> None:  # noqa: ANN401
        """Add an item, or a mapping's key or value."""
        if isinstance(self.value, list):
            self.value.append(value)
        elif self._key:
            self.value[self._key.pop()] = value
        elif isinstance(value, list | dict) or value in self.value:
            raise Unsure
        else:
            self._key.append(value)


@cache
def _libyaml() -> tuple[Callable[[str], Iterable[Any]], type[Exception]]:
    """Return libyaml's parser and its error. Raises Unsure where PyYAML or its C part is not."""
    try:
        import yaml
        from yaml.cyaml import CParser
    except ImportError as e:
        raise Unsure from e

    def events(text: str) -> Iterable[Any]:
        parser = CParser(text)
        while parser.check_event():
            yield parser.get_event()

    return events, yaml.YAMLError


@cache
def _plain_scalars() -> Callable[[str], Any]:
    """Return how ruamel's safe loader takes a value without quotes."""
    from ruamel.yaml.nodes import ScalarNode

    yaml = parser("safe")
    resolver, constructor = yaml.resolver, yaml.constructor

    def scalar(text: str) -> Any:  # noqa: ANN401
        if _INT.match(text) and len(text) < _LONGEST_INT:
            return int(text)
        tag = resolver.resolve(ScalarNode, text, (True, False))
        kind = str(tag).rpartition(":")[2]
        if kind == "str":
            return text
        if kind not in _KINDS:
            raise Unsure
        return constructor.yaml_constructors[str(tag)](constructor, ScalarNode(tag, text))

    return scalar


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
    if _INT.match(text) and len(text) < _LONGEST_INT:
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

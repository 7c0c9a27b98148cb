"""Metrics and parameters: what a file of them says, what a commit has, what changed.

JSON, YAML, TOML, and Python files whose values are literals, as DVC 3.67 reads them
(`utils/serialize`). They are a stranger's text: bounded, never executed.
"""

from __future__ import annotations

import ast
import contextlib
import fnmatch
import functools
import json
import math
import posixpath
import re
import warnings
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from devml_git import tomltext, yamltext
from devml_git.amounts import is_number
from devml_git.bounds import limited, refuse_large_numbers
from devml_git.errors import Refused
from devml_git.gate import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from devml_git.config import Config

T = TypeVar("T")

MAX_BYTES = 1 << 20
_MAX_PYTHON = 256 << 10  # a byte may take 500 once it is parsed
_MAX_KEYS = 10_000
_MAX_DEPTH = 32
_MAX_VALUES = 500_000  # in lists, too, and as often as an alias repeats them
_MOST_KEPT = 4 << 20  # bytes of texts whose values are kept
_MOST_TEXTS = 256
_BARE = re.compile(r"[^\s.\"'\[\]\x00-\x1f]+\Z")


# -- what a file says ----------------------------------------------------------------------------


def load(file: str, text: bytes) -> Any:  # noqa: ANN401
    """Return what a JSON, TOML, Python or (any other name, as in DVC) YAML file holds.

    Raises Refused, naming the file, for what is malformed, too large or too deep.
    """
    try:
        if len(text) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        with limited(""):
            return _parsed(posixpath.splitext(file)[1].lower(), text)
    except Refused as e:
        raise Refused(f"{shown(file)}: {e.message.removeprefix(': ')}") from e
    except (RecursionError, MemoryError) as e:  # MemoryError: how Python's own parser says it
        raise Refused(f"{shown(file)}: nested too deep") from e
    except (ValueError, SyntaxError) as e:
        why = str(e).splitlines()[0] if str(e) else "malformed"
        raise Refused(f"{shown(file)}: {shown(why)}") from e


def kept_by_text(read: Callable[[str, bytes], T]) -> Callable[[str, bytes], T]:
    """Keep what was read of texts lately: most commits have most of their files unchanged.

    How much is kept, the texts' sizes decide: values take up to some fifty times as much. That a
    text was refused is kept, too: finding out may have taken long.
    """
    kept: OrderedDict[tuple[str, bytes], T | Refused] = OrderedDict()
    lock = Lock()

    @functools.wraps(read)
    def reading(name: str, text: bytes) -> T:
        key = name, text
        with lock:
            found = kept.get(key)
        if found is None:
            try:
                found = read(name, text)
            except Refused as e:
                found = e
        with lock:
            kept[key] = found
            kept.move_to_end(key)
            while len(kept) > _MOST_TEXTS or sum(len(t) for _, t in kept) > _MOST_KEPT:
                kept.popitem(last=False)
        if isinstance(found, Refused):
            raise Refused(found.message)
        return found

    return reading


@kept_by_text
def _parsed(suffix: str, text: bytes) -> Any:  # noqa: ANN401
    value = _read(suffix, text)
    _check_size(value)
    return value


def _check_size(value: Any) -> None:  # noqa: ANN401
    """Refuse what takes long to walk over: deep, endless, or the same at a million places."""
    todo = [(value, 0)]
    seen = 0
    while todo:
        one, depth = todo.pop()
        seen += 1
        if depth > _MAX_DEPTH:
            raise Refused(f": nested deeper than {_MAX_DEPTH}")
        if seen > _MAX_VALUES:
            raise Refused(f": more than {_MAX_VALUES} values")
        if isinstance(one, dict):
            todo += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            todo += [(inner, depth + 1) for inner in one]


def _read(suffix: str, text: bytes) -> Any:  # noqa: ANN401
    decoded = text.decode("utf-8-sig")
    if suffix == ".json":
        return json.loads(decoded)
    if suffix == ".toml":
        return tomltext.loads(decoded, "")
    if suffix == ".py":
        return _python(decoded)
    return yamltext.load_with_aliases("", decoded)


def _python(text: str) -> dict[str, Any]:
    if len(text) > _MAX_PYTHON:
        raise ValueError(f"larger than {_MAX_PYTHON} bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they would show a stranger's text as it is
        found = _assigned(ast.parse(text).body)
    refuse_large_numbers(found, "")
    return found


def _assigned(body: Sequence[ast.stmt]) -> dict[str, Any]:
    """Return the literals that a Python file assigns, a class's below its name (as in DVC)."""
    found: dict[str, Any] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = _assigned(node.body)
            continue
        names = node.targets if isinstance(node, ast.Assign) else []
        names = [node.target] if isinstance(node, ast.AnnAssign) else names
        for name in names:
            if isinstance(name, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign):
                try:
                    found[name.id] = ast.literal_eval(node.value) if node.value else None
                except (ValueError, TypeError, MemoryError):
                    continue  # computed: its value is not written here
    return found


def flatten(value: Any, *, lists: bool = True) -> dict[str, Any]:  # noqa: ANN401
    """Return nested mappings as one: keys joined by dots, those with a dot in them quoted.

    `{"train": {"acc": 1}, "a.b": 2}` is `{"train.acc": 1, '"a.b"': 2}`, as TOML writes dotted keys:
    no two keys become one. What is no mapping has the key "". Lists stay values; without `lists`
    they, and what is null, are left out, as DVC does with metrics. Raises Refused for too many.
    """
    found: dict[str, Any] = {}
    for key, one in _leaves(value, "", 0):
        if not lists and not isinstance(one, bool | int | float | str):
            continue
        found[key] = one
        if len(found) > _MAX_KEYS:
            raise Refused(f": more than {_MAX_KEYS} values")
    return found


def _leaves(value: Any, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    if depth > _MAX_DEPTH:
        raise Refused(f": nested deeper than {_MAX_DEPTH}")
    if not isinstance(value, dict):
        yield prefix, value
        return
    for key, inner in value.items():
        name = str(key) if _BARE.match(str(key)) else json.dumps(str(key), ensure_ascii=False)
        yield from _leaves(inner, f"{prefix}.{name}" if prefix else name, depth + 1)


# -- what is measured ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measures:
    """Metrics and parameters of one commit: file to keys (flattened, see `flatten`) to values.

    `notes` say in words what could not be read.
    """

    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return product.md's `metrics` and `params`: {FILE: {KEY: value}}, KEY as `flatten`'s."""
        tables = {"metrics": self.metrics, "params": self.params}
        return {
            kind: {f: {k: plain(v) for k, v in keys.items()} for f, keys in files.items()}
            for kind, files in tables.items()
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric or parameter that differs; a side that has none is None."""

    file: str
    key: str
    old: Any
    new: Any

    @property
    def difference(self) -> float | None:
        """New minus old, where both are finite numbers."""
        with contextlib.suppress(OverflowError):
            if is_number(self.old) and is_number(self.new):
                change: float = self.new - self.old
                return change if math.isfinite(change) else None
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return one entry of product.md's `metrics` or `params` of a diff."""
        return {
            "file": self.file, "key": self.key, "old": plain(self.old), "new": plain(self.new)
        }  # fmt: skip


def plain(value: Any) -> Any:  # noqa: ANN401
    """Return a value as JSON can hold it: what is no finite number becomes "NaN", "Infinity"..."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    return str(value)  # a date of YAML's or TOML's


# -- what changed --------------------------------------------------------------------------------


def changes(
    old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]
) -> list[Measured]:
    """Return what differs between two commits' metrics (or parameters), by file and key."""
    found = []
    for file in sorted({*old, *new}):
        before, after = old.get(file, {}), new.get(file, {})
        if before is after:
            continue
        keys = [*after, *(k for k in before if k not in after)]
        found += [
            Measured(file, key, before.get(key), after.get(key))
            for key in keys
            if not same(before.get(key), after.get(key))
        ]
    return found


def same(old: Any, new: Any) -> bool:  # noqa: ANN401
    """Whether two values say the same: 1 and 1.0 do, NaN and NaN, but not 1 and true."""
    if isinstance(old, bool) is not isinstance(new, bool):
        return False
    return bool(old == new) or (old != old and new != new)  # noqa: PLR0124 - NaN


def better(config: Config, file: str, key: str) -> str | None:
    """Return which way is better by the user's configuration: "higher", "lower", or None.

    A name in `[better]` means a key, whole or its last part, or FILE:KEY; the first that fits.
    """
    last = key.rsplit(".", 1)[-1]
    for pattern, way in config.better.items():
        if any(fnmatch.fnmatchcase(name, pattern) for name in (key, last, f"{file}:{key}")):
            return way
    return None


def improved(config: Config, one: Measured) -> bool | None:
    """Whether a change is for the better; None where that is not configured, or no number."""
    way, difference = better(config, one.file, one.key), one.difference
    if way is None or not difference:
        return None
    return (difference > 0) is (way == "higher")

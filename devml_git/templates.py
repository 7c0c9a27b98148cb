"""What a `dvc.yaml` would become: its stages and outputs are counted before DVC expands them.

As DVC 3.67 `parsing/__init__.py` does: `foreach` makes a stage of each item, `matrix` one of each
combination; `${}` names a value of `vars`, of the files that these name, or of `params.yaml`.
What cannot be told without resolving it counts as one: DVC's own time and memory are bounded, too.
"""

from __future__ import annotations

import math
import posixpath
import re
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from devml_git import measures
from devml_git.bounds import MAX_OUTS, MAX_STAGES
from devml_git.errors import Refused
from devml_git.gate import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_VARS_BYTES = measures.MAX_BYTES
MAX_VARS_FILES = 200  # of one `dvc.yaml`
_LONGEST = 1024  # characters of such a file's path
MAX_TEXT = 4 << 20  # characters of all that is put in for `${}`
_PARAMS = "params.yaml"
# Possessive, and nothing that begins one may be inside: one pass over any text
_ANY = re.compile(r"\$\{([^{}]*+)\}")
_STEP = re.compile(r"([^.\[\]]++)|\[([^\[\]]*+)\]")
_NO_NAME = re.compile("[\0\ud800-\udfff]")
LISTS = ("outs", "metrics", "plots")  # of a stage: each entry is an output


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One `dvc.yaml`: its path relative to the root, its text, and what that says."""

    file: str
    text: bytes
    data: Mapping[str, Any]

    def is_template(self) -> bool:
        """Whether anything in it is to be resolved, however YAML writes it."""
        return any("${" in text for text in texts_in(self.data))

    def stages(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the stages that are mappings, by name."""
        found = self.data.get("stages")
        for name, stage in found.items() if isinstance(found, dict) else ():
            if isinstance(stage, dict):
                yield str(name), stage

    def vars_files(self) -> list[str]:
        """Return the files that templates of the whole file take values from, DVC's default first.

        Relative to the root, as all that follows; `..` may lead above it. Raises Refused for very
        many.
        """
        base = posixpath.dirname(self.file)
        return self._files([posixpath.join(base, _PARAMS), *_named(self.data.get("vars"), base)])

    def stages_vars_files(self, values: Mapping[str, Any]) -> list[str]:
        """Return the files that single stages take values from, as well.

        `values` are those of `vars_files` and of `vars`: a stage's `wdir` may be made of them.
        Raises Refused for very many.
        """
        base = posixpath.dirname(self.file)
        found: dict[str, None] = {}
        for _, stage in self.stages():
            inner = _inner(stage)
            if isinstance(inner.get("vars"), list):
                for wdir in _wdirs(stage, str(inner.get("wdir") or "."), values):
                    found.update(dict.fromkeys(_named(inner["vars"], posixpath.join(base, wdir))))
                    if len(found) > MAX_VARS_FILES:
                        break
        return self._files(found)

    def _files(self, found: Iterable[str]) -> list[str]:
        inside = (posixpath.normpath(path) for path in found)
        names = list(dict.fromkeys(p for p in inside if not p.startswith("/") and _can_be(p)))
        if len(names) > MAX_VARS_FILES:
            raise Refused(f"{shown(self.file)}: more than {MAX_VARS_FILES} files of `vars`")
        return names


def texts_in(data: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the texts in parsed YAML, keys too; what aliases share is gone through once."""
    todo, seen = [data], set[int]()
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict | list) and id(one) not in seen:
            seen.add(id(one))
            todo += [*one, *one.values()] if isinstance(one, dict) else one


def _wdirs(stage: Mapping[str, Any], wdir: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a stage's `wdir` becomes, one for each item of a foreach or a matrix."""
    if "${" not in wdir:
        yield wdir
        return
    for item in islice(_items(stage, values), MAX_STAGES):
        yield _ANY.sub(lambda m, item=item: str(_of_item(m[1].strip(), item, values)), wdir)  # type: ignore[misc]


def _of_item(name: str, item: Mapping[str, Any], values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    first = name.partition(".")[0].partition("[")[0]
    return _value(name, item if first in item else values)


def _items(stage: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what `item` and `key` are for each of the stages that one entry makes."""
    matrix = stage.get("matrix")
    if isinstance(matrix, dict):
        axes = [_several(axis, values) for axis in matrix.values()]
        lists = [list(axis) if isinstance(axis, list | dict) else [axis] for axis in axes]
        for combination in product(*lists):
            yield {"item": dict(zip(matrix, combination, strict=True))}
    elif "foreach" in stage:
        several = _several(stage["foreach"], values)
        if isinstance(several, dict):
            yield from ({"key": key, "item": item} for key, item in several.items())
        elif isinstance(several, list):
            yield from ({"item": item} for item in several)
    else:
        yield {}


def _inner(stage: dict[str, Any]) -> dict[str, Any]:
    """Return the stage itself, or what a foreach makes many of."""
    inner = stage.get("do")
    return inner if isinstance(inner, dict) else stage


def _can_be(path: str) -> bool:
    """Whether a file can be called so: YAML can write NUL and half a letter."""
    return len(path) <= _LONGEST and not _NO_NAME.search(path)


def _named(entries: Any, base: str) -> list[str]:  # noqa: ANN401
    texts = [e for e in entries if isinstance(e, str)] if isinstance(entries, list) else []
    return [posixpath.join(base, text.partition(":")[0]) for text in texts]


def counted(pipeline: Pipeline, values: Mapping[str, Any]) -> None:
    """Raise Refused for a `dvc.yaml` of too many stages, outputs, or too much text, once expanded.

    `values` are those that `values_of` returns.
    """
    stages = outs = text = 0
    for _, stage in pipeline.stages():
        count = _count(stage, values)
        stages += count
        inner = _inner(stage)
        lists = (inner.get(kind) for kind in LISTS)
        outs += count * sum(len(some) for some in lists if isinstance(some, list))
        text += count * _filled(inner, values)
        totals = ((stages, MAX_STAGES, "stages"), (outs, MAX_OUTS, "outputs"))
        for number, most, what in (*totals, (text, MAX_TEXT, "characters")):
            if number > most:
                raise Refused(f"{shown(pipeline.file)}: its templates make more than {most} {what}")


def values_of(pipeline: Pipeline, texts: Mapping[str, bytes | None]) -> dict[str, Any]:
    """Return what templates may name: files first, so that what is inline stands over it.

    `texts` are the contents of the files that `vars` name, None where there is none.
    """
    found: dict[str, Any] = {}
    for file, text in texts.items():
        table = None if text is None else measures.load(file, text)
        found = _merged(found, table if isinstance(table, dict) else {})
    entries = pipeline.data.get("vars")
    for entry in entries if isinstance(entries, list) else ():
        found = _merged(found, entry if isinstance(entry, dict) else {})
    return found


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return two tables together, and tables in them, as DVC does (`parsing/context.py`)."""
    found = dict(one)
    for key, value in other.items():
        before = found.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            found[key] = _merged(before, value)
        else:
            found[key] = value
    return found


def _count(stage: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Return how many stages one entry makes."""
    matrix = stage.get("matrix")
    if isinstance(matrix, dict):
        return math.prod(min(_length(axis, values), MAX_STAGES + 1) for axis in matrix.values())
    return _length(stage["foreach"], values) if "foreach" in stage else 1


def _length(several: Any, values: Mapping[str, Any]) -> int:  # noqa: ANN401
    several = _several(several, values)
    return len(several) if isinstance(several, list | dict) else 1


def _several(several: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return what a foreach, or an axis of a matrix, goes over: None where that cannot be told."""
    if isinstance(several, str):
        named = _ANY.fullmatch(several)
        several = _value(named[1].strip(), values) if named else None
    return several


def _value(name: str, values: Any) -> Any:  # noqa: ANN401
    """Return what `a.b[0]` names, None where it names nothing."""
    for step in _STEP.finditer(name):
        key = step[1] if step[1] is not None else step[2]
        if isinstance(values, dict):
            values = values.get(key)
        elif isinstance(values, list) and key.isdigit() and int(key[:9]) < len(values):
            values = values[int(key[:9])]
        else:
            return None
    return values


def _filled(stage: Any, values: Mapping[str, Any]) -> int:  # noqa: ANN401
    """Return how many characters `${}` put into a stage's texts, at least."""
    todo, size = [stage], 0
    sizes: dict[str, int] = {}
    while todo and size <= MAX_TEXT:
        one = todo.pop()
        if isinstance(one, dict):
            todo += [*one, *one.values()]
        elif isinstance(one, list):
            todo += one
        elif isinstance(one, str) and "${" in one:
            for found in _ANY.finditer(one):
                name = found[1].strip()
                if name not in sizes:
                    sizes[name] = _size(_value(name, values))
                size += sizes[name]
    return size


def _size(value: Any) -> int:  # noqa: ANN401
    """Return about how many characters a value is in a command, values in it included."""
    todo, size = [value], 0
    while todo and size <= MAX_TEXT:
        one = todo.pop()
        if isinstance(one, dict):
            todo += [*one, *one.values()]
        elif isinstance(one, list):
            todo += one
        else:
            size += len(one) if isinstance(one, str) else 4
    return size

"""A comparison in words: lines for people, short enough for a screen.

Tensors of repeated blocks (`layers.0` to `layers.31`) that differ in the same way are one line.
Every line comes with a tone, the word of STYLES that output colours it by ("" for none).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from devml_git import headers
from devml_git.amounts import counted, human, number
from devml_git.gate import shown
from devml_git.media import LinesChange, MediaChange
from devml_git.tables import TableChange
from devml_git.tensors import ModelChange
from devml_git.wording import from_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized

    from devml_git.comparing import ArtifactChange, Comparison, FileChange
    from devml_git.inspecting import Inside
    from devml_git.measures import Measured
    from devml_git.tensors import Numbers, TensorChange

    Line = tuple[str, str]  # tone and text

_MOST = 40  # lines of one model's tensors
_FILES = 20  # of one directory's files
_FEW = 12  # of metadata, columns and types of files
_NAME = 100  # characters of a name, a key or a value that people read
_SIGNS = {"added": "+", "removed": "-", "renamed": "=", "reshaped": "~", "retyped": "~"}
_TONES = {"added": "added", "removed": "deleted"}
STYLES = {
    "added": "green", "modified": "yellow", "deleted": "red", "renamed": "cyan", "moved": "cyan",
    "better": "green", "worse": "red",
}  # fmt: skip


def lines(found: Comparison, *, everything: bool = False) -> Iterator[Line]:
    """Yield what differs, artifact by artifact; `everything`: without bounds on their number."""
    for artifact in found.artifacts:
        yield artifact.change, _headline(artifact)
        for _, inside in artifact.inside:
            yield from _indented(_inside(inside, everything=everything))
        if artifact.files is not None:
            yield from _indented(_files(artifact.files, everything=everything))
        yield from (("", f"  note: {note}") for note in artifact.notes)
    yield from _measures(found)
    yield from (("", f"note: {note}") for note in found.notes)


def _measures(found: Comparison) -> Iterator[Line]:
    """Yield metrics and parameters: old and new value, and the difference where there is one."""
    for kind, measured in (("metrics", found.metrics), ("params", found.params)):
        for file, some in groupby(measured, lambda m: m.file):
            yield "", f"{kind}  {shown(file, 2 * _NAME)}"
            for m in some:
                better = found.improved.get((m.file, m.key)) if kind == "metrics" else None
                tone = "" if better is None else "better" if better else "worse"
                yield tone, f"  {shown(m.key, _NAME)}  {_change(m)}"


def _change(m: Measured) -> str:
    by = "" if m.difference is None else f"  ({number(m.difference, '+')})"
    return f"{shown(from_to(m.old, m.new), 2 * _NAME)}{by}"


def stat(found: Comparison) -> Iterator[Line]:
    """Yield one line an artifact, and how many there are."""
    for artifact in found.artifacts:
        more = [_gist(inside) for _, inside in artifact.inside]
        if artifact.files is not None:
            more.append(_counts(Counter(f.change for f in artifact.files), "file"))
        yield artifact.change, "  ".join([_headline(artifact), *(m for m in more if m)])
    yield from (("", f"note: {note}") for note in found.notes)
    for kind, measured in (("metrics", found.metrics), ("params", found.params)):
        if measured:
            yield (
                "",
                f"{kind}: {', '.join(f'{shown(m.key, _NAME)} {_change(m)}' for m in measured)}",
            )
    if found.artifacts:
        kinds = Counter(a.change for a in found.artifacts)
        yield "", _counts(kinds, "artifact")


def _indented(inner: Iterable[Line]) -> Iterator[Line]:
    return ((tone, f"  {text}") for tone, text in inner)


def _headline(a: ArtifactChange) -> str:
    name = f"{a.source} -> {a.path}" if a.source else a.path
    old, new = (p.size if p else None for p in (a.old, a.new))
    sizes = " -> ".join(human(s) for s in dict.fromkeys((old, new)) if s is not None)
    nfiles = ""
    pointer = a.new or a.old
    if pointer is not None and pointer.nfiles is not None:
        nfiles = f"  {counted(pointer.nfiles, 'file')}"
    return f"{a.change:<8}  {shown(name, 2 * _NAME)}{nfiles}  {sizes}".rstrip()


def _counts(kinds: Mapping[str, int], of: str) -> str:
    total = sum(kinds.values())
    each = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    return f"{counted(total, of)}: {each}"


# -- what is inside ------------------------------------------------------------------------------


def _inside(inside: Inside, *, everything: bool) -> Iterator[Line]:
    if isinstance(inside, ModelChange):
        yield "", _gist(inside)
        yield from _indented(_tensors(inside.tensors, None if everything else _MOST))
        if None not in inside.format:
            yield from _indented(_metadata(inside.metadata))
    elif isinstance(inside, TableChange):
        yield "", _gist(inside)
        yield from _indented(_table(inside))
    else:
        yield "", _gist(inside)


def _gist(inside: Inside) -> str:
    """Return what changed inside a file in one line."""
    if isinstance(inside, ModelChange):
        return _model(inside)
    if isinstance(inside, TableChange):
        return _rows(inside)
    if isinstance(inside, LinesChange):
        if inside.added is None:
            return f"text: {_counts_of(inside.lines, 'line')}"
        return f"text: {_counts_of(inside.lines, 'line')}, +{inside.added} -{inside.removed}"
    if isinstance(inside, MediaChange):
        sides = [f and headers.in_words(f) for f in (inside.old, inside.new)]
        return f"{inside.kind}: {_both(*sides)}"
    return ""


def _both(old: object, new: object) -> str:
    """Return a value, or how it changed: "old -> new"."""
    if old is None or new is None or old == new:
        return shown(new if old is None else old, _NAME)
    return f"{shown(old, _NAME)} -> {shown(new, _NAME)}"


def _counts_of(sides: tuple[int | None, int | None], noun: str) -> str:
    """Return a count, or how it changed: 1 line, 1 -> 20 lines."""
    told = [n for n in dict.fromkeys(sides) if n is not None]
    return f"{f'{told[0]:,} -> ' if told[1:] else ''}{counted(told[-1], noun)}"


def _rows(table: TableChange) -> str:
    if table.rows == (None, None):
        if table.lines == (None, None):
            return table.format
        return f"{table.format}: {_counts_of(table.lines, 'line')}"
    text = f"{table.format}: {_counts_of(table.rows, 'row')}"
    if table.added is not None:
        text += f", +{table.added} -{table.removed}"
    if table.changed is not None:
        text += f", {table.changed} changed (by {', '.join(shown(k, _NAME) for k in table.key)})"
    return text


def _table(table: TableChange) -> Iterator[Line]:
    whole = None in table.rows
    for name, (old, new) in [] if whole else list(table.columns.items())[:_FEW]:
        kind = "added" if old is None else "removed" if new is None else "retyped"
        tone = _TONES.get(kind, "modified")
        yield tone, f"{_SIGNS[kind]} column {shown(name, _NAME)}  {_both(old, new)}"
    for name, cells in list((table.cells or {}).items())[:_FEW]:
        yield "modified", f"{shown(name, _NAME)}: {counted(cells, 'cell')}"
    for cell in table.examples:
        key = ", ".join(f"{k} {v}" for k, v in zip(table.key, cell.key, strict=True))
        change = shown(from_to(cell.old, cell.new), 2 * _NAME)
        yield "", f"{shown(key, _NAME)}: {shown(cell.column, _NAME)} {change}"


def _metadata(metadata: Mapping[str, tuple[Any, Any]]) -> Iterator[Line]:
    for key, (old, new) in list(metadata.items())[:_FEW]:
        yield "", f"{shown(key, _NAME)}: {shown(from_to(old, new), 2 * _NAME)}"
    if len(metadata) > _FEW:
        yield "", f"and {len(metadata) - _FEW:,} more of metadata: --json"


# -- files of a directory ------------------------------------------------------------------------


def _files(files: Sequence[FileChange], *, everything: bool) -> Iterator[Line]:
    by_ending: dict[str, list[FileChange]] = defaultdict(list)
    for f in files:
        base, dot, ending = f.name.rpartition("/")[2].rpartition(".")
        by_ending[f"{dot}{ending}" if base and dot else "no ending"].append(f)
    for ending, some in sorted(by_ending.items(), key=lambda x: -len(x[1]))[:_FEW]:
        moved = sum((f.new_size or 0) - (f.old_size or 0) for f in some)
        change = f"{'+' if moved >= 0 else '-'}{human(abs(moved))}"
        counts = Counter(f.change for f in some)
        yield "", f"{shown(ending, _NAME)}  {_counts(counts, 'file')}  {change}"
    looked = [f for f in files if f.inside is not None]
    listed = files if everything else [*looked, *(f for f in files if f.inside is None)][:_FILES]
    for f in listed:
        name = f"{f.source} -> {f.name}" if f.source else f.name
        sizes = " -> ".join(
            human(s) for s in dict.fromkeys((f.old_size, f.new_size)) if s is not None
        )
        yield f.change, f"  {f.change:<8}  {shown(name, 2 * _NAME)}  {sizes}".rstrip()
        if f.inside is not None:
            inner = _inside(f.inside, everything=everything)
            yield from ((tone, f"    {text}") for tone, text in inner)
    if len(files) > len(listed):
        yield "", f"  and {len(files) - len(listed)} more: --all"


# -- tensors -------------------------------------------------------------------------------------


def _model(model: ModelChange) -> str:
    old, new = model.parameters
    form = _both(*model.format)
    if None in model.format:
        counts = counted(len(model.tensors), "tensor"), counted(old or new, "parameter")
        return f"{form}: {', '.join(counts)}"
    kinds = Counter(t.change for t in model.tensors)
    total = len(model.tensors) - kinds["removed"] + model.unchanged
    changes = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "none changed"
    if model.notes:
        changes += " (not all was compared)"
    text = f"{form}: {changes} of {counted(total, 'tensor')}; {counted(new, 'parameter')}"
    if old != new:
        text += f" ({new - old:+,})"
    moved = [t.numbers.l2 for t in model.tensors if t.numbers]
    far = [l2 for l2 in moved if l2 is not None]
    return text + (f"; l2 up to {_short(max(far))}{_of_some(far, moved)}" if far else "")


def _of_some(told: Sized, among: Sized) -> str:
    """Say where a figure is not of all: from a tensor of zeros no distance is relative."""
    return "" if len(told) == len(among) else f" (of {len(told)} in {len(among)})"


def _tensors(tensors: Sequence[TensorChange], most: int | None) -> Iterator[Line]:
    groups = _grouped(tensors, lambda t: (_alike(t), *_pattern(t.name)[0]))
    depth = max((len(_pattern(t.name)[0]) for t in tensors), default=0)
    while most is not None and len(groups) > most and depth > 1:
        depth -= 1
        groups = _grouped(tensors, _up_to(depth))
    for some in groups[:most]:
        yield _TONES.get(some[0].change, "modified"), _group(some)
    if most is not None and len(groups) > most:
        yield "", f"and {counted(sum(map(len, groups[most:])), 'more tensor')}: --all"


def _up_to(depth: int) -> Callable[[TensorChange], tuple[object, ...]]:
    return lambda t: (t.change, _odd(t), *_pattern(t.name)[0][:depth])


def _grouped(
    tensors: Iterable[TensorChange], key: Callable[[TensorChange], object]
) -> list[list[TensorChange]]:
    groups: dict[object, list[TensorChange]] = defaultdict(list)
    for t in tensors:
        groups[key(t)].append(t)
    return list(groups.values())


def _alike(t: TensorChange) -> tuple[object, ...]:
    sides = ((x.dtype, x.shape) if x else None for x in (t.old, t.new))
    return t.change, *sides, _odd(t)


def _odd(t: TensorChange) -> bool:
    """Whether something is no finite number: that must not vanish in a group."""
    return t.numbers is not None and any((*t.numbers.nan, *t.numbers.inf))


def _pattern(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return a name's parts, with `*` for each number among them, and those numbers."""
    parts = re.split(r"[./]", name)
    numbers = tuple(int(p) for p in parts if _is_number(p))
    return tuple("*" if _is_number(p) else p for p in parts), numbers


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= 6  # noqa: PLR2004 - a block's number


def _group(some: Sequence[TensorChange]) -> str:
    first = some[0]
    sign = _SIGNS.get(first.change, " ")
    count = f"  {len(some)} x" if len(some) > 1 else " "
    return f"{sign} {shown(_name(some), _NAME)}{count} {_form(some)}{_far(some)}".rstrip()


def _name(some: Sequence[TensorChange]) -> str:
    """Return the name that stands for some tensors: `layers.{0-31}.weight`, `head.*`."""
    first = some[0]
    if len(some) == 1:
        source = first.old.name if first.change == "renamed" and first.old else ""
        return f"{source} -> {first.name}" if source else first.name
    patterns = [_pattern(t.name) for t in some]
    parts = patterns[0][0]
    same = 0
    while all(len(p) > same and p[same : same + 1] == parts[same : same + 1] for p, _ in patterns):
        same += 1
    separator = "/" if "/" in first.name and "." not in first.name else "."
    places = [i for i, part in enumerate(parts[:same]) if part == "*"]
    ranges = [_range({n[i] for _, n in patterns}) for i in range(len(places))]
    told = dict(zip(places, ranges, strict=True))
    named = [told.get(i, part) for i, part in enumerate(parts[:same])]
    whole = all(len(p) == same for p, _ in patterns)
    return separator.join(named if whole else [*named, "**"])


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    if low == high:
        return str(low)
    whole = len(numbers) == high - low + 1
    return f"{{{low}-{high}}}" if whole else f"{{{len(numbers)} of {low}-{high}}}"


def _form(some: Sequence[TensorChange]) -> str:
    forms = {_alike(t)[1:3] for t in some}
    if len(forms) > 1:
        sides = (t.new or t.old for t in some)
        return counted(sum(t.elements for t in sides if t is not None), "parameter")
    old, new = some[0].old, some[0].new
    shape = _both(*(x and list(x.shape) for x in (old, new)))
    dtype = _both(*(x and x.dtype for x in (old, new)))
    return f"{shape} {dtype}"


def _far(some: Sequence[TensorChange]) -> str:
    """Return how far some tensors moved, from the nearest to the farthest."""
    numbers = [t.numbers for t in some if t.numbers is not None]
    if not numbers:
        return ""
    told = []
    for name, pick in _COLUMNS.items():
        values = [v for n in numbers if (v := pick(n)) is not None]
        if values:
            told.append(f"{name} {_span(values)}{_of_some(values, numbers)}")
    changed = [n.changed for n in numbers]
    if min(changed) < 1:
        told.append(f"changed {_span(changed, '.3%')}")
    for word, pairs in (("NaN", [n.nan for n in numbers]), ("inf", [n.inf for n in numbers])):
        old, new = (sum(p[i] for p in pairs) for i in (0, 1))
        if old or new:
            told.append(f"{word} {old} -> {new}")
    return "  " + "  ".join(told)


_COLUMNS: dict[str, Callable[[Numbers], float | None]] = {
    "l2": lambda n: n.l2, "max": lambda n: n.max_abs, "cos": lambda n: n.cosine,
}  # fmt: skip


def _span(values: Sequence[float], form: str = ".4g") -> str:
    low, high = (f"{v:{form}}" for v in (min(values), max(values)))
    return low if low == high else f"{low}..{high}"


def _short(value: float) -> str:
    return f"{value:.4g}"

"""A pointer in words: what `git diff` and `git log -p` show in place of a hash (`textconv.py`).

One line a tensor, member or column, so that git's own comparison of lines says which have changed.
Bounded work: nothing is fetched, content over LARGE is not read, and what was found out once is
kept (`summaries.py`). What the words do not hold of a pointer file, stays as text above them.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from devml_git import pointers, yamltext
from devml_git.amounts import counted, human
from devml_git.errors import MEND, ContentLost, DevmlError
from devml_git.escaping import LINE
from devml_git.gate import shown
from devml_git.nouns import Content
from devml_git.summaries import Summaries, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from devml_git.cache import Cache
    from devml_git.nouns import Pointer
    from devml_git.plumbing import Git
    from devml_git.summaries import TensorSummary

LARGE = 128 << 20  # bytes of one content, packed or not, that are read: a second at most
MOST_TENSORS = 10_000  # half a second
SHOWN = 300  # tensors or members that have a line each; more are grouped
_OUTPUTS = 50  # of one dvc.lock
_NAME = 300  # characters
_DIGEST = 12  # digits
_DEPTH = 6  # of the prefixes that stand for many names
# Git does not say where in the tree the file lies: deep enough for `path: ../../x`
_SOMEWHERE = "x/" * 16
_LARGE_NOTE = "names and shapes only, it is large: devml-git diff compares the values"


class Known:
    """What is known of content, or can be found out at once, in the worktree around `place`.

    `common` is git's common directory. `whole` turns false once something that was asked for is
    not here, or too large: what is said of it now, may be another thing later.
    """

    def __init__(self, common: Path, place: Path) -> None:
        self.whole = True
        self._store = Summaries(common / "devml")
        self._place = place

    @cached_property
    def _caches(self) -> list[tuple[Git, Cache]]:
        """The caches of the worktree's projects: which one a pointer belongs to, git does not say.

        Opened only where something is to be read.
        """
        from devml_git.location import open_cache
        from devml_git.plumbing import Git

        found = []
        with contextlib.suppress(DevmlError):  # a bare repository has none
            for git in Git.discover(self._place).projects():
                with contextlib.suppress(DevmlError, OSError):
                    found.append((git, open_cache(git)))
        return found

    def of(self, pointer: Pointer) -> Summary:
        """Return what a pointer stands for. Raises DevmlError in words where that is not known."""
        oid = pointer.oid or ""
        found = self._store.get(oid, pointer.hash_name, pointer.path)
        if found is not None:
            return found
        for git, cache in self._caches:
            if cache.has(oid, pointer.hash_name):
                return self._read(git, cache, pointer, oid)
            if cache.quarantined(oid):
                raise ContentLost("content was corrupt and is set aside: devml-git fetch --all")
        raise ContentLost("content is not here: devml-git fetch")

    def _read(self, git: Git, cache: Cache, pointer: Pointer, oid: str) -> Summary:
        from devml_git.models import TooMany
        from devml_git.summarising import summarise

        name, kind = pointer.path, pointer.hash_name
        if pointer.is_dir:
            found = _of_directory(cache, oid, kind)
        else:
            place = cache.object_path(oid, kind)
            small = cache.size_of(oid, kind) <= LARGE
            if small and not _proven(git, cache, pointer):
                raise ContentLost(f"content is corrupt in the cache: {MEND}")
            try:
                found = summarise(place, name, most=LARGE if small else 0, tensors=MOST_TENSORS)
            except TooMany as e:
                raise ContentLost(f"more than {MOST_TENSORS:,} tensors: devml-git diff") from e
            found = replace(found, whole=found.whole and small)
        self._store.put(oid, kind, name, found)
        self.whole = self.whole and found.whole
        return found


def _proven(git: Git, cache: Cache, pointer: Pointer) -> bool:
    """Whether a file's object is what its pointer says: hashed lately, or now."""
    from devml_git.verified import Verified

    verified = Verified(git.shared)
    oid, kind = pointer.oid or "", pointer.hash_name
    place = {(oid, kind): cache.object_path(oid, kind)}
    if verified.whole(place) and cache.vouched(oid, pointer.sha256):
        return True
    if not cache.verify(oid, kind, claim=pointer.sha256):
        return False
    verified.remember(place)
    return True


# -- the words -----------------------------------------------------------------------------------


def describe(text: bytes, known: Known, *, is_lock: bool) -> bytes:
    """Return the text of a pointer file in words, or with words below it.

    A `.dvc` file as `dvc add` writes it says nothing but what the words say, too. Raises Refused
    for what is no pointer file; one with conflict markers, and one that takes long to read, is
    returned as it is.
    """
    if pointers.has_conflict_markers(text) or yamltext.is_slow(text.decode("utf-8", "replace")):
        return text
    file = _SOMEWHERE + ("dvc.lock" if is_lock else "x.dvc")
    found = [p for p in pointers.read(file, text, pointers.outputs_of(file, text, {})) if p.oid]
    words = [_in_words(p, known) for p in found[:_OUTPUTS]]
    if not words:
        return text
    alone = len(found) == 1 and text == _canonical(found[0])
    parts = [*([] if alone else [text.decode().rstrip("\n").split("\n")]), *words]
    return ("\n\n".join("\n".join(shown(line, LINE) for line in p) for p in parts) + "\n").encode()


def _canonical(pointer: Pointer) -> bytes:
    content = Content(pointer.oid or "", pointer.size or 0, pointer.nfiles, pointer.executable)
    content = replace(content, sha256=pointer.sha256)
    return pointers.new(_relative(pointer), content)


def _relative(pointer: Pointer) -> str:
    return os.path.relpath(pointer.path, _SOMEWHERE).replace(os.sep, "/")


def _in_words(pointer: Pointer, known: Known) -> list[str]:
    files = "" if pointer.nfiles is None else f", {counted(pointer.nfiles, 'file')}"
    size = "" if pointer.size is None else f", {counted(pointer.size, 'byte')}"
    second = "" if pointer.sha256 is None else f", sha256 {pointer.sha256}"
    first = f"{pointer.hash_name} {pointer.oid}{size}{files}{second}"
    lines = [shown(_relative(pointer), _NAME), first]
    lines += [
        f"executable {shown(name, _NAME)}".rstrip() for name in sorted(pointer.executable)[:SHOWN]
    ]
    try:
        summary = known.of(pointer)
    except DevmlError as e:
        known.whole = False
        return [*lines, e.message]
    return [*lines, *_summary_lines(summary)]


def _summary_lines(summary: Summary) -> Iterator[str]:
    if summary.is_model:
        numbers = sum(math.prod(t.shape) for t in summary.tensors)
        counts = counted(len(summary.tensors), "tensor"), counted(numbers, "number")
        yield f"{summary.format}: {', '.join(counts)}"
        if summary.tensors and not summary.tensors[0].digest:
            yield _LARGE_NOTE
    elif summary.format:
        yield summary.format
    yield from (f"  {line}" for line in summary.lines)
    tensors = summary.tensors
    for key, inside in grouped([t.name for t in tensors], "[./]").items():
        one = len(inside) == 1 and tensors[inside[0]].name == key
        members = [tensors[i] for i in inside]
        yield f"  {shown(key, _NAME)}  {_tensor(members[0]) if one else _group(members)}"


def _tensor(tensor: TensorSummary) -> str:
    words = [f"{tensor.dtype} {list(tensor.shape)}", tensor.digest[:_DIGEST]]
    if tensor.mean is not None:
        words.append(f"mean {tensor.mean:.5g}")
    if tensor.norm is not None:
        words.append(f"norm {tensor.norm:.5g}")
    return "  ".join(word for word in words if word)


def _group(tensors: Sequence[TensorSummary]) -> str:
    types = ", ".join(sorted({t.dtype for t in tensors})[:4])
    words = [f"{counted(len(tensors), 'tensor')}, {types}"]
    if tensors[0].digest:
        words.append(_digest(f"{t.name} {t.identity}" for t in tensors))
    if all(t.norm is not None for t in tensors):
        words.append(f"norm {math.sqrt(sum((t.norm or 0) ** 2 for t in tensors)):.5g}")
    return "  ".join(words)


def _of_directory(cache: Cache, oid: str, kind: str) -> Summary:
    """Return a directory's members as lines; it is whole if all that is shown of them is here."""
    from devml_git.cache import Corrupt

    try:
        members = cache.manifest(oid, kind)
    except Corrupt as e:
        raise ContentLost(f"its list of files is corrupt in the cache: {MEND}") from e
    names = sorted(members)
    lines, whole = [], True
    for key, inside in grouped(names, "/").items():
        if len(inside) == 1 and names[inside[0]] == key:
            here = cache.has(members[key], kind)
            size = human(cache.size_of(members[key], kind)) if here else "not here"
            whole = whole and here
            text = f"{members[key][:_DIGEST]}  {size}"
        else:
            rows = (f"{names[i]} {members[names[i]]}" for i in inside)
            text = f"{counted(len(inside), 'file')}  {_digest(rows)}"
        lines.append(f"{shown(key, _NAME)}  {text}")
    return Summary("", (), tuple(lines), whole=whole)


def _digest(rows: Iterable[str]) -> str:
    text = "\n".join(rows).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(text, digest_size=16).hexdigest()[:_DIGEST]


def grouped(names: Sequence[str], separator: str) -> dict[str, list[int]]:
    """Return names by what stands for them on one line: at most SHOWN lines.

    Each for itself where they are few, else by the longest prefix that leaves few enough
    (`encoder.layer.*`). `separator` is a pattern; the values are indices into `names`.
    """
    if len(names) <= SHOWN:
        return {name: [i] for i, name in enumerate(names)}
    cuts = [[m.end() for m in re.finditer(separator, name)] for name in names]
    for depth in range(_DEPTH, 0, -1):
        found: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            deeper = len(cuts[i]) >= depth
            found.setdefault(f"{name[: cuts[i][depth - 1]]}*" if deeper else name, []).append(i)
        if len(found) <= SHOWN:
            return found
    return {"*": list(range(len(names)))}

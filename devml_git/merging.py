"""The three-way merge of pointers: `.dvc` files by output and key, `dvc.lock` by stage.

What a text merge cannot do: a directory that both sides changed is merged member by member, and
two stages that ran on different branches lie side by side. What it would do wrongly: a stage
that ran on both sides with different inputs has not run on the two together, and no lock may
claim so.

Bytes in and bytes out. The cache, and what may be fetched, are behind `Objects`.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from devml_git import gate, pointers
from devml_git.errors import ContentLost, Refused
from devml_git.nouns import MD5

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from devml_git.nouns import Pointer

# The keys of an output that describe its content; `_Out.note` is the one inside of `meta`
_CONTENT = ("md5", "size", "nfiles", "isexec", "hash")
# What a stage was made of and what it made: changed by one side, or not merged
_STAGE_UNIT = ("cmd", "deps", "outs", "md5", "wdir")
_ABSENT: Any = object()
_SHOWN = 4


class Clash(Exception):
    """Both sides changed the same thing, differently. `places`: the artifacts or stages."""

    def __init__(self, why: str, places: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.why = why
        self.places = tuple(places)


class Objects(Protocol):
    """Where a merge finds manifests, and puts the one it makes."""

    def manifest(self, oid: str, remote: str | None) -> Mapping[str, str]:
        """Return a directory's members (name to oid). Raises ContentLost, Refused."""

    def size_of(self, oid: str) -> int | None:
        """Return an object's size in bytes, or None where it is not here."""

    def keep(self, members: Mapping[str, str]) -> str:
        """Store the manifest of a directory; return its oid."""

    def vouch(self, members: Mapping[str, str]) -> str | None:
        """Return the SHA-256 of a directory, None where that of some member is not known."""


def merge(file: str, base: bytes, ours: bytes, theirs: bytes, objects: Objects) -> bytes:
    """Return the merged text of a pointer file.

    Raises Clash for what both sides changed differently, Refused when one of the three is no
    pointer file (an empty one is: a file that was added has no base).
    """
    if file.rsplit("/", 1)[-1] == "dvc.lock":
        return merge_lock(file, base, ours, theirs, objects)
    sides = [_read_stage(file, text) for text in (base, ours, theirs)]
    data = _merge_stage(sides[0], sides[1], sides[2], objects)
    return _text_of(file, data, sides[1].data, sides[2].data, ours, theirs)


def same(file: str, one: bytes, other: bytes) -> bool:
    """Whether two texts of a pointer file say the same, comments and order aside."""
    try:
        return pointers.form(_load(file, one)) == pointers.form(_load(file, other))
    except Refused:
        return False


def _text_of(
    file: str,
    data: dict[str, Any],
    ours: dict[str, Any],
    theirs: dict[str, Any],
    text: bytes,
    other: bytes,
) -> bytes:
    if pointers.form(ours) == pointers.form(data):
        return text
    if pointers.form(theirs) == pointers.form(data) and b"#" not in text:
        return other
    return pointers.rewritten(file, text, data, other)


def _load(file: str, text: bytes) -> dict[str, Any]:
    if len(text) > gate.MAX_POINTER_BYTES:
        raise Refused(f"{gate.shown(file)}: larger than {gate.MAX_POINTER_BYTES} bytes")
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Refused(f"{gate.shown(file)}: not UTF-8") from e
    return pointers.data_of(file, text)


def _three_way(base: Any, ours: Any, theirs: Any, what: str) -> Any:  # noqa: ANN401
    """Return the side that changed; raise Clash when both did, differently."""
    b, o, t = (pointers.form(value) for value in (base, ours, theirs))
    if o in {t, b}:
        return theirs
    if t == b:
        return ours
    raise Clash(f"both sides changed {what}")


def _merge_keys(
    base: Mapping[str, Any], ours: Mapping[str, Any], theirs: Mapping[str, Any], place: str
) -> dict[str, Any]:
    """Merge mappings key by key; ours' order, then what is new in theirs."""
    merged = {}
    for key in [*ours, *(k for k in theirs if k not in ours)]:
        sides = [side.get(key, _ABSENT) for side in (base, ours, theirs)]
        what = f"'{gate.shown(key)}' of {gate.shown(place)}"
        value = _three_way(sides[0], sides[1], sides[2], what)
        if value is not _ABSENT:
            merged[key] = value
    return merged


# -- .dvc ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stage:
    """A `.dvc` file: its data, and the outputs that this tool manages, by their own path."""

    file: str
    data: dict[str, Any]
    managed: dict[str, Pointer]

    @property
    def outs(self) -> dict[str, dict[str, Any]]:
        return {out["path"]: out for out in self.data.get("outs") or ()}


def _read_stage(file: str, text: bytes) -> _Stage:
    data = _load(file, text)
    found = pointers.read(file, text)
    outs = data.get("outs", [] if not data else None)
    if not isinstance(outs, list) or any(not isinstance(o.get("path"), str) for o in outs):
        raise Refused(f"{gate.shown(file)}: not a pointer")
    cached = [out["path"] for out in outs if out.get("cache", True) is not False]
    managed = {path: p for path, p in zip(cached, found, strict=True) if p.why_left_alone is None}
    if len({out["path"] for out in outs}) != len(outs):
        raise Refused(f"{gate.shown(file)}: an output twice")
    return _Stage(file, data, managed)


def _merge_stage(base: _Stage, ours: _Stage, theirs: _Stage, objects: Objects) -> dict[str, Any]:
    sides = (base, ours, theirs)
    if _is_unit(sides):
        rest = [{k: v for k, v in s.data.items() if k not in _STAGE_UNIT} for s in sides]
        units = [{k: v for k, v in s.data.items() if k in _STAGE_UNIT} for s in sides]
        unit = _three_way(units[0], units[1], units[2], ours.file)
        merged = {**_merge_keys(rest[0], rest[1], rest[2], ours.file), **unit}
        order = [*ours.data, *theirs.data]
        return {key: merged[key] for key in dict.fromkeys(order) if key in merged}
    rest = [{k: v for k, v in s.data.items() if k != "outs"} for s in sides]
    merged = _merge_keys(rest[0], rest[1], rest[2], ours.file)
    outs = _merge_outs(base, ours, theirs, objects)
    order = [*ours.data, *theirs.data]
    merged["outs"] = outs
    return {key: merged[key] for key in dict.fromkeys(order) if key in merged}


def _is_unit(sides: Iterable[_Stage]) -> bool:
    """Whether outputs cannot be merged one by one: an import, a stage, or a moved directory."""
    full = [s.data for s in sides if s.data]
    return (
        any("deps" in d or "cmd" in d for d in full)
        or len({pointers.form(d.get("wdir")) for d in full}) > 1
    )


def _merge_outs(
    base: _Stage, ours: _Stage, theirs: _Stage, objects: Objects
) -> list[dict[str, Any]]:
    merged = []
    clashes = []
    for paths in _same_outs(base, ours, theirs):
        sides = zip((base, ours, theirs), paths, strict=True)
        three = [_Out(side.outs.get(path), side.managed.get(path)) for side, path in sides]
        try:
            out = _merge_out(three[0], three[1], three[2], _place(ours.file, paths[1]), objects)
        except Clash as e:
            clashes.append((paths[1], e.why))
            continue
        if out is not None:
            merged.append(out)
    if clashes:
        raise Clash("; ".join(why for _, why in clashes[:_SHOWN]), [p for p, _ in clashes])
    return merged


def _same_outs(base: _Stage, ours: _Stage, theirs: _Stage) -> list[list[str]]:
    """Return which outputs are to be merged with each other: base's, ours' and theirs' path.

    The only output of a file is the same one under any path: git sees the file renamed.
    """
    if len(ours.outs) == len(theirs.outs) == 1 and len(base.outs) <= 1:
        return [[next(iter(side.outs), "") for side in (base, ours, theirs)]]
    return [[path] * 3 for path in dict.fromkeys([*ours.outs, *theirs.outs])]


def _place(file: str, path: str) -> str:
    return posixpath.join(posixpath.dirname(file), path)


# -- one output ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Out:
    """One side of an output: its mapping (None: it has none), its pointer if it is managed."""

    data: dict[str, Any] | None
    pointer: Pointer | None

    @property
    def is_dir(self) -> bool:
        return self.pointer is not None and self.pointer.is_dir and self.pointer.hash_name == MD5

    def note(self) -> Any:  # noqa: ANN401
        """Return our note, whatever it says, and whatever content it was made for."""
        meta = (self.data or {}).get("meta")
        return meta.get("devml") if isinstance(meta, dict) else None

    def content(self) -> dict[str, Any]:
        """Return the keys that describe content."""
        found = {k: v for k, v in (self.data or {}).items() if k in _CONTENT}
        return {**found, "note": self.note()}

    def named(self) -> dict[str, Any]:
        """Return what tells contents apart: a SHA-256 that only one side has does not."""
        found = self.content()
        note = found["note"]
        if isinstance(note, dict):
            more = {k: v for k, v in note.items() if k not in {"md5", "sha256"}}
            found["note"] = {"md5": note.get("md5"), **more} if more else None
        return found

    def options(self) -> dict[str, Any]:
        """Return all other keys."""
        found = {k: v for k, v in (self.data or {}).items() if k not in _CONTENT}
        if self.note() is not None:
            found["meta"] = {k: v for k, v in found["meta"].items() if k != "devml"}
            if not found["meta"]:
                del found["meta"]
        return found


def _merge_out(
    base: _Out, ours: _Out, theirs: _Out, path: str, objects: Objects
) -> dict[str, Any] | None:
    """Merge one output; None where a side removed it."""
    name = gate.shown(path)
    if ours.data is None or theirs.data is None:
        return _one_sided(base, ours, theirs, name)
    if base.data is None and pointers.form(ours.options()) != pointers.form(theirs.options()):
        raise Clash(f"both sides added {name}, with different options")  # no base to tell by
    options = _merge_keys(base.options(), ours.options(), theirs.options(), path)
    if base.data is None:
        options = theirs.options()
    forms = [pointers.form(side.named()) for side in (base, ours, theirs)]
    if forms[1] == forms[2]:
        content = _vouching_side(ours, theirs, name).content()
    elif forms[1] == forms[0]:
        content = theirs.content()
    elif forms[2] == forms[0]:
        content = ours.content()
    else:
        content = _merge_content(base, ours, theirs, name, objects)
    return _joined(options, content, [*ours.data, *theirs.data])


def _vouching_side(ours: _Out, theirs: _Out, name: str) -> _Out:
    """Return the side that says more, where both name the same content: its SHA-256."""
    second = [pointers.note_of(side.data or {}).get("sha256") for side in (ours, theirs)]
    if None not in second and second[0] != second[1]:
        raise Clash(f"both sides changed {name}, and the MD5 of their contents is the same")
    return ours if second[1] is None else theirs


def _one_sided(base: _Out, ours: _Out, theirs: _Out, name: str) -> dict[str, Any] | None:
    try:
        sides = [_ABSENT if s.data is None else s.data for s in (base, ours, theirs)]
        left = _three_way(sides[0], sides[1], sides[2], name)
    except Clash as e:
        raise Clash(f"one side removed {name}, the other changed it") from e
    return None if left is _ABSENT else dict(left)


def _joined(
    options: dict[str, Any], content: Mapping[str, Any], order: Iterable[str]
) -> dict[str, Any]:
    note = content["note"]
    values = {**options, **{k: v for k, v in content.items() if k != "note"}}
    if note is not None:
        meta = options.get("meta")
        values["meta"] = {**(meta if isinstance(meta, dict) else {}), "devml": note}
    return {key: values[key] for key in dict.fromkeys([*order, *values]) if key in values}


def _merge_content(
    base: _Out, ours: _Out, theirs: _Out, name: str, objects: Objects
) -> dict[str, Any]:
    """Merge what both sides changed: directories member by member, nothing else."""
    if not (ours.is_dir and theirs.is_dir and (base.data is None or base.is_dir)):
        raise Clash(f"both sides changed {name}")
    sides = [_Directory.of(side, objects, name) for side in (base, ours, theirs)]
    members, clashes = merge_members(*(side.members for side in sides))
    if clashes:
        more = f" and {len(clashes) - _SHOWN} more" if len(clashes) > _SHOWN else ""
        shown = ", ".join(gate.shown(f"{name}/{c}") for c in clashes[:_SHOWN])
        raise Clash(f"both sides changed {shown}{more}")
    try:
        gate.manifest_paths(members, name)
    except Refused as e:
        raise Clash(f"merged, {e.message}") from e
    oid = next((s.oid for s in sides[1:] if s.members == members), None) or objects.keep(members)
    executable = merge_executable(*(side.executable for side in sides)) & members.keys()
    content: dict[str, Any] = {"md5": oid, "nfiles": len(members), "hash": "md5"}
    size = merged_size(sides[0], sides[1], sides[2], members, objects)
    if size is not None:
        content["size"] = size
    wanted = any(s.pointer is not None and s.pointer.sha256 for s in (ours, theirs))
    sha256 = objects.vouch(members) if wanted else None
    note = pointers.note(oid, sha256, executable)
    order = ("md5", "size", "nfiles", "hash")
    return {**{key: content[key] for key in order if key in content}, "note": note}


@dataclass(frozen=True, slots=True)
class _Directory:
    """One side of a directory: its members, and what its pointer says of them."""

    oid: str | None
    members: Mapping[str, str]
    size: int | None
    executable: frozenset[str] | None  # None: the pointer says nothing that counts

    @classmethod
    def of(cls, side: _Out, objects: Objects, name: str) -> _Directory:
        pointer = side.pointer
        if pointer is None or pointer.oid is None:
            return cls(None, {}, 0, frozenset())
        try:
            members = objects.manifest(pointer.oid, pointer.remote)
        except (ContentLost, Refused) as e:
            raise Clash(f"both sides changed {name}, and {e.message}") from e
        # by a plain `dvc add` since
        stale = side.note() is not None and not pointers.note_of(side.data or {})
        return cls(pointer.oid, members, pointer.size, None if stale else pointer.executable)


def merge_members(
    base: Mapping[str, str], ours: Mapping[str, str], theirs: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Merge manifests name by name; return the members, and the names that clash."""
    merged, clashes = {}, []
    for name in sorted({*base, *ours, *theirs}):
        b, o, t = base.get(name), ours.get(name), theirs.get(name)
        if b not in {o, t} and o != t:
            clashes.append(name)
            continue
        oid = t if o in {b, t} else o
        if oid is not None:
            merged[name] = oid
    return merged, clashes


def merge_executable(
    base: frozenset[str] | None, ours: frozenset[str] | None, theirs: frozenset[str] | None
) -> frozenset[str]:
    """Merge exec bits name by name: a bit has two states, so two sides never clash over one."""
    b = base or frozenset()
    o, t = (b if side is None else side for side in (ours, theirs))
    return (b & o & t) | (o - b) | (t - b)


def merged_size(
    base: _Directory,
    ours: _Directory,
    theirs: _Directory,
    members: Mapping[str, str],
    objects: Objects,
) -> int | None:
    """Return the merged directory's size in bytes, exact or not at all.

    A colleague's members may not be here yet; what the pointers say of the three sides then
    makes up for them.
    """

    def total(part: Mapping[str, str]) -> int | None:
        sizes = [objects.size_of(oid) for oid in part.values()]
        return None if None in sizes else sum(s for s in sizes if s is not None)

    def minus(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
        return {name: oid for name, oid in one.items() if other.get(name) != oid}

    for side in (_Directory(None, {}, 0, None), ours, theirs, base):
        more, less = total(minus(members, side.members)), total(minus(side.members, members))
        if side.size is not None and more is not None and less is not None:
            return side.size + more - less
    # what both sides changed alike would be counted twice
    alike = {n for n in {*base.members, *members}
             if ours.members.get(n) == theirs.members.get(n) != base.members.get(n)}  # fmt: skip
    more = total({n: oid for n, oid in members.items() if n in alike})
    less = total({n: oid for n, oid in base.members.items() if n in alike})
    if None in {base.size, ours.size, theirs.size, more, less}:
        return None
    sizes = (ours.size, theirs.size, less, -(base.size or 0), -(more or 0))
    return sum(n for n in sizes if n is not None)


# -- dvc.lock ------------------------------------------------------------------------------------


def merge_lock(
    file: str,
    base: bytes,
    ours: bytes,
    theirs: bytes,
    objects: Objects,
    *,
    favour: int | None = None,
) -> bytes:
    """Return the merged text of a `dvc.lock`; errors as in `merge`.

    `favour` settles clashes: 1 takes the stages of ours, 2 those of theirs.
    """
    sides = [_read_lock(file, text) for text in (base, ours, theirs)]
    tables: list[dict[str, Any]] = [side.get("stages") or {} for side in sides]
    rest = [{k: v for k, v in side.items() if k != "stages"} for side in sides]
    try:
        merged = _merge_keys(rest[0], rest[1], rest[2], file)
    except Clash:
        if favour is None:
            raise
        merged = rest[favour]
    stages, clashes = {}, []
    for name in dict.fromkeys([*tables[1], *tables[2]]):
        three = [table.get(name, _ABSENT) for table in tables]
        try:
            entry = _merge_entry(file, three, name, objects)
        except (Clash, Refused) as e:  # refused: to be settled, too; as text it might merge
            clashes.append((name, e.why if isinstance(e, Clash) else e.message))
            entry = _ABSENT if favour is None else three[favour]
        if entry is not _ABSENT:
            stages[name] = entry
    if clashes and favour is None:
        raise Clash("; ".join(why for _, why in clashes[:_SHOWN]), [n for n, _ in clashes])
    order = [*sides[1], *sides[2]]
    merged = {**merged, "stages": stages}
    data = {key: merged[key] for key in dict.fromkeys(order) if key in merged}
    return _text_of(file, data, sides[1], sides[2], ours, theirs)


def _read_lock(file: str, text: bytes) -> dict[str, Any]:
    data = _load(file, text)
    stages = data.get("stages") or {}
    whole = not data or str(data.get("schema")) == "2.0"
    if not whole or not isinstance(stages, dict):
        raise Refused(f"{gate.shown(file)}: of another version of DVC")
    for entry in stages.values():
        outs = entry.get("outs", []) if isinstance(entry, dict) else None
        if not isinstance(outs, list) or any(
            not isinstance(o, dict) or not isinstance(o.get("path"), str) for o in outs
        ):
            raise Refused(f"{gate.shown(file)}: not as DVC writes it")
    return data


def _merge_entry(file: str, sides: Sequence[Any], name: str, objects: Objects) -> Any:  # noqa: ANN401
    """Merge what a lock says of one stage."""
    base, ours, theirs = sides
    shown = f"stage {gate.shown(name)}"
    b, o, t = (pointers.form(side) for side in sides)
    if o in {t, b}:
        return theirs
    if t == b:
        return ours
    if ours is _ABSENT or theirs is _ABSENT:
        raise Clash(f"one side removed {shown}, the other ran it")
    inputs = [{k: v for k, v in side.items() if k != "outs"} for side in (ours, theirs)]
    if pointers.form(inputs[0]) != pointers.form(inputs[1]):
        raise Clash(f"{shown} ran on both sides, with different inputs: dvc repro")
    try:
        outs = _merge_lock_outs(file, ({} if base is _ABSENT else base, ours, theirs), objects)
    except Clash as e:
        raise Clash(f"{e.why} ({shown} ran on both sides, with the same inputs)") from e
    return {**inputs[0], "outs": outs} if outs else inputs[0]


def _merge_lock_outs(
    file: str, sides: Iterable[Mapping[str, Any]], objects: Objects
) -> list[dict[str, Any]]:
    by_path = [{out["path"]: out for out in side.get("outs", ())} for side in sides]
    merged = []
    for path in dict.fromkeys([*by_path[1], *by_path[2]]):
        found = [side.get(path) for side in by_path]
        three = [_Out(out, pointers.read_out(file, out) if out else None) for out in found]
        out = _merge_out(three[0], three[1], three[2], _place(file, path), objects)
        if out is not None:
            merged.append(out)
    return sorted(merged, key=lambda out: str(out["path"]))  # as DVC sorts them


def stages_with(
    file: str, texts: Iterable[bytes], path: str, outputs: pointers.Outputs
) -> set[str]:
    """Return the stages that some of these locks say made the artifact `path`. Raises Refused.

    `outputs` is what the pipelines say today.
    """
    found = set()
    for text in texts:
        _read_lock(file, text)
        known = pointers.outputs_of(file, text, outputs)[file]
        found |= {stage for (stage, _), out in known.items() if out.path == path}
    return found

"""Read and write pointers: `.dvc` files and the outputs in `dvc.lock`, as DVC writes them.

Formats: DVC 3.67 `dvc/output.py` (`Output.dumpd`), `dvc/stage/serialize.py` and
`dvc/utils/serialize/_yaml.py`. The canonical text of `dvc add` is read and written here without
a YAML library; everything else goes through ruamel's round trip, as in DVC, so that comments,
key order and foreign fields stay.

What DVC's format cannot hold is kept in the output's free-form `meta:`, bound to the hash it was
made with: the SHA-256 (`fingerprints.py`; none with `integrity = "md5"`), and the exec bits of
files inside a directory, where there are any. Without both it is what `dvc add` would write.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from devml_git import gate, yamltext
from devml_git.bounds import MAX_OUTS
from devml_git.errors import Refused
from devml_git.nouns import LEGACY, MD5, Broken, Content, Pointer, Snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


# A name that YAML takes for text as it stands. One that begins with a digit must have a letter that
# no number and no date has, or a slash
_NAME = r"(?:[A-Za-z_]|[0-9](?=[A-Za-z0-9_./-]*[g-np-su-wyG-NP-SU-WY/]))[A-Za-z0-9_./-]{0,71}"
_CANONICAL = re.compile(
    r"outs:\n- md5: (?P<oid>(?!\d+(?:e\d+)?\n)[0-9a-f]{32}(?:\.dir)?)\n  size: (?P<size>\d+)\n"
    r"(?:  nfiles: (?P<nfiles>\d+)\n)?(?:  isexec: (?P<isexec>true)\n)?"
    rf"  hash: md5\n  path: (?P<path>{_NAME})\n"
    r"(?:  meta:\n    devml:\n      md5: (?P<bound>(?!\d+(?:e\d+)?\n)[0-9a-f]{32}(?:\.dir)?)\n"
    r"      sha256: (?P<sha256>(?!\d+(?:e\d+)?\n)[0-9a-f]{64})\n)?\Z"
)
_PLAIN = re.compile(rf"{_NAME}\Z")
_NOT_PLAIN = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_NUMERIC_OID = re.compile(r"\d+(e\d+)?\Z")
_CONFLICT = re.compile(r"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)
_MARKER = re.compile(rb"(<{7}|\|{7}|={7}|>{7})( |\r?$)")
_SIDES = {b"<": "ours", b"|": "base", b"=": "theirs", b">": None}
_OUT_KEYS_LEFT_ALONE = {
    "version_id": "cloud-versioned",
    "cloud": "cloud-versioned",
    "files": "cloud-versioned",
    "etag": "external",
    "checksum": "external",
    "fs_config": "external",
}
# What DVC leaves out when it writes a `.dvc` file anew (`get_dump`, `Output.dumpd`)
_STAGE_DEFAULTS = {"wdir": ".", "frozen": False, "always_changed": False}
_OUT_DEFAULTS = {"cache": True, "persist": False, "push": True}
# Absolute, or with a scheme: not an output of this workspace
_EXTERNAL = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*://")


# -- reading -------------------------------------------------------------------------------------


def read(file: str, text: bytes, outputs: Outputs | None = None) -> list[Pointer]:
    """Return the pointers of one `.dvc` file or `dvc.lock`.

    `file` is the pointer file's path relative to the root, `outputs` what the pipelines say of
    theirs. Raises Refused for what is malformed or hostile.
    """
    if len(text) > gate.MAX_POINTER_BYTES:
        raise Refused(f"{gate.shown(file)}: larger than {gate.MAX_POINTER_BYTES} bytes")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Refused(f"{gate.shown(file)}: not UTF-8") from e
    if file.rsplit("/", 1)[-1] == "dvc.lock":
        return _read_lock(file, decoded, (outputs or {}).get(file, {}))
    found = _CANONICAL.match(decoded)
    if found and found["path"].lower() not in _NOT_PLAIN:
        return [_canonical_pointer(file, found)]
    return _read_stage_file(file, decoded)


def has_conflict_markers(text: bytes) -> bool:
    """Whether a merge left conflict markers in a pointer file."""
    return bool(_CONFLICT.search(text.decode("utf-8", "replace")))


def side_of(text: bytes, *, ours: bool) -> bytes:
    """Return one side of a text with conflict markers, of any of git's styles."""
    kept, side = [], None
    for line in text.splitlines(keepends=True):
        mark = _MARKER.match(line)
        if mark:
            side = _SIDES[mark[1][:1]]
        elif side in {None, "ours" if ours else "theirs"}:
            kept.append(line)
    return b"".join(kept)


def collect(files: Iterable[tuple[str, bytes]], outputs: Outputs | None = None) -> Snapshot:
    """Return the snapshot that these pointer files (path, content) make up.

    Files that cannot be read, and paths claimed twice or inside each other, become `broken`.
    """
    pointers: dict[str, Pointer] = {}
    broken: list[Broken] = []
    for file, text in files:
        if has_conflict_markers(text):
            broken.append(Broken(file, "has conflict markers in it", unmerged=True))
            continue
        try:
            found = read(file, text, outputs)
        except Refused as e:
            broken.append(Broken(file, f"is {e.message.removeprefix(f'{gate.shown(file)}: ')}"))
            continue
        for pointer in found:
            other = pointers.setdefault(pointer.path, pointer)
            if other is not pointer:
                why = f"points to '{pointer.path}', and so does {gate.shown(other.file)}"
                broken.append(Broken(file, why, overlaps=True))
    return Snapshot(pointers, (*broken, *_overlaps(pointers)))


def _overlaps(pointers: Mapping[str, Pointer]) -> list[Broken]:
    broken = []
    for path, pointer in pointers.items():
        cut = path.rfind("/")
        while cut > 0:
            if path[:cut] in pointers:
                why = f"points to '{path}', which lies inside the artifact '{path[:cut]}'"
                broken.append(Broken(pointer.file, why, overlaps=True))
                break
            cut = path.rfind("/", 0, cut)
    return broken


def _canonical_pointer(file: str, found: re.Match[str]) -> Pointer:
    nfiles = found["nfiles"]
    return Pointer(
        path=_join(file, None, found["path"]),
        file=file,
        oid=found["oid"],
        size=int(found["size"]),
        nfiles=int(nfiles) if nfiles else None,
        executable=frozenset({""}) if found["isexec"] else frozenset(),
        sha256=found["sha256"] if found["bound"] == found["oid"] else None,
    )


def _join(file: str, wdir: object, path: object) -> str:
    """Return an output's path relative to the root; it must not climb out of the pointer's dir."""
    if not isinstance(path, str):
        raise Refused(f"{gate.shown(file)}: an output without a path")
    parts = file.split("/")[:-1]
    steps = [] if wdir is None or wdir == "." else str(wdir).split("/")
    for part in (*steps, *path.split("/")):
        if part == ".." and parts:
            parts.pop()
        elif part == "..":
            raise Refused(f"{gate.shown(file)}: path '{gate.shown(path)}' leaves the workspace")
        elif part not in {".", ""}:
            parts.append(part)
    return gate.path("/".join(parts), file)


def _read_stage_file(file: str, text: str) -> list[Pointer]:
    data = yamltext.load_mapping(file, text)
    outs = data.get("outs")
    if outs is None:
        return []
    if not isinstance(outs, list):
        raise Refused(f"{gate.shown(file)}: outs is not a list")
    _few(file, len(outs))
    whole = _why_stage_left_alone(data)
    return [_pointer(file, out, data.get("wdir"), whole) for out in outs if _cached(file, out)]


def _few(file: str, outs: int) -> None:
    if outs > MAX_OUTS:
        raise Refused(f"{gate.shown(file)}: more than {MAX_OUTS} outputs")


def _why_stage_left_alone(data: Mapping[str, Any]) -> str | None:
    deps = data.get("deps")
    if deps and not data.get("cmd"):
        return "import"
    return "stage in a .dvc file" if data.get("cmd") else None


def _cached(file: str, out: object) -> bool:
    if not isinstance(out, dict):
        raise Refused(f"{gate.shown(file)}: an output that is not a mapping")
    return out.get("cache", True) is not False


def _pointer(
    file: str, out: dict[str, Any], wdir: object, why: str | None, stage: PipelineOut | None = None
) -> Pointer:
    path = out.get("path")
    if stage is None and isinstance(path, str) and _EXTERNAL.match(path):
        name = gate.path(file.removesuffix(".dvc"), file)
        return Pointer(path=name, file=file, oid=None, why_left_alone="external")
    why = why or next((w for key, w in _OUT_KEYS_LEFT_ALONE.items() if key in out), None)
    value = out.get("md5")
    oid = None if value is None or why else gate.oid(_text_of(value), file)
    note = note_of(out)
    return Pointer(
        path=gate.path(stage.path, file) if stage else _join(file, wdir, path),
        file=file,
        oid=oid,
        size=gate.size(out.get("size"), file),
        nfiles=gate.size(out.get("nfiles"), file),
        executable=_executable_of(file, out, note),
        hash_name=MD5 if "hash" in out else LEGACY,
        stage=stage.addressing if stage else None,
        entry=(stage.stage, stage.written) if stage else None,
        remote=_text(out.get("remote")) or (stage.remote if stage else None),
        push=out.get("push", True) is not False and (stage is None or stage.push),
        why_left_alone=why,
        sha256=gate.sha256(note.get("sha256"), file) if "hash" in out else None,
    )


def _text_of(value: object) -> object:
    return str(value) if isinstance(value, str) else value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def note_of(out: Mapping[str, Any]) -> dict[str, Any]:
    """Return our note on an output, if it was made for the content that the output names.

    A plain `dvc add` since then leaves it behind: it says nothing of what is there now.
    """
    meta = out.get("meta")
    ours = meta.get("devml") if isinstance(meta, dict) else None
    return ours if isinstance(ours, dict) and ours.get("md5") == out.get("md5") else {}


def _executable_of(file: str, out: Mapping[str, Any], note: Mapping[str, Any]) -> frozenset[str]:
    if out.get("isexec") is True:
        return frozenset({""})
    names = note.get("executable")
    if not isinstance(names, list):
        return frozenset()
    return frozenset(gate.path(name, file) for name in names)


# -- pipelines -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PipelineOut:
    """What `dvc.yaml` says of one output of a stage.

    `written` is its path as `dvc.yaml` and `dvc.lock` give it, relative to the stage's `wdir`;
    `path` is relative to the root. `addressing` is what DVC calls the stage (`sub/dvc.yaml:train`).
    """

    stage: str
    written: str
    path: str
    addressing: str
    cached: bool = True
    push: bool = True
    remote: str | None = None


# By `dvc.lock`: what its `dvc.yaml` says of outputs, by stage and path as written
Outputs = dict[str, dict[tuple[str, str], PipelineOut]]


def _read_lock(file: str, text: str, known: Mapping[tuple[str, str], PipelineOut]) -> list[Pointer]:
    """Return the pointers of a `dvc.lock`: outputs that its `dvc.yaml` has, and DVC caches.

    What DVC leaves behind there of stages that are gone is none. Raises Refused.
    """
    found = []
    for stage, out in _locked(file, yamltext.load_mapping(file, text)):
        said = known.get((stage, str(out.get("path"))))
        if said is not None and said.cached:
            found.append(_pointer(file, out, None, None, said))
    return found


def _locked(file: str, data: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the outputs of all stages of a `dvc.lock`, with their stages. Raises Refused."""
    table = data.get("stages") or {}
    if not isinstance(table, dict):
        raise Refused(f"{gate.shown(file)}: stages is not a mapping")
    lists = {n: e.get("outs") for n, e in table.items() if isinstance(e, dict)}
    outs = [(str(n), out) for n, some in lists.items() if isinstance(some, list) for out in some]
    _few(file, len(outs))
    if any(not isinstance(out, dict) for _, out in outs):
        raise Refused(f"{gate.shown(file)}: an output that is not a mapping")
    return outs


def read_out(file: str, out: dict[str, Any]) -> Pointer:
    """Return the pointer that one output of a `dvc.lock` is, whatever its stage. Raises Refused.

    Where it lies is not known here, since `wdir` is not: its path is but a name.
    """
    written = str(out.get("path"))
    name = "/".join(part for part in written.split("/") if part not in {"", ".", ".."})
    return _pointer(file, out, None, None, PipelineOut("", written, name, addressing=""))


def every_output(file: str, text: bytes) -> dict[tuple[str, str], PipelineOut]:
    """Return what stands for the word of a `dvc.yaml` that cannot be had: all that is locked.

    Paths are taken to be relative to the `dvc.lock`; those that would lie outside of the workspace
    are left out. Raises Refused.
    """
    found = {}
    for stage, out in _locked(file, load_mapping(file, text)):
        written = out.get("path")
        with contextlib.suppress(Refused):
            if isinstance(written, str) and not _EXTERNAL.match(written):
                path = _join(file, None, written)
                found[stage, written] = PipelineOut(stage, written, path, addressing=stage)
    return found


def outputs_of(file: str, text: bytes, today: Outputs) -> Outputs:
    """Return what is likely of the outputs of an older `dvc.lock` whose `dvc.yaml` is not asked.

    What the pipelines say today, and of what they do not know all that is locked. Raises Refused.
    """
    if file.rsplit("/", 1)[-1] != "dvc.lock":
        return {}
    return {file: every_output(file, text) | today.get(file, {})}


# -- writing -------------------------------------------------------------------------------------


def new(name: str, content: Content) -> bytes:
    """Return the text of a new `.dvc` file for `name`: what `dvc add` writes, and our note.

    `name` is the output's path as the pointer gives it: relative to the pointer's directory.
    """
    simple = content.nfiles is None or not content.executable
    if (
        simple
        and _PLAIN.match(name)
        and name.lower() not in _NOT_PLAIN
        and (_plain_oid(content.oid, content.sha256))
    ):
        return _canonical_text(name, content)
    out: dict[str, Any] = {}
    _set_hash(out, content)
    out["hash"] = MD5
    out["path"] = name
    _set_meta(out, content)
    return yamltext.dump({"outs": [out]})


def _plain_oid(*hashes: str | None) -> bool:
    return not any(_NUMERIC_OID.match(digits) for digits in hashes if digits is not None)


def _canonical_text(name: str, content: Content) -> bytes:
    nfiles = "" if content.nfiles is None else f"  nfiles: {content.nfiles}\n"
    isexec = "  isexec: true\n" if content.nfiles is None and content.executable else ""
    meta = f"  meta:\n    devml:\n      md5: {content.oid}\n      sha256: {content.sha256}\n"
    meta = "" if content.sha256 is None else meta
    return (
        f"outs:\n- md5: {content.oid}\n  size: {content.size}\n{nfiles}{isexec}"
        f"  hash: md5\n  path: {name}\n{meta}"
    ).encode()


def updated(text: bytes, pointer: Pointer, content: Content) -> bytes:
    """Return the text of a pointer's file with its output brought up to date.

    Comments, key order and foreign fields stay; keys that are new go last, as DVC puts them. In
    a `dvc.lock` only the output's own entry changes. Raises Refused when the file has no such
    output.
    """
    file = pointer.file
    if file.rsplit("/", 1)[-1] != "dvc.lock":
        direct = _updated_canonical(text, content)
        if direct is not None:
            return direct
    yaml = yamltext.parser("rt")
    data = yaml.load(text.decode("utf-8").replace("\r\n", "\n"))
    out = _find_out(data, pointer)
    _set_hash(out, content)
    if "hash" not in out:
        out["hash"] = MD5
    if file.rsplit("/", 1)[-1] != "dvc.lock":
        _set_meta(out, content)
        _drop_defaults(data, _STAGE_DEFAULTS)
        _drop_defaults(out, _OUT_DEFAULTS)
    return yamltext.dump(data)


def renamed(text: bytes, pointer: Pointer, name: str) -> bytes:
    """Return a `.dvc` file's text with a pointer's `path:` changed to `name`; the rest stays."""
    yaml = yamltext.parser("rt")
    data = yaml.load(text.decode("utf-8").replace("\r\n", "\n"))
    _find_out(data, pointer)["path"] = name
    return yamltext.dump(data)


def without(text: bytes, pointer: Pointer) -> bytes | None:
    """Return a `.dvc` file's text without a pointer's output; None where it has no other."""
    yaml = yamltext.parser("rt")
    data = yaml.load(text.decode("utf-8").replace("\r\n", "\n"))
    out = _find_out(data, pointer)
    del data["outs"][next(n for n, other in enumerate(data["outs"]) if other is out)]
    return yamltext.dump(data) if data["outs"] else None


def _drop_defaults(table: dict[str, Any], defaults: Mapping[str, object]) -> None:
    for key, default in defaults.items():
        if key in table and table[key] == default:
            del table[key]


def _updated_canonical(text: bytes, content: Content) -> bytes | None:
    found = _CANONICAL.match(text.decode("utf-8", "replace"))
    plain = _plain_oid(content.oid, content.sha256)
    if not found or not plain or found["path"].lower() in _NOT_PLAIN:
        return None
    was_dir, is_dir = found["nfiles"] is not None, content.nfiles is not None
    was_exec = found["isexec"] is not None
    if was_dir != is_dir or was_exec != bool(content.executable):
        return None
    return _canonical_text(found["path"], content)


def _find_out(data: Any, pointer: Pointer) -> dict[str, Any]:  # noqa: ANN401
    file = pointer.file
    if pointer.entry is not None:
        stage, written = pointer.entry
        entry = (data.get("stages") or {}).get(stage)
        for out in (entry.get("outs") if isinstance(entry, dict) else None) or ():
            if out.get("path") == written:
                return cast("dict[str, Any]", out)
    else:
        for out in data.get("outs") or ():
            path = out.get("path")
            external = isinstance(path, str) and _EXTERNAL.match(path)
            if not external and _join(file, data.get("wdir"), path) == pointer.path:
                return cast("dict[str, Any]", out)
    raise Refused(f"{gate.shown(file)}: has no output '{gate.shown(pointer.path)}'")


def _set_hash(out: dict[str, Any], content: Content) -> None:
    """Set the keys that depend on content, in DVC's order where they are new."""
    values: dict[str, Any] = {"md5": content.oid, "size": content.size}
    if content.nfiles is not None:
        values["nfiles"] = content.nfiles
    elif content.executable:
        values["isexec"] = True
    for key in ("nfiles", "isexec"):
        if key not in values:
            out.pop(key, None)
    for key, value in values.items():
        if key not in out or out[key] != value:
            out[key] = value


def note(oid: str, sha256: str | None, executable: Collection[str]) -> dict[str, Any] | None:
    """Return what our note says of content; None where it has nothing to say.

    `executable`: the members of a directory that have an exec bit.
    """
    said: dict[str, Any] = {"sha256": sha256} if sha256 is not None else {}
    if executable:
        said["executable"] = sorted(executable)
    return {"md5": oid, **said} if said else None


def _set_meta(out: dict[str, Any], content: Content) -> None:
    meta = out.get("meta")
    members = content.executable if content.nfiles is not None else ()
    ours = note(content.oid, content.sha256, members)
    if ours is not None:
        meta = meta if isinstance(meta, dict) else {}
        meta["devml"] = ours
        out["meta"] = meta
    elif isinstance(meta, dict) and "devml" in meta:
        del meta["devml"]
        if not meta:
            del out["meta"]


def data_of(file: str, text: bytes) -> dict[str, Any]:
    """Return what a pointer file says, as plain data. Raises Refused.

    The text of `dvc add` is read without a YAML library, which takes a tenth of a second to load.
    """
    found = _CANONICAL.match(text.decode("utf-8", "replace"))
    if not found or found["path"].lower() in _NOT_PLAIN:
        return load_mapping(file, text)
    out: dict[str, Any] = {"md5": found["oid"], "size": int(found["size"])}
    out |= {"nfiles": int(found["nfiles"])} if found["nfiles"] else {}
    out |= {"isexec": True} if found["isexec"] else {}
    out |= {"hash": MD5, "path": found["path"]}
    ours = {"md5": found["bound"], "sha256": found["sha256"]}
    out |= {"meta": {"devml": ours}} if found["bound"] else {}
    return {"outs": [out]}


def _as_canonical(data: Mapping[str, Any]) -> bytes | None:
    """Return the text of `dvc add` for data that has no more in it, in that order."""
    outs = data.get("outs")
    if list(data) != ["outs"] or not isinstance(outs, list) or len(outs) != 1:
        return None
    out = {k: v for k, v in outs[0].items() if k != "meta"}
    words = ["true" if value is True else f"{value}" for value in out.values()]
    lines = "\n  ".join(f"{k}: {v}" for k, v in zip(out, words, strict=True))
    text = f"outs:\n- {lines}\n"
    if "meta" in outs[0]:
        meta = outs[0]["meta"]
        ours = meta.get("devml") if isinstance(meta, dict) and list(meta) == ["devml"] else None
        if list(outs[0])[-1] != "meta" or not isinstance(ours, dict):
            return None
        text += "  meta:\n    devml:\n" + "".join(f"      {k}: {v}\n" for k, v in ours.items())
    found = _CANONICAL.match(text)
    return text.encode() if found and found["path"].lower() not in _NOT_PLAIN else None


def rewritten(file: str, text: bytes, data: Mapping[str, Any], other: bytes) -> bytes:
    """Return a pointer file's text with the data a merge made of it and of `other`.

    Comments and key order of `text` stay, new keys go last; the stages of a `dvc.lock` that
    differ are replaced whole, as DVC does, by the text of `other` where that has them so.
    """
    if _CANONICAL.match(text.decode("utf-8", "replace")) and (direct := _as_canonical(data)):
        return direct
    plain = load_mapping(file, text)
    if not plain:
        return yamltext.dump(data)
    tree = _round_trip(text)
    stages, before = data.get("stages"), plain.get("stages")
    if isinstance(stages, dict) and isinstance(before, dict):
        _replace_stages(file, tree["stages"], before, stages, other)
        data = {**data, "stages": before}
    _change_mapping(tree, plain, data)
    return yamltext.dump(tree)


def _replace_stages(
    file: str,
    tree: dict[str, Any],
    plain: Mapping[str, Any],
    stages: Mapping[str, Any],
    other: bytes,
) -> None:
    theirs = load_mapping(file, other).get("stages") or {}
    texts = _round_trip(other).get("stages") or {}
    for name in [n for n in plain if n not in stages]:
        del tree[name]
    for name, entry in stages.items():
        if name not in plain or form(plain[name]) != form(entry):
            as_theirs = name in theirs and form(theirs[name]) == form(entry)
            tree[name] = texts[name] if as_theirs else entry


def _round_trip(text: bytes) -> dict[str, Any]:
    loaded = yamltext.parser("rt").load(text.decode("utf-8").replace("\r\n", "\n"))
    return cast("dict[str, Any]", loaded or {})


def form(value: object) -> object:
    """Return what two values from YAML have in common only if they are the same.

    Order of keys aside; Python would call 1, 1.0 and true equal.
    """
    if isinstance(value, dict):
        return frozenset((repr(key), form(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return tuple(form(inner) for inner in value)
    return repr(value)


def _change_mapping(
    tree: dict[str, Any], plain: Mapping[str, Any], data: Mapping[str, Any]
) -> None:
    """Change a mapping of the round trip, which says `plain`, so that it says `data`."""
    for key in [k for k in plain if k not in data]:
        del tree[key]
    for key, value in data.items():
        old = plain.get(key)
        if key in plain and form(old) == form(value):
            continue
        if isinstance(old, dict) and isinstance(value, dict):
            _change_mapping(tree[key], old, value)
        elif key == "outs" and isinstance(old, list) and isinstance(value, list):
            _change_outs(tree[key], old, value)
        else:
            tree[key] = value


def _change_outs(tree: list[Any], plain: list[Any], data: list[Any]) -> None:
    """Change a list of outputs, whose order a merge keeps: those that are new come last."""
    wanted = {out["path"]: out for out in data}
    for i in reversed(range(len(plain))):
        out = wanted.pop(plain[i]["path"], None)
        if out is None:
            del tree[i]
        else:
            _change_mapping(tree[i], plain[i], out)
    tree.extend(out for out in data if out["path"] in wanted)


def load_mapping(file: str, text: bytes) -> dict[str, Any]:
    """Parse another YAML file of DVC's (`dvc.yaml`) under the same limits. Raises Refused."""
    return yamltext.load_mapping(file, text.decode("utf-8", "replace"))

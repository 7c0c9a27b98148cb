"""What the user decided: `devml.toml`, or `[tool.devml-git]` in `pyproject.toml`.

The table of product.md; unknown keys are an error that names the nearest known one.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from devml_git import gate, tomltext
from devml_git.bounds import MAX_PATTERN
from devml_git.errors import Refused, StorageFailed, UsageError
from devml_git.inside import read_inside
from devml_git.place import write_text_safely

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

OWN_FILE = "devml.toml"
PYPROJECT = "pyproject.toml"
TABLE = "devml-git"
_MOST_GLOBS = 200  # each is held against each file of each commit
DEFAULT_LARGE_FILE = 10_000_000
_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the git hooks may do."""

    pre_commit: str = "snapshot"
    restore: bool = True
    fetch: bool = True
    pre_push: str = "upload"


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one project. `large_file` is in bytes; `file` is where it was read.

    `metrics` and `params` are files or globs from the root, `**` across directories. `better` is by
    metric (a key, whole or its last part, or FILE:KEY; a glob) whether "higher" or "lower" is.
    """

    track: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("metrics.json",)
    params: tuple[str, ...] = ("params.yaml",)
    large_file: int = DEFAULT_LARGE_FILE
    integrity: str = "sha256"
    hooks: Hooks = field(default_factory=Hooks)
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    file: str | None = None
    better: Mapping[str, str] = field(default_factory=dict)

    def key_of(self, path: str) -> tuple[str, ...]:
        """Return the columns that tell a table's rows apart: of the first glob that fits, or ()."""
        fits = (key for glob, key in self.tables.items() if fnmatch.fnmatchcase(path, glob))
        return next(fits, ())


_CHOICES = {
    "hooks.pre-commit": ("snapshot", "check", "off"),
    "hooks.pre-push": ("upload", "check", "off"),
    "integrity": ("sha256", "md5"),
}


def config_file(root: Path) -> str:
    """Return the name of the file that holds, or would hold, the configuration."""
    return PYPROJECT if _table_in_pyproject(root) is not None else OWN_FILE


def load(root: Path) -> Config:
    """Read the configuration of the project at `root`; defaults where there is none.

    Raises UsageError for TOML that cannot be read, unknown keys and wrong values.
    """
    table = _table_in_pyproject(root)
    if table is not None:
        return _parse(table, PYPROJECT)
    text = _read(root, OWN_FILE)
    return Config() if text is None else _parse(_toml(OWN_FILE, text), OWN_FILE)


def _read(root: Path, name: str) -> str | None:
    """Return a file's text, None where there is none. A commit may make it a link to anywhere."""
    try:
        data = read_inside(root, name, limit=tomltext.MAX_BYTES)
        return None if data is None else data.decode("utf-8").replace("\r\n", "\n")
    except (Refused, StorageFailed) as e:
        raise UsageError(e.message, hint=f"put a file in the place of {name}") from e
    except UnicodeDecodeError as e:
        raise UsageError(f"{name} cannot be read: {e}") from e


def _toml(name: str, text: str) -> dict[str, Any]:
    try:
        return tomltext.loads(text, name)
    except ValueError as e:
        raise UsageError(f"{name} is not valid TOML: {e}", hint=f"mend {name}") from e


def _table_in_pyproject(root: Path) -> dict[str, Any] | None:
    text = _read(root, PYPROJECT)
    if text is None or TABLE not in text:
        return None
    tools = _toml(PYPROJECT, text).get("tool")
    table = tools.get(TABLE) if isinstance(tools, dict) else None
    if table is not None and not isinstance(table, dict):
        raise UsageError(f"{PYPROJECT}: tool.{TABLE} is not a table")
    return table


def _parse(table: Mapping[str, Any], name: str) -> Config:
    _known(table, [f.name for f in fields(Config) if f.name != "file"], name, "")
    hooks = table.get("hooks", {})
    if not isinstance(hooks, dict):
        raise UsageError(f"{name}: hooks is not a table")
    _known(hooks, [f.name for f in fields(Hooks)], name, "hooks.")
    return Config(
        track=_strings(table, "track", name),
        metrics=_globs(table, "metrics", name, Config().metrics),
        params=_globs(table, "params", name, Config().params),
        better=_better(table.get("better", {}), name),
        large_file=_bytes(table.get("large-file", DEFAULT_LARGE_FILE), name),
        integrity=_choice(table, "integrity", "sha256", name, ""),
        hooks=Hooks(
            pre_commit=_choice(hooks, "pre-commit", "snapshot", name, "hooks."),
            restore=_flag(hooks, "restore", name),
            fetch=_flag(hooks, "fetch", name),
            pre_push=_choice(hooks, "pre-push", "upload", name, "hooks."),
        ),
        tables=_keys(table, name),
        file=name,
    )


def _keys(table: Mapping[str, Any], file: str) -> dict[str, tuple[str, ...]]:
    """Return the key columns of tables by glob: `[tables]`, `"data/*.csv" = ["id"]`."""
    tables = table.get("tables", {})
    if not isinstance(tables, dict):
        raise UsageError(f"{file}: tables is not a table", hint='[tables]   "data/*.csv" = ["id"]')
    _few(tables, "tables", file)
    keys = {glob: _strings(tables, glob, file) for glob in tables}
    for glob, key in keys.items():
        if not all(key) or not key:
            raise UsageError(
                f"{file}: tables: '{gate.shown(glob)}' names no column", hint=f'"{glob}" = ["id"]'
            )
    return keys


def _known(table: Mapping[str, Any], names: list[str], file: str, prefix: str) -> None:
    known = [n.replace("_", "-") for n in names]
    for key in table:
        if key not in known:
            import difflib

            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise UsageError(
                f"{file}: unknown key '{gate.shown(prefix + key)}'",
                hint=f"did you mean {prefix}{near[0]!s}? known: {', '.join(known)}",
            )


def _strings(
    table: Mapping[str, Any], key: str, file: str, default: tuple[str, ...] = ()
) -> tuple[str, ...]:
    value = table.get(key, list(default))
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise UsageError(
            f"{file}: {gate.shown(key)} is not a list of strings",
            hint=f'{gate.shown(key)} = ["..."]',
        )
    for item in value:
        if "\n" in item or "\0" in item:
            raise UsageError(f"{file}: {gate.shown(key)}: '{gate.shown(item)}' is not one line")
    return tuple(value)


def _globs(
    table: Mapping[str, Any], key: str, file: str, default: tuple[str, ...]
) -> tuple[str, ...]:
    found = _strings(table, key, file, default)
    _few(found, key, file)
    return found


def _few(entries: Collection[str], key: str, file: str) -> None:
    if len(entries) > _MOST_GLOBS:
        raise UsageError(
            f"{file}: {key} has more than {_MOST_GLOBS} entries",
            hint="one glob (`*`, in a list of files `**`, too) means many",
        )
    if any(len(entry) > MAX_PATTERN for entry in entries):
        raise UsageError(f"{file}: {key} has an entry of more than {MAX_PATTERN} characters")


def _better(value: object, file: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise UsageError(f"{file}: better is not a table", hint='[better]   accuracy = "higher"')
    _few(value, "better", file)
    for metric, way in value.items():
        if way not in ("higher", "lower"):  # not a set: TOML may have put a list here
            raise UsageError(
                f"{file}: better.{gate.shown(metric)} is '{gate.shown(way)}'",
                hint="one of higher, lower",
            )
    return dict(value)


def _flag(table: Mapping[str, Any], key: str, file: str) -> bool:
    value = table.get(key, True)
    if not isinstance(value, bool):
        raise UsageError(f"{file}: hooks.{key} is not true or false")
    return value


def _choice(table: Mapping[str, Any], key: str, default: str, file: str, prefix: str) -> str:
    value = table.get(key, default)
    allowed = _CHOICES[prefix + key]
    if value not in allowed:
        raise UsageError(
            f"{file}: {prefix}{key} is '{gate.shown(value)}'", hint=f"one of {', '.join(allowed)}"
        )
    return str(value)


def _bytes(value: object, file: str) -> int:
    try:
        return parse_size(value)
    except ValueError as e:
        raise UsageError(
            f"{file}: large-file '{gate.shown(value)}' is not a size", hint='large-file = "10MB"'
        ) from e


def parse_size(value: object) -> int:
    """Return bytes of a size such as 4096, "10MB" (10**7) or "1 GiB". Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= gate.MAX_SIZE:
        return value
    text = value if isinstance(value, str) else ""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if not found or found[2].lower() not in _UNITS:
        raise ValueError(value)
    size = float(found[1]) * _UNITS[found[2].lower()]
    if size > gate.MAX_SIZE:
        raise ValueError(value)
    return int(size)


def change_track(root: Path, *, add: str | None = None, remove: str | None = None) -> str:
    """Add or remove one track rule, keeping the rest of the file; return the file's name."""
    import tomlkit

    name = config_file(root)
    text = _read(root, name)
    document = tomlkit.parse(text if text is not None else _NEW_FILE)
    table: Any = document["tool"][TABLE] if name == PYPROJECT else document
    rules = table.get("track")
    if rules is None:
        rules = tomlkit.array()
        table["track"] = rules
    if add is not None and add not in rules:
        rules.append(add)
    if remove is not None and remove in rules:
        rules.remove(remove)
    if len(rules) > 3:  # noqa: PLR2004 - one a line once the list is long
        rules.multiline(multiline=True)
    new = tomlkit.dumps(document)
    if new != text:
        write_text_safely(root, name, new.encode("utf-8"))
    return name


def create(root: Path) -> bool:
    """Write a first `devml.toml` unless there is a configuration; return whether it did."""
    if _table_in_pyproject(root) is not None or (root / OWN_FILE).exists():
        return False
    write_text_safely(root, OWN_FILE, _NEW_FILE.encode())
    return True


_NEW_FILE = """\
# devml-git: what is an artifact, and what the hooks do (devml-git --help)
track = []  # gitignore syntax; a trailing slash: the directory is one artifact
large-file = "10MB"  # a bigger file about to enter git itself stops the commit
"""

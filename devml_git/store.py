"""The only door to DVC: its configuration, its ignore rules, its pipelines, its remotes.

Content moves through `cache`; DVC's own add, checkout, status and gc are never called (hazards
H1 to H16). DVC is imported inside functions only: it takes a quarter of a second.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devml_git import gate, patterns, yamltext
from devml_git.bounds import MAX_CONFIG_BYTES, limited
from devml_git.errors import DvcFailed, NotARepository, Refused, UsageError
from devml_git.place import write_text_safely
from devml_git.pointers import PipelineOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence


OLDEST_DVC = (3, 67)
_LEVELS = ("system", "global", "repo", "local")
_DEFAULT_TYPES = ("reflink", "copy")


def require_dvc() -> str:
    """Return DVC's version. Raises DvcFailed when it is missing or older than what is tested."""
    import importlib.metadata

    need = ".".join(map(str, OLDEST_DVC))
    try:
        version = importlib.metadata.version("dvc")
    except importlib.metadata.PackageNotFoundError as e:
        raise DvcFailed("DVC is not installed", hint=f"pip install 'dvc>={need},<4'") from e
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_DVC:
        raise DvcFailed(f"DVC {version} is too old", hint=f"pip install 'dvc>={need},<4'")
    return version


# -- configuration -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What DVC's configuration says of the cache.

    `directory` is absolute, or None where nothing is configured (DVC then uses `.dvc/cache`);
    `tracked` says that it came from the `.dvc/config` in git, a stranger's word.
    """

    directory: Path | None
    types: tuple[str, ...]
    shared: bool
    tracked: bool


def _level_file(root: Path, level: str) -> Path:
    if level in {"system", "global"}:
        import platformdirs

        override = os.environ.get(f"DVC_{level.upper()}_CONFIG_DIR")
        finder = platformdirs.site_config_dir if level == "system" else platformdirs.user_config_dir
        return Path(override or finder("dvc", "iterative")) / "config"
    return root / ".dvc" / ("config" if level == "repo" else "config.local")


def _read_level(root: Path, level: str) -> dict[str, Any]:
    file = _level_file(root, level)
    try:
        text = file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as e:
        raise DvcFailed(f"{file.name} of DVC cannot be read: {e}", hint=f"mend {file}") from e
    return _parsed(text, file)


def _parsed(text: str, file: Path) -> dict[str, Any]:
    from configobj import ConfigObj, ConfigObjError

    if len(text) > MAX_CONFIG_BYTES:
        why = f"larger than {MAX_CONFIG_BYTES} bytes"
        raise DvcFailed(f"DVC's {file.name} is {why}", hint=f"mend {file}")
    try:
        with limited(f"DVC's {file.name}"):
            loaded = ConfigObj(text.splitlines(), interpolation=False, raise_errors=True)
    except ConfigObjError as e:
        raise DvcFailed(f"DVC's {file.name} is malformed: {e}", hint=f"mend {file}") from e
    return {str(k).lower(): v for k, v in loaded.dict().items()}


def is_project(root: Path) -> bool:
    """Whether DVC has been set up at `root`."""
    return (root / ".dvc").is_dir()


def require_project(root: Path) -> None:
    """Raise NotARepository when DVC is not set up at `root`."""
    if not is_project(root):
        raise NotARepository(
            "this repository has not been set up for devml-git", hint="devml-git init"
        )


def cache_settings(root: Path) -> CacheSettings:
    """Read where DVC's cache is and how it links, from all four levels of configuration."""
    directory, tracked = None, False
    types: tuple[str, ...] = _DEFAULT_TYPES
    shared = False
    for level in _LEVELS:
        section = _read_level(root, level).get("cache", {})
        if not isinstance(section, dict):
            raise DvcFailed(f"DVC's configuration ({level}): cache is not a section")
        if place := section.get("dir"):
            base = _level_file(root, level).parent
            directory = Path(os.path.abspath(base / os.path.expanduser(str(place))))
            tracked = level == "repo"
        if kinds := section.get("type"):
            names = kinds if isinstance(kinds, list) else str(kinds).split(",")
            types = _known_types([str(k).strip() for k in names])
        shared = section.get("shared") == "group" if "shared" in section else shared
    return CacheSettings(directory, types, shared, tracked)


def _known_types(names: Sequence[str]) -> tuple[str, ...]:
    allowed = ("reflink", "hardlink", "symlink", "copy")
    for name in names:
        if name not in allowed:
            raise DvcFailed(
                f"cache.type {gate.shown(name)!r} is unknown",
                hint=f"dvc config cache.type {','.join(_DEFAULT_TYPES)}",
            )
    return tuple(names)


def set_cache_dir(root: Path, directory: str) -> None:
    """Point plain DVC to the cache, in `.dvc/config.local`; other settings there stay.

    `directory` is absolute, or relative to `.dvc`. Writes nothing when it says so already.
    """
    from configobj import ConfigObj

    current = _read_level(root, "local")
    if current.get("cache", {}).get("dir") == directory:
        return
    file = _level_file(root, "local")
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    config = ConfigObj(lines, interpolation=False)
    config.setdefault("cache", {})["dir"] = directory
    text = "\n".join(config.write()) + "\n"
    write_text_safely(root, ".dvc/config.local", text.encode("utf-8"))


def private_remotes(root: Path) -> dict[str, dict[str, str]]:
    """Return the remotes of `.dvc/config.local`, their addresses good from anywhere."""
    found = remotes_of(root, "local")
    for options in found.values():
        if "url" in options:
            options["url"] = _absolute_url(root, "local", options["url"])
    return found


def private_default(root: Path) -> str | None:
    """Return which remote `.dvc/config.local` says is the default one."""
    section = _read_level(root, "local").get("core", {})
    return section.get("remote") if isinstance(section, dict) else None


def add_private(
    root: Path, remotes: Mapping[str, Mapping[str, str]], default: str | None, *, mode: int
) -> None:
    """Add remotes, and which one is the default (if any), to `.dvc/config.local`.

    What is there stays. `mode` is the file's, if it is a new one.
    """
    from configobj import ConfigObj

    file = _level_file(root, "local")
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    config = ConfigObj(lines, interpolation=False)
    for name, options in remotes.items():
        config.setdefault(f'remote "{name}"', {}).update(options)
    if default is not None:
        config.setdefault("core", {}).setdefault("remote", default)
    text = "\n".join(config.write()) + "\n"
    if not file.exists():
        write_text_safely(root, ".dvc/config.local", b"")
    file.chmod(file.stat().st_mode & mode)  # it may hold passwords now
    write_text_safely(root, ".dvc/config.local", text.encode("utf-8"))


def set_up(root: Path, *, subdir: bool = False) -> list[str]:
    """`dvc init`, in process; return the files it made, relative to the root (not staged).

    `subdir`: the root is a directory below the worktree's. Raises DvcFailed.
    """
    made = [".dvc/config", ".dvc/.gitignore", ".dvcignore"]
    fresh = [name for name in made if not (root / name).exists()]
    with _translated("dvc init"):
        from dvc.repo import Repo

        Repo.init(str(root), subdir=subdir).close()
    return fresh


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Translate whatever DVC raises; keep its output and its telemetry quiet."""
    import logging

    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except (DvcFailed, Refused):
        raise
    except Exception as e:
        text = str(e).strip().splitlines()
        reason = text[0] if text else type(e).__name__
        raise DvcFailed(f"{what}: {gate.shown(reason, 300)}", hint="dvc doctor") from e


@contextlib.contextmanager
def _repo(root: Path, private: Path) -> Iterator[Any]:
    """Open DVC's Repo, its machine-wide state in a directory of our own.

    The default, /var/tmp/dvc, is writable by everybody and holds pickles (CVE-2025-69872).
    """
    from dvc.repo import Repo

    before = os.environ.get("DVC_SITE_CACHE_DIR")
    os.environ["DVC_SITE_CACHE_DIR"] = str(private / "dvc-site")
    try:
        repo = Repo(str(root))
        try:
            yield repo
        finally:
            repo.close()
    finally:
        if before is None:
            os.environ.pop("DVC_SITE_CACHE_DIR", None)
        else:
            os.environ["DVC_SITE_CACHE_DIR"] = before


# -- .dvcignore ----------------------------------------------------------------------------------


def ignore_filter(root: Path, files: Sequence[str]) -> Any:  # noqa: ANN401 - DVC's own type
    """Return DVC's filter (directory, dirs, files) -> (dirs, files), or None for no patterns.

    `files` are the `.dvcignore` files of the workspace. DVC is imported only when one of them
    has a pattern in it.
    """
    if not any(_has_patterns(root / file) for file in files):
        return None
    with _translated(".dvcignore"):
        from dvc.fs import LocalFileSystem
        from dvc.ignore import DvcIgnoreFilter

        _bound_patterns()
        return DvcIgnoreFilter(LocalFileSystem(), str(root))


def _bound_patterns() -> None:
    """Have DVC match hard patterns of `.dvcignore` files in linear time (DVC 3.67 `ignore.py`)."""
    import dvc.ignore

    dvc.ignore.GitIgnoreSpecPattern = patterns.factory()


def _has_patterns(file: Path) -> bool:
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    return any(line.strip() and not line.strip().startswith("#") for line in lines)


# -- pipelines -----------------------------------------------------------------------------------


@contextlib.contextmanager
def asking_of_pipelines(
    root: Path, private: Path
) -> Iterator[Callable[[str], dict[str, PipelineOut]]]:
    """Open DVC to ask what a `dvc.yaml` (relative to the root) says of its outputs, by path.

    It may take any time and memory: `asking.py` does it in a process of its own. Asked of one that
    DVC ignores, it says nothing. The question raises DvcFailed.
    """
    _bound_patterns()
    _quick_yaml()
    with _repo(root, private) as repo:
        yield lambda file: _outs_in(repo, root, file)


def _outs_in(repo: Any, root: Path, file: str) -> dict[str, PipelineOut]:  # noqa: ANN401
    from dvc.dvcfile import FileIsGitIgnored
    from dvc.repo.index import Index
    from dvc.stage.exceptions import StageFileDoesNotExistError

    found = {}
    with _translated("reading it with DVC"):
        try:
            index = Index.from_file(repo, str(root / file))
        except (StageFileDoesNotExistError, FileIsGitIgnored):
            return {}
        for out in index.outs:
            name = getattr(out.stage, "name", None)
            if name is None or not out.is_in_repo:
                continue
            path = os.path.relpath(out.fs_path, root).replace(os.sep, "/")
            found[path] = PipelineOut(
                stage=str(out.stage.addressing),
                cached=bool(out.use_cache),
                push=bool(out.can_push),
                remote=out.remote,
            )
    return found


def _quick_yaml() -> None:
    """Have DVC (3.67, `utils/serialize/_yaml.py`) read YAML by our door: within bounds, and quick.

    Only where nothing is written: comments do not come along.
    """
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    def parse(text: str, path: str, typ: str = "safe") -> Any:  # noqa: ANN401
        if typ != "safe":
            return ruamels(text, path, typ)
        return yamltext.load_with_aliases(os.path.relpath(path), text) or {}

    ruamels = _yaml.parse_yaml
    _yaml.parse_yaml = strictyaml.parse_yaml = parse


def busy_paths(root: Path) -> set[str]:
    """Return paths (relative to the root) that a running DVC command is writing.

    DVC's `.dvc/tmp/rwlock` names its writers (DVC 3.67 `dvc/rwlock.py`); dead ones are left out,
    also where another process has their number now.
    """
    place = root / ".dvc" / "tmp" / "rwlock"
    try:
        written = place.stat().st_mtime
        table = json.loads(place.read_bytes())
        writers = dict(table.get("write", {}))
    except (OSError, ValueError, AttributeError, TypeError):
        return set()
    busy = set()
    for path, entry in writers.items():
        pid = entry.get("pid") if isinstance(entry, dict) else None
        if isinstance(pid, int) and pid > 0 and _alive(pid, written):
            busy.add(os.path.relpath(path, root).replace(os.sep, "/"))
    return busy


def is_busy(path: str, busy: Iterable[str]) -> bool:
    """Whether a path is among `busy_paths`, or above or below one."""
    return any(f"{path}/".startswith(f"{b}/") or f"{b}/".startswith(f"{path}/") for b in busy)


def _alive(pid: int, at: float) -> bool:
    """Whether a process still runs that did so at a time (seconds since 1970)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2]
        after_boot = int(after_name.split()[19]) / os.sysconf("SC_CLK_TCK")  # proc(5), field 22
        began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + after_boot
    except (OSError, ValueError, IndexError, AttributeError):  # no Linux: its number must do
        return True
    return began < at + 1


# -- remotes -------------------------------------------------------------------------------------


def remotes(root: Path) -> dict[str, dict[str, str]]:
    """Return the configured DVC remotes: name to its options, later levels winning."""
    found: dict[str, dict[str, str]] = {}
    for level in _LEVELS:
        for name, values in remotes_of(root, level).items():
            found.setdefault(name, {}).update(values)
            if "url" in values:
                found[name]["url"] = _absolute_url(root, level, values["url"])
    return found


def remotes_of(root: Path, level: str) -> dict[str, dict[str, str]]:
    """Return what one level ("repo" is `.dvc/config`, "local" the private one) says of remotes."""
    return _remote_sections(_read_level(root, level))


def remotes_in(text: str) -> dict[str, dict[str, str]]:
    """Return what the text of a `.dvc/config` says of remotes. Raises DvcFailed."""
    return _remote_sections(_parsed(text, Path(".dvc/config")))


def _remote_sections(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {
        section.removeprefix('remote "').removesuffix('"'): {k: str(v) for k, v in values.items()}
        for section, values in config.items()
        if section.startswith('remote "') and isinstance(values, dict)
    }


def _absolute_url(root: Path, level: str, url: str) -> str:
    if "://" in url:
        return url
    return os.path.abspath(_level_file(root, level).parent / os.path.expanduser(url))


def core_setting(root: Path, key: str) -> str | None:
    """Return a value of DVC's `core` section, the last level winning, or None."""
    found = None
    for level in _LEVELS:
        section = _read_level(root, level).get("core", {})
        if isinstance(section, dict) and key in section:
            found = str(section[key])
    return found


def require_remote(table: Mapping[str, Mapping[str, str]], name: str) -> None:
    """Raise UsageError unless a DVC remote of that name is configured."""
    if name not in table:
        raise UsageError(f"no DVC remote is called {gate.shown(name)!r}", hint="dvc remote list")


def remote_names(table: Mapping[str, Mapping[str, str]]) -> str:
    """Return remotes as text for a message: name and address, secrets left out."""
    return ", ".join(f"{name} ({_no_secrets(o.get('url', '?'))})" for name, o in table.items())


def _no_secrets(url: str) -> str:
    return re.sub(r"(://)[^/@]*@", r"\1***@", url)

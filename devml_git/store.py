"""The only door to DVC itself: its ignore rules, its pipelines, its locks, `dvc init`.

Content moves through `cache`; DVC's own add, checkout, status and gc are never called (hazards
H1 to H16). DVC is imported inside functions only: it takes a quarter of a second.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devml_git import gate, patterns, yamltext
from devml_git.errors import DevmlError, DvcFailed, NotARepository, Refused
from devml_git.inside import LeadsOut, read_inside
from devml_git.pointers import PipelineOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from devml_git.plumbing import Git

_RWLOCK = ".dvc/tmp/rwlock"
_RWLOCK_BYTES = 1 << 20
_PIDS = 1 << 22  # PID_MAX_LIMIT of 64-bit Linux: proc(5)

OLDEST_DVC = (3, 67)


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


# -- projects ------------------------------------------------------------------------------------


def is_project(root: Path) -> bool:
    """Whether DVC has been set up at `root`."""
    return (root / ".dvc").is_dir()


def require_project(root: Path) -> None:
    """Raise NotARepository when DVC is not set up at `root`."""
    if not is_project(root):
        raise NotARepository(
            "this repository has not been set up for devml-git", hint="devml-git init"
        )


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
def _repo(root: Path, private: Path, settings: Mapping[str, Any]) -> Iterator[Any]:
    """Open DVC's Repo, its machine-wide state in a directory of our own.

    The default, /var/tmp/dvc, is writable by everybody and holds pickles (CVE-2025-69872). The
    project's own configuration is not read: `settings` are what of it counts.
    """
    before = os.environ.get("DVC_SITE_CACHE_DIR")
    os.environ["DVC_SITE_CACHE_DIR"] = str(private / "dvc-site")
    try:
        repo = _guarded(root, settings)
        try:
            yield repo
        finally:
            repo.close()
    finally:
        if before is None:
            os.environ.pop("DVC_SITE_CACHE_DIR", None)
        else:
            os.environ["DVC_SITE_CACHE_DIR"] = before


def _guarded(root: Path, settings: Mapping[str, Any]) -> Any:  # noqa: ANN401 - DVC's own type
    """Return DVC's Repo with a configuration that no file of the project is read for."""
    from dvc.config import Config, get_compiled_schema
    from dvc.repo import Repo

    class Given(Config):  # type: ignore[misc]
        def load_config_to_level(self, level: str | None = None) -> dict[str, Any]:
            del level
            empty: dict[str, Any] = {key: {} for key in map(str, get_compiled_schema().schema)}
            return empty | dict(settings)

    class Guarded(Repo):  # type: ignore[misc]
        @cached_property
        def config(self) -> Any:  # noqa: ANN401
            return Given(self.dvc_dir, local_dvc_dir=self.local_dvc_dir, fs=self.fs)

    return Guarded(str(root))


# -- .dvcignore ----------------------------------------------------------------------------------


def ignore_filter(root: Path, files: Sequence[str], worktree: Path) -> Any:  # noqa: ANN401
    """Return DVC's filter (directory, dirs, files) -> (dirs, files), or None for no patterns.

    `files` are the `.dvcignore` files of the workspace. DVC is imported only when one of them
    has a pattern in it. Raises Refused where one is a link that leads out of the worktree.
    """
    if not any(_has_patterns(root, file) for file in files):
        return None
    with _translated(".dvcignore"):
        from dvc.ignore import DvcIgnoreFilter

        _bound_patterns()
        return DvcIgnoreFilter(_files_within(worktree), str(root))


def _bound_patterns() -> None:
    """Have DVC match hard patterns of `.dvcignore` files in linear time (DVC 3.67 `ignore.py`)."""
    import dvc.ignore

    dvc.ignore.GitIgnoreSpecPattern = patterns.factory()


def _files_within(worktree: Path) -> Any:  # noqa: ANN401 - DVC's own type
    """Return DVC's file system, but for what lies outside of the worktree.

    Links lead there, and names with `..` (`vars` of a `dvc.yaml`): its text would be in errors.
    """
    from dvc.fs import LocalFileSystem

    top = os.path.join(os.path.realpath(worktree), "")

    class Within(LocalFileSystem):  # type: ignore[misc]
        def open(self, path: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            if not os.path.realpath(path).startswith(top):
                name = os.path.relpath(path, worktree)
                raise LeadsOut(f"{gate.shown(name)} leads out of the repository: not read")
            return super().open(path, *args, **kwargs)

    return Within()


def _has_patterns(root: Path, file: str) -> bool:
    try:
        return patterns.has_patterns(read_inside(root, file) or b"")
    except Refused:
        return True  # DVC is asked, which may read it if it lies elsewhere in the worktree


# -- pipelines -----------------------------------------------------------------------------------


@contextlib.contextmanager
def asking_of_pipelines(
    root: Path, worktree: Path, settings: Mapping[str, Any]
) -> Iterator[Callable[[str], list[PipelineOut]]]:
    """Open DVC to ask what a `dvc.yaml` (relative to the root) says of its outputs.

    `settings` are what DVC may know of its configuration; nothing outside of `worktree` is read. It
    is a copy that is thrown away, and DVC's own state is there, too. It may take any time and
    memory: `asking.py` does it in a process of its own. Asked of one that DVC ignores, it says
    nothing. The question raises DvcFailed.
    """
    _bound_patterns()
    _quick_yaml()
    with _repo(root, worktree, settings) as repo:
        repo.fs = _files_within(worktree)
        yield lambda file: _outs_in(repo, root, file)


def _outs_in(repo: Any, root: Path, file: str) -> list[PipelineOut]:  # noqa: ANN401
    from dvc.repo.index import Index
    from dvc.stage.exceptions import StageFileDoesNotExistError

    found = []
    with _translated("reading it with DVC"):
        try:
            index = Index.from_file(repo, str(root / file))
        except StageFileDoesNotExistError:
            return []
        for out in index.outs:
            name = getattr(out.stage, "name", None)
            if name is None or not out.is_in_repo:
                continue
            path = os.path.relpath(out.fs_path, root).replace(os.sep, "/")
            found.append(
                PipelineOut(
                    stage=str(name), written=str(out.def_path), path=path,
                    addressing=str(out.stage.addressing), cached=bool(out.use_cache),
                    push=bool(out.can_push), remote=out.remote,
                )
            )  # fmt: skip
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


def busy_paths(git: Git) -> set[str]:
    """Return paths (relative to the root) that a running DVC command is writing.

    DVC's `.dvc/tmp/rwlock` names its writers (DVC 3.67 `dvc/rwlock.py`); dead ones are left out,
    also where another process has their number now. One that git tracks is a stranger's: it would
    name a process that runs everywhere.
    """
    root = git.top
    place = root / _RWLOCK
    try:
        written = place.stat().st_mtime
        table = json.loads(read_inside(root, _RWLOCK, limit=_RWLOCK_BYTES) or b"")
        writers = dict(table.get("write", {}))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, DevmlError):
        return set()
    busy = set()
    for path, entry in writers.items():
        pid = entry.get("pid") if isinstance(entry, dict) else None
        if not isinstance(pid, int) or not 0 < pid < _PIDS or not path or "\0" in path:
            continue
        if _alive(pid, written):
            busy.add(os.path.relpath(path, root).replace(os.sep, "/"))
    return set() if busy and git.comes_by_commits(_RWLOCK) else busy


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

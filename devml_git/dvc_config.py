"""DVC's configuration: what each of its four files says, and what of that counts.

DVC itself is never given `.dvc/config`, which a commit can write: it gets what is put together
here. The user's own files (system, global, and a `config.local` that git does not track) count
whole; of `.dvc/config` what `allowed` lets pass. Where each value comes from stays known: `trust`
asks for that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devml_git import allowed, gate, links
from devml_git.bounds import MAX_CONFIG_BYTES, limited
from devml_git.errors import DevmlError, DvcFailed, UsageError
from devml_git.escaping import redacted
from devml_git.place import write_text_safely

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from devml_git.plumbing import Git

PUBLIC, PRIVATE = ".dvc/config", ".dvc/config.local"
_LEVELS = ("system", "global", "repo", "local")
_MAX_REMOTES = 1000
_MAX_CHAIN = 8  # remote://BASE/... of a remote://BASE/...
DEFAULT_TYPES = ("reflink", "copy")
_OWN_FILE = "own-config"  # in the worktree's private directory: what was found to be the user's
Options = dict[str, str]


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What DVC's configuration says of the cache.

    `directory` is absolute, or None where nothing is configured (DVC then uses `.dvc/cache`).
    """

    directory: Path | None
    types: tuple[str, ...] = DEFAULT_TYPES
    shared: bool = False


@dataclass(frozen=True, slots=True)
class RemoteConfig:
    """One DVC remote, as it may be opened.

    `url` is absolute; `brought` are the options, "url" among them, that a commit can have written,
    with their values as used; `wrote` what stands of them in `.dvc/config`, section by section
    (more than one for a `remote://`); `left_out` the options there that only the user may give;
    `refusal` says why it cannot be opened at all.
    """

    name: str
    url: str
    options: Mapping[str, str] = field(default_factory=dict)
    brought: Mapping[str, str] = field(default_factory=dict)
    wrote: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    left_out: tuple[str, ...] = ()
    refusal: str | None = None

    @property
    def shown(self) -> str:
        """Name and address for a message, secrets left out."""
        return f"{gate.shown(self.name)} ({gate.shown(redacted(self.url))})"

    def for_dvc(self) -> dict[str, Any]:
        """Return the configuration that DVC is to open it with."""
        return {"core": {}, "remote": {self.name: {**self.options, "url": self.url}}}


class DvcConfig:
    """The configuration of one project, read when it is asked for.

    `warn` is told of a file that does not count; `public` stands for `.dvc/config`.
    Raises DvcFailed for one that cannot be read; if it is `.dvc/config`, only where remotes are
    asked for: the rest of the project needs none.
    """

    def __init__(
        self,
        git: Git,
        warn: Callable[[str], None] | None = None,
        *,
        public: bytes | None = None,
    ) -> None:
        self._git = git
        self._public = public
        self._warn = warn
        self._broken: DevmlError | None = None
        self.root, self.worktree, self.prefix = git.top, git.worktree, git.prefix

    @cached_property
    def _levels(self) -> dict[str, dict[str, Any]]:
        links.refuse_below_dvc(self._git)
        levels = {level: _read_level(self.root, level) for level in _LEVELS if level != "repo"}
        try:
            levels["repo"] = (
                _read_level(self.root, "repo")
                if self._public is None
                else _parsed(self._public.decode("utf-8", "replace"), Path(PUBLIC))
            )
        except DevmlError as e:
            self._broken = e
            levels["repo"] = {}
        return levels

    @cached_property
    def private_is_brought(self) -> bool:
        """Whether `.dvc/config.local` can have come with a commit: then nothing in it counts.

        It can also where git does not track it any more: a commit that was squashed, or left by
        `git reset`, leaves the file behind. What was looked up in history is not looked up again.
        """
        if not self._levels["local"]:
            return False
        brought = self._git.comes_by_commits(PRIVATE) or self._was_committed()
        if brought and self._warn is not None:
            self._warn(f"{PRIVATE} came with a commit and is ignored (git rm -f {PRIVATE})")
        return brought

    def _was_committed(self) -> bool:
        said = {pair for pair in _pairs(self._levels["local"]) if not self._is_ours(*pair)}
        if not said:
            return False
        digest = hashlib.sha256(json.dumps(sorted(said)).encode()).hexdigest()
        memo = self._git.private / _OWN_FILE
        with contextlib.suppress(OSError):
            if memo.read_text("ascii") == digest:
                return False
        for version in self._git.versions_ever(PRIVATE):
            with contextlib.suppress(DevmlError, UnicodeDecodeError):
                if said & _pairs(_parsed(version.decode("utf-8"), Path(PRIVATE))):
                    return True
        write_text_safely(self._git.private, _OWN_FILE, digest.encode(), private=True)
        return False

    def _is_ours(self, section: str, option: str, value: str) -> bool:
        """Whether it is what we write there: that the cache is below git's directory."""
        place = Path(_absolute(self.root / ".dvc", value))
        return (section, option) == ("cache", "dir") and place.is_relative_to(self._git.common_dir)

    def _said(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what counts of remotes, file by file.

        Raises where `.dvc/config` cannot be read: nobody is to think then that there are none.
        """
        for level in _LEVELS:
            said = self._levels[level]
            if level == "repo" and self._broken is not None:
                raise self._broken
            if level != "local" or not self.private_is_brought:
                yield level, said

    # -- remotes -----------------------------------------------------------------------------

    @cached_property
    def remotes(self) -> dict[str, RemoteConfig]:
        """The DVC remotes by name, in small letters: later files win, option by option."""
        merged: dict[str, _Section] = {}
        for level, said in self._said():
            for name, options in _remote_sections(said).items():
                section = merged.setdefault(name, _Section())
                for option, value in options.items():
                    section.put(option, self._resolved(level, option, value), level, value)
        if len(merged) > _MAX_REMOTES:
            raise DvcFailed(f"DVC's configuration has more than {_MAX_REMOTES} remotes")
        return {name: _remote(name, merged) for name in merged}

    def _resolved(self, level: str, option: str, value: str) -> str:
        """Return a value whose relative path is from its file's directory, as DVC reads it."""
        if option == "url" or option in allowed.FILES:
            return _absolute(_level_file(self.root, level).parent, value)
        return value

    @cached_property
    def default(self) -> str | None:
        """The remote that is used where none is named."""
        found = None
        for _, said in self._said():
            core = said.get("core", {})
            if isinstance(core, dict) and isinstance(core.get("remote"), str):
                found = core["remote"].lower()
        return found

    def name_of(self, wanted: str | None) -> str | None:
        """Return the remote that an output's `remote:` (or none) means, or None.

        Raises DvcFailed where there are remotes and none of them is meant.
        """
        name = wanted.lower() if wanted else self.default
        if name in self.remotes:
            return name
        if not self.remotes and wanted is None:
            return None
        if name is None:
            raise DvcFailed("no DVC remote is the default one", hint="dvc remote default NAME")
        raise DvcFailed(f"there is no DVC remote {gate.shown(name)}", hint="dvc remote list")

    def require(self, name: str) -> RemoteConfig:
        """Return a remote by its name. Raises UsageError unless one is called so."""
        found = self.remotes.get(name.lower())
        if found is None:
            raise UsageError(
                f"no DVC remote is called '{gate.shown(name)}'", hint="dvc remote list"
            )
        return found

    # -- the cache ---------------------------------------------------------------------------

    def cache(self, *, with_public: bool, place: bool = True) -> CacheSettings:
        """Return what is said of the cache; by `.dvc/config`, too, with `with_public`.

        Without `place`, not where it is: whose word `.dvc/config.local` is need not be asked then.
        Raises DvcFailed for a kind of link that DVC does not know.
        """
        found = CacheSettings(None)
        for level in _LEVELS:
            section = self._levels[level].get("cache", {})
            said = not isinstance(section, dict) or set(section).difference(
                () if place else {"dir"}
            )
            brought = level == "local" and said and self.private_is_brought
            if said and not brought and (level != "repo" or with_public):
                found = self._cache_of(level, self._levels[level], found)
        return found

    def _cache_of(self, level: str, said: Mapping[str, Any], found: CacheSettings) -> CacheSettings:
        section = said.get("cache", {})
        if not isinstance(section, dict):
            raise DvcFailed(f"DVC's configuration ({level}): cache is not a section")
        if place := section.get("dir"):
            base = _level_file(self.root, level).parent
            found = replace(found, directory=Path(_absolute(base, str(place))))
        if kinds := section.get("type"):
            names = kinds if isinstance(kinds, list) else str(kinds).split(",")
            found = replace(found, types=_known_types([str(k).strip() for k in names]))
        if "shared" in section:
            found = replace(found, shared=section.get("shared") == "group")
        return found

    @property
    def public_cache(self) -> CacheSettings | None:
        """What `.dvc/config` alone says of the cache, None for nothing."""
        found = self._cache_of("repo", self._levels["repo"], CacheSettings(None))
        return None if found == CacheSettings(None) else found

    def private_cache_dir(self) -> Path | None:
        """Return what `.dvc/config.local` says of the cache's place, whoever wrote it."""
        return self._cache_of("local", self._levels["local"], CacheSettings(None)).directory

    @property
    def dvc_cache_dir(self) -> Path:
        """Where plain DVC, which believes every file, takes the cache to be."""
        found = CacheSettings(None)
        for level in _LEVELS:
            found = self._cache_of(level, self._levels[level], found)
        return found.directory or self.root / ".dvc" / "cache"

    # -- for DVC -----------------------------------------------------------------------------

    def for_dvc(self) -> dict[str, Any]:
        """Return what DVC may know when it reads this project's pipelines."""
        usable: list[RemoteConfig] = []
        with contextlib.suppress(DvcFailed):
            usable = [r for r in self.remotes.values() if r.refusal is None]
        remotes = {r.name: {**r.options, "url": r.url} for r in usable}
        return {"core": {"analytics": "false", "check_update": "false"}, "remote": remotes}

    def private_remotes(self) -> dict[str, Options]:
        """Return the remotes of `.dvc/config.local`, their addresses good from anywhere."""
        return {
            name: {option: self._resolved("local", option, v) for option, v in options.items()}
            for name, options in self.private_sections().items()
        }

    def private_sections(self) -> dict[str, Options]:
        """Return what stands of remotes in `.dvc/config.local`."""
        return _remote_sections(self._levels["local"])

    def private_default(self) -> str | None:
        """Return which remote `.dvc/config.local` says is the default one."""
        section = self._levels["local"].get("core", {})
        return section.get("remote") if isinstance(section, dict) else None


@dataclass(slots=True)
class _Section:
    """One remote while its options are put together; `wrote` is verbatim from `.dvc/config`."""

    options: Options = field(default_factory=dict)
    brought: set[str] = field(default_factory=set)
    wrote: Options = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def put(self, option: str, value: str, level: str, verbatim: str) -> None:
        if level == "repo":
            self.wrote[option] = verbatim
            if option != "url" and not allowed.is_allowed(option, value):
                self.left_out.append(option)
                return
            self.brought.add(option)
        else:
            self.brought.discard(option)
        self.options[option] = value


def _remote(name: str, sections: Mapping[str, _Section]) -> RemoteConfig:
    """Put one remote together, with those that it stands on by `remote://`."""
    chain = [name]
    section = sections[name]
    options, brought = dict(section.options), set(section.brought)
    url = options.pop("url", "")
    left_out, wrote = list(section.left_out), [(name, tuple(sorted(section.wrote.items())))]
    refusal = None if url else "it has no address (url)"
    while allowed.scheme_of(url) == "remote":
        base_name, _, below = url.partition("://")[2].partition("/")
        base = sections.get(base_name.lower())
        if base is None or base_name.lower() in chain or len(chain) == _MAX_CHAIN:
            refusal = "it stands on a remote that is not there"
            break
        chain.append(base_name.lower())
        if "url" in brought and (".." in below.split("/") or "%" in below):
            refusal = "its address leads above the remote it stands on"
        if not base.options.get("url"):
            refusal = "it stands on a remote that has no address"
        options, brought = {**base.options, **options}, brought | base.brought
        url = f"{options.pop('url', '')}/{below}"
        left_out += base.left_out
        wrote.append((base_name.lower(), tuple(sorted(base.wrote.items()))))
    if "url" in brought and refusal is None:
        address = allowed.parsed(url)
        if address is None:
            refusal = "a commit may not give such an address"
        elif address.secret:
            left_out.append("the password in its url")
            url = allowed.without_secret(url)
    said = {option: options.get(option, url) for option in brought}
    return RemoteConfig(name, url, options, said, tuple(wrote), tuple(left_out), refusal)


def _pairs(config: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    """Return (section, option, value) of all that a file says."""
    return {
        (section, option, _text(value))
        for section, options in config.items()
        if isinstance(options, dict)
        for option, value in options.items()
    }


def remote_sections_of(text: str) -> dict[str, Options]:
    """Return what the text of a `.dvc/config` says of remotes. Raises DvcFailed."""
    return _remote_sections(_parsed(text, Path(PUBLIC)))


def _remote_sections(config: Mapping[str, Any]) -> dict[str, Options]:
    """Return the options of each remote, as DVC finds them: all names in small letters."""
    found: dict[str, Options] = {}
    for section, values in config.items():
        named = re.fullmatch(r"\s*remote\s*\"(.*)\"\s*", section, re.DOTALL)
        if named and isinstance(values, dict):
            texts = {k: _text(v) for k, v in values.items() if not isinstance(v, dict)}
            found.setdefault(named[1], {}).update(texts)
    return found


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _absolute(base: Path, place: str) -> str:
    """Resolve a path of a configuration file as DVC does (3.67 `dvc/config.py`, _resolve)."""
    if re.match(r"\w+://", place):
        return place
    return os.path.abspath(base / os.path.expanduser(place))


def _level_file(root: Path, level: str) -> Path:
    if level in {"system", "global"}:
        import platformdirs

        override = os.environ.get(f"DVC_{level.upper()}_CONFIG_DIR")
        finder = platformdirs.site_config_dir if level == "system" else platformdirs.user_config_dir
        return Path(override or finder("dvc", "iterative")) / "config"
    return root / (PUBLIC if level == "repo" else PRIVATE)


def _read_level(root: Path, level: str) -> dict[str, Any]:
    file = _level_file(root, level)
    try:
        with file.open("rb") as f:
            raw = f.read(MAX_CONFIG_BYTES + 1)
        text = raw.decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as e:
        raise DvcFailed(f"{file.name} of DVC cannot be read: {e}", hint=f"mend {file}") from e
    return _parsed(text, file, len(raw))


def _parsed(text: str, file: Path, size: int = 0) -> dict[str, Any]:
    if (size or len(text)) > MAX_CONFIG_BYTES:
        raise DvcFailed(f"DVC's {file.name} is larger than {MAX_CONFIG_BYTES} bytes")
    if not text.strip():
        return {}
    from configobj import ConfigObj, ConfigObjError

    try:
        with limited(f"DVC's {file.name}"):
            loaded = ConfigObj(text.splitlines(), interpolation=False, raise_errors=True)
    except ConfigObjError as e:
        first = (getattr(e, "errors", None) or [e])[0]  # its text would quote the file
        where = f" in line {first.line_number}" if first.line_number else ""
        raise DvcFailed(f"DVC's {file.name} is malformed{where}", hint=f"mend {file}") from e
    return _lower(loaded.dict())


def _lower(config: Mapping[str, Any]) -> dict[str, Any]:
    return {str(k).lower(): _lower(v) if isinstance(v, dict) else v for k, v in config.items()}


def _known_types(names: Sequence[str]) -> tuple[str, ...]:
    known = ("reflink", "hardlink", "symlink", "copy")
    for name in names:
        if name not in known:
            raise DvcFailed(
                f"cache.type '{gate.shown(name)}' is unknown",
                hint="dvc config cache.type reflink,copy",
            )
    return tuple(names)


def shown_remotes(remotes: Sequence[RemoteConfig]) -> str:
    """Return remotes as text for a message: name and address, secrets left out."""
    return ", ".join(remote.shown for remote in remotes)


# -- writing the private file --------------------------------------------------------------------


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
    private = not file.exists()  # it is where passwords go
    write_text_safely(root, PRIVATE, text.encode("utf-8"), private=private)


def add_private(root: Path, remotes: Mapping[str, Mapping[str, str]], default: str | None) -> None:
    """Add remotes, and which one is the default (if any), to `.dvc/config.local`.

    What is there stays. It may hold passwords now: nobody but the user can read it any more.
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
    write_text_safely(root, PRIVATE, text.encode("utf-8"), private=True)

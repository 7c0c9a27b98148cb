"""Who may connect to which DVC remote, and what for (P9).

A commit can write `.dvc/config`. Reading and sending are two things:

- what the user types to get content reads from a harmless remote at once, and the address is shown;
  hooks read from what was accepted so;
- the first content that is sent to a remote which came with the repository needs `devml-git trust`;
- what the user configured himself, here, has both.

What was allowed is written down as a digest of the address, of all options that a commit can have
written, and of the files that the connection depends on where a commit can change them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devml_git import allowed, gate
from devml_git.dvc_config import PUBLIC, DvcConfig, remote_sections_of
from devml_git.errors import DevmlError, DvcFailed
from devml_git.locks import held
from devml_git.place import write_text_safely

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from devml_git.dvc_config import CacheSettings, RemoteConfig
    from devml_git.plumbing import Git

_FILE = "trust.json"
_SCHEMA = "devml.trust/v2"
READ, SEND, LINES, FOUND, CACHE = "read", "send", "lines", "found", "cache"
_KEYS = (READ, SEND, LINES, FOUND, CACHE)
CACHE_SETTING = "devml.cache"
_MAX_FILE = 1 << 20  # of a file that an option names


class NotTrusted(DvcFailed):
    """A remote that may not be connected to, or not be sent to, until the user says so."""


class Trust:
    """What this clone has allowed. Shared by all worktrees."""

    def __init__(self, git: Git, config: DvcConfig) -> None:
        self._git = git
        self._config = config

    # -- what is written down ----------------------------------------------------------------

    def _read(self) -> dict[str, set[str]]:
        try:
            data: Any = json.loads((self._git.shared / _FILE).read_bytes())
            if data["schema"] != _SCHEMA:
                return {}
            return {key: set(data.get(key, ())) for key in _KEYS}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def _add(self, **digests: Iterable[str]) -> None:
        with held(self._git.shared / "lock-trust", "another devml-git is writing what is trusted"):
            known = self._read()
            both = {key: sorted(known.get(key, set()).union(digests.get(key, ())))
                    for key in _KEYS}  # fmt: skip
            if any(set(both[key]) != known.get(key, set()) for key in both):
                data = json.dumps({"schema": _SCHEMA, **both}, indent=1).encode()
                write_text_safely(self._git.shared, _FILE, data, private=True)

    # -- remotes -----------------------------------------------------------------------------

    def is_own(self, remote: RemoteConfig) -> bool:
        """Whether no commit can have written anything of a remote: the user's own files say it."""
        return not remote.brought and not self.brought_files(remote)

    def may_send(self, remote: RemoteConfig) -> bool:
        """Whether content may be sent to a remote."""
        return self.is_own(remote) or self._digest(remote) in self._read().get(SEND, ())

    def may_read(self, remote: RemoteConfig) -> bool:
        """Whether a remote was accepted to read from."""
        return self.may_send(remote) or self._digest(remote) in self._read().get(READ, ())

    def allow(self, remotes: Iterable[RemoteConfig], *, sending: bool = True) -> None:
        """Allow reading from remotes as they are now, and sending to them."""
        chosen = [r for r in remotes if not self.is_own(r)]
        digests = [self._digest(r) for r in chosen]
        if not digests:
            return
        lines = {_line(*pair) for r in chosen for _, wrote in r.wrote for pair in wrote}
        self._add(**{SEND if sending else READ: digests, LINES: lines if sending else ()})

    def unknown(self) -> list[RemoteConfig]:
        """Return the remotes that content may not be sent to as they are now."""
        return [r for r in self._config.remotes.values() if not self.may_send(r)]

    def _digest(self, remote: RemoteConfig) -> str:
        options = sorted((o, v) for o, v in remote.brought.items() if o != "url")
        said = [self._address(remote), options, self.brought_files(remote)]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def _address(self, remote: RemoteConfig) -> str:
        """Return an address as it is written down: that of a directory beside the project moves
        along with it.
        """
        beside = "url" in remote.brought and not allowed.scheme_of(remote.url)
        said = [os.path.expanduser(dict(wrote).get("url", "")) for _, wrote in remote.wrote]
        if beside and not any(map(os.path.isabs, said)):
            return os.path.relpath(remote.url, self._git.top)
        return remote.url

    def brought_files(self, remote: RemoteConfig) -> list[tuple[str, str]]:
        """Return (option, sha256) of the files a remote depends on that a commit can change."""
        named = {o: Path(v) for o, v in remote.options.items() if o in allowed.FILES}
        bundle = remote.options.get("ssl_verify", "")
        if bundle and bundle.lower() not in {"true", "false"}:  # relative to where we are
            named |= {"ssl_verify": Path(bundle).absolute(), "ssl_verify ": self._git.top / bundle}
        top = os.path.realpath(self._git.worktree)
        inside = {o: p for o, p in named.items() if Path(os.path.realpath(p)).is_relative_to(top)}
        return sorted((option, _content(path)) for option, path in inside.items())

    # -- written by the user, here -----------------------------------------------------------

    def was_typed_here(self, remote: RemoteConfig) -> bool:
        """Whether the user himself has just written what `.dvc/config` says of a remote.

        So it is only where no commit that lies here says it: not of any branch, stash or fetch,
        also of those that are gone. A line that some commit has may have come from there, by a
        squash, a pick, a patch or a checkout of the file; unless it was allowed before. Nor is it
        where it stood there before `init`.
        """
        if self._rewritten or self.brought_files(remote) or remote.refusal is not None:
            return False
        known, found = (self._read().get(key, set()) for key in (LINES, FOUND))
        for _, wrote in remote.wrote:
            if wrote and wrote in self._committed.wholes:
                return False
            doubtful = [pair for pair in wrote if not allowed.is_tuning(*pair)]
            if any(_line(*pair) in found for pair in doubtful):
                return False
            if any(self._committed.has(*p) and _line(*p) not in known for p in doubtful):
                return False
        return True

    def note_found(self) -> None:
        """Write down that what `.dvc/config` says now was here before `init`: it came along."""
        remotes = self._config.remotes.values()
        self._add(**{FOUND: {_line(*p) for r in remotes for _, wrote in r.wrote for p in wrote}})

    @cached_property
    def _rewritten(self) -> bool:
        """Whether git changes the file on its way to the worktree: then no line is as committed."""
        return bool(self._git.attributes_of(PUBLIC, ("ident", "filter", "working-tree-encoding")))

    @cached_property
    def _committed(self) -> _Committed:
        return _Committed(self._git.versions_ever(PUBLIC))

    # -- the cache ---------------------------------------------------------------------------

    def allows_cache(self, said: CacheSettings) -> bool:
        """Whether what `.dvc/config` says of the cache was allowed."""
        return _cache_digest(said) in self._read().get(CACHE, ())

    def allow_cache(self, said: CacheSettings) -> None:
        """Allow what `.dvc/config` says of the cache, as it is now."""
        self._add(**{CACHE: [_cache_digest(said)]})


class _Committed:
    """What the versions of `.dvc/config` that commits have say of remotes.

    A value counts wherever it stands in one, also where that cannot be parsed.
    """

    def __init__(self, versions: Iterable[bytes]) -> None:
        texts = list(versions)
        self._texts = b"\0".join(texts)
        self.wholes = {wrote for text in texts for wrote in _sections(text)}

    def has(self, option: str, value: str) -> bool:
        """Whether some version may say so of an option."""
        said = (text.encode("utf-8", "surrogateescape") for text in (option, value))
        return all(text in self._texts for text in said)


def _sections(version: bytes) -> Iterator[tuple[tuple[str, str], ...]]:
    with contextlib.suppress(DevmlError, UnicodeDecodeError):
        for options in remote_sections_of(version.decode("utf-8")).values():
            yield tuple(sorted(options.items()))


def _line(option: str, value: str) -> str:
    return hashlib.sha256(json.dumps([option, value]).encode()).hexdigest()


def _content(path: Path) -> str:
    try:
        with path.open("rb") as f:
            return hashlib.sha256(f.read(_MAX_FILE)).hexdigest()
    except OSError:
        return ""


def _cache_digest(said: CacheSettings) -> str:
    text = json.dumps([str(said.directory), list(said.types), said.shared])
    return hashlib.sha256(text.encode()).hexdigest()


class Access:
    """The door to the DVC remotes of one run: each is opened only after it was asked here.

    `typed`: the user typed a command that gets content. `confirm` asks him on his terminal, where
    there is one; `tell` shows him where content is read from for the first time. `refused` is why
    remotes were not connected to, by name.
    """

    def __init__(self, git: Git, config: Callable[[], DvcConfig]) -> None:
        self._git = git
        self._config = config
        self.typed = False
        self.confirm: Callable[[str], bool] | None = None
        self.tell: Callable[[str], None] | None = None
        self.refused: dict[str, NotTrusted] = {}

    def to(self, config: DvcConfig, *, asking: bool) -> Access:
        """Return the door to the remotes of another configuration.

        Unless `asking`, only those are opened that were accepted before.
        """
        other = Access(self._git, lambda: config)
        if asking:
            other.typed, other.confirm, other.tell = self.typed, self.confirm, self.tell
        return other

    @property
    def trust(self) -> Trust:
        """What this clone has allowed."""
        return Trust(self._git, self._config())

    @property
    def is_set_up(self) -> bool:
        """Whether `init` or `clone` was run here. Who only looks connects to nobody before."""
        return self._git.config(cache_setting(self._git)) is not None

    def require(self, name: str, *, sending: bool = False) -> RemoteConfig:
        """Return a remote that may be connected to now. Raises NotTrusted, DvcFailed."""
        remote = self._config().require(name)
        if remote.refusal is not None:
            raise DvcFailed(
                f"the DVC remote {remote.shown} cannot be used: {remote.refusal}",
                hint=f"dvc remote modify --local {gate.quoted(remote.name)} url URL",
            )
        try:
            self._require(remote, sending=sending)
        except NotTrusted as e:
            self.refused[remote.name] = e
            raise
        return remote

    def _require(self, remote: RemoteConfig, *, sending: bool) -> None:
        trust = self.trust
        if trust.is_own(remote):
            return
        if not (self.is_set_up or self.typed):
            raise NotTrusted(
                f"nothing has been set up here, so the DVC remote {remote.shown} was not asked",
                hint="devml-git init",
            )
        if trust.may_send(remote) if sending else trust.may_read(remote):
            return
        if self.is_set_up and trust.was_typed_here(remote):
            return
        if sending:
            if not self._confirmed(remote, "Send content to", sending=True):
                raise _no_sending(remote)
            return
        if not self.typed:  # who asked for nothing has nothing of his looked at, ~/.netrc included
            raise _no_reading(remote, None)
        why = self.why_wary(remote)
        if why is None:
            self._accept(remote)
        elif not self._confirmed(remote, f"Connect ({why}) to", sending=False):
            raise _no_reading(remote, why)

    def welcome(self, *, later: bool = False) -> None:
        """Accept every harmless remote to read from, as `init` and `clone` do.

        `later`: nothing is read yet.
        """
        for remote in self._config().remotes.values():
            new = remote.refusal is None and not self.trust.may_read(remote)
            if new and self.why_wary(remote) is None:
                self._accept(remote, "content will be read" if later else "reading")

    def _accept(self, remote: RemoteConfig, does: str = "reading") -> None:
        self.trust.allow([remote], sending=False)
        if self.tell is not None:
            self.tell(f"{does} from the DVC remote {remote.shown}, as the repository says")

    def _confirmed(self, remote: RemoteConfig, question: str, *, sending: bool) -> bool:
        """Ask on the terminal, if there is one; a yes is written down."""
        if not self.typed or self.confirm is None:
            return False
        if not self.confirm(f"{question} the DVC remote {remote.shown}, as the repository says?"):
            return False
        self.meet(remote)
        self.trust.allow([remote], sending=sending)
        return True

    def meet(self, remote: RemoteConfig) -> str | None:
        """Write an ssh host's key down if it is not known yet; return its fingerprint then."""
        from devml_git import ssh_hosts

        place = ssh_place(remote)
        if place is None or ssh_hosts.is_known(self._git.shared, *place):
            return None
        return ssh_hosts.learn(self._git.shared, *place)

    def why_wary(self, remote: RemoteConfig) -> str | None:
        """Return why reading from a remote that came with the repository is not harmless.

        None: it is the provider's own endpoint, https, a directory, or an ssh host that is known,
        and nothing of the user's goes to an address that he did not choose.
        """
        told = [
            o for o, v in remote.brought.items() if o != "url" and not allowed.is_harmless(o, v)
        ]
        if told:
            return f"it sets {', '.join(map(gate.shown, sorted(told)))}"
        if self.trust.brought_files(remote):
            return "it depends on a file that git tracks"
        if "url" not in remote.brought:
            return None
        scheme = allowed.scheme_of(remote.url)
        if scheme in {"http", "webdav"}:
            return "it is not encrypted"
        place = ssh_place(remote)
        mine = allowed.CREDENTIALS.intersection(remote.options).difference(remote.brought)
        if scheme == "ssh":
            mine &= {"password"}  # a key is proven, and never sent
        if scheme in {"https", "webdavs"} and _in_netrc(remote.url):
            mine |= {"login in ~/.netrc"}
        if mine and scheme not in {"s3", "gs", "azure", ""}:
            return f"your {', '.join(sorted(mine))} would go there"
        if place is not None:
            from devml_git import ssh_hosts

            if not ssh_hosts.is_known(self._git.shared, *place):
                return "it is a host that ssh does not know"
        return None


def ssh_place(remote: RemoteConfig) -> tuple[str, int] | None:
    """Return host and port of a remote by ssh; None for any other."""
    address = allowed.parsed(remote.url)
    if allowed.scheme_of(remote.url) != "ssh" or address is None:
        return None
    port = remote.options.get("port") or address.port or "22"
    return address.host, int(port) if port.isdigit() else 22


def _in_netrc(url: str) -> bool:
    """Whether HTTP's library would find a login for an address by itself (aiohttp, trust_env)."""
    import netrc

    address = allowed.parsed(url)
    place = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    if address is None or not os.path.exists(place):
        return False
    try:
        return netrc.netrc(place).authenticators(address.host.lower()) is not None
    except (OSError, netrc.NetrcParseError):
        return True


def _no_reading(remote: RemoteConfig, why: str | None) -> NotTrusted:
    return NotTrusted(
        f"the DVC remote {remote.shown} came with the repository, or a commit changed it"
        f"{f', and {why}' if why else ''}: not connected",
        hint=f"devml-git trust {gate.quoted(remote.name)}   if that is where content is",
    )


def _no_sending(remote: RemoteConfig) -> NotTrusted:
    return NotTrusted(
        f"the DVC remote {remote.shown} came with the repository, or a commit changed it: "
        "nothing is sent there before you allow it once",
        hint=f"devml-git trust {gate.quoted(remote.name)}   if that is where content is to go",
    )


def cache_setting(git: Git) -> str:
    """Return the name of the private setting that says where a project's cache is."""
    return f"devml.{git.prefix.rstrip('/')}.cache" if git.prefix else CACHE_SETTING


def listed_unknown(remotes: Sequence[RemoteConfig]) -> str:
    """Return the names of remotes for a message."""
    return ", ".join(gate.shown(r.name) for r in remotes)

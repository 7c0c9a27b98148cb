"""One DVC remote, opened through DVC's own configuration and file systems: objects in and out.

What counts is what the remote itself says of an object, each time; DVC's index of a remote is
never asked. An upload gets its name only when all of it is there: object stores do so by
themselves, elsewhere it goes under another name first. DVC is imported inside functions only.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from devml_git import gate, ssh_hosts
from devml_git.causes import Passing, is_absent, no_asking, silence, translated
from devml_git.errors import DvcFailed
from devml_git.fingerprints import Fingerprint
from devml_git.manifest import read_manifest
from devml_git.nouns import MD5
from devml_git.patience import PAUSES, STALL_SECONDS, Patience
from devml_git.progress import SILENT, Progress
from devml_git.streams import digest_of, hash_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from devml_git.cache import Cache
    from devml_git.dvc_config import DvcConfig, RemoteConfig
    from devml_git.nouns import Pointer

T = TypeVar("T")
Key = tuple[str, str]  # an object: its oid and hash name
Entry = dict[str, Any]  # what fsspec's file systems say of a file
R = TypeVar("R")
_WHOLE_LISTING = 2000  # objects asked for at once, from which on all prefixes are listed
_PREFIXES = tuple(f"{n:02x}" for n in range(256))
_SLACK = 1 << 20
_ASKING = ("ask_password", "ask_passphrase")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object: its oid, hash name, and the remote its output names (None: the default one).

    `size` is in bytes, about: a directory's members share its size evenly. `claim` is the SHA-256
    that a pointer vouches for, `most` how many bytes are taken of what is sent (None: all).
    """

    oid: str
    hash_name: str = MD5
    remote: str | None = None
    size: int = 0
    claim: str | None = None
    most: int | None = None

    @classmethod
    def of(cls, pointer: Pointer, oid: str) -> Wanted:
        """Return what a pointer wants: its own object, or one of its members."""
        size = (pointer.size or 0) // max(pointer.nfiles or 1, 1)
        # a remote may send without end; a size that was written by hand may be a little wrong
        most = None if pointer.size is None else 2 * pointer.size + _SLACK
        if oid.endswith(".dir"):
            most = gate.MAX_MANIFEST_BYTES
        return cls(oid, pointer.hash_name, pointer.remote, size, pointer.claim, most)

    @property
    def key(self) -> Key:
        """What tells it from others: text without CR has the same oid under both hash names."""
        return self.oid, self.hash_name


def fetch_objects(
    config: DvcConfig,
    opened: Callable[[str], Remote | None],
    wanted: Sequence[Wanted],
    progress: Progress,
) -> list[str]:
    """Bring objects from their DVC remotes into the cache, verified; return those not to be had.

    `opened` opens a remote by its name, or returns None for one that may not be connected to.
    Raises DvcFailed when one cannot be reached or refuses.
    """
    missing: list[str] = []
    groups: dict[str | None, dict[Key, Wanted]] = {}
    for w in wanted:
        group = groups.setdefault(w.remote, {})
        known = group.setdefault(w.key, w)
        if known.claim == w.claim:
            continue
        if None in {known.claim, w.claim}:
            group[w.key] = replace(known, claim=known.claim or w.claim)
        else:  # two pointers do not agree: each is looked at afterwards
            group[w.key] = replace(known, claim=None)
    for name, group in groups.items():
        found = None
        with contextlib.suppress(DvcFailed):  # a colleague's own: the rest can be had without it
            found = config.name_of(name)
        there = opened(found) if found is not None else None
        if there is None:
            missing += [oid for oid, _ in group]
            continue
        asked = there.may_have(group.values())
        done = there.each(partial(there.get, progress=progress), asked)
        came = {w.key for w, good in zip(asked, done, strict=True) if good}
        missing += [oid for oid, hash_name in group if (oid, hash_name) not in came]
    return sorted(missing)


class Remote:
    """An open remote. Raises DvcFailed, with the cause in words, when it cannot do its part.

    `config` has passed `trust.Access`; `cache` is what is sent from it and brought into it; `hosts`
    is where our own file of known ssh hosts lies; `stall` how many seconds the remote may say
    nothing at all before that counts as hanging. Nothing is ever asked on a terminal: passwords
    come from DVC's configuration or the ssh agent.
    """

    def __init__(
        self, config: RemoteConfig, cache: Cache, hosts: Path, *, stall: float = STALL_SECONDS
    ) -> None:
        self.name = name = config.name
        self._brought = "url" in config.brought
        self._cache = cache
        self._tells_md5 = True  # until an ETag was found to be none (SSE-KMS, parts)
        self._patience = Patience(name, stall)
        self._lock = threading.Lock()
        self._mark = os.urandom(8).hex()
        silence()
        with translated(name):
            from dvc.fs import get_cloud_fs

            kind, settings, self._base = get_cloud_fs(config.for_dvc(), name=name)
            if settings.get("version_aware") or settings.get("worktree"):
                raise DvcFailed(
                    f"the DVC remote {gate.shown(name)} is cloud-versioned: it holds no objects",
                    hint="dvc push, dvc pull",
                )
            self._asks = [k for k in _ASKING if settings.get(k) and not settings.get(k[4:])]
            self._open: Callable[[], Any] = lambda: _opened(kind, settings, hosts)
            if self._asks and kind.protocol != "ssh":  # which may have a key, or an agent
                raise no_asking(name, self._asks[0])
            self._fs = self._open()

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.name, asks=self._asks[0] if self._asks else "")

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory of this machine."""
        return bool(self._fs.protocol == "local")

    @property
    def place(self) -> str:
        """Where it is: a path, or what its service has in place of one."""
        return str(self._base)

    def absence(self) -> str | None:
        """Say so where the remote is a directory that is not there: a disk may not be mounted.

        The first upload makes it.
        """
        if not self.is_directory or os.path.isdir(self._base):
            return None
        return (
            f"the DVC remote {gate.shown(self.name)} is a directory that is not there: "
            f"{gate.shown(self._base)}"
        )

    def path(self, oid: str, hash_name: str = MD5) -> str:
        """Return where an object lies on the remote (DVC 3.67 `dvc/data_cloud.py`)."""
        middle = ("files", "md5") if hash_name == MD5 else ()
        return str(self._fs.join(self._base, *middle, oid[:2], oid[2:]))

    # -- many at once ------------------------------------------------------------------------

    def each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Do something for each item, several at once; return the results in order.

        What passes is tried again. The first failure that stays ends it, and so does a remote that
        says nothing for `stall` seconds.
        """

        def attempt(item: T) -> R:
            fs = self._fs
            try:
                return work(item)
            except Passing:
                self._reopen(fs)
                raise

        return self._patience.each(attempt, items, self._pauses())

    def _pauses(self) -> Sequence[float]:
        """The clouds' libraries try again by themselves, a few times; others hardly ever do."""
        from dvc_objects.fs.base import ObjectFileSystem

        return PAUSES[:1] if isinstance(self._fs, ObjectFileSystem) else PAUSES

    def _reopen(self, failed: Any) -> None:  # noqa: ANN401 - DVC's file system
        """An ssh connection that is lost stays so: make another, once for all threads."""
        with self._lock:
            if self._fs is failed and self._fs.protocol == "ssh":
                self._fs = self._open()

    def _counting(self, progress: Progress, most: int | None = None) -> Any:  # noqa: ANN401
        """Return what DVC's file systems report transferred bytes to; it raises _TooLarge."""
        from fsspec import Callback

        class Counting(Callback):  # type: ignore[misc]
            came = 0

            def relative_update(counting, inc: int = 1) -> None:  # noqa: N805 - self is the remote
                self._patience.heard()
                progress.advance(inc)
                counting.came += inc
                if most is not None and counting.came > most:
                    raise _TooLarge

            def absolute_update(counting, value: int) -> None:  # noqa: N805 - as ssh tells it
                counting.relative_update(value - counting.came)

        return Counting()

    # -- asking ------------------------------------------------------------------------------

    def sizes(self, wanted: Sequence[Wanted]) -> dict[Key, int | None]:
        """Ask which objects are there: their sizes in bytes (None: not told); absent ones left out.

        Nothing that was listed before is believed. An object whose checksum the remote tells, and
        that is not what its name says, is left out as well.
        """
        self.each(self._forget_listings, [None])
        found = self._listed(wanted) if self._lists_all(wanted) else self._asked(wanted)
        damaged = self._damaged([w for w in wanted if _is_doubtful(w, found.get(w.key))])
        return {key: entry.get("size") for key, entry in found.items() if key not in damaged}

    def _lists_all(self, wanted: Sequence[Wanted]) -> bool:
        """Whether listing everything is quicker than asking for each; HTTP has no listings."""
        many = len(wanted) > _WHOLE_LISTING and not self.is_directory
        return many and bool(self._fs.CAN_TRAVERSE)

    def _listed(self, wanted: Sequence[Wanted]) -> dict[Key, Entry]:
        kinds = sorted({w.hash_name for w in wanted})
        parts = self.each(self._list, [(prefix, kind) for kind in kinds for prefix in _PREFIXES])
        found = {key: entry for part in parts for key, entry in part.items()}
        return {w.key: found[w.key] for w in wanted if w.key in found}

    def _asked(self, wanted: Sequence[Wanted]) -> dict[Key, Entry]:
        likely = self.may_have(wanted)
        asked = self.each(self._ask, likely)
        return {w.key: entry for w, entry in zip(likely, asked, strict=True) if entry is not None}

    def _damaged(self, doubtful: Sequence[Wanted]) -> set[Key]:
        """Read objects in doubt; the first good one shows that this remote's ETags are no MD5."""
        bad = set()
        for w in doubtful if self._tells_md5 else ():
            if self.each(self.proves, [w])[0] is not None:
                self._tells_md5 = False
                break
            bad.add(w.key)
        return bad

    def _forget_listings(self, _: None) -> None:
        with self._translated(), contextlib.suppress(AttributeError, NotImplementedError):
            self._fs.fs.invalidate_cache()

    def _ask(self, wanted: Wanted) -> Entry | None:
        with self._translated():
            try:
                info = self._fs.info(self.path(wanted.oid, wanted.hash_name))
            except FileNotFoundError as e:
                if is_absent(e):
                    return None
                raise (e.__cause__ or e)  # noqa: B904 - the fault itself, and not that wrapper
            return None if info.get("type") == "directory" else info

    def _list(self, part: tuple[str, str]) -> dict[Key, Entry]:
        """Return the objects of a hash name whose oid begins with two digits."""
        prefix, hash_name = part
        with self._translated():
            try:
                place = self._fs.parent(self.path(f"{prefix}x", hash_name))
                entries = self._fs.ls(place, detail=True)
            except FileNotFoundError as e:
                if is_absent(e):
                    return {}
                raise
            return {
                (prefix + str(e["name"]).rstrip("/").rsplit("/", 1)[-1], hash_name): e
                for e in entries
                if e.get("type") != "directory"
            }

    # -- bringing and sending ----------------------------------------------------------------

    def may_have(self, wanted: Iterable[Wanted]) -> list[Wanted]:
        """Leave out what a directory has no such file of, which a look tells: no need to try."""
        every = list(wanted)
        if not self.is_directory:
            return every
        tops = {name: self.path("", name) for name in {w.hash_name for w in every}}
        found = [w for w in every if not _lacks(tops[w.hash_name], w.oid)]
        return found if os.path.isdir(self._base) else every

    def get(self, wanted: Wanted, progress: Progress = SILENT) -> bool:
        """Bring one object into the cache, verified; return whether there is a good one now.

        What the remote sends under a wrong name never enters the cache.
        """
        place = self.path(wanted.oid, wanted.hash_name)
        with self._downloaded(place, progress, wanted.most) as temp:
            return temp is not None and self._cache.adopt(
                wanted.oid, temp, wanted.hash_name, wanted.claim
            )

    def proves(self, wanted: Wanted) -> Fingerprint | None:
        """Read an object of the remote; return its fingerprint, None where it is not right.

        Right is what its name says, what was seen under it here, and what `claim` says.
        """
        return self._fingerprint(wanted, self.path(wanted.oid, wanted.hash_name))

    def manifest(self, wanted: Wanted) -> dict[str, str] | None:
        """Return what a directory's manifest on the remote names; None where there is no good one.

        The cache stays as it is. Raises Refused for a hostile one.
        """
        place = self.path(wanted.oid, wanted.hash_name)
        with self._downloaded(place, SILENT, gate.MAX_MANIFEST_BYTES) as temp:
            if temp is None or temp.stat().st_size > gate.MAX_MANIFEST_BYTES:
                return None
            data = temp.read_bytes()
        digest = digest_of(data, second=True)
        good = self._cache.is_right(wanted.oid, wanted.hash_name, digest)
        return read_manifest(data, wanted.oid) if good else None

    def _require_file(self, place: str, most: int | None) -> None:
        """In a directory that came with a repository, a name can stand for a device, or a link."""
        if not self.is_directory or not os.path.exists(place):
            return
        base = os.path.join(os.path.realpath(self._base), "")
        astray = self._brought and not os.path.realpath(place).startswith(base)
        if astray or not os.path.isfile(place):
            raise FileNotFoundError(place)
        if most is not None and os.path.getsize(place) > most:
            raise _TooLarge

    @contextlib.contextmanager
    def _downloaded(
        self, place: str, progress: Progress, most: int | None = None
    ) -> Iterator[Path | None]:
        """Fetch a file into a temporary one of the cache; None where the remote has no good one.

        What has more than `most` bytes is none: no more is taken of it.
        """
        temp = self._cache.new_temporary()
        found = True
        try:
            with self._translated():
                try:
                    self._require_file(place, most)
                    self._fs.get_file(place, str(temp), callback=self._counting(progress, most))
                except FileNotFoundError as e:
                    if not is_absent(e):
                        raise
                    found = False
                except Exception as e:
                    if "checksum" not in str(e).lower() and not _is_too_large(e):
                        raise
                    found = False  # S3: what it has is not what was put there
            yield temp if found else None
        finally:
            with contextlib.suppress(OSError):
                temp.unlink()

    def put(self, wanted: Wanted, progress: Progress = SILENT) -> bool:
        """Send one object of the cache, which has been verified; what is there is replaced.

        Returns False where it has not arrived whole, as far as can be told without listing; it is
        taken away again then.
        """
        source = str(self._cache.object_path(wanted.oid, wanted.hash_name))
        place = self.path(wanted.oid, wanted.hash_name)
        with self._translated():
            self._fs.makedirs(self._fs.parent(place))
            if not self._names_when_whole():
                return self._put_renamed(wanted, source, place, progress)
            self._fs.put_file(source, place, callback=self._counting(progress))
            if self.reads_back and not self._holds(wanted, place):
                self._spoil(place)
                return False
        return True

    def clear_damaged(self, wanted: Wanted) -> None:
        """Take away what lies under an object's name and is not it."""
        if self._ask(wanted) is not None and self.proves(wanted) is None:
            self._spoil(self.path(wanted.oid, wanted.hash_name))

    def _spoil(self, place: str) -> None:
        """Let nobody take a damaged copy for a good one: away with it, or with what is in it."""
        try:
            self._fs.remove(place)
        except Exception:  # noqa: BLE001 - HTTP has no word for it: a wrong size tells, too
            with contextlib.suppress(Exception):
                self._fs.put_file(os.devnull, place)

    def _names_when_whole(self) -> bool:
        """Whether an upload that breaks off leaves nothing under the name (or cannot be helped)."""
        from dvc_objects.fs.base import ObjectFileSystem

        return (
            isinstance(self._fs, ObjectFileSystem)
            or self.is_directory  # DVC writes under another name itself, and so with ssh
            or str(self._fs.protocol).startswith(("http", "ssh"))
        )

    def _put_renamed(self, wanted: Wanted, source: str, place: str, progress: Progress) -> bool:
        temp = f"{place}.{self._mark}.tmp"  # the same one when it is tried again
        try:
            self._fs.put_file(source, temp, callback=self._counting(progress))
            whole = not self.reads_back or self._holds(wanted, temp)
            if whole:
                self._replace(temp, place)
            else:
                self._fs.remove(temp)
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.remove(temp)
            raise
        return whole

    def _holds(self, wanted: Wanted, place: str) -> bool:
        return self._fingerprint(wanted, place) is not None

    def _fingerprint(self, wanted: Wanted, place: str) -> Fingerprint | None:
        """Read a file of the remote; return its fingerprint if it is what it should be."""
        with self._downloaded(place, SILENT) as temp:
            if temp is None:
                return None
            with temp.open("rb") as f:
                digest = hash_file(f.fileno(), wanted.hash_name, second=True)
        right = self._cache.is_right(wanted.oid, wanted.hash_name, digest, wanted.claim)
        return Fingerprint(digest.length, digest.sha256 or "") if right else None

    def _replace(self, temp: str, place: str) -> None:
        """Rename; where the remote does not rename over a file (WebDAV), that one goes aside."""
        try:
            self._fs.move(temp, place)
        except Exception:
            if not self._fs.exists(place):
                raise
            old = f"{temp}.old"
            self._fs.move(place, old)
            try:
                self._fs.move(temp, place)
            except BaseException:
                self._fs.move(old, place)
                raise
            self._fs.remove(old)

    @property
    def reads_back(self) -> bool:
        """Whether nothing on the way protects what is sent, so that it has to be read again.

        Object stores compare checksums, ssh authenticates each packet.
        """
        return str(self._fs.protocol).startswith(("http", "webdav"))


def _opened(kind: Any, settings: dict[str, Any], hosts: Path) -> Any:  # noqa: ANN401 - DVC's types
    """Open one of DVC's file systems so that it asks nothing on a terminal.

    By ssh, only a host whose key is known is spoken to, and the user's agent stays here.
    """
    if kind.protocol != "ssh":
        return kind(**settings)
    import asyncssh

    # DVC's own client asks for passwords and for the passphrases of keys, asked to or not
    silent = dict.fromkeys(_ASKING, False) | {"client_factory": asyncssh.SSHClient}
    fs = kind(**{**settings, **silent, "agent_forwarding": False})
    host, port = fs.fs_args["host"], int(fs.fs_args.get("port") or ssh_hosts.SSH_PORT)
    fs.fs_args["known_hosts"] = ssh_hosts.files(hosts, host, port) or b""  # b"": knows none
    return fs


def _lacks(top: str, oid: str) -> bool:
    """Whether a directory plainly has no object; where it cannot be looked at, trying tells why."""
    try:
        os.lstat(f"{top}{oid[:2]}{os.sep}{oid[2:]}")
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


class _TooLarge(Exception):
    """A remote sends more for an object than it can have."""


def _is_too_large(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, _TooLarge):
        error = error.__cause__ or error.__context__
    return error is not None


def _is_doubtful(wanted: Wanted, entry: Entry | None) -> bool:
    """Whether what a remote tells of an object's MD5 is not what its name says."""
    told = _md5_in(entry) if entry and wanted.hash_name == MD5 else None
    return told is not None and told != wanted.oid.removesuffix(".dir")


def _md5_in(entry: Entry) -> str | None:
    """Return an object's MD5 where the remote tells it: S3's ETag, Google's md5Hash.

    An ETag of several parts (`...-3`) is no MD5 of the whole, and is left out.
    """
    etag = str(entry.get("ETag", "")).strip('"')
    if re.fullmatch(r"[0-9a-f]{32}", etag):
        return etag
    with contextlib.suppress(ValueError, TypeError):
        return base64.b64decode(entry.get("md5Hash", ""), validate=True).hex() or None
    return None

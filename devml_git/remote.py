"""One DVC remote, opened through DVC's own configuration and file systems: objects in and out.

What counts is what the remote itself says of an object, each time; DVC's index of a remote is
never asked. An upload gets its name only when all of it is there: object stores do so by
themselves, elsewhere it goes under another name first. DVC is imported inside functions only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from devml_git import gate, store
from devml_git.errors import DevmlError, DvcFailed
from devml_git.manifest import read_manifest
from devml_git.nouns import MD5
from devml_git.progress import SILENT, Progress
from devml_git.streams import hash_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from devml_git.cache import Cache

T = TypeVar("T")
R = TypeVar("R")
STALL_SECONDS = 60.0
_JOBS = 16
_WHOLE_LISTING = 2000  # objects asked for at once, from which on all prefixes are listed
_PREFIXES = tuple(f"{n:02x}" for n in range(256))
_ASKING = ("ask_password", "ask_passphrase")
_CHAIN = 8  # causes of an error that are looked at


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object: its oid, hash name, and the remote its output names (None: the default one).

    `size` is in bytes, about: a directory's members share its size evenly.
    """

    oid: str
    hash_name: str = MD5
    remote: str | None = None
    size: int = 0


def name_of(root: Path, wanted: str | None) -> str | None:
    """Return the configured remote that an output's `remote:` (or none) means, or None.

    Raises DvcFailed where there are remotes and none of them is meant.
    """
    known = store.remotes(root)
    name = wanted or store.core_setting(root, "remote")
    if name is not None and name.lower() in {k.lower() for k in known}:
        return name
    if not known and wanted is None:
        return None
    if name is None:
        raise DvcFailed("no DVC remote is the default one", hint="dvc remote default NAME")
    raise DvcFailed(f"there is no DVC remote {gate.shown(name)}", hint="dvc remote list")


def fetch_objects(
    root: Path, cache: Cache, wanted: Sequence[Wanted], progress: Progress = SILENT
) -> list[str]:
    """Bring objects from their DVC remotes into the cache, verified; return those not to be had.

    Raises DvcFailed when a remote cannot be reached or refuses.
    """
    missing: list[str] = []
    groups: dict[str | None, dict[str, Wanted]] = {}
    for w in wanted:
        groups.setdefault(w.remote, {})[w.oid] = w
    for name, group in groups.items():
        found = None
        with contextlib.suppress(DvcFailed):  # a colleague's own: the rest can be had without it
            found = name_of(root, name)
        if found is None:
            missing += group
            continue
        there = Remote(root, found)
        done = there.each(lambda w, r=there: r.get(cache, w, progress), list(group.values()))  # type: ignore[misc]
        missing += [oid for oid, good in zip(group, done, strict=True) if not good]
    return sorted(missing)


class Remote:
    """An open remote. Raises DvcFailed, with the cause in words, when it cannot do its part.

    `stall` is how many seconds it may say nothing at all before that counts as hanging. Nothing
    is ever asked on a terminal: passwords come from DVC's configuration or the ssh agent.
    """

    def __init__(self, root: Path, name: str, *, stall: float = STALL_SECONDS) -> None:
        self.name = name
        self._stall = stall
        self._beat = 0.0
        with _translated(name):
            from dvc.config import Config
            from dvc.fs import get_cloud_fs

            kind, settings, self._base = get_cloud_fs(Config(str(root / ".dvc")), name=name)
            if settings.get("version_aware") or settings.get("worktree"):
                raise DvcFailed(
                    f"the DVC remote {gate.shown(name)} is cloud-versioned: it holds no objects",
                    hint="dvc push, dvc pull",
                )
            silent = {key: False for key in _ASKING if settings.get(key)}
            self._fs = kind(**{**settings, **silent})

    @property
    def _is_local(self) -> bool:
        return bool(self._fs.protocol == "local")

    def path(self, oid: str, hash_name: str = MD5) -> str:
        """Return where an object lies on the remote (DVC 3.67 `dvc/data_cloud.py`)."""
        middle = ("files", "md5") if hash_name == MD5 else ()
        return str(self._fs.join(self._base, *middle, oid[:2], oid[2:]))

    # -- many at once ------------------------------------------------------------------------

    def each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Do something for each item, several at once; return the results in order.

        The first failure ends it, and so does a remote that says nothing for `stall` seconds: the
        threads that wait for it are left behind, they hold up no exit.
        """
        todo: SimpleQueue[int] = SimpleQueue()
        done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
        for i in range(len(items)):
            todo.put(i)

        def run() -> None:
            with contextlib.suppress(Empty):
                while True:
                    i = todo.get_nowait()
                    try:
                        done.put((i, work(items[i]), None))
                    except BaseException as e:  # noqa: BLE001 - raised again below
                        done.put((i, None, e))

        self._beat = time.monotonic()
        for _ in range(min(_JOBS, len(items))):
            threading.Thread(target=run, daemon=True).start()
        results: dict[int, R] = {}
        try:
            while len(results) < len(items):
                i, result, error = self._next(done)
                if error is not None:
                    raise error
                results[i] = result
                self._beat = time.monotonic()
        finally:
            with contextlib.suppress(Empty):
                while True:
                    todo.get_nowait()
        return [results[i] for i in range(len(items))]

    def _next(self, done: SimpleQueue[T]) -> T:
        while True:
            try:
                return done.get(timeout=0.2)
            except Empty:
                quiet = time.monotonic() - self._beat
                if quiet > self._stall:
                    raise DvcFailed(
                        f"the DVC remote {gate.shown(self.name)} has not answered for "
                        f"{quiet:.0f} s",
                        hint="the same command once more goes on where this one stopped",
                    ) from None

    def _counting(self, progress: Progress) -> Any:  # noqa: ANN401
        """Return what DVC's file systems report transferred bytes to."""
        from fsspec import Callback

        class Counting(Callback):  # type: ignore[misc]
            def relative_update(_, inc: int = 1) -> None:  # noqa: N805 - self is the remote
                self._beat = time.monotonic()
                progress.advance(inc)

        return Counting()

    # -- asking ------------------------------------------------------------------------------

    def sizes(self, wanted: Sequence[Wanted]) -> dict[str, int | None]:
        """Ask which objects are there: oid to size in bytes (None: not told); absent ones left out.

        Nothing that was listed before is believed.
        """
        self.each(self._forget_listings, [None])
        if len(wanted) > _WHOLE_LISTING and not self._is_local:
            found: dict[str, int | None] = {}
            for hash_name in sorted({w.hash_name for w in wanted}):
                for part in self.each(lambda p, h=hash_name: self._list(p, h), _PREFIXES):  # type: ignore[misc]
                    found.update(part)
            return {w.oid: found[w.oid] for w in wanted if w.oid in found}
        asked = self.each(self._ask, wanted)
        return {w.oid: a[0] for w, a in zip(wanted, asked, strict=True) if a is not None}

    def _forget_listings(self, _: None) -> None:
        with _translated(self.name), contextlib.suppress(AttributeError, NotImplementedError):
            self._fs.fs.invalidate_cache()

    def _ask(self, wanted: Wanted) -> tuple[int | None] | None:
        with _translated(self.name):
            try:
                info = self._fs.info(self.path(wanted.oid, wanted.hash_name))
            except FileNotFoundError:
                return None
            return None if info.get("type") == "directory" else (info.get("size"),)

    def _list(self, prefix: str, hash_name: str) -> dict[str, int | None]:
        """Return the objects whose oid begins with two digits."""
        with _translated(self.name):
            try:
                place = self._fs.parent(self.path(f"{prefix}x", hash_name))
                entries = self._fs.ls(place, detail=True)
            except FileNotFoundError:
                return {}
            return {
                prefix + str(e["name"]).rstrip("/").rsplit("/", 1)[-1]: e.get("size")
                for e in entries
                if e.get("type") != "directory"
            }

    # -- bringing and sending ----------------------------------------------------------------

    def get(self, cache: Cache, wanted: Wanted, progress: Progress = SILENT) -> bool:
        """Bring one object into the cache, verified; return whether there is a good one now.

        What the remote sends under a wrong name never enters the cache.
        """
        with self._downloaded(cache, self.path(wanted.oid, wanted.hash_name), progress) as temp:
            return temp is not None and cache.adopt(wanted.oid, temp, wanted.hash_name)

    def proves(self, cache: Cache, wanted: Wanted) -> bool:
        """Read an object of the remote, and say whether its bytes are what its name says."""
        return self._holds(cache, wanted, self.path(wanted.oid, wanted.hash_name))

    def manifest(self, cache: Cache, wanted: Wanted) -> dict[str, str] | None:
        """Return what a directory's manifest on the remote names; None where there is no good one.

        The cache stays as it is. Raises Refused for a hostile one.
        """
        with self._downloaded(cache, self.path(wanted.oid, wanted.hash_name), SILENT) as temp:
            if temp is None or temp.stat().st_size > gate.MAX_MANIFEST_BYTES:
                return None
            data = temp.read_bytes()
        good = hashlib.md5(data, usedforsecurity=False).hexdigest() + ".dir" == wanted.oid
        return read_manifest(data, wanted.oid) if good else None

    @contextlib.contextmanager
    def _downloaded(self, cache: Cache, place: str, progress: Progress) -> Iterator[Path | None]:
        """Fetch a file into a temporary one of the cache; None where the remote has no good one."""
        temp = cache.new_temporary()
        found = True
        try:
            with _translated(self.name):
                try:
                    self._fs.get_file(place, str(temp), callback=self._counting(progress))
                except FileNotFoundError:
                    found = False
                except Exception as e:
                    if "checksum" not in str(e).lower():
                        raise
                    found = False  # S3: what it has is not what was put there
            yield temp if found else None
        finally:
            with contextlib.suppress(OSError):
                temp.unlink()

    def put(self, cache: Cache, wanted: Wanted, progress: Progress = SILENT) -> bool:
        """Send one object of the cache, which has been verified; what is there is replaced.

        Returns False where it has not arrived whole, as far as can be told without listing; it is
        taken away again then.
        """
        source = str(cache.object_path(wanted.oid, wanted.hash_name))
        place = self.path(wanted.oid, wanted.hash_name)
        with _translated(self.name):
            self._fs.makedirs(self._fs.parent(place))
            if not self._names_when_whole():
                return self._put_renamed(cache, wanted, source, place, progress)
            self._fs.put_file(source, place, callback=self._counting(progress))
            if self.reads_back and not self._holds(cache, wanted, place):
                self._spoil(place)
                return False
        return True

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
            or self._is_local
            or str(self._fs.protocol).startswith("http")
        )

    def _put_renamed(
        self, cache: Cache, wanted: Wanted, source: str, place: str, progress: Progress
    ) -> bool:
        temp = f"{place}.{os.urandom(8).hex()}.tmp"
        try:
            self._fs.put_file(source, temp, callback=self._counting(progress))
            whole = not self.reads_back or self._holds(cache, wanted, temp)
            if whole:
                self._replace(temp, place)
            else:
                self._fs.remove(temp)
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.remove(temp)
            raise
        return whole

    def _holds(self, cache: Cache, wanted: Wanted, place: str) -> bool:
        """Read a file of the remote, and say whether it is what an object's name says."""
        with self._downloaded(cache, place, SILENT) as temp:
            if temp is None:
                return False
            with temp.open("rb") as f:
                digest = hash_file(f.fileno(), wanted.hash_name)
        return digest == wanted.oid.removesuffix(".dir")

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


# -- what went wrong, in words -------------------------------------------------------------------


@contextlib.contextmanager
def _translated(name: str) -> Iterator[None]:
    """Translate whatever DVC, a file system or a cloud's library raises."""
    import logging

    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    for noisy in ("dvc", "asyncssh", "botocore", "aiobotocore", "s3fs", "sshfs"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        yield
    except (DevmlError, FileNotFoundError):
        raise
    except Exception as e:
        words, hint = _cause(e, name)
        raise DvcFailed(f"the DVC remote {gate.shown(name)} {words}", hint=hint) from e


def _cause(raised: BaseException, name: str) -> tuple[str, str]:
    """Return what went wrong, and the command that helps, from the error and its causes."""
    chain: list[BaseException] = [raised]
    while len(chain) < _CHAIN and (then := chain[-1].__cause__ or chain[-1].__context__):
        chain.append(then)
    kinds = " ".join(k.__name__ for e in chain for k in type(e).__mro__[:-2])
    text = " | ".join(str(e).strip() for e in chain if str(e).strip())
    numbers = {e.errno for e in chain if isinstance(e, OSError)}
    first = next((str(e).strip().splitlines()[0] for e in chain if str(e).strip()), kinds)
    why = gate.shown(first, 300)
    if "MissingDeps" in kinds or "ModuleNotFound" in kinds:
        return (
            f"needs more packages: {why}",
            "pip install 'dvc[s3]', 'dvc[ssh]'... as its address is",
        )
    if {errno.ENOSPC, errno.EDQUOT} & numbers or any(x in text for x in ("507", "QuotaExceeded")):
        return f"is full: {why}", "make space there, then run the same command again"
    if "HostKey" in kinds or "not trusted" in text:
        return (
            f"is a host that ssh does not know: {why}",
            "ssh to that host once, and check its key",
        )
    if "Timeout" in kinds or errno.ETIMEDOUT in numbers:
        return f"did not answer in time: {why}", "run the same command again: it goes on"
    denied = ("403", "401", "Forbidden", "AccessDenied", "InvalidAccessKey", "credentials")
    if (
        any(k in kinds for k in ("Auth", "PermissionDenied", "PermissionError", "Credential"))
        or {errno.EACCES, errno.EPERM, errno.EROFS} & numbers
        or any(word in text for word in denied)
    ):
        return f"refuses: {why}", f"dvc remote modify --local {name} ...   (credentials, rights)"
    unreachable = ("Connection", "gaierror", "EndpointConnection", "ClientConnector")
    if any(k in kinds for k in unreachable):
        return f"cannot be reached: {why}", "check the network and the address: dvc remote list"
    return f"failed: {why}", "run the same command again; dvc remote list   shows the address"

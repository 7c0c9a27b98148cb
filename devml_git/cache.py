"""Content in and out of DVC's cache (layout of DVC 3.67 `dvc_data/hashfile/db/local.py`).

In: the file is read once and hashed while it is copied into the cache; it must be the same file,
with the same times, before and after. Out: hashed again while it is copied to the workspace, so
that a wrong byte is never handed out as right (P5). The workspace file is never touched by
`put`. DVC 3 takes mode 0444 as "verified"; we never do.

One MD5 stands for one content: the first that was seen, by its fingerprint (`fingerprints.py`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from devml_git import gate
from devml_git.errors import ContentLost, Refused, StorageFailed
from devml_git.fingerprints import Fingerprint, Fingerprints
from devml_git.intake import Batch, collision
from devml_git.manifest import manifest_bytes, read_manifest
from devml_git.nouns import LEGACY, MD5
from devml_git.place import Absent, Stat, parent, storage_error, temporary_name, what_is
from devml_git.progress import SILENT, Progress
from devml_git.streams import (
    SMALL,
    Digest,
    copy_hashing,
    digest_of,
    fsync_directory,
    hash_file,
    in_parallel,
    open_source,
    read_all,
    same_bytes,
    same_files,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

SYNC_TOGETHER = 64  # more new objects than this are made durable by one syncfs(2)
ATTEMPTS = 3
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_MANY, _SPREAD = 2000, 8  # objects that are listed rather than asked for; of how many times more
MANIFESTS_KEPT = 8  # parsed and verified once per process


class Corrupt(Exception):
    """An object of the cache whose bytes are not what its name, or its pointer, says."""

    def __init__(self, oid: str) -> None:
        super().__init__(oid)
        self.oid = oid


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be put into the cache: where it is, what to call it, its size in bytes.

    A file of the workspace is `real` below `root` and was `seen` there: if another file is found by
    its path, it is looked for by directory handles, which no link leads astray.
    `vouched`: an oid, and the SHA-256 that its content must have should it have that oid.
    """

    path: str
    name: str
    size: int
    root: Path | None = None
    real: str = ""
    seen: Stat | None = None
    vouched: tuple[str, str] | None = None

    def open(self) -> int:
        """Open it for reading. Raises StorageFailed, and Refused where a link is on its way."""
        fd = open_source(self.path, self.name)
        if self.root is None or self.seen is None:
            return fd
        found = os.fstat(fd)
        if (found.st_ino, found.st_dev) == (self.seen.ino, self.seen.dev):
            return fd
        os.close(fd)
        try:
            with parent(self.root, self.real) as (above, base):
                return open_source(base, self.name, above)
        except Absent as e:
            raise StorageFailed(f"{gate.shown(self.name)} vanished while it was read") from e


@dataclass(frozen=True, slots=True)
class Stored:
    """A file whose content the cache now has: its oid and the stat it had while it was read.

    `quiet` is false when it had changed so recently that a later change might not show; `sha256`
    is None where `Cache.second` is off.
    """

    oid: str
    stat: Stat
    quiet: bool
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Cache:
    """One DVC cache. `root` is `cache.dir`; `types` are `cache.type`; `shared`: group-writable.

    `seen` has the fingerprints of what it holds. `second`: what comes in is hashed by SHA-256, too;
    what goes out, always.
    """

    root: Path
    types: tuple[str, ...] = ("reflink", "copy")
    shared: bool = False
    second: bool = True
    seen: Fingerprints = field(default_factory=Fingerprints, compare=False, repr=False)
    _manifests: dict[str, dict[str, str]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def objects(self) -> Path:
        """Directory of the objects, sharded by the first two digits."""
        return self.root / "files" / "md5"

    def object_path(self, oid: str, hash_name: str = MD5) -> Path:
        """Where an object lies, or would. Raises Refused for what is no object id."""
        return Path(self._where(oid, hash_name))

    def _where(self, oid: str, hash_name: str = MD5) -> str:
        """`object_path` as text: asked ten thousand times in a row, where pathlib is felt."""
        gate.oid(oid, "cache")
        layout = "" if hash_name == LEGACY else f"{os.sep}files{os.sep}md5"
        return f"{self.root}{layout}{os.sep}{oid[:2]}{os.sep}{oid[2:]}"

    def has(self, oid: str, hash_name: str = MD5) -> bool:
        """Whether the cache has an object of that name; its bytes are not looked at."""
        try:
            return stat.S_ISREG(os.lstat(self._where(oid, hash_name)).st_mode)
        except OSError:
            return False

    def missing_of(self, oid: str, hash_name: str = MD5) -> list[str]:
        """Return the objects that the content of `oid` needs and the cache lacks."""
        if not self.has(oid, hash_name):
            return [oid]
        if not oid.endswith(".dir"):
            return []
        try:
            members = set(self.manifest(oid, hash_name).values())
        except Corrupt:
            return [oid]
        return sorted(self.lacking(members, hash_name))

    def lacking(self, oids: Collection[str], hash_name: str = MD5) -> set[str]:
        """Return those of some objects that the cache has not, as `has` tells of one.

        Of very many, the directories that they would be in are listed.
        """
        here = self._listed(_SPREAD * len(oids), hash_name) if len(oids) >= _MANY else None
        if here is not None:
            return set(oids) - here
        return {oid for oid in oids if not self.has(oid, hash_name)}

    def _listed(self, most: int, hash_name: str) -> set[str] | None:
        """Return the names of all objects; None where there are many more than `most`."""
        base = os.path.dirname(os.path.dirname(self._where("0" * 32, hash_name)))
        here: set[str] = set()
        for n in range(256):
            shard = f"{n:02x}"
            try:
                with os.scandir(f"{base}{os.sep}{shard}") as entries:
                    files = {e.name for e in entries if e.is_file(follow_symlinks=False)}
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                return None
            here |= {shard + name for name in files}
            if 256 * len(here) > (most + _MANY) * (n + 1):  # of hashes, all shards are alike full
                return None
        return here

    # -- in ----------------------------------------------------------------------------------

    def put(self, sources: Sequence[Source], progress: Progress = SILENT) -> list[Stored]:
        """Put files into the cache, in parallel, largest first; return what each one is.

        Durable when this returns. Raises StorageFailed for a file that cannot be read, vanishes,
        or keeps changing; the cache is then as good as before.
        """
        batch = Batch(self, together=len(sources) > SYNC_TOGETHER)
        order = sorted(range(len(sources)), key=lambda i: -sources[i].size)
        results: dict[int, Stored] = {}

        def work(i: int) -> None:
            results[i] = self._held_still(sources[i], batch, progress)

        try:
            in_parallel(work, order, [s.size for s in sources])
            found = self._refuse_twins(sources, results)
            batch.publish()
        finally:
            batch.discard()
        self.seen.learn(found)
        return [results[i] for i in range(len(sources))]

    def _refuse_twins(
        self, sources: Sequence[Source], results: Mapping[int, Stored]
    ) -> dict[str, Fingerprint]:
        """Return the fingerprints of what was read. Raises StorageFailed for a known one's twin."""
        known = self.seen.known(stored.oid for stored in results.values() if stored.sha256)
        found = {}
        for i, one in results.items():
            if one.sha256 is not None:
                found[one.oid] = mine = Fingerprint(one.stat.size, one.sha256)
                oid, claim = sources[i].vouched or ("", "")
                if known.get(one.oid, mine) != mine or (one.oid == oid and one.sha256 != claim):
                    e = collision(one.oid)
                    raise StorageFailed(f"{gate.shown(sources[i].name)}: {e.message}", hint=e.hint)
        return found

    def hash(self, sources: Sequence[Source], progress: Progress = SILENT) -> list[Stored]:
        """Hash files without storing them, in parallel, largest first; errors as in `put`."""
        order = sorted(range(len(sources)), key=lambda i: -sources[i].size)
        results: dict[int, Stored] = {}

        def work(i: int) -> None:
            results[i] = self._held_still(sources[i], None, progress)

        in_parallel(work, order, [s.size for s in sources])
        return [results[i] for i in range(len(sources))]

    def put_manifest(self, members: Mapping[str, str]) -> tuple[str, int]:
        """Store the `.dir` manifest of a directory (relative path to oid); return oid and size.

        The members must be in the cache already. Format: dvc_data/hashfile/tree.py `as_bytes`.
        """
        data = manifest_bytes(members)
        digest = digest_of(data, second=True)
        oid = f"{digest.oid}.dir"
        batch = Batch(self, together=False)
        try:
            batch.add_bytes(oid, data)
            batch.publish()
        finally:
            batch.discard()
        self._learn(oid, digest)
        return oid, len(data)

    def _held_still(self, source: Source, batch: Batch | None, progress: Progress) -> Stored:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(0.05 * attempt)
            stored = self._read_once(source, batch, progress)
            if stored is not None:
                return stored
        raise StorageFailed(
            f"{gate.shown(source.name)} keeps changing while it is read",
            hint="wait until whatever writes it is done, then run the same command again",
        )

    def _read_once(self, source: Source, batch: Batch | None, progress: Progress) -> Stored | None:
        """Read a file once, hashing it, into `batch` if there is one; None if it changed."""
        fd = source.open()
        try:
            began = time.time_ns()
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise StorageFailed(f"{gate.shown(source.name)} is a {what_is(before)}, not a file")
            was = Stat.of(before)
            if before.st_size <= SMALL:
                data = read_all(fd, before.st_size + 1)
                digest = digest_of(data, second=self.second)
                progress.advance(digest.length)
                store = partial(batch.add_bytes, digest.oid, data) if batch else None
            elif batch is None:
                digest, store = hash_file(fd, MD5, progress, second=self.second), None
            else:
                temp, digest = batch.copy_in(fd, progress, second=self.second)
                store = partial(batch.add_file, digest.oid, temp)
            if digest.length != before.st_size or Stat.of(os.fstat(fd)) != was:
                return None
        except OSError as e:
            raise storage_error(e, source.name) from e
        finally:
            os.close(fd)
        if store:
            try:
                store()
            except StorageFailed as e:
                raise StorageFailed(f"{gate.shown(source.name)}: {e.message}", hint=e.hint) from e
        return Stored(digest.oid, was, quiet=not was.racy(began), sha256=digest.sha256)

    # -- out ---------------------------------------------------------------------------------

    def manifest(self, oid: str, hash_name: str = MD5) -> dict[str, str]:
        """Return a directory's members (relative path to oid), verified and past the gate.

        Raises ContentLost when the cache lacks it, Corrupt when its bytes are wrong, Refused
        when it is malformed or hostile.
        """
        known = self._manifests.get(oid)
        if known is not None and self.has(oid, hash_name):
            return dict(known)
        place = self.object_path(oid, hash_name)
        try:
            if place.stat().st_size > gate.MAX_MANIFEST_BYTES:
                raise Refused(f"manifest {oid}: larger than {gate.MAX_MANIFEST_BYTES} bytes")
            data = place.read_bytes()
        except FileNotFoundError as e:
            raise ContentLost(f"manifest {oid} is not in the cache") from e
        except OSError as e:
            raise storage_error(e, place) from e
        if not self.is_right(oid, hash_name, digest_of(data, second=True)):
            raise Corrupt(oid)
        members = read_manifest(data, oid)
        if len(self._manifests) >= MANIFESTS_KEPT:
            self._manifests.clear()
        self._manifests[oid] = members
        return dict(members)

    def size_of(self, oid: str, hash_name: str = MD5) -> int:
        """Return an object's size in bytes, 0 when the cache lacks it."""
        try:
            return os.stat(self._where(oid, hash_name)).st_size
        except OSError:
            return 0

    def write_out(
        self,
        oid: str,
        fd: int,
        name: str,
        *,
        executable: bool,
        hash_name: str = MD5,
        progress: Progress = SILENT,
        claim: str | None = None,
    ) -> Fingerprint:
        """Make a new file `name` in the open directory `fd` from an object, verified on the way.

        Linked instead of copied where `cache.type` says so. `claim` is the SHA-256 that a pointer
        vouches for. Raises Corrupt when the object's bytes are not its name's or the claim's,
        ContentLost when it is gone; the new file is then gone too.
        """
        place = self._where(oid, hash_name)
        for kind in self.types if not executable else ("reflink", "copy"):
            if kind in {"hardlink", "symlink"} and hash_name == MD5 and self.size_of(oid):
                linked = self._link_out(kind, oid, fd, name, progress, claim)
                if linked is not None:
                    return linked
            elif kind in {"reflink", "copy"}:
                break
        try:
            src = os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError as e:
            raise ContentLost(f"object {oid} is not in the cache") from e
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
            out = os.open(name, flags, 0o777 if executable else 0o666, dir_fd=fd)
            try:
                digest = copy_hashing(src, out, hash_name, progress, second=True)
                if not self.is_right(oid, hash_name, digest, claim):
                    raise Corrupt(oid)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=fd)
                raise
            finally:
                os.close(out)
        finally:
            os.close(src)
        self._learn(oid, digest, hash_name)
        return Fingerprint(digest.length, digest.sha256 or "")

    def _link_out(
        self, kind: str, oid: str, fd: int, name: str, progress: Progress, claim: str | None
    ) -> Fingerprint | None:
        """Link an object into the workspace once it is verified; None where links cannot be."""
        if not self.verify(oid, progress=progress, claim=claim):
            raise Corrupt(oid)
        place = self.object_path(oid)
        try:
            if kind == "hardlink":
                os.link(place, name, dst_dir_fd=fd, follow_symlinks=False)
            else:
                os.symlink(place, name, dir_fd=fd)
        except OSError:
            return None
        return self.seen.of(oid)

    # -- proof -------------------------------------------------------------------------------

    def is_right(self, oid: str, hash_name: str, digest: Digest, claim: str | None = None) -> bool:
        """Whether bytes are an object's: by its name, by what was seen under it, and by `claim`.

        DVC 2's hash tells no CRLF from LF, so that many contents have one name: it alone counts.
        """
        if digest.oid != oid.removesuffix(".dir"):
            return False
        if hash_name == LEGACY or digest.sha256 is None:
            return True
        known = self.seen.of(oid)
        same = known is None or known == (digest.length, digest.sha256)
        return same and claim in {None, digest.sha256}

    def _learn(self, oid: str, digest: Digest, hash_name: str = MD5) -> None:
        if hash_name == MD5 and digest.sha256 is not None:
            self.seen.learn({oid: Fingerprint(digest.length, digest.sha256)})

    def vouched(self, oid: str, claim: str | None) -> bool | None:
        """Whether what was seen under an oid is what a pointer vouches for; None: never seen.

        Nothing is read. Without a claim it is.
        """
        known = self.seen.of(oid) if claim is not None else None
        return claim is None or (None if known is None else known.sha256 == claim)

    def verify(
        self,
        oid: str,
        hash_name: str = MD5,
        progress: Progress = SILENT,
        claim: str | None = None,
    ) -> bool:
        """Read an object and say whether its bytes are right (`is_right`); False if absent.

        Raises StorageFailed where it cannot be read just now: that says nothing against it.
        """
        digest = self._digest(oid, hash_name, progress)
        right = digest is not None and self.is_right(oid, hash_name, digest, claim)
        if right and digest is not None:
            self._learn(oid, digest, hash_name)
        return right

    def set_aside_corrupt(self, oid: str, hash_name: str = MD5) -> None:
        """Move an object that was found wrong out of the way, unless only a pointer says so.

        A stranger's pointer may vouch for anything: an object does not go for that, nor does its
        fingerprint count as seen. Errors as in `verify`.
        """
        digest = self._digest(oid, hash_name, SILENT)
        if digest is None or not self.is_right(oid, hash_name, digest):
            self.quarantine(oid, hash_name)

    def _digest(self, oid: str, hash_name: str, progress: Progress) -> Digest | None:
        place = self._where(oid, hash_name)
        try:
            fd = os.open(place, os.O_RDONLY | _NO_LINK)
            try:
                return hash_file(fd, hash_name, progress, second=True)
            finally:
                os.close(fd)
        except OSError as e:
            if e.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                return None
            raise storage_error(e, place) from e

    def holds(self, oid: str, fd: int, name: str, hash_name: str = MD5) -> bool:
        """Whether an object has exactly the bytes of a workspace file: proof before removal.

        The bytes themselves are compared, not times and not a remembered hash.
        """
        try:
            one = os.open(name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0), dir_fd=fd)
        except OSError:
            return self._is_our_link(oid, fd, name)
        try:
            return self.has_bytes(oid, one, hash_name)
        finally:
            os.close(one)

    def has_bytes(self, oid: str, fd: int, hash_name: str = MD5) -> bool:
        """Whether an object has exactly the bytes of an open file."""
        try:
            two = os.open(self._where(oid, hash_name), os.O_RDONLY)
            try:
                return same_bytes(fd, two)
            finally:
                os.close(two)
        except OSError:
            return False

    def _is_our_link(self, oid: str, fd: int, name: str) -> bool:
        try:
            return os.readlink(name, dir_fd=fd) == str(self.object_path(oid)) and self.has(oid)
        except OSError:
            return False

    def object_behind(self, path: Path) -> Path | None:
        """Return the object (there or not) that a symlink of the workspace names (`cache.type`)."""
        try:
            target = os.path.abspath(os.path.join(path.parent, os.readlink(path)))
        except OSError:
            return None
        shard, name = os.path.split(target)
        above = os.path.dirname(shard)
        try:
            oid = gate.file_oid(os.path.basename(shard) + name, "link")
        except Refused:
            return None
        for kind, place in ((MD5, self.objects), (LEGACY, self.root)):
            with contextlib.suppress(OSError):
                if os.path.samefile(above, place):
                    return self.object_path(oid, kind)
        return None

    def new_temporary(self) -> Path:
        """Return an unused path in the cache for content that comes from elsewhere."""
        self.make_directory(self.objects)
        return self.objects / temporary_name()

    def adopt(self, oid: str, temp: Path, hash_name: str, claim: str | None = None) -> bool:
        """Take a fetched file as the object `oid` if its bytes are; False otherwise.

        Other bytes that lay there under its name go aside: a pointer vouches for these.
        """
        fd = os.open(temp, os.O_RDONLY)
        try:
            digest = hash_file(fd, hash_name, second=True)
            if not self.is_right(oid, hash_name, digest, claim):
                return False
            os.fchmod(fd, 0o444)
            os.fsync(fd)
        finally:
            os.close(fd)
        place = self.object_path(oid, hash_name)
        self.make_directory(place.parent)
        if self.has(oid, hash_name) and not same_files(place, temp):
            self.quarantine(oid, hash_name)
        os.replace(temp, place)
        fsync_directory(place.parent)
        self._learn(oid, digest, hash_name)
        return True

    def quarantine(self, oid: str, hash_name: str = MD5) -> Path | None:
        """Move a corrupt object out of the way, never deleting it; return where to."""
        place = self.object_path(oid, hash_name)
        aside = self.root / "quarantine"
        target = aside / f"{oid}.{int(time.time())}.{os.urandom(3).hex()}"
        try:
            aside.mkdir(exist_ok=True)
            os.replace(place, target)
        except OSError:
            return None
        return target

    def quarantined(self, oid: str) -> bool:
        """Whether a corrupt object of that name was moved out of the way."""
        return any((self.root / "quarantine").glob(f"{oid}.*"))

    def total(self) -> tuple[int, int]:
        """Return how many objects the cache has and their size in bytes."""
        count = size = 0
        for place in self.objects.glob("??/*"):
            if not place.name.startswith("."):
                count += 1
                size += place.lstat().st_size
        return count, size

    def make_directory(self, path: Path) -> None:
        """Make a directory of the cache, group-writable in a shared cache (DVC: 02775)."""
        if path.is_dir():
            return
        if path != self.root:
            self.make_directory(path.parent)
        path.mkdir(parents=path == self.root, exist_ok=True)
        if self.shared:
            with contextlib.suppress(OSError):
                path.chmod(0o2775)

"""New objects on their way into the cache: written aside, made durable, then given their names."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING

from devml_git.errors import StorageFailed
from devml_git.nouns import MD5
from devml_git.place import storage_error, temporary_name, write_all
from devml_git.streams import copy_hashing, fsync_directory, same_files

if TYPE_CHECKING:
    from pathlib import Path

    from devml_git.cache import Cache
    from devml_git.progress import Progress
    from devml_git.streams import Digest


def collision(oid: str) -> StorageFailed:
    """Two contents made to have one MD5 (as anybody can, in seconds): DVC can keep only one."""
    return StorageFailed(
        f"other content with the same MD5 {oid} is known here: the two were made to collide",
        hint="one of the two does not come from where it says; keep this file elsewhere",
    )


class Batch:
    """New objects on their way into the cache: written aside, made durable, then renamed."""

    def __init__(self, cache: Cache, *, together: bool) -> None:
        self._cache = cache
        self._together = together and sys.platform == "linux"
        self._pending: dict[str, Path] = {}
        self._temps: set[Path] = set()
        self._lock = threading.Lock()

    def copy_in(self, fd: int, progress: Progress, *, second: bool) -> tuple[Path, Digest]:
        """Copy an open file aside while hashing it; return where, and what it hashes to."""
        temp, out = self._new_temp(self._cache.objects)
        try:
            digest = copy_hashing(fd, out, MD5, progress, second=second)
            self._seal(out)
        finally:
            os.close(out)
        return temp, digest

    def add_file(self, oid: str, temp: Path) -> None:
        """Take a copied file as the content of `oid`, unless the cache has those bytes."""
        if self._already(oid, temp):
            self.drop(temp)
        else:
            self.add_pending(oid, temp)

    def add_bytes(self, oid: str, data: bytes) -> None:
        """Take bytes as the content of `oid`, unless the cache has them."""
        with self._lock:
            pending = self._pending.get(oid)
        if pending is not None:
            if pending.read_bytes() != data:
                raise collision(oid)
            return
        place = self._cache.object_path(oid)
        with contextlib.suppress(OSError):
            if place.read_bytes() == data:
                return
            self._set_aside(oid)
        try:
            temp, out = self._new_temp(place.parent)
            try:
                write_all(out, data)
                self._seal(out)
            finally:
                os.close(out)
        except OSError as e:
            raise storage_error(e, place.parent) from e
        self.add_pending(oid, temp)

    def add_pending(self, oid: str, temp: Path) -> None:
        """Note a finished temporary file; a second one for the same oid is dropped."""
        with self._lock:
            other = self._pending.setdefault(oid, temp)
        if other is not temp:
            if not same_files(other, temp):
                raise collision(oid)
            self.drop(temp)

    def _already(self, oid: str, temp: Path) -> bool:
        """Whether the cache has these bytes; a corrupt object of that name is set aside."""
        place = self._cache.object_path(oid)
        if not os.access(place, os.R_OK):
            return False
        with contextlib.suppress(FileNotFoundError):  # somebody has removed it just now
            if same_files(place, temp):
                return True
        self._set_aside(oid)
        return False

    def _set_aside(self, oid: str) -> None:
        """Move a corrupt object out of the way; one whose bytes are its name's stays."""
        if self._cache.verify(oid):
            raise collision(oid)
        self._cache.quarantine(oid)

    def _new_temp(self, directory: Path) -> tuple[Path, int]:
        self._cache.make_directory(directory)
        temp = directory / temporary_name()
        fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with self._lock:
            self._temps.add(temp)
        return temp, fd

    def _seal(self, fd: int) -> None:
        os.fchmod(fd, 0o444)
        if not self._together:
            os.fsync(fd)

    def publish(self) -> None:
        """Make everything durable, then give the objects their names, then make that durable."""
        if not self._pending:
            return
        try:
            if self._together:
                self._sync_file_system()
            shards = set()
            for oid, temp in self._pending.items():
                place = self._cache.object_path(oid)
                if place.parent not in shards:
                    self._cache.make_directory(place.parent)
                    shards.add(place.parent)
                os.replace(temp, place)
                self._temps.discard(temp)
            if self._together:
                self._sync_file_system()
            else:
                for shard in (*shards, self._cache.objects):
                    fsync_directory(shard)
        except OSError as e:
            raise storage_error(e, self._cache.objects) from e

    def _sync_file_system(self) -> None:
        """syncfs(2): one flush for thousands of small objects; errors are reported since 5.8."""
        import ctypes

        fd = os.open(self._cache.objects, os.O_RDONLY)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.syncfs(fd) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
        finally:
            os.close(fd)

    def drop(self, temp: Path | None) -> None:
        """Remove one temporary file."""
        if temp is not None:
            with self._lock:
                self._temps.discard(temp)
            with contextlib.suppress(OSError):
                temp.unlink()

    def discard(self) -> None:
        """Remove what was not published."""
        for temp in list(self._temps):
            self.drop(temp)

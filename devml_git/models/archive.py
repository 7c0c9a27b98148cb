"""Zip archives as model files use them: the list of members, and where each one's bytes are.

PKWARE APPNOTE 6.3.10, with zip64. Of our own, since members are mapped where they lie, and since
the standard library's reader takes as much memory as a hostile directory asks for.
"""

from __future__ import annotations

import functools
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devml_git.amounts import counted
from devml_git.gate import shown
from devml_git.models.inflate import Damaged, deflated
from devml_git.models.model import Lying, clean

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from devml_git.models.model import Bytes
    from devml_git.models.source import Source

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
IN_MEMORY = 1 << 30  # bytes a compressed member may have to be decompressed in memory
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 0xFFFF
_MAX_DIRECTORY = 128 << 20  # bytes
_IN_ZIP64 = 0xFFFFFFFF
_ZIP64_EXTRA = 1
_ENCRYPTED, _UTF8 = 0x1, 0x800
_STORED, _DEFLATED = 0, 8
_MOST_INFLATED = 1032  # deflate makes at most this many bytes of one (zlib's FAQ)


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive: `size` in bytes, `packed` as it lies there, from `header` on."""

    name: str
    size: int
    packed: int
    header: int
    crc: int
    stored: bool


class Archive:
    """A zip archive's members by name. Raises Unreadable for one that lies or is cut off."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.members: dict[str, Member] = {}
        start, directory = self._directory()
        for member in self._entries(directory):
            if member.name in self.members:
                raise source.wrong(f"its archive has '{shown(member.name)}' twice")
            self.members[member.name] = member
        self._check_places(start)

    def _directory(self) -> tuple[int, bytes]:
        """Return where the directory of members lies, and its bytes."""
        source = self.source
        tail_at = max(0, source.size - _END.size - _MAX_COMMENT)
        tail = source.read(tail_at, source.size - tail_at)
        found = tail.rfind(b"PK\x05\x06", 0, len(tail) - _END.size + 4)
        if found < 0:
            raise source.wrong("it is a zip archive without its end: truncated")
        end = _END.unpack_from(tail, found)
        count, size, offset, end_at = end[4], end[5], end[6], tail_at + found
        located = end_at - _END64_LOCATOR.size
        if located >= 0 and source.read(located, 4) == b"PK\x06\x07":
            at = _END64_LOCATOR.unpack(source.read(located, _END64_LOCATOR.size))[2]
            end64 = _END64.unpack(source.read(at, _END64.size))
            if end64[0] != b"PK\x06\x06":
                raise source.wrong("its zip64 directory is not where it should be")
            count, size, offset, end_at = end64[7], end64[8], end64[9], at
        if count > source.most or size > _MAX_DIRECTORY:
            raise source.too_many()
        if offset + size > end_at:
            raise source.wrong("its archive's directory is not where it should be")
        return offset, source.read(offset, size)

    def _entries(self, directory: bytes) -> Iterator[Member]:
        at = 0
        while at < len(directory):
            if len(self.members) > self.source.most:
                raise self.source.too_many()
            if len(directory) - at < _ENTRY.size or directory[at : at + 4] != b"PK\x01\x02":
                raise self.source.wrong("its archive's directory is damaged")
            fields = _ENTRY.unpack_from(directory, at)
            name_at = at + _ENTRY.size
            extra_at = name_at + fields[10]
            at = extra_at + fields[11] + fields[12]
            yield self._member(fields, directory[name_at:extra_at], directory[extra_at:at])

    def _member(self, fields: tuple[int, ...], raw_name: bytes, extra: bytes) -> Member:
        flags, method = fields[3], fields[4]
        name = clean(raw_name.decode("utf-8" if flags & _UTF8 else "cp437", "backslashreplace"))
        if flags & _ENCRYPTED:
            raise self.source.wrong(f"its member '{shown(name)}' is encrypted")
        if method not in {_STORED, _DEFLATED}:
            raise self.source.wrong(f"its member '{shown(name)}' is compressed by method {method}")
        size, packed, header = self._sizes64((fields[9], fields[8], fields[16]), extra)
        stored = method == _STORED
        if (stored and size != packed) or size > packed * _MOST_INFLATED:
            raise self.source.wrong(f"its member '{shown(name)}' lies about its size")
        return Member(name, size, packed, header, fields[7], stored)

    def _sizes64(self, sizes: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
        """Return size, packed size and offset, those taken from the zip64 field that are there."""
        values: Iterator[int] = iter(())
        at = 0
        while at + 4 <= len(extra):
            tag, length = struct.unpack_from("<HH", extra, at)
            if tag == _ZIP64_EXTRA:
                body = extra[at + 4 : at + 4 + length]
                values = (v for (v,) in struct.iter_unpack("<Q", body[: len(body) // 8 * 8]))
            at += 4 + length
        try:
            size, packed, header = (next(values) if v == _IN_ZIP64 else v for v in sizes)
        except (StopIteration, RuntimeError) as e:
            raise self.source.wrong("its archive's directory lacks a size") from e
        return size, packed, header

    def _check_places(self, end: int) -> None:
        """Hold that no two members share bytes: overlaps are what small bombs are made of."""
        at = 0
        for member in sorted(self.members.values(), key=lambda m: m.header):
            if member.header < at or member.header + _LOCAL.size + member.packed > end:
                raise self.source.wrong(f"its member '{shown(member.name)}' is out of its place")
            at = member.header + _LOCAL.size + member.packed

    def start(self, member: Member) -> int:
        """Return where a member's own bytes begin in the file."""
        local = _LOCAL.unpack(self.source.read(member.header, _LOCAL.size))
        if local[0] != b"PK\x03\x04":
            raise self.source.wrong(f"its member '{shown(member.name)}' is out of its place")
        return member.header + _LOCAL.size + int(local[9]) + int(local[10])

    def stream(self, member: Member) -> io.BufferedReader:
        """Return a member as a file to read from; a stored one can seek."""
        packed = self.source.stream(self.start(member), member.packed)
        return packed if member.stored else deflated(packed)

    def view(self, member: Member, offset: int, length: int) -> Bytes:
        """Return a part of a member: mapped if it is stored, decompressed in memory otherwise."""
        import numpy as np

        if offset + length > member.size:
            raise self.source.wrong(f"its member '{shown(member.name)}' is too short")
        if member.stored:
            return self.source.view(self.start(member) + offset, length)
        return np.frombuffer(self.read(member, IN_MEMORY), np.uint8)[offset : offset + length]

    def pieces(self, member: Member, offset: int, length: int, step: int) -> Iterator[Bytes]:
        """Yield a part of a member, `step` bytes at a time; its end is where damage is known."""
        import numpy as np

        try:
            with self.stream(member) as stream:
                crc = zlib.crc32(stream.read(offset))
                for at in range(0, length, step):
                    data = stream.read(min(step, length - at))
                    if len(data) < min(step, length - at):
                        raise Damaged("it ends too early")
                    crc = zlib.crc32(data, crc)
                    yield np.frombuffer(data, np.uint8)
                if offset + length == member.size and crc != member.crc:
                    raise Damaged("its checksum says so")
        except Damaged as e:
            raise self.source.wrong(f"its member '{shown(member.name)}' is damaged: {e}") from e

    def content(self, member: Member, offset: int, length: int) -> Lying:
        """Return a part of a member, to be had when it is asked for."""
        view = functools.partial(self.view, member)
        if member.stored:
            return Lying(view, offset, length, mapped=self.source.steady)
        stream = functools.partial(self.pieces, member, offset, length)
        return Lying(view, offset, length, mapped=False, stream=stream)

    def read(self, member: Member, most: int) -> bytes | bytearray:
        """Return a whole member, decompressed and checked, unless it is larger than `most`."""
        if member.size > most:
            raise self.source.wrong(
                f"its member '{shown(member.name)}' has {counted(member.size, 'byte')}; "
                f"{most:,} are read"
            )
        if member.stored:
            return self.source.read(self.start(member), member.size)
        try:
            with self.stream(member) as stream:
                data, over = _filled(stream, member.size), stream.read(1)
        except Damaged as e:
            raise self.source.wrong(f"its member '{shown(member.name)}' is damaged: {e}") from e
        if over or len(data) != member.size or zlib.crc32(data) != member.crc:
            raise self.source.wrong(f"its member '{shown(member.name)}' is damaged")
        return data


def _filled(stream: io.BufferedReader, size: int) -> bytearray:
    """Return so many bytes of a stream, or as many as it has."""
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size and (count := stream.readinto(view[at:])):
        at += count
    view.release()
    del data[at:]
    return data

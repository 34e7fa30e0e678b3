"""Zip archives as a table of checked entries; the members are found, never extracted to disk.

Floor 6.  PyTorch's files and `.npz` are zip archives.  The central directory at the end of the
file says where each member is; it is untrusted, so sizes and places are checked against the
file before anything is read, and a packed member is unpacked no further than its caller says.
The format is that of PKWARE's APPNOTE, sections 4.3 and 4.5.3 (sizes over 4 GB).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from dlgrad.errors import FileFormatError
from dlgrad.files.mapped import quote

STORED, DEFLATED = 0, 8
MAX_RATIO = 200  # a member that claims to unpack to more than that is a bomb ...
SMALL_BYTES = 1 << 26  # ... unless it is small
CHUNK_BYTES = 1 << 20

_END = struct.Struct("<4s4H2IH")
_END_64_PLACE = struct.Struct("<4sIQI")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True)
class Member:
    """One file of an archive: its bytes are `packed` long and begin at `begin`."""

    name: str
    method: int
    begin: int
    packed: int
    unpacked: int
    checksum: int


def read_directory(data: memoryview) -> dict[str, Member]:
    """The members of the archive `data` by name, in the order of its directory.

    Raises FileFormatError for an archive that is damaged, encrypted, or lies about a size.
    """
    try:
        count, size, start = _find_directory(data)
        if start + size > len(data):
            raise FileFormatError("its directory is outside of the file")
        members: dict[str, Member] = {}
        position = start
        while position < start + size:
            member, position = _read_entry(data, position)
            if member.name in members:
                raise FileFormatError(f"it has the member {quote(member.name)} twice")
            members[member.name] = member
    except struct.error:
        raise FileFormatError("its directory is cut off") from None
    if len(members) != count:
        raise FileFormatError(f"its directory has {len(members)} members and claims {count}")
    _check_places(members, start)
    return members


def _find_directory(data: memoryview) -> tuple[int, int, int]:
    """How many entries the directory has, its size, and where it begins."""
    tail = bytes(data[max(0, len(data) - _END.size - _FULL_16) :])
    place = tail.rfind(b"PK\5\6")
    if place < 0:
        raise FileFormatError("it has no directory at its end: it is cut off, or no zip archive")
    place += len(data) - len(tail)
    _, disk, _, _, count, size, start, _ = _END.unpack_from(data, place)
    if disk not in (0, _FULL_16):
        raise FileFormatError("it is a part of an archive in several files")
    before = place - _END_64_PLACE.size
    if before >= 0 and bytes(data[before : before + 4]) == b"PK\6\7":
        _, _, end_64, _ = _END_64_PLACE.unpack_from(data, before)
        if end_64 + _END_64.size > before or bytes(data[end_64 : end_64 + 4]) != b"PK\6\6":
            raise FileFormatError("its directory for large files is damaged")
        *_, count, size, start = _END_64.unpack_from(data, end_64)
    return count, size, start


def _read_entry(data: memoryview, position: int) -> tuple[Member, int]:
    """The entry of the directory at `position`, and where the next one begins."""
    (mark, _, _, flags, method, _, _, checksum, packed, unpacked, name_size, extra_size,
     comment_size, _, _, _, local) = _CENTRAL.unpack_from(data, position)  # fmt: skip
    if mark != b"PK\1\2":
        raise FileFormatError("its directory is damaged")
    position += _CENTRAL.size
    raw_name = bytes(data[position : position + name_size])
    try:
        name = raw_name.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError:
        raise FileFormatError(f"the name {quote(raw_name)} of a member is not UTF-8") from None
    extra = bytes(data[position + name_size : position + name_size + extra_size])
    wide = _wide_sizes(extra, [unpacked, packed, local])
    unpacked, packed, local = wide
    who = f"its member {quote(name)}"
    if flags & 1:
        raise FileFormatError(f"{who} is encrypted")
    if method not in (STORED, DEFLATED):
        raise FileFormatError(f"{who} is packed by method {method}, which is not read")
    if method == STORED and packed != unpacked:
        raise FileFormatError(f"{who} has {packed} bytes and claims {unpacked}")
    if unpacked > max(SMALL_BYTES, MAX_RATIO * packed):
        raise FileFormatError(f"{who} of {packed} bytes claims to unpack to {unpacked}")
    local_mark, *_, local_name_size, local_extra_size = _LOCAL.unpack_from(data, local)
    begin = local + _LOCAL.size + local_name_size + local_extra_size
    if local_mark != b"PK\3\4" or begin + packed > len(data):
        raise FileFormatError(f"{who} is not where the directory says")
    member = Member(name, method, begin, packed, unpacked, checksum)
    return member, position + name_size + extra_size + comment_size


def _wide_sizes(extra: bytes, sizes: list[int]) -> list[int]:
    """The sizes of an entry, those of 64 bits taken from the extra field."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        position += 4
        if kind == 1:
            field = extra[position : position + length]
            for i, size in enumerate(sizes):
                if size == _FULL_32:
                    (sizes[i],) = struct.unpack_from("<Q", field)
                    field = field[8:]
            break
        position += length
    return sizes


def _check_places(members: dict[str, Member], end: int) -> None:
    """Members must lie before the directory, and not on each other."""
    position = 0
    for member in sorted(members.values(), key=lambda member: (member.begin, member.packed)):
        if member.begin < position or member.begin + member.packed > end:
            raise FileFormatError(f"its member {quote(member.name)} overlaps others")
        position = member.begin + member.packed


def unpack(data: memoryview, member: Member, limit: int) -> bytearray:
    """The contents of a member, which may have `limit` bytes, with the checksum compared."""
    import zlib

    who = f"its member {quote(member.name)}"
    if member.unpacked > limit:
        raise FileFormatError(f"{who} has {member.unpacked} bytes, and {limit} are the most")
    packed = data[member.begin : member.begin + member.packed]
    out = bytearray()
    if member.method == STORED:
        out += packed
    else:
        machine: Any = zlib.decompressobj(-zlib.MAX_WBITS)
        rest: Any = packed
        try:
            while not machine.eof and len(out) <= member.unpacked:
                piece = machine.decompress(rest, CHUNK_BYTES)
                rest = machine.unconsumed_tail
                if not piece and not rest:
                    break
                out += piece
        except zlib.error as error:
            raise FileFormatError(f"{who} is damaged ({error})") from None
    if len(out) != member.unpacked or zlib.crc32(out) != member.checksum:
        raise FileFormatError(f"{who} is damaged: size or checksum is wrong")
    return out


def write_member(archive: Any, name: str, data: bytes | bytearray, alignment: int = 64) -> None:
    """Adds an unpacked member to a `zipfile.ZipFile`, its bytes on a multiple of `alignment`."""
    import zipfile

    entry = zipfile.ZipInfo(name)
    # The extra field of the padding has four bytes in front; a member over 4 GB has 20 more.
    start = archive.fp.tell() + _LOCAL.size + len(name.encode()) + 4
    start += 20 if len(data) * 1.05 > zipfile.ZIP64_LIMIT else 0
    padding = -start % alignment
    entry.extra = b"FB" + struct.pack("<H", padding) + bytes(padding)
    archive.writestr(entry, data)

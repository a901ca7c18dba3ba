"""A segment: one file of the log, `%08x.seg`, zero-filled (or recycled) to its full size when it is
made.

The first 4096 bytes are the header's, of which it uses 40; numbers are little endian:

    offset  size  field
         0     8  magic    "DSPTXLOG"
         8     4  version  of the format: 1 or 2, the same bytes (2 says that there is a span)
        12     4  number   of the segment, counted from 1, never used twice
        16     8  size     bytes of the file
        24     8  uid      random, the same in every segment of a log
        32     4  flags    bit 0: the file was another segment before, old frames are left in it
        36     4  crc      CRC-32C of the 36 bytes before it

A file gets its name `*.seg` only after all of it was written and synced, so a header that cannot be
read is damage, and so is a file that is shorter than its header says.
"""

from __future__ import annotations

import errno
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import google_crc32c

from dispatcher.txlog.files.disk import Disk

MAGIC: Final = b"DSPTXLOG"
VERSION: Final = 2
VERSIONS: Final = frozenset({1, VERSION})
"""Those that are read and continued."""
HEADER_SPACE: Final = 4096
RECYCLED: Final = 1
UID_BYTES: Final = 8

_FIELDS: Final = struct.Struct("<8sIIQ8sI")
_CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = _FIELDS.size + _CRC.size
_NAME: Final = re.compile(r"([0-9a-f]{8})\.seg")
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_PASSING: Final = _NO_SPACE | {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large things are, in bytes. The defaults are the server's; tests take tiny ones.

    `smallest` is also the size of the first segment; the following ones double up to `largest`. A
    batch always fits into an empty segment. `chunk` is how much is read at once in a pass.
    """

    smallest: int = MIB
    largest: int = 64 * MIB
    batch: int = 512 * 1024
    chunk: int = 4 * MIB

    def __post_init__(self) -> None:
        if not HEADER_SPACE + self.batch <= self.smallest <= self.largest:
            raise ValueError("a batch has to fit into the smallest segment")

    def after(self, size_bytes: int) -> int:
        """Return the size wanted for the segment after one of this size."""
        return max(self.smallest, min(2 * size_bytes, self.largest))


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says about itself."""

    number: int
    size_bytes: int
    uid: bytes
    recycled: bool = False
    version: int = VERSION

    def encode(self) -> bytes:
        """Return the 40 bytes of the header."""
        flags = RECYCLED if self.recycled else 0
        fields = _FIELDS.pack(MAGIC, self.version, self.number, self.size_bytes, self.uid, flags)
        return fields + _CRC.pack(google_crc32c.value(fields))

    @classmethod
    def decode(cls, data: bytes) -> Header | str:
        """Return the header at the start of `data`, or in words why it is none."""
        if len(data) < HEADER_BYTES:
            return "the file is too short to be a segment"
        magic, version, number, size_bytes, uid, flags = _FIELDS.unpack_from(data)
        if magic != MAGIC:
            return "it does not start like a segment"
        if _CRC.unpack_from(data, _FIELDS.size)[0] != google_crc32c.value(data[: _FIELDS.size]):
            return "the checksum of the segment's header does not fit"
        return cls(number, size_bytes, uid, bool(flags & RECYCLED), version)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that is open, with the descriptor of its file."""

    number: int
    size_bytes: int
    fd: int
    recycled: bool = False


def name_of(number: int) -> str:
    """Return the file name of a segment."""
    return f"{number:08x}.seg"


def number_in(name: str) -> int | None:
    """Return the number of the segment that a file name stands for; None for other files."""
    match = _NAME.fullmatch(name)
    return int(match[1], 16) if match else None


def is_no_space(error: OSError) -> bool:
    """Say whether this is a full disk or quota, which passes, and not a failure."""
    return error.errno in _NO_SPACE


def is_passing(error: OSError) -> bool:
    """Say whether nothing is wrong with the disk: space, descriptors or memory are lacking for a
    while. Not to be asked about a sync: one that failed is final, whatever its number."""
    return error.errno in _PASSING


def write_all(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    """Write all of `data`, in as many calls as the disk takes. Raises OSError; a part may be
    written then."""
    written = disk.pwrite(fd, data, offset)
    while written < len(data):
        more = disk.pwrite(fd, data[written:], offset + written)
        if more <= 0:
            raise OSError(errno.EIO, "a write makes no progress")
        written += more


def write_synced(disk: Disk, path: Path, data: bytes) -> None:
    """Make a file with this content, durable with its name. Raises OSError (FileExistsError
    too)."""
    fd = disk.open(path, create=True)
    try:
        write_all(disk, fd, data, 0)
        disk.sync(fd)
    finally:
        disk.close(fd)
    sync_names(disk, path.parent)


def sync_names(disk: Disk, directory: Path) -> None:
    """Put the names in a directory on stable storage. Raises OSError."""
    directory_fd = disk.open_directory(directory)
    try:
        disk.sync_directory(directory_fd)
    finally:
        disk.close(directory_fd)

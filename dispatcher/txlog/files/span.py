"""The file `span`: which segments of a log have to be there.

A directory alone does not tell a segment that was trimmed away from one that was lost. So it is
written down, and synced, from which number on segments are kept (`first`), before the ones below it
are removed; and up to which number they were made (`newest`), before the last of them is written
to. Whatever happens in between, every segment from `first` to `newest` is in the directory, or the
log is damaged. Segments below `first` are leftovers of a trim, segments above `newest` were never
written to.

The file has two places of 4096 bytes, written in turn, so that a write that is torn leaves the
value before it. Each holds, little endian:

    offset  size  field
         0     8  magic       "DSPTSPAN"
         8     4  version     of the format, 2
        12     8  uid         of the log
        20     4  first       number of the oldest segment that has to be there
        24     4  newest      number of the newest one; first - 1 when there is none yet
        28     8  generation  one more in each value; the higher one counts
        36     4  crc         CRC-32C of the 36 bytes before it
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import google_crc32c

from dispatcher.txlog.files.disk import Disk
from dispatcher.txlog.files.segment import VERSION, sync_names, write_all

SPAN: Final = "span"
UNFINISHED_SPAN: Final = "unfinished-span.tmp"
MAGIC: Final = b"DSPTSPAN"
PLACE_BYTES: Final = 4096

_FIELDS: Final = struct.Struct("<8sI8sIIQ")
_CRC: Final = struct.Struct("<I")
_BYTES: Final = _FIELDS.size + _CRC.size


@dataclass(frozen=True, slots=True)
class Span:
    """Segments `first` to `newest` of the log with this uid have to be there."""

    uid: bytes
    first: int
    newest: int
    generation: int = 1

    @property
    def offset(self) -> int:
        """Where in the file this value stands."""
        return self.generation % 2 * PLACE_BYTES

    @property
    def is_empty(self) -> bool:
        """No segment has to be there: the log is being made."""
        return self.newest < self.first

    def encode(self) -> bytes:
        """Return its 40 bytes."""
        fields = _FIELDS.pack(MAGIC, VERSION, self.uid, self.first, self.newest, self.generation)
        return fields + _CRC.pack(google_crc32c.value(fields))

    def after(self, *, first: int | None = None, newest: int | None = None) -> Span:
        """Return the value that follows this one."""
        return replace(
            self,
            first=self.first if first is None else first,
            newest=self.newest if newest is None else newest,
            generation=self.generation + 1,
        )

    def image(self) -> bytes:
        """Return a whole file with this value in it."""
        return bytes(self.offset) + self.encode().ljust(2 * PLACE_BYTES - self.offset, b"\0")


def decode_span(data: bytes) -> Span | str:
    """Return the value that counts in the content of the file, or in words why there is none."""
    found = [_decode(data[at : at + _BYTES]) for at in (0, PLACE_BYTES)]
    spans = [span for span in found if isinstance(span, Span)]
    if spans:
        return max(spans, key=lambda span: span.generation)
    return next(why for why in found if isinstance(why, str))


def _decode(data: bytes) -> Span | str:
    if len(data) < _BYTES:
        return "the file is too short"
    magic, version, uid, first, newest, generation = _FIELDS.unpack_from(data)
    if magic != MAGIC or _CRC.unpack_from(data, _FIELDS.size)[0] != google_crc32c.value(
        data[: _FIELDS.size]
    ):
        return "its checksum does not fit"
    if version != VERSION:
        return f"format version {version} is not known"
    return Span(uid, first, newest, generation)


def read_span(directory: Path, disk: Disk, names: list[str]) -> Span | str | None:
    """Return what the log's span says, in words why it cannot be read, or None where there is no
    such file. Raises OSError."""
    if SPAN not in names:
        return None
    fd = disk.open(directory / SPAN, write=False)
    try:
        return decode_span(disk.pread(fd, 2 * PLACE_BYTES, 0))
    finally:
        disk.close(fd)


def make_span(directory: Path, disk: Disk, span: Span) -> None:
    """Put the file there, or another one in its place, durable with its name. After a crash it is
    there as a whole, or what was there before is. Raises OSError."""
    unfinished = directory / UNFINISHED_SPAN
    if UNFINISHED_SPAN in disk.names(directory):
        disk.unlink(unfinished)
    fd = disk.open(unfinished, create=True)
    try:
        write_all(disk, fd, span.image(), 0)
        disk.sync(fd)
    finally:
        disk.close(fd)
    disk.rename(unfinished, directory / SPAN)
    sync_names(disk, directory)

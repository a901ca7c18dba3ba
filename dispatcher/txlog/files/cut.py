"""A copy of a log that is in use: the log as it is at one moment.

`FileLog.cut` names the moment: the position where the log ends, and the segments that are there.
All of it is on stable storage and never changes, until a segment is removed or recycled; so from
then on, and until the cut is let go, the log keeps those segments as they are. What a copy holds is
a log like any other, with a span of its own, and every segment in its full length.

If the log's own disk becomes full meanwhile the cut is broken: the space is needed more there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from dispatcher.errors import LogUnavailable
from dispatcher.txlog.files.frame import offset_of, segment_of
from dispatcher.txlog.files.segment import MIB, name_of
from dispatcher.txlog.files.span import SPAN, Span

_PIECE_BYTES: Final = MIB
_SYNC_EVERY: Final = 16 * MIB
"""While copying, so that the log's own syncs do not queue behind a whole segment."""

Told = Callable[[int], Awaitable[object]]
"""Told how many more bytes were copied; what comes after them is copied when it returns."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A log at one moment: it ends at `end`, and its segments have these sizes, by number, oldest
    first. The last one is the one that `end` is in."""

    uid: bytes
    end: int
    segments: dict[int, int]

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return sum(self.segments.values())

    @property
    def span(self) -> Span:
        """What the span of a copy says."""
        return Span(self.uid, min(self.segments), max(self.segments))


class File(Protocol):
    """What is used of a file of aiofiles."""

    async def read(self, size: int) -> bytes: ...
    async def write(self, data: bytes) -> int: ...
    def fileno(self) -> int: ...


async def copy_cut(
    source: Path, cut: Cut, target: Path, *, told: Told, is_broken: Callable[[], bool]
) -> None:
    """Copy the log in `source`, as it was at the cut, into the new directory `target`, durable.

    `is_broken` is asked after each piece whether the log had to give up the cut. The span is
    written last: without it, what is there is no log.

    Raises:
        OSError: the disk that is copied to, or from, says no; a part of the copy is there.
        LogUnavailable: the cut is broken.
    """
    await asyncio.to_thread(target.mkdir, 0o700)
    try:
        await _copy_segments(source, cut, target, told, is_broken)
    except OSError as error:
        if is_broken():  # the segment is gone
            raise _broken() from error
        raise
    async with _open(target / SPAN, "xb") as writer:
        await writer.write(cut.span.image())
        await asyncio.to_thread(os.fsync, writer.fileno())
    await asyncio.to_thread(sync_directory, target)


async def _copy_segments(
    source: Path, cut: Cut, target: Path, told: Told, is_broken: Callable[[], bool]
) -> None:
    for number, size_bytes in cut.segments.items():
        used = offset_of(cut.end) if number == segment_of(cut.end) else size_bytes
        async with (
            _open(source / name_of(number), "rb") as reader,
            _open(target / name_of(number), "xb") as writer,
        ):
            await copy_piece(reader, writer, used, size_bytes, told, is_broken)


def _broken() -> LogUnavailable:
    return LogUnavailable(
        "the log's own disk is full, and the space that was kept for the copy is needed"
    )


async def copy_piece(
    reader: File,
    writer: File,
    used: int,
    size_bytes: int,
    told: Told,
    is_broken: Callable[[], bool],
) -> None:
    """Copy the first `used` bytes, and fill up with zeros: what follows the end is not part of the
    cut, and the length of a segment is."""
    copied = 0
    while copied < size_bytes:
        most = min(_PIECE_BYTES, size_bytes - copied)
        wanted = max(0, min(most, used - copied))
        data = await reader.read(wanted) if wanted else b""
        if is_broken():
            raise _broken()
        if len(data) < wanted:
            raise OSError(f"a segment of the log ends at {copied + len(data)}, {used} are needed")
        await _write_all(writer, data.ljust(most, b"\0"))
        copied += most
        if copied % _SYNC_EVERY == 0 or copied == size_bytes:
            await asyncio.to_thread(os.fsync, writer.fileno())
        await told(most)


async def _write_all(writer: File, data: bytes) -> None:
    """Write all of `data`: without a buffer a call may take a part of it."""
    while data:
        written = await writer.write(data)
        if written <= 0:
            raise OSError("a write makes no progress")
        data = data[written:]


@asynccontextmanager
async def _open(path: Path, mode: str) -> AsyncIterator[File]:
    import aiofiles  # not before somebody makes a copy

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    async with aiofiles.open(path, mode, buffering=0, opener=opener) as file:
        yield file


def sync_directory(path: Path) -> None:
    """Put the names in a directory on stable storage. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""Recovery, the doing part: reads the segments of a log, and puts its end in order.

Nothing is changed before `scan` has found the whole log intact. Then, in this order: what a torn
batch left is copied aside and zeroed; the last batch is written again, and all of it synced. The
last batch because it is the one that nothing proves to be on stable storage: it may be readable
only because the kernel still has it in memory, after a process that was killed between its write
and its sync, or after a sync that failed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from dispatcher.errors import LogCorrupt, LogFenced, LogVersionTooNew
from dispatcher.txlog import Visit
from dispatcher.txlog.files.chain import Chain
from dispatcher.txlog.files.disk import Disk
from dispatcher.txlog.files.frame import offset_of, position_of
from dispatcher.txlog.files.scan import Damage, Found, Remains, Told, scan
from dispatcher.txlog.files.segment import (
    HEADER_BYTES,
    HEADER_SPACE,
    UID_BYTES,
    VERSION,
    Header,
    Segment,
    Sizes,
    is_no_space,
    is_passing,
    name_of,
    number_in,
    write_all,
    write_synced,
)
from dispatcher.txlog.files.source import Source, Survey
from dispatcher.txlog.files.span import Span, make_span, read_span
from dispatcher.txlog.files.supply import UNFINISHED, Supply


@dataclass(frozen=True, slots=True)
class Torn:
    """A tail that was cut off at start: never confirmed to anybody, but kept aside to look at.

    `backup` is None when there was no space for the copy.
    """

    position: int
    size_bytes: int
    backup: Path | None


@dataclass(frozen=True, slots=True)
class Recovered:
    """A log that is ready for its next batch."""

    found: Found
    active: Segment
    supply: Supply
    torn: Torn | None


_LOOKS: Final = 20
"""How often a directory is read again whose span changes meanwhile: a server makes and removes
segments."""


def survey(directory: Path, disk: Disk) -> Survey:
    """Return what lies in a log's directory. Changes nothing, needs no lock. Raises OSError."""
    span = read_span(directory, disk, disk.names(directory))
    for _ in range(_LOOKS):
        names = disk.names(directory)
        numbers = sorted(n for n in map(number_in, names) if n is not None)
        kept = [n for n in numbers if not isinstance(span, Span) or n >= span.first]
        sources = [_source(directory / name_of(number), number, disk) for number in kept]
        before, span = span, read_span(directory, disk, names)
        if span == before:
            break
    return Survey(sources, span, tuple(n for n in numbers if n not in kept))


def has_begun(directory: Path, disk: Disk) -> bool:
    """Whether a log was made in a directory, or in what is left of one that has to be there. What a
    process leaves behind that found no space for its first segment is none. Raises OSError."""
    surveyed = survey(directory, disk)
    span = surveyed.span
    return bool(surveyed.sources) or isinstance(span, str) or bool(span and not span.is_empty)


def _source(path: Path, number: int, disk: Disk) -> Source:
    fd = disk.open(path, write=False)
    try:
        size_bytes = disk.size(fd)
    finally:
        disk.close(fd)
    read = partial(read_file, disk, path)
    return Source(number, size_bytes, Header.decode(read(HEADER_BYTES, 0)), read)


def read_file(disk: Disk, path: Path, size: int, offset: int) -> bytes:
    """Return up to `size` bytes of a file. Opened for each read: a log may have more segments than
    a process may have descriptors. Raises LogCorrupt where the disk cannot read, OSError where the
    file cannot be opened, or something is lacking that passes."""
    fd = disk.open(path, write=False)
    try:
        return disk.pread(fd, size, offset)
    except OSError as error:
        if is_passing(error):
            raise
        raise LogCorrupt(str(path), offset, f"it cannot be read: {error.strerror}") from error
    finally:
        disk.close(fd)


def recover(
    directory: Path,
    disk: Disk,
    sizes: Sizes,
    *,
    epoch: int,
    random: Callable[[int], bytes],
    visit: Visit | None,
    told: Told | None = None,
) -> Recovered:
    """Bring a log, or an empty directory, into a state in which the next batch can be written.
    `told` hears how far reading has come.

    Raises LogCorrupt, LogVersionTooNew and LogFenced with nothing changed, OSError for what the
    disk refuses.
    """
    surveyed = survey(directory, disk)
    span = surveyed.span
    if not surveyed.sources:
        if span is None:
            return _begin(directory, disk, sizes, Span(random(UID_BYTES), 1, 0), is_new=True)
        if isinstance(span, Span) and span.is_empty:
            return _begin(directory, disk, sizes, span, is_new=False)
    found = scan(surveyed, sizes, visit, told)
    if isinstance(found, Damage):
        path = str(directory / found.name)
        if found.too_new:
            raise LogVersionTooNew(path, found.reason)
        raise LogCorrupt(path, found.offset, found.reason)
    if found.chain.epoch > epoch:
        raise LogFenced(
            f"{directory}: {found.chain.owner} has opened the log with epoch {found.chain.epoch},"
            f" this is epoch {epoch}. The newer owner has to be the only one that writes."
        )
    return _mend(directory, disk, sizes, surveyed, found)


def _begin(directory: Path, disk: Disk, sizes: Sizes, span: Span, *, is_new: bool) -> Recovered:
    if is_new:
        make_span(directory, disk, span)
    supply = Supply(directory, disk, sizes, span)
    try:
        supply.confirm()
        active = supply.make(span.first, sizes.smallest)
    except BaseException:
        supply.close()
        raise
    supply.newest = active.number
    start = position_of(active.number, HEADER_SPACE)
    found = Found(Chain(), span.uid, first=start, end=start, active=active.number)
    return Recovered(found, active, supply, None)


def _mend(directory: Path, disk: Disk, sizes: Sizes, surveyed: Survey, found: Found) -> Recovered:
    """Do what `found` says, and open the segments that will be written to."""
    sources, span = surveyed.sources, surveyed.span
    if not isinstance(span, Span):
        # A log of version 1 becomes one of version 2. First its span, which the older version does
        # not look at; then the headers of all segments that will be written to, which it refuses.
        # After a crash in between the next start goes on here.
        span = Span(found.uid, sources[0].number, sources[-1].number)
        make_span(directory, disk, span)
    supply = Supply(directory, disk, sizes, span)
    opened: list[Segment] = []
    try:
        supply.confirm()
        names = disk.names(directory)
        if UNFINISHED in names:
            disk.unlink(directory / UNFINISHED)
        for number in surveyed.leftovers:
            disk.unlink(directory / name_of(number))
            supply.sync_directory()
        torn = _keep_aside(directory, disk, names, found.remains)
        for source in sources:
            if source.number < found.active:
                supply.bytes_behind[source.number] = source.size_bytes
                supply.ends[source.number] = found.ends[source.number]
            else:
                opened.append(_open_for_writing(directory, disk, source, found))
        supply.note_newest(sources[-1].number)
    except BaseException:
        for segment in opened:
            disk.close(segment.fd)
        supply.close()
        raise
    supply.newest = opened[-1].number
    supply.spares.extend(opened[1:])
    return Recovered(found, opened[0], supply, torn)


def _open_for_writing(directory: Path, disk: Disk, source: Source, found: Found) -> Segment:
    """Open a segment of the tail, with zeros behind its end, the last batch and all else synced."""
    header = source.header
    assert isinstance(header, Header), "a segment without a header is never written to"
    fd = disk.open(directory / name_of(source.number))
    try:
        if header.version != VERSION:
            # It differs in the version and the checksum only, which lie in one sector.
            write_all(disk, fd, replace(header, version=VERSION).encode(), 0)
        for remains in found.remains:
            if remains.number == source.number:
                write_all(disk, fd, bytes(len(remains.data)), remains.offset)
        last = found.chain.last_batch
        if source.number == found.active and last is not None:
            data = source.read(found.end - last, offset_of(last))
            write_all(disk, fd, data, offset_of(last))
        disk.sync(fd)
    except BaseException:
        disk.close(fd)
        raise
    return Segment(source.number, header.size_bytes, fd, header.recycled)


def _keep_aside(
    directory: Path, disk: Disk, names: list[str], remains: tuple[Remains, ...]
) -> Torn | None:
    """Copy what is cut off, before it is. Returns the first piece; there is hardly ever a
    second."""
    torn = [piece for piece in remains if piece.torn]
    kept = [_copy(directory, disk, names, piece) for piece in torn]
    if not torn:
        return None
    return Torn(torn[0].position, sum(len(piece.data) for piece in torn), kept[0])


def _copy(directory: Path, disk: Disk, names: list[str], piece: Remains) -> Path | None:
    name = f"torn-{piece.position:016x}.bak"
    count = 1
    while name in names:
        count += 1
        name = f"torn-{piece.position:016x}-{count}.bak"
    path = directory / name
    try:
        write_synced(disk, path, piece.data)
    except OSError as error:
        if not is_no_space(error):
            raise
        # Nobody was told that this is stored. A full disk must not keep the rest from being
        # delivered.
        with contextlib.suppress(OSError):
            disk.unlink(path)
        return None
    return path

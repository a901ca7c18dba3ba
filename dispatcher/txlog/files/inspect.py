"""Looking into a log from outside, and repairing it: what `dispatcher log` does.

Looking needs no lock and changes nothing; a server may be writing meanwhile. What looks like damage
is looked at once more then, for a segment may have been recycled, or the end moved on, while it was
read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dispatcher.errors import ConfigError, LogError, LogVersionTooNew
from dispatcher.txlog.files.disk import Disk
from dispatcher.txlog.files.frame import (
    HEADER_BYTES,
    HOLE,
    OPEN,
    Frame,
    decode_header,
    is_intact,
    position_of,
    read_open_payload,
    seed_of,
)
from dispatcher.txlog.files.holes import Patch
from dispatcher.txlog.files.place import LOCK, lock_directory, take_lock
from dispatcher.txlog.files.recovery import survey
from dispatcher.txlog.files.repair import Plan, plan_repair
from dispatcher.txlog.files.scan import Damage, Found, scan
from dispatcher.txlog.files.segment import (
    HEADER_SPACE,
    Header,
    Sizes,
    name_of,
    sync_names,
    write_all,
    write_synced,
)
from dispatcher.txlog.files.source import Source, Survey
from dispatcher.txlog.files.span import SPAN, Span, make_span
from dispatcher.txlog.files.supply import UNFINISHED

_LOOKS: Final = 20


@dataclass(frozen=True, slots=True)
class Line:
    """A frame as `dump` shows it, or (with `note`) the place where it ends."""

    position: int
    frame: Frame | None
    payload: bytes = b""
    note: str = ""
    damaged: bool = False


def verify(directory: Path, disk: Disk, sizes: Sizes) -> Found | Damage:
    """Read the whole log and say whether it is intact. Raises ConfigError when there is none,
    LogVersionTooNew."""
    last: Damage | None = None
    for _ in range(_LOOKS):
        try:
            result = scan(_survey(directory, disk), sizes)
        except FileNotFoundError:
            continue  # a segment was trimmed away under our hands
        if isinstance(result, Found):
            return result
        if result.too_new:
            raise LogVersionTooNew(str(directory / result.name), result.reason)
        if last is not None and (last.number, last.offset) == (result.number, result.offset):
            return result
        last = result
    if last is None:
        raise LogError(f"{directory}: segments come and go too fast; try again")
    return last


def plan(directory: Path, disk: Disk, sizes: Sizes) -> Plan:
    """Say what a repair would do and what would be lost. Raises ConfigError, LogError."""
    return plan_repair(_survey(directory, disk), sizes)


def dry_run(directory: Path, disk: Disk, sizes: Sizes) -> Plan:
    """Do what `plan` does for a log that nobody uses. Raises LogLocked when a process has it: what
    it is writing would look like damage, and it could not be repaired under its hands anyway."""
    locks = _lock(directory, disk, is_look=True)
    try:
        return plan(directory, disk, sizes)
    finally:
        for lock in locks:
            disk.close(lock)


def repair(directory: Path, disk: Disk, sizes: Sizes) -> tuple[Plan, list[Path]]:
    """Repair the log; returns what was done and the copies of the segments as they were.

    Takes the log's lock: raises LogLocked when a process has it. The copies are on stable storage
    before the first byte is changed, and after a crash in between the repair can be done again.
    """
    locks = _lock(directory, disk, is_look=False)
    try:
        planned = plan(directory, disk, sizes)
        names = disk.names(directory)
        changed = sorted({patch.number for patch in planned.patches})
        copies = [_copy(directory, disk, n) for n in map(name_of, changed) if n in names]
        if planned.span is not None and SPAN in names:
            copies.append(_copy(directory, disk, SPAN))
        for number in changed:
            _apply(directory, disk, [p for p in planned.patches if p.number == number])
        if planned.span is not None:
            # Last: where it says that what is missing need not be there, nothing is told any more.
            make_span(directory, disk, planned.span)
        result = scan(_survey(directory, disk), sizes)
    finally:
        for lock in locks:
            disk.close(lock)
    if isinstance(result, Damage):
        name = result.name
        raise LogError(f"{directory}: {name} is still damaged at {result.offset}; see the copies")
    return planned, copies


def dump(directory: Path, disk: Disk, sizes: Sizes) -> Iterator[Line]:
    """Yield every frame in order, up to the end or the damage, and a last line that says which."""
    surveyed = _survey(directory, disk)
    result = scan(surveyed, sizes)
    sources = surveyed.sources
    if isinstance(result, Damage):
        stop = position_of(result.number, result.offset)
        note = f"damaged here ({result.name}): {result.reason}"
    else:
        stop, note = result.end, "the log ends here"
        if any(piece.torn for piece in result.remains):
            note += ", with a torn tail behind it"
    headers = (source.header for source in sources if isinstance(source.header, Header))
    first = next(headers, None)
    if first is not None:
        yield from _frames(sources, seed_of(first.uid), stop)
    yield Line(stop, None, note=note, damaged=not isinstance(result, Found))


def _frames(sources: list[Source], seed: int, stop: int) -> Iterator[Line]:
    sequence: int | None = None
    for source in sources:
        offset = HEADER_SPACE
        while position_of(source.number, offset) < stop:
            frame = decode_header(source.read(HEADER_BYTES, offset), 0)
            if frame is None or offset + frame.stop > source.size_bytes:
                break
            data = source.read(frame.stop, offset)
            follows = sequence is None or frame.sequence == sequence or frame.type == HOLE
            if not (follows and is_intact(data, frame, seed)):
                break
            yield Line(position_of(source.number, offset), frame, data[HEADER_BYTES:])
            sequence = frame.sequence + 1
            offset += frame.stop


def describe(line: Line, record: str = "") -> str:
    """Return one line of text for a frame, without its payload. `record` is what its record says:
    a log knows bytes only."""
    frame = line.frame
    if frame is None:
        return f"{line.position:#014x}  {line.note}"
    kind = {OPEN: "open", HOLE: "hole"}.get(frame.type, "data")
    if frame.type == OPEN:
        what = "owner={} epoch={}".format(*read_open_payload(line.payload))
    elif frame.type == HOLE:
        what = "lost"
    else:
        what = record
    return (
        f"{line.position:#014x}  seq={frame.sequence} {kind} length={frame.length}"
        f" durable_upto={frame.durable_upto:#x} batch={frame.batch:#010x}"
        f"{' last' if frame.flags & 1 else ''} {what}"
    ).rstrip()


def _survey(directory: Path, disk: Disk) -> Survey:
    try:
        surveyed = survey(directory, disk)
    except FileNotFoundError:
        if not directory.exists():
            raise ConfigError(f"{directory}: there is no log here; name its directory") from None
        raise
    except NotADirectoryError:
        raise ConfigError(f"{directory}: not a directory; name the one of a log") from None
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be read: {error.strerror}") from error
    span = surveyed.span
    if not surveyed.sources and (span is None or (isinstance(span, Span) and span.is_empty)):
        raise ConfigError(f"{directory}: there is no log in this directory; name another one")
    return surveyed


def _lock(directory: Path, disk: Disk, *, is_look: bool) -> tuple[int, ...]:
    """Lock a log as a server does. A look writes nothing into the lock, and makes no file."""
    _survey(directory, disk)  # or there would be a lock where there is no log
    if is_look and LOCK not in disk.names(directory):
        return (lock_directory(directory, disk),)
    return take_lock(directory, disk, is_look=is_look)


def _copy(directory: Path, disk: Disk, name: str) -> Path:
    """Copy a file as it is, beside it, durable."""
    names = disk.names(directory)
    count = 1
    while f"{name}.damaged-{count}.bak" in names:
        count += 1
    copy = directory / f"{name}.damaged-{count}.bak"
    write_synced(disk, copy, _content(directory / name, disk))
    return copy


def _content(path: Path, disk: Disk) -> bytes:
    fd = disk.open(path, write=False)
    try:
        return disk.pread(fd, disk.size(fd), 0)
    finally:
        disk.close(fd)


def _apply(directory: Path, disk: Disk, patches: list[Patch]) -> None:
    """Write the patches of one segment. One that gets another length is written anew and takes its
    place as a whole: half of it would not show any more what is missing."""
    path = directory / name_of(patches[0].number)
    sizes = [patch.size_bytes for patch in patches if patch.size_bytes is not None]
    if sizes:
        there = path.name in disk.names(directory)
        data = bytearray((_content(path, disk) if there else b"").ljust(max(sizes), b"\0"))
        for patch in patches:
            data[patch.offset : patch.offset + len(patch.data)] = patch.data
        unfinished = directory / UNFINISHED
        if UNFINISHED in disk.names(directory):
            disk.unlink(unfinished)
        write_synced(disk, unfinished, bytes(data))
        disk.rename(unfinished, path)
        sync_names(disk, directory)
        return
    fd = disk.open(path)
    try:
        for patch in patches:
            write_all(disk, fd, patch.data, patch.offset)
            disk.sync(fd)
    finally:
        disk.close(fd)

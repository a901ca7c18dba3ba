"""Looking into a log from outside, and repairing it: what `dispatcher log` does.

Looking needs no lock and changes nothing; a server may be writing meanwhile. What looks like damage
is looked at once more then, for a segment may have been recycled, or the end moved on, while it was
read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dispatcher.errors import ConfigError, LogError
from dispatcher.txlog.disk import Disk
from dispatcher.txlog.frame import (
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
from dispatcher.txlog.holes import Patch
from dispatcher.txlog.place import LOCK, cannot_open, locked
from dispatcher.txlog.recovery import open_sources
from dispatcher.txlog.repair import Plan, plan_repair
from dispatcher.txlog.scan import Damage, Found, check_headers, scan
from dispatcher.txlog.segment import (
    HEADER_SPACE,
    Header,
    Sizes,
    name_of,
    write_all,
    write_synced,
)
from dispatcher.txlog.source import Source

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
    """Read the whole log and say whether it is intact. Raises ConfigError when there is none."""
    last: Damage | None = None
    for _ in range(_LOOKS):
        try:
            result = scan(_sources(directory, disk), sizes)
        except FileNotFoundError:
            continue  # a segment was trimmed away under our hands
        if isinstance(result, Found):
            return result
        if last is not None and (last.number, last.offset) == (result.number, result.offset):
            return result
        last = result
    if last is None:
        raise LogError(f"{directory}: segments come and go too fast; try again")
    return last


def plan(directory: Path, disk: Disk, sizes: Sizes) -> Plan:
    """Say what a repair would do and what would be lost. Raises ConfigError, LogError."""
    return plan_repair(_sources(directory, disk), sizes)


def dry_run(directory: Path, disk: Disk, sizes: Sizes) -> Plan:
    """Do what `plan` does for a log that nobody uses. Raises LogLocked when a process has it: what
    it is writing would look like damage, and it could not be repaired under its hands anyway."""
    _sources(directory, disk)
    if LOCK not in disk.names(directory):
        return plan(directory, disk, sizes)
    lock = _lock(directory, disk, None)
    try:
        return plan(directory, disk, sizes)
    finally:
        disk.close(lock)


def repair(directory: Path, disk: Disk, sizes: Sizes) -> tuple[Plan, list[Path]]:
    """Repair the log; returns what was done and the copies of the segments as they were.

    Takes the log's lock: raises LogLocked when a process has it. The copies are on stable storage
    before the first byte is changed, and after a crash in between the repair can be done again.
    """
    lock = _lock(directory, disk, b"%d\n" % os.getpid())
    try:
        planned = plan(directory, disk, sizes)
        made = {patch.number for patch in planned.patches if patch.size_bytes is not None}
        changed = sorted({patch.number for patch in planned.patches} - made)
        copies = [_copy_segment(directory, disk, number) for number in changed]
        _apply(directory, disk, planned.patches)
        result = scan(_sources(directory, disk), sizes)
    finally:
        disk.close(lock)
    if isinstance(result, Damage):
        name = name_of(result.number)
        raise LogError(f"{directory}: {name} is still damaged at {result.offset}; see the copies")
    return planned, copies


def dump(directory: Path, disk: Disk, sizes: Sizes) -> Iterator[Line]:
    """Yield every frame in order, up to the end or the damage, and a last line that says which."""
    sources = _sources(directory, disk)
    result = scan(sources, sizes)
    uid = check_headers(sources)
    if isinstance(uid, Damage) or isinstance(result, Damage):
        damage = uid if isinstance(uid, Damage) else result
        assert isinstance(damage, Damage)
        stop, note = position_of(damage.number, damage.offset), f"damaged here: {damage.reason}"
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


def describe(line: Line) -> str:
    """Return one line of text for a frame, without its payload."""
    frame = line.frame
    if frame is None:
        return f"{line.position:#014x}  {line.note}"
    kind = {OPEN: "open", HOLE: "hole"}.get(frame.type, "data")
    if frame.type == OPEN:
        what = "owner={} epoch={}".format(*read_open_payload(line.payload))
    elif frame.type == HOLE:
        what = "lost"
    else:
        what = f"kind={line.payload[0]:#04x}" if line.payload else "empty"
    return (
        f"{line.position:#014x}  seq={frame.sequence} {kind} length={frame.length}"
        f" durable_upto={frame.durable_upto:#x} batch={frame.batch:#010x}"
        f"{' last' if frame.flags & 1 else ''} {what}"
    )


def _sources(directory: Path, disk: Disk) -> list[Source]:
    try:
        sources = open_sources(directory, disk)
    except FileNotFoundError:
        if not directory.exists():
            raise ConfigError(f"{directory}: there is no log here; name its directory") from None
        raise
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be read: {error.strerror}") from error
    if not sources:
        raise ConfigError(f"{directory}: there is no log in this directory; name another one")
    return sources


def _lock(directory: Path, disk: Disk, text: bytes | None) -> int:
    _sources(directory, disk)  # or there would be a lock where there is no log
    try:
        return disk.lock(directory / LOCK, text)
    except BlockingIOError as error:
        raise locked(directory, disk) from error
    except OSError as error:
        raise cannot_open(directory, error) from error


def _copy_segment(directory: Path, disk: Disk, number: int) -> Path:
    """Copy a segment as it is, beside it, durable."""
    names = disk.names(directory)
    count = 1
    while f"{name_of(number)}.damaged-{count}.bak" in names:
        count += 1
    copy = directory / f"{name_of(number)}.damaged-{count}.bak"
    fd = disk.open(directory / name_of(number), write=False)
    try:
        data = disk.pread(fd, disk.size(fd), 0)
    finally:
        disk.close(fd)
    write_synced(disk, copy, data)
    return copy


def _apply(directory: Path, disk: Disk, patches: list[Patch]) -> None:
    for patch in patches:
        path = directory / name_of(patch.number)
        if patch.size_bytes is not None:
            write_synced(disk, path, patch.data.ljust(patch.size_bytes, b"\0"))
            continue
        fd = disk.open(path)
        try:
            write_all(disk, fd, patch.data, patch.offset)
            disk.sync(fd)
        finally:
            disk.close(fd)

"""The file engine on a full disk: what is kept back, and how trimming brings the log back."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.errors import LogUnavailable
from dispatcher.testing.disk import SimulatedDisk
from dispatcher.txlog import RECORD_OVERHEAD_BYTES
from dispatcher.txlog.files.engine import Engine
from dispatcher.txlog.files.segment import MIB, Sizes

RECORD = bytes(256 * 1024)
SIZES = Sizes()


class Done:
    """A job of the housekeeper that was done at once."""

    def done(self) -> bool:
        return True

    def result(self) -> None:
        """Nothing to wait for."""


def _at_once(work: Callable[[], None]) -> Done:
    work()
    return Done()


def _open(disk: SimulatedDisk, sizes: Sizes = SIZES) -> Engine:
    seconds = itertools.count(1.0)
    engine = Engine(Path("/x/log"), disk, spawn=_at_once, sizes=sizes, clock=lambda: next(seconds))
    engine.open("test", 1, None)
    return engine


def _append(engine: Engine, payload: bytes = RECORD, *, urgent: bool = False) -> int:
    prepared = engine.prepare([payload], urgent=urgent)
    engine.write(prepared)
    return prepared.positions[0]


def _fill(engine: Engine, *, urgent: bool = False) -> list[int]:
    """Append until there is no space; returns the positions."""
    positions = []
    while True:
        try:
            positions.append(_append(engine, urgent=urgent))
        except LogUnavailable:
            return positions


@pytest.mark.parametrize("mib", [24, 100, 150, 240])
def test_space_kept_back_is_a_part_of_the_whole_log_when_its_last_segments_are_small(
    mib: int,
) -> None:
    """What settles a log of large segments finds room behind it, however small the segments are
    that the end of the disk had room for."""
    disk = SimulatedDisk(capacity_bytes=mib * MIB)
    engine = _open(disk)
    stored = _fill(engine)
    assert len(stored) * len(RECORD) > mib * MIB * 2 // 3, "the disk was used"
    part = min(engine.size_bytes // 16, 16 * MIB)
    promised = engine.urgent_bytes
    assert promised >= part - 2 * MIB, "ends of segments are lost at most"
    urgent = _fill(engine, urgent=True)
    assert len(urgent) * len(RECORD) >= promised - len(RECORD)
    engine.close()


def test_log_takes_records_again_when_its_oldest_segments_are_trimmed_on_a_full_disk() -> None:
    """Also when not even urgent records found space, and segments of all sizes are behind it."""
    disk = SimulatedDisk(capacity_bytes=100 * MIB)
    engine = _open(disk)
    stored = _fill(engine)
    _fill(engine, urgent=True)
    for position in stored[len(stored) // 8 :: len(stored) // 8]:
        engine.trim(position)
    assert _append(engine, urgent=True)
    assert _append(engine)
    assert len(_fill(engine)) * len(RECORD) > 30 * MIB, "and not for a moment only"
    engine.close()


def test_log_of_one_segment_goes_on_when_all_in_it_is_dead_and_others_fill_the_disk() -> None:
    """The only segment is left for the spare that was kept, and becomes the next spare."""
    disk = SimulatedDisk(capacity_bytes=200 * MIB)
    engine = _open(disk)
    while engine.size_bytes < 60 * MIB:
        engine.trim(_append(engine) + 1)
    disk.capacity_bytes = disk.used_bytes
    for _ in range(3):
        last = _fill(engine)[-1]
        _append(engine, urgent=True)
        engine.trim(last + len(RECORD))
        assert _append(engine, urgent=True)
        assert _append(engine)
    engine.close()


@pytest.mark.parametrize("quarters", range(16, 40, 3))
def test_log_takes_records_again_when_space_is_given(quarters: int) -> None:
    """Whatever sizes the last segments have: a spare that is as large as what is kept back is no
    reason to stop."""
    disk = SimulatedDisk(capacity_bytes=quarters * MIB // 4)
    engine = _open(disk)
    _fill(engine)
    disk.capacity_bytes = 40 * MIB
    assert len(_fill(engine)) * len(RECORD) > 20 * MIB
    engine.close()


def test_room_is_there_until_a_batch_is_refused_and_again_when_segments_were_freed() -> None:
    """Whoever asks need not store anything to find out; what is asked has space looked for."""
    disk = SimulatedDisk(capacity_bytes=100 * MIB)
    engine = _open(disk)
    assert engine.room()
    stored = _fill(engine)
    assert not engine.room()
    assert engine.urgent_bytes > SIZES.batch, "for what is urgent there is"
    engine.trim(stored[-1])
    assert engine.room()
    disk_before = _append(engine, bytes(SIZES.batch - RECORD_OVERHEAD_BYTES))
    assert disk_before > stored[-1]
    engine.close()
    assert not engine.room()


def test_there_is_no_room_for_a_while_after_the_disk_refused_a_write() -> None:
    """Some file systems store each write at another place, and have none although the segment was
    made before: asked each second the log would be full and not full in turns."""
    disk = _Refusing()
    now = [0.0]
    engine = Engine(Path("/x/log"), disk, spawn=_at_once, sizes=SIZES, clock=lambda: now[0])
    engine.open("test", 1, None)
    disk.refuses = True
    with pytest.raises(LogUnavailable):
        _append(engine)
    disk.refuses = False
    now[0] += 1
    assert not engine.room()
    now[0] += 10
    assert engine.room()
    _append(engine)
    engine.close()


class _Refusing(SimulatedDisk):
    """Has no space for any write while it `refuses`."""

    refuses = False

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        if self.refuses:
            raise OSError(errno.ENOSPC, "no space left")
        return super().pwrite(fd, data, offset)

"""Repairing a damaged log: it opens afterwards, and only what the damage hit is lost."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from dispatcher.errors import LogError, LogLocked
from dispatcher.testing.disk import Fate, SimulatedDisk
from dispatcher.txlog.files import inspect
from dispatcher.txlog.files.frame import HEADER_BYTES, offset_of, segment_of
from dispatcher.txlog.files.recovery import survey
from dispatcher.txlog.files.scan import Damage, Found
from dispatcher.txlog.files.segment import HEADER_SPACE, name_of
from tests.effort import times
from tests.simulation.workload import LOG, TINY, Life, Records, base_seed

SEED = 11


@pytest.fixture(scope="module")
def life() -> Life:
    """A closed log of five segments, with records in at least four of them."""
    life = Life(SEED, SimulatedDisk())
    life.looks_at = range(0)
    life.open()
    while len(life.disk.image()) < 7:
        life.append()
    life.append()
    life.run_jobs()
    life.close()
    return life


def copy_of(life: Life) -> SimulatedDisk:
    """Return another disk with the same log."""
    return life.disk.crash(Random(1), Fate.LOST)


def records_of(life: Life, disk: SimulatedDisk) -> Records:
    return life.open_at(disk)


def segments_of(disk: SimulatedDisk) -> list[str]:
    return sorted(name for name in disk.image() if name.endswith(".seg"))


def hit(record: tuple[int, bytes], name: str, start: int, stop: int) -> bool:
    """Say whether a record has a byte in a damaged range."""
    position, payload = record
    begin = offset_of(position)
    end = begin + HEADER_BYTES + len(payload)
    return name_of(segment_of(position)) == name and begin < stop and start < end


def batch_of(life: Life, record: tuple[int, bytes]) -> int:
    (index,) = (n for n, batch in enumerate(life.batches) if record in batch.records)
    return index


def ranges(content: bytes, random: Random) -> Iterator[tuple[int, int]]:
    """Yield ranges to destroy: headers, single bytes, stretches over several frames and batches."""
    yield 0, 1
    yield 0, 40
    yield 0, HEADER_SPACE
    yield HEADER_SPACE, HEADER_SPACE + 1
    yield HEADER_SPACE, len(content)
    for _ in range(times(12)):
        start = random.randrange(HEADER_SPACE, len(content))
        yield start, start + 1
        yield start, min(len(content), start + random.choice((20, 100, 700, 1500)))


@pytest.mark.parametrize("garbage", [False, True], ids=["zeroed", "garbage"])
def test_repair_loses_only_what_was_hit(life: Life, garbage: bool) -> None:
    """Whatever range is destroyed: the log opens after the repair, and each record that has no byte
    in the range is there, at its position. Only the batch that the log ends in then is cut as a
    whole."""
    random = Random(base_seed())
    whole = records_of(life, copy_of(life))
    image = life.disk.image()
    repaired = 0
    for name in segments_of(life.disk):
        for start, stop in ranges(image[name], random):
            disk = copy_of(life)
            for offset in range(start, stop):
                disk.flip(
                    LOG / name, offset, random.randrange(1, 256) if garbage else image[name][offset]
                )
            verdict = inspect.verify(LOG, disk, TINY)
            if isinstance(verdict, Damage):
                repaired += 1
                planned, copies = inspect.repair(LOG, disk, TINY)
                assert len(copies) >= 1
                assert planned.losses
            found = records_of(life, disk)
            there = set(found)
            missing = [record for record in whole if record not in there]
            assert [record for record in whole if record in there] == found
            for record in missing:
                at_the_end = all(later in missing for later in whole[whole.index(record) :])
                assert hit(record, name, start, stop) or at_the_end, (name, start, stop)
            cut = [record for record in missing if not hit(record, name, start, stop)]
            assert len({batch_of(life, record) for record in cut}) <= 1
    assert repaired > 50


@pytest.mark.parametrize("index", [1, 2])
def test_repair_goes_on_when_a_segment_is_missing(life: Life, index: int) -> None:
    """A file that is gone costs its own records, no others."""
    whole = records_of(life, copy_of(life))
    disk = copy_of(life)
    name = segments_of(disk)[index]
    disk.unlink(LOG / name)
    later = [record for record in whole if name_of(segment_of(record[0])) > name]
    verdict = inspect.verify(LOG, disk, TINY)
    assert later
    assert isinstance(verdict, Damage)
    assert name_of(verdict.number) == name
    inspect.repair(LOG, disk, TINY)
    expected = [record for record in whole if name_of(segment_of(record[0])) != name]
    assert records_of(life, disk) == expected


def test_plan_changes_nothing(life: Life) -> None:
    """A dry run leaves every byte as it is, and says how many records would be lost."""
    disk = copy_of(life)
    position, payload = life.batches[3].records[0]
    name = name_of(segment_of(position))
    disk.flip(LOG / name, offset_of(position) + HEADER_BYTES)
    before = disk.image()
    planned = inspect.plan(LOG, disk, TINY)
    assert disk.image() == before
    (loss,) = planned.losses
    assert loss.records == 1
    assert loss.size_bytes == HEADER_BYTES + len(payload)
    assert loss.damage.offset == offset_of(position)


def test_repair_keeps_a_copy_of_each_segment_it_changes(life: Life) -> None:
    """The copy is the segment as it was, byte for byte."""
    disk = copy_of(life)
    name = segments_of(disk)[0]
    disk.flip(LOG / name, HEADER_SPACE)
    damaged = disk.image()[name]
    _, copies = inspect.repair(LOG, disk, TINY)
    assert [disk.image()[copy.name] for copy in copies] == [damaged]


def test_repair_is_refused_while_the_log_is_in_use(life: Life) -> None:
    """A repair under a running server would destroy the log."""
    disk = copy_of(life)
    disk.lock(LOG / "lock", b"1\n")
    with pytest.raises(LogLocked):
        inspect.repair(LOG, disk, TINY)


def test_repair_can_be_repeated_after_a_crash(life: Life) -> None:
    """A power cut at any call of a repair leaves a log that can be repaired to the same state."""
    random = Random(3)
    disk = copy_of(life)
    for batch in (2, 5):
        position = life.batches[batch].records[0][0]
        disk.flip(LOG / name_of(segment_of(position)), offset_of(position) + 20)
    crashed: list[SimulatedDisk] = []
    repaired = disk.crash(Random(1), Fate.LOST)
    repaired.after_change = lambda: crashed.append(repaired.crash(random))
    inspect.repair(LOG, repaired, TINY)
    repaired.after_change = None
    expected = records_of(life, repaired)
    for again in crashed:
        if isinstance(inspect.verify(LOG, again, TINY), Damage):
            inspect.repair(LOG, again, TINY)
        assert records_of(life, again) == expected


def test_repair_gives_up_when_no_header_is_left(life: Life) -> None:
    """Without one, nobody knows the log's uid; the message says what to do."""
    disk = copy_of(life)
    for name in segments_of(disk):
        disk.flip(LOG / name, 0)
    with pytest.raises(LogError, match="Restore it from a copy"):
        inspect.plan(LOG, disk, TINY)


def test_dump_shows_every_frame_up_to_the_damage(life: Life) -> None:
    """Records before the damage are shown, and the last line names the place."""
    disk = copy_of(life)
    batch = life.batches[4]
    position = batch.records[0][0]
    disk.flip(LOG / name_of(segment_of(position)), offset_of(position) + 20)
    lines = list(inspect.dump(LOG, disk, TINY))
    shown = [(line.position, line.payload) for line in lines if line.frame and line.frame.type == 1]
    assert shown == [record for earlier in life.batches[:4] for record in earlier.records]
    assert lines[-1].position == position
    assert "damaged here" in inspect.describe(lines[-1])
    assert len({inspect.describe(line) for line in lines}) == len(lines)


def test_verify_finds_the_log_intact(life: Life) -> None:
    """Verification changes nothing and needs no lock."""
    disk = copy_of(life)
    before = disk.image()
    disk.lock(LOG / "lock", b"1\n")
    found = inspect.verify(LOG, disk, TINY)
    assert isinstance(found, Found)
    assert found.chain.records == sum(len(batch.records) for batch in life.batches)
    assert {**disk.image(), "lock": b""} == {**before, "lock": b""}
    assert survey(LOG, disk).sources

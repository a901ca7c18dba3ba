"""What is on the disk is used as evidence: a segment that is missing or too short is damage, what
was trimmed away is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from dispatcher.errors import ConfigError, LogCorrupt, LogError, LogVersionTooNew
from dispatcher.testing.disk import Fate, Fault, SimulatedDisk
from dispatcher.txlog import each
from dispatcher.txlog.files import inspect
from dispatcher.txlog.files.engine import Engine
from dispatcher.txlog.files.frame import position_of, segment_of
from dispatcher.txlog.files.recovery import survey
from dispatcher.txlog.files.repair import Plan
from dispatcher.txlog.files.scan import Damage, Found
from dispatcher.txlog.files.segment import Header, Sizes, name_of
from dispatcher.txlog.files.span import PLACE_BYTES, SPAN, Span, decode_span
from tests.golden import test_txlog_v1

SIZES = Sizes(smallest=8192, largest=8192, batch=2048, chunk=4096)
LOG = Path("/simulated/log")
RECORD = b"r" * 400
Records = list[tuple[int, bytes]]


class Job:
    """A housekeeper's job that is done at once."""

    def __init__(self, work: Callable[[], None]) -> None:
        work()

    def done(self) -> bool:
        return True

    def result(self) -> None:
        return None


def start(disk: SimulatedDisk, *, keep_everything: bool = False) -> tuple[Engine, Records]:
    """Open the log; returns it and what it found."""
    found: Records = []
    engine = Engine(LOG, disk, spawn=Job, sizes=SIZES, keep_everything=keep_everything)
    engine.open("test", 9, each(lambda position, payload: found.append((position, payload))))
    return engine, found


def append(engine: Engine, count: int) -> Records:
    """Append so many records, one a batch."""
    records: Records = []
    for number in range(count):
        payload = b"%06d" % number + RECORD
        prepared = engine.prepare([payload], urgent=True)
        engine.write(prepared)
        records.append((prepared.positions[0], payload))
    return records


def found_at(disk: SimulatedDisk) -> Records:
    """Return what a start finds, and close the log again."""
    engine, records = start(disk)
    engine.close()
    return records


def write(disk: SimulatedDisk, name: str, data: bytes) -> None:
    """Put a file in the log's directory, durable."""
    if name in disk.image():
        disk.unlink(LOG / name)
    fd = disk.open(LOG / name, create=True)
    disk.pwrite(fd, data, 0)
    disk.sync(fd)
    disk.close(fd)
    directory = disk.open_directory(LOG)
    disk.sync_directory(directory)
    disk.close(directory)


def segments_of(disk: SimulatedDisk) -> list[str]:
    return sorted(name for name in disk.image() if name.endswith(".seg"))


@pytest.fixture
def disk() -> SimulatedDisk:
    """A closed log: records in four segments, of which the first is numbered 3 (two were trimmed
    away), and a spare."""
    disk = SimulatedDisk()
    engine, _ = start(disk)
    records = append(engine, 50)
    engine.trim(next(position for position, _ in records if segment_of(position) == 3))
    engine.close()
    assert len(segments_of(disk)) >= 4
    return disk


@pytest.fixture
def old() -> SimulatedDisk:
    """The golden log of version 1."""
    disk = SimulatedDisk()
    disk.make_directory(LOG)
    for name, data in test_txlog_v1.golden().items():
        write(disk, name, data)
    return disk


def assert_damaged(disk: SimulatedDisk, name: str, offset: int) -> None:
    """A start and a look say the same, and change nothing."""
    before = disk.image()
    with pytest.raises(LogCorrupt) as caught:
        start(disk)
    assert (caught.value.path, caught.value.offset) == (str(LOG / name), offset)
    verdict = inspect.verify(LOG, disk, SIZES)
    assert isinstance(verdict, Damage)
    assert (verdict.name, verdict.offset) == (name, offset)
    assert {**disk.image(), "lock": b""} == {**before, "lock": b""}


@pytest.mark.parametrize("size", [0, 20, 4096, 4146, 6000, 8191])
@pytest.mark.parametrize("index", [0, 1, -2, -1])
@pytest.mark.parametrize("version", [1, 2])
def test_segment_shorter_than_it_was_made_is_damage(
    disk: SimulatedDisk, old: SimulatedDisk, version: int, index: int, size: int
) -> None:
    """Segments are filled and synced before they get their name: whatever the rest says, and
    whether it was the last one or a spare, a part of it is gone."""
    disk = disk if version == 2 else old
    name = segments_of(disk)[index]
    write(disk, name, disk.image()[name][:size])
    assert_damaged(disk, name, size if size >= 40 else 0)


@pytest.mark.parametrize("index", [0, 1, -1])
def test_missing_segment_is_damage(disk: SimulatedDisk, index: int) -> None:
    """The first one, one in the middle, the last one: the span says that they were there."""
    name = segments_of(disk)[index]
    disk.unlink(LOG / name)
    assert_damaged(disk, name, 0)


def test_log_without_any_segment_is_damage_and_not_a_new_log(disk: SimulatedDisk) -> None:
    """A directory that lost its segments is not empty."""
    first = segments_of(disk)[0]
    for name in segments_of(disk):
        disk.unlink(LOG / name)
    assert_damaged(disk, first, 0)


def test_missing_or_foreign_span_is_damage(disk: SimulatedDisk) -> None:
    """Without it nobody knows what was trimmed."""
    image = disk.image()[SPAN]
    span = decode_span(image)
    assert isinstance(span, Span)
    disk.unlink(LOG / SPAN)
    assert_damaged(disk, SPAN, 0)
    foreign = Span(b"another!", span.first, span.newest).image()
    for data, offset in ((b"", 0), (bytes(len(image)), 0), (foreign, 12)):
        write(disk, SPAN, data)
        assert_damaged(disk, SPAN, offset)
    write(disk, SPAN, image)
    assert found_at(disk)


def test_trimmed_log_is_whole(disk: SimulatedDisk) -> None:
    """What was trimmed away is not missed."""
    assert segments_of(disk)[0] == name_of(3)
    found = inspect.verify(LOG, disk, SIZES)
    assert isinstance(found, Found)
    assert segment_of(found_at(disk)[0][0]) == 3


def test_log_that_keeps_everything_misses_its_first_segment() -> None:
    """With EVENT_SOURCING nothing is ever trimmed, so everything has to be there."""
    disk = SimulatedDisk()
    engine, _ = start(disk, keep_everything=True)
    records = append(engine, 50)
    assert engine.trim(records[-1][0]) is None
    engine.close()
    disk.unlink(LOG / name_of(1))
    assert_damaged(disk, name_of(1), 0)


def test_torn_write_of_the_span_leaves_the_value_before_it() -> None:
    """Two places, written in turn."""
    span = Span(b"example!", 3, 9, generation=4)
    image = bytearray(span.image())
    following = span.after(first=5)
    image[following.offset : following.offset + 20] = following.encode()[:20]
    assert decode_span(bytes(image)) == span
    image[following.offset : following.offset + 40] = following.encode()
    assert decode_span(bytes(image)) == following
    assert following.offset + span.offset == PLACE_BYTES


@pytest.mark.parametrize("fate", list(Fate))
def test_trim_is_never_taken_for_a_loss_whenever_the_power_is_cut(fate: Fate) -> None:
    """At every call while segments are removed and recycled: a start finds a whole log, with all
    that was not trimmed, and removes what the crash left over."""
    random = Random(5)
    disk = SimulatedDisk()
    engine, _ = start(disk)
    records = append(engine, 60)
    keep = records[35:]
    crashed: list[SimulatedDisk] = []
    disk.after_change = lambda: crashed.append(disk.crash(random, fate))
    engine.trim(keep[0][0])
    engine.close()
    assert len(crashed) > 5
    for after in crashed:
        assert [record for record in found_at(after) if record[0] >= keep[0][0]] == keep
        span = survey(LOG, after).span
        assert isinstance(span, Span)
        assert segments_of(after) == [name_of(n) for n in range(span.first, span.newest + 1)]


@pytest.mark.parametrize("call", range(1, 9))
def test_trim_that_failed_is_never_taken_for_a_loss_by_a_start_after_it(call: int) -> None:
    """A call to the disk fails, and the process ends: what the next one finds in the page cache
    may be gone after a power cut, so it is put on the disk before anything counts on it."""
    random = Random(call)
    disk = SimulatedDisk(seed=call)
    engine, _ = start(disk)
    keep = append(engine, 60)[35:]
    disk.faults = {disk.calls + call: Fault.EIO}
    engine.trim(keep[0][0])
    disk.kill()
    crashed: list[SimulatedDisk] = []
    disk.after_change = lambda: crashed.extend(disk.crash(random, fate) for fate in Fate)
    start(disk)
    for after in crashed:
        assert [record for record in found_at(after) if record[0] >= keep[0][0]] == keep


@pytest.mark.parametrize("fate", list(Fate))
def test_upgrade_of_version_1_can_be_cut_anywhere(old: SimulatedDisk, fate: Fate) -> None:
    """The first start on a log of version 1 makes its span and marks the segments that will be
    written to: whatever a power cut leaves of it opens, with every record."""
    random = Random(9)
    expected = test_txlog_v1.expected()
    crashed = [old.crash(random, Fate.LOST)]
    old.after_change = lambda: crashed.append(old.crash(random, fate))
    assert found_at(old) == expected
    old.after_change = None
    assert len(crashed) > 5
    for after in crashed:
        assert found_at(after) == expected
        disk = after.crash(random, Fate.LOST)
        disk.unlink(LOG / segments_of(disk)[0])
        assert_damaged(disk, segments_of(after)[0], 0)


def test_version_1_program_refuses_an_upgraded_log(old: SimulatedDisk) -> None:
    """It looks at the version in every segment's header. Those that will be written to are marked,
    so that one of them is there as long as the log is."""
    engine, _ = start(old)
    append(engine, 1)
    engine.close()
    found = inspect.verify(LOG, old, SIZES)
    assert isinstance(found, Found)
    for name, data in old.image().items():
        if name.endswith(".seg") and int(name[:8], 16) >= found.active:
            header = Header.decode(data)
            assert isinstance(header, Header)
            assert header.version == 2


def test_newer_version_is_refused_and_not_called_damaged(disk: SimulatedDisk) -> None:
    """The message says what to do, and nothing is changed."""
    name = segments_of(disk)[-1]
    data = disk.image()[name]
    header = Header.decode(data)
    assert isinstance(header, Header)
    newer = Header(header.number, header.size_bytes, header.uid, version=3).encode()
    write(disk, name, newer + data[len(newer) :])
    for look in (lambda: start(disk), lambda: inspect.verify(LOG, disk, SIZES)):
        with pytest.raises(LogVersionTooNew, match="Start that version"):
            look()
    with pytest.raises(LogError, match="version 3"):
        inspect.plan(LOG, disk, SIZES)


def repair(disk: SimulatedDisk) -> Plan:
    """Repair the log: the plan changes nothing, and is what is then done."""
    before = disk.image()
    planned = inspect.plan(LOG, disk, SIZES)
    assert disk.image() == before
    done, copies = inspect.repair(LOG, disk, SIZES)
    assert [loss.damage for loss in done.losses] == [loss.damage for loss in planned.losses]
    for copy in copies:
        assert disk.image()[copy.name] == before[copy.name.split(".damaged")[0]]
    return done


@pytest.mark.parametrize("size", [0, 4096, 4146, 6000, 8191])
@pytest.mark.parametrize("index", [0, 1, 2, -1])
def test_repair_of_a_short_segment_loses_only_what_was_cut(
    disk: SimulatedDisk, index: int, size: int
) -> None:
    """The rest is there, at its positions; and no position that may have been lost is used
    again."""
    whole = found_at(disk.crash(Random(1), Fate.LOST))
    name = segments_of(disk)[index]
    number = int(name[:8], 16)
    write(disk, name, disk.image()[name][:size])
    planned = repair(disk)
    assert planned.losses
    engine, found = start(disk)
    cut = position_of(number, size)
    ends = [position + 32 + len(payload) for position, payload in whole]
    kept = [
        record
        for record, end in zip(whole, ends, strict=True)
        if segment_of(record[0]) != number or end <= cut
    ]
    assert found == kept
    lost = [record for record in whole if record not in kept]
    (later,) = append(engine, 1)
    assert not lost or later[0] >= lost[-1][0]
    assert later[0] not in [position for position, _ in whole]
    engine.close()


@pytest.mark.parametrize("index", [0, 1, -2, -1])
def test_repair_of_a_missing_segment_loses_only_what_was_in_it(
    disk: SimulatedDisk, index: int
) -> None:
    """Of the first one, the log begins later; any other is made again, without its records."""
    whole = found_at(disk.crash(Random(1), Fate.LOST))
    name = segments_of(disk)[index]
    disk.unlink(LOG / name)
    planned = repair(disk)
    assert name in [loss.damage.name for loss in planned.losses]
    assert found_at(disk) == [r for r in whole if name_of(segment_of(r[0])) != name]


def test_repair_of_the_span_loses_nothing(disk: SimulatedDisk) -> None:
    """It says again which segments are there."""
    whole = found_at(disk.crash(Random(1), Fate.LOST))
    disk.unlink(LOG / SPAN)
    assert [loss.records for loss in repair(disk).losses] == [0]
    assert found_at(disk) == whole


def test_repair_can_be_cut_anywhere_and_done_again(disk: SimulatedDisk) -> None:
    """A power cut in the middle of a repair never hides what is missing."""
    random = Random(4)
    first, second, *_ = segments_of(disk)
    records = found_at(disk.crash(random, Fate.LOST))
    disk.unlink(LOG / first)
    write(disk, second, disk.image()[second][:5000])
    used = name_of(segment_of(records[-1][0]))
    write(disk, used, disk.image()[used][:4500])
    crashed: list[SimulatedDisk] = []
    repaired = disk.crash(random, Fate.LOST)
    repaired.after_change = lambda: crashed.append(repaired.crash(random))
    repair_on = inspect.repair(LOG, repaired, SIZES)
    assert repair_on[0].losses
    repaired.after_change = None
    expected = found_at(repaired.crash(random, Fate.LOST))
    for again in crashed:
        if isinstance(inspect.verify(LOG, again, SIZES), Damage):
            inspect.repair(LOG, again, SIZES)
        found = found_at(again.crash(random, Fate.LOST))
        assert found == expected
        engine, _ = start(again)
        (later,) = append(engine, 1)
        assert later[0] not in [position for position, _ in records]
        engine.close()


def test_directory_with_an_unfinished_new_log_is_begun_again() -> None:
    """A start that was killed before it had a segment is no damage, and no log to look at."""
    random = Random(2)
    disk = SimulatedDisk()
    crashed: list[SimulatedDisk] = []
    disk.after_change = lambda: crashed.append(disk.crash(random, Fate.KEPT))
    engine, _ = start(disk)
    engine.close()
    for after in crashed:
        if not segments_of(after):
            with pytest.raises(ConfigError):
                inspect.verify(LOG, after, SIZES)
        assert found_at(after) == []


class _Rolling(dict[int, int]):
    """Ends of segments, and a writer that leaves the active one behind while they are looked at."""

    def __init__(self, roll: Callable[[], object]) -> None:
        super().__init__()
        self._roll = roll
        self._has_rolled = False

    def __iter__(self) -> Iterator[int]:
        names = list(super().__iter__())
        if not self._has_rolled:
            self._has_rolled = True
            self._roll()
        return iter(names)


def test_reader_that_asks_for_the_bounds_during_a_roll_finds_the_old_segment() -> None:
    """What is in it was not trimmed, and whoever is told so takes a sound log for damaged."""
    engine, _ = start(SimulatedDisk())
    ((position, payload),) = append(engine, 1)
    engine._supply.ends = _Rolling(lambda: append(engine, 25))
    assert engine.read([position]) == [payload]
    assert segment_of(engine.bounds().end) > segment_of(position)

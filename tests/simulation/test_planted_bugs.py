"""The checker is worth something: logs with one mistake each do not get past it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dispatcher.testing.disk import Fault, SimulatedDisk
from dispatcher.txlog.files import frame, recovery, scan
from dispatcher.txlog.files.engine import Engine, Prepared
from dispatcher.txlog.files.frame import DATA
from dispatcher.txlog.files.scan import Damage, Found
from dispatcher.txlog.files.segment import Segment, Sizes
from dispatcher.txlog.files.span import Span
from dispatcher.txlog.files.supply import Supply
from tests.simulation.workload import Life, State, Violation, fault_calls, flip_bytes

LIVES = range(1000, 1030)


class ConfirmsBeforeTheSync(Engine):
    def _store(self, fd: int, data: bytes, offset: int) -> None:
        self._disk.pwrite(fd, data, offset)


class TriesTheSyncAgain(Engine):
    def _store(self, fd: int, data: bytes, offset: int) -> None:
        self._disk.pwrite(fd, data, offset)
        try:
            self._disk.sync(fd)
        except OSError:
            self._disk.sync(fd)


class NumbersNoBatch(Engine):
    def prepare(self, batch: object, *, urgent: bool, type_: int = DATA) -> Prepared:
        self._batch = 7
        return super().prepare(batch, urgent=urgent, type_=type_)  # type: ignore[arg-type]  # as given

    def _wipe(self, fd: int, written: int, offset: int) -> None:
        """Leave it there."""


class NeverSyncsTheDirectory(SimulatedDisk):
    def sync_directory(self, path: object) -> None:
        """Do nothing."""


class Agreeable(int):
    """A checksum that fits everything."""

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def _live(
    engine_class: type[Engine] = Engine, disk_class: type[SimulatedDisk] = SimulatedDisk
) -> None:
    for seed in LIVES:
        Life(seed, disk_class(seed=seed), engine_class).live(60)


def _live_with_faults(engine_class: type[Engine]) -> None:
    for seed in LIVES:
        fault_calls(seed, 30, engine_class=engine_class)


def _quiet_life(seed: int) -> Life:
    life = Life(seed, SimulatedDisk())
    life.looks_at = range(0)
    life.open()
    while len(life.disk.image()) < 7:
        life.append()
    life.run_jobs()
    life.close()
    return life


def test_checker_catches_a_log_that_confirms_before_the_sync() -> None:
    """The write alone is not durable."""
    with pytest.raises(Violation):
        _live(ConfirmsBeforeTheSync)


def test_checker_catches_a_log_that_never_syncs_its_directory() -> None:
    """A synced file without a name is gone."""
    with pytest.raises(Violation):
        _live(disk_class=NeverSyncsTheDirectory)


def test_checker_catches_a_log_that_checks_no_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torn frame has a header and the wrong bytes."""
    real = frame.checksum
    monkeypatch.setattr(frame, "checksum", lambda crc, data: Agreeable(real(crc, data)))
    with pytest.raises(Violation):
        _live()


def test_checker_catches_a_log_that_tries_a_failed_sync_again() -> None:
    """The second sync has nothing left to write, and says yes."""
    with pytest.raises(Violation):
        _live_with_faults(TriesTheSyncAgain)


def test_checker_catches_a_log_that_takes_damage_for_a_torn_tail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cutting at the first bad frame throws away what was confirmed behind it."""
    monkeypatch.setattr(scan, "_find_damage", lambda *_: None)
    with pytest.raises(Violation, match="nobody says so"):
        flip_bytes(_quiet_life(1), 7)


def test_checker_catches_a_log_that_removes_segments_before_its_span_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A power cut in between would make a trim look like a loss."""

    def drop(self: Supply, active: Segment, dead_upto: int) -> None:
        note = self._note
        notes: list[Span] = []
        monkeypatch.setattr(self, "_note", notes.append)
        real(self, active, dead_upto)
        monkeypatch.setattr(self, "_note", note)
        for span in notes:
            note(span)

    real = Supply._drop
    monkeypatch.setattr(Supply, "_drop", drop)
    with pytest.raises(Violation, match="damaged without damage"):
        _live()


def test_checker_catches_a_log_that_takes_a_torn_tail_for_damage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A power cut is no reason not to start."""

    def strict(sources: object, sizes: Sizes, *others: object) -> Found | Damage:
        found = real(sources, sizes, *others)
        if isinstance(found, Found) and any(piece.torn for piece in found.remains):
            return Damage(found.active, 0, "there is something behind the end")
        return found

    real: Callable[..., Found | Damage] = scan.scan
    monkeypatch.setattr(recovery, "scan", strict)
    with pytest.raises(Violation, match="damaged without damage"):
        _live()


def _refuse_a_batch_halfway(engine_class: type[Engine]) -> None:
    """Two batches of the same shape at one place, frames where sectors begin; the first is refused
    when it is half written."""
    life = Life(7, SimulatedDisk(seed=7), engine_class, crashes_a_call=300)
    life.looks_at = range(0)
    life.open()
    life.run_jobs()
    life.append([1000])  # so that the next batch begins a segment
    life.disk.faults = {life.disk.calls + 1: Fault.SHORT, life.disk.calls + 2: Fault.ENOSPC}
    life.append([480, 480, 480, 480])
    assert life.batches[-1].state is State.REFUSED
    life.looks_at = range(1 << 62)
    life.disk.after_change = life.look
    life.append([480, 480, 480, 480])


def test_checker_catches_a_log_that_numbers_no_batches() -> None:
    """What a refused batch left behind must not complete the next one."""
    _refuse_a_batch_halfway(Engine)
    with pytest.raises(Violation):
        _refuse_a_batch_halfway(NumbersNoBatch)


def test_checker_catches_a_start_that_trusts_the_page_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch whose sync failed can be read by the next process, and be gone after the next power
    cut."""

    def trusting(directory: object, disk: object, source: object, found: object) -> object:
        kept = found.chain.last_batch  # type: ignore[attr-defined]  # the real one's arguments, passed on
        found.chain.last_batch = None  # type: ignore[attr-defined]  # so that it is not written again
        try:
            return real(directory, disk, source, found)
        finally:
            found.chain.last_batch = kept  # type: ignore[attr-defined]  # as it was

    real: Callable[..., object] = recovery._open_for_writing
    monkeypatch.setattr(recovery, "_open_for_writing", trusting)
    with pytest.raises(Violation):
        _live_with_faults(Engine)

"""The audit's log: what is kept, what is found, and that its faults are nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dispatcher.audit import audit_log
from dispatcher.audit.audit_log import AuditLog
from dispatcher.audit.entries import Entry, EntryFilter
from dispatcher.errors import LogBusy, LogCorrupt, LogError, LogUnknown
from dispatcher.queue.admin.pace import Pace
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.loop import run
from dispatcher.txlog import Bounds, Visit
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.segment import Sizes
from dispatcher.txlog.memory import MemoryLog, MemoryStore

ALL = EntryFilter()


@dataclass
class Bench:
    """An audit on a log that can be told to fail."""

    log: FaultyLog = field(default_factory=FaultyLog)
    told: list[tuple[str, object]] = field(default_factory=list)
    made: int = 0
    cannot_open: LogError | None = None

    def __post_init__(self) -> None:
        self.died: list[BaseException] = []
        self.supervisor = Supervisor(lambda name, error: self.died.append(error))
        self.trail: AuditLog

    def audit_unkept(self, *, reason: str) -> None:
        self.told.append(("unkept", reason))

    def audit_kept(self, *, lost: int) -> None:
        self.told.append(("kept", lost))

    async def start(self, *, exists: bool = False) -> Bench:
        self.trail = AuditLog(
            self._make, exists=exists, max_bytes=2**24, supervisor=self.supervisor, told=self
        )
        await self.trail.open("test", 0)
        self.trail.start()
        return self

    def _make(self) -> FaultyLog:
        self.made += 1
        return _Unopenable(self.cannot_open) if self.cannot_open is not None else self.log

    async def again(self) -> Bench:
        """After a kill."""
        return await Bench(self.log.crash()).start(exists=True)

    def add(self, number: int, action: str = "purged", key: str | None = "alice") -> None:
        self.trail.add(Entry(1_000_000 * number, action, key, {"n": number}, number))

    async def found(
        self, which: EntryFilter = ALL, before: int | None = None, limit: int = 1000
    ) -> list[int | None]:
        """Counts of what is found."""
        page = await self.trail.page(which, before=before, limit=limit, pace=Pace(0.0))
        return [entry.count for entry in page.items]


class _Unopenable(FaultyLog):
    def __init__(self, error: LogError) -> None:
        super().__init__()
        self._error = error

    async def open(self, owner: str, epoch: int, visit: Visit | None = None) -> Bounds:
        raise self._error


def simulate(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        bench = Bench()
        await test(bench)
        assert not bench.died
        await bench.supervisor.stop()

    run(lambda _: main())


def test_log_is_made_with_the_first_entry() -> None:
    """Who never does anything has no file more."""

    async def test(bench: Bench) -> None:
        await bench.start()
        await asyncio.sleep(100)
        assert (bench.made, await bench.found()) == (0, [])
        bench.add(1)
        await bench.trail.written()
        assert (bench.made, len(bench.log.records)) == (1, 1)
        await bench.trail.stop()

    simulate(test)


def test_entries_survive_a_kill_and_are_numbered_on() -> None:
    """Those that were written; the newest first."""

    async def test(bench: Bench) -> None:
        await bench.start()
        for number in (1, 2, 3):
            bench.add(number)
        await bench.trail.written()
        after = await bench.again()
        assert await after.found() == [3, 2, 1]
        after.add(4)
        assert await after.found() == [4, 3, 2, 1], "it is seen before it is written"
        await after.trail.written()
        page = await after.trail.page(ALL, before=None, limit=9, pace=Pace(0.0))
        assert [entry.number for entry in page.items] == [4, 3, 2, 1]
        await after.trail.stop()
        assert len(after.log.records) == 4

    simulate(test)


def test_pages_and_filters() -> None:
    """Every entry once, also those that wait; whatever comes meanwhile."""

    async def test(bench: Bench) -> None:
        await bench.start()
        for number in range(1, 501):
            bench.add(
                number,
                "held" if number % 5 == 0 else "purged",
                None if number % 7 == 0 else "alice",
            )
        await bench.trail.written()
        bench.log.append_s = 1000.0
        bench.add(501)
        seen: list[int | None] = []
        before: int | None = None
        while True:
            page = await bench.trail.page(ALL, before=before, limit=37, pace=Pace(0.0))
            seen += [entry.count for entry in page.items]
            before = page.next_before
            if before is None:
                break
            bench.add(1000)
        assert seen == list(range(501, 0, -1))
        of_action = await bench.found(EntryFilter(action="held"))
        assert [count for count in of_action if count != 1000] == list(range(500, 0, -5))
        since = EntryFilter(since_us=490_000_000, action="held")
        assert await bench.found(since) == [500, 495, 490]
        assert len(await bench.found(EntryFilter(key="alice"), limit=10)) == 10
        assert await bench.found(EntryFilter(key="bob")) == []

    simulate(test)


def test_full_disk_is_told_once_and_entries_wait_for_space() -> None:
    """Nobody waits for that, and none is lost."""

    async def test(bench: Bench) -> None:
        await bench.start()
        bench.log.space = Space.NOTHING
        for number in (1, 2, 3):
            bench.add(number)
        await bench.trail.written()
        loop = asyncio.get_running_loop()
        began = loop.time()
        bench.add(4)
        await bench.trail.written()
        assert loop.time() == began, "an answer does not wait for what is known to fail"
        await asyncio.sleep(300)
        assert [what for what, _ in bench.told] == ["unkept"]
        assert bench.trail.unkept is not None
        assert await bench.found() == [4, 3, 2, 1]
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(100)
        assert bench.told[1:] == [("kept", 0)]
        assert bench.trail.unkept is None
        assert len(bench.log.records) == 4
        await bench.trail.stop()

    simulate(test)


def test_only_so_many_wait_and_the_others_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are kept."""
    monkeypatch.setattr(audit_log, "MOST_WAITING", 10)

    async def test(bench: Bench) -> None:
        await bench.start()
        bench.log.space = Space.NOTHING
        for number in range(1, 31):
            bench.add(number)
        await asyncio.sleep(10)
        assert await bench.found() == list(range(30, 20, -1))
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(100)
        assert bench.told[1:] == [("kept", 20)]

    simulate(test)


def test_slow_disk_holds_an_answer_up_for_a_second_at_most() -> None:
    """What was done is done."""

    async def test(bench: Bench) -> None:
        await bench.start()
        bench.log.append_s = 60.0
        bench.add(1)
        began = asyncio.get_running_loop().time()
        await bench.trail.written()
        assert asyncio.get_running_loop().time() - began == pytest.approx(1.0)

    simulate(test)


def test_damaged_log_is_told_and_left_alone_until_it_is_mended() -> None:
    """The start goes on, and so does the audit, in memory."""

    async def test(bench: Bench) -> None:
        bench.cannot_open = LogCorrupt("audit.log/1.seg", 7, "the checksum is wrong")
        await bench.start(exists=True)
        assert [what for what, _ in bench.told] == ["unkept"]
        bench.add(1)
        await asyncio.sleep(100)
        assert await bench.found() == [1]
        assert len(bench.told) == 1
        bench.cannot_open = None
        await asyncio.sleep(100)
        assert bench.told[1:] == [("kept", 0)]
        assert len(bench.log.records) == 1
        await bench.trail.stop()

    simulate(test)


def test_log_of_which_nothing_is_known_is_not_written_again() -> None:
    """A sync that failed says nothing of the file: until the next start entries are in memory."""

    async def test(bench: Bench) -> None:
        await bench.start()
        bench.add(1)
        await bench.trail.written()
        bench.log.broken = True
        bench.add(2)
        await asyncio.sleep(10)
        bench.log.broken = False
        bench.add(3)
        await asyncio.sleep(1000)
        assert (bench.made, len(bench.log.records)) == (1, 1)
        assert await bench.found() == [3, 2, 1]
        assert bench.trail.log is None, "no backup has it"
        await bench.trail.stop()

    simulate(test)


def test_log_that_could_not_be_opened_at_first_is_read_when_it_can_be() -> None:
    """Also where nobody does anything meanwhile."""

    async def test(bench: Bench) -> None:
        await bench.start()
        bench.add(1)
        await bench.trail.stop()
        again = Bench(bench.log.crash(), cannot_open=LogBusy("no leader"))
        await again.start(exists=True)
        await asyncio.sleep(0.5)
        assert (await again.found(), again.told) == ([], [("unkept", "no leader")])
        again.cannot_open = None
        await asyncio.sleep(5)
        assert (await again.found(), again.told[1:]) == ([1], [("kept", 0)])
        await again.trail.stop()

    simulate(test)


@pytest.mark.parametrize("is_stored", [True, False])
def test_batch_that_may_be_stored_is_written_once(is_stored: bool) -> None:
    """The log is opened anew, as nothing is wrong with what it is in; nothing is lost, nor twice
    there."""

    async def test(bench: Bench) -> None:
        store, logs = MemoryStore(), list[MemoryLog]()

        def make() -> MemoryLog:
            logs.append(MemoryLog(store))
            return logs[-1]

        trail = AuditLog(
            make, exists=True, max_bytes=2**24, supervisor=bench.supervisor, told=bench
        )
        bench.trail = trail
        await trail.open("test", 1)
        trail.start()
        bench.add(1)
        await trail.written()
        logs[0].stores_failed, logs[0].failure = is_stored, LogUnknown("nobody answers")
        bench.add(2)
        await asyncio.sleep(0.5)
        bench.add(3)
        assert trail.unkept
        await asyncio.sleep(1)
        assert await bench.found() == [3, 2, 1]
        assert len(store.records) == 3
        assert bench.told == [("unkept", "nobody answers"), ("kept", 0)]
        await MemoryLog(store).open("another", 2)
        bench.add(4)
        await asyncio.sleep(100)
        assert trail.unkept
        assert (len(logs), len(store.records)) == (2, 3)
        await trail.stop()

    simulate(test)


def test_writer_that_dies_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of something unforeseen: that is told, and what operators do goes on without being kept."""

    def fail(entry: Entry) -> bytes:
        raise ZeroDivisionError("unforeseen")

    async def test(bench: Bench) -> None:
        await bench.start()
        monkeypatch.setattr(audit_log, "encode_entry", fail)
        bench.add(1)
        await bench.trail.written()
        assert bench.trail.unkept == "unforeseen"
        assert bench.told == [("unkept", "unforeseen")]
        before = asyncio.get_running_loop().time()
        bench.add(2)
        await bench.trail.written()
        assert asyncio.get_running_loop().time() == before
        assert await bench.found() == [2, 1]
        assert [type(error) for error in bench.died] == [ZeroDivisionError]
        bench.died.clear()

    simulate(test)


async def test_oldest_go_when_there_is_too_much(tmp_path: Path) -> None:
    """By segments; what is left is found, also after a restart."""
    died: list[BaseException] = []
    supervisor = Supervisor(lambda name, error: died.append(error))
    bench = Bench()
    sizes = Sizes(largest=2**20)

    def trail() -> AuditLog:
        return AuditLog(
            lambda: FileLog(tmp_path / "audit.log", sizes=sizes),
            exists=True,
            max_bytes=3 * 2**20,
            supervisor=supervisor,
            told=bench,
        )

    one = trail()
    await one.open("test", 0)
    one.start()
    for number in range(1, 601):
        one.add(Entry(number, "purged", None, {"x": "y" * 12_000}, number))
        if number % 20 == 0:
            await asyncio.wait_for(one._idle.wait(), 60)
    assert one.log is not None
    assert one.log.size_bytes <= 4 * 2**20
    page = await one.page(ALL, before=None, limit=1000, pace=Pace(0.0))
    kept = [entry.count for entry in page.items]
    assert 100 < len(kept) < 400
    assert kept == list(range(600, 600 - len(kept), -1))
    await one.stop()
    other = trail()
    await other.open("test", 0)
    page = await other.page(ALL, before=None, limit=1000, pace=Pace(0.0))
    assert [entry.count for entry in page.items][: len(kept)] == kept
    await other.stop()
    await supervisor.stop()
    assert not died
    assert not bench.told

"""The committer on a full disk: what finds out that there is space again, and what gives way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dispatcher.errors import LogBusy
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.loop import run
from tests.unit.test_queue_committer import Bench


class _Lacking(FaultyLog):
    """`lacks` says for how many appends something else than space is lacking."""

    lacks = 0

    def append(self, batch: Sequence[bytes], *, urgent: bool = False) -> asyncio.Future[list[int]]:
        if not self.lacks:
            return super().append(batch, urgent=urgent)
        self.lacks -= 1
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        done.set_exception(LogBusy("too many open files"))
        return done


@pytest.mark.parametrize("settles", [False, True])
def test_full_disk_has_space_again_when_the_log_says_so(settles: bool) -> None:
    """Nothing is stored to find out, and no batch that could not be made for another reason leaves
    the disk full for ever."""

    async def main(clock: SimulatedClock) -> None:
        log = _Lacking(max_batch_bytes=10_000)
        bench = Bench(log)
        bench.committer.start()
        log.space = Space.NOTHING
        bench.submit(b"caller")
        await asyncio.sleep(0.5)
        assert bench.space == [True]
        if settles:
            bench.urgent(b"settled")
            bench.committer.wake()
        log.space, log.lacks = Space.ENOUGH, 2 * settles
        await asyncio.sleep(4)
        assert bench.space == [True, False]
        bench.submit(b"another")
        await asyncio.sleep(0.5)
        assert bench.said.count("another stored") == 1
        assert log.appended == [[b"settled"]] * settles + [[b"another"]]
        assert not log.lacks
        await bench.committer.stop()

    run(main)


def test_full_disk_is_looked_at_while_a_batch_is_with_the_log() -> None:
    """A slow disk is not asked to store more, and callers are accepted as soon as there is room."""

    async def main(clock: SimulatedClock) -> None:
        log = FaultyLog(max_batch_bytes=10_000)
        bench = Bench(log)
        bench.committer.start()
        log.space = Space.RESERVE
        bench.submit(b"caller")
        await asyncio.sleep(0.5)
        log.space, log.append_s = Space.ENOUGH, 4.5
        bench.urgent(b"settled")
        bench.committer.wake()
        await asyncio.sleep(1)
        assert bench.space == [True, False]
        assert log.appended == []
        await bench.committer.stop()
        assert log.appended == [[b"settled"]]

    run(main)


def test_copies_leave_what_is_kept_back_alone_and_are_refused_when_the_disk_is_full() -> None:
    """The records that end messages, before and behind them, find the space that is kept for
    them."""

    async def main(clock: SimulatedClock) -> None:
        log = FaultyLog(max_batch_bytes=10_000)
        bench = Bench(log)
        bench.committer.start()
        log.space = Space.RESERVE
        bench.urgent(b"before")
        bench.copy(b"copy")
        bench.urgent(b"behind")
        bench.committer.wake()
        await asyncio.sleep(0.5)
        assert log.appended == [[b"before", b"behind"]]
        assert set(bench.said) == {"copy disk_full", "before stored", "behind stored", "settled"}
        assert bench.space == [True]
        bench.said.clear()
        bench.copy(b"late")
        assert bench.said == ["late disk_full"], "at once"
        await bench.committer.stop()

    run(main)


def test_copies_that_are_allowed_on_a_full_disk_go_on_up_to_that() -> None:
    """A look that finds no space does not end them, and no more is taken than was allowed."""

    async def main(clock: SimulatedClock) -> None:
        log = FaultyLog(max_batch_bytes=10_000)
        bench = Bench(log)
        bench.committer.start()
        log.space = Space.RESERVE
        bench.submit(b"caller")
        await asyncio.sleep(0.5)
        assert bench.committer.full
        bench.committer.copies.allow(2 * (7 + OVERHEAD_BYTES))
        bench.copy(b"copy  1", b"copy  2", b"copy  3")
        await asyncio.sleep(0.6)  # at the next look
        assert log.appended == [[b"copy  1", b"copy  2"]]
        assert "copy  3 disk_full" in bench.said
        await bench.committer.stop()

    run(main)


@pytest.mark.parametrize("busy", [False, True])
def test_copies_never_wait_when_nothing_can_be_stored(busy: bool) -> None:
    """Whoever copies would wait with them, and trim nothing meanwhile."""

    async def main(clock: SimulatedClock) -> None:
        log = _Lacking(max_batch_bytes=10_000)
        bench = Bench(log)
        bench.committer.start()
        log.space = Space.NOTHING
        if busy:
            log.lacks = 5
        bench.urgent(b"settled")
        bench.copy(b"copy")
        bench.committer.wake()
        await asyncio.sleep(0.5)
        assert f"copy {'log_busy' if busy else 'disk_full'}" in bench.said
        assert bench.committer.is_stuck is not busy
        log.space = Space.ENOUGH
        await asyncio.sleep(10)
        assert [batch[0] for batch in log.appended].count(b"settled") == 1
        assert not bench.committer.copies.under_way
        await bench.committer.stop()

    run(main)

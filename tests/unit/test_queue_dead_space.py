"""A full disk of the dead-letter log, and what an operator can do about it."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.errors import Refused
from dispatcher.queue.admin.surface import Cancelled, LetterFilter
from dispatcher.queue.commit.settlements import WAIT_SECONDS
from dispatcher.testing.log import Space
from dispatcher.testing.queue import Bench, failed, simulate
from tests.unit.test_queue_admin import accepted, dead


def test_purging_works_while_dead_letters_wait_for_space() -> None:
    """The space that is kept back is not used up by more of them; those that wait are stored when
    there is space again, and are settled then and not before."""

    async def test(bench: Bench) -> None:
        old = await dead(bench)
        bench.dead_log.space = Space.RESERVE
        waiting = [await accepted(bench, f"w{n}") for n in range(3)]
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0], failed(404))
            await asyncio.sleep(0.1)
        assert (bench.queue.figures.burying, len(bench.queue.dead_letters)) == (3, 1)
        assert bench.queue.dead_letters.waiting_bytes > 0
        moved = await asyncio.wait_for(bench.queue.admin.purge([old]), 1)
        assert moved.count == 1
        assert len(bench.queue.dead_letters) == 0
        bench.dead_log.space = Space.ENOUGH
        await asyncio.sleep(1.2)
        page = await bench.queue.admin.letters(LetterFilter(), cursor=0, limit=10)
        assert [item.id for item in page.items] == waiting
        assert bench.queue.dead_letters.waiting_bytes == bench.queue.figures.burying == 0
        await bench.crash()
        await bench.start()
        await asyncio.sleep(0.1)
        assert len(bench.queue.dead_letters) == 3
        assert not bench.deliverer.flying

    simulate(test)


def test_dead_letters_that_wait_for_space_are_given_up_again_after_a_stop() -> None:
    """A stop does not wait for space; nothing is lost."""

    async def test(bench: Bench) -> None:
        bench.dead_log.space = Space.RESERVE
        await accepted(bench)
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(0.1)
        await asyncio.wait_for(bench.stop(), 1)
        bench.dead_log.space = Space.ENOUGH
        await bench.start()
        await asyncio.sleep(0.1)
        assert len(bench.deliverer.flying) == 1

    simulate(test)


def test_an_operator_is_told_when_a_disk_takes_too_long_and_what_was_begun_goes_on() -> None:
    """Nothing waits for ever, and nothing is left half done."""

    async def test(bench: Bench) -> None:
        first, second = await dead(bench), await dead(bench)
        await asyncio.sleep(1)
        bench.dead_log.space = Space.NOTHING
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(Refused, match="Make space"):
            await bench.queue.admin.redrive([first])
        with pytest.raises(Refused, match="Make space"):
            await bench.queue.admin.purge([second])
        assert loop.time() - began < 2 * WAIT_SECONDS + 1
        assert not bench.deliverer.flying, "its letter is still there: a crash would bring it back"
        assert (await bench.queue.admin.redrive([first, second])).not_found == [first, second]
        bench.dead_log.space = Space.ENOUGH
        await asyncio.sleep(2)
        assert [sent.wire_id.decode() for sent in bench.deliverer.flying] == [first]
        assert len(bench.queue.dead_letters) == 0
        assert not bench.queue.redriver.is_busy
        bench.end(bench.deliverer.flying[0])
        assert bench.queue.pending.index.count == 0

    simulate(test)


def test_cancelling_is_refused_before_anything_changes_when_no_space_is_left_at_all() -> None:
    """Otherwise a crash would deliver what was said to be cancelled."""

    async def test(bench: Bench) -> None:
        ids = [await accepted(bench, f"m{n}") for n in range(4)]
        bench.log.space = Space.NOTHING
        bench.end(bench.deliverer.flying[0])  # there is something to write
        await asyncio.sleep(1)
        assert bench.queue.committer.is_stuck
        with pytest.raises(Refused, match="Make space"):
            await bench.queue.admin.cancel(ids[-1])
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(2)
        assert await bench.queue.admin.message(ids[-1]) is not None
        assert await bench.queue.admin.cancel(ids[-1]) is Cancelled.DONE

    simulate(test)


def test_cancelling_is_refused_when_the_disk_takes_too_long() -> None:
    """The message is not sent any more, but a crash may bring it back: that is said."""

    async def test(bench: Bench) -> None:
        ids = [await accepted(bench, f"m{n}") for n in range(4)]
        bench.log.append_s = WAIT_SECONDS * 3
        with pytest.raises(Refused, match="takes too long"):
            await bench.queue.admin.cancel(ids[-1])
        assert await bench.queue.admin.message(ids[-1]) is None

    simulate(test)


def test_purging_works_when_nothing_can_be_settled_and_makes_the_space_for_that() -> None:
    """Both logs on one disk, and not even urgent records find space in the transaction log: letters
    whose messages are settled for certain go first, the others when that is written down."""

    async def test(bench: Bench) -> None:
        sure = [await dead(bench, f"s{n}") for n in range(3)]
        await asyncio.sleep(1)
        late = [await accepted(bench, f"l{n}") for n in range(2)]
        bench.log.space = Space.NOTHING
        for one in list(bench.deliverer.flying):
            bench.end(one, failed(404))
        await asyncio.sleep(1)
        assert bench.queue.committer.is_stuck
        purging = asyncio.create_task(bench.queue.admin.purge([*sure, *late]))
        await asyncio.sleep(1)
        assert [one.decode() for one, _ in bench.queue.dead_letters] == late
        assert not purging.done()
        await bench.crash()  # what was purged does not come back, the others are letters still
        await bench.start()
        await asyncio.sleep(0.1)
        assert [one.decode() for one, _ in bench.queue.dead_letters] == late
        assert not bench.deliverer.flying
        bench.log.space = Space.NOTHING
        await dead_now(bench)
        purging = asyncio.create_task(bench.queue.admin.purge(late))
        await asyncio.sleep(1)
        bench.log.space = Space.ENOUGH  # as it is when a segment of the other log was freed
        assert (await purging).count == 2

    simulate(test)


async def dead_now(bench: Bench) -> None:
    """A message ends, so that there is something to settle: the committer is stuck then."""
    await asyncio.sleep(1)
    assert bench.queue.settlements.buried_upto
    bench.queue.settlements.add(99, 1)
    bench.queue.committer.wake()
    await asyncio.sleep(0.1)
    assert bench.queue.committer.is_stuck

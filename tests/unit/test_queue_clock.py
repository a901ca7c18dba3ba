"""Somebody turns the wall clock while the queue runs: it waits by its own and tells the other."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.queue.admin.surface import AttemptView, Death
from dispatcher.queue.pending.index import State
from dispatcher.queue.records.history import decode_history
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

AN_HOUR_US = 3_600_000_000
turned = pytest.mark.parametrize("turned_us", [AN_HOUR_US, -AN_HOUR_US], ids=["ahead", "back"])


async def _in_flight(bench: Bench) -> None:
    sent = message(destination("a"))
    sent.accepted_at = bench.clock.now_us()
    bench.accept(sent)
    await asyncio.sleep(0.01)
    (flying,) = bench.deliverer.flying
    assert flying is sent


@turned
def test_time_to_delivery_is_never_negative(turned_us: int) -> None:
    """A sum of a histogram that falls makes nonsense of every rate."""

    async def test(bench: Bench) -> None:
        await _in_flight(bench)
        bench.clock.set_wall_clock(bench.clock.now_us() + turned_us)
        bench.end(bench.deliverer.flying[0])
        counted = bench.queue.figures.delivery_us
        assert (sum(counted.counts), counted.sum >= 0) == (1, True)

    simulate(test)


@turned
def test_a_pause_is_told_by_the_wall_clock(turned_us: int) -> None:
    """Of the breaker and of `Retry-After`."""

    async def test(bench: Bench) -> None:
        bench.clock.set_wall_clock(bench.clock.now_us() + turned_us)
        await _in_flight(bench)
        bench.end(bench.deliverer.flying[0], failed(503, retry_after=b"5"))
        ((_, until_us, why),) = bench.notes.paused
        assert (why, until_us - bench.clock.now_us()) == ("retry_after", 5_000_000)

    simulate(test)


@turned
def test_attempts_are_kept_by_the_wall_clock(turned_us: int) -> None:
    """So is the death, which comes after them."""

    async def test(bench: Bench) -> None:
        bench.clock.set_wall_clock(bench.clock.now_us() + turned_us)
        await _in_flight(bench)
        began_us = bench.clock.now_us()
        sent = bench.deliverer.flying[0]
        await asyncio.sleep(1)
        bench.end(sent, failed(404))
        await asyncio.sleep(1)
        letter = await bench.queue.admin.letter(sent.wire_id.decode())
        assert letter is not None
        (attempt,) = letter.history
        assert 0 <= began_us - attempt.started_at_us <= 20_000
        assert 0 <= letter.letter.dead_at_us - began_us - 1_000_000 <= 20_000

    simulate(test)


@turned
@pytest.mark.parametrize("copied", [False, True], ids=["retry", "moved"])
def test_a_retry_is_due_after_a_restart_when_it_was_before(turned_us: int, copied: bool) -> None:
    """What is written of it is the wall clock's, in both records that know it."""

    async def test(bench: Bench) -> None:
        bench.clock.set_wall_clock(bench.clock.now_us() + turned_us)
        await _in_flight(bench)
        bench.end(bench.deliverer.flying[0], failed(503, retry_after=b"10"))
        await asyncio.sleep(1)
        if copied:
            queue = bench.queue
            await queue.space.copy([queue.pending.extents.oldest])
            assert queue.space.copied_total == 1
        await bench.crash()
        await bench.start()
        await asyncio.sleep(8.9)
        assert not bench.deliverer.flying
        await asyncio.sleep(3)
        assert len(bench.deliverer.flying) == 1

    simulate(test)


def test_attempt_that_fails_while_the_clock_is_before_1970_is_tried_again() -> None:
    """No record can hold when it began: it counts as begun in the first moment of 1970."""

    async def test(bench: Bench) -> None:
        bench.clock.set_wall_clock(0)
        await _in_flight(bench)
        await asyncio.sleep(1)
        bench.clock.set_wall_clock(0)
        bench.end(bench.deliverer.flying[0], failed(503))
        (sent, _) = bench.notes.retries[0]
        (attempt,) = decode_history(sent.history)
        assert attempt.started_at == 0
        await asyncio.sleep(1)
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(1)
        assert len(bench.queue.dead_letters) == 1

    simulate(test)


def test_retry_that_is_overdue_is_copied_while_the_clock_is_before_1970() -> None:
    """Its destination is held: its time passes, and it waits on."""

    async def test(bench: Bench) -> None:
        await _in_flight(bench)
        bench.end(bench.deliverer.flying[0], failed(503, retry_after=b"10"))
        await asyncio.sleep(1)
        queue = bench.queue
        index = queue.pending.index
        (slot,) = (slot for slot, state in enumerate(index.state) if state == State.SCHEDULED)
        index.due_at[slot] = queue.clock.now_us() - 1_000_000
        bench.clock.set_wall_clock(0)
        await queue.space.copy([queue.pending.extents.oldest])
        assert queue.space.copied_total == 1

    simulate(test)


def test_dead_letter_is_imported_when_its_attempts_were_before_1970() -> None:
    """The clock of the server that it comes from was not set."""

    async def test(bench: Bench) -> None:
        attempt = AttemptView(1, -1_000_000, 5, 503, None, None)
        death = Death(-1, "rejected", "as told", b"", 1, [attempt])
        await bench.queue.carrying.take(message(destination("a"), b""), [], death)
        ((key, _),) = bench.queue.dead_letters
        letter = await bench.queue.admin.letter(key.decode())
        assert letter is not None
        assert letter.history[0].started_at_us == 0

    simulate(test)

"""A message's name is unique for ever: positions come again in a log that was begun anew."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.message import Message
from dispatcher.queue.admin.surface import Cancelled, MessageState
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.queue import Bench, failed, simulate
from tests.unit.test_queue_admin import accepted, dead


async def _begin_log_anew(bench: Bench) -> None:
    """As an operator does who deletes the transaction log, or restores an older one."""
    await bench.crash()
    bench.log = FaultyLog()
    await bench.start()


def _flying(bench: Bench, message_id: str) -> Message:
    (found,) = [one for one in bench.deliverer.flying if one.wire_id.decode() == message_id]
    return found


async def _two_of_one_position(bench: Bench) -> tuple[str, str]:
    """Two dead letters that were first stored at the same position."""
    first = await dead(bench, "a1")
    await _begin_log_anew(bench)
    second = await dead(bench, "a2")
    assert first[12:] == second[12:]
    return first, second


@pytest.mark.parametrize("delivered_first", [0, 1])
def test_message_is_kept_when_another_with_its_position_was_delivered(
    delivered_first: int,
) -> None:
    """What is written down when one is done ends that one."""

    async def test(bench: Bench) -> None:
        ids = await _two_of_one_position(bench)
        moved = await bench.queue.admin.redrive(ids)
        assert (moved.count, moved.not_found) == (2, [])
        await asyncio.sleep(0.1)
        bench.end(_flying(bench, ids[delivered_first]))
        await asyncio.sleep(0.1)
        await bench.crash()
        await bench.start()
        await asyncio.sleep(0.1)
        left = [one.wire_id.decode() for one in bench.deliverer.flying]
        assert left == [ids[1 - delivered_first]]

    simulate(test)


def test_attempts_are_those_of_the_message_when_another_has_its_position() -> None:
    """What is written down of an attempt, too, names the message that it was of."""

    async def test(bench: Bench) -> None:
        first, second = await _two_of_one_position(bench)
        await bench.queue.admin.redrive([first, second])
        await asyncio.sleep(0.1)
        bench.end(_flying(bench, first), failed(503))
        await asyncio.sleep(0.05)
        await bench.crash()
        await bench.start()
        attempts = {}
        for _ in range(2):  # one at a time, to a destination that was not tried
            await asyncio.sleep(1)
            (one,) = bench.deliverer.flying
            attempts[one.wire_id.decode()] = one.attempt
            bench.end(one)
        assert attempts == {first: 2, second: 1}

    simulate(test)


def test_dead_letter_of_another_log_is_redriven_when_its_position_is_taken() -> None:
    """By a message that waits, or because the log is not that long yet."""

    async def test(bench: Bench) -> None:
        for n in range(3):
            await accepted(bench, f"before{n}")
            bench.end(bench.deliverer.flying[0])
        first = await dead(bench, "a1")
        await _begin_log_anew(bench)
        assert (await bench.queue.admin.redrive([first])).count == 1
        waiting: list[str] = []
        while int(first[12:], 16) > bench.log._next:
            waiting.append(await accepted(bench, f"w{len(waiting)}"))
        view = await bench.queue.admin.message(first)
        assert view is not None
        assert (view.state, view.target) == (MessageState.IN_FLIGHT, "/a1")
        for message_id in [first, *waiting]:
            await asyncio.sleep(0.05)
            bench.end(_flying(bench, message_id))
        await asyncio.sleep(0.05)
        await bench.crash()
        await bench.start()
        assert bench.queue.pending.index.count == 0

    simulate(test)


def test_message_is_cancelled_alone_when_another_has_its_position() -> None:
    """Looking and cancelling mean the same one."""

    async def test(bench: Bench) -> None:
        first, second = await _two_of_one_position(bench)
        await bench.queue.admin.hold("http://a.example")
        await bench.queue.admin.redrive([first, second])
        await asyncio.sleep(0.1)
        assert await bench.queue.admin.cancel(first) is Cancelled.DONE
        for message_id, target in ((first, None), (second, "/a2")):
            view = await bench.queue.admin.message(message_id)
            assert (None if view is None else view.target) == target
        await bench.crash()
        await bench.start()
        assert bench.queue.pending.index.count == 1
        assert await bench.queue.admin.message(second) is not None

    simulate(test)


def test_message_is_forgotten_when_it_was_revived_just_where_it_once_lay() -> None:
    """By chance, in a log that was begun anew: its old position is its new one."""

    async def test(bench: Bench) -> None:
        first = await dead(bench, "a1")
        await _begin_log_anew(bench)
        bench.log._next = int(first[12:], 16) - 33  # a redrive stores a probe of 33 bytes first
        await bench.queue.admin.redrive([first])
        await asyncio.sleep(0.1)
        (sent,) = bench.deliverer.flying
        pending = bench.queue.pending
        assert pending.index.position[sent.slot] == sent.position
        assert pending.find(sent.position, sent.incarnation) == sent.slot
        bench.end(sent)
        assert pending.find(sent.position, sent.incarnation) == -1
        assert pending.moved.count == 0
        await asyncio.sleep(0.1)
        await bench.crash()
        await bench.start()
        assert bench.queue.pending.index.count == 0

    simulate(test)

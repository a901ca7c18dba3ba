"""What was delivered is found in the log of every engine."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator

import pytest

from dispatcher.core.message import Message
from dispatcher.queue.admin.history import History
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import HistoryFilter, Place
from dispatcher.queue.records.kinds import NOTHING
from dispatcher.queue.records.messages import encode_message
from dispatcher.queue.records.settled import encode_delivered, encode_settled
from dispatcher.testing.queue import message
from dispatcher.txlog import TransactionLog
from tests.conformance.engines import Storage

MESSAGES = 600
TOGETHER = 50


@pytest.fixture
async def log(storage: Storage) -> AsyncIterator[TransactionLog]:
    """A log of each engine."""
    opened = storage.new()
    await opened.open("test", 1)
    yield opened
    await opened.close()


def numbered(number: int) -> Message:
    """A message; every seventh has a body of some size."""
    body = b"%d" % number * (1 if number % 7 else 5000)
    one = message(body=body, name=str(number))
    one.accepted_at = number
    one.incarnation = 7
    return one


async def filled(log: TransactionLog) -> list[str]:
    """Store messages, and how they ended: of three one was delivered, one was not, one waits.
    Returns the targets of the first."""
    delivered = []
    for start in range(0, MESSAGES, TOGETHER):
        numbers = range(start, start + TOGETHER)
        positions = await log.append([encode_message(numbered(one)) for one in numbers] + [NOTHING])
        ends = [array("Q", positions[:-1][end::3]) for end in (0, 1)]
        await log.append([encode_delivered(7, ends[0]), encode_settled(7, ends[1])])
        delivered += [f"/{one}" for one in numbers[::3]]
    return delivered


async def found(
    log: TransactionLog, which: HistoryFilter, after: Place | None = None
) -> list[tuple[str, Place]]:
    """Targets of what is found, each with the place behind it."""
    history = History(log, Pace(0.0), partition=0)
    return [
        (one.target, step.place)
        async for step in history.delivered(which, after, most=lambda: 1)
        for one in step.messages
    ]


async def test_what_was_delivered_is_found_in_order(log: TransactionLog) -> None:
    """All of it, once."""
    expected = await filled(log)
    assert [target for target, _ in await found(log, HistoryFilter())] == expected


async def test_what_was_delivered_is_found_by_when_it_was_accepted(log: TransactionLog) -> None:
    """Positions mean nothing here but their order."""
    expected = [one for one in await filled(log) if 100 <= int(one[1:]) < 333]
    which = HistoryFilter(since_us=100, until_us=333)
    assert [target for target, _ in await found(log, which)] == expected


async def test_history_is_read_on_behind_a_place(log: TransactionLog) -> None:
    """What is stored meanwhile is not in it."""
    expected = await filled(log)
    before = await found(log, HistoryFilter())
    await filled(log)
    for number in (0, 16, 17, 99, MESSAGES // 3 - 1):
        after = await found(log, HistoryFilter(), before[number][1])
        assert [target for target, _ in after] == expected[number + 1 :]

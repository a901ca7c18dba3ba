"""Whole answers through the pool, over loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.core.room import Rooms
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.testing.delivery import RecordingHome
from dispatcher.testing.destination import FakeDestination, Reset, Send, Wait, answer

LIMIT = 16_000_000


@pytest.fixture
async def destination() -> AsyncIterator[FakeDestination]:
    async with FakeDestination() as destination:
        yield destination


@pytest.fixture
def rooms() -> Rooms:
    return Rooms(LIMIT)


@pytest.fixture
async def pool(rooms: Rooms) -> AsyncIterator[Pool]:
    pool = Pool(DeliveryConfig(default_timeout_ms=60_000), rooms=rooms)
    yield pool
    await pool.close()


@pytest.fixture
def home() -> RecordingHome:
    return RecordingHome()


def asking(home: RecordingHome, destination: FakeDestination, timeout_ms: int = 0) -> Message:
    message = home.outgoing(destination.authority, b"run", timeout_ms=timeout_ms)
    message.want_answer(LIMIT)
    return message


async def test_largest_answer_arrives_whole(
    pool: Pool, home: RecordingHome, destination: FakeDestination, rooms: Rooms
) -> None:
    """Byte for byte, and the connection carries the next message, one that wants nothing too."""
    body = bytes(range(250)) * (LIMIT // 250)
    destination.script(answer(200, body, ("Content-Type", "application/proto")))
    message = asking(home, destination)
    pool.deliver(message)
    await home.settled(1)
    assert message.answer is not None
    assert message.answer.body == body
    assert message.answer.content_type == b"application/proto"
    assert rooms.free_bytes == 0
    message.answer.release()
    assert rooms.free_bytes == LIMIT
    pool.deliver(home.outgoing(destination.authority, b"plain"))
    pool.deliver(again := asking(home, destination))
    settled = await home.settled(3)
    assert [one.status for one in settled] == [200, 200, 200]
    assert again.answer is not None
    assert pool.connects == 2


async def test_answer_that_breaks_off_leaves_nothing(
    pool: Pool, home: RecordingHome, destination: FakeDestination, rooms: Rooms
) -> None:
    """It is a broken response, there is no answer, and its room is free again."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 15000000\r\n\r\n"
    destination.script([Send(head + bytes(500_000)), Wait(0.05), Reset()])
    message = asking(home, destination)
    pool.deliver(message)
    (settled,) = await home.settled(1)
    assert settled.result is not None
    assert settled.result.failure is Failure.BROKEN
    assert message.answer is None
    assert rooms.free_bytes == LIMIT


async def test_too_large_an_answer_is_broken(
    pool: Pool, home: RecordingHome, destination: FakeDestination, rooms: Rooms
) -> None:
    """The detail names the limit."""
    destination.script(answer(200, bytes(LIMIT + 1)))
    message = asking(home, destination)
    pool.deliver(message)
    (settled,) = await home.settled(1)
    assert settled.result is not None
    assert settled.result.failure is Failure.BROKEN
    assert "16000001 bytes, and 16000000 are the most" in settled.result.detail
    assert message.answer is not None
    assert not message.answer.is_whole
    assert rooms.free_bytes == LIMIT


async def test_timeout_while_waiting_for_room_is_ours(
    pool: Pool, home: RecordingHome, destination: FakeDestination, rooms: Rooms
) -> None:
    """The destination answered in time; and who waited no longer stands in the line."""
    room = rooms.ask(LIMIT, lambda: None)
    destination.default = answer(200, bytes(200_000))
    pool.deliver(asking(home, destination, timeout_ms=800))
    (settled,) = await home.settled(1)
    assert settled.result is not None
    assert settled.result.failure is Failure.TIMEOUT
    assert settled.result.ours
    pool.deliver(last := asking(home, destination))
    await destination.received(2)
    await asyncio.sleep(0.05)
    assert last.answer is None
    room.release()
    await home.settled(2)
    assert last.answer is not None
    assert len(last.answer.body) == 200_000

"""`GET /v1/events` over real sockets, and its parts with a clock that stands still."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from dispatcher.api import stream
from dispatcher.api.errors import ApiError
from dispatcher.api.stream import EventStream
from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.queue.admin.surface import Event, Listener, MessageState
from dispatcher.testing.admin import MemoryAdmin, letter, message, message_id
from dispatcher.testing.api import ApiBench

EVENT = Event(
    "dead", 0, message_id(1), "http://a", {"reason": "rejected", "attempts": 1}
)  # fmt: skip


@pytest.fixture
async def api() -> AsyncIterator[ApiBench]:
    """An API without keys."""
    async with ApiBench() as bench:
        yield bench


class Listening:
    """A reader of the stream, from its greeting on."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def block(self) -> str:
        """The next block, without its empty line; "" at the end."""
        lines = []
        async with asyncio.timeout(60):
            while line := (await self._answer.content.readline()).decode().rstrip("\n"):
                lines.append(line)
        return "\n".join(lines)

    async def event(self) -> tuple[str, dict[str, Any]]:
        """The next event: its name and its data."""
        name, data = (await self.block()).split("\n")
        return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@asynccontextmanager
async def listening(api: ApiBench, key: str = "") -> AsyncIterator[Listening]:
    """A reader that is heard of."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{api.url}/v1/events") as answer,
    ):
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        reader = Listening(answer)
        assert await reader.block() == ": listening"
        yield reader


def silence(api: ApiBench) -> asyncio.Event:
    """What is set once nobody listens to the queue any more."""
    silent = asyncio.Event()
    unsubscribe = api.admin.unsubscribe

    def note(listener: Listener) -> None:
        unsubscribe(listener)
        silent.set()

    api.admin.unsubscribe = note  # type: ignore[method-assign]  # to hear of it
    return silent


async def test_events_are_told_as_they_happen(api: ApiBench) -> None:
    """Each kind with the fields of the documentation."""
    async with listening(api) as reader:
        api.admin.put(message(1))
        api.admin.emit(
            "attempted", message_id(1), "http://a",
            attempt=1, status=None, error="timeout", duration_ms=9,
            next_attempt_at=1_767_225_600_000_000,
        )  # fmt: skip
        api.admin.put(message(1, MessageState.DELIVERED))
        api.admin.bury(letter(2))
        name, data = await reader.event()
        assert name == "accepted"
        assert list(data) == ["time", "id", "destination", "method", "target", "size_bytes"]
        assert (data["id"], data["destination"]) == (message_id(1), "https://a.example")
        name, data = await reader.event()
        assert (name, data["error"]) == ("attempted", "timeout")
        assert data["next_attempt_at"] == "2026-01-01T00:00:00.000000Z"
        name, data = await reader.event()
        assert (name, list(data)[3:]) == ("delivered", ["attempt", "status", "duration_ms"])
        name, data = await reader.event()
        assert (name, data["reason"], data["attempts"]) == ("dead", "retries_exhausted", 2)


async def test_queue_is_listened_to_only_while_somebody_reads(api: ApiBench) -> None:
    """Once, however many do; a reader that goes away silently is noticed."""
    assert api.admin.listeners == []
    silent = silence(api)
    async with listening(api), listening(api):
        assert len(api.admin.listeners) == 1
    await asyncio.wait_for(silent.wait(), 60)
    assert api.admin.listeners == []
    assert api.lines == []


async def test_stop_lets_readers_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: their streams end, and nobody listens any more."""
    monkeypatch.setattr("dispatcher.api.listening.STOP_SECONDS", 600.0)
    async with ApiBench() as api, listening(api) as reader:
        async with asyncio.timeout(60):
            await api.server.stop()
        assert await reader.block() == ""
    assert api.admin.listeners == []


async def test_stop_does_not_wait_for_a_reader_that_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its buffers are full, and so are the system's."""
    monkeypatch.setattr("dispatcher.api.listening.STOP_SECONDS", 600.0)
    async with ApiBench() as api:
        reader, writer = await asyncio.open_connection(*api.address, limit=1024)
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b": listening")
        loud = Event("dead", 0, message_id(1), "http://" + "a" * 60_000, EVENT.fields)
        for _ in range(400):
            for listener in api.admin.listeners:
                listener(loud)
            await asyncio.sleep(0.001)
        async with asyncio.timeout(60):
            await api.server.stop()
        assert api.admin.listeners == []
        writer.close()


async def test_reader_is_refused_when_there_are_too_many() -> None:
    """With the time to ask again; there is room when one has gone. Readers take half of the
    connections at most."""
    async with ApiBench(max_connections=3) as api:
        silent = silence(api)
        async with listening(api):
            assert await api.error("/v1/events") == (503, "too_many_readers")
            assert "Retry-After" in (await api.ask("/v1/events"))[1]
        await asyncio.wait_for(silent.wait(), 60)
        async with listening(api):
            pass


async def test_heartbeat_is_sent_when_nothing_happens(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that both sides notice a connection that is gone."""
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(stream, "_LOOK_SECONDS", 0.01)
    async with listening(api) as reader:
        assert await reader.block() == ": alive"
        assert await reader.block() == ": alive"


async def test_head_of_the_stream_ends_at_once(api: ApiBench) -> None:
    """And takes no place."""
    status, headers, _ = await api.ask("/v1/events", "HEAD")
    assert (status, headers["Content-Type"]) == (200, "text/event-stream")
    assert api.admin.listeners == []


async def test_parameters_of_the_stream_are_refused(api: ApiBench) -> None:
    """Readers choose for themselves."""
    assert await api.error("/v1/events?kind=dead") == (400, "parameter_unknown")


async def test_events_above_the_rate_are_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a comment before the next event; each reader its own number."""
    monkeypatch.setattr(stream, "SAMPLE_PER_SECOND", 3)
    now = 0.0
    admin = MemoryAdmin()
    events = EventStream(admin, lambda: now)
    first = events.open()
    for _ in range(5):
        admin.listeners[0](EVENT)
    second = events.open()
    now = 1.0
    admin.listeners[0](EVENT)
    sent = first.take()
    assert sent.startswith(b": dropped 2\n\nevent: dead\n")
    assert sent.count(b"event: ") == 4
    assert second.take().count(b"dropped") == 0
    assert first.take() == b""


async def test_slow_reader_loses_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest; others lose nothing, and the queue never waits."""
    monkeypatch.setattr(stream, "BUFFERED_EVENTS", 2)
    admin = MemoryAdmin()
    events = EventStream(admin, lambda: 0.0)
    slow, fast = events.open(), events.open()
    for _ in range(5):
        admin.listeners[0](EVENT)
        fast.take()
    sent = slow.take()
    assert sent.startswith(b": dropped 3\n\n")
    assert sent.count(b"event: ") == 2
    assert fast.take() == b""


async def test_many_events_are_written_in_portions() -> None:
    """None is lost, and what else runs on the loop gets its turn in between."""
    admin = MemoryAdmin()
    events = EventStream(admin, lambda: 0.0)
    reader = events.open()
    for _ in range(stream.EVENTS_AT_ONCE + 1):
        admin.listeners[0](EVENT)
    async with asyncio.timeout(60):
        await reader.wait(60)
        assert reader.take().count(b"event: ") == stream.EVENTS_AT_ONCE
        await reader.wait(60)
        assert reader.take().count(b"event: ") == 1
    assert reader.take() == b""


async def test_reader_is_refused_when_the_server_stops() -> None:
    """A stream that began then would hold up the stop."""
    events = EventStream(MemoryAdmin())
    events.close()
    events.close()
    with pytest.raises(ApiError, match="stopping"):
        events.open()


async def test_reader_whose_key_is_taken_out_is_cut_off_and_others_read_on() -> None:
    """What was begun with it would go on for ever; so too when its role has changed."""
    keys = [Key(name, Role.READ, name.encode()) for name in ("out", "changed", "stays")]
    async with ApiBench(Keyring(keys)) as api, AsyncExitStack() as stack:
        out, changed, stays = [
            await stack.enter_async_context(listening(api, key.name)) for key in keys
        ]
        api.server.replace_keys([replace(keys[1], role=Role.DISPATCH), keys[2]])
        api.admin.put(message(1))
        assert (await stays.event())[0] == "accepted"
        for reader in (out, changed):
            with pytest.raises(aiohttp.ClientError):
                await reader.block()


async def test_event_that_cannot_be_told_ends_the_stream_and_is_logged(api: ApiBench) -> None:
    """Never the queue's work: it is made into text by the reader, not by the queue."""
    async with listening(api) as reader:
        api.admin.emit("unheard_of", message_id(1), "http://a")
        with pytest.raises(aiohttp.ClientError):
            await reader.block()
    assert [json.loads(line)["event"] for line in api.lines] == ["api.failed"]
    assert api.admin.listeners == []

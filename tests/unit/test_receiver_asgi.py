"""The receiver as middleware of ASGI: what it does with the events of a connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from dispatcher.receiver import (
    UNSIGNED,
    AsgiReceiver,
    Handled,
    MemoryStore,
    MessageRunning,
    Running,
    Standing,
)
from tests.unit.receivers import BODY, SECRET, signed

Event = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
START: Event = {"type": "http.response.start", "status": 200, "headers": []}
FIRST: Event = {"type": "http.response.body", "body": b"a", "more_body": True}
LAST: Event = {"type": "http.response.body", "body": b"b"}


class Connection:
    """A request under way. `events` are what was sent, each with how the message stood then."""

    def __init__(self, *events: Event) -> None:
        self.store = MemoryStore()
        self.events: list[tuple[Event, type[Standing]]] = []
        self._coming = [*events]

    async def receive(self) -> Event:
        return self._coming.pop(0) if self._coming else {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        self.events.append((event, self.stands()))

    def stands(self) -> type[Standing]:
        """How the message stands; without changing it."""
        standing = type(self.store.claim("m", "test", now_us=2_000_000_000_000_000, lease_us=1))
        self.store.release("m", "test")
        return standing

    async def ask(self, app: App, *, kind: str = "http") -> None:
        """Have it answered by a receiver with this application."""
        headers = [(name.encode(), value.encode()) for name, value in signed()]
        scope = {"type": kind, "path": "/", "headers": headers}
        receiver = AsgiReceiver(
            app, secrets=SECRET, store=self.store, lease_s=1e9, clock=lambda: NOW_S
        )
        await receiver(scope, self.receive, self.send)


NOW_S = 2_000_000_000


@pytest.fixture(autouse=True)
def _signed_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are signed at NOW_S."""
    monkeypatch.setattr("dispatcher.receiver.checking.time.time", lambda: NOW_S)


@pytest.fixture
def connection() -> Connection:
    """With a whole request."""
    return Connection({"type": "http.request", "body": BODY, "more_body": False})


async def answers(scope: Any, receive: Any, send: Any) -> None:
    for event in (START, FIRST, LAST):
        await send(event)


async def test_end_of_the_response_waits_until_the_store_knows(connection: Connection) -> None:
    """And its start until there is something to be sent."""
    await connection.ask(answers)
    assert connection.events == [(START, Running), (FIRST, Running), (LAST, Handled)]


async def test_response_in_one_piece_is_not_begun_before_the_store_knows(
    connection: Connection,
) -> None:
    """Senders look at nothing but the status."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(LAST)

    await connection.ask(app)
    assert connection.events == [(START, Handled), (LAST, Handled)]


async def test_file_is_an_end_of_a_response_too(connection: Connection) -> None:
    """An extension that some servers have."""
    path = {"type": "http.response.pathsend", "path": "/x"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.debug"})
        await send(START)
        await send(path)

    await connection.ask(app)
    assert [event["type"][14:] for event, _ in connection.events] == ["debug", "start", "pathsend"]
    assert connection.stands() is Handled


async def test_failure_after_the_start_leaves_the_answer_to_the_server(
    connection: Connection,
) -> None:
    """Nothing is on its way yet, so that it can be a 500; the message is free."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await connection.ask(app)
    assert connection.events == []
    assert connection.stands() not in (Handled, Running)


async def test_failure_in_the_middle_of_the_response_frees_the_message(
    connection: Connection,
) -> None:
    """The sender sees that it is broken, and sends it again."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(FIRST)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await connection.ask(app)
    assert connection.stands() not in (Handled, Running)


async def test_failure_after_the_response_changes_nothing(connection: Connection) -> None:
    """A task in the background: the sender knows that the message was handled."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers(scope, receive, send)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await connection.ask(app)
    assert connection.stands() is Handled


async def test_response_that_does_not_end_is_no_success(connection: Connection) -> None:
    """What there is of it is sent."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)

    await connection.ask(app)
    assert [event for event, _ in connection.events] == [START]
    assert connection.stands() not in (Handled, Running)


async def test_handler_that_is_cancelled_frees_the_message(connection: Connection) -> None:
    """The server stops, or does not wait for it any longer."""
    began = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(connection.ask(app))
    await began.wait()
    assert connection.stands() is Running
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.stands() not in (Handled, Running)


async def test_request_that_is_cancelled_while_the_store_answers_frees_the_message(
    connection: Connection,
) -> None:
    """Its claim came through after nobody was there any more."""
    asked, answer, freed = threading.Event(), threading.Event(), threading.Event()

    class Slow(MemoryStore):
        def claim(self, message_id: str, token: str, *, now_us: int, lease_us: int) -> Standing:
            if token != "test":
                asked.set()
                assert answer.wait(60)
            return super().claim(message_id, token, now_us=now_us, lease_us=lease_us)

        def release(self, message_id: str, token: str) -> None:
            super().release(message_id, token)
            freed.set()

    connection.store = Slow()
    task = asyncio.create_task(connection.ask(answers))
    await asyncio.to_thread(asked.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answer.set()
    assert await asyncio.to_thread(freed.wait, 60)
    assert connection.stands() not in (Handled, Running)
    assert connection.events == []


async def test_end_is_kept_when_the_request_is_cancelled_before_its_turn() -> None:
    """Its handler has done its work, and all threads are busy with other ends."""
    busy, free = threading.Semaphore(0), threading.Event()
    go, ending = asyncio.Event(), asyncio.Event()

    class Slow(MemoryStore):
        def finish(self, message_id: str, *, now_us: int) -> None:
            busy.release()
            assert free.wait(60)
            super().finish(message_id, now_us=now_us)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["headers"] == [(b"webhook-id", b"m")]:
            await go.wait()
            ending.set()
        await send(START)
        await send(LAST)

    store = Slow()
    receiver = AsgiReceiver(app, secrets=UNSIGNED, store=store, lease_s=1e9, clock=lambda: NOW_S)

    async def ask(message_id: bytes) -> None:
        one = Connection({"type": "http.request", "body": b""})
        scope = {"type": "http", "path": "/", "headers": [(b"webhook-id", message_id)]}
        await receiver(scope, one.receive, one.send)

    task = asyncio.create_task(ask(b"m"))
    others = [asyncio.create_task(ask(b"other-%d" % number)) for number in range(4)]
    for _ in others:
        assert await asyncio.to_thread(busy.acquire, timeout=60)
    go.set()
    await ending.wait()
    task.cancel()
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.gather(*others)
    assert await asyncio.to_thread(busy.acquire, timeout=60)
    await asyncio.to_thread(receiver._threads.shutdown)
    assert store.claim("m", "b", now_us=NOW_S * 1_000_000, lease_us=1) == Handled()


async def test_loop_goes_on_while_the_store_is_slow(connection: Connection) -> None:
    """It is asked in a thread."""
    answer = threading.Event()

    class Slow(MemoryStore):
        def claim(self, message_id: str, token: str, *, now_us: int, lease_us: int) -> Standing:
            assert token == "test" or answer.wait(60)
            return super().claim(message_id, token, now_us=now_us, lease_us=lease_us)

    connection.store = Slow()
    asyncio.get_running_loop().call_later(0.01, answer.set)
    await connection.ask(answers)
    assert connection.stands() is Handled


async def test_caller_that_hangs_up_in_its_body_is_not_answered() -> None:
    """The application never sees it."""
    connection = Connection({"type": "http.request", "body": b"{", "more_body": True})
    await connection.ask(answers)
    assert connection.events == []


async def test_application_sees_what_comes_after_the_body(connection: Connection) -> None:
    """Such as that the caller has hung up."""
    seen: list[Event] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([await receive(), await receive()])
        await answers(scope, receive, send)

    await connection.ask(app)
    assert seen == [
        {"type": "http.request", "body": BODY, "more_body": False},
        {"type": "http.disconnect"},
    ]


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_request_is_left_alone(connection: Connection, kind: str) -> None:
    """The application is started and stopped as without a receiver."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["type"], receive, send))

    await connection.ask(app, kind=kind)
    assert seen == [(kind, connection.receive, connection.send)]


async def test_error_of_the_application_is_not_taken_for_the_receivers(
    connection: Connection,
) -> None:
    """It may use the same functions itself, and fail."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise MessageRunning(7)

    with pytest.raises(MessageRunning):
        await connection.ask(app)
    assert connection.events == []

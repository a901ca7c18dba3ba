"""`GET /v1/events`: what happens, as server-sent events.

One listener at the queue, however many read, and none while nobody does. What it does for an event
is bounded and never waits: above `SAMPLE_PER_SECOND` an event is only counted, and so it is when a
reader's buffer is full. Each reader is told how many it missed, in a comment, before the next
event.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from dispatcher.api.errors import ApiError
from dispatcher.api.event_models import event_data
from dispatcher.api.models import Nothing
from dispatcher.api.routes import AnyRoute, Asked, Route
from dispatcher.api.streaming import begun
from dispatcher.api.turns import Turns
from dispatcher.queue.admin.pace import REST_SECONDS
from dispatcher.queue.admin.surface import DROPPED, Admin, Event

MAX_READERS: Final = 32
BUFFERED_EVENTS: Final = 1_000
EVENTS_AT_ONCE: Final = 100
SAMPLE_PER_SECOND: Final = 500
HEARTBEAT_SECONDS: Final = 15.0
FAREWELL_SECONDS: Final = 0.1
CONTENT_TYPE: Final = "text/event-stream"

_HEARTBEAT: Final = b": alive\n\n"
_GREETING: Final = b": listening\n\n"
# A reader that went away is only noticed when we look: its place is given free after this time.
_LOOK_SECONDS: Final = 1.0


class Frame:
    """An event as it is written, made once for all readers and only if one gets that far."""

    __slots__ = ("_event", "_written")

    def __init__(self, event: Event) -> None:
        self._event = event
        self._written = b""

    def written(self) -> bytes:
        """The bytes of the event."""
        if not self._written:
            data = event_data(self._event).model_dump_json()
            self._written = f"event: {self._event.kind}\ndata: {data}\n\n".encode()
        return self._written


class Reader:
    """What one reader has not been sent yet. `closed` once the server stops."""

    def __init__(self, transport: asyncio.Transport | None = None) -> None:
        self.closed = False
        self._transport = transport
        self._frames: deque[Frame] = deque()
        self._dropped = 0
        self._news = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Add an event, or count it where there is no room."""
        if len(self._frames) < BUFFERED_EVENTS:
            self._frames.append(frame)
            self._news.set()
        else:
            self.drop()

    def drop(self, count: int = 1) -> None:
        """Count an event that is not sent, or several."""
        self._dropped += count
        self._news.set()

    def close(self) -> None:
        """There will be no more. What was written may still be read, for a moment only: a
        reader who reads nothing must not hold up the stop."""
        self.closed = True
        self._news.set()
        if self._transport is not None:
            asyncio.get_running_loop().call_later(FAREWELL_SECONDS, self._transport.abort)

    async def wait(self, seconds: float) -> None:
        """Return when there is something to send, after `close`, or when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def take(self) -> bytes:
        """What there is to send, `EVENTS_AT_ONCE` at most; what was dropped is said first."""
        said = f": dropped {self._dropped}\n\n".encode() if self._dropped else b""
        self._dropped = 0
        count = min(len(self._frames), EVENTS_AT_ONCE)
        frames = [self._frames.popleft().written() for _ in range(count)]
        if not self._frames:
            self._news.clear()
        return said + b"".join(frames)


class EventStream:
    """Every reader of the events of one queue."""

    def __init__(
        self,
        admin: Admin,
        now: Callable[[], float] = time.monotonic,
        *,
        most: int = MAX_READERS,
    ) -> None:
        """At most `most` may listen at once; `now` is a monotonic clock, in seconds."""
        self._admin = admin
        self._most = most
        self._sampled = Turns(SAMPLE_PER_SECOND, SAMPLE_PER_SECOND)
        self._now = now
        self._readers: set[Reader] = set()
        self._closed = False

    def routes(self) -> Sequence[AnyRoute]:
        """The row of the table."""
        return [
            Route(
                "GET", "/v1/events", self._answer, "listenToEvents",
                "What happens, as server-sent events",
                Nothing, Nothing, Nothing, content_type=CONTENT_TYPE,
                refusals={503: "There are too many readers: `too_many_readers`."},
            )
        ]  # fmt: skip

    def open(self, transport: asyncio.Transport | None = None) -> Reader:
        """Begin to collect for one more reader; `transport` is its connection.

        Raises:
            ApiError: 503; there are too many, or the server stops.
        """
        if self._closed:
            raise ApiError(503, "shutting_down", "The server is stopping.")
        if len(self._readers) >= self._most:
            raise ApiError(
                503,
                "too_many_readers",
                f"{self._most} readers listen already; ask again when one has gone.",
                headers={"Retry-After": "10"},
            )
        if not self._readers:
            self._admin.subscribe(self._tell)
        reader = Reader(transport)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Collect no more for a reader. Idempotent."""
        self._readers.discard(reader)
        if not self._readers:
            self._admin.unsubscribe(self._tell)

    def close(self) -> None:
        """Let every reader go: the server stops. Idempotent."""
        self._closed = True
        for reader in tuple(self._readers):
            reader.close()
            self.leave(reader)

    async def _answer(self, asked: Asked[Nothing, Nothing, Nothing]) -> web.StreamResponse:
        """Write events until the reader leaves or the server stops."""
        request = asked.request
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        if request.method == "HEAD":
            return response
        reader = self.open(request.transport)
        try:
            async with begun(request, response):  # that the reader goes away is how streams end
                await self._write(request, response, reader)
        finally:
            self.leave(reader)
        return response

    async def _write(
        self, request: web.Request, response: web.StreamResponse, reader: Reader
    ) -> None:
        await response.write(_GREETING)
        written_at = self._now()
        while not reader.closed and not _has_gone(request):
            await reader.wait(_LOOK_SECONDS)
            news = reader.take()
            if not news and self._now() - written_at >= HEARTBEAT_SECONDS:
                news = _HEARTBEAT
            if news:
                await response.write(news)
                written_at = self._now()
                await asyncio.sleep(REST_SECONDS)

    def _tell(self, event: Event) -> None:
        """Called by the queue, in the middle of its work."""
        if event.kind == DROPPED:
            for reader in self._readers:
                reader.drop(int(str(event.fields["count"])))
            return
        if self._sampled.wait(self._now(), 0) is not None:
            frame = Frame(event)
            for reader in self._readers:
                reader.put(frame)
        else:
            for reader in self._readers:
                reader.drop()


def _has_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()

"""The entrance: takes messages, finds each a connection, and says how its attempt ended.

For every `deliver` the settler is called exactly once, later, unless the pool is closed first: then
the attempt is abandoned and the message is delivered after the next start. Nothing on the way of a
message that goes well makes a task, a future or a timer; opening a connection and streaming a large
body do.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import ssl
from collections.abc import Callable, Coroutine, Iterable
from typing import Final

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.connection import Connection
from dispatcher.delivery.deadlines import Deadlines
from dispatcher.delivery.dial import Connector, Dialer, Unreachable, reason
from dispatcher.delivery.idle import IdleConnections
from dispatcher.delivery.resolver import Resolver
from dispatcher.delivery.response import Progress
from dispatcher.errors import LogError
from dispatcher.queue.ports import BodySource, Settler
from dispatcher.queue.readback import is_passing
from dispatcher.queue.records import RecordError

_READ_AGAIN_S: Final = 0.1
"""How soon a body is read again when this process lacked something: seldom enough not to be a load,
often enough for an attempt of a second."""


class Pool:
    """Delivers messages over kept-alive connections. Made within a running event loop.

    `settler` has to be set before the first `deliver`. How many attempts are under way at
    once is for the caller to bound.
    """

    settler: Settler

    def __init__(
        self,
        config: DeliveryConfig,
        bodies: BodySource,
        *,
        failed: Callable[[Exception], object] = lambda error: None,
        resolver: Resolver | None = None,
        connector: Connector | None = None,
    ) -> None:
        """`failed` is told when the log turns out to be damaged: the process must end. The attempt
        that found out ends after that."""
        loop = asyncio.get_running_loop()
        self._bodies = bodies
        self._failed = failed
        self._default_timeout_ms = config.default_timeout_ms
        self._now_s = loop.time
        self._loop = loop
        self._resolver = resolver or Resolver()
        self._dialer = Dialer(config.egress, self._resolver, connector)
        self._deadlines = Deadlines(loop, self._expire)
        self._idle = IdleConnections(
            loop,
            timeout_ms=config.idle_timeout_ms,
            max_each=config.max_idle,
            max_total=config.max_idle_total,
        )
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.connects = 0
        self.stale_retries = 0
        self.set_own_listeners(config.own_listeners)

    @property
    def open_connections(self) -> int:
        """Connections that are open, idle ones included."""
        return len(self._open)

    @property
    def idle_connections(self) -> int:
        """Connections that wait for a message."""
        return self._idle.count

    @property
    def in_flight(self) -> int:
        """Attempts under way."""
        return len(self._deadlines)

    def set_own_listeners(self, listeners: Iterable[tuple[str, int]]) -> None:
        """Say which (address, port) pairs the server listens on; they are never connected to."""
        own = frozenset(
            (ipaddress.ip_address(host.partition("%")[0] or "::"), port) for host, port in listeners
        )
        self._dialer.policy = dataclasses.replace(self._dialer.policy, own_listeners=own)

    def deliver(self, message: Message) -> None:
        """Start the attempt numbered `message.attempt`. Its end is told to the settler, later."""
        if self._closed:
            return
        now_s = self._now_s()
        timeout_ms = message.timeout_ms or self._default_timeout_ms
        attempt = Attempt(message, now_s, now_s + timeout_ms / 1000)
        self._deadlines.add(attempt)
        connection = self._idle.take(message.destination)
        if connection is None:
            attempt.task = self._spawn(self._connect(attempt))
        else:
            self._start(attempt, connection)

    def under_way(self, message_id: bytes) -> tuple[int, int] | None:
        """When the attempt of a message started, and its timeout in ms (`queue.ports.Deliverer`).
        Looks through all attempts."""
        for attempt in self._deadlines:
            message = attempt.message
            if message.wire_id == message_id:
                return message.started_at, message.timeout_ms or self._default_timeout_ms
        return None

    async def close(self) -> None:
        """Close every connection; attempts under way are abandoned, without a call. Idempotent."""
        self._closed = True
        for attempt in self._deadlines.clear():
            self._detach(attempt)
        self._idle.close()
        for connection in list(self._open):
            connection.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._resolver.close()
        await asyncio.sleep(0)  # lets the loop tell the connections that they are gone

    # What connections tell (connection.Owner).

    def opened(self, connection: Connection) -> None:
        """Count it."""
        self.connects += 1
        self._open.add(connection)

    def answered(self, connection: Connection, attempt: Attempt, progress: Progress) -> None:
        """Settle an attempt whose response is complete, or never will be."""
        response = connection.response
        status = response.status
        self._deadlines.discard(attempt)
        if progress is Progress.BROKEN:
            self._give_up(attempt, Failure.BROKEN, response.problem)
            return
        if response.reusable and connection.written:
            connection.attempt = None
            connection.carried += 1
            self._idle.park(connection)
        else:
            self._detach(attempt)
        # A plain success takes the short way; what any other end means is for `core.verdict`.
        if 200 <= status < 300:
            self.settler.delivered(attempt.message, status)
        else:
            self.settler.failed(
                attempt.message, attempt.answered(response, None, "", self._now_s())
            )

    def ended(self, connection: Connection, attempt: Attempt, error: Exception | None) -> None:
        """Settle an attempt whose connection ended, or send it again if that was only stale."""
        response = connection.response
        if not response.untouched:
            progress = response.end(clean=error is None)
            self.answered(connection, attempt, progress)
        elif connection.carried and not attempt.resent:
            self._resend(attempt)
        elif isinstance(error, ssl.SSLError):
            self._give_up(attempt, Failure.TLS, reason(error))
        else:
            why = reason(error) if error else "closed by the destination"
            self._give_up(attempt, Failure.CONNECTION, f"no response: {why}")

    def useless(self, connection: Connection) -> None:
        """Take it out of the pool."""
        self._idle.remove(connection)
        connection.abort()

    def closed(self, connection: Connection) -> None:
        """Forget it."""
        self._open.discard(connection)
        self._idle.remove(connection)

    # How an attempt goes on.

    def _start(self, attempt: Attempt, connection: Connection) -> None:
        connection.send(attempt)
        if attempt.message.chunks is not None:
            attempt.task = self._spawn(self._stream(attempt, connection, attempt.message.chunks))

    def _resend(self, attempt: Attempt) -> None:
        """The destination closed the connection as the request came: nothing was tried."""
        self.stale_retries += 1
        self._detach(attempt)
        attempt.resent = True
        attempt.task = self._spawn(self._connect(attempt))

    def _expire(self, attempt: Attempt) -> None:
        result = attempt.timed_out(self._now_s())
        self._settle_failed(attempt, result)

    def _give_up(self, attempt: Attempt, failure: Failure, detail: str) -> None:
        connection = attempt.connection
        now_s = self._now_s()
        if connection is None:
            result = attempt.failed(failure, detail, now_s)
        else:
            result = attempt.answered(connection.response, failure, detail, now_s)
        self._settle_failed(attempt, result)

    def _settle_failed(self, attempt: Attempt, result: AttemptResult) -> None:
        self._deadlines.discard(attempt)
        self._detach(attempt)
        self.settler.failed(attempt.message, result)

    def _detach(self, attempt: Attempt) -> None:
        """Part an attempt from what it occupied: its task ends, its connection is dropped."""
        task, attempt.task = attempt.task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        connection, attempt.connection = attempt.connection, None
        if connection is not None:
            connection.abort()

    # The two things that take a task.

    async def _connect(self, attempt: Attempt) -> None:
        destination = attempt.message.destination

        def on_phase(phase: str) -> None:
            attempt.phase = phase

        opened = await self._dialer.open(
            destination, lambda: Connection(destination, self), on_phase=on_phase
        )
        attempt.task = None
        if isinstance(opened, Unreachable):
            self._give_up(attempt, opened.failure, opened.detail)
            return
        attempt.phase = "waiting for the response"
        if opened.closing:
            self._give_up(attempt, Failure.CONNECTION, "closed by the destination at once")
        else:
            self._start(attempt, opened)

    async def _stream(
        self, attempt: Attempt, connection: Connection, positions: tuple[int, ...]
    ) -> None:
        """Write a large body: one chunk is in the transport's buffer while the next is read."""
        connection.sending = True
        for position in positions:
            attempt.phase = "sending the body"
            chunk = await self._read_back(attempt, position)
            if chunk is None:
                return
            connection.sending = position != positions[-1]
            await connection.write(chunk)
        attempt.phase = "waiting for the response"
        attempt.task = None

    async def _read_back(self, attempt: Attempt, position: int) -> bytes | None:
        """Read a chunk of a body; None when it is damaged, and the attempt is over.

        What this process lacks passes: it is read again until it is there or the attempt's deadline
        has come, which is a timeout then, spends the attempt (half a request may have been acted
        on) and is marked as ours. The connection is kept meanwhile: the rest of a request can go
        nowhere else.
        """
        while True:
            try:
                (chunk,) = await self._bodies.read([position])
                return chunk
            except (LogError, RecordError, OSError) as error:
                attempt.ours = True
                if not (isinstance(error, OSError) and is_passing(error)):
                    self._failed(error)
                    why = f"the body cannot be read back: {error}"
                    self._give_up(attempt, Failure.BROKEN, why)
                    return None
                attempt.phase = f"the body could not be read back: {reason(error)}"
            await asyncio.sleep(_READ_AGAIN_S)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        """An attempt whose task failed is settled by its deadline; here the fault is made known."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "an attempt failed in an unforeseen way", "exception": error}
            )

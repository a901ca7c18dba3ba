"""The entrance: takes messages, finds each a connection, and says how its attempt ended.

For every `deliver` the home of the message is told exactly once, later, unless the attempt is
abandoned: by its owner, or as the pool is closed (then the message is delivered after the next
start). Nothing on the way of a message that goes well makes a task, a future or a timer; opening a
connection and streaming a large body do.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import ssl
from collections.abc import Iterable, Set
from typing import assert_never

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.policy import NO_RETRY, Policy, policy_of
from dispatcher.core.room import Rooms
from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.connection import Connection
from dispatcher.delivery.deadlines import Deadlines
from dispatcher.delivery.dial import Connector, Dialer, Unreachable, reason
from dispatcher.delivery.endings import Ending, Parting, ending, parting
from dispatcher.delivery.idle import IdleConnections
from dispatcher.delivery.lacking import is_ours
from dispatcher.delivery.leaving import Leaving
from dispatcher.delivery.opening import open_for
from dispatcher.delivery.progress import Progress
from dispatcher.delivery.resolver import Resolver
from dispatcher.delivery.slots import Slots
from dispatcher.delivery.streaming import stream
from dispatcher.delivery.ways import Ways
from dispatcher.queue.ports import BodyUnavailable
from dispatcher.telemetry.supervisor import Died, Supervisor


class Pool:
    """Delivers messages over kept-alive connections. Made within a running event loop.

    One for a process, whichever partition a message is of (`Message.home`). How many attempts are
    under way at once is for the caller to bound.
    """

    def __init__(
        self,
        config: DeliveryConfig,
        *,
        died: Died | None = None,
        resolver: Resolver | None = None,
        connector: Connector | None = None,
        ways: Ways | None = None,
        rooms: Rooms | None = None,
    ) -> None:
        """`died` is told when an attempt fails in a way that was not foreseen; its deadline settles
        it. `rooms` is for the answers that are wanted whole (`Message.answer_limit`)."""
        loop = asyncio.get_running_loop()
        self._policy = Policy(NO_RETRY, timeout_ms=config.default_timeout_ms)
        self._now_s = loop.time
        self._loop = loop
        ways = ways or Ways()
        self._resolver = resolver or Resolver(
            slots=Slots(config.max_lookups), is_cut_off=ways.are_lost
        )
        self._dialer = Dialer(config.egress, self._resolver, connector, ways=ways)
        self._deadlines = Deadlines(loop, self._expire)
        self._idle = IdleConnections(
            loop,
            timeout_ms=config.idle_timeout_ms,
            max_age_ms=config.max_age_ms,
            max_each=config.max_idle,
            max_total=config.max_idle_total,
        )
        self._leaving = Leaving(loop, most=config.max_leaving)
        self._open: set[Connection] = set()
        self._tasks = Supervisor(died or self._died)
        self._closed = False
        self.rooms = rooms or Rooms()
        self.connects = 0
        self.stale_retries = 0
        self.set_own_listeners(config.own_listeners)

    def __repr__(self) -> str:
        counts = f"{self.in_flight} in flight, {self.open_connections} connections open"
        return f"<Pool: {counts}, {self.idle_connections} idle>"

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
        """Start the attempt numbered `message.attempt`. Its home is told the end, later."""
        if self._closed:
            return
        now_s = self._now_s()
        timeout_ms = policy_of(message, self._policy).timeout_ms
        attempt = Attempt(message, now_s, now_s + timeout_ms / 1000)
        self._deadlines.add(attempt)
        connection = self._idle.take(message.destination, now_s)
        if connection is None:
            attempt.task = self._tasks.spawn("connecting", self._connect(attempt))
        else:
            self._start(attempt, connection)

    def abandon(self, messages: Set[Message]) -> None:
        """End the attempts of these messages that are under way: nobody wants to know how they end,
        and their homes are not told. Looks through all attempts."""
        for attempt in [one for one in self._deadlines if one.message in messages]:
            self._deadlines.discard(attempt)
            self._detach(attempt)

    def under_way(self, message_id: bytes) -> tuple[int, int] | None:
        """When the attempt of a message started, and its timeout in ms (`queue.ports.Deliverer`).
        Looks through all attempts."""
        for attempt in self._deadlines:
            message = attempt.message
            if message.wire_id == message_id:
                return message.started_at, policy_of(message, self._policy).timeout_ms
        return None

    async def close(self) -> None:
        """Close every connection; attempts under way are abandoned, without a call. Idempotent."""
        self._closed = True
        for attempt in self._deadlines.clear():
            self._detach(attempt)
        self._idle.close()
        self._leaving.close()
        for connection in list(self._open):
            connection.abort()
        await self._tasks.stop()
        await self._resolver.close()
        await asyncio.sleep(0)  # lets the loop tell the connections that they are gone

    # What connections tell (connection.Owner).

    def opened(self, connection: Connection) -> None:
        """Count it."""
        connection.opened_s = self._now_s()
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
            self._part(attempt, connection)
        # A plain success takes the short way; what any other end means is for `core.verdict`.
        message = attempt.message
        if 200 <= status < 300:
            message.home.delivered(message, status)
        else:
            message.home.failed(message, attempt.answered(response, None, "", self._now_s()))

    def ended(self, connection: Connection, attempt: Attempt, error: Exception | None) -> None:
        """Settle an attempt whose connection ended, or send it again if that was only stale."""
        response = connection.response
        what = ending(
            untouched=response.untouched,
            carried=connection.carried,
            resent=attempt.resent,
            age_s=self._now_s() - attempt.started_s,
        )
        match what:
            case Ending.ANSWERED:
                self.answered(connection, attempt, response.end(clean=error is None))
            case Ending.RESEND:
                self._resend(attempt)
            case Ending.FAILED:
                failure = Failure.TLS if isinstance(error, ssl.SSLError) else Failure.CONNECTION
                why = reason(error) if error else "closed by the destination"
                attempt.ours = attempt.ours or (error is not None and is_ours(error))
                prefix = "" if failure is Failure.TLS else "no response: "
                self._give_up(attempt, failure, prefix + why)
            case _:
                assert_never(what)

    def useless(self, connection: Connection) -> None:
        """Take it out of the pool."""
        self._idle.remove(connection)
        connection.abort()

    def closed(self, connection: Connection) -> None:
        """Forget it."""
        self._open.discard(connection)
        self._idle.remove(connection)
        self._leaving.remove(connection)

    def _died(self, name: str, error: BaseException) -> None:
        self._loop.call_exception_handler(
            {"message": f"{name} for an attempt failed unforeseen", "exception": error}
        )

    # How an attempt goes on.

    def _start(self, attempt: Attempt, connection: Connection) -> None:
        connection.send(attempt)
        chunks = attempt.message.chunks
        if chunks is not None:
            attempt.task = self._tasks.spawn("sending", self._stream(attempt, connection, chunks))

    def _resend(self, attempt: Attempt) -> None:
        """The destination closed the connection as the request came: nothing was tried."""
        self.stale_retries += 1
        self._detach(attempt)
        attempt.resent = True
        attempt.task = self._tasks.spawn("connecting", self._connect(attempt))

    def _expire(self, attempt: Attempt) -> None:
        self._settle_failed(attempt, attempt.timed_out(self._now_s()))

    def _give_up(self, attempt: Attempt, failure: Failure, detail: str) -> None:
        self._settle_failed(attempt, attempt.failed(failure, detail, self._now_s()))

    def _settle_failed(self, attempt: Attempt, result: AttemptResult) -> None:
        self._deadlines.discard(attempt)
        self._detach(attempt)
        attempt.message.home.failed(attempt.message, result)

    def _part(self, attempt: Attempt, connection: Connection) -> None:
        """Part with a connection that is not kept for the next message."""
        match parting(connection.response, written=connection.written, over=connection.over):
            case Parting.LEAVE:
                self._leaving.add(connection)
            case Parting.RESET:
                connection.reset()
            case _:
                self._detach(attempt)

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
        opened = await open_for(attempt, self._dialer, self._idle, self)
        attempt.task = None
        if isinstance(opened, Unreachable):
            self._give_up(attempt, opened.failure, opened.detail)
            return
        attempt.phase = "waiting for the response"
        if opened.closing:
            why = "closed by the destination at once"
            if not opened.response.untouched:
                why = "the destination spoke before it was asked, so it does not speak HTTP"
            self._give_up(attempt, Failure.CONNECTION, why)
        else:
            self._start(attempt, opened)

    async def _stream(
        self, attempt: Attempt, connection: Connection, positions: tuple[int, ...]
    ) -> None:
        try:
            await stream(attempt, connection, positions)
            attempt.task = None
        except BodyUnavailable as error:
            self._give_up(attempt, Failure.BROKEN, f"the body cannot be read back: {error}")

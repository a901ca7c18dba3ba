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
from typing import Final, assert_never

from dispatcher.core.clock import Clock, SystemClock
from dispatcher.core.message import Home, Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.policy import NO_RETRY, Policy, timeout_of
from dispatcher.core.room import Rooms
from dispatcher.core.rules.table import RulesInForce
from dispatcher.delivery.adding import Addition, Additions
from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.collecting import START_ROOMS_BYTES
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
from dispatcher.delivery.streaming import TenureOver, sign, stream
from dispatcher.delivery.ways import Ways
from dispatcher.protocol.webhooks import Signing
from dispatcher.queue.ports import BodyUnavailable
from dispatcher.telemetry.supervisor import Died, Supervisor

_HELD_BACK: Final = "nothing is sent until it is sure that no other node has this partition"


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
        clock: Clock | None = None,
        rules: RulesInForce | None = None,
    ) -> None:
        """`died` is told when an attempt fails in a way that was not foreseen; its deadline settles
        it. `rooms` is for the answers that are wanted whole (`Message.answer_limit`). `clock` says
        when a request is signed; `rules`, how long an attempt may take."""
        loop = asyncio.get_running_loop()
        self._policy = Policy(NO_RETRY, timeout_ms=config.default_timeout_ms)
        self._rules = rules or RulesInForce()
        self._now_s = loop.time
        self._wall_us = (clock or SystemClock()).now_us
        self._additions: Additions | None = None
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
        self.start_rooms = Rooms(START_ROOMS_BYTES)
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

    def add(self, additions: Additions | None) -> None:
        """Add this from now on, and nothing else, to every attempt that begins."""
        self._additions = additions

    def deliver(self, message: Message) -> None:
        """Start the attempt numbered `message.attempt`. Its home is told the end, later."""
        if self._closed:
            return
        now_s = self._now_s()
        timeout_ms = timeout_of(message, self._policy, self._rules.rules)
        attempt = Attempt(message, now_s, now_s + timeout_ms / 1000)
        self._deadlines.add(attempt)
        if self._additions is not None:
            addition = self._additions.of(message)
            if addition is not None:
                self._add(attempt, addition)
                return
        connection = self._idle.take(message.destination.key, now_s)
        if connection is None:
            attempt.task = self._tasks.spawn("connecting", self._connect(attempt))
        else:
            self._start(attempt, connection)

    def abandon(self, messages: Set[Message]) -> None:
        """End the attempts of these messages that are under way: nobody wants to know how they end,
        and their homes are not told. Looks through all attempts."""
        self._abandon([one for one in self._deadlines if one.message in messages])

    def abandon_all_of(self, home: Home) -> None:
        """The same with all attempts of a partition, which another process has now."""
        self._abandon([one for one in self._deadlines if one.message.home is home])

    def _abandon(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            self._deadlines.discard(attempt)
            self._detach(attempt)

    def under_way(self, message_id: bytes) -> tuple[int, int] | None:
        """When the attempt of a message started, and its timeout in ms (`queue.ports.Deliverer`).
        Looks through all attempts."""
        for attempt in self._deadlines:
            message = attempt.message
            if message.wire_id == message_id:
                timeout_s = attempt.deadline_s - attempt.started_s
                return message.started_at, round(timeout_s * 1000)
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

    def _add(self, attempt: Attempt, addition: Addition) -> None:
        """Add what a rule says, and go on. A large body is signed in a task: it has to be read
        before its head is written, and once more to be sent."""
        message = attempt.message
        if message.destination.scheme == "https":
            attempt.trust = addition.trust
        signing = addition.signing(message, self._wall_us() // 1_000_000)
        if signing is not None and message.chunks is not None:
            signed = self._sign(attempt, addition, signing, message.chunks)
            attempt.task = self._tasks.spawn("signing", signed)
            return
        if signing is not None:
            signing.add(message.body)
        attempt.head = addition.head(message, signing)
        self._go_on(attempt)

    def _go_on(self, attempt: Attempt) -> None:
        connection = self._idle.take(attempt.place, self._now_s())
        if connection is None:
            attempt.task = self._tasks.spawn("connecting", self._connect(attempt))
        else:
            attempt.phase = "waiting for the response"
            self._start(attempt, connection)

    def _start(self, attempt: Attempt, connection: Connection) -> None:
        """Send a request: the one place from which they go out, also after a connection was slow to
        open or turned out to be stale, and nobody may have asked since whether it still may."""
        tenure = attempt.message.home.tenure
        if not (tenure.is_for_good or tenure.holds()):
            self._idle.park(connection)
            attempt.task = self._tasks.spawn("holding back", self._hold_back(attempt))
            return
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

    # What takes a task.

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

    async def _sign(
        self, attempt: Attempt, addition: Addition, signing: Signing, positions: tuple[int, ...]
    ) -> None:
        try:
            await sign(attempt, signing, positions)
        except BodyUnavailable as error:
            self._give_up(attempt, Failure.BROKEN, f"the body cannot be read back: {error}")
            return
        attempt.task = None
        attempt.head = addition.head(attempt.message, signing)
        self._go_on(attempt)

    async def _stream(
        self, attempt: Attempt, connection: Connection, positions: tuple[int, ...]
    ) -> None:
        try:
            await stream(attempt, connection, positions)
            attempt.task = None
        except BodyUnavailable as error:
            self._give_up(attempt, Failure.BROKEN, f"the body cannot be read back: {error}")
        except TenureOver:
            await self._hold_back(attempt)

    async def _hold_back(self, attempt: Attempt) -> None:
        """Another process may have its partition: nothing is sent, and no attempt is spent."""
        attempt.ours = True
        attempt.task = None
        self._give_up(attempt, Failure.CONNECTION, _HELD_BACK)

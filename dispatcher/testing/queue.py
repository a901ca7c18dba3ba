"""The neighbours of a queue, and a queue between them that can be crashed and started again.

`Bench` holds what outlives a process (clock, logs) and what each start makes anew (the queue).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from random import Random
from typing import Any

from dispatcher.core.destination import Destination, Origin
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.rules.table import RulesInForce
from dispatcher.errors import Refusal
from dispatcher.queue.compaction.source import RECLAIM, ReclaimPolicy
from dispatcher.queue.deadletters.retention import KEEP_ALL, RetentionPolicy
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.lanes.warm import WARM_BYTES
from dispatcher.queue.partition import Partition, PartitionConfig
from dispatcher.queue.ports import LogName, Observer
from dispatcher.queue.recovery.replay import Recovery
from dispatcher.queue.wiring import LATE_DISK, Late
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.loop import run

POLICY = RetryPolicy(retry_limit=3, delay_ms=100, max_delay_ms=20_000)


@lru_cache(maxsize=1000)
def destination(name: str = "a.example") -> Destination:
    """A destination by its host name."""
    return Origin.parse(name.encode("ascii")).destination


def message(
    to: Destination | None = None, body: bytes = b"hello", *, name: str = "x", timeout_ms: int = 0
) -> Message:
    """A message as ingress makes it; `name` is its path."""
    return Message(
        to or destination(),
        b"POST /%s HTTP/1.1\r\nHost: h\r\n" % name.encode("ascii"),
        body,
        timeout_ms=timeout_ms,
        accepted_at=1_704_067_200_000_000,
    )


def failed(
    status: int | None = None,
    failure: Failure | None = None,
    *,
    retry_after: bytes | None = None,
) -> AttemptResult:
    """The result of an attempt; a connection that failed when nothing is said."""
    if status is None and failure is None:
        failure = Failure.CONNECTION
    return AttemptResult(status, failure, "as told", 5, retry_after, b"body" if status else b"")


class Receipts:
    """A receipt for each message, and what it was told."""

    def __init__(self) -> None:
        self.accepted: list[Message] = []
        self.duplicates: list[bytes] = []
        self.refused: list[Refusal] = []

    def one(self) -> Receipts.One:
        """A receipt."""
        return Receipts.One(self)

    class One:
        """The receipt of one message."""

        def __init__(self, all_: Receipts) -> None:
            self._all = all_
            self.answer: Message | bytes | Refusal | None = None

        def accepted(self, message: Message) -> None:
            """See `ports.Receipt`."""
            assert self.answer is None, "answered twice"
            self.answer = message
            self._all.accepted.append(message)

        def duplicate(self, message_id: bytes) -> None:
            """See `ports.Receipt`."""
            assert self.answer is None, "answered twice"
            self.answer = message_id
            self._all.duplicates.append(message_id)

        def refused(self, refusal: Refusal) -> None:
            """See `ports.Receipt`."""
            assert self.answer is None, "answered twice"
            self.answer = refusal
            self._all.refused.append(refusal)

    class Together:
        """The receipt of messages of a group: each of theirs is told."""

        def __init__(self, ones: Sequence[Receipts.One]) -> None:
            self.ones = ones
            self.duplicates: list[bytes] = []

        def accepted_all(self, messages: Sequence[Message]) -> None:
            """See `ports.GroupReceipt`."""
            for one, message in zip(self.ones, messages, strict=True):
                one.accepted(message)

        def duplicate_all(self, message_ids: Sequence[bytes]) -> None:
            """See `ports.GroupReceipt`."""
            assert not self.duplicates, "answered twice"
            self.duplicates = list(message_ids)

        def refused(self, refusal: Refusal) -> None:
            """See `ports.GroupReceipt`."""
            for one in self.ones:
                one.refused(refusal)


class HeldDeliverer:
    """Attempts that end when the test says so, or at once with `answers`."""

    def __init__(self) -> None:
        self.flying: list[Message] = []
        self.started: list[tuple[str, int]] = []
        self.on_start: Callable[[Message], None] = lambda message: None
        self.answer: Callable[[Message], None] | None = None

    def deliver(self, message: Message) -> None:
        """See `ports.Deliverer`."""
        self.flying.append(message)
        self.started.append((message.target, message.attempt))
        self.on_start(message)
        if self.answer is not None:
            asyncio.get_running_loop().call_soon(self._answer, message)

    def under_way(self, message_id: bytes) -> tuple[int, int] | None:
        """See `ports.Deliverer`."""
        for message in self.flying:
            if message.wire_id == message_id:
                return message.started_at, message.timeout_ms or 1000
        return None

    def _answer(self, message: Message) -> None:
        if self.answer is not None and message in self.flying:
            self.flying.remove(message)
            self.answer(message)


class Notes:
    """An observer that writes everything down."""

    is_debug = False

    def __init__(self) -> None:
        self.dead: list[tuple[Message, str]] = []
        self.retries: list[tuple[Message, int | None]] = []
        self.paused: list[tuple[str, int, str]] = []
        self.paused_after: list[AttemptResult] = []
        self.resumed: list[str] = []
        self.lost: list[tuple[LogName, bytes]] = []
        self.stalls: list[tuple[LogName, str]] = []
        self.space: list[tuple[LogName, bool]] = []
        self.dead_calls: list[tuple[bytes, str, str, int, str, str | None]] = []
        self.dropped: list[tuple[int, str]] = []
        self.keys: list[int] = []
        self.too_large: list[tuple[bytes, bytes]] = []
        self.errors: list[tuple[LogName, Exception]] = []
        self.lost_partitions: list[tuple[int, Exception]] = []
        self.deaths: list[tuple[str, BaseException]] = []

    def accepted(self, message: Message) -> None:
        """Not called: `is_debug` is False."""

    def delivered(self, message: Message, status: int, duration_ms: int) -> None:
        """Not called: `is_debug` is False."""

    def attempt_failed(
        self, message: Message, result: AttemptResult, retry_at_us: int | None
    ) -> None:
        """See `ports.Observer`."""
        self.retries.append((message, retry_at_us))

    def dead_lettered(self, message: Message, reason: str, result: AttemptResult) -> None:
        """See `ports.Observer`."""
        self.dead.append((message, reason))

    def call_dead_lettered(
        self,
        call_id: bytes,
        endpoint: str,
        function: str,
        *,
        attempts: int,
        reason: str,
        error: str | None,
    ) -> None:
        """See `ports.Observer`."""
        self.dead_calls.append((call_id, endpoint, function, attempts, reason, error))

    def letter_too_large(self, letter_id: bytes, destination: bytes, size_bytes: int) -> None:
        """See `ports.Observer`."""
        self.too_large.append((letter_id, destination))

    def letters_dropped(self, count: int, why: str) -> None:
        """See `ports.Observer`."""
        self.dropped.append((count, why))

    def keys_dropped(self, count: int) -> None:
        """See `ports.Observer`."""
        self.keys.append(count)

    def lane_backed_off(
        self, destination: str, until_us: int, why: str, result: AttemptResult
    ) -> None:
        """See `ports.Observer`."""
        self.paused.append((destination, until_us, why))
        self.paused_after.append(result)

    def lane_reopened(self, destination: str) -> None:
        """See `ports.Observer`."""
        self.resumed.append(destination)

    def body_lost(self, log: LogName, message_id: bytes, destination: bytes) -> None:
        """See `ports.Observer`."""
        self.lost.append((log, message_id))

    def space_changed(self, log: LogName, full: bool) -> None:
        """See `ports.Observer`."""
        self.space.append((log, full))

    def partition_lost(self, partition: int, error: Exception) -> None:
        """See `ports.Observer`."""
        self.lost_partitions.append((partition, error))

    def died(self, name: str, error: BaseException) -> None:
        """See `ports.Observer`."""
        self.deaths.append((name, error))

    def log_slow(self, log: LogName, waiting_s: float) -> None:
        """See `ports.Observer`."""
        self.stalls.append((log, "slow"))

    def log_stalled(self, log: LogName, waiting_s: float) -> None:
        """See `ports.Observer`."""
        self.stalls.append((log, "stalled"))

    def log_moves(self, log: LogName, waited_s: float) -> None:
        """See `ports.Observer`."""
        self.stalls.append((log, "moves"))

    def log_failed(self, log: LogName, error: Exception) -> None:
        """See `ports.Observer`."""
        self.errors.append((log, error))


class Bench:
    """A queue with its neighbours, on the running loop.

    `start` makes a new queue over the same logs, as a new process does; `stop` ends it as SIGTERM
    does, `crash` as a power failure does.
    """

    queue: Partition

    def __init__(
        self,
        clock: SimulatedClock,
        *,
        log: FaultyLog | None = None,
        dead_log: FaultyLog | None = None,
        policy: RetryPolicy = POLICY,
        workers: int = 10,
        workers_slow: int = 1000,
        max_age_ms: int = 0,
        idempotency_window_ms: int = 86_400_000,
        order_holds: bool = False,
        traffic: Traffic | None = None,
        warm_bytes: int = WARM_BYTES,
        max_backlog_bytes: int = 0,
        keep_everything: bool = False,
        retention: RetentionPolicy = KEEP_ALL,
        late: Late = LATE_DISK,
        reclaim: ReclaimPolicy | None = None,
        rules: RulesInForce | None = None,
        partition: int = 0,
        prepare: Callable[[Partition], None] = lambda queue: None,
        lost: Callable[[Exception], None] | None = None,
        observed: Callable[[SimulatedClock], Observer] | None = None,
    ) -> None:
        self.clock = clock
        self.log = log or FaultyLog()
        self.dead_log = dead_log or FaultyLog()
        self.config = PartitionConfig(
            policy,
            workers,
            max_backlog_bytes,
            keep_everything,
            partition,
            retention=retention,
            late=late,
            workers_slow=workers_slow,
            max_age_ms=max_age_ms,
            idempotency_window_ms=idempotency_window_ms,
            order_holds=order_holds,
            warm_bytes=warm_bytes,
            reclaim=reclaim or RECLAIM,
            rules=rules or RulesInForce(),
        )
        self.receipts = Receipts()
        self.deliverer = HeldDeliverer()
        self.notes = Notes()
        self.random = Random(1)
        self._prepare = prepare
        self._traffic = traffic
        self._lost = lost
        self._observed = observed or (lambda clock: self.notes)
        self._starts = 0

    async def open(self) -> Recovery:
        """Recover; nothing is delivered yet."""
        self._starts += 1
        self.deliverer.flying.clear()
        self.queue = Partition(
            self.log,
            self.dead_log,
            self.config,
            self._observed(self.clock),
            clock=self.clock,
            random=self.random,
            incarnation=self._starts,
            traffic=self._traffic,
            lost=self._lost,
        )
        self._prepare(self.queue)
        return await self.queue.open("bench", self._starts)

    async def start(self) -> Bench:
        """Recover and deliver."""
        await self.open()
        self.queue.start(self.deliverer)
        return self

    async def stop(self, drain_s: float = 0.0) -> None:
        """End as a process does that was asked to."""
        self.queue.close_intake()
        await self.queue.drain(drain_s)
        await self.queue.stop()

    async def crash(self, *, keep_batch: bool = False, keep_dead_batch: bool = False) -> None:
        """End as a process does that lost its power."""
        self.queue.close_intake()  # its callbacks go on, and must reach nobody
        self.log = self.log.crash(keep_batch=keep_batch)
        self.dead_log = self.dead_log.crash(keep_batch=keep_dead_batch)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)
        self.queue.stop_timers()

    def accept(self, message: Message) -> Receipts.One:
        """Hand a message in, as ingress does."""
        receipt = self.receipts.one()
        self.queue.intake.accept(message, receipt)
        return receipt

    def accept_all(self, messages: Sequence[Message]) -> list[Receipts.One]:
        """Hand in the messages of a group, which have one body."""
        together = Receipts.Together([self.receipts.one() for _ in messages])
        self.queue.intake.accept_all(messages, together)
        return list(together.ones)

    def end(self, message: Message, result: AttemptResult | int = 200) -> None:
        """Let an attempt end: delivered with this status, or failed."""
        self.deliverer.flying.remove(message)
        if isinstance(result, int):
            self.queue.settling.delivered(message, result)
        else:
            self.queue.settling.failed(message, result)


def simulate(test: Callable[[Bench], Coroutine[Any, Any, None]], **options: Any) -> Bench:
    """Run a test with a started queue, an empty log and simulated time."""

    async def main(clock: SimulatedClock) -> Bench:
        bench = await Bench(clock, **options).start()
        await test(bench)
        return bench

    return run(main)

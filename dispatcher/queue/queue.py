"""The queue of one partition: messages over a transaction log.

    accept ─▶ committer ─▶ admit ─▶ lane ─▶ pump ─▶ deliver ─▶ delivered | failed ─▶ settle
                 │ durable                   ▲                       │
                 └─▶ receipt                 └── timers ◀── retry ───┘

A message exists once its record is durable (`admit`) and ends with the record of its outcome.
Nobody waits for the latter: it is written with the next batch. Everything runs on the event loop's
thread, in plain calls; only reading back, dead letters and compaction await.

What always holds: a message that was admitted and is not settled has exactly one slot, and the slot
is in its lane (READY), in a timer bucket (SCHEDULED) or with delivery or the dead-letter log
(IN_FLIGHT).
"""

from __future__ import annotations

import asyncio
from array import array
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from dispatcher.core.breaker import Signal
from dispatcher.core.clock import Clock, Random
from dispatcher.core.destination import Destination
from dispatcher.core.histogram import Histogram
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.verdict import Dead, Delivered, RetryAt, decide
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.accepting import Acceptance, ChunkUpload
from dispatcher.queue.administration import Administration
from dispatcher.queue.alarm import Alarm
from dispatcher.queue.committer import Committer
from dispatcher.queue.compaction import Compactor
from dispatcher.queue.deadletters import MAX_WAITING_BYTES, Burial, DeadLetters
from dispatcher.queue.index import State
from dispatcher.queue.lanes import Lane, Lanes
from dispatcher.queue.learning import Learning
from dispatcher.queue.loading import Loading
from dispatcher.queue.oldest import Oldest
from dispatcher.queue.pauses import Pauses
from dispatcher.queue.pending import Pending
from dispatcher.queue.ports import Deliverer, LogName, Observer, Receipt, Upload
from dispatcher.queue.readback import READ_AHEAD_BELOW, Bodies, Warm
from dispatcher.queue.recent import Recent
from dispatcher.queue.records import OVERHEAD_BYTES, encode_attempt, encode_message, wire_id
from dispatcher.queue.recovery import Recovery
from dispatcher.queue.redrive import Redriver
from dispatcher.queue.refusals import (
    BACKLOG_FULL,
    DISK_FULL,
    LOG_FAILED,
    NOT_DURABLE_FULL,
    OVERLOADED,
    SHUTTING_DOWN,
)
from dispatcher.queue.retention import KEEP_ALL, Retention, RetentionPolicy
from dispatcher.queue.retries import Retries
from dispatcher.queue.settlements import Settlements
from dispatcher.queue.turns import Turns
from dispatcher.queue.watching import Watch
from dispatcher.txlog import TransactionLog

MAX_UNSTORED_BYTES = 64 * 1024 * 1024
IDLE_LANE_SECONDS = 60.0
_DELIVERY_US = tuple(
    round(seconds * 1_000_000)
    for seconds in (
        *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        *(300, 1800, 7200, 86_400),
    )
)


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """`max_backlog_bytes` 0 means until the disk is full. `workers` is the number of attempts in
    flight at once."""

    policy: RetryPolicy
    workers: int
    max_backlog_bytes: int = 0
    keep_everything: bool = False
    partition: int = 0
    retention: RetentionPolicy = KEEP_ALL


class Queue:
    """Accepts, orders, retries and settles the messages of one partition.

    It is `ports.Acceptor` for ingress and `ports.Settler` for delivery. Life: `await open()`
    (recovery), `start()`, then `await drain()` and `await stop()`. Counters are plain integers,
    read when metrics are asked for.
    """

    def __init__(
        self,
        log: TransactionLog,
        dead_log: TransactionLog,
        config: QueueConfig,
        observer: Observer,
        *,
        clock: Clock,
        random: Random,
        incarnation: int,
    ) -> None:
        self.accepted_total = 0
        self.delivered_total = 0
        self.dead_total = 0
        self.attempts: Counter[str] = Counter()
        self.delivery_us = Histogram(_DELIVERY_US)
        self.in_flight = 0
        self.burying = 0
        self._log = log
        self._dead_log = dead_log
        self._config = config
        self._observer = observer
        self.watch = Watch(observer, clock)
        self.recent = Recent()
        self.admin = Administration(self)
        self._clock = clock
        self._random = random
        self._incarnation = incarnation
        self._id_prefix = wire_id(config.partition, incarnation, 0)[:12]
        self.lanes = Lanes(limit_max=config.workers, pause_max_ms=config.policy.max_delay_ms)
        self._turns = Turns(self.lanes, config.workers)
        self.pending = Pending(self.lanes)
        self._warm = Warm()
        self._alarm = Alarm(self.now_us, self._tick)
        self._closing = False
        self._idle: asyncio.Event = asyncio.Event()
        self._deliverer: Deliverer | None = None
        self._forget: asyncio.TimerHandle | None = None
        self._wall_offset_us = clock.now_us() - clock.monotonic_us()
        self.committer = Committer(
            log,
            collect=lambda: self._settlements.collect(),
            settled=self._batch_done,
            failed=partial(observer.log_failed, LogName.TRANSACTION),
            space_changed=self._space_changed,
        )
        self._settlements = Settlements(self.pending, self.committer)
        self.pauses = Pauses(self.pending.extents, self.committer)
        self._retries = Retries(self.pending, self.committer)
        self._learning = Learning(
            self.lanes,
            self.pending.index,
            self._warm,
            policy=config.policy,
            observer=observer,
            wall_offset_us=lambda: self.wall_offset_us,
            on_alarm=self._arm,
        )
        self._loading = Loading(
            log,
            self.pending,
            self._warm,
            partition=config.partition,
            loaded=self._loaded,
            failed=partial(self.fail, LogName.TRANSACTION),
        )
        self.bodies = Bodies(log, self.pending)
        self.dead_letters = DeadLetters(
            dead_log,
            self.bodies,
            partition=config.partition,
            failed=partial(self.fail, LogName.DEAD_LETTER),
            space_changed=self._dead_space_changed,
        )
        self._compactor = Compactor(
            log,
            self.pending,
            self.committer,
            partition=config.partition,
            keep_everything=config.keep_everything,
            pauses=self.pauses,
            wall_offset_us=lambda: self.wall_offset_us,
            failed=partial(self.fail, LogName.TRANSACTION),
        )
        self.redriver = Redriver(
            self.dead_letters,
            self.pending,
            self.committer,
            self._settlements,
            line_up=self._line_up,
        )
        self.oldest = Oldest(log, self.pending, partition=config.partition)
        self.retention = Retention(
            self.dead_letters.letters, self.redriver, config.retention, clock, observer
        )

    # ------------------------------------------------------------------ life

    async def open(self, owner: str, epoch: int) -> Recovery:
        """Open both logs and rebuild what is pending. Delivery begins with `start`.

        Raises:
            LogLocked, LogCorrupt: as the logs say; nothing was changed.
        """
        await self._dead_log.open(owner, epoch, self.dead_letters.visit)
        for letter in self.dead_letters.opened():
            self._observer.body_lost(LogName.DEAD_LETTER, letter.message_id, letter.destination)
        recovery = Recovery(self.pending, self.pauses)
        opened = await self._log.open(owner, epoch, recovery.visit)
        await self.redriver.reconcile(self._log, end=opened.end, partition=self._config.partition)
        now = self.now_us()
        recovery.finish(now, now + self._config.policy.max_delay_ms * 1000)
        for message in recovery.lost.values():
            message_id = wire_id(self.partition, message.incarnation, message.position)
            if message_id not in self.dead_letters:
                self._observer.body_lost(LogName.TRANSACTION, message_id, message.destination.key)
        return recovery

    def start(self, deliverer: Deliverer) -> None:
        """Begin to store and deliver."""
        self._deliverer = deliverer
        self.committer.start()
        self.dead_letters.start()
        self.retention.start()
        self.oldest.start()
        if self._settlements.positions:
            self.committer.wake_lazily()
        for key in self.pauses.keys:
            self._hold(self.lanes.by_key(key), held=True)
        for lane in self.lanes:
            self.lanes.enter(lane)
        self._forget_idle_lanes()
        self._arm()
        self.pump()

    def close_intake(self) -> None:
        """Accept nothing more and start no more attempts; what is in flight goes on."""
        self._closing = True

    async def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight; False when time ran out first.

        Dead letters that wait for space are not waited for: the next start makes them again.
        """
        self.close_intake()
        try:
            async with asyncio.timeout(timeout_s):
                while self.in_flight or (self.burying and not self.dead_letters.full):
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Write down what was settled and close both logs. Idempotent."""
        self.close_intake()
        self.stop_timers()
        await self.oldest.stop()
        await self.retention.stop()
        await self.admin.stop()
        await self._compactor.stop()
        await self._loading.stop()
        await self.dead_letters.stop()
        await self.committer.stop()
        await self._log.close()
        await self._dead_log.close()

    def stop_timers(self) -> None:
        """Do nothing more by itself. Idempotent."""
        self._alarm.cancel()
        if self._forget is not None:
            self._forget.cancel()

    # ------------------------------------------------------------------ accepting

    def refusal(self) -> Refusal | None:
        """Why nothing is accepted now; None when it is."""
        committer = self.committer
        if committer.dead:
            return LOG_FAILED
        if self._closing:
            return SHUTTING_DOWN
        if committer.full:
            return DISK_FULL
        if committer.waiting_bytes > MAX_UNSTORED_BYTES:
            return OVERLOADED
        most = self._config.max_backlog_bytes
        pending = self.pending
        if most and (
            pending.index.live_bytes + pending.uploading_bytes + committer.waiting_bytes >= most
        ):
            return BACKLOG_FULL
        return None

    def accept(self, message: Message, receipt: Receipt, upload: Upload | None = None) -> None:
        """Store a message (`ports.Acceptor`)."""
        if upload is None:
            self._submit(message, receipt, None)
            return
        assert isinstance(upload, ChunkUpload)
        upload.use(partial(self._uploaded, message, receipt, upload))

    def start_upload(self, on_progress: Callable[[], None]) -> ChunkUpload:
        """Begin a large body (`ports.Acceptor`)."""
        return ChunkUpload(self.committer, self.pending, on_progress).let_move()

    def _uploaded(self, message: Message, receipt: Receipt, upload: ChunkUpload) -> None:
        if upload.refusal is not None:
            upload.let_go()
            receipt.refused(upload.refusal)
            return
        message.chunks = upload.fixed() or None
        self._submit(message, receipt, upload)

    def _submit(self, message: Message, receipt: Receipt, upload: ChunkUpload | None) -> None:
        message.incarnation = self._incarnation
        payload = encode_message(message)
        self.committer.submit(
            payload, Acceptance(self, message, receipt, len(payload) + OVERHEAD_BYTES, upload)
        )

    def name(self, message: Message, position: int) -> None:
        """The record of a message is durable at `position`: it exists from here on, with its id."""
        message.position = position
        message.wire_id = self._id_prefix + b"%016x" % position

    def admit(self, message: Message, size: int) -> None:
        """Give a durable message its place in the index and in its lane."""
        position = message.position
        self.accepted_total += 1
        if self.watch.is_wanted:
            self.watch.accepted(message)
        pending = self.pending
        lane = self.lanes.of(message.destination)
        slot = message.slot = pending.add(position, lane, size)
        if message.chunks is not None:
            pending.own_chunks(slot, array("Q", message.chunks), message.body_size)
        if (
            not lane.ready
            and lane.calm
            and lane.in_flight < lane.limit.value
            and self._turns.are_free(self.in_flight)
            and self._may_start()
        ):
            self._begin(lane, message, self.now_us())
            return
        warm = lane.warm == lane.ready and self._warm.has_room and lane.calm
        if warm:
            self._warm.put(slot, message)
        lane.push(pending.index, slot, warm=warm)
        self.lanes.enter(lane)

    # ------------------------------------------------------------------ looking

    def count_states(self) -> dict[str, int]:
        """Pending messages now, by the name of their state. Those on their way to the dead-letter
        log count as in flight."""
        scheduled = self.pending.timers.count
        in_flight = self.in_flight + self.burying
        ready = self.pending.index.count - scheduled - in_flight
        return {"ready": ready, "scheduled": scheduled, "in_flight": in_flight}

    def oldest_age_us(self) -> int:
        """How long the oldest message has been waiting, as of a few seconds ago; 0: none waits."""
        accepted_at = self.oldest.accepted_at
        return 0 if accepted_at is None else max(0, self._clock.now_us() - accepted_at)

    def count_lanes(self) -> int:
        """Destinations that have a lane now."""
        return len(self.lanes)

    # ------------------------------------------------------------------ starting attempts

    def now_us(self) -> int:
        """Microseconds since the epoch by a clock that never goes back: the wall clock at the
        start, and the monotonic clock from there."""
        return self._wall_offset_us + self._clock.monotonic_us()

    def pump(self) -> None:
        """Start as many attempts as may be in flight, lane after lane in turn."""
        turns = self._turns
        while turns.are_wanted and self._may_start():
            lane = turns.next(self.in_flight)
            if lane is None:
                return
            if lane.in_flight >= lane.limit.value:
                continue  # halved while it waited; the end of an attempt brings it back
            now = self.now_us()
            if not lane.calm and not lane.admits(now):
                self._learning.pause(lane, now)
                continue
            if not lane.warm:
                self._loading.load(lane)
                continue
            slot = lane.pop(self.pending.index)
            message = self._warm.pop(slot)
            message.slot = slot
            self._begin(lane, message, now)
            if lane.ready and lane.in_flight < lane.limit.value:
                self.lanes.enter(lane)

    def _may_start(self) -> bool:
        """Whether attempts may be started at all."""
        return not (
            self._closing
            or self.committer.dead
            or (self.burying and self.dead_letters.waiting_bytes > MAX_WAITING_BYTES)
        )

    def _begin(self, lane: Lane, message: Message, now: int) -> None:
        slot = message.slot
        self.pending.index.state[slot] = State.IN_FLIGHT
        message.attempt += 1
        message.started_at = now
        lane.in_flight += 1
        self.in_flight += 1
        if not lane.calm:
            lane.start(now)
            self._turns.doubt(message)
        if lane.warm < READ_AHEAD_BELOW and lane.warm < lane.ready and self._warm.has_room:
            self._loading.load(lane)
        if message.chunks is not None:  # they may have been copied since it was read
            message.chunks = tuple(self.pending.big[slot][0])
        assert self._deliverer is not None
        self._deliverer.deliver(message)

    def _loaded(self, lane: Lane) -> None:
        self.lanes.enter(lane)
        self.pump()

    # ------------------------------------------------------------------ settling

    def delivered(self, message: Message, status: int) -> None:
        """An attempt succeeded (`ports.Settler`)."""
        lane = self.lanes.by_number[self.pending.index.lane[message.slot]]
        lane.limit.success()
        self._ended(lane)
        if not lane.calm:
            self._learning.signal(lane, Signal.HEALTHY, message, self.now_us())
        if message.doubtful or lane.queued:
            self._turns.ended(lane, message)
        if self.watch.is_wanted:
            duration_ms = (self.now_us() - message.started_at) // 1000
            self.watch.delivered(message, status, duration_ms)
        self._done(message, lane)
        self.lanes.enter(lane)
        self.pump()

    def failed(self, message: Message, result: AttemptResult) -> None:
        """An attempt did not succeed (`ports.Settler`)."""
        now, wall = self.now_us(), self._clock.now_us()
        lane = self.lanes.by_number[self.pending.index.lane[message.slot]]
        self._ended(lane)
        self._learning.failed(lane, message, result, now_us=now, wall_us=wall)
        self._turns.ended(lane, message)
        verdict = decide(result, message.attempt, self._config.policy, wall, self._random)
        if isinstance(verdict, Delivered):
            if self.watch.is_wanted:
                self.watch.delivered(message, result.status or 0, result.duration_ms)
            self._done(message, lane)
        else:
            self.attempts[_outcome(result)] += 1
            # What is stored is the wall clock's, what waits here waits by the queue's own.
            message.history += encode_attempt(message.started_at - now + wall, result)
            if isinstance(verdict, RetryAt):
                self.watch.attempt_failed(message, result, verdict.due_us)
                self.pending.schedule(message.slot, verdict.due_us - wall + now, now)
                self._retry(message, result, verdict.due_us)
            else:
                self.watch.attempt_failed(message, result, None)
                self._bury(message, result, verdict)
        self.lanes.enter(lane)
        self.pump()

    def _ended(self, lane: Lane) -> None:
        lane.in_flight -= 1
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    def _done(self, message: Message, lane: Lane) -> None:
        self.attempts["delivered"] += 1
        self.delivered_total += 1
        self.delivery_us.observe(max(0, self._clock.now_us() - message.accepted_at))
        self.recent.add(message, lane.destination.key)
        self._settle(message)

    def _settle(self, message: Message) -> None:
        self._settlements.positions.append(message.position)
        self.pending.remove(message.slot)
        self.committer.wake_lazily()

    def _retry(self, message: Message, result: AttemptResult, due_at: int) -> None:
        self.pending.index.attempts[message.slot] = message.attempt
        self._retries.write(message, due_at, result.detail)
        self._arm()

    def _bury(self, message: Message, result: AttemptResult, verdict: Dead) -> None:
        self.burying += 1
        burial = Burial(
            message,
            verdict.reason.value,
            result.detail,
            result.response_start,
            self._clock.now_us(),
        )
        self.dead_letters.bury(burial, partial(self._buried, message, result, verdict.reason.value))

    def _buried(self, message: Message, result: AttemptResult, reason: str) -> None:
        self.burying -= 1
        self.dead_total += 1
        self._settle(message)
        self.watch.dead_lettered(message, reason, result)
        self._idle.set()
        self.pump()

    # ------------------------------------------------------------------ operators

    @property
    def log(self) -> TransactionLog:
        """The transaction log, for reading."""
        return self._log

    @property
    def log_bytes(self) -> int:
        """What the transaction log takes on disk."""
        return self._log.size_bytes

    @property
    def partition(self) -> int:
        """The partition's number."""
        return self._config.partition

    @property
    def workers(self) -> int:
        """Attempts in flight at once, at most."""
        return self._config.workers

    @property
    def wall_offset_us(self) -> int:
        """What has to be added to an instant of `now_us` for the wall clock's."""
        return self._clock.now_us() - self.now_us()

    def cancel(self, slot: int) -> Coroutine[Any, Any, None]:
        """Forget a message that is READY or SCHEDULED, at once: one turn of the loop later it may
        be on its way, and a copy that is made of it would lie behind the record that settles it.
        What is returned waits until that is durable, see `Settlements.durable`.

        Raises:
            Refused: there is no space for that record; nothing changed.
        """
        if self.committer.is_stuck:
            raise Refused(NOT_DURABLE_FULL)
        pending = self.pending
        if pending.unlink(slot):
            self._warm.pop(slot)
        self._settlements.positions.append(pending.index.id_position[slot])
        pending.remove(slot)
        return self._settlements.durable()

    async def hold(self, destination: Destination, *, held: bool) -> None:
        """Pause a destination, or let it go on; returns when that is durable.

        Raises:
            Refused: there is no space to write it down.
        """
        await self.pauses.change(destination.key, held=held)
        lane = self.lanes.of(destination)
        self._hold(lane, held=held)
        self.lanes.enter(lane)
        self.pump()

    def _hold(self, lane: Lane, *, held: bool) -> None:
        lane.held = held
        if held:
            lane.calm = False
            self._warm.chill(lane, self.pending.index)

    def _line_up(self, slot: int) -> None:
        self.lanes.enter(self.pending.line_up(slot))
        self.pump()

    def under_way(self, message_id: bytes) -> tuple[int, int] | None:
        """When the attempt of a message started, by the wall clock, and after how many milliseconds
        it times out; None when none is under way."""
        found = self._deliverer.under_way(message_id) if self._deliverer is not None else None
        return None if found is None else (found[0] + self.wall_offset_us, found[1])

    # ------------------------------------------------------------------ timers

    def _arm(self) -> None:
        """Have the loop call `_tick` when the next retry is due or the next pause is over."""
        due = self.pending.timers.next_at()
        alarm = self._learning.next_at()
        if due is None or (alarm is not None and alarm < due):
            due = alarm
        if due is None or self._deliverer is None or self._closing:
            return
        self._alarm.set(due)

    def _tick(self) -> None:
        now = self.now_us()
        for lane in self.pending.expire(now):
            self.lanes.enter(lane)
        for lane in self._learning.wake(now):
            self.lanes.enter(lane)
        self._arm()
        self.pump()

    def _forget_idle_lanes(self) -> None:
        if not (self.burying or self.redriver.is_busy):  # those messages are in no lane's count
            self.lanes.forget_idle(self.now_us())
        self._forget = asyncio.get_running_loop().call_later(
            IDLE_LANE_SECONDS, self._forget_idle_lanes
        )

    # ------------------------------------------------------------------ the logs

    def _batch_done(self) -> None:
        self._compactor.look()
        self.pump()

    def fail(self, log: LogName, error: Exception) -> None:
        """A log turned out to be damaged: nothing more is stored, and the process must end."""
        if not self.committer.dead:
            self.committer.give_up()
            self._observer.log_failed(log, error)

    def _space_changed(self, full: bool) -> None:
        self._observer.space_changed(LogName.TRANSACTION, full)
        if not full:
            self._retries.write_unwritten()

    def _dead_space_changed(self, full: bool) -> None:
        self._observer.space_changed(LogName.DEAD_LETTER, full)
        self._idle.set()  # `drain` does not wait for space


def _outcome(result: AttemptResult) -> str:
    """The `outcome` label of an attempt that was not a success."""
    if result.failure is not None:
        return result.failure.value
    return f"http_{(result.status or 0) // 100}xx"

"""Group commit: records of many callers share one write and one sync.

Records are collected while a batch is on its way to the disk; the next batch is handed over the
moment the one before it is durable, and only then are its waiters told, so that the disk never
waits for Python. Callbacks do this, no task; a record costs two list appends.

Two kinds of record: what a caller waits for (it can be refused) and what is *urgent*: records that
settle messages. Those are never refused. When the disk is full they use the space the log keeps
back, and when that is used up they wait here, in memory, until there is space: a crash in between
delivers a message again, it loses none. Copies (`copies`) go with the urgent ones, and give way.

What waits is in `waiting`, how waiters are told in `telling`, whether the disk is full in `space`;
here is when a batch is handed over, and what follows from its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial

from dispatcher.core.histogram import Histogram
from dispatcher.errors import BatchTooLarge, LogBusy, LogUnavailable, Refusal
from dispatcher.queue.commit.copies import Copies
from dispatcher.queue.commit.space import LOOK_SECONDS, Space
from dispatcher.queue.commit.telling import (
    Waiter,
    of_batch,
    of_waiting,
    tell_refused,
    tell_stored,
)
from dispatcher.queue.commit.unit import UnitWaiter, parts_of
from dispatcher.queue.commit.waiting import Records, Waiting
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.refusals import (
    DISK_FULL,
    LOG_BUSY,
    LOG_FAILED,
    NO_VERDICT,
    RECORD_TOO_LARGE,
    SHUTTING_DOWN,
)
from dispatcher.telemetry.supervisor import Died
from dispatcher.txlog import TransactionLog

LAZY_SECONDS = 0.025
"""How long a record that nobody waits for waits for others to share its sync."""
LAZY_FULL_SECONDS = 0.5
"""The same while the disk is full: many that share a record take less of the space kept back."""

BATCH_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class _State(Enum):
    STOPPED = "stopped"
    IDLE = "idle"
    STARTING = "starting"
    BUSY = "busy"
    STUCK = "stuck"


class Committer:
    """Appends records to one log, a batch at a time, in the order of `submit`.

    Urgent records keep their order among themselves, and so do the others; within a batch the
    urgent ones come first. `collect` is called before each batch and may submit urgent records
    (those that were waiting for company); `settled` after the waiters of a batch were told, and
    each time that not even urgent records, or a look, found space: what is settled in memory, or
    was refused half stored, may have left the log's beginning without anything that is needed;
    `failed` once, when the log can't be written any more; `space_changed` with True when the disk
    became full, with False when there is space again; `died` with what a waiter, `collect` or
    `settled` raised, which nobody else is hurt by.

        IDLE      nothing is with the log; a submit leads to STARTING, a lazy wake to a timer
        STARTING  a batch is handed over in the next turn of the loop, with all that comes till then
        BUSY      a batch is with the log; what comes meanwhile is the next one
        STUCK     not even urgent records found space; a look, or trimming, leads to STARTING

    All of it is callbacks: a task for each batch would cost a caller who is alone two turns of the
    loop more.
    """

    def __init__(
        self,
        log: TransactionLog,
        *,
        collect: Callable[[], None],
        settled: Callable[[], None],
        failed: Callable[[Exception], None],
        space_changed: Callable[[bool], None],
        died: Died,
    ) -> None:
        self.full = False  # the disk is: what can be refused is refused
        self.stalled = False  # set by `stalls.StallWatch`
        self.dead = False
        self.gone = LOG_FAILED  # why, once it is dead
        self.batches = 0
        self.records = 0
        self.batch_records = Histogram(BATCH_RECORDS)
        self.copies = Copies(self.submit_urgent)
        self._log = log
        self._collect = collect
        self._settled = settled
        self._failed = failed
        self._space_changed = space_changed
        self._died = died
        self._waiting = Waiting()
        self._space = Space(changed=self._space_has_changed, look=self._look_for_space)
        self._state = _State.STOPPED
        self._refusal: Refusal | None = None
        self._with_log: tuple[Records, Records] | None = None
        self._began_s = 0.0
        self._loop: asyncio.AbstractEventLoop
        self._wanted = False
        self._is_quiet = True
        self._is_urgent = False  # the batch with the log, or the last one
        self._lazy: asyncio.TimerHandle | None = None
        self._flushed: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        what = "dead" if self.dead else self._state.value
        full = ", disk full" if self.full else ""
        return f"<Committer {what}{full}, {self.waiting_bytes} bytes wait, {self.batches} batches>"

    def most_records(self, size: int) -> int:
        """How many records of this size a batch holds, 1 at least."""
        return max(1, self._log.max_batch_bytes // (size + OVERHEAD_BYTES))

    @property
    def most_bytes(self) -> int:
        """What a batch holds at most: its records with their overhead."""
        return self._log.max_batch_bytes

    @property
    def is_stuck(self) -> bool:
        """The space that is kept back for urgent records is used up too."""
        return self._state is _State.STUCK

    @property
    def waiting_bytes(self) -> int:
        """Bytes of records that are not handed to the log yet."""
        waiting = self._waiting  # as `Waiting.size_bytes` has it, without the call
        return waiting.urgent.size_bytes + waiting.normal.size_bytes

    @property
    def is_appending(self) -> bool:
        """Whether a batch is with the log, which will say what became of it."""
        return self._with_log is not None

    @property
    def owes(self) -> bool:
        """Whether anybody waits to hear of a record, with the log or before it."""
        return self._with_log is not None or bool(self._waiting.normal.payloads)

    def waiting_s(self) -> float:
        """How many seconds the batch under way has been with the log; 0 when none is."""
        return self._loop.time() - self._began_s if self._state is _State.BUSY else 0.0

    def start(self) -> None:
        """Begin to work, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._state = _State.IDLE
        if self._waiting.size_bytes:
            self.wake()

    async def stop(self) -> None:
        """Store what was submitted, as far as there is space for it, then end. Idempotent."""
        await self.flush()
        # Somebody may settle a message meanwhile.
        while self._state in {_State.STARTING, _State.BUSY} and not self.dead:
            await self.flush()
        self._state = _State.STOPPED
        # Not before: a refusal at once would overtake the answers to those who came earlier.
        self._refusal = self._refusal or SHUTTING_DOWN
        self._space.stop()
        if self._lazy is not None:
            self._lazy.cancel()

    def submit(self, payload: bytes, waiter: Waiter) -> None:
        """Queue a record that can be refused: at once while the disk is full or after a failure."""
        if self._refusal is not None:
            if self.dead and self._with_log is not None:
                self._waiting.normal.add(payload, waiter)  # told after the batch under way
            else:
                waiter.refused(self._refusal)
            return
        self._waiting.normal.add(payload, waiter)
        if self._state is _State.IDLE:
            if self._is_quiet:
                self._hand_over()
            else:
                self._state = _State.STARTING
                self._loop.call_soon(self._start_batch)

    def refuse_waiting(self, which: Callable[[Waiter | None], bool], refusal: Refusal) -> None:
        """Refuse these waiters, if their records can be refused and were not handed to the log."""
        tell_refused(self._waiting.normal.drop_some(which), refusal, self._died)

    @property
    def waiters_with_log(self) -> list[Waiter | None]:
        """Of the records that can be refused, and are with the log."""
        return [] if self._with_log is None else self._with_log[1].waiters

    def submit_urgent(self, payload: bytes, waiter: Waiter | None = None) -> None:
        """Queue a record that must get there; it is refused only after a failure. Starts no batch:
        see `wake` and `wake_lazily`."""
        if self.dead:
            if waiter is not None:
                waiter.refused(self.gone)
            return
        self._waiting.urgent.add(payload, waiter)

    def submit_unit(
        self, payloads: Sequence[bytes], waiter: UnitWaiter, *, urgent: bool = True
    ) -> None:
        """Queue records that are stored together or not at all: they are never split over batches.
        Urgent ones must get there, as with `submit_urgent`; others are refused, all of them, when
        `submit` would refuse one, and start a batch.

        Raises:
            BatchTooLarge: no batch can hold them; nothing is queued.
        """
        parts = parts_of(payloads, waiter, most_bytes=self._log.max_batch_bytes)
        if urgent:
            for payload, part in zip(payloads, parts, strict=True):
                self.submit_urgent(payload, part)
            return
        if self._refusal is not None and not (self.dead and self._with_log is not None):
            waiter.refused(self._refusal)
            return
        for payload, part in zip(payloads, parts, strict=True):
            self._waiting.normal.add(payload, part)
        self.wake()

    def wake(self) -> None:
        """Start a batch now, or as soon as the one that is under way is done."""
        if self._state is _State.IDLE:
            self._state = _State.STARTING
            self._loop.call_soon(self._start_batch)
        else:
            self._wanted = True

    def wake_lazily(self) -> None:
        """Start a batch after `LAZY_SECONDS` at the latest, for records that nobody waits for.

        They go with any batch before that; but a batch of nothing else must not be under way when a
        caller comes, who would wait for two syncs then.
        """
        if self._lazy is None and self._state is not _State.STOPPED:
            seconds = LAZY_FULL_SECONDS if self.full else LAZY_SECONDS
            self._lazy = self._loop.call_later(seconds, self._lazily)

    def _lazily(self) -> None:
        self._lazy = None
        self.wake()

    async def flush(self) -> None:
        """Return when what was submitted is stored or refused, or has to wait for space."""
        if self._state is _State.STOPPED or self._state is _State.STUCK or self.dead:
            return
        done: asyncio.Future[None] = self._loop.create_future()
        self._flushed.append(done)
        self.wake()
        await done

    # Batches.

    def _start_batch(self) -> None:
        # A batch that was handed over at once meanwhile may be under way: then its end goes on.
        if self._state is _State.STARTING:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the next batch to the log, or rest when there is nothing. None is under way."""
        if self._state is _State.STOPPED:
            return
        self._wanted = False
        self._state = _State.STARTING  # so that `collect` may ask for another batch after this one
        try:
            self._collect()
        except Exception as error:
            self._died("collect", error)
        urgent, normal = self._waiting.take(self._log.max_batch_bytes)
        if urgent.payloads or normal.payloads:
            self._append(urgent, normal)
        else:
            self._rest(_State.IDLE)

    def _append(self, urgent: Records, normal: Records) -> None:
        self._state = _State.BUSY
        self._began_s = self._loop.time()
        self._with_log = urgent, normal
        # A caller who is alone does not wait for the turn of the loop in which others may come.
        self._is_quiet = len(normal.payloads) < 2
        if self._lazy is not None and not self._waiting.urgent.payloads:
            self._lazy.cancel()
            self._lazy = None
        # What is under way there leaves alone what is kept back, until the disk is full.
        self._is_urgent = not normal.payloads and (self.full or not self.copies.under_way)
        try:
            stored = self._log.append(urgent.payloads + normal.payloads, urgent=self._is_urgent)
        except Exception as error:
            self._not_appended(urgent, normal, error)
        else:
            stored.add_done_callback(partial(self._appended, urgent, normal))

    def _appended(
        self, urgent: Records, normal: Records, stored: asyncio.Future[list[int]]
    ) -> None:
        """A batch is durable, or not: hand over the next one first, then tell the waiters."""
        self._with_log = None
        try:
            positions = stored.result()
        except Exception as error:
            self._not_appended(urgent, normal, error)
            return
        self.batches += 1
        self.records += len(positions)
        self.batch_records.observe(len(positions))
        # Given up meanwhile (a log is damaged), it stays so: what this batch holds is durable all
        # the same.
        if self._state is _State.BUSY:
            if self._waiting.size_bytes or self._wanted:
                self._go_on()
            else:
                self._rest(_State.IDLE)
        tell_stored(urgent.waiters, positions, self._died)
        tell_stored(normal.waiters, positions[len(urgent.waiters) :], self._died)
        if self.dead:
            tell_refused(self._waiting.drop(), self.gone, self._died)
        self._look()

    def _look(self) -> None:
        try:
            self._settled()
        except Exception as error:
            self._died("settled", error)

    def _not_appended(self, urgent: Records, normal: Records, error: Exception) -> None:
        """A batch is not durable, for now or for good."""
        self._with_log = None
        if isinstance(error, BatchTooLarge) and not self.dead:
            self._pass_over(urgent.waiters + normal.waiters, error)
        elif self.dead or not isinstance(error, LogUnavailable):
            # Not LogError only: after a mistake in an engine every caller would wait for ever.
            self._die(error, urgent.waiters + normal.waiters)
        elif isinstance(error, LogBusy):
            self._be_patient(urgent, normal)
        else:
            self._find_no_space(urgent, normal)

    def _pass_over(self, waiters: list[Waiter | None], error: BatchTooLarge) -> None:
        """Refuse a record that no batch can hold. That is a mistake, but others can be stored."""
        self._died("record", error)
        self._go_on()
        tell_refused(waiters, RECORD_TOO_LARGE, self._died)

    def _go_on(self) -> None:
        """Hand over what came while a batch was stored: at once when callers are few, and after one
        more look at the sockets when they are many. Then the processor is what there is too little
        of, and larger batches save it: 50 records instead of 33 with 64 callers."""
        if self._is_quiet:
            self._hand_over()
            return
        self._state = _State.STARTING
        # A callback runs before the loop looks at its sockets, a callback of a callback after it.
        self._loop.call_soon(self._loop.call_soon, self._start_batch)

    def _rest(self, state: _State) -> None:
        self._state = state
        flushed, self._flushed = self._flushed, []
        for done in flushed:
            if not done.done():
                done.set_result(None)

    # A full disk, a failed one.

    def _be_patient(self, urgent: Records, normal: Records) -> None:
        """Descriptors or memory are lacking: refuse what can be refused, try the rest again."""
        self._waiting.urgent.put_back(urgent)
        refused = self._waiting.urgent.drop_modest(copies_only=True)
        refused += normal.waiters + self._waiting.normal.drop()
        self._rest(_State.IDLE)
        if self._waiting.urgent.payloads:
            self._loop.call_later(LOOK_SECONDS, self.wake)
        tell_refused(refused, LOG_BUSY, self._died)

    def _find_no_space(self, urgent: Records, normal: Records) -> None:
        """Refuse what can be refused; try the rest again with the space that is kept back."""
        self._space.ran_out()
        modest = urgent.drop_modest()
        refused = modest + normal.waiters + self._waiting.normal.drop()
        refused += self._waiting.urgent.drop_modest()
        if self._is_urgent and not modest:
            self._waiting.urgent.put_back(urgent)
            self._rest(_State.STUCK)
        elif urgent.payloads:
            self._append(urgent, Records())
        else:
            self._hand_over()
        tell_refused(refused, DISK_FULL, self._died)
        if self.is_stuck:  # no batch comes that would have it look
            self._look()

    def try_again(self) -> None:
        """A part of the log was given back: what found no space may find some now."""
        if self._state is _State.STUCK:
            self._state = _State.STARTING
            self._loop.call_soon(self._start_batch)

    def _look_for_space(self) -> None:
        """Ask the log whether there is space again. Urgent records that found none are tried again
        in any case: some of them may fit where a large batch does not."""
        if self._log.room():
            self._space.found()
        if self._waiting.size_bytes and self._state in {_State.IDLE, _State.STUCK}:
            self._hand_over()
        elif self.full and self._state is _State.IDLE:  # no batch comes that would have it look
            self._look()

    def _space_has_changed(self, full: bool) -> None:
        self.full = self.copies.full = full
        if self._refusal is None or self._refusal is DISK_FULL:
            self._refusal = DISK_FULL if full else None
        self._space_changed(full)

    def give_up(self, error: Exception | None = None) -> None:
        """The log turned out to be damaged, or another one is, or it is another owner's: store
        nothing more, and refuse what waits, after those of the batch that is under way were told.
        Idempotent."""
        self._end(error)
        if self._with_log is None:
            tell_refused(self._waiting.drop(), self.gone, self._died)

    def abandon(self, error: Exception | None = None) -> None:
        """The log does not answer and the process, or with this error the partition, ends without
        it: whether the batch under way is stored nobody knows, and those who wait for it are told
        so, and no more. Idempotent."""
        self._end(error)
        for batch in self._with_log or ():
            waiters, batch.waiters = batch.waiters, []
            tell_refused(waiters, NO_VERDICT if error else LOG_FAILED, self._died)
        self._with_log = None  # who comes now need not wait for it
        tell_refused(self._waiting.drop(), self.gone, self._died)

    def _die(self, error: Exception, waiters: list[Waiter | None]) -> None:
        """Nothing will be stored any more, and what is known of this batch its error says."""
        was_dead = self.dead
        self._end(error)
        tell_refused(waiters, of_batch(error), self._died)
        tell_refused(self._waiting.drop(), self.gone, self._died)
        if not was_dead:
            self._failed(error)

    def _end(self, error: Exception | None) -> None:
        if not self.dead:
            self.dead = True
            self._refusal = self.gone = of_waiting(error)
        self._rest(_State.STOPPED)

"""Group commit: records of many callers share one write and one sync.

Records are collected while a batch is on its way to the disk; the next batch is handed over the
moment the one before it is durable, and only then are its waiters told, so that the disk never
waits for Python. One task does this; a record costs two list appends.

Two kinds of record: what a caller waits for (it can be refused) and what is *urgent*: records that
settle messages. Those are never refused. When the disk is full they use the space the log keeps
back, and when that is used up they wait here, in memory, until there is space: a crash in between
delivers a message again, it loses none.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Protocol

from dispatcher.core.histogram import Histogram
from dispatcher.errors import LogUnavailable, Refusal
from dispatcher.queue.records import NOTHING, OVERHEAD_BYTES
from dispatcher.queue.refusals import DISK_FULL, LOG_FAILED, SHUTTING_DOWN
from dispatcher.txlog import TransactionLog

LAZY_SECONDS = 0.025
"""How long a record that nobody waits for waits for others to share its sync."""
PROBE_SECONDS = 1.0
"""How often a full disk is tried again."""


_BATCH_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class Waiter(Protocol):
    """Who is told what became of a record."""

    def stored(self, position: int) -> None:
        """The record is durable at `position`."""

    def refused(self, refusal: Refusal) -> None:
        """The record is not stored (or, after a failed sync, perhaps not)."""


class _Pending:
    """Records in the order of their arrival, each with its waiter."""

    __slots__ = ("payloads", "size_bytes", "waiters")

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.waiters: list[Waiter | None] = []
        self.size_bytes = 0

    def take(self, most_bytes: int) -> _Pending:
        """Split off the first records that take at most `most_bytes` with their overhead."""
        taken = _Pending()
        if self.size_bytes <= most_bytes:
            taken.payloads, self.payloads = self.payloads, taken.payloads
            taken.waiters, self.waiters = self.waiters, taken.waiters
            taken.size_bytes, self.size_bytes = self.size_bytes, 0
            return taken
        count = 0
        for payload in self.payloads:
            cost = len(payload) + OVERHEAD_BYTES
            if taken.size_bytes + cost > most_bytes:
                break
            taken.size_bytes += cost
            count += 1
        taken.payloads, self.payloads = self.payloads[:count], self.payloads[count:]
        taken.waiters, self.waiters = self.waiters[:count], self.waiters[count:]
        self.size_bytes -= taken.size_bytes
        return taken

    def put_back(self, taken: _Pending) -> None:
        """Undo `take`."""
        self.payloads[:0] = taken.payloads
        self.waiters[:0] = taken.waiters
        self.size_bytes += taken.size_bytes


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
    (those that were waiting for company); `settled` after the waiters of a batch were told;
    `failed` once, when the log can't be written any more; `space_changed` with True when the disk
    became full, with False when there is space again.

        IDLE      nothing is with the log; a submit leads to STARTING, a lazy wake to a timer
        STARTING  a batch is handed over in the next turn of the loop, with all that comes till then
        BUSY      a batch is with the log; what comes meanwhile is the next one
        STUCK     not even urgent records found space; the next probe leads to STARTING

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
    ) -> None:
        self.full = False
        self.dead = False
        self.batches = 0
        self.records = 0
        self.batch_records = Histogram(_BATCH_RECORDS)
        self._log = log
        self._collect = collect
        self._settled = settled
        self._failed = failed
        self._space_changed = space_changed
        self._normal = _Pending()
        self._urgent = _Pending()
        self._state = _State.STOPPED
        self._refusal: Refusal | None = None
        self._loop: asyncio.AbstractEventLoop
        self._wanted = False
        self._is_quiet = True
        self._lazy: asyncio.TimerHandle | None = None
        self._probing: asyncio.TimerHandle | None = None
        self._flushed: list[asyncio.Future[None]] = []

    @property
    def is_stuck(self) -> bool:
        """The space that is kept back for urgent records is used up too."""
        return self._state is _State.STUCK

    @property
    def waiting_bytes(self) -> int:
        """Bytes of records that are not handed to the log yet."""
        return self._normal.size_bytes + self._urgent.size_bytes

    def start(self) -> None:
        """Begin to work, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._state = _State.IDLE
        if self._normal.payloads or self._urgent.payloads:
            self.wake()

    async def stop(self) -> None:
        """Store what was submitted, as far as there is space for it, then end. Idempotent."""
        if self._refusal is None:
            self._refusal = SHUTTING_DOWN
        await self.flush()
        while self._state in {_State.STARTING, _State.BUSY}:  # somebody settled a message meanwhile
            await self.flush()
        self._state = _State.STOPPED
        for timer in (self._lazy, self._probing):
            if timer is not None:
                timer.cancel()

    def submit(self, payload: bytes, waiter: Waiter) -> None:
        """Queue a record that can be refused: at once while the disk is full or after a failure."""
        if self._refusal is not None:
            waiter.refused(self._refusal)
            return
        pending = self._normal
        pending.payloads.append(payload)
        pending.waiters.append(waiter)
        pending.size_bytes += len(payload) + OVERHEAD_BYTES
        if self._state is _State.IDLE:
            if self._is_quiet:
                self._hand_over()
            else:
                self._state = _State.STARTING
                self._loop.call_soon(self._hand_over)

    def submit_urgent(self, payload: bytes, waiter: Waiter | None = None) -> None:
        """Queue a record that must get there; it is refused only after a failure. Starts no batch:
        see `wake` and `wake_lazily`."""
        if self.dead:
            if waiter is not None:
                waiter.refused(LOG_FAILED)
            return
        pending = self._urgent
        pending.payloads.append(payload)
        pending.waiters.append(waiter)
        pending.size_bytes += len(payload) + OVERHEAD_BYTES

    def wake(self) -> None:
        """Start a batch now, or as soon as the one that is under way is done."""
        if self._state is _State.IDLE:
            self._state = _State.STARTING
            self._loop.call_soon(self._hand_over)
        else:
            self._wanted = True

    def wake_lazily(self) -> None:
        """Start a batch after `LAZY_SECONDS` at the latest, for records that nobody waits for.

        They go with any batch before that; but a batch of nothing else must not be under way when a
        caller comes, who would wait for two syncs then.
        """
        if self._lazy is None and self._state is not _State.STOPPED:
            self._lazy = self._loop.call_later(LAZY_SECONDS, self._lazily)

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

    def _hand_over(self) -> None:
        """Give the next batch to the log, or rest when there is nothing."""
        if self._state is _State.STOPPED:
            return
        self._wanted = False
        self._collect()
        most = self._log.max_batch_bytes
        urgent = self._urgent.take(most)
        normal = self._normal.take(most - urgent.size_bytes)
        if not (urgent.payloads or normal.payloads) and self.waiting_bytes:
            # A record that no batch can hold. Nothing may be that large; if something is, the log
            # says so, and that is better than waiting behind it for ever.
            urgent, normal = self._urgent.take(sys.maxsize), self._normal.take(sys.maxsize)
        if urgent.payloads or normal.payloads:
            self._append(urgent, normal)
        else:
            self._rest(_State.IDLE)

    def _append(self, urgent: _Pending, normal: _Pending) -> None:
        self._state = _State.BUSY
        # A caller who is alone does not wait for the turn of the loop in which others may come.
        self._is_quiet = len(normal.payloads) < 2
        if self._lazy is not None and not self._urgent.payloads:
            self._lazy.cancel()
            self._lazy = None
        stored = self._log.append(urgent.payloads + normal.payloads, urgent=not normal.payloads)
        stored.add_done_callback(partial(self._appended, urgent, normal))

    def _appended(
        self, urgent: _Pending, normal: _Pending, stored: asyncio.Future[list[int]]
    ) -> None:
        """A batch is durable, or not: hand over the next one first, then tell the waiters."""
        try:
            positions = stored.result()
        except LogUnavailable as error:
            if self.dead:
                self._die(error, urgent.waiters + normal.waiters)
            else:
                self._find_no_space(urgent, normal)
            return
        except Exception as error:
            # Not LogError only: after a mistake in an engine every caller would wait for ever.
            self._die(error, urgent.waiters + normal.waiters)
            return
        self.batches += 1
        self.records += len(positions)
        self.batch_records.observe(len(positions))
        if self._normal.payloads or self._urgent.payloads or self._wanted:
            self._go_on()
        elif self._state is _State.BUSY:
            self._rest(_State.IDLE)
        self._tell(urgent.waiters, positions)
        self._tell(normal.waiters, positions[len(urgent.waiters) :])
        self._settled()

    def _go_on(self) -> None:
        """Hand over what came while a batch was stored: at once when callers are few, and after one
        more look at the sockets when they are many. Then the processor is what there is too little
        of, and larger batches save it: 50 records instead of 33 with 64 callers."""
        if self._is_quiet:
            self._hand_over()
            return
        self._state = _State.STARTING
        # A callback runs before the loop looks at its sockets, a callback of a callback after it.
        self._loop.call_soon(self._loop.call_soon, self._hand_over)

    def _tell(self, waiters: list[Waiter | None], positions: list[int]) -> None:
        for waiter, position in zip(waiters, positions, strict=False):
            if waiter is not None:
                waiter.stored(position)

    def _rest(self, state: _State) -> None:
        self._state = state
        flushed, self._flushed = self._flushed, []
        for done in flushed:
            if not done.done():
                done.set_result(None)

    # A full disk, a failed one.

    def _find_no_space(self, urgent: _Pending, normal: _Pending) -> None:
        """Refuse what can be refused; try the rest again with the space that is kept back."""
        self._set_full(True)
        if self._probing is None:
            self._probing = self._loop.call_later(PROBE_SECONDS, self._probe)
        refused, self._normal = normal.waiters + self._normal.waiters, _Pending()
        if not normal.payloads:
            self._urgent.put_back(urgent)
            self._rest(_State.STUCK)
        elif urgent.payloads:
            self._append(urgent, _Pending())
        else:
            self._hand_over()
        _refuse(refused, DISK_FULL)

    def _probe(self) -> None:
        """Find out whether there is space again, by storing a record that says nothing.

        As large as most batches: a small one would fit into a gap that the refused batch did not
        fit into, and the next large one would be refused again, and so on once a second. While the
        disk is full nothing but the probe is in `_normal`; one that waits there still, because
        urgent records left no room for it in their batch, is the probe of this second too.
        """
        self._probing = None
        if not self._normal.payloads:
            payload = NOTHING.ljust(self._log.max_batch_bytes * 7 // 8 - OVERHEAD_BYTES, b"\0")
            self._normal.payloads.append(payload)
            self._normal.waiters.append(_Probe(self))
            self._normal.size_bytes += len(payload) + OVERHEAD_BYTES
        if self._state in {_State.IDLE, _State.STUCK}:
            self._hand_over()

    def found_space(self) -> None:
        """There is space again."""
        self._set_full(False)

    def _set_full(self, full: bool) -> None:
        if full != self.full:
            self.full = full
            if self._refusal is None or self._refusal is DISK_FULL:
                self._refusal = DISK_FULL if full else None
            self._space_changed(full)

    def give_up(self) -> None:
        """The log turned out to be damaged, or another one is: store nothing more, and refuse what
        waits. Idempotent."""
        self.dead = True
        self._refusal = LOG_FAILED
        waiters = self._urgent.waiters + self._normal.waiters
        self._urgent, self._normal = _Pending(), _Pending()
        self._rest(_State.STOPPED)
        _refuse(waiters, LOG_FAILED)

    def _die(self, error: Exception, waiters: list[Waiter | None]) -> None:
        """Whether this batch is stored is unknown, and nothing will be stored any more."""
        was_dead = self.dead
        self.give_up()
        if not was_dead:
            self._failed(error)
        _refuse(waiters, LOG_FAILED)


class _Probe:
    """The waiter of a record that says nothing."""

    __slots__ = ("_committer",)

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    def stored(self, position: int) -> None:
        self._committer.found_space()

    def refused(self, refusal: Refusal) -> None:
        """Still full: another probe is on its way."""


def _refuse(waiters: list[Waiter | None], refusal: Refusal) -> None:
    for waiter in waiters:
        if waiter is not None:
            waiter.refused(refusal)

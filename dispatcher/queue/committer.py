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
from collections.abc import Callable, Sequence
from typing import Protocol

from dispatcher.errors import LogError, LogUnavailable, Refusal
from dispatcher.queue.records import NOTHING, OVERHEAD_BYTES
from dispatcher.txlog import TransactionLog

DISK_FULL = Refusal(
    503,
    "disk_full",
    "The disk of the transaction log is full. Nothing was stored; send the request again later.",
    retry_after_s=5,
)
LOG_FAILED = Refusal(
    503,
    "log_failed",
    "The transaction log could not be written. Send the request again; it may have been stored.",
    retry_after_s=5,
)
LAZY_SECONDS = 0.025
"""How long a record that nobody waits for waits for others to share its sync."""
PROBE_SECONDS = 1.0
"""How often a full disk is tried again."""


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


class Committer:
    """Appends records to one log, a batch at a time, in the order of `submit`.

    Urgent records keep their order among themselves, and so do the others; within a batch the
    urgent ones come first. `collect` is called before each batch and may submit urgent records
    (those that were waiting for company); `settled` after the waiters of a batch were told;
    `failed` once, when the log can't be used any more; `space_changed` with True when the disk
    became full, with False when there is space again.
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
        self._log = log
        self._collect = collect
        self._settled = settled
        self._failed = failed
        self._space_changed = space_changed
        self._normal = _Pending()
        self._urgent = _Pending()
        self._task: asyncio.Task[None] | None = None
        self._wakeup: asyncio.Future[None] | None = None
        self._lazy: asyncio.TimerHandle | None = None
        self._flushed: list[asyncio.Future[None]] = []
        self._stopping = False

    @property
    def waiting_bytes(self) -> int:
        """Bytes of records that are not handed to the log yet."""
        return self._normal.size_bytes + self._urgent.size_bytes

    def start(self) -> None:
        """Begin to work, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="committer")

    async def stop(self) -> None:
        """Store what was submitted, as far as there is space for it, then end. Idempotent."""
        self._stopping = True
        self.wake()
        if self._task is not None:
            await self._task
            self._task = None

    def submit(self, payload: bytes, waiter: Waiter) -> None:
        """Queue a record that can be refused: at once while the disk is full or after a failure."""
        if self.full or self.dead:
            waiter.refused(LOG_FAILED if self.dead else DISK_FULL)
            return
        pending = self._normal
        pending.payloads.append(payload)
        pending.waiters.append(waiter)
        pending.size_bytes += len(payload) + OVERHEAD_BYTES
        if self._wakeup is not None:
            self.wake()

    def submit_urgent(self, payload: bytes, waiter: Waiter | None = None) -> None:
        """Queue a record that must get there. Starts no batch: see `wake` and `wake_lazily`."""
        pending = self._urgent
        pending.payloads.append(payload)
        pending.waiters.append(waiter)
        pending.size_bytes += len(payload) + OVERHEAD_BYTES

    def wake(self) -> None:
        """Start a batch now, if none is under way."""
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def wake_lazily(self) -> None:
        """Start a batch after `LAZY_SECONDS` at the latest, for records that nobody waits for."""
        if self._wakeup is not None and self._lazy is None:
            self._lazy = asyncio.get_running_loop().call_later(LAZY_SECONDS, self._lazily)

    def _lazily(self) -> None:
        self._lazy = None
        self.wake()

    async def flush(self) -> None:
        """Return when what was submitted is stored or refused, or has to wait for space."""
        if self._task is None or self._task.done():
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushed.append(done)
        self.wake()
        await done

    async def _run(self) -> None:
        stuck = False
        while not self.dead:
            self._collect()
            if stuck or not (self._urgent.payloads or self._normal.payloads):
                self._tell_flushed()
                if self._stopping:
                    return
                await self._sleep(PROBE_SECONDS if self.full else None, deaf=stuck)
                stuck = False
                if self.full:
                    await self._probe()
                continue
            urgent = self._urgent.take(self._log.max_batch_bytes)
            normal = self._normal.take(self._log.max_batch_bytes - urgent.size_bytes)
            stuck = not await self._commit(urgent, normal)
        self._tell_flushed()

    async def _sleep(self, seconds: float | None, *, deaf: bool) -> None:
        """Wait for `wake`; when `deaf` (urgent records found no space) only for the time to
        pass."""
        if deaf:
            await asyncio.sleep(PROBE_SECONDS)
            return
        self._wakeup = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._wakeup
        except TimeoutError:
            pass
        finally:
            self._wakeup = None

    async def _probe(self) -> None:
        """Find out whether there is space again, by storing a record that says nothing."""
        if await self._append([NOTHING], urgent=False) is not None:
            self._set_full(False)

    async def _commit(self, urgent: _Pending, normal: _Pending) -> bool:
        """Append one batch; False when urgent records could not be stored for want of space."""
        positions = await self._append(
            urgent.payloads + normal.payloads, urgent=not normal.payloads
        )
        if positions is not None:
            # Soon, not now: this task hands over the next batch first.
            waiters = urgent.waiters + normal.waiters
            asyncio.get_running_loop().call_soon(self._tell, waiters, positions)
            return True
        if self.dead:
            _refuse(urgent.waiters + normal.waiters + self._urgent.waiters, LOG_FAILED)
            _refuse(self._normal.waiters, LOG_FAILED)
            return True
        if not normal.payloads:
            self._urgent.put_back(urgent)
            return False
        self._set_full(True)
        _refuse(normal.waiters + self._normal.waiters, DISK_FULL)
        self._normal = _Pending()
        return await self._commit(urgent, _Pending()) if urgent.payloads else True

    async def _append(self, batch: list[bytes], *, urgent: bool) -> Sequence[int] | None:
        """The positions of a stored batch; None when there was no space, or the log failed."""
        try:
            positions = await self._log.append(batch, urgent=urgent)
        except LogUnavailable:
            return None
        except LogError as error:
            self.dead = True
            self._failed(error)
            return None
        self.batches += 1
        self.records += len(batch)
        return positions

    def _tell(self, waiters: list[Waiter | None], positions: Sequence[int]) -> None:
        for waiter, position in zip(waiters, positions, strict=True):
            if waiter is not None:
                waiter.stored(position)
        self._settled()

    def _set_full(self, full: bool) -> None:
        if full != self.full:
            self.full = full
            self._space_changed(full)

    def _tell_flushed(self) -> None:
        flushed, self._flushed = self._flushed, []
        for done in flushed:
            if not done.done():
                done.set_result(None)


def _refuse(waiters: list[Waiter | None], refusal: Refusal) -> None:
    for waiter in waiters:
        if waiter is not None:
            waiter.refused(refusal)

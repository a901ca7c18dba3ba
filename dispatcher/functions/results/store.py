"""The results of root calls that have ended: stored, found, read, forgotten.

    has_ended ─▶ store ─▶ durable ─▶ Forgotten in the transaction log

A call is ENDED in the transaction log until its result is durable here, so a crash in between only
stores it again, and the newer record counts. Who looks for a call looks for it in the table of
calls first: one that is there has no result yet, whatever this log has of an earlier run.

The log is opened when the process starts if its directory is there, and made when the first result
comes otherwise. Whatever goes wrong with that, results wait, and the server goes on; only a log
that fails once it is open ends the process, as the others do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from dispatcher.core.clock import SteadyClock
from dispatcher.errors import LogError, LogUnavailable
from dispatcher.functions.results.forgetting import Forgetting
from dispatcher.functions.results.holdings import Holdings
from dispatcher.functions.results.reading import Reading, Standing
from dispatcher.functions.results.records import StoredResult
from dispatcher.functions.results.retention import ResultPolicy
from dispatcher.functions.results.space import Space
from dispatcher.functions.results.storing import Storing, Then
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.stalls import Pace, StallWatch
from dispatcher.telemetry.supervisor import Died, Supervisor
from dispatcher.txlog import TransactionLog, each

LOOK_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 1.0
_MOST_PAUSE_SECONDS: Final = 60.0


class Results:
    """The results' log of one partition.

    Life: `await open()`, `start()`, then `await stop()`, before the partition is stopped.
    """

    def __init__(
        self,
        make_log: Callable[[], TransactionLog],
        policy: ResultPolicy,
        *,
        exists: bool,
        clock: SteadyClock,
        supervisor: Supervisor,
        failed: Callable[[Exception], None],
        space_changed: Callable[[bool], None],
        pace_changed: Callable[[Pace, Pace, float], None],
        died: Died,
    ) -> None:
        """`make_log` names the log anew each time that it could not be opened, and `exists` says
        that there is one on the disk. `failed` is told once that the log can't be read or written
        any more: the process must end. `pace_changed` is as `StallWatch` has it. `died` gets errors
        that hurt nothing else."""
        self.holdings = Holdings(policy)
        self._make_log = make_log
        self._exists = exists
        self._clock = clock
        self._supervisor = supervisor
        self._failed = failed
        self._space_changed = space_changed
        self._pace_changed = pace_changed
        self._died = died
        self._owner = ""
        self._epoch = 0
        self._log: TransactionLog | None = None
        self._committer: Committer | None = None
        self._stalls: StallWatch | None = None
        self._space: Space | None = None
        self._storing = Storing(self.holdings, supervisor)
        self._forgetting = Forgetting(self.holdings)
        self._reading = Reading(self.holdings, policy, clock, self._fail)
        self._opening: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._is_started = False
        self._is_stopping = False
        self._is_over = False  # closed, or failed

    def __repr__(self) -> str:
        return f"<Results {len(self)}, {self._storing.waiting_bytes} bytes wait>"

    def __len__(self) -> int:
        """How many there are, those included that have expired since the last look."""
        return len(self.holdings.index)

    @property
    def log(self) -> TransactionLog | None:
        """The log, once it is open; for a backup."""
        return self._log

    @property
    def committer(self) -> Committer | None:
        """What stores results, once the log is open; for whoever watches over it."""
        return self._committer

    @property
    def batches(self) -> int:
        """Batches that were stored: while this grows, the disk moves."""
        return 0 if self._committer is None else self._committer.batches

    @property
    def full(self) -> bool:
        """There is no space for results; those that come wait."""
        return self._committer is not None and self._committer.full

    def waiting_s(self) -> float:
        """How many seconds the batch under way has been with the log; 0 when none is."""
        return 0.0 if self._committer is None else self._committer.waiting_s()

    @property
    def pace(self) -> Pace:
        """How fast the disk takes batches."""
        return Pace.FINE if self._stalls is None else self._stalls.pace

    @property
    def stalls_total(self) -> int:
        """How often the disk did not answer for five seconds."""
        return 0 if self._stalls is None else self._stalls.stalls

    @property
    def log_bytes(self) -> int:
        """What the log takes on disk."""
        return 0 if self._log is None else self._log.size_bytes

    @property
    def size_bytes(self) -> int:
        """What results take in the log."""
        return self.holdings.live_bytes

    @property
    def waiting_bytes(self) -> int:
        """Bytes of results that are not durable yet."""
        return self._storing.waiting_bytes

    @property
    def is_behind(self) -> bool:
        """So much waits that `store` refuses more."""
        return self._storing.is_behind

    @property
    def expired_total(self) -> int:
        """Results that have expired in this process."""
        return 0 if self._space is None else self._space.expired_total

    # Its life.

    async def open(self, owner: str, epoch: int) -> Collection[int]:
        """Read the log, if there is one. Returns the keys of results that are lost, because a part
        of them was in a damaged part of the log.

        Raises:
            LogLocked, LogCorrupt, …: as the log says; nothing was changed.
        """
        self._owner, self._epoch = owner, epoch
        if self._exists:
            await self._open()
        return self.holdings.lost

    async def _open(self) -> None:
        log = self._make_log()
        try:
            await log.open(self._owner, self._epoch, each(self.holdings.visit))
        except BaseException:
            await log.close()
            raise
        self.holdings.opened()
        self._log = self._reading.log = log
        self._space = Space(
            log,
            self.holdings,
            self._committer_in_use,
            clock=self._clock,
            supervisor=self._supervisor,
            failed=self._fail,
        )
        self._committer = Committer(
            log,
            collect=lambda: self._forgetting.collect(self._committer_in_use()),
            settled=self._look,
            failed=self._fail,
            space_changed=self._on_space_changed,
            died=self._died,
        )

    def _committer_in_use(self) -> Committer:
        assert self._committer is not None
        return self._committer

    def start(self) -> None:
        """Begin to store."""
        self._is_started = True
        if self._committer is not None:
            self._begin()
        elif self._storing.waiting_bytes:
            self._make()

    def _begin(self) -> None:
        committer = self._committer_in_use()
        committer.start()
        self._stalls = StallWatch(committer, self._pace_changed)
        self._stalls.start()
        self._storing.begin(committer)
        self._looking = self._supervisor.forever(
            "expired results", self._look_at_age, every_s=LOOK_SECONDS
        )

    def _make(self) -> None:
        """Make the log: the first result has come."""
        if self._opening is None:
            self._opening = self._supervisor.spawn("results' log", self._open_at_last())

    async def _open_at_last(self) -> None:
        pause_s = _AGAIN_SECONDS
        while True:
            try:
                await self._open()
            except LogError as error:
                if error.ends_process:
                    self._fail(error)
                    return
                if not isinstance(error, LogUnavailable):
                    self._died("results' log", error)
            except Exception as error:
                self._died("results' log", error)
            else:
                self._begin()
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MOST_PAUSE_SECONDS)

    async def stop(self) -> None:
        """Store what there is space for, and close the log. What waits still is told nothing: it
        is stored after the next start. Idempotent."""
        self._is_stopping = True
        self._watch_no_more()
        for task in (self._opening, self._looking):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        await self._storing.stop()
        if self._committer is not None and self._is_started:
            await self._committer.stop()
        if self._space is not None:
            await self._space.stop()
        self._is_over = True
        log, self._log, self._reading.log = self._log, None, None
        if log is not None:
            await log.close()

    def abandon(self) -> None:
        """The process ends although the log does not answer. Idempotent."""
        self._is_stopping = self._is_over = True
        self._watch_no_more()
        if self._committer is not None:
            self._committer.abandon()

    def _watch_no_more(self) -> None:
        if self._stalls is not None:
            self._stalls.stop()

    # Results.

    def store(self, result: StoredResult, then: Then) -> None:
        """Store the result of a call that has ended, in place of one that is there.

        `then` is told None when it is durable and can be read. A refusal means that it is not
        stored: for now (RESULTS_BEHIND: too much waits; try again), or because the process ends.
        While the disk is full it waits, in order, and nobody is told anything.
        """
        self._storing.store(result, then)
        if self._is_started and self._committer is None and not self._is_stopping:
            self._make()

    def forget(self, key: int, then: Then = lambda refusal: None) -> None:
        """Forget a result, because its call runs again; `then` as for `store`. One that is still on
        its way is not forgotten."""
        self._forgetting.forget(key, then, self._committer)

    def find(self, key: int) -> Standing:
        """See `Reading.find`; to be asked after the table of calls."""
        return self._reading.find(key)

    async def read(self, key: int) -> StoredResult | None:
        """See `Reading.read`."""
        return await self._reading.read(key)

    async def page(self, before: int | None, most: int) -> list[tuple[int, StoredResult]]:
        """See `Reading.page`."""
        return await self._reading.page(before, most)

    # Its space.

    async def _look_at_age(self) -> None:
        assert self._space is not None
        self._space.look(at_age=True)

    def _look(self) -> None:
        assert self._space is not None
        self._space.look(at_age=False)

    def _on_space_changed(self, full: bool) -> None:
        self._storing.space_changed(full=full)
        self._space_changed(full)

    def _fail(self, error: Exception) -> None:
        """Nothing more is stored. Of a log that was closed, nothing is told."""
        if self._is_over:
            return
        self._is_over = True
        if self._committer is not None and not self._committer.dead:
            self._committer.give_up()
        self._failed(error)

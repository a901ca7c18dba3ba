"""Giving the beginning of the results' log back: nothing is ever copied, it only expires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.core.clock import SteadyClock
from dispatcher.errors import LogError
from dispatcher.functions.results.holdings import Holdings
from dispatcher.functions.results.records import encode_known
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.waiters import Noted
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import TransactionLog


class Space:
    """Lets results expire and trims the log. `expired_total` counts results."""

    def __init__(
        self,
        log: TransactionLog,
        holdings: Holdings,
        committer: Callable[[], Committer],
        *,
        clock: SteadyClock,
        supervisor: Supervisor,
        failed: Callable[[Exception], None],
    ) -> None:
        """`failed` is told when the log could not be trimmed: the process must end."""
        self.expired_total = 0
        self._log = log
        self._holdings = holdings
        self._committer = committer
        self._clock = clock
        self._supervisor = supervisor
        self._failed = failed
        self._working: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def stop(self) -> None:
        """End what is under way. Idempotent."""
        self._is_stopping = True
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])

    def look(self, *, at_age: bool) -> None:
        """See what may go. Called after each batch: it is cheap when nothing may; and now and then
        with `at_age`."""
        if self._working is not None or self._is_stopping:
            return
        holdings = self._holdings
        now_us = self._clock.wall_us()
        upto = holdings.droppable(is_full=self._committer().full)
        if upto is not None or holdings.is_surplus() or (at_age and holdings.is_past(now_us)):
            self._working = self._supervisor.spawn("results", self._run(upto, now_us))
            self._working.add_done_callback(self._done)

    async def _run(self, upto: int | None, now_us: int) -> None:
        for count in self._holdings.expire(now_us):
            self.expired_total += count
            await asyncio.sleep(0)
        is_full = self._committer().full
        upto = self._holdings.droppable(is_full=is_full) or upto
        if upto is None:
            return
        if not is_full:
            self._note_known(self._committer())
        await self._trim(upto)

    def _note_known(self, committer: Committer) -> None:
        """Write down what was there, for it is nowhere else then."""
        payload = encode_known(self._holdings.known)
        size = len(payload) + OVERHEAD_BYTES
        committer.submit_urgent(payload, Noted(self._holdings.extents, size))
        committer.wake_lazily()

    async def _trim(self, upto: int) -> None:
        try:
            await self._log.trim(upto)
        except LogError as error:
            self._failed(error)
        else:
            self._committer().try_again()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._working = None

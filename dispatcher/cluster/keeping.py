"""What the node is told of its partitions: to open one, to hand it over, to let go of it.

One thing at a time for each partition. What became pointless meanwhile is cancelled, and what ends
after its partition became something else is not believed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from dispatcher.cluster.holder import Holder
from dispatcher.cluster.lease import Lease
from dispatcher.cluster.observer import Observer
from dispatcher.cluster.ownership import Do, State
from dispatcher.errors import (
    DispatcherError,
    LogError,
    LogFenced,
    LogLocked,
    LogUnavailable,
    LogUnknown,
)
from dispatcher.telemetry.supervisor import Supervisor

AGAIN_S: Final = (0.2, 0.4, 0.8, 1.0)
"""Before a log that could not be opened for the moment is opened again: soon at first, as its
servers are most often electing one of them. After the last one it is told."""
FAILED_AGAIN_S: Final = 30.0
"""Before one is that failed: somebody may have seen to it. Each try leaves a fence in the log."""

_MEANT: Final = (State.OPENING, State.FAILED)


class Keeping:
    """Does what `Lease` says is to be done. `changed` is told when that has changed a lease."""

    def __init__(
        self,
        holder: Holder,
        leases: Mapping[int, Lease],
        observer: Observer,
        supervisor: Supervisor,
        changed: Callable[[], object],
    ) -> None:
        self._holder = holder
        self._leases = leases
        self._observer = observer
        self._supervisor = supervisor
        self._changed = changed
        self._work: dict[int, asyncio.Task[None]] = {}

    def do(self, partition: int, what: Do) -> None:
        """Begin with it now."""
        match what:
            case Do.NOTHING:
                return
            case Do.OPEN:
                epoch = self._leases[partition].epoch
                self._instead(partition, partial(self._open, partition, epoch))
            case Do.HAND_OVER:
                self._instead(partition, partial(self._hand_over, partition))
            case Do.ABANDON:
                self._cancel(partition)
                self._holder.abandon(partition)

    def lost(self, partition: int, error: LogError) -> None:
        """Its log says so."""
        self._observer.partition_in_doubt(partition, error)
        lease = self._leases[partition]
        do = lease.lost(str(error), is_fenced=isinstance(error, LogFenced))
        if lease.state is State.FAILED:
            self._observer.partition_failed(partition, error)
        self.do(partition, do)
        self._changed()

    def _cancel(self, partition: int) -> asyncio.Task[None] | None:
        work = self._work.get(partition)
        if work is None or work.done() or work is asyncio.current_task():
            return None
        work.cancel()
        return work

    def _instead(self, partition: int, work: Callable[[], Awaitable[None]]) -> None:
        """Do this as soon as what was being done has ended."""
        before = self._cancel(partition)

        async def after() -> None:
            if before is not None:
                await asyncio.wait([before])
            await work()

        name = f"partition {partition} of the cluster"
        self._work[partition] = self._supervisor.spawn(name, after())

    async def _open(self, partition: int, epoch: int) -> None:
        lease = self._leases[partition]
        tries = 0
        while lease.state in _MEANT and lease.epoch == epoch:
            tries += 1
            ends = lease.record.ends if lease.record is not None else {}
            try:
                await self._holder.open(partition, epoch, ends)
            except (LogFenced, LogUnknown) as error:
                self._lost_while_opening(partition, epoch, error)
            except (LogUnavailable, LogLocked) as error:  # LogBusy too
                if tries == len(AGAIN_S):
                    self._observer.partition_waits(partition, error)
            except DispatcherError as error:
                self._failed(partition, epoch, error)
            except Exception as error:
                self._failed(partition, epoch, error)
                raise
            else:
                self._opened(partition, epoch)
                return
            if not self._is_meant(partition, epoch):
                return
            if lease.state is not State.FAILED:
                await asyncio.sleep(AGAIN_S[min(tries, len(AGAIN_S)) - 1])
                continue
            await asyncio.sleep(FAILED_AGAIN_S)
            if self._is_meant(partition, epoch):
                epoch = lease.tries_again()

    def _is_meant(self, partition: int, epoch: int) -> bool:
        lease = self._leases[partition]
        return lease.state in _MEANT and lease.epoch == epoch

    def _opened(self, partition: int, epoch: int) -> None:
        if not self._is_meant(partition, epoch):
            self._holder.abandon(partition)
            return
        lease = self._leases[partition]
        self.do(partition, lease.opened())
        self._holder.may_act_until(partition, lease.acts_until_s)
        self._observer.partition_opened(partition, lease.epoch)
        self._changed()

    def _lost_while_opening(self, partition: int, epoch: int, error: LogError) -> None:
        is_failed = self._leases[partition].state is State.FAILED
        if self._is_meant(partition, epoch) and not is_failed:
            self.lost(partition, error)

    def _failed(self, partition: int, epoch: int, error: Exception) -> None:
        """Told once for each thing that is wrong."""
        lease, why = self._leases[partition], str(error) or repr(error)
        if self._is_meant(partition, epoch) and (lease.state, lease.why) != (State.FAILED, why):
            self.do(partition, lease.failed(why))
            self._observer.partition_failed(partition, error)
            self._changed()

    async def _hand_over(self, partition: int) -> None:
        try:
            await self._holder.hand_over(partition)
        except Exception as error:
            # Whoever has it next reads what is stored, and keeps out what is under way.
            self._holder.abandon(partition)
            self._given(partition)
            if not isinstance(error, DispatcherError):
                raise
            self._observer.partition_in_doubt(partition, error)
        else:
            self._given(partition)

    def _given(self, partition: int) -> None:
        lease = self._leases[partition]
        if lease.state is State.GIVING:
            self.do(partition, lease.given())
            self._changed()

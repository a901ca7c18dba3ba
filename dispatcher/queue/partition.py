"""The queue of one partition: messages over a transaction log.

    accept ─▶ committer ─▶ admit ─▶ lane ─▶ pump ─▶ deliver ─▶ delivered | failed ─▶ settle
                 │ durable                   ▲                       │
                 └─▶ receipt                 └── timers ◀── retry ───┘

A message exists once its record is durable (`flow.intake`) and ends with the record of its outcome
(`flow.settling`). Nobody waits for the latter: it is written with the next batch. Everything runs
on the event loop's thread, in plain calls; only reading back, dead letters and compaction await.

What always holds: a message that was admitted and is not settled has exactly one slot, and the slot
is in its lane (READY), in a timer bucket (SCHEDULED), in the line of a key (BEHIND), with delivery
(IN_FLIGHT), or on its way to or from the dead-letter log (BURYING, REVIVING).

The parts are made and put together in `wiring`; here they are opened, started and stopped in order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dispatcher.core.clock import Clock, QueueUs, Random
from dispatcher.errors import LogError
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.pending.guest import Guest
from dispatcher.queue.ports import Deliverer, LogName, Observer
from dispatcher.queue.records.ids import is_call, wire_id
from dispatcher.queue.records.letters import PLACE_END, LetterFacts
from dispatcher.queue.recovery.reconcile import reconcile
from dispatcher.queue.recovery.replay import Recovery
from dispatcher.queue.registry.idempotency.keys import LOOK_SECONDS
from dispatcher.queue.wiring import LATE_STREAM as LATE_STREAM
from dispatcher.queue.wiring import PartitionConfig as PartitionConfig
from dispatcher.queue.wiring import Wiring
from dispatcher.txlog import TransactionLog, each


class Partition(Wiring):
    """One partition's parts. `intake` is `ports.Acceptor` for ingress, `settling` the `Home` of its
    messages for delivery, `admin` what operators see and do.

    Life: `await open()` (recovery), `start()`, then `await drain()` and `await stop()`.
    """

    def __init__(
        self,
        log: TransactionLog,
        dead_log: TransactionLog,
        config: PartitionConfig,
        observer: Observer,
        *,
        clock: Clock,
        random: Random,
        incarnation: int,
        traffic: Traffic | None = None,
        pace: Pace | None = None,
        lost: Callable[[Exception], None] | None = None,
    ) -> None:
        """`traffic` and `pace` are what the partitions of a process share; without them this one is
        alone.

        `lost` is called once when a log can't be written any more and nothing but this partition is
        concerned (another node has it now, or nobody can reach it): it does nothing more by itself,
        and waits for `stop`. Without `lost`, and where a log can't be trusted any more, the
        observer is told that the process must end.
        """
        self._lost = lost
        self._is_stopped = False
        self.opened_at = 0
        """Where its log ended when it was opened: what is behind that was accepted since."""
        super().__init__(
            log,
            dead_log,
            config,
            observer,
            clock=clock,
            random=random,
            incarnation=incarnation,
            traffic=traffic,
            pace=pace,
            owner=self,
        )

    def __repr__(self) -> str:
        figures = self.figures
        return (
            f"<Partition {self.config.partition}: {self.pending.index.count} pending, "
            f"{figures.in_flight} in flight, {figures.burying} dying, {len(self.lanes)} lanes, "
            f"{self.committer!r}>"
        )

    def host(self, guest: Guest) -> None:
        """Let somebody keep records of its own in the transaction log: before `open`. What it needs
        of this partition is `room`."""
        self.pending.guest = guest

    async def open(self, owner: str, epoch: int) -> Recovery:
        """Open both logs and rebuild what is pending. Delivery begins with `start`.

        Raises:
            LogLocked, LogCorrupt: as the logs say; nothing was changed.
        """
        number = self.config.partition
        await self.dead_log.open(owner, epoch, each(self.dead_letters.visit))
        for letter in await self.dead_letters.opened():
            destination = letter.destination.partition(PLACE_END)[0]
            self.observer.body_lost(LogName.DEAD_LETTER, letter.message_id, destination)
        bounds = await self.log.open(owner, epoch, self.recovery.take)
        self.opened_at = bounds.end
        self.pending.guest.opened(bounds)
        await reconcile(
            self.log,
            self.pending,
            self.dead_letters,
            self.keys,
            partition=number,
            end=self.callbacks.end_dead,
        )
        self.settlements.opened()
        now = self.clock.now_us()
        latest = QueueUs(now + self.config.policy.max_delay_ms * 1000)
        await self.recovery.finish(now, latest)
        self.callbacks.opened()
        await self.keys.look()
        for message in self.recovery.lost.values():
            self.keys.forget(message.position, message.incarnation)
            message_id = wire_id(number, message.incarnation, message.position)
            if message_id not in self.dead_letters:
                self.observer.body_lost(LogName.TRANSACTION, message_id, message.destination.key)
        return self.recovery

    def start(self, deliverer: Deliverer) -> None:
        """Begin to store and deliver."""
        if self._lost is not None:
            self.log.on_lost = partial(self._log_lost, LogName.TRANSACTION, self.committer)
            letters = self.dead_letters.committer
            self.dead_log.on_lost = partial(self._log_lost, LogName.DEAD_LETTER, letters)
        self.committer.start()
        self.dead_letters.start()
        self.stalls.start()
        self.dead_stalls.start()
        self.retention.start(self.supervisor)
        self.oldest.start(self.supervisor)
        self.expiring.start(self.supervisor)
        self.supervisor.forever("idempotency keys", self.keys.look, every_s=LOOK_SECONDS)
        if self.settlements.waiting:
            self.committer.wake_lazily()
        self.changing.restore_holds()
        self.forgetting.start()
        self.traffic.backlog.join(self.intake)
        self.starting.begin(deliverer, self.settling)

    def may_act_until(self, until_s: float) -> None:
        """This process may start attempts of it, and send bytes for them, until then by its own
        monotonic clock, in seconds, and not beyond: to be said again before. Where it was not for a
        while, what waited has its turns from now on."""
        was_held = self.tenure.holds()
        self.tenure.bound(until_s)
        if not was_held and self.tenure.holds():
            self.traffic.resume()

    def close_intake(self) -> None:
        """Accept nothing more and start no more attempts; what is in flight goes on."""
        self.intake.close()
        self.starting.close()
        self.expiring.close()

    async def drain(self, timeout_s: float) -> bool:
        """Accept nothing more, wait until nothing is in flight; False when time ran out first."""
        self.close_intake()
        return await self.settling.drain(timeout_s)

    async def stop(self) -> None:
        """Write down what was settled and close both logs. Idempotent."""
        self.close_intake()
        self.stop_timers()
        await self.supervisor.stop()
        await self.admin.stop()
        await self.reclaimer.stop()
        await self.dead_letters.stop()
        await self.committer.stop()
        self.answers.none_will_be_told()
        self.lanes.leave()
        self._is_stopped = True
        self.log.on_lost = self.dead_log.on_lost = None
        await self.log.close()
        await self.dead_log.close()
        self.log.on_lost = self.dead_log.on_lost = None

    def stop_timers(self) -> None:
        """Do nothing more by itself. Idempotent."""
        self.starting.leave()
        self.traffic.backlog.leave(self.intake)
        self.stalls.stop()
        self.dead_stalls.stop()
        self.forgetting.stop()

    @property
    def batches(self) -> int:
        """Batches that both logs have stored: while this grows, their disks move."""
        return self.committer.batches + self.dead_letters.committer.batches

    def abandon(self, error: Exception | None = None) -> None:
        """The process ends although a log does not answer, or the partition does with this error:
        tell everybody who waits for it that nobody knows. `stop` would wait for it; the logs are
        left as after a crash. Idempotent."""
        self.tenure.end()
        self.close_intake()
        self.stop_timers()
        self.committer.abandon(error)
        self.dead_letters.committer.abandon(error)
        self.answers.none_will_be_told()

    def fail(self, log: LogName, error: Exception) -> None:
        """A log can't be read or written any more: nothing more is stored, and the partition ends,
        or the process with it. Of a log that was closed, nothing."""
        if not (self.committer.dead or self._is_stopped):
            self.committer.give_up(error)
            self.ended(log, error)

    def _log_lost(self, log: LogName, committer: Committer, error: LogError) -> None:
        """A log says that it stores nothing more (`TransactionLog.on_lost`), also where nobody asks
        it to. A batch that is with it hears the same, and more of itself: that is waited for, but
        nothing is sent meanwhile."""
        self.tenure.end()
        if not committer.is_appending:
            self.fail(log, error)

    def ended(self, log: LogName, error: Exception) -> None:
        """See `Owner`."""
        ends_process = not isinstance(error, LogError) or error.ends_process
        if ends_process or self._lost is None:
            self.observer.log_failed(log, error)
            return
        self.tenure.end()
        self.close_intake()
        self.stop_timers()
        self.answers.none_will_be_told()
        self.observer.partition_lost(self.config.partition, error)
        self._lost(error)

    def batch_stored(self) -> None:
        """See `Owner`."""
        self.figures.batch_stored(self.clock.wall_us())
        self.reclaimer.look()
        if self.endings.are_waiting:
            self.endings.look()
        self.starting.pump()

    def space_changed(self, full: bool) -> None:
        """See `Owner`."""
        self.observer.space_changed(LogName.TRANSACTION, full)
        if not full:
            self.endings.look()
            self.supervisor.spawn("unwritten retries", self.retries.write_unwritten())

    def dead_space_changed(self, full: bool) -> None:
        """See `Owner`."""
        self.observer.space_changed(LogName.DEAD_LETTER, full)
        self.settling.look_again()

    def letter_too_large(self, letter: LetterFacts, size_bytes: int) -> None:
        """See `Owner`."""
        self.figures.letters_too_large_total += 1
        if not is_call(letter.message_id):
            slot = self.pending.find(letter.id_position, letter.incarnation)
            if slot >= 0:
                self.lines.strand(slot)
            self.figures.strand()
            self.settling.look_again()
        destination = letter.destination.partition(PLACE_END)[0]
        self.observer.letter_too_large(letter.message_id, destination, size_bytes)

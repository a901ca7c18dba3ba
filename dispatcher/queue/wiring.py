"""The parts of one partition, made and put together.

The order is that of the folders: what a part is given was made before it, and where two need each
other the later one is looked up when it is called.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from dispatcher.core.clock import Clock, Random, SteadyClock
from dispatcher.core.policy import Policy
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.rules.table import RulesInForce
from dispatcher.core.tenure import Tenure
from dispatcher.errors import Refusal
from dispatcher.queue.admin.administration import Administration
from dispatcher.queue.admin.carrying import Carrying
from dispatcher.queue.admin.changing import Changing
from dispatcher.queue.admin.giving_up import GivingUp
from dispatcher.queue.admin.oldest import Oldest
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.reading_back import ReadingBack
from dispatcher.queue.admin.redirecting import Redirecting
from dispatcher.queue.admin.replaying import Replaying
from dispatcher.queue.admin.watching import Watch
from dispatcher.queue.bodies.host import Host
from dispatcher.queue.bodies.readback import Bodies, OutgoingBodies
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.endings import Endings
from dispatcher.queue.commit.retries import Retries
from dispatcher.queue.commit.settlements import Settlements
from dispatcher.queue.commit.stalls import STALLED_SECONDS, StallWatch, tell_pace
from dispatcher.queue.commit.stalls import Pace as LogPace
from dispatcher.queue.compaction.large import LargeBodies
from dispatcher.queue.compaction.messages import Messages
from dispatcher.queue.compaction.reclaimer import Reclaimer
from dispatcher.queue.compaction.source import RECLAIM, ReclaimPolicy
from dispatcher.queue.compaction.transactions import Transactions
from dispatcher.queue.deadletters.redrive import Redriver
from dispatcher.queue.deadletters.retention import KEEP_ALL, Retention, RetentionPolicy
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.flow.admission import Admission
from dispatcher.queue.flow.answers import Answers
from dispatcher.queue.flow.callbacks import Callbacks
from dispatcher.queue.flow.duplicates import Duplicates
from dispatcher.queue.flow.expiring import Expiring
from dispatcher.queue.flow.figures import Figures
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.flow.known import Known
from dispatcher.queue.flow.plain import Plain
from dispatcher.queue.flow.recent import Recent
from dispatcher.queue.flow.settling import Settling
from dispatcher.queue.flow.starting import Starting
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.lanes.aside import Aside
from dispatcher.queue.lanes.forgetting import Forgetting
from dispatcher.queue.lanes.lanes import Lanes
from dispatcher.queue.lanes.lines import Lines
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.lanes.loading import Loading
from dispatcher.queue.lanes.taking_out import TakingOut
from dispatcher.queue.lanes.warm import WARM_BYTES, Warm
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.ports import LogName, Observer
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.letters import LetterFacts
from dispatcher.queue.recovery.replay import Recovery
from dispatcher.queue.refusals import DISK_STALLED, LOG_LATE
from dispatcher.queue.registry.idempotency.keys import Keys
from dispatcher.queue.registry.pauses import Pauses
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import TransactionLog


@dataclass(frozen=True, slots=True)
class Late:
    """After how many seconds a log that gives no verdict on a batch is late, and why nobody's
    messages are accepted then; whether those `wait` that came before and are not with the log."""

    after_s: float
    refusal: Refusal
    wait: bool


LATE_DISK: Final = Late(STALLED_SECONDS, DISK_STALLED, wait=True)
LATE_STREAM: Final = Late(2.0, LOG_LATE, wait=False)
"""A healthy cluster answers within milliseconds, and another of its nodes may be asked."""


@dataclass(frozen=True, slots=True)
class PartitionConfig:
    """`max_backlog_bytes` 0 means until the disk is full. `workers` attempts are in flight at once,
    besides `workers_slow` that run longer than attempts usually take. `warm_bytes` of messages
    that wait are kept in memory, and one that has waited for `max_age_ms` (0: no bound) is given
    up. `order_holds`: an order key waits for its dead letters. `rules` are what is in force for
    destinations, one for the process."""

    policy: RetryPolicy
    workers: int
    max_backlog_bytes: int = 0
    keep_everything: bool = False
    partition: int = 0
    retention: RetentionPolicy = KEEP_ALL
    workers_slow: int = 1000
    warm_bytes: int = WARM_BYTES
    max_age_ms: int = 0
    idempotency_window_ms: int = 86_400_000
    order_holds: bool = False
    reclaim: ReclaimPolicy = RECLAIM
    rules: RulesInForce = field(default_factory=RulesInForce)
    late: Late = LATE_DISK


class Owner(Protocol):
    """Who is told what the parts can't settle among themselves: the partition."""

    def batch_stored(self) -> None:
        """The transaction log stored a batch, and its waiters were told."""

    def space_changed(self, full: bool) -> None:
        """The disk of the transaction log became full, or has space again."""

    def dead_space_changed(self, full: bool) -> None:
        """The same of the dead-letter log."""

    def letter_too_large(self, letter: LetterFacts, size_bytes: int) -> None:
        """No record of the dead-letter log can hold this one."""

    def ended(self, log: LogName, error: Exception) -> None:
        """A log can't be written any more."""

    def fail(self, log: LogName, error: Exception) -> None:
        """A log can't be read any more, or says that it is lost."""


class Wiring:
    """All parts, by name."""

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
        traffic: Traffic | None,
        pace: Pace | None,
        owner: Owner,
    ) -> None:
        self.log = log
        self.dead_log = dead_log
        self.config = config
        self.observer = observer
        self.tenure = Tenure()
        number, workers, policy = config.partition, config.workers, config.policy
        transaction_failed = partial(owner.fail, LogName.TRANSACTION)
        dead_letter_failed = partial(owner.fail, LogName.DEAD_LETTER)
        log.on_lost = transaction_failed
        dead_log.on_lost = dead_letter_failed
        self.supervisor = Supervisor(observer.died)
        self.traffic = traffic or Traffic(
            workers=workers,
            workers_slow=config.workers_slow,
            pause_max_ms=policy.max_delay_ms,
            observer=observer,
            clock=SteadyClock(clock),
            warm_bytes=config.warm_bytes,
            rules=config.rules,
        )
        self.clock = self.traffic.clock
        self.watch = Watch(observer, clock)
        self.recent = Recent()

        self.lanes = Lanes(self.traffic.peers, lambda: self.starting)
        self.pending = Pending(max_age_ms=config.max_age_ms)
        self.pending.lanes = self.lanes.by_number
        self.figures = Figures(self.pending)
        self.lineup = Lineup(self.pending, self.lanes, lambda slot: self.lines.passes(slot))
        self.warm = Warm(self.pending.index, self.traffic.room)
        self.lines = Lines(
            self.pending,
            self.lanes,
            lineup=self.lineup,
            warm=self.warm,
            clock=self.clock,
            holds=config.order_holds,
            rules=config.rules,
            look_at=lambda lane: self.starting.notice(lane),
            arm=lambda: self.starting.arm(),
        )
        self.pending.lines = self.lines

        self.committer = Committer(
            log,
            collect=lambda: self.settlements.collect(),
            settled=owner.batch_stored,
            failed=partial(owner.ended, LogName.TRANSACTION),
            space_changed=owner.space_changed,
            died=observer.died,
        )
        self.settlements = Settlements(
            self.pending,
            self.committer,
            lambda: self.dead_letters.holdings.extents.end,
            keeps_history=config.keep_everything,
        )
        self.endings = Endings(
            self.pending,
            self.committer,
            room_bytes=lambda: self.reclaimer.room_bytes(),
            changed=lambda: self.settling.look_again(),
        )
        self.pauses = Pauses(self.pending.extents, self.committer)
        self.keys = Keys(
            self.pending,
            self.committer,
            self.settlements,
            clock=self.clock,
            window_ms=config.idempotency_window_ms,
            spread=incarnation,
            is_dead=partial(self._is_dead, number),
            dropped=observer.keys_dropped,
            keeps_everything=config.keep_everything,
        )
        self.recovery = Recovery(self.pending, self.lanes, self.pauses, self.keys)
        self.room = Host(
            log,
            self.committer,
            self.pending,
            partition=number,
            failed=transaction_failed,
            died=observer.died,
        )
        self.retries = Retries(self.pending, self.committer)
        bodies = Bodies(log, self.pending)
        self.dead_letters = DeadLetters(
            dead_log,
            bodies,
            partition=number,
            failed=dead_letter_failed,
            space_changed=owner.dead_space_changed,
            died=observer.died,
            supervisor=self.supervisor,
            clock=clock,
            reclaim=config.reclaim,
            call_buried=self.watch.call_dead_lettered,
            too_large=owner.letter_too_large,
            blocks=self.lines if config.order_holds else None,
        )

        late = config.late

        def pace_changed(before: LogPace, now: LogPace, waited_s: float) -> None:
            tell_pace(observer, LogName.TRANSACTION, before, now, waited_s)
            if now is LogPace.STALLED and not late.wait:
                self.intake.refuse_waiting()

        self.stalls = StallWatch(self.committer, pace_changed, stalled_s=late.after_s)
        self.dead_stalls = StallWatch(
            self.dead_letters.committer,
            partial(tell_pace, observer, LogName.DEAD_LETTER),
            stalled_s=late.after_s,
        )

        self.loading = Loading(
            log,
            self.pending,
            self.warm,
            self.traffic.workers,
            self.supervisor,
            partition=number,
            loaded=lambda lane, had_turn: self.starting.loaded(lane, had_turn),
            failed=transaction_failed,
        )
        self.starting = Starting(
            self.pending,
            self.lanes,
            traffic=self.traffic,
            lineup=self.lineup,
            lines=self.lines,
            warm=self.warm,
            loading=self.loading,
            committer=self.committer,
            dead_letters=self.dead_letters,
            endings=self.endings,
            figures=self.figures,
            rules=config.rules,
            tenure=self.tenure,
            expire=lambda slot: self.expiring.take_out(slot),
        )
        self.admission = Admission(
            self.pending,
            lineup=self.lineup,
            lines=self.lines,
            starting=self.starting,
            clock=self.clock,
            has_deadline=lambda: self.expiring.begin(),
        )
        self.duplicates = Duplicates(self.keys, partition=number, died=observer.died)
        self.intake = Intake(
            self.pending,
            self.committer,
            lanes=self.lanes,
            traffic=self.traffic,
            warm=self.warm,
            starting=self.starting,
            admission=self.admission,
            duplicates=self.duplicates,
            known=Known(self.lines, self.duplicates, self.clock),
            figures=self.figures,
            watch=self.watch,
            clock=self.clock,
            partition=number,
            incarnation=incarnation,
            max_backlog_bytes=config.max_backlog_bytes,
            late=late.refusal,
        )
        self.callbacks = Callbacks(
            self.pending,
            self.endings,
            self.intake,
            lineup=self.lineup,
            settlements=self.settlements,
            keys=self.keys,
            dead_letters=self.dead_letters,
            figures=self.figures,
            clock=self.clock,
            partition=number,
        )
        self.answers = Answers(self.pending)
        self.plain = Plain(
            self.pending,
            lineup=self.lineup,
            starting=self.starting,
            committer=self.committer,
            settlements=self.settlements,
            keys=self.keys,
            retries=self.retries,
            dead_letters=self.dead_letters,
            callbacks=self.callbacks,
            answers=self.answers,
            figures=self.figures,
            watch=self.watch,
            recent=self.recent,
            clock=self.clock,
        )
        self.settling = Settling(
            self.pending,
            self.lanes,
            (self.plain,),
            lines=self.lines,
            traffic=self.traffic,
            dead_letters=self.dead_letters,
            endings=self.endings,
            bodies=OutgoingBodies(bodies, transaction_failed),
            figures=self.figures,
            watch=self.watch,
            policy=Policy(policy),
            rules=config.rules,
            tenure=self.tenure,
            clock=self.clock,
            random=random,
        )

        copies = Messages(
            log,
            self.pending,
            self.committer,
            partition=number,
            clock=self.clock,
            policy=config.reclaim,
        )
        large = LargeBodies(log, self.pending, self.committer, copies)
        self.space = Transactions(self.pending, copies, large, self.pauses, self.keys.space)
        self.taking_out = TakingOut(
            self.pending, self.lanes, lineup=self.lineup, lines=self.lines, warm=self.warm
        )
        self.expiring = Expiring(
            log,
            self.pending,
            partition=number,
            lineup=self.lineup,
            lines=self.lines,
            taking_out=self.taking_out,
            dead_letters=self.dead_letters,
            handlers=(self.plain,),
            figures=self.figures,
            clock=self.clock,
            failed=transaction_failed,
        )

        self.reclaimer = Reclaimer(
            log,
            self.space,
            self.committer,
            failed=transaction_failed,
            policy=config.reclaim,
            keep_everything=config.keep_everything,
            give_way=self.space.give_way,
        )
        self.redriver = Redriver(
            self.dead_letters,
            self.pending,
            self.committer,
            self.settlements,
            self.endings,
            self.lanes,
            self.keys,
            lines=self.lines,
            line_up=self.admission.returns,
            supervisor=self.supervisor,
        )
        self.oldest = Oldest(log, self.pending, self.lanes, partition=number, clock=self.clock)
        self.retention = Retention(self.dead_letters, self.redriver, config.retention, observer)
        self.forgetting = Forgetting(self.lanes, self.clock)
        self.changing = Changing(
            self.pending,
            self.lanes,
            lineup=self.lineup,
            warm=self.warm,
            committer=self.committer,
            settlements=self.settlements,
            pauses=self.pauses,
            keys=self.keys,
            starting=self.starting,
            clock=self.clock,
        )
        reading = ReadingBack(log, self.pending, self.taking_out, partition=number)
        self.giving_up = GivingUp(
            reading,
            self.pending,
            taking_out=self.taking_out,
            handlers=(self.plain,),
            dead_letters=self.dead_letters,
            endings=self.endings,
            figures=self.figures,
        )
        self.aside = Aside(
            self.pending,
            self.lanes,
            lineup=self.lineup,
            lines=self.lines,
            taking_out=self.taking_out,
            clock=self.clock,
            look_at=self.starting.notice,
        )
        self.redirecting = Redirecting(
            reading,
            self.pending,
            self.lanes,
            aside=self.aside,
            admission=self.admission,
            committer=self.committer,
            settlements=self.settlements,
        )
        parts = Parts(
            partition=number,
            traffic=self.traffic,
            # Whatever messages and calls do is written: that of operators too, and they have time.
            pace=pace or Pace(traffic=lambda: self.committer.batches, now_us=self.clock.now_us),
            log=log,
            committer=self.committer,
            clock=self.clock,
            figures=self.figures,
            pending=self.pending,
            lanes=self.lanes,
            lines=self.lines,
            starting=self.starting,
            recent=self.recent,
            dead_letters=self.dead_letters,
            redriver=self.redriver,
            changing=self.changing,
            warm=self.warm,
            giving_up=self.giving_up,
            redirecting=self.redirecting,
            watch=self.watch,
        )
        self.admin = Administration(parts)
        self.carrying = Carrying(parts, self.intake, self.admin.pace)
        self.replaying = Replaying(
            parts,
            self.intake,
            self.settlements,
            self.admin.pace,
            keeps_history=config.keep_everything,
        )

    def _is_dead(self, partition: int, position: int, incarnation: int) -> bool:
        return wire_id(partition, incarnation, position) in self.dead_letters

"""What accepts and delivers messages: a process's partitions with their logs, the listener, the
pool of connections to destinations. Every process of a node has one.

`Server` starts and stops its parts in their order, together with those of the desk.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dispatcher.core.clock import SteadyClock, SystemClock
from dispatcher.core.placing import FIRST
from dispatcher.core.rules.table import Rules, RulesInForce
from dispatcher.delivery.adding import Additions
from dispatcher.delivery.pool import Pool
from dispatcher.errors import ConfigError, LogError
from dispatcher.ingress.listener import Listener
from dispatcher.ingress.shared import HealthAnswer
from dispatcher.listening.given import GivenSockets
from dispatcher.node import certificates, configs
from dispatcher.node.assignment import Assignment
from dispatcher.node.descriptors import share_of
from dispatcher.node.former import FormerSpreads
from dispatcher.node.layout import Layout
from dispatcher.node.neighbours import Neighbours
from dispatcher.node.observer import EventObserver, Hearing
from dispatcher.node.on_disk import OnDisk
from dispatcher.node.partitions import OWNER, Beside, Lost, Partitions, nothing_beside
from dispatcher.node.places import has_log, results_of
from dispatcher.node.router import Router
from dispatcher.node.tenures import Tenures
from dispatcher.node.whole import Whole
from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.lanes.warm import WARM_BYTES
from dispatcher.queue.partition import LATE_STREAM, Partition
from dispatcher.queue.ports import Acceptor, LogName
from dispatcher.schedules.partition import PartitionQueue, nowhere
from dispatcher.settings import Settings
from dispatcher.settings.model import Tracing
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import TransactionLog
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.place import check_free

if TYPE_CHECKING:  # OpenTelemetry is imported only where it is asked for, and so is a cluster
    from dispatcher.cluster.holder import Ends
    from dispatcher.node.clustered import Clustered
    from dispatcher.telemetry.otlp import Otlp


class MessageService:
    """Accepts and delivers the messages of one process. `queues` are the partitions that it has
    now, in the order of their numbers."""

    def __init__(
        self,
        settings: Settings,
        events: Events,
        assignment: Assignment,
        *,
        layout: Layout | None = None,
        given: GivenSockets,
        health: Callable[[], HealthAnswer],
        log_failed: Callable[[], None],
        cluster: Clustered | None = None,
        beside: Beside = nothing_beside,
    ) -> None:
        """`health` answers callers; `log_failed` is told that the process must end. In a `cluster`
        the process has no partition before it opens one, and some have a companion (`beside`)."""
        self.cluster = cluster
        self.settings = settings
        self.events = events
        self.assignment = assignment
        self.rules = RulesInForce()
        self.certificates = certificates.Certificates(settings, events)
        self.incarnation = random.SystemRandom().getrandbits(32)
        self.clock = SystemClock()
        self.steady = SteadyClock(self.clock)
        self._log_failed = log_failed
        self.connections = share_of(settings, events)
        self.tracing = self._open_tracing()
        self.hearing = Hearing()
        """Who is told of what is given up, whichever partition it is of."""
        self.observer = self._make_observer({})
        self.supervisor = Supervisor(self.observer.died)
        self.traffic = self._make_traffic()
        self.whole = Whole(self.traffic)
        self.queues: Sequence[Partition] = self.whole.parts
        self.on_disk = [OnDisk.of(settings, number) for number in assignment.partitions]
        for one in self.on_disk:
            names = one.places.named()
            self.whole.add(self._make_partition(one.number, one.log, one.dead_log, names))
        self.tenures = Tenures()
        self.pool = Pool(
            configs.of_delivery(settings, self.connections),
            died=self.observer.died,
            rules=self.rules,
        )
        router = None if assignment.is_whole else _router(assignment)
        self.meeting = None if router is None else router.meeting
        self.acceptor: Acceptor = router or self.queues[0].intake
        self.neighbours = None if router is None else self._make_neighbours(router)
        self.planned = PartitionQueue(
            self.queues,
            self.acceptor,
            elsewhere=nowhere if self.neighbours is None else self.neighbours.outcomes,
        )
        if self.neighbours is not None:
            self.neighbours.tell_outcomes(self.planned.outcome_here)
        self.former = None if layout is None else self._make_former(layout)
        self.partitions = Partitions(
            self._made if cluster is None else self._make_anew,
            beside=beside,
            members=() if cluster is None else [self],
            router=router,
            pool=self.pool,
            lost=self._lost,
            died=self.observer.died,
        )
        self._additions: Additions | None = None
        self.listener = Listener(
            self.acceptor,
            configs.of_ingress(
                settings,
                self.connections,
                self.rules,
                self.certificates.of(certificates.LISTEN),
                has_others=self.neighbours is not None,
            ),
            health,
            given,
        )

    @property
    def first(self) -> Partition:
        """The partition with the lowest number."""
        return self.queues[0]

    def _make_observer(self, names: Mapping[LogName, str]) -> EventObserver:
        """`names` are those of a partition's logs."""
        results = str(results_of(self.settings.transaction_log))
        return EventObserver(
            self.events,
            paths={**names, LogName.RESULTS: results},
            on_log_failed=self._log_failed,
            spans=None if self.tracing is None else self.tracing.spans,
            hearing=self.hearing,
            of_streams=self.cluster is not None,
        )

    def _make_traffic(self) -> Traffic:
        settings, connections = self.settings, self.connections
        return Traffic(
            workers=connections.workers,
            workers_slow=connections.slow,
            pause_max_ms=settings.retry_max_delay_ms,
            observer=self.observer,
            clock=self.steady,
            warm_bytes=WARM_BYTES,
            rules=self.rules,
        )

    def _make_neighbours(self, router: Router) -> Neighbours | None:
        """The other processes of the node, or the other nodes of the cluster, where there are any:
        `router` sends messages there, too."""
        died = self.observer.died
        if self.cluster is not None:
            neighbours = Neighbours.of_cluster(self.cluster, self.events, router, died=died)
        elif self.assignment.processes > 1:
            neighbours = Neighbours.of_node(
                self.settings,
                self.events,
                self.assignment,
                router,
                incarnation=self.incarnation,
                died=died,
            )
            self._wait_for_holds()
        else:
            return None
        router.bounds = self.rules.bounds
        return neighbours

    def _make_former(self, layout: Layout) -> FormerSpreads | None:
        """What looks after partitions of former numbers, while there are any."""
        if self.meeting is None:
            return None
        neighbours = self.neighbours
        former = FormerSpreads(
            layout,
            self.meeting,
            self.queues,
            clock=self.steady,
            transaction_log=self.settings.transaction_log,
            window_ms=self.settings.idempotency_window_ms,
            others=() if neighbours is None else neighbours.links.peers,
        )
        if neighbours is not None:
            former.enter(neighbours.table, neighbours.answering)
        return former

    def _make_partition(
        self,
        number: int,
        log: TransactionLog,
        dead_log: TransactionLog,
        names: Mapping[LogName, str],
        lost: Lost | None = None,
    ) -> Partition:
        """One that is not open yet, with what is the process's."""
        config = configs.of_partition(self.settings, self.connections, self.rules, number)
        partition = Partition(
            log,
            dead_log,
            config if self.cluster is None else replace(config, late=LATE_STREAM),
            self._make_observer(names),
            clock=self.clock,
            random=random.Random(),
            incarnation=self.incarnation,
            traffic=self.traffic,
            pace=self.whole.pace,
            lost=lost,
        )
        letters = partition.dead_letters.letters
        partition.retention.share_with(lambda: self._letters_beside(letters))
        return partition

    def _letters_beside(self, letters: Letters) -> list[Letters]:
        """Those of the other partitions."""
        every = [one.dead_letters.letters for one in self.queues]
        return [one for one in every if one is not letters]

    def _made(self, number: int, lost: Lost, ends: Ends) -> Partition:
        """One whose logs are files, which nobody takes away."""
        return self._here(number)

    def _here(self, number: int) -> Partition:
        partition = self.whole.find(number)
        assert partition is not None, "it was made before anything was opened"
        return partition

    # Partitions that come and go: in a cluster.

    def _make_anew(self, number: int, lost: Lost, ends: Ends) -> Partition:
        assert self.cluster is not None
        logs = self.cluster.logs.of(number, ends)
        partition = self._make_partition(number, logs.log, logs.dead_log, logs.names, lost)
        partition.may_act_until(0.0)  # until it is said
        return partition

    def add(self, part: Partition) -> None:
        """A partition is here (`partitions.Members`)."""
        self.whole.add(part)
        if part.config.partition != FIRST and not part.recovery.records:
            self.tenures.wait_for_holds(part)  # the desk's partition has them

    def remove(self, part: Partition) -> None:
        """It is not any more."""
        self.whole.remove(part)
        self.tenures.forget(part)

    def _lost(self, number: int, error: Exception) -> None:
        """Files have no other owner: somebody else has its log, or nobody reaches it."""
        if self.cluster is not None and isinstance(error, LogError):
            self.cluster.member.lost(number, error)

    def _open_tracing(self) -> Otlp | None:
        if self.settings.tracing is Tracing.OFF:
            return None
        try:
            from dispatcher.telemetry.otlp import Otlp
        except ImportError as error:
            raise ConfigError(
                f"TRACING=otlp: expected OpenTelemetry to be installed ({error}): "
                "pip install '.[otel]' in the directory of the source"
            ) from error
        return Otlp.open(self.clock, self.steady.now_us, self._warn)

    def _warn(self, logger: str, text: str) -> None:
        self.events.library_warned(logger=logger, text=text, exc_info=None)

    def _wait_for_holds(self) -> None:
        """Let nothing leave a partition whose log is new before the desk, in another process, has
        said which destinations are held."""
        if self.assignment.has_desk:
            return
        for one in self.on_disk:
            if not has_log(one.places.transaction):
                self.tenures.wait_for_holds(self._here(one.number))

    def holds_are_known(self, parts: Iterable[Partition] | None = None) -> None:
        """The desk has said to these partitions (None: all) which destinations are held.
        Idempotent."""
        self.tenures.holds_are_known(parts)

    @property
    def in_flight(self) -> int:
        """Attempts under way."""
        return self.whole.total(lambda queue: queue.figures.in_flight)

    @property
    def read_so_far(self) -> tuple[int, int, int]:
        """While the logs are recovered: how many records were read, and how many MiB of how
        many."""
        records = self.whole.total(lambda queue: queue.recovery.records) + self.whole.dead
        logs = [log for one in self.on_disk for log, _ in one.logs]
        opening = zip(*(log.opening for log in logs), strict=True)
        done, total = (sum(each) >> 20 for each in opening)
        return records, done, total

    def check_free(self) -> None:
        """Raise `LogLocked` where another process has one of the logs."""
        for _, path in (each for one in self.on_disk for each in one.logs):
            check_free(path, RealDisk())

    async def open(self) -> None:
        """Recover the logs.

        Raises:
            LogLocked, LogCorrupt: as they say.
        """
        await self.partitions.open_all(self.assignment.partitions, OWNER, 0)

    def begin(self) -> None:
        """Accept and deliver."""
        self.partitions.begin()
        if self.former is not None and self.assignment.has_desk:
            self.former.start(self.supervisor)

    def tell_opened(self, began_s: float) -> None:
        """Write down what was found in the logs; it was begun at this monotonic instant."""
        for log, path in (each for one in self.on_disk for each in one.logs):
            if log.torn is not None:
                self.events.log_torn_tail_cut(
                    path=str(path),
                    position=log.torn.position,
                    size_bytes=log.torn.size_bytes,
                    backup=str(log.torn.backup),
                )
        for one in self.on_disk:
            self.events.log_opened(
                path=str(one.places.transaction),
                messages=self._here(one.number).pending.index.count,
                size_bytes=one.log.size_bytes,
                took_ms=int((time.monotonic() - began_s) * 1000),
            )

    def prepare_rules(self, rules: Rules) -> Callable[[], None]:
        """As `Server.prepare_rules`, for messages."""
        additions = Additions.load(rules, self._additions)

        def put_into_force() -> None:
            self.rules.replace(rules)
            self._additions = additions
            self.pool.add(additions)
            self.whole.traffic.rules_changed()
            if self.neighbours is not None:
                self.listener.forget_heads()

        return put_into_force

    async def stop_queues(self) -> None:
        """Write down what was settled and close all logs."""
        await self.supervisor.stop()
        await self.partitions.stop()
        # Those as well that were not open yet.
        await asyncio.gather(*(queue.stop() for queue in self.queues))


def _router(assignment: Assignment) -> Router:
    return Router(
        assignment.spread,
        assignment.own,
        former=assignment.former,
        partitions=assignment.every,
    )

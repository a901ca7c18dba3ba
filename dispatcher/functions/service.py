"""The function service of one partition: its parts put together.

API ─▶ intake ─▶ store ─▶ machine ─▶ runner ─▶ delivery ─▶ application
                   ▲                    │ decided
                   └────────────────────┘
machine: a root call has ended ─▶ moving ─▶ results' log, dead letters ─▶ who waits for it
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from dispatcher.core.clock import Random, SteadyClock
from dispatcher.functions.bridge.bridge import Bridge
from dispatcher.functions.config import Events, FunctionConfig
from dispatcher.functions.ending.burying import Burying
from dispatcher.functions.ending.moving import DEAD, Moving
from dispatcher.functions.ending.waiting import Waiting
from dispatcher.functions.ids import Keys, call_id, parse_id
from dispatcher.functions.intake import Intake
from dispatcher.functions.lanes.lanes import Lanes
from dispatcher.functions.lanes.turns import Turns
from dispatcher.functions.model import NONE, Call, Phase
from dispatcher.functions.ports import Sender
from dispatcher.functions.results.store import Results
from dispatcher.functions.runs.asking import FEATURES, Targets
from dispatcher.functions.runs.config import RunnerConfig
from dispatcher.functions.runs.recalling import Recalling
from dispatcher.functions.runs.running import Runner
from dispatcher.functions.schedules.calls import CallMaker, Environment
from dispatcher.functions.schedules.facts import StoredFacts
from dispatcher.functions.shown import CallState
from dispatcher.functions.signing.in_force import KeysInForce
from dispatcher.functions.signing.keys import SigningKeys
from dispatcher.functions.store.store import Store
from dispatcher.functions.views.explaining import Explaining
from dispatcher.functions.views.figures import Figures
from dispatcher.functions.views.finding import Finding
from dispatcher.functions.views.history import History
from dispatcher.functions.views.last_errors import LastErrors
from dispatcher.functions.views.looking import STATE_OF, Looking
from dispatcher.functions.views.overview import Overview
from dispatcher.functions.views.telling import Telling
from dispatcher.functions.views.timelines import Timelines
from dispatcher.protocol.signing import Signer
from dispatcher.queue.commit.stalls import tell_pace
from dispatcher.queue.partition import Partition
from dispatcher.queue.ports import LogName
from dispatcher.queue.recovery.reconcile import reconcile_calls
from dispatcher.schedules.keeper import Keeper
from dispatcher.schedules.plans import PlannedCall, PlannedMessage
from dispatcher.schedules.ports import Maker
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import TransactionLog

_TIDY_SECONDS: Final = 10.0


class FunctionService:
    """The parts, by name. It is the guest of a partition, and made before that is opened.

    Life: `await open()` after the partition was opened, `start()` after that was started; `close()`
    and `await drain()` beside its own, and `await stop()` before it is stopped.
    """

    def __init__(
        self,
        partition: Partition,
        config: FunctionConfig,
        signing: KeysInForce,
        *,
        make_results_log: Callable[[], TransactionLog],
        has_results: bool,
        deliverer: Sender,
        clock: SteadyClock,
        random: Random,
        incarnation: int,
        events: Events,
        planned_messages: Maker,
    ) -> None:
        """`make_results_log` names the results' log, and `has_results` says that it is there.
        `planned_messages` makes what schedules of messages plan: they are kept here too."""
        number = partition.config.partition
        died = partition.observer.died
        self._incarnation = incarnation
        self.signing = signing
        signing.changed = self._sign_with
        self._keys: Keys | None = None
        self.supervisor = Supervisor(died)
        self.id_of = partial(call_id, number)
        self.store = Store(partition.room)
        self.machine = self.store.machine
        partition.host(self.store)
        self.waiting = Waiting()
        self.results = Results(
            make_results_log,
            config.results,
            exists=has_results,
            clock=clock,
            supervisor=self.supervisor,
            failed=events.failed,
            space_changed=events.results_space_changed,
            pace_changed=partial(tell_pace, partition.observer, LogName.RESULTS),
            died=died,
        )
        self._letters = partition.dead_letters
        self.history = History()
        burying = Burying(
            self.store,
            self._letters,
            self.supervisor,
            clock,
            id_of=self.id_of,
            runs=self.history.runs,
        )
        self.moving = Moving(
            self.store,
            self.machine.calls,
            self.results,
            clock=clock,
            supervisor=self.supervisor,
            bury=burying.bury,
        )
        self.figures = Figures()
        telling = Telling(self.figures, partition.watch, events.log, self.id_of)
        self._last_errors = LastErrors()
        self.targets = Targets(*map(Signer, signing.keys.private), features=FEATURES)
        lanes = Lanes(
            config.workers,
            longest_pause_ms=config.rules.retry_max_delay_ms,
            rules=config.in_force,
        )
        self.turns = Turns(lanes, clock, lambda: self._letters.is_behind)
        partition.changing.also = self.turns.hold
        self.bridge = Bridge(self.turns, clock)
        self.timelines = Timelines(
            self.history, clock.wall_us, events.warned, telling.happened, self._last_errors
        )
        self.runner = Runner(
            self.machine,
            self.store,
            turns=self.turns,
            targets=self.targets,
            deliverer=deliverer,
            next_key=self.next_key,
            config=RunnerConfig(number, config.rules, config.timeout_ms, config.in_force),
            clock=clock,
            random=random,
            died=died,
            watcher=self.timelines,
            fetched=self.bridge,
            tenure=partition.tenure,
        )
        self.recalling = Recalling(self.machine.calls, self.store, self.targets, number)
        self.intake = Intake(
            self.store,
            self.machine.facts,
            config.intake,
            next_key=self.next_key,
            id_of=self.id_of,
            now_us=clock.wall_us,
        )
        self.looking = Looking(
            self.machine,
            self.runner,
            self.history,
            last_errors=self._last_errors,
            id_of=self.id_of,
            now_us=clock.wall_us,
            pace=partition.admin.pace,
        )
        self.finding = Finding(
            self.machine,
            self.store,
            self.results,
            looking=self.looking,
            explaining=Explaining(
                self.runner, self.turns, clock, find=self.machine.calls.get, id_of=self.id_of
            ),
            history=self.history,
            waiting=self.waiting,
            id_of=self.id_of,
            now_us=clock.wall_us,
        )
        self.overview = Overview(
            self.machine,
            self.runner,
            self.figures,
            results=self.results,
            waiting=self.waiting,
            lanes=lanes,
            clock=clock,
            pace=partition.admin.pace,
        )
        environment = Environment(
            now_us=clock.wall_us,
            next_key=self.next_key,
            id_of=self.id_of,
            ended_as=self._ended_as,
            state_of=lambda call: self.looking.view(call).state,
        )
        self._planned_calls = CallMaker(self.store, self.machine, config.rules, environment)
        self.schedules = Keeper(
            StoredFacts(self.store, self.machine),
            {PlannedCall: self._planned_calls, PlannedMessage: planned_messages},
            now_us=clock.wall_us,
            supervisor=self.supervisor,
        )
        self._clock = clock
        self._events = events

    async def _ended_as(self, key: int) -> CallState | None:
        stored = await self.results.read(key)
        return None if stored is None else STATE_OF[stored.how]

    def next_key(self) -> int:
        """The key of one more call."""
        assert self._keys is not None, "it is open"
        return self._keys.next()

    async def open(self, owner: str, epoch: int) -> None:
        """Read the results' log, where there is one, and see what the transaction log has said.

        Raises:
            LogLocked, LogCorrupt, …: as the log says.
        """
        self._keys = Keys(self._incarnation, self.store.log_end)
        for key in self.store.lost:
            self._events.lost(self.id_of(key))
        for key in await self.results.open(owner, epoch):
            self._events.result_lost(self.id_of(key))
        await reconcile_calls(self._letters, self._goes_on)
        await self.schedules.open()
        self.machine.listener = self

    def _sign_with(self, keys: SigningKeys) -> None:
        self.targets.sign_with(*map(Signer, keys.private))

    def _goes_on(self, call_id: bytes) -> bool:
        """Whether a call that has a dead letter is alive: it was being redriven."""
        key = parse_id(call_id.decode("ascii"))
        call = None if key is None else self.machine.calls.get(key)
        return call is not None and call.phase is not Phase.ENDED

    def start(self) -> None:
        """Begin to run what is due, and to move what has ended."""
        self.results.start()
        self.moving.start()
        self.runner.start()
        self.schedules.start()
        self.supervisor.forever("facts that expire", self._tidy, every_s=_TIDY_SECONDS)

    async def _tidy(self) -> None:
        self.machine.forget_expired(self._clock.wall_us())

    def close(self) -> None:
        """Start no more runs, and let nobody wait any more. Idempotent."""
        self.schedules.stop()
        self.runner.close()
        self.bridge.close()
        self.waiting.close()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until no run is under way; False when time ran out first."""
        return await self.runner.drain(timeout_s)

    def abandon(self) -> None:
        """The partition is another process's now, or a log does not answer: drop the runs that are
        under way, at once, and store no more results. `stop` follows, where it can. Idempotent."""
        self.close()
        self.runner.abandon()
        self.results.abandon()

    async def stop(self) -> None:
        """Do nothing more by itself, and close the results' log. Idempotent."""
        self.close()
        await self.runner.stop()
        self.turns.stop()
        await self.moving.stop()
        await self.supervisor.stop()
        await self.results.stop()

    # What the machine tells (`machine.Listener`).

    def is_due(self, call: Call) -> None:
        """It is to be run."""
        self.timelines.is_due(call)
        self.runner.is_due(call)

    def waits(self, call: Call) -> None:
        """It is suspended, or waits for somebody outside."""
        self.timelines.waits(call)
        self.runner.waits(call)

    def is_asked_to_end(self, call: Call) -> None:
        """Somebody wants it to end."""
        self.timelines.is_asked_to_end(call)

    def has_ended(self, call: Call) -> None:
        """A root call has ended."""
        self.figures.dead += call.how in DEAD
        self.timelines.has_ended(call)
        self.runner.has_ended(call)
        self.moving.has_ended(call)
        self.waiting.wake(call.key)
        self._planned_calls.has_ended(call)

    def is_gone(self, call: Call) -> None:
        """Nothing of it is left in the table."""
        if call.parent != NONE:
            self.timelines.has_ended(call)
            self.history.ended(self.looking.last_view(call))
            self.waiting.wake(call.key)
        self._last_errors.forget(call)
        self.runner.is_gone(call)

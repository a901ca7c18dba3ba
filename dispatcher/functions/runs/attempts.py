"""The runs of calls that have their turn: asked, answered, and what follows stored.

    begin ─▶ Resuming, where the set of results has to be frozen first ─▶ blobs read ─▶ signed
          ─▶ delivered ─▶ answer ─▶ decide ─▶ submit ─▶ durable and applied: over

From `begin` until what came of it is durable a call is *under way*, and meanwhile nothing else
starts it: at most one run of a call is in flight. What is asked and what was answered counts for
one step; where the call has moved on meanwhile, the answer is dropped.

An answer whose event is refused (the disk is full) is dropped as well, and the run made again when
that may have passed; but what ends a call is stored on a full disk too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

from dispatcher.core.answer import Answer
from dispatcher.core.clock import SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.room import Room, Rooms
from dispatcher.errors import DispatcherError, Refusal
from dispatcher.functions import errors
from dispatcher.functions.deciding.appending import is_to_be_one
from dispatcher.functions.deciding.decisions import Decision, Outcome, RetryAt
from dispatcher.functions.deciding.judging import Judging, overtaken
from dispatcher.functions.events import Dropped, Event, Exited, Polled, Resuming, Retried
from dispatcher.functions.lanes.lane import Place
from dispatcher.functions.lanes.turns import NOTHING, Turns
from dispatcher.functions.limits import CLEANUP_US, MOST_FETCHED_MS
from dispatcher.functions.model import Call, How, Phase, StateArm
from dispatcher.functions.ports import Store
from dispatcher.functions.rules import Asked, Rules
from dispatcher.functions.runs.asking import Given, Targets, run_message, run_request
from dispatcher.functions.runs.giving import Giving, given_bytes
from dispatcher.functions.runs.message import RunMessage
from dispatcher.functions.runs.resuming import Plan, plan_resume
from dispatcher.functions.runs.target import Target
from dispatcher.functions.runs.watching import Watcher
from dispatcher.protocol.messages import Any
from dispatcher.protocol.states import OWN_STATE_TYPE
from dispatcher.protocol.statuses import Status
from dispatcher.queue.ports import Deliverer
from dispatcher.telemetry.supervisor import Died, Supervisor

_LARGE_BYTES: Final = 256 * 1024
"""A larger body is digested in a thread, as it would hold the loop for half a millisecond, and
needs room."""
_AT_ONCE_BYTES: Final = 16 * 1024
"""A larger one waits for its turn in a task of its own."""
_REST_US: Final = 1_000_000
_LONGEST_REST_US: Final = 30_000_000
_REFUSES_KEY: Final = (401, 403)
"""What an application answers when a signature is of a key that it does not know."""
_LEAVES_OPEN: Final = (None, 401, 403)
"""What does not say that it knows the key."""
_FIRST: Final = Plan(0, must_be_stored=False)


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """`partition` is in the ids of its calls; `timeout_ms` is CALL_TIMEOUT, of one run."""

    partition: int
    rules: Rules
    timeout_ms: int = 60_000


class Run:
    """A call that is under way, at the step at which it was begun. `started_us` is when its request
    was sent, by the wall clock, 0 before that; `room` is what its request takes. `is_referred`: its
    state was left out."""

    __slots__ = ("is_referred", "key", "place", "room", "started_us", "step")

    def __init__(self, place: Place, step: int) -> None:
        self.place = place
        self.key = place.key
        self.step = step
        self.started_us = 0
        self.is_referred = False
        self.room: Room | None = None


class Desk(Protocol):
    """Who sees to calls that are not under way: the runner."""

    def note(self, call: Call) -> None:
        """It is not under way any more: see when it is to be looked at."""

    def end(self, call: Call, how: How, result: bytes) -> None:
        """It cannot go on: it ends with this serialized CallResult."""


class Attempts:
    """The calls of a partition that are under way (`core.message.Home`).

    `under_way` by key. Until `rests_until_us` (wall clock) none is to be begun: something is
    lacking here.
    """

    def __init__(
        self,
        calls: Mapping[int, Call],
        store: Store,
        desk: Desk,
        *,
        turns: Turns,
        targets: Targets,
        deliverer: Deliverer,
        fetched: Deliverer | None,
        judging: Judging,
        giving: Giving,
        rooms: Rooms,
        config: RunnerConfig,
        clock: SteadyClock,
        died: Died,
        watcher: Watcher,
    ) -> None:
        self.under_way: dict[int, Run] = {}
        self.rests_until_us = 0
        self.watcher = watcher
        self._calls = calls
        self._store = store
        self._desk = desk
        self._turns = turns
        self._targets = targets
        self._deliverer = deliverer
        self._fetched = fetched
        self._judging = judging
        self._giving = giving
        self._rooms = rooms
        self._config = config
        self._clock = clock
        self._died = died
        self._supervisor = Supervisor(died)
        self._refused = 0  # events in a row
        self._fell = asyncio.Event()
        self._is_stopped = False

    def begin(self, call: Call, place: Place) -> None:
        """Run a call that has its turn."""
        run = self.under_way[call.key] = Run(place, call.step)
        try:
            plan = self._plan(run, call)
            if plan is not None and not self._ask_at_once(run, call, plan):
                self._supervisor.spawn("run", self._unless_it_fails(run, self._ask(run, plan)))
        except Exception as error:  # a call must not be under way for ever for our mistake
            self._died("run", error)
            self._not_stored(run)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is under way; False when time ran out first."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.under_way:
                    self._fell.clear()
                    await self._fell.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Leave what is under way as it is. Idempotent."""
        self._is_stopped = True
        await self._supervisor.stop()
        for run in self.under_way.values():
            self._turns.finish(run.place, NOTHING)
            if run.room is not None:
                run.room.release()

    def _call_of(self, run: Run) -> Call | None:
        """Its call, if that is still where it was asked."""
        call = self._calls.get(run.key)
        if call is None or call.step != run.step or call.phase is not Phase.DUE:
            return None
        return call

    def _plan(self, run: Run, call: Call) -> Plan | None:
        """What its run delivers; None: it cannot be asked, and ends."""
        try:
            self._targets.of(call.endpoint)
        except ValueError as error:
            why = f"its endpoint, {call.endpoint!r}, cannot be asked: {error}"
            self._end(run, call, Status.INVALID_ARGUMENT, why)
            return None
        plan = plan_resume(call) if call.is_resume else _FIRST
        if isinstance(plan, str):
            self._end(run, call, Status.INVALID_RESPONSE, plan)
            return None
        return plan

    def _end(self, run: Run, call: Call, status: Status, why: str) -> None:
        result = errors.failed(errors.type_of(status), f"{call.function}: {why}.")
        self._desk.end(call, How.FAILED, result)
        self._over(run)

    def _ask_at_once(self, run: Run, call: Call, plan: Plan) -> bool:
        """Ask, if nothing has to be waited for; whether it was asked."""
        if plan.must_be_stored or run.place.lane.is_pulled:  # who pulls is told later
            return False
        if given_bytes(call, plan.count) > _AT_ONCE_BYTES:
            return False
        given = self._giving.at_hand(call, plan.count)
        if given is None:
            return False
        body, asked = self._body(call, given), _asked(run, call, plan, given)
        target = self._targets.of(call.endpoint)
        now_us = self._clock.wall_us()
        self._send(run, call, self._message(call, body, asked, target, now_us))
        return True

    async def _unless_it_fails(self, run: Run, asking: Coroutine[object, object, None]) -> None:
        """Ask, or see to it that it is asked again."""
        try:
            await asking
        except DispatcherError:
            self._not_stored(run)
        except Exception as error:  # a call must not be under way for ever for our mistake
            self._died("run", error)
            self._not_stored(run)

    async def _ask(self, run: Run, plan: Plan) -> None:
        call = self._call_of(run)
        if call is None:
            self._over(run)
            return
        if plan.must_be_stored:
            await self._store.stored(Resuming(call.key, run.step, plan.count))
        await self._find_room(run, given_bytes(call, plan.count))
        given = await self._giving.given(lambda: self._call_of(run), plan.count)
        call = self._call_of(run)
        if given is None or call is None or self._is_stopped:
            self._over(run)
            return
        body, asked = self._body(call, given), _asked(run, call, plan, given)
        await self._send_body(run, call, body, asked, self._targets.of(call.endpoint))

    async def _find_room(self, run: Run, size_bytes: int) -> None:
        """Many large requests at once would be more than there is memory: they wait."""
        if size_bytes > _LARGE_BYTES:
            granted = asyncio.Event()
            run.room = self._rooms.ask(size_bytes, granted.set)
            if not run.room.is_granted:
                await granted.wait()

    def _body(self, call: Call, given: Given) -> bytes:
        return run_request(call, given, self._config.partition).SerializeToString()

    def _message(
        self, call: Call, body: bytes, asked: Asked, target: Target, now_us: int
    ) -> RunMessage:
        timeout_ms = call.timeout_ms or self._config.timeout_ms
        if target.signed is None:  # it is fetched: the application is told what it really has
            timeout_ms = min(timeout_ms, MOST_FETCHED_MS)
        timeout_ms = max(1, min(timeout_ms, (call.expires_us - now_us) // 1000))
        return run_message(
            call,
            target,
            body,
            asked,
            partition=self._config.partition,
            timeout_ms=timeout_ms,
            now_us=now_us,
        )

    async def _send_body(
        self, run: Run, call: Call, body: bytes, asked: Asked, target: Target
    ) -> None:
        now_us = self._clock.wall_us()
        if len(body) <= _LARGE_BYTES:
            message = self._message(call, body, asked, target, now_us)
        else:
            message = await asyncio.to_thread(self._message, call, body, asked, target, now_us)
        if self._call_of(run) is None or self._is_stopped:
            self._over(run)
            return
        self._send(run, call, message)

    def _send(self, run: Run, call: Call, message: RunMessage) -> None:
        target = message.where
        message.home, message.place = self, run.place
        message.started_at = self._clock.now_us()
        run.started_us = self._clock.wall_us()
        if self.watcher.is_wanted and not target.is_other:
            self.watcher.run_started(call, message.attempt, run.started_us)
        deliverer = self._deliverer if target.signed is not None else self._fetched
        assert deliverer is not None
        deliverer.deliver(message)

    # What delivery tells (`core.message.Home`).

    def delivered(self, message: Message, status: int) -> None:
        """A complete 2xx."""
        message = cast(RunMessage, message)
        assert message.answer is not None
        self._answered(message, message.answer, message.answer)

    def failed(self, message: Message, result: AttemptResult) -> None:
        """Anything else; a 2xx that is too large is an answer all the same."""
        message = cast(RunMessage, message)
        answer = message.answer
        is_too_large = answer is not None and not answer.is_whole and 200 <= answer.status < 300
        if answer is not None and is_too_large:
            self._answered(message, answer, answer)
        elif result.status not in _REFUSES_KEY or not self._sign_anew(message, answer):
            self._answered(message, result, answer)

    def _sign_anew(self, message: RunMessage, answer: Answer | None) -> bool:
        """Send a run that was refused once more, signed with the second key, if there are two: the
        application may have that one already. Returns whether it is sent. It is the same
        attempt."""
        other = message.where.with_other_key()
        run = self.under_way.get(message.key)
        call = None if run is None or run.step != message.step else self._call_of(run)
        if other is None or run is None or call is None or self._is_stopped:
            return False
        if answer is not None:
            answer.release()
        again = self._send_body(run, call, bytes(message.body), message.asked, other)
        self._supervisor.spawn("run", self._unless_it_fails(run, again))
        return True

    def taken_back(self, message: Message) -> None:
        """Nobody fetched it: the call waits for its turn again, and no attempt is spent."""
        message = cast(RunMessage, message)
        run = self.under_way.get(message.key)
        if run is not None and run.place is message.place and not self._is_stopped:
            self._over(run)

    async def read_body(self, positions: list[int]) -> list[bytes]:
        """Never asked: the body of a run is in memory."""
        raise AssertionError("a run has no chunks")

    def _answered(
        self, message: RunMessage, came: Answer | AttemptResult, answer: Answer | None
    ) -> None:
        run = self.under_way.get(message.key)
        if run is None or run.step != message.step or self._is_stopped:
            if answer is not None:
                answer.release()
            return
        call = self._call_of(run)
        if call is None:
            if answer is not None:
                answer.release()
            self._turns.finish(run.place, overtaken(came))
            self._over(run)
            return
        if message.where.is_other and came.status not in _LEAVES_OPEN:
            self._targets.takes_other_key(call.endpoint, message.where)
        decision = self._judging.decide(call, message.asked, came)
        if self.watcher.is_wanted and not decision.has_missed:
            self.watcher.run_ended(call, decision, run.started_us, self._clock.wall_us())
        if decision.warning is not None:
            self.watcher.warned(call, decision.warning)
        self._turns.finish(run.place, self._judging.lesson(decision, came))
        outcome = decision.outcome
        if isinstance(outcome, RetryAt):
            self._giving.referring.drop(call.key)
            if decision.has_missed:
                self._giving.referring.missed(call)
        if isinstance(outcome, Polled) and outcome.is_appended:
            assert isinstance(outcome.state, bytes)
            if is_to_be_one(call.states, len(outcome.state)):
                self._supervisor.spawn("state", self._make_one(run, outcome, decision, answer))
                return
        self._follow(run, call, outcome, decision, answer)

    async def _make_one(
        self, run: Run, event: Polled, decision: Decision, answer: Answer | None
    ) -> None:
        """Read what a poll extends, and store both together."""
        try:
            whole = await self._giving.made_one(lambda: self._call_of(run), event)
        except Exception as error:  # as in _begin
            if not isinstance(error, DispatcherError):
                self._died("state", error)
            if answer is not None:
                answer.release()
            self._not_stored(run)
            return
        call = self._call_of(run)
        if whole is None or call is None or self._is_stopped:
            self._release(run, answer)
        else:
            self._follow(run, call, whole, decision, answer)

    # What follows.

    def _follow(
        self, run: Run, call: Call, outcome: Outcome, decision: Decision, answer: Answer | None
    ) -> None:
        """An outcome, which is the decision's or takes its place, becomes durable."""
        if isinstance(outcome, RetryAt) and not outcome.is_spent:
            call.due_us = outcome.due_us  # nothing that would have to be known after a crash
            self._release(run, answer)
            return
        event: Event
        if isinstance(outcome, RetryAt):
            event = Retried(call.key, run.step, outcome.attempts, outcome.due_us)
        else:
            event = outcome
        unneeded = self._named(call, decision.cancel) if decision.cancel else ()
        self._turns.storing += 1

        def then(refusal: Refusal | None) -> None:
            self._turns.stored()
            if refusal is None:
                self._refused = 0
                self._has_gone_on(run, call, decision.process, unneeded)
                self._release(run, answer)
                return
            if answer is not None:
                answer.release()
            if isinstance(outcome, RetryAt):
                self._retry_unwritten(run, outcome)
            else:
                self._not_stored(run)

        self._store.submit(event, then, urgent=isinstance(event, Exited))

    def _named(self, call: Call, correlations: Sequence[int]) -> tuple[int, ...]:
        """The keys of its children with these correlations, those that have not ended."""
        wanted = frozenset(correlations)
        children = (self._calls.get(key) for key in call.children)
        return tuple(
            child.key for child in children if child is not None and child.correlation in wanted
        )

    def _has_gone_on(self, run: Run, call: Call, process: str, unneeded: tuple[int, ...]) -> None:
        """What an answer says besides, once it is durable. A crash before it leaves things as they
        would be without: the state goes whole, the children go on."""
        if call.step == run.step + 1 and self._calls.get(call.key) is call:
            self._giving.referring.keeps(call, process, was_referred=run.is_referred)
        if unneeded:
            below = (self._calls.get(key) for key in self.under_way)
            running = (one.key for one in below if one is not None and one.root == call.root)
            dropped = Dropped(
                call.key,
                unneeded,
                errors.unneeded_error(call.function),
                errors.unneeded(call.function),
                self._clock.wall_us() + CLEANUP_US,
                tuple(running),
            )
            self._store.submit(dropped, urgent=True)

    def _release(self, run: Run, answer: Answer | None) -> None:
        if answer is not None:
            answer.release()
        self._over(run)

    def _retry_unwritten(self, run: Run, outcome: RetryAt) -> None:
        """It is tried again all the same; after a crash the count would begin anew."""
        call = self._call_of(run)
        if call is not None:
            call.attempts, call.due_us = outcome.attempts, outcome.due_us
        self._over(run)

    def _not_stored(self, run: Run) -> None:
        """Something is lacking here. Runs would change the world and nobody would know: so all of
        the partition rest a while."""
        rest_us = min(_REST_US << min(self._refused, 5), _LONGEST_REST_US)
        self._refused += 1
        self.rests_until_us = max(self.rests_until_us, self._clock.wall_us() + rest_us)
        self._over(run)

    def _over(self, run: Run) -> None:
        """Nothing of this run is under way any more."""
        self._turns.finish(run.place, NOTHING)
        if run.room is not None:
            run.room.release()
        if self.under_way.get(run.key) is run:
            del self.under_way[run.key]
        if not self.under_way:
            self._fell.set()
        call = self._calls.get(run.key)
        if call is not None:
            self._desk.note(call)


def _asked(run: Run, call: Call, plan: Plan, given: Given) -> Asked:
    run.is_referred = given.state_ref != 0
    is_own = run.is_referred or _is_own(call, given)
    return Asked(run.step, plan.count, given.error is not None, is_own, run.is_referred)


def _is_own(call: Call, given: Given) -> bool:
    """Whether the state is one of `dispatcher.sdk`, which says by itself that it cannot use it."""
    if call.arm is not StateArm.TYPED or not given.states:
        return False
    return Any.FromString(given.states[0]).type_url == OWN_STATE_TYPE

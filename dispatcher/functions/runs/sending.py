"""From a call that has its turn to the request of its run, on its way.

    begin ─▶ Resuming, where the set of results has to be frozen first ─▶ blobs read ─▶ signed
          ─▶ delivered

A small request of which all is in memory is sent before `begin` returns; others in a task.
"""

from __future__ import annotations

import asyncio
from typing import Final

from dispatcher.core.clock import SteadyClock
from dispatcher.core.room import Rooms
from dispatcher.functions import errors
from dispatcher.functions.events import Resuming
from dispatcher.functions.ids import call_id
from dispatcher.functions.lanes.lane import Place
from dispatcher.functions.limits import MOST_FETCHED_MS
from dispatcher.functions.model import Call, How, StateArm
from dispatcher.functions.ports import Store
from dispatcher.functions.rules import Asked
from dispatcher.functions.runs.asking import Given, Targets, run_message, run_request
from dispatcher.functions.runs.config import RunnerConfig
from dispatcher.functions.runs.giving import Giving, given_bytes
from dispatcher.functions.runs.message import RunHome, RunMessage
from dispatcher.functions.runs.resuming import Plan, plan_resume
from dispatcher.functions.runs.target import Target
from dispatcher.functions.runs.under_way import Desk, Run, UnderWay
from dispatcher.functions.runs.watching import Watcher
from dispatcher.protocol.messages import Any
from dispatcher.protocol.states import OWN_STATE_TYPE
from dispatcher.protocol.statuses import Status
from dispatcher.queue.ports import Deliverer

_LARGE_BYTES: Final = 256 * 1024
"""A larger body is digested in a thread, as it would hold the loop for half a millisecond, and
needs room."""
_AT_ONCE_BYTES: Final = 16 * 1024
"""A larger one waits for its turn in a task of its own."""
_FIRST: Final = Plan(0, must_be_stored=False)


class Sending:
    """Sends the runs of a partition."""

    __slots__ = (
        "_clock",
        "_config",
        "_deliverer",
        "_desk",
        "_fetched",
        "_giving",
        "_home",
        "_rooms",
        "_store",
        "_targets",
        "_under_way",
        "_watcher",
    )

    def __init__(
        self,
        under_way: UnderWay,
        store: Store,
        desk: Desk,
        home: RunHome,
        *,
        targets: Targets,
        deliverer: Deliverer,
        fetched: Deliverer | None,
        giving: Giving,
        rooms: Rooms,
        config: RunnerConfig,
        clock: SteadyClock,
        watcher: Watcher,
    ) -> None:
        """`home` is told how runs end; `fetched` gets those that are not connected for."""
        self._under_way = under_way
        self._store = store
        self._desk = desk
        self._home = home
        self._targets = targets
        self._deliverer = deliverer
        self._fetched = fetched
        self._giving = giving
        self._rooms = rooms
        self._config = config
        self._clock = clock
        self._watcher = watcher

    def begin(self, call: Call, place: Place) -> None:
        """Run a call that has its turn."""
        run = self._under_way.begin(call, place)
        try:
            plan = self._plan(run, call)
            if plan is not None and not self._ask_at_once(run, call, plan):
                self._under_way.spawn("run", run, self._ask(run, plan))
        except Exception as error:
            self._under_way.failed("run", run, error)

    def send_again(self, run: Run, message: RunMessage, target: Target) -> None:
        """Send the request of a run once more, to this target. It is the same attempt."""
        call = self._under_way.call_of(run)
        assert call is not None
        run.message = None
        body = bytes(message.body)
        again = self._send_body(run, call, body, message.asked, target)
        self._under_way.spawn("run", run, again)

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
        if self._watcher.is_wanted:
            self._watcher.ends(call, result)
        self._desk.end(call, How.FAILED, result)
        self._under_way.over(run)

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

    async def _ask(self, run: Run, plan: Plan) -> None:
        call = self._under_way.call_of(run)
        if call is None:
            self._under_way.over(run)
            return
        if plan.must_be_stored:
            await self._store.stored(Resuming(call.key, run.step, plan.count))
        await self._find_room(run, given_bytes(call, plan.count))
        given = await self._giving.given(lambda: self._under_way.call_of(run), plan.count)
        call = self._under_way.call_of(run)
        if given is None or call is None or self._under_way.is_stopped:
            self._under_way.over(run)
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
        number = self._config.partition
        permit = self._targets.permit(call_id(number, call.key)) if call.kept else b""
        return run_request(call, given, number, permit).SerializeToString()

    def _message(
        self, call: Call, body: bytes, asked: Asked, target: Target, now_us: int
    ) -> RunMessage:
        timeout_ms = call.timeout_ms or self._usual_timeout_ms(target)
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

    def _usual_timeout_ms(self, target: Target) -> int:
        rules = self._config.in_force.rules
        if rules is not None and target.signed is not None:
            rule = rules.of(target.destination, target.head.split(b" ", 2)[1])
            if rule is not None and rule.timeout_ms is not None:
                return rule.timeout_ms
        return self._config.timeout_ms

    async def _send_body(
        self, run: Run, call: Call, body: bytes, asked: Asked, target: Target
    ) -> None:
        now_us = self._clock.wall_us()
        if len(body) <= _LARGE_BYTES:
            message = self._message(call, body, asked, target, now_us)
        else:
            message = await asyncio.to_thread(self._message, call, body, asked, target, now_us)
        if self._under_way.call_of(run) is None or self._under_way.is_stopped:
            self._under_way.over(run)
            return
        self._send(run, call, message)

    def _send(self, run: Run, call: Call, message: RunMessage) -> None:
        tenure = self._home.tenure
        if not (tenure.is_for_good or tenure.holds()):
            self._under_way.not_stored(run)  # what came of it might not be, either
            return
        target = message.where
        message.home, message.place = self._home, run.place
        message.started_at = self._clock.now_us()
        run.started_us = self._clock.wall_us()
        run.ends_us = run.started_us + message.timeout_ms * 1000
        if self._watcher.is_wanted and not target.is_other:
            self._watcher.run_started(call, message.attempt, run.started_us)
        if target.signed is not None:
            run.message = message
            self._deliverer.deliver(message)
        else:
            assert self._fetched is not None
            self._fetched.deliver(message)


def _asked(run: Run, call: Call, plan: Plan, given: Given) -> Asked:
    run.is_referred = given.state_ref != 0
    is_own = run.is_referred or _is_own(call, given)
    was_told = given.error is not None
    return Asked(run.step, plan.count, was_told, is_own, run.is_referred, call.cancelling)


def _is_own(call: Call, given: Given) -> bool:
    """Whether the state is one of `dispatcher.sdk`, which says by itself that it cannot use it."""
    if call.arm is not StateArm.TYPED or not given.states:
        return False
    return Any.FromString(given.states[0]).type_url == OWN_STATE_TYPE

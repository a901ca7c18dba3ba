"""Makes the calls of schedules, each in one event with the mark that says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from dispatcher.functions.checking import validate_call
from dispatcher.functions.events import Created, NewCall
from dispatcher.functions.machine import Machine
from dispatcher.functions.model import Call, Phase
from dispatcher.functions.ports import Store
from dispatcher.functions.rules import Rules
from dispatcher.functions.schedules.facts import fact_of
from dispatcher.functions.shown import CallState
from dispatcher.functions.views.looking import STATE_OF
from dispatcher.protocol.messages import Call as CallMessage
from dispatcher.schedules.plans import Firing, PlannedCall
from dispatcher.schedules.ports import Ended, Order, Whose
from dispatcher.schedules.surface import ScheduleInvalid

MOST_INPUT_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Environment:
    """What the maker is given. `now_us` is the wall clock, `next_key` makes the key of one more
    call, `id_of` its id. `state_of` says what a call does, `ended_as` how one has ended that is in
    the table no more."""

    now_us: Callable[[], int]
    next_key: Callable[[], int]
    id_of: Callable[[int], str]
    ended_as: Callable[[int], Awaitable[CallState | None]]
    state_of: Callable[[Call], CallState]


class CallMaker:
    """Implements `schedules.ports.Maker` for `PlannedCall`."""

    stores_marks = True
    keeps_ends = True

    def __init__(
        self, store: Store, machine: Machine, rules: Rules, environment: Environment
    ) -> None:
        self._store = store
        self._machine = machine
        self._rules = rules
        self._environment = environment
        self._ended: Ended = _nobody

    async def make(self, order: Order) -> None:
        """See `Maker`."""
        key, now_us = self._environment.next_key(), self._environment.now_us()
        planned = order.what
        assert isinstance(planned, PlannedCall)
        call = NewCall(
            key=key,
            correlation=0,
            endpoint=planned.endpoint,
            function=planned.function,
            version="",
            created_us=now_us,
            expires_us=self._rules.expires_us(now_us, 0),
            input=planned.input,
        )
        mark = fact_of(order.made_as(key))  # before: it may have ended as soon as it is stored
        await self._store.stored(Created(order.whose.application, (call,), (mark,)))

    def found(self, whose: Whose, at_us: int) -> int | None:
        """See `Maker`."""
        return None

    def tell(self, ended: Ended) -> None:
        """See `Maker`."""
        self._ended = ended

    def watch(self, whose: Whose, firing: Firing) -> None:
        """See `Maker`. The machine tells."""

    def look(self) -> float | None:
        """See `Maker`. The machine tells."""
        return None

    def has_ended(self, call: Call) -> None:
        """A root call has ended. Called in the middle of `apply`: it only takes note."""
        self._ended(call.key, None if call.how is None else STATE_OF[call.how].value)

    def is_alive(self, key: int) -> bool:
        """See `Maker`."""
        call = self._machine.calls.get(key)
        return call is not None and call.phase is not Phase.ENDED

    def id_of(self, key: int) -> str:
        """See `Maker`."""
        return self._environment.id_of(key)

    def state_now(self, key: int) -> str | None:
        """See `Maker`."""
        call = self._machine.calls.get(key)
        return None if call is None else self._environment.state_of(call).value

    async def ended_as(self, firing: Firing) -> str | None:
        """See `Maker`."""
        state = await self._environment.ended_as(firing.key)
        return None if state is None else state.value


def _nobody(key: int, word: str | None) -> None:
    """Nobody keeps schedules yet."""


def check_call(planned: PlannedCall) -> None:
    """Check what can be wrong with a planned call.

    Raises:
        ScheduleInvalid: something is.
    """
    call = CallMessage(endpoint=planned.endpoint, function=planned.function)
    if planned.input:
        call.input.ParseFromString(planned.input)
    problem = validate_call(call, "call")
    if problem is not None:
        raise ScheduleInvalid(str(problem))
    if len(planned.input) > MOST_INPUT_BYTES:
        raise ScheduleInvalid(
            f"call.input has {len(planned.input)} bytes, and {MOST_INPUT_BYTES} is the most of a "
            "schedule: let the function fetch what is larger."
        )

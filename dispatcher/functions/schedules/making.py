"""What a schedule does to the log: its plan and its mark are facts, a firing is one event with a
call and the new mark."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dispatcher.errors import Refused
from dispatcher.functions.events import Created, Fact, NewCall, Noted
from dispatcher.functions.machine import Machine
from dispatcher.functions.model import Call, Phase
from dispatcher.functions.ports import Store
from dispatcher.functions.rules import Rules
from dispatcher.functions.schedules.entry import Entry
from dispatcher.functions.schedules.records import (
    MARKS,
    PLANS,
    Firing,
    Mark,
    Overlap,
    Plan,
    pack_mark,
    pack_plan,
    read_mark,
    read_plan,
)
from dispatcher.functions.schedules.surface import FiringView, ScheduleView
from dispatcher.functions.shown import CallState
from dispatcher.functions.views.looking import STATE_OF


@dataclass(frozen=True, slots=True)
class Environment:
    """What schedules are given. `now_us` is the wall clock, `next_key` makes the key of one more
    call, `id_of` its id. `state_of` says what a call does, `ended_as` how one has ended that is in
    the table no more."""

    now_us: Callable[[], int]
    next_key: Callable[[], int]
    id_of: Callable[[int], str]
    ended_as: Callable[[int], Awaitable[CallState | None]]
    state_of: Callable[[Call], CallState]


class Making:
    """Makes the calls of schedules, and knows what became of the last ones. All but `view` change
    an entry, whose lock is held."""

    def __init__(
        self, store: Store, machine: Machine, rules: Rules, environment: Environment
    ) -> None:
        self._store = store
        self._machine = machine
        self._rules = rules
        self._environment = environment
        self._made: dict[int, Entry] = {}

    # The facts.

    async def stored(self) -> list[Entry]:
        """All schedules that are stored.

        Raises:
            LogVersionTooNew: a newer version wrote one.
        """
        found = []
        for space, full_name in list(self._machine.facts):
            if space != PLANS:
                continue
            plan, mark = await self._plan(full_name), Mark(self._environment.now_us())
            if (MARKS, full_name) in self._machine.facts:  # but for what a damaged log has lost
                mark = read_mark(await self._fact(MARKS, full_name))
            application, _, name = full_name.partition("\x00")
            entry = Entry(application, name, plan, mark)
            for firing in _firings(mark):
                self._made[firing.key] = entry
            found.append(entry)
        return found

    async def plan(self, entry: Entry) -> Plan:
        """The plan of a schedule, with its input."""
        return await self._plan(_full_name(entry))

    async def _plan(self, full_name: str) -> Plan:
        return read_plan(await self._fact(PLANS, full_name))

    async def _fact(self, space: str, full_name: str) -> bytes:
        found = await self._store.read(lambda: [self._machine.facts[space, full_name].where])
        assert found is not None, "it is held for as long as the fact is known"
        return found[0]

    async def store(self, entry: Entry, plan: Plan, mark: Mark) -> None:
        """Let it be planned so.

        Raises:
            Refused: it is not stored.
        """
        planned = Fact(PLANS, _full_name(entry), pack_plan(plan))
        await self._store.stored(Noted((planned, _marked(entry, mark))))
        entry.change(plan, mark)

    async def forget(self, entry: Entry) -> None:
        """Let it be no more.

        Raises:
            Refused: it is not stored.
        """
        full_name = _full_name(entry)
        await self._store.stored(
            Noted((Fact(PLANS, full_name, None), Fact(MARKS, full_name, None)))
        )
        entry.is_gone = True
        self._take(entry, Mark(0))

    # Firing.

    async def deal_with_one(self, entry: Entry) -> bool:
        """Fire what is due, or leave it out; False: nothing is due, or it has to wait.

        Raises:
            Refused, LogBusy: not now; nothing was done.
        """
        now_us = self._environment.now_us()
        at_us = entry.due_us(now_us)
        if at_us is None:
            return False
        before = entry.mark.fired
        if before is None or not self._is_alive(before.key):
            await self._fire(entry, at_us, entry.fired)
            return True
        if entry.plan.overlap is Overlap.QUEUE:
            entry.waits_for = before.key
            return False
        mark = entry.skipped(now_us)
        await self._store.stored(Noted((_marked(entry, mark),)))
        self._take(entry, mark)
        return True

    async def run(self, entry: Entry) -> FiringView:
        """Make its call now.

        Raises:
            Refused, LogBusy: not now; nothing was done.
        """
        return await self._fire(entry, self._environment.now_us(), entry.was_run)

    def _is_alive(self, key: int) -> bool:
        call = self._machine.calls.get(key)
        return call is not None and call.phase is not Phase.ENDED

    async def _fire(
        self, entry: Entry, at_us: int, marked: Callable[[int, int], Mark]
    ) -> FiringView:
        plan = await self.plan(entry)
        key, now_us = self._environment.next_key(), self._environment.now_us()
        call = NewCall(
            key=key,
            correlation=0,
            endpoint=plan.endpoint,
            function=plan.function,
            version="",
            created_us=now_us,
            expires_us=self._rules.expires_us(now_us, 0),
            input=plan.input,
        )
        mark = marked(at_us, key)
        self._made[key] = entry  # before: it may have ended as soon as it is stored
        try:
            await self._store.stored(Created(entry.application, (call,), (_marked(entry, mark),)))
        except Refused:
            del self._made[key]
            raise
        self._take(entry, mark)
        return FiringView(at_us, self._environment.id_of(key), CallState.READY)

    def _take(self, entry: Entry, mark: Mark) -> None:
        """A mark is durable."""
        kept = _firings(mark)
        for firing in _firings(entry.mark):
            if firing not in kept:
                self._made.pop(firing.key, None)
        entry.marked(mark)

    def has_ended(self, call: Call) -> bool:
        """A root call has ended; whether a firing has waited for that. Only takes note."""
        entry = self._made.get(call.key)
        if entry is None:
            return False
        if call.how is not None:
            entry.outcomes[call.key] = STATE_OF[call.how]
        if entry.waits_for != call.key:
            return False
        entry.waits_for = None
        return True

    # Looking.

    async def view(self, entry: Entry, plan: Plan) -> ScheduleView:
        """How it stands."""
        return ScheduleView(
            entry.application,
            entry.name,
            plan,
            entry.next_us,
            entry.waits_for is not None,
            await self._view_of(entry, entry.mark.fired),
            await self._view_of(entry, entry.mark.run),
            entry.mark.skipped,
        )

    async def _view_of(self, entry: Entry, firing: Firing | None) -> FiringView | None:
        if firing is None:
            return None
        key = firing.key
        call = self._machine.calls.get(key)
        if call is not None:
            state: CallState | None = self._environment.state_of(call)
        else:
            state = entry.outcomes.get(key) or await self._environment.ended_as(key)
            if state is not None:
                entry.outcomes[key] = state
        return FiringView(firing.at_us, self._environment.id_of(key), state)


def _firings(mark: Mark) -> list[Firing]:
    return [firing for firing in (mark.fired, mark.run) if firing is not None]


def _full_name(entry: Entry) -> str:
    return f"{entry.application}\x00{entry.name}"


def _marked(entry: Entry, mark: Mark) -> Fact:
    return Fact(MARKS, _full_name(entry), pack_mark(mark))

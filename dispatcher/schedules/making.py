"""What a schedule does to the log: its plan and its mark are facts, and what it fires is made by
the maker of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from dispatcher.errors import LogBusy, Refused
from dispatcher.schedules.entry import MINUTE_US, Entry
from dispatcher.schedules.plans import Firing, Mark, Overlap, Plan, Planned
from dispatcher.schedules.ports import Change, Facts, Maker, Order, Whose
from dispatcher.schedules.records import (
    MARKS,
    PLANS,
    pack_mark,
    pack_plan,
    read_mark,
    read_plan,
)
from dispatcher.schedules.surface import FiringView, ScheduleView

Makers = Mapping[type[Planned], Maker]
"""By what is planned."""


class Making:
    """Has the makers make what is planned, and knows what became of the last ones. All but `view`
    change an entry, whose lock is held."""

    def __init__(self, facts: Facts, makers: Makers, now_us: Callable[[], int]) -> None:
        self._facts = facts
        self._makers = makers
        self._now_us = now_us
        self._made: dict[int, Entry] = {}

    # The facts.

    async def stored(self) -> list[Entry]:
        """All schedules that are stored.

        Raises:
            LogVersionTooNew: a newer version wrote one.
        """
        found = []
        for full_name in self._facts.names(PLANS):
            plan, mark = await self._plan(full_name), Mark(self._now_us())
            marked = await self._facts.read(MARKS, full_name)
            if marked is not None:  # but for what a damaged log has lost
                mark = read_mark(marked)
            application, _, name = full_name.partition("\x00")
            entry = Entry(application, name, plan, mark)
            self._find_last(entry)
            self._know(entry)
            found.append(entry)
        return found

    def _find_last(self, entry: Entry) -> None:
        """See whether the process ended after a firing, and before its mark was stored."""
        maker, whose = self._maker(entry), _whose(entry)
        if maker.stores_marks:
            return
        for at_us in reversed(entry.unmarked(self._now_us())):
            key = maker.found(whose, at_us)
            if key is not None:
                entry.marked(entry.fired(at_us, key))
                entry.is_written = False
                return

    def _know(self, entry: Entry) -> None:
        """What a schedule has made is its own, and is watched."""
        maker = self._maker(entry)
        for firing in _firings(entry.mark):
            self._made[firing.key] = entry
            if not firing.outcome:
                maker.watch(_whose(entry), firing)

    async def plan(self, entry: Entry) -> Plan:
        """The plan of a schedule, with its payload."""
        return await self._plan(_full_name(entry))

    async def _plan(self, full_name: str) -> Plan:
        data = await self._facts.read(PLANS, full_name)
        assert data is not None, "it is there for as long as the schedule"
        return read_plan(data)

    async def store(self, entry: Entry, plan: Plan, mark: Mark) -> None:
        """Let it be planned so.

        Raises:
            Refused: it is not stored.
        """
        planned = Change(PLANS, _full_name(entry), pack_plan(plan))
        await self._facts.store((planned, _marked(entry, mark)))
        self._forget_made(entry, mark)
        entry.change(plan, mark)
        entry.is_written = True

    async def forget(self, entry: Entry) -> None:
        """Let it be no more.

        Raises:
            Refused: it is not stored.
        """
        full_name = _full_name(entry)
        await self._facts.store((Change(PLANS, full_name, None), Change(MARKS, full_name, None)))
        entry.is_gone = True
        self._forget_made(entry, Mark(0))

    # Firing.

    async def deal_with_one(self, entry: Entry) -> bool:
        """Do one thing that is due: store a mark, fire, or leave a firing out; False: nothing is
        due, or it has to wait.

        Raises:
            Refused, LogBusy: not now; nothing was done.
        """
        if not entry.is_written:
            await self._write(entry)
            return True
        now_us = self._now_us()
        at_us = entry.due_us(now_us)
        if at_us is None:
            return False
        before = entry.mark.fired
        if before is None or not self._maker(entry).is_alive(before.key):
            with suppress(LogBusy):  # it is only shown
                await self._view_of(entry, before)
            await self._fire(entry, at_us, entry.fired)
            return True
        if entry.plan.overlap is Overlap.QUEUE:
            entry.waits_for = before.key
            return False
        mark = entry.skipped(now_us)
        await self._facts.store((_marked(entry, mark),))
        entry.marked(mark)
        return True

    async def _write(self, entry: Entry) -> None:
        mark = entry.mark
        await self._facts.store((_marked(entry, mark),))
        entry.is_written = entry.mark == mark  # or something has ended meanwhile

    async def run(self, entry: Entry) -> FiringView:
        """Make it now.

        Raises:
            Refused, LogBusy: not now; nothing was done.
        """
        await self._fire(entry, self._by_hand_us(entry), entry.was_run)
        with suppress(Refused):  # it was made, and the keeper stores that when it can
            if not entry.is_written:
                await self._write(entry)
        view = await self._view_of(entry, entry.mark.run)
        assert view is not None
        return view

    def _by_hand_us(self, entry: Entry) -> int:
        """Now, or just after it: no firing has the same time, nor had what was run before."""
        before = entry.mark.run
        now_us = self._now_us()
        at_us = now_us if before is None else max(now_us, before.at_us + 1)
        return at_us if at_us % MINUTE_US else at_us + 1

    def _maker(self, entry: Entry) -> Maker:
        return self._makers[type(entry.plan.what)]

    async def _fire(self, entry: Entry, at_us: int, marked: Callable[[int, int], Mark]) -> None:
        plan = await self.plan(entry)
        maker = self._maker(entry)
        made: list[tuple[int, Mark]] = []

        def made_as(key: int) -> Change:
            mark = marked(at_us, key)
            made.append((key, mark))
            self._made[key] = entry
            return _marked(entry, mark)

        try:
            await maker.make(Order(_whose(entry), plan.what, at_us, made_as))
        except Refused:
            for key, _ in made:
                del self._made[key]
            raise
        ((_, mark),) = made
        self._forget_made(entry, mark)
        entry.marked(mark)
        entry.is_written = maker.stores_marks

    def _forget_made(self, entry: Entry, mark: Mark) -> None:
        """What the next mark does not know is a schedule's no more."""
        kept = {firing.key for firing in _firings(mark)}
        for firing in _firings(entry.mark):
            if firing.key not in kept:
                self._made.pop(firing.key, None)

    def has_ended(self, key: int, word: str | None) -> bool:
        """Something has ended; whether there is something to do now. Only takes note."""
        entry = self._made.get(key)
        if entry is None:
            return False
        if word is not None:
            entry.outcomes[key] = word
            if not self._maker(entry).keeps_ends:
                entry.ended(key, word)
        if entry.waits_for == key:
            entry.waits_for = None
            return True
        return not entry.is_written

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
            [self._earlier_view(entry, firing) for firing in entry.mark.earlier],
        )

    def _earlier_view(self, entry: Entry, firing: Firing) -> FiringView:
        maker = self._maker(entry)
        state = maker.state_now(firing.key) or firing.outcome or None
        return FiringView(firing.at_us, maker.id_of(firing.key), state)

    async def _view_of(self, entry: Entry, firing: Firing | None) -> FiringView | None:
        if firing is None:
            return None
        key, maker = firing.key, self._maker(entry)
        state = maker.state_now(key)
        if state is None:
            state = entry.outcomes.get(key) or firing.outcome or await maker.ended_as(firing)
            if state is not None:
                entry.outcomes[key] = state
        return FiringView(firing.at_us, maker.id_of(key), state)


def _firings(mark: Mark) -> list[Firing]:
    return [firing for firing in (mark.fired, mark.run) if firing is not None]


def _whose(entry: Entry) -> Whose:
    return Whose(entry.application, entry.name, entry.plan.what)


def _full_name(entry: Entry) -> str:
    return f"{entry.application}\x00{entry.name}"


def _marked(entry: Entry, mark: Mark) -> Change:
    return Change(MARKS, _full_name(entry), pack_mark(mark))

"""A schedule at work: which of its firings has its turn. Pure; instants are microseconds since the
epoch."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from dispatcher.schedules.cron import Cron
from dispatcher.schedules.plans import MOST_EARLIER, CatchUp, Firing, Mark, Plan

MOST_LATE: Final = 100
"""Firings that wait, or are made up for: of more, these are the last ones."""
MINUTE_US: Final = 60_000_000
"""Firings are no closer together, and at the beginning of one."""


class Entry:
    """One schedule.

    `plan` is without its payload. `next_us` is its next firing, which may be late; None: there is
    none, it is paused, or this machine does not know its time zone. `waits_for` is the key of what
    this firing waits for, and `not_before_us` when it is tried again after it could not be stored.
    `outcomes` has, by key, the word for how what was made last has ended. `is_written` says that
    its mark is stored as it is here. Who changes it, or fires, holds `lock`.
    """

    __slots__ = (
        "_cron",
        "_since_us",
        "application",
        "is_gone",
        "is_written",
        "lock",
        "mark",
        "name",
        "next_us",
        "not_before_us",
        "outcomes",
        "plan",
        "waits_for",
    )

    def __init__(self, application: str, name: str, plan: Plan, mark: Mark) -> None:
        self.application = application
        self.name = name
        self.lock = asyncio.Lock()
        self.outcomes: dict[int, str] = {}
        self.is_gone = False
        self.is_written = True
        self.change(plan, mark)

    def __repr__(self) -> str:
        return f"<Entry {self.application}/{self.name}: next at {self.next_us}>"

    def change(self, plan: Plan, mark: Mark) -> None:
        """It is planned anew."""
        try:
            self._cron: Cron | None = Cron(plan.cron, plan.timezone)
        except ValueError:  # it was known when the plan was made
            self._cron = None
        self.plan = replace(plan, what=plan.what.without_payload())
        self.waits_for: int | None = None
        self.not_before_us = 0
        self.marked(mark)

    def mark_for(self, plan: Plan, now_us: int) -> Mark:
        """How far it has come when it is planned like this. With other times, or when it was
        paused, it begins now: nothing that was not to be is made up for. When something of another
        kind is planned, all that was made is forgotten."""
        if type(plan.what) is not type(self.plan.what):
            return Mark(now_us)
        is_same = (plan.cron, plan.timezone) == (self.plan.cron, self.plan.timezone)
        begins = not is_same or (self.plan.paused and not plan.paused)
        return replace(self.mark, since_us=now_us if begins else self._since_us)

    def marked(self, mark: Mark) -> None:
        """It has come this far."""
        self.mark = mark
        kept = {firing.key for firing in (mark.fired, mark.run) if firing is not None}
        self.outcomes = {key: state for key, state in self.outcomes.items() if key in kept}
        self._go_on(mark.since_us)

    def was_missed(self, now_us: int) -> None:
        """Nobody looked at it until now: what was to fire meanwhile is made up for, or is not."""
        if self.plan.catch_up is CatchUp.NONE:
            self._go_on(max(self._since_us, now_us))
            return
        most = 1 if self.plan.catch_up is CatchUp.LAST else MOST_LATE
        self._leave_out_all_but(most, now_us)

    def due_us(self, now_us: int) -> int | None:
        """The firing whose turn it is; None: there is none now."""
        if not self.is_due(now_us) or self.next_us is None:
            return None
        if now_us - self.next_us >= MOST_LATE * MINUTE_US:
            self._leave_out_all_but(MOST_LATE, now_us)
        return self.next_us

    def is_due(self, now_us: int) -> bool:
        """Whether there is something to do."""
        due_us = self.looked_at_us
        return due_us is not None and due_us <= now_us

    def unmarked(self, now_us: int) -> list[int]:
        """The firings that may have been made without a mark that says so."""
        return self._late(MOST_LATE, now_us)

    def ended(self, key: int, word: str) -> None:
        """What was made has ended so, and the mark is to keep that."""
        fired, run = (
            replace(one, outcome=word) if one is not None and one.key == key else one
            for one in (self.mark.fired, self.mark.run)
        )
        if (fired, run) != (self.mark.fired, self.mark.run):
            self.mark = replace(self.mark, fired=fired, run=run)
            self.is_written = False

    @property
    def looked_at_us(self) -> int | None:
        """When it is to be looked at; None: not by time."""
        if self.is_gone:
            return None
        if not self.is_written:
            return self.not_before_us
        if self.next_us is None or self.waits_for is not None:
            return None
        return max(self.next_us, self.not_before_us)

    def fired(self, at_us: int, key: int) -> Mark:
        """How far it has come when this firing is made."""
        before, earlier = self.mark.fired, self.mark.earlier
        if before is not None:
            outcome = before.outcome or self.outcomes.get(before.key, "")
            earlier = (replace(before, outcome=outcome), *earlier)[:MOST_EARLIER]
        return replace(self.mark, since_us=at_us, fired=Firing(at_us, key), earlier=earlier)

    def skipped(self, now_us: int) -> Mark:
        """How far it has come when all that is due now is left out."""
        late = self._late(MOST_LATE, now_us)
        since_us = late[-1] if late else self._since_us
        return replace(self.mark, since_us=since_us, skipped=self.mark.skipped + len(late))

    def was_run(self, at_us: int, key: int) -> Mark:
        """How far it has come when it is run by hand: no further than before."""
        return replace(self.mark, since_us=self._since_us, run=Firing(at_us, key))

    def _late(self, most: int, now_us: int) -> list[int]:
        if self._cron is None or self.next_us is None or self.next_us > now_us:
            return []
        if now_us - self.next_us < MINUTE_US:
            return [self.next_us]
        return self._cron.latest(self._since_us, now_us, most)

    def _leave_out_all_but(self, most: int, now_us: int) -> None:
        late = self._late(most, now_us)
        if late and self.next_us is not None and self.next_us < late[0]:
            self._go_on(late[0] - 1)

    def _go_on(self, since_us: int) -> None:
        self._since_us = since_us
        cron = None if self.plan.paused else self._cron
        self.next_us = None if cron is None else cron.after(since_us)

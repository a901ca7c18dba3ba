"""Keeps schedules, and sees that each fires when it is due.

One task looks at what is due and waits for the next; firings of several schedules are stored side
by side, those of one after each other. When nobody has looked for a while (the server was down, the
machine slept), what came meanwhile was missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from dispatcher.errors import LogBusy, Refused
from dispatcher.schedules.entry import Entry
from dispatcher.schedules.making import Makers, Making
from dispatcher.schedules.plans import Mark, Plan
from dispatcher.schedules.ports import Facts
from dispatcher.schedules.surface import MOST_SCHEDULES, TOO_MANY, FiringView, ScheduleView
from dispatcher.telemetry.supervisor import Supervisor

T = TypeVar("T")

_LONGEST_S: Final = 60.0
"""The wall clock may be set: so nothing is waited for longer without looking at it."""
_SHORTEST_S: Final = 0.001
_ASLEEP_US: Final = 120_000_000
"""Who has not looked for so long was not there."""
_AGAIN_US: Final = 5_000_000
"""After a firing could not be stored."""


class Keeper:
    """Implements `surface.Schedules` for one partition.

    Life: `await open()` after recovery, `start()`, `stop()`.
    """

    def __init__(
        self,
        facts: Facts,
        makers: Makers,
        *,
        now_us: Callable[[], int],
        supervisor: Supervisor,
    ) -> None:
        """`now_us` is the wall clock."""
        self._making = Making(facts, makers, now_us)
        self._makers = makers
        self._now_us = now_us
        self._supervisor = supervisor
        self._entries: dict[tuple[str, str], Entry] = {}
        self._under_way: set[Entry] = set()
        self._changing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._looked_us = 0
        self._is_stopped = False

    def __repr__(self) -> str:
        return f"<Keeper: {len(self._entries)} schedules, {len(self._under_way)} under way>"

    # Life.

    async def open(self) -> None:
        """Read what is stored.

        Raises:
            LogVersionTooNew: a newer version wrote it.
        """
        for maker in self._makers.values():
            maker.tell(self.has_ended)
        for entry in await self._making.stored():
            self._entries[entry.application, entry.name] = entry

    def start(self) -> None:
        """Begin to fire. What came since the process before this one ended was missed."""
        self._supervisor.forever("schedules", self._watch, every_s=1.0)

    def stop(self) -> None:
        """Fire no more. Idempotent."""
        self._is_stopped = True

    def has_ended(self, key: int, word: str | None) -> None:
        """Something has ended, as this word says; see `ports.Ended`. It only takes note."""
        if self._making.has_ended(key, word):
            self._changed.set()

    async def _watch(self) -> None:
        while not self._is_stopped:
            self._changed.clear()
            now_us = self._now_us()
            if now_us - self._looked_us > _ASLEEP_US:
                await self._miss(now_us)
            self._looked_us = now_us
            looks_s = [again_s for maker in self._makers.values() if (again_s := maker.look())]
            for entry in self._entries.values():
                if entry not in self._under_way and entry.is_due(now_us):
                    self._under_way.add(entry)
                    self._supervisor.spawn("schedule", self._attend(entry))
            try:
                async with asyncio.timeout(min(self._pause_s(), *looks_s, _LONGEST_S)):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _miss(self, now_us: int) -> None:
        for entry in list(self._entries.values()):
            async with entry.lock:
                entry.was_missed(now_us)
            await asyncio.sleep(0)  # others have their turn in between

    def _pause_s(self) -> float:
        now_us = self._now_us()
        due_us = [
            entry.looked_at_us
            for entry in self._entries.values()
            if entry not in self._under_way and entry.looked_at_us is not None
        ]
        wait_s = (min(due_us) - now_us) / 1_000_000 if due_us else _LONGEST_S
        return min(max(wait_s, _SHORTEST_S), _LONGEST_S)

    async def _attend(self, entry: Entry) -> None:
        """Fire what is due of a schedule, one after the other."""
        try:
            async with entry.lock:
                while not self._is_stopped and await self._making.deal_with_one(entry):
                    pass
        except (Refused, LogBusy):  # `/readyz` says it, and the log
            entry.not_before_us = self._now_us() + _AGAIN_US
        except BaseException:
            entry.not_before_us = self._now_us() + _AGAIN_US
            raise
        finally:
            self._under_way.discard(entry)
            self._changed.set()

    # `surface.Schedules`

    async def put(self, application: str, name: str, plan: Plan) -> tuple[ScheduleView, bool]:
        """See `Schedules`."""
        return await self._whole(self._put(application, name, plan))

    async def _put(self, application: str, name: str, plan: Plan) -> tuple[ScheduleView, bool]:
        async with self._changing:
            entry = self._entries.get((application, name))
            if entry is not None:
                async with entry.lock:
                    await self._change(entry, plan)
                return await self._making.view(entry, plan), False
            if len(self._entries) >= MOST_SCHEDULES:
                raise Refused(TOO_MANY)
            mark = Mark(self._now_us())
            entry = Entry(application, name, plan, mark)
            await self._making.store(entry, plan, mark)
            self._entries[application, name] = entry
            self._changed.set()
            return await self._making.view(entry, plan), True

    async def _change(self, entry: Entry, plan: Plan) -> None:
        await self._making.store(entry, plan, entry.mark_for(plan, self._now_us()))
        self._changed.set()

    async def get(self, application: str, name: str) -> ScheduleView | None:
        """See `Schedules`."""
        entry = self._entries.get((application, name))
        if entry is None:
            return None
        async with entry.lock:
            if entry.is_gone:
                return None
            return await self._making.view(entry, await self._making.plan(entry))

    async def list(self, *, only: str | None) -> Sequence[ScheduleView]:
        """See `Schedules`."""
        return [
            await self._making.view(entry, entry.plan)
            for _, entry in sorted(self._entries.items())
            if only in (None, entry.application)
        ]

    async def delete(self, application: str, name: str) -> bool:
        """See `Schedules`."""
        return await self._whole(self._delete(application, name))

    async def _delete(self, application: str, name: str) -> bool:
        async with self._changing:
            entry = self._entries.get((application, name))
            if entry is None:
                return False
            async with entry.lock:
                await self._making.forget(entry)
                del self._entries[application, name]
            return True

    async def run(self, application: str, name: str) -> FiringView | None:
        """See `Schedules`."""
        return await self._whole(self._run(application, name))

    async def _run(self, application: str, name: str) -> FiringView | None:
        entry = self._entries.get((application, name))
        if entry is None:
            return None
        async with entry.lock:
            if entry.is_gone:
                return None
            firing = await self._making.run(entry)
        self._changed.set()
        return firing

    async def pause(self, application: str, name: str, *, paused: bool) -> ScheduleView | None:
        """See `Schedules`."""
        return await self._whole(self._pause(application, name, paused))

    async def _pause(self, application: str, name: str, paused: bool) -> ScheduleView | None:
        entry = self._entries.get((application, name))
        if entry is None:
            return None
        async with entry.lock:
            if entry.is_gone:
                return None
            plan = await self._making.plan(entry)
            if plan.paused is not paused:
                plan = replace(plan, paused=paused)
                await self._change(entry, plan)
            return await self._making.view(entry, plan)

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it in a task: who hangs up must not leave memory and log apart."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

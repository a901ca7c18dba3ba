"""What is given to calls from outside: results of promises, and values of channels."""

from __future__ import annotations

from collections import deque

from dispatcher.functions.endpoints import CHANNEL, PROMISE
from dispatcher.functions.events import Completed, Given, Sent
from dispatcher.functions.ids import number_of
from dispatcher.functions.machine.ending import Ending
from dispatcher.functions.machine.ports import Kept
from dispatcher.functions.machine.table import Table
from dispatcher.functions.model import Call, How, Phase

_Name = tuple[str, str]
"""Application, and whole endpoint."""


class Outside:
    """What is kept, and who gets it: see `Machine` for `promises`, `channels` and `matches`."""

    def __init__(self, table: Table, ending: Ending) -> None:
        self.promises: dict[_Name, Kept] = {}
        self.channels: dict[_Name, deque[Kept]] = {}
        self.matches: list[Given] = []
        self._table = table
        self._ending = ending
        self._on_the_way: dict[int, Kept] = {}

    def wait(self, call: Call) -> None:
        """A call is to be completed from outside. What is kept for it already may be its."""
        self._table.change(call, Phase.OUTSIDE)
        self._table.line_up(call)
        self._table.listener.waits(call)
        self._match((call.application, call.endpoint))

    def completed(self, event: Completed) -> None:
        """A promise has its result."""
        name = (event.application, PROMISE + event.name)
        assert not isinstance(event.result, bytes)
        old = self.promises.get(name)
        if old is not None and old.expires_us > event.at_us and not event.is_copy:
            return
        holder = self._table.holder
        kept = Kept(*name, event.result, event.is_error, event.expires_us)
        self.promises[name] = kept
        holder.hold(kept, kept.where)
        if old is not None:
            holder.release(old, old.where)
        if not event.is_copy:
            self._match(name)

    def sent(self, event: Sent) -> None:
        """A channel has one more value."""
        name = (event.application, CHANNEL + event.name)
        assert not isinstance(event.result, bytes)
        holder = self._table.holder
        for value in self.channels.get(name, ()):
            if value.number == event.number:  # a copy
                holder.hold(value, event.result)
                holder.release(value, value.where)
                value.where = event.result
                return
        kept = Kept(*name, event.result, event.is_error, event.expires_us, event.number)
        holder.hold(kept, kept.where)
        queue = self.channels.setdefault(name, deque())
        queue.append(kept)
        if len(queue) > 1 and number_of(queue[-2].number) > number_of(kept.number):
            # A copy: the values before it were sent later.
            self.channels[name] = deque(sorted(queue, key=lambda value: number_of(value.number)))
        self._match(name)

    def match_all(self) -> None:
        """Every event of the log was applied: find who gets what."""
        for name in list(self._table.waiting):
            self._match(name)

    def _match(self, name: _Name) -> None:
        """Find who gets what is kept, at work: `matches` says it, and `Given` does it."""
        waiting, calls = self._table.waiting, self._table.calls
        keys = waiting.get(name)
        if not keys or self._table.gone is not None:
            return
        if (kept := self.promises.get(name)) is not None:
            early = [key for key in keys if calls[key].created_us < kept.expires_us]
            for key in early:
                keys.remove(key)
            if early:
                self._matched(kept, tuple(early))
        values = self.channels.get(name)
        while keys and values:
            since_us = calls[keys[0]].created_us
            for value in values:
                if value.expires_us > since_us:
                    break
            else:  # what has expired is forgotten later
                break
            values.remove(value)
            self._on_the_way[value.number] = value
            self._matched(value, (keys.popleft(),))
        if not keys:
            del waiting[name]
        if values is not None and not values:
            del self.channels[name]

    def _matched(self, kept: Kept, keys: tuple[int, ...]) -> None:
        self.matches.append(
            Given(kept.application, kept.name, kept.number, keys, kept.where, kept.is_error)
        )

    def given(self, event: Given) -> None:
        """Calls got what is kept."""
        kept = self._taken(event)
        # It may have been copied since, or be unknown at recovery: then nothing of it is needed any
        # more, or it is where it was.
        now = kept or self.promises.get((event.application, event.endpoint))
        where = event.where if now is None else now.where
        for key in event.keys:
            call = self._table.calls.get(key)
            if call is not None and call.phase is Phase.OUTSIDE:
                how = How.FAILED if event.is_error else How.OK
                self._ending.end(call, how, where, is_error=event.is_error)
        if kept is not None:
            self._table.holder.release(kept, kept.where)

    def _taken(self, event: Given) -> Kept | None:
        """The value of a channel that is given; None for a promise, or where it is not known."""
        kept = self._on_the_way.pop(event.number, None)
        if kept is not None or not event.number:
            return kept
        name = (event.application, event.endpoint)  # at recovery
        values = self.channels.get(name, deque())
        for value in values:
            if value.number == event.number:
                values.remove(value)
                if not values:
                    del self.channels[name]
                return value
        return None

    def forget_expired(self, now_us: int) -> None:
        """Drop what nobody needs any more."""
        holder = self._table.holder
        for key, kept in list(self.promises.items()):
            if kept.expires_us <= now_us:
                del self.promises[key]
                holder.release(kept, kept.where)
        for key, values in list(self.channels.items()):
            while values and values[0].expires_us <= now_us:
                old = values.popleft()
                holder.release(old, old.where)
            if not values:
                del self.channels[key]

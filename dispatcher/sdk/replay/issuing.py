"""The operations of a body: which are under way, which are new, and whether they are on record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dispatcher.sdk.replay import contradictions
from dispatcher.sdk.replay.model import (
    NOTHING,
    Contradicted,
    Kind,
    Numbered,
    Operation,
    Result,
    Told,
    Value,
)
from dispatcher.sdk.replay.record import Record
from dispatcher.sdk.replay.tasks import Place
from dispatcher.sdk.replay.timers import Timers
from dispatcher.sdk.replay.writing import Writer

_IS_TRUE: Final = Value("google.protobuf.BoolValue", b"\x08\x01")
_IS_FALSE: Final = Value("google.protobuf.BoolValue", b"")


@dataclass(slots=True, eq=False)
class Issued:
    """An operation of the task with this path that has not ended. `is_new`: nobody was told of it
    yet."""

    path: str
    operation: Operation
    future: asyncio.Future[Result]
    group: object
    is_new: bool


class Issuing:
    """Gives each operation its id, which is its number in the record.

    An operation of a task whose record has another one at that index is a contradiction. One that
    has none there is new, also in the middle of a replay: the code was edited behind the place
    where it waited.
    """

    def __init__(self, told: Told, writer: Writer, record: Record | None, timers: Timers) -> None:
        self.writer = writer
        self.events = 0
        """How many were delivered."""
        self.open: dict[int, Issued] = {}
        self.calls = 0
        """How many calls are among `open`."""
        self._told = told
        self._record = record
        self._timers = timers
        self._new: list[int] = []
        self._groups: dict[int, int] = {}

    def known(self, path: str) -> list[int]:
        """The operations on record of the task with this path."""
        return self._record.of_task(path) if self._record is not None else []

    def issue(
        self, operation: Operation, place: Place, future: asyncio.Future[Result], group: object
    ) -> Contradicted | None:
        """Give an operation its id; `future` is to have its result. Return the contradiction, if it
        is not what is on record there.

        Raises:
            ValueError: a name has a zero byte, which a record has between names.
        """
        if "\0" in operation.function or "\0" in operation.endpoint:
            raise ValueError(f"{operation.function or operation.endpoint!r} has a zero byte")
        index = place.operations
        place.operations += 1
        is_new = index >= len(place.known)
        if is_new:
            id = self.writer.operation(operation, place.path)
        else:
            id = place.known[index]
            if (record := self._record) is not None:
                if not record.fits(id, operation):
                    return Contradicted(
                        contradictions.other_operation(
                            self._told, record, record.entry(id), now=operation, index=index
                        )
                    )
                record.reached[id] = 1
        # A step on record that has not ended was begun by a process that is gone, or was it not:
        # whoever drives this one has yet to be told of it.
        untold = is_new or operation.kind is Kind.STEP or id >= self.writer.untold
        self._open(id, Issued(place.path, operation, future, group, untold))
        if operation.kind is Kind.SLEEP:
            self._sleep(id, operation)
        return None

    def patch(self, operation: Operation, place: Place, is_replaying: bool) -> Value:
        """Whether the body is at a patch for the first time, or was at it when it was recorded. A
        replay that was not is one of a body from before the change. A patch is known by its task,
        its name, and how many events were delivered before."""
        if is_replaying and self._record is not None:
            here = place.path, operation.function, self.events
            return _IS_TRUE if here in self._record.patches else _IS_FALSE
        self.writer.patch(operation, place.path, self.events)
        return _IS_TRUE

    def waiting(self, path: str) -> list[Operation]:
        """The operations under way of the task with this path. A thread may ask, too."""
        return [each.operation for each in list(self.open.values()) if each.path == path]

    def replayed(self) -> None:
        """Forget the record: what the body comes by from now on is new."""
        self._record = None

    def end(self, id: int, result: Result = NOTHING) -> None:
        """Give an operation its result, and wake who waits for it."""
        issued = self._close(id)
        if not issued.future.done():
            issued.future.set_result(result)

    def waits(self, id: int) -> bool:
        """Whether this operation is under way: issued, not ended, not cancelled."""
        issued = self.open.get(id)
        return issued is not None and not issued.future.done()

    def is_sleep(self, id: int) -> bool:
        """Whether this operation is a sleep that has not ended."""
        return id in self._timers

    def take_cancelled(self) -> list[tuple[int, Issued]]:
        """Close the operations whose futures were cancelled, and return them."""
        gone = [id for id, issued in self.open.items() if issued.future.cancelled()]
        return [(id, self._close(id)) for id in gone]

    def take_new(self, kind: Kind) -> Iterator[Numbered]:
        """Each operation of this kind that is under way and that nobody was told of yet."""
        for id in self._new:
            issued = self.open.get(id)
            if issued is not None and issued.operation.kind is kind:
                yield Numbered(id, issued.operation)

    def told(self) -> None:
        """Say that the new operations are none any more."""
        for id in self._new:
            if (issued := self.open.get(id)) is not None:
                issued.is_new = False
        self._new.clear()

    def missing(self) -> int:
        """How many calls have to end before anybody can go on: 1, or all of a group where nothing
        else is under way; 0 where there are none."""
        if not self.calls:
            return 0
        first = next(iter(self.open.values()))
        whole = first.group is not None and self._groups[id(first.group)] == len(self.open)
        return self.calls if whole else 1

    def _sleep(self, id: int, operation: Operation) -> None:
        until_ms = self._timers.now_ms - -operation.duration_us // 1000
        if until_ms <= self._timers.now_ms:
            self.end(id)  # else the next poll would ask to be resumed at once
        else:
            self._timers.sleep(id, until_ms)

    def _open(self, id_: int, issued: Issued) -> None:
        self.open[id_] = issued
        kind = issued.operation.kind
        self.calls += kind is Kind.CALL
        if issued.is_new:
            self._new.append(id_)
        if issued.group is not None:
            key = id(issued.group)
            self._groups[key] = self._groups.get(key, 0) + 1

    def _close(self, id_: int) -> Issued:
        issued = self.open.pop(id_)
        self.calls -= issued.operation.kind is Kind.CALL
        if issued.group is not None:
            self._leave(id(issued.group))
        if issued.operation.kind is Kind.SLEEP:
            self._timers.drop(id_)
        return issued

    def _leave(self, group: int) -> None:
        left = self._groups[group] - 1
        if left:
            self._groups[group] = left
        else:
            del self._groups[group]  # the next group may have the address of this one

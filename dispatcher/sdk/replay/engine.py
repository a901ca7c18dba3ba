"""One durable call in this process: its body, run against its record.

`Run.advance` is the whole of it. The first time it replays what is on record; then, each time, it
delivers what has happened and says what the body wants next.

Each event is delivered by itself: the body runs until it waits everywhere before the next one
comes. So what it does never depends on how many results came at a time, and a replay needs only
their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from dispatcher.sdk.replay import compat, contradictions, faults
from dispatcher.sdk.replay.evicting import evict_coroutine, evict_generator
from dispatcher.sdk.replay.issuing import Issuing
from dispatcher.sdk.replay.journal import Columns, decode
from dispatcher.sdk.replay.loop import Loop
from dispatcher.sdk.replay.model import (
    Became,
    Cancelled,
    Contradicted,
    Ended,
    Event,
    Faulted,
    Kind,
    Outcome,
    PollRefused,
    Raised,
    Result,
    Returned,
    Suspended,
    TailCall,
    Told,
    Value,
)
from dispatcher.sdk.replay.record import Record
from dispatcher.sdk.replay.results import Kept, Recorded
from dispatcher.sdk.replay.tasks import AnyTask, Task
from dispatcher.sdk.replay.timers import Timer, deadline_ms
from dispatcher.sdk.replay.writing import Writer


class Run:
    """The body of a durable call: one activation of it, or many where it stays in memory.

    `state` is what the poll before answered, None on the first run. `kept` has the values that it
    refers to (`kept_in`), by dispatch_id. `judged` is appended to what is said of I/O: why the
    function was taken for a durable one.

    Raises:
        BadState: the state can't be read, or a value that it refers to is missing.
    """

    def __init__(
        self,
        body: Callable[[], Coroutine[Any, Any, object]],
        told: Told,
        state: bytes | None,
        *,
        kept: Mapping[str, Value] | None = None,
        judged: str = "",
    ) -> None:
        compat.install()
        columns = decode(state) if state is not None else Columns()
        self._record = Record(columns, kept or {}) if state is not None else None
        self._writer = Writer(state or b"", columns)
        self._issuing = Issuing(told, self._writer, self._record)
        self._loop = Loop(told, self._issuing, judged)
        self._told = told
        self._body = body
        self._root: Task | None = None
        self._cancels_seen = 0
        self._is_cancelled = False

    def __repr__(self) -> str:
        told, waits = self._told, len(self._issuing.open)
        return f"<run of {told.function}, call {told.id}, {waits} operations under way>"

    def advance(self, events: Sequence[Event], now_us: int) -> Outcome:
        """Replay what is on record, if that was not done; deliver each event by itself, then the
        timers that are due at `now_us`; return what the body wants now. An event whose operation
        has ended or was cancelled is dropped, and not recorded. After any other outcome than
        `Suspended` the run is over.

        Args:
            now_us: microseconds since the epoch. The time on record never goes back.
        """
        loop = self._loop
        if loop.is_closing:
            raise RuntimeError(f"{self!r} is over")
        try:
            with loop.entered():
                outcome = self._advance(events, now_us)
        except BaseException:  # Ctrl-C, or the process is to end: the body is nowhere now
            self.close()
            raise
        if not isinstance(outcome, Suspended):
            self.close()
        return outcome

    def state(self) -> bytes:
        """Return the whole record, after the last outcome."""
        return self._writer.whole()

    def appended(self) -> bytes:
        """Return what is new in it since the last `mark`: behind the state of then, it is the state
        of now."""
        return self._writer.piece()

    @property
    def nonce(self) -> int:
        """The nonce of the record as it stands, 32 bits. Before the first outcome it is that of the
        state, 0 without one."""
        return self._writer.nonce if self._root is not None else self._writer.given_nonce

    def mark(self) -> None:
        """Say that the server has the record as it stands: in pieces, or whole if `state` was asked
        for last."""
        self._writer.mark()

    @property
    def tasks(self) -> int:
        """How many tasks the body has, itself too: each takes some 5 kB."""
        return len(self._loop.population.tasks())

    def close(self) -> None:
        """Forget the body. Its coroutines end, with their `finally`, and can't make calls."""
        loop = self._loop
        if loop.is_closing:
            return
        loop.population.sweep()
        loop.begin_closing()
        with loop.entered():
            for task in reversed(loop.population.tasks()):
                _evict(loop, task)
            for generator in loop.population.generators():
                evict_generator(generator)
        loop.forget()
        self._issuing.open.clear()

    def _advance(self, events: Sequence[Event], now_us: int) -> Outcome:
        loop = self._loop
        if loop.fault is None and self._root is None:
            self._begin(now_us)
        if loop.fault is None:
            self._deliver(events, now_us)
        loop.population.sweep_few()
        return self._outcome()

    # Replay.

    def _begin(self, now_us: int) -> None:
        loop, record = self._loop, self._record
        if record is None:
            self._writer.started_us = now_us
        loop.is_replaying = record is not None
        self._root = loop.begin(self._body())
        loop.run()
        if record is not None:
            self._replay(record)
            self._cancelled()  # whoever has the record was told of these
            loop.population.replayed()
            loop.is_replaying = False
            self._issuing.replayed()
            self._record = None

    def _replay(self, record: Record) -> None:
        loop, issuing = self._loop, self._issuing
        for id, ms, result in record.replay():
            if loop.fault is not None:
                return
            issuing.clock_ms += ms
            if not self._deliver_recorded(record, id, result):
                loop.fault = self._contradicted(record, id)
                return
            issuing.events += 1
            loop.run()
        missing = record.first_unreached()
        if loop.fault is None and missing is not None:
            loop.fault = self._contradicted(record, missing)

    def _deliver_recorded(self, record: Record, id: int, result: Recorded) -> bool:
        """Deliver it; False where the body does not wait for it."""
        if self._body_is_done:
            return False
        if isinstance(result, Cancelled):
            self._cancel(result)
            return True
        name = record.timer(id)
        if name is not None:
            timer = self._loop.timers.find(*name)
            if timer is None or deadline_ms(timer.when()) > self._issuing.clock_ms:
                return False
            self._loop.ring(timer)
            return True
        if not self._issuing.waits(id):
            return False
        self._end(id, result)
        return True

    def _contradicted(self, record: Record, id: int) -> Contradicted:
        entry, now = record.entry(id), self._stands()
        if (timer := record.timer(id)) is not None:
            return Contradicted(contradictions.other_timer(self._told, record, timer[0], now=now))
        return Contradicted(contradictions.never_reached(self._told, record, entry, now=now))

    def _stands(self) -> list[str]:
        root = self._root
        assert root is not None
        if not root.done():
            return self._loop.standing()
        if root.cancelled():
            return ["it was cancelled"]
        error = root.exception()
        return ["it returned"] if error is None else [f"it raised {type(error).__name__}: {error}"]

    # Events.

    def _deliver(self, events: Sequence[Event], now_us: int) -> None:
        now_ms = (now_us - self._writer.started_us) // 1000
        for event in events:
            for id, result, recorded in self._parts(event):
                if self._body_is_over:
                    return
                if isinstance(recorded, Cancelled):
                    self._record_event(0, now_ms, recorded)
                    self._cancel(recorded)
                elif self._issuing.waits(id):
                    self._record_event(id, now_ms, recorded)
                    self._end(id, result)
                self._loop.run()
        while not self._body_is_over and self._ring_next(now_ms):
            self._loop.run()

    def _parts(self, event: Event) -> list[tuple[int, Result | None, Recorded]]:
        """What is delivered of it, each by itself: operation, result, and what is recorded."""
        if isinstance(event, Ended):
            if event.id in self._loop.timers:
                return []  # nobody else ends a sleep
            recorded = Kept(event.dispatch_id) if event.is_kept else event.result
            return [(event.id, event.result, recorded)]
        if isinstance(event, PollRefused):
            return [
                (id, event.failure, event.failure)
                for id, issued in self._issuing.open.items()
                if id >= self._writer.refusable and issued.operation.kind is Kind.CALL
            ]
        return [] if self._is_cancelled else [(0, None, event)]

    def _ring_next(self, now_ms: int) -> bool:
        """End the earliest of the timers, if it is due. It has ended at its deadline, or at the
        last event if that was later: else every sleep after it would be late, too."""
        timers, issuing = self._loop.timers, self._issuing
        at_ms = timers.next_ms()
        if at_ms is None or at_ms > now_ms:
            return False
        due = timers.next_due()
        if isinstance(due, Timer):
            self._record_event(self._writer.timer(due.path, due.index), at_ms, None)
            self._loop.ring(due)
        elif issuing.waits(due):
            self._record_event(due, at_ms, None)
            self._end(due, None)
        else:
            timers.drop(due)
        return True

    def _record_event(self, id: int, at_ms: int, recorded: Recorded) -> None:
        issuing = self._issuing
        issuing.clock_ms = max(issuing.clock_ms, at_ms)
        issuing.events += 1
        self._writer.event(id, issuing.clock_ms, recorded)

    def _end(self, id: int, result: Recorded) -> None:
        assert not isinstance(result, (Kept, Cancelled))
        if result is None:
            self._loop.timers.drop(id)
            self._issuing.end(id)
        else:
            self._issuing.end(id, result)

    def _cancel(self, why: Cancelled) -> None:
        assert self._root is not None
        self._is_cancelled = True
        self._root.cancel(why.reason)

    # Outcomes.

    @property
    def _body_is_done(self) -> bool:
        return self._root is not None and self._root.done()

    @property
    def _body_is_over(self) -> bool:
        return self._body_is_done or self._loop.fault is not None

    def _outcome(self) -> Outcome:
        loop, issuing, root = self._loop, self._issuing, self._root
        if loop.fault is not None:
            return loop.fault
        assert root is not None
        cancelled = self._cancelled()
        calls, steps = [list(issuing.take_new(kind)) for kind in (Kind.CALL, Kind.STEP)]
        issuing.told()
        if root.done() and not calls:
            return self._end_of(root, cancelled)
        if not (root.done() or issuing.open or loop.timers):
            return Faulted(faults.waits_for_nothing(self._told, loop.standing()))
        return Suspended(
            calls=calls,
            steps=() if root.done() else steps,
            cancelled=cancelled,
            wake_us=self._wake_us(),
            outstanding=issuing.calls,
            missing=issuing.missing(),
        )

    def _cancelled(self) -> list[int]:
        """Close what was cancelled; return the calls and steps that were told of, and are to be
        given up. Looking through all operations is worth it only after something was cancelled."""
        if self._cancels_seen == self._loop.cancels:
            return []
        self._cancels_seen = self._loop.cancels
        gone = self._issuing.take_cancelled()
        for id, _ in gone:
            self._loop.timers.drop(id)
        told = [(id, each) for id, each in gone if not each.is_new]
        return [id for id, each in told if each.operation.kind in (Kind.CALL, Kind.STEP)]

    def _wake_us(self) -> int | None:
        if self._body_is_done:
            return self._loop.time_us()  # it made calls as it ended: it ends once they are made
        at_ms = self._loop.timers.next_ms()
        return None if at_ms is None else self._writer.started_us + at_ms * 1000

    def _end_of(self, root: Task, cancelled: list[int]) -> Outcome:
        try:
            error = root.exception()
        except asyncio.CancelledError as cancellation:
            return Raised(cancellation, cancelled)
        if error is None:
            return Returned(root.result(), cancelled)
        if isinstance(error, TailCall):
            return Became(error.operation, cancelled)
        if (other := faults.other_loop_in(error)) is not None:
            return Faulted(faults.of_another_loop(self._told, other))
        return Raised(error, cancelled)


def _evict(loop: Loop, task: AnyTask) -> None:
    asyncio.tasks._enter_task(loop, task)
    try:
        evict_coroutine(task.get_coro())
    finally:
        asyncio.tasks._leave_task(loop, task)

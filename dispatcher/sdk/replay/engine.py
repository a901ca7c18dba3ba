"""One durable call in this process: its body, run against its record.

`Run.advance` is the whole of it. The first time it replays what is on record; then, each time, it
delivers what has happened and says what the body wants next.

Each event is delivered by itself: the body runs until it waits everywhere before the next one
comes. So what it does never depends on how many results came at a time, and a replay needs only
their order.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from dispatcher.sdk.replay import compat
from dispatcher.sdk.replay.body import Body
from dispatcher.sdk.replay.delivering import deliver
from dispatcher.sdk.replay.issuing import Issuing
from dispatcher.sdk.replay.journal import Columns, decode
from dispatcher.sdk.replay.loop import Loop
from dispatcher.sdk.replay.model import Event, Outcome, Result, Suspended, Told
from dispatcher.sdk.replay.outcomes import outcome_of
from dispatcher.sdk.replay.record import Record
from dispatcher.sdk.replay.replaying import replay
from dispatcher.sdk.replay.timers import Timers
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
        kept: Mapping[str, Result] | None = None,
        judged: str = "",
    ) -> None:
        compat.install()
        columns = decode(state) if state is not None else Columns()
        self._record = Record(columns, kept or {}) if state is not None else None
        self._writer = Writer(state or b"", columns)
        timers = Timers()
        issuing = Issuing(told, self._writer, self._record, timers)
        self._body = Body(Loop(told, issuing, timers, judged), issuing)
        self._make = body

    def __repr__(self) -> str:
        told, waits = self._body.loop.told, len(self._body.issuing.open)
        return f"<run of {told.function}, call {told.id}, {waits} operations under way>"

    def advance(self, events: Sequence[Event], now_us: int) -> Outcome:
        """Replay what is on record, if that was not done; deliver each event by itself, then the
        timers that are due at `now_us`; return what the body wants now. An event whose operation
        has ended or was cancelled is dropped, and not recorded. After any other outcome than
        `Suspended` the run is over.

        Args:
            now_us: microseconds since the epoch. The time on record never goes back.
        """
        loop = self._body.loop
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
        return self._writer.nonce if self._body.root is not None else self._writer.given_nonce

    def hold(self, first: int) -> None:
        """Say, before the state is asked for, that the server will not be told yet of the call with
        this id and those after it: who replays the state has them anew among what the body wants.
        """
        self._writer.hold(first)

    def mark(self) -> None:
        """Say that the server has the record as it stands: in pieces, or whole if `state` was asked
        for last."""
        self._writer.mark()

    @property
    def tasks(self) -> int:
        """How many tasks the body has, itself too, or somewhat more: each takes some 5 kB."""
        return len(self._body.loop.population)

    def close(self) -> None:
        """Forget the body. Its coroutines end, with their `finally`, and can't make calls."""
        self._body.close()

    def _advance(self, events: Sequence[Event], now_us: int) -> Outcome:
        body = self._body
        if body.root is None and body.loop.fault is None:
            self._begin(now_us)
        deliver(body, events, (now_us - self._writer.started_us) // 1000)
        body.loop.population.sweep_few()
        return outcome_of(body)

    def _begin(self, now_us: int) -> None:
        body, record = self._body, self._record
        if record is None:
            self._writer.started_us = now_us
            body.begin(self._make())
            return
        body.loop.is_replaying = True
        body.begin(self._make())
        replay(body, record)
        body.take_cancelled()  # whoever has the record was told of these
        body.loop.population.replayed()
        body.loop.is_replaying = False
        body.issuing.replayed()
        self._record = None

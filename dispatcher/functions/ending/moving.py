"""Root calls that have ended: their results move to the results' log, and they are forgotten.

    has_ended ─▶ read from the transaction log ─▶ results' log ─▶ dead letter ─▶ Forgotten

Until the last step the call is there, ENDED, with its result and its input, so a crash anywhere
between only begins anew: a result that is stored twice counts once, and so does a dead letter. Who
asks for the result of an ENDED call reads it from the transaction log, and never waits for this.

Many are moved at once, a bounded number of bytes; while the results' log can take no more, they
wait where they are, which costs no memory but their keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Final

from dispatcher.core.clock import SteadyClock
from dispatcher.errors import LogBusy, LogError, Refusal
from dispatcher.functions.events import Forgotten
from dispatcher.functions.model import Call, How, Phase
from dispatcher.functions.ports import Store
from dispatcher.functions.results.records import StoredResult
from dispatcher.functions.results.refusals import RESULTS_BEHIND
from dispatcher.functions.results.store import Results
from dispatcher.functions.spans import Span, length_of
from dispatcher.protocol.messages import CallResult
from dispatcher.telemetry.supervisor import Supervisor

_AT_ONCE: Final = 64
_AT_ONCE_BYTES: Final = 4 * 1024 * 1024
_AGAIN_SECONDS: Final = 1.0
DEAD: Final = (How.FAILED, How.EXPIRED)
"""How root calls end that become dead letters."""

Bury = Callable[[Call, Callable[[], None]], None]
"""Stores the dead letter of a root call that has ended, which is there until the callback is called
once the letter is durable. It may be asked again for the same call after a crash."""


class Moving:
    """Moves results. `calls` is the table of calls; `bury` makes the dead letters of calls that
    failed or expired."""

    def __init__(
        self,
        store: Store,
        calls: Mapping[int, Call],
        results: Results,
        *,
        clock: SteadyClock,
        supervisor: Supervisor,
        bury: Bury | None = None,
    ) -> None:
        self._store = store
        self._calls = calls
        self._results = results
        self._clock = clock
        self._supervisor = supervisor
        self._bury = bury
        self._due: dict[int, int] = {}  # when they ended
        self._forgotten: list[int] = []
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    @property
    def waiting(self) -> int:
        """Calls whose results are not on their way yet."""
        return len(self._due)

    def start(self) -> None:
        """Move what had ended before the process started. When that was is not known any more: it
        counts as now."""
        for call in self._calls.values():
            if call.phase is Phase.ENDED:
                self.has_ended(call)

    async def stop(self) -> None:
        """Begin nothing more. Idempotent."""
        self._is_stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def has_ended(self, call: Call) -> None:
        """See `machine.Listener`."""
        self._due[call.key] = self._clock.wall_us()
        self._go_on()

    def _go_on(self) -> None:
        if self._due and self._task is None and not self._is_stopping:
            self._task = self._supervisor.spawn("results of calls", self._move())
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        if task.exception() is None:
            self._go_on()
        else:  # the supervisor has told it
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._go_on)

    async def _move(self) -> None:
        while self._due:
            if self._results.is_behind:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            portion = self._portion()
            try:
                blobs = self._store.at_hand(_spans(portion) or ())
                if not blobs:
                    blobs = await self._store.read(partial(_spans, portion))
            except LogBusy:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            except LogError:
                return  # the partition ends, and the next process begins anew
            if blobs is None:
                continue  # a call is gone, which the next look sees
            for call, blob in zip(portion, blobs, strict=True):
                ended_us = self._due.pop(call.key)
                result = _stored_result(call, ended_us, blob)
                self._results.store(result, partial(self._stored, call, ended_us))

    def _portion(self) -> list[Call]:
        """The calls that are moved next; those that are gone are left out, and forgotten here."""
        portion: list[Call] = []
        size = 0
        for key in list(islice(self._due, _AT_ONCE)):
            call = self._calls.get(key)
            if call is None or call.result is None:
                del self._due[key]
                continue
            size += length_of(call.result)
            if portion and size > _AT_ONCE_BYTES:
                break
            portion.append(call)
        return portion

    def _stored(self, call: Call, ended_us: int, refusal: Refusal | None) -> None:
        """It is known what became of a result."""
        if refusal is RESULTS_BEHIND:
            self._due[call.key] = ended_us
            self._go_on()
        elif refusal is not None:
            return  # the process ends
        elif self._bury is not None and call.how in DEAD:
            self._bury(call, partial(self._done, call.key))
        else:
            self._done(call.key)

    def _done(self, key: int) -> None:
        """Nothing more is to be done with a call. Those of one turn of the loop are forgotten in
        one event."""
        if not self._forgotten:
            asyncio.get_running_loop().call_soon(self._forget)
        self._forgotten.append(key)

    def _forget(self) -> None:
        keys, self._forgotten = self._forgotten, []
        self._store.submit(Forgotten(tuple(keys)), urgent=True)


def _spans(calls: list[Call]) -> list[Span] | None:
    """Where the results of calls are now; None when one is gone."""
    spans = [call.result for call in calls if call.result is not None]
    return spans if len(spans) == len(calls) else None


def _stored_result(call: Call, ended_us: int, result: bytes) -> StoredResult:
    assert call.how is not None
    status = call.how.name.lower()
    if call.is_error:
        status = CallResult.FromString(result).error.type or status
    return StoredResult(
        call.key,
        function=call.function,
        endpoint=call.endpoint,
        version=call.version,
        application=call.application,
        created_us=call.created_us,
        expires_us=call.expires_us,
        ended_us=ended_us,
        how=call.how,
        status=status,
        is_error=call.is_error,
        attempts=call.attempts,
        steps=call.step,
        restarts=call.restarts,
        result=result,
    )

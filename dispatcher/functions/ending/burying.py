"""Root calls that failed or expired become dead letters, from which they can be redriven.

Those whose turn has not come wait where they are, in the table: while dead letters wait for space
no more are made, so that what waits in memory has a bound.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from dispatcher.core.calls import CallReason
from dispatcher.core.clock import SteadyClock
from dispatcher.errors import LogBusy, LogError
from dispatcher.functions.errors import type_of
from dispatcher.functions.model import Call, How
from dispatcher.functions.ports import Store
from dispatcher.functions.shown import Entry
from dispatcher.functions.spans import Span, length_of
from dispatcher.protocol.messages import CallResult
from dispatcher.protocol.statuses import Status
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.records.dead_calls import MAX_ERROR_TYPE_BYTES, CallLetter
from dispatcher.queue.records.history import Attempt, encode_history
from dispatcher.queue.records.kinds import MAX_DETAIL_BYTES
from dispatcher.telemetry.supervisor import Supervisor

_AGAIN_SECONDS: Final = 1.0
_AT_ONCE: Final = 64
_AT_ONCE_BYTES: Final = 4 * 1024 * 1024
_REASON: Final = {How.FAILED: CallReason.FAILED, How.EXPIRED: CallReason.EXPIRED}
_BY_TYPE: Final = {type_of(status): status for status in Status}
"""By the type of the errors that the server makes."""
_BY_NAME: Final = {status.name.lower(): status for status in Status}

Runs = Callable[[int], Sequence[Entry]]
"""What is known of the runs of a call, by its key, the oldest first."""


class Burying:
    """Makes the letters (`moving.Bury`)."""

    def __init__(
        self,
        store: Store,
        letters: DeadLetters,
        supervisor: Supervisor,
        clock: SteadyClock,
        *,
        id_of: Callable[[int], str],
        runs: Runs,
    ) -> None:
        """`id_of` gives the id of a key."""
        self._store = store
        self._letters = letters
        self._supervisor = supervisor
        self._clock = clock
        self._id_of = id_of
        self._runs = runs
        self._waiting: deque[tuple[Call, Callable[[], None]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def bury(self, call: Call, then: Callable[[], None]) -> None:
        """Store the letter of a call that has ended; `then` is called once it is durable. Until
        then nobody forgets the call."""
        self._waiting.append((call, then))
        self._go_on()

    def _go_on(self) -> None:
        if self._waiting and self._task is None:
            self._task = self._supervisor.spawn("dead calls", self._bury_all())
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        if task.exception() is None:
            self._go_on()  # one may have come when it had found nothing more to do
        else:  # the supervisor has told it
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._go_on)

    async def _bury_all(self) -> None:
        while self._waiting:
            if self._letters.is_behind:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            portion = self._portion()
            try:
                results = await self._read(lambda: [_result_of(call) for call in portion])  # noqa: B023  # it has ended when the name means others
            except LogBusy:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            except LogError:
                self._waiting.clear()  # the partition ends, and the next process begins anew
                return
            for result in results:
                self._bury(*self._waiting.popleft(), result)

    def _portion(self) -> list[Call]:
        """The calls that are next."""
        portion: list[Call] = []
        size_bytes = 0
        for call, _ in self._waiting:
            size_bytes += length_of(_result_of(call))
            if portion and (len(portion) == _AT_ONCE or size_bytes > _AT_ONCE_BYTES):
                break
            portion.append(call)
        return portion

    async def _read(self, where: Callable[[], list[Span]]) -> Sequence[bytes]:
        found = await self._store.read(where)
        assert found is not None, "nobody else forgets them"
        return found

    def _bury(self, call: Call, then: Callable[[], None], result: bytes) -> None:
        async def read() -> bytes:
            (data,) = await self._read(lambda: [call.input])
            return data

        self._letters.bury_call(self._letter(call, result), then, read)

    def _letter(self, call: Call, result: bytes) -> CallLetter:
        assert call.how is not None
        error = CallResult.FromString(result).error
        runs = self._runs(call.key)
        return CallLetter(
            id=self._id_of(call.key).encode("ascii"),
            endpoint=call.endpoint,
            function=call.function,
            version=call.version,
            application=call.application,
            correlation=call.correlation,
            created_at=call.created_us,
            expiration_us=call.expires_us - call.created_us,
            timeout_ms=call.timeout_ms,
            dead_at=self._clock.wall_us(),
            reason=_REASON[call.how],
            status=int(_status(call, error.type, error.message, runs)),
            error_type=error.type[:MAX_ERROR_TYPE_BYTES],  # it may wait in memory
            detail=error.message[:MAX_DETAIL_BYTES],
            attempts=max(call.step + call.attempts + (call.how is How.FAILED), len(runs)),
            history=encode_history(map(_attempt, runs)),
        )


def _status(call: Call, kind: str, message: str, runs: Sequence[Entry]) -> Status:
    """What the server found; UNSPECIFIED where the application made the error, whatever its type is
    called: only the server's own begin so. Without an error, what the last run came to."""
    if not kind and not message:
        return _of_name(runs[-1].status) if runs else Status.UNSPECIFIED
    if message.startswith(f"{call.function}: "):
        return _BY_TYPE.get(kind, Status.UNSPECIFIED)
    return Status.UNSPECIFIED


def _attempt(run: Entry) -> Attempt:
    status = _of_name(run.status)
    return Attempt(run.at_us, run.duration_ms or 0, run.http_status, None, status)


def _of_name(name: str | None) -> Status:
    return _BY_NAME.get(name or "", Status.UNSPECIFIED)


def _result_of(call: Call) -> Span:
    assert call.result is not None, "nobody else forgets it"
    return call.result

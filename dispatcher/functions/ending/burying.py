"""Root calls that failed or expired become dead letters, from which they can be redriven."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from dispatcher.core.calls import CallReason
from dispatcher.core.clock import SteadyClock
from dispatcher.errors import LogBusy, LogError
from dispatcher.functions.errors import type_of
from dispatcher.functions.model import Call, How
from dispatcher.functions.ports import Store
from dispatcher.functions.spans import Span
from dispatcher.protocol.messages import CallResult
from dispatcher.protocol.statuses import Status
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.telemetry.supervisor import Supervisor

_AGAIN_SECONDS: Final = 1.0
_REASON: Final = {How.FAILED: CallReason.FAILED, How.EXPIRED: CallReason.EXPIRED}
_STATUS: Final = {type_of(status): status for status in Status}
"""By the type of the errors that the server makes."""


class Burying:
    """Makes the letters (`results.moving.Bury`)."""

    def __init__(
        self,
        store: Store,
        letters: DeadLetters,
        supervisor: Supervisor,
        clock: SteadyClock,
        spell: Callable[[int], str],
    ) -> None:
        """`spell` gives the id of a key."""
        self._store = store
        self._letters = letters
        self._supervisor = supervisor
        self._clock = clock
        self._spell = spell

    def bury(self, call: Call, then: Callable[[], None]) -> None:
        """Store the letter of a call that has ended; `then` is called once it is durable. Until
        then nobody forgets the call."""
        self._supervisor.spawn("dead calls", self._bury(call, then))

    async def _bury(self, call: Call, then: Callable[[], None]) -> None:
        while True:
            try:
                result = await self._read(partial(_result_of, call))
            except LogBusy:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            except LogError:
                return  # the partition ends, and the next process begins anew
            break
        read = partial(self._read, lambda: call.input)
        self._letters.bury_call(self._letter(call, result), then, read)

    async def _read(self, where: Callable[[], Span]) -> bytes:
        found = await self._store.read(lambda: [where()])
        assert found is not None, "nobody else forgets it"
        return found[0]

    def _letter(self, call: Call, result: bytes) -> CallLetter:
        assert call.how is not None
        error = CallResult.FromString(result).error
        status = _STATUS.get(error.type, Status.UNSPECIFIED)
        return CallLetter(
            id=self._spell(call.key).encode("ascii"),
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
            status=int(status),
            error_type=error.type,
            detail=error.message,
            attempts=call.step + call.attempts + (call.how is How.FAILED),
        )


def _result_of(call: Call) -> Span:
    assert call.result is not None, "nobody else forgets it"
    return call.result

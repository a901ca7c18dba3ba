"""Dead calls on their way back: the function service makes them exist again, and their letters are
removed (see `calls`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from dispatcher.errors import Refusal, Refused
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.queue.refusals import CALL_NOT_REVIVED
from dispatcher.telemetry.supervisor import Supervisor

Ended = Callable[[Refusal | None], None]


class Reviver(Protocol):
    """Who makes dead calls exist again: the function service."""

    def new_id(self) -> bytes:
        """An id that no call ever had."""

    async def revive(self, letter: CallLetter) -> None:
        """Make a call exist under the id of its letter, to be run from its input, all of which is
        in `letter.body`; returns when that is durable. Where it exists already, it is left as it
        is.

        Raises:
            Refused: it does not, as there is no space for it now; it stays a dead letter.
        """


class RevivingCalls:
    """Revives calls, in tasks of `supervisor`. `reviver` is set where there is a function service,
    before anything is redriven."""

    def __init__(self, letters: DeadLetters, supervisor: Supervisor) -> None:
        self.reviver: Reviver | None = None
        self._letters = letters
        self._supervisor = supervisor

    async def whole(self, letter: CallLetter) -> CallLetter:
        """The same with all of its input in its body.

        Raises:
            LogCorrupt, RecordError: the disk gives back something else than was written.
        """
        if letter.chunks is None:
            return letter
        pieces = []
        for number in range(len(letter.chunks)):
            piece = await self._letters.read_chunk(letter.id, number)
            assert piece is not None, "nobody else takes it away"
            pieces.append(piece)
        return replace(letter, body=b"".join(pieces), chunks=None)

    def begin(self, letter: CallLetter, ended: Ended) -> None:
        """Revive a call whose letter is there; `ended` is told when its letter is gone durably, or
        why it stays."""
        self._letters.calls.leaves(letter.id)
        self._supervisor.spawn("redriven calls", self._revive(letter, ended))

    async def _revive(self, letter: CallLetter, ended: Ended) -> None:
        assert self.reviver is not None
        refusal: Refusal | None = CALL_NOT_REVIVED
        try:
            await self.reviver.revive(letter)
            refusal = None
        except Refused as error:
            refusal = error.refusal
        finally:
            if refusal is None:
                self._letters.remove([letter.id], partial(self._left, letter.id, ended))
            else:
                self._left(letter.id, ended, refusal)

    def _left(self, call_id: bytes, ended: Ended, refusal: Refusal | None) -> None:
        self._letters.calls.left(call_id)
        ended(refusal)

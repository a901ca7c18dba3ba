"""Messages on their way in from another partition: each is a new one, with an id of this partition
and fresh attempts; a dead letter stays one, with its history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.surface import AttemptView, Death
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.deadletters.burial import Burial
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.records.history import Attempt, encode_history
from dispatcher.queue.refusals import DISK_FULL, LETTERS_FULL, LETTERS_STALLED


class Importing:
    """Stores what another dispatcher exported."""

    def __init__(self, parts: Parts, intake: Intake) -> None:
        self._parts = parts
        self._intake = intake

    async def take(self, message: Message, body: Sequence[bytes], death: Death | None) -> None:
        """See `Carrier.take`. The time of a death is that of the import: how long a letter is kept
        counts from there."""
        if (refusal := self._intake.refusal()) is not None:
            raise Refused(refusal)
        message.accepted_at = self._parts.clock.wall_us()
        if len(body) == 1:
            (message.body,) = body
            body = ()
        if death is None:
            await self._accept(message, body)
        else:
            await self._bury(message, body, death)

    async def _accept(self, message: Message, body: Sequence[bytes]) -> None:
        upload = await self._upload(body) if body else None
        receipt = _Receipt()
        self._intake.accept(message, receipt, upload)
        await receipt.answered

    async def _upload(self, body: Sequence[bytes]) -> ChunkUpload:
        upload = self._intake.start_upload(_ignore)
        for chunk in body:
            await upload.store(chunk)
            if upload.refusal is not None:
                upload.abort()
                raise Refused(upload.refusal)
        return upload

    async def _bury(self, message: Message, body: Sequence[bytes], death: Death) -> None:
        dead_letters = self._parts.dead_letters
        if dead_letters.full:
            raise Refused(LETTERS_FULL)
        if dead_letters.committer.stalled:
            raise Refused(LETTERS_STALLED)
        receipt = _Receipt()
        self._intake.reserve(message, receipt)
        await receipt.answered
        message.attempt = death.attempts
        message.history = _history(death.history)
        burial = Burial(
            message, death.reason, death.detail, death.response_start, message.accepted_at
        )
        try:
            await dead_letters.take(burial, body)
        except Refused as error:
            if error.refusal is DISK_FULL:
                raise Refused(LETTERS_FULL) from error
            raise


class _Receipt:
    """Waits for the answer that a caller would get (`ports.Receipt`)."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def accepted(self, message: Message) -> None:
        """It is durable."""
        if not self.answered.done():
            self.answered.set_result(None)

    def refused(self, refusal: Refusal) -> None:
        """It is not stored."""
        if not self.answered.done():
            self.answered.set_exception(Refused(refusal))


def _history(attempts: Sequence[AttemptView]) -> bytes:
    return encode_history(
        Attempt(
            max(0, one.started_at_us),  # another server's clock may not have been set
            one.duration_ms,
            one.status,
            None if one.error is None else Failure(one.error),
        )
        for one in attempts
    )


def _ignore() -> None:
    """Nobody waits for the progress of an upload that is awaited."""

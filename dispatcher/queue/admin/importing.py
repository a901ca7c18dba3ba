"""Messages on their way in from another partition: each is a new one, with an id of this partition
and fresh attempts; a dead letter stays one, with its history. So does that of a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace

from dispatcher.core.calls import STATUS_WORDS
from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.errors import Refusal, Refused
from dispatcher.protocol.statuses import Status
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.surface import AttemptView, Death, IncomingCall
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.deadletters.burial import Burial
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.records.dead_calls import CallLetter
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

    async def take_call(self, call: IncomingCall, body: Sequence[bytes]) -> None:
        """See `Carrier.take_call`. Its times are those of the import, as with messages."""
        if (refusal := self._intake.refusal()) is not None:
            raise Refused(refusal)
        self._look_at_letters()
        reviver = self._parts.redriver.calls.reviver
        assert reviver is not None, "a server has a function service"
        now_us = self._parts.clock.wall_us()
        letter = CallLetter(
            id=reviver.new_id(),
            endpoint=call.endpoint,
            function=call.function,
            version=call.call.version,
            application=call.call.application,
            correlation=call.call.correlation,
            created_at=now_us,
            expiration_us=call.call.expiration_ms * 1000,
            timeout_ms=call.call.timeout_ms,
            dead_at=now_us,
            reason=call.reason,
            status=call.status,
            error_type=call.call.error_type,
            detail=call.detail,
            attempts=call.attempts,
            history=encode_history(map(_run, call.history)),
            body_size=sum(map(len, body)),
        )
        if len(body) == 1:
            letter, body = replace(letter, body=body[0]), ()
        await self._stored(self._parts.dead_letters.take_call(letter, body))

    def _look_at_letters(self) -> None:
        dead_letters = self._parts.dead_letters
        if dead_letters.full:
            raise Refused(LETTERS_FULL)
        if dead_letters.committer.stalled:
            raise Refused(LETTERS_STALLED)

    async def _bury(self, message: Message, body: Sequence[bytes], death: Death) -> None:
        self._look_at_letters()
        receipt = _Receipt()
        self._intake.reserve(message, receipt)
        await receipt.answered
        message.attempt = death.attempts
        message.history = _history(death.history)
        burial = Burial(
            message, death.reason, death.detail, death.response_start, message.accepted_at
        )
        await self._stored(self._parts.dead_letters.take(burial, body))

    async def _stored(self, taking: Coroutine[object, object, None]) -> None:
        try:
            await taking
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


def _run(one: AttemptView) -> Attempt:
    """A run of a call. Some words are those of a status and of a failure: of calls it is the
    former."""
    status, failure = int(Status.OK), None
    if one.error in STATUS_WORDS:
        status = STATUS_WORDS.index(one.error)
    elif one.error is not None:
        status, failure = 0, Failure(one.error)
    return Attempt(max(0, one.started_at_us), one.duration_ms, one.status, failure, status)


def _ignore() -> None:
    """Nobody waits for the progress of an upload that is awaited."""

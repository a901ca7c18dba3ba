"""Messages on their way in from another partition: each is a new one, with an id of this partition
and fresh attempts; a dead letter stays one, with its history. So does that of a call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial

from dispatcher.core.calls import STATUS_WORDS
from dispatcher.core.idempotency import Printer, begin_print, new_print, print_of
from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.core.terms import Terms
from dispatcher.errors import Refusal, Refused
from dispatcher.protocol.statuses import Status
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.receipts import AwaitedReceipt
from dispatcher.queue.admin.surface import AttemptView, Death, IncomingCall
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.deadletters.burial import Burial
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.queue.records.history import Attempt, encode_history
from dispatcher.queue.refusals import DISK_FULL, LETTERS_FULL, LETTERS_STALLED, LOG_FAILED

Remember = Callable[[bytes], Awaitable[None]]
"""Writes down what a letter is known by, under the id that it is going to have."""
Bury = Callable[[Remember | None], Awaitable[bytes]]
"""Stores a letter, and returns its id. What it is given is called before that."""


class Importing:
    """Stores what another dispatcher exported."""

    def __init__(self, parts: Parts, intake: Intake) -> None:
        self._parts = parts
        self._intake = intake

    async def take(self, message: Message, body: Sequence[bytes], death: Death | None) -> bool:
        """See `Carrier.take`. The time of a death is that of the import: how long a letter is kept
        counts from there."""
        terms = message.terms
        if terms is not None and terms.stands_for_one:
            printed = _print(begin_print(message.head), body)
            terms = message.terms = replace(terms, request_print=printed)
        if (refusal := self._intake.refusal()) is not None:
            raise Refused(refusal)
        message.accepted_at = self._parts.clock.wall_us()
        if len(body) == 1:
            (message.body,) = body
            body = ()
        if death is None:
            return await self._accept(message, body)
        bury = partial(self._bury, message, body, death)
        if terms is None or not terms.stands_for_one:
            await bury(None)
            return True
        return await self._once(message.destination.key, terms, bury)

    async def _accept(self, message: Message, body: Sequence[bytes]) -> bool:
        upload = await self._upload(body) if body else None
        receipt = AwaitedReceipt()
        self._intake.accept(message, receipt, upload)
        return await receipt.answered

    async def _upload(self, body: Sequence[bytes]) -> ChunkUpload:
        upload = self._intake.start_upload(_ignore)
        for chunk in body:
            await upload.store(chunk)
            if upload.refusal is not None:
                upload.abort()
                raise Refused(upload.refusal)
        return upload

    async def take_call(self, call: IncomingCall, body: Sequence[bytes]) -> bool:
        """See `Carrier.take_call`. Its times are those of the import, as with messages."""
        if (refusal := self._intake.refusal()) is not None:
            raise Refused(refusal)
        bury = partial(self._bury_call, call, body)
        if not call.copy_of:
            await bury(None)
            return True
        function = call.function.encode("utf-8")
        terms = Terms(copy_of=call.copy_of, request_print=_print(new_print(function), body))
        return await self._once(call.endpoint.encode("utf-8"), terms, bury)

    async def _bury_call(
        self, call: IncomingCall, body: Sequence[bytes], remember: Remember | None
    ) -> bytes:
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
        if remember is not None:
            await remember(letter.id)
        if len(body) == 1:
            letter, body = replace(letter, body=body[0]), ()
        await self._stored(self._parts.dead_letters.take_call(letter, body))
        return letter.id

    def _look_at_letters(self) -> None:
        dead_letters = self._parts.dead_letters
        if dead_letters.full:
            raise Refused(LETTERS_FULL)
        if dead_letters.committer.stalled:
            raise Refused(LETTERS_STALLED)

    async def _once(self, destination: bytes, terms: Terms, bury: Bury) -> bool:
        """Bury what is known by something, unless that stands for another one. It is written down
        first: if that is all that happens before a crash, it stands for nothing, and is free."""
        duplicates = self._intake.duplicates
        receipt = AwaitedReceipt()
        first = duplicates.first(destination, terms, receipt)
        if first is None:
            return await receipt.answered
        refusal: Refusal | None = LOG_FAILED
        letter_id = b""
        try:
            letter_id = await bury(partial(duplicates.remember, destination, terms))
            refusal = None
        except Refused as error:
            refusal = error.refusal
            raise
        finally:
            if refusal is None:
                duplicates.answer(destination, terms, letter_id)
            else:
                first.refused(refusal)
        return True

    async def _bury(
        self,
        message: Message,
        body: Sequence[bytes],
        death: Death,
        remember: Remember | None,
    ) -> bytes:
        self._look_at_letters()
        receipt = AwaitedReceipt()
        self._intake.reserve(message, receipt)
        await receipt.answered
        if remember is not None:
            await remember(message.wire_id)
        message.attempt = death.attempts
        message.history = _history(death.history)
        burial = Burial(
            message, death.reason, death.detail, death.response_start, message.accepted_at
        )
        await self._stored(self._parts.dead_letters.take(burial, body))
        return message.wire_id

    async def _stored(self, taking: Coroutine[object, object, None]) -> None:
        try:
            await taking
        except Refused as error:
            if error.refusal is DISK_FULL:
                raise Refused(LETTERS_FULL) from error
            raise


def _print(printer: Printer, body: Sequence[bytes]) -> int:
    for piece in body:
        printer.update(piece)
    return print_of(printer)


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

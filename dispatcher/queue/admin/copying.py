"""New messages made of old ones, and accepted as a caller's are: with ids of their own, and
attempts from 1."""

from __future__ import annotations

from functools import partial

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.core.readdressing import with_host
from dispatcher.core.terms import Terms
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.admin.history import DAMAGED
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.patience import patiently
from dispatcher.queue.admin.receipts import AwaitedReceipt
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.records.chunks import decode_chunk


class Copying:
    """Makes new messages of old ones, and has them accepted."""

    def __init__(self, parts: Parts, intake: Intake, to: Destination | None) -> None:
        self._parts = parts
        self._intake = intake
        self._to = to
        self._damaged = 0

    def damaged(self) -> int:
        """How many bodies could not be read since this was asked last."""
        damaged, self._damaged = self._damaged, 0
        return damaged

    async def copy(
        self, messages: list[Message]
    ) -> tuple[list[Message], list[Message], Refusal | None]:
        """Have copies of these accepted. Returns those of which one is durable, those for which
        there is no room now, and why. In neither are those whose body cannot be read."""
        refusal: Refusal | None = None
        sent: list[tuple[Message, AwaitedReceipt]] = []
        done, left = [], []
        for number, message in enumerate(messages):
            refusal = self._intake.refusal()
            if refusal is None:
                receipt = await self._accept(message)
                if receipt is not None:
                    sent.append((message, receipt))
                continue
            left = messages[number:]
            break
        for message, receipt in sent:
            try:
                await receipt.answered
                done.append(message)
            except Refused as error:
                refusal = error.refusal
                left.append(message)
        return done, left, refusal

    async def _accept(self, message: Message) -> AwaitedReceipt | None:
        """Hand a copy in; None: its body cannot be read."""
        receipt = AwaitedReceipt()
        upload: ChunkUpload | None = None
        if message.chunks is not None:
            try:
                upload = await self._upload(message.chunks)
            except DAMAGED:
                self._damaged += 1
                return None
            except Refused as error:
                receipt.refused(error.refusal)
                return receipt
        copy = copy_of(message, to=self._to, accepted_at=self._parts.clock.wall_us())
        self._intake.accept(copy, receipt, upload)
        return receipt

    async def _upload(self, chunks: tuple[int, ...]) -> ChunkUpload:
        """Copy a large body, one chunk at a time."""
        upload = self._intake.start_upload(lambda: None)
        try:
            for position in chunks:
                (payload,) = await patiently(partial(self._parts.log.read, [position]))
                await upload.store(decode_chunk(payload))
                if upload.refusal is not None:
                    raise Refused(upload.refusal)
        except BaseException:
            upload.abort()  # its chunks would be held for ever
            raise
        return upload


def copy_of(message: Message, *, to: Destination | None, accepted_at: int) -> Message:
    """A new message that asks for the same; `to` is a destination in place of its own."""
    copy = Message(
        to or message.destination,
        message.head if to is None else with_host(message.head, to),
        message.body,
        timeout_ms=message.timeout_ms,
        accepted_at=accepted_at,
        body_size=message.body_size,
    )
    if message.terms is not None and (terms := message.terms.of_copied()) != Terms():
        copy.terms = terms
    return copy

"""What a process does with messages that another one sends it for one of its partitions: they are
accepted as those of its own callers are, and the other one is told what a caller would be."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Protocol

from dispatcher.core.answer import MOST_WAITED_BYTES, Answer
from dispatcher.core.meeting import Keys
from dispatcher.core.message import Message
from dispatcher.errors import DispatcherError, LogTooNew, Refusal
from dispatcher.peers.forwarding.encoding import (
    DUPLICATE,
    STORED,
    Head,
    encode_outcome,
    partition_in,
    read_group,
    read_head,
    read_keys,
    read_without_body,
)
from dispatcher.peers.kinds import Kind
from dispatcher.peers.serving import Question, Table
from dispatcher.peers.streams import Stream
from dispatcher.queue.ports import CHUNK_BYTES, Acceptor, Upload
from dispatcher.queue.records.kinds import RecordError
from dispatcher.queue.records.messages import decode_message
from dispatcher.queue.refusals import MOVED
from dispatcher.telemetry.supervisor import Died

_UNREADABLE = (RecordError, LogTooNew, struct.error, IndexError, TypeError, ValueError)
"""What a message of another version may come to: certainly nothing is stored then."""


class Here(Protocol):
    """The partitions of this process, as other processes come to them."""

    def arriving(self, number: int) -> Acceptor | None:
        """What takes messages of another process for a partition; None: it does not accept now."""

    def known(self, number: int, keys: Keys) -> int | None:
        """A bit for each of these keys that a partition knows; None: it can't say now."""


class Receiver:
    """Answers the questions and takes the streams of `kinds.Kind.ACCEPT` and those beside it."""

    def __init__(self, here: Here, died: Died) -> None:
        self._here = here
        self._died = died

    def enter(self, table: Table) -> None:
        """Have this process answer them."""
        table.on_ask(Kind.ACCEPT, self._accept)
        table.on_ask(Kind.ACCEPT_ALL, self._accept_all)
        table.on_open(Kind.ACCEPT_STREAM, self._take)
        table.on_ask(Kind.KNOWN, self._tell_known)

    def _accept(self, question: Question) -> None:
        payload = question.payload
        try:
            partition, start = partition_in(payload)
            message = decode_message(payload, start)
        except _UNREADABLE as error:
            self._cannot_read(question, error)
            return
        intake = self._here.arriving(partition)
        refusal = MOVED if intake is None else intake.refusal()
        if intake is None or refusal is not None:
            question.refuse(refusal or MOVED)
        else:
            intake.accept(message, _Receipt(question))

    def _accept_all(self, question: Question) -> None:
        payload = question.payload
        try:
            head, start = read_head(payload)
            messages = read_group(payload, start)
        except _UNREADABLE as error:
            self._cannot_read(question, error)
            return
        intake = self._here.arriving(head.partition)
        refusal = MOVED if intake is None else intake.refusal()
        if intake is None or refusal is not None:
            question.refuse(refusal or MOVED)
        else:
            intake.accept_all(messages, _Receipt(question), None, head.place)

    def _take(self, stream: Stream) -> None:
        head, start = read_head(stream.payload)
        keys = read_keys(stream.payload, start)
        intake = self._here.arriving(head.partition)
        refusal = MOVED if intake is None else intake.refusal()
        if intake is None or refusal is not None:
            stream.abort(refusal or MOVED)
        else:
            _Arriving(stream, head, keys, intake, self._died)

    def _tell_known(self, question: Question) -> None:
        payload = question.payload
        try:
            head, start = read_head(payload)
            keys = read_keys(payload, start)
        except _UNREADABLE as error:
            self._cannot_read(question, error)
            return
        known = self._here.known(head.partition, keys)
        if known is None:
            question.refuse(MOVED)
        else:
            question.answer(b"%d" % known)

    def _cannot_read(self, question: Question, error: Exception) -> None:
        self._died("forwarded message", error)
        question.refuse(MOVED)


class _Receipt:
    """Answers the other process (`ports.Receipt`, `ports.GroupReceipt`)."""

    __slots__ = ("_question",)

    def __init__(self, question: Question) -> None:
        self._question = question

    def accepted(self, message: Message) -> None:
        """See `ports.Receipt`."""
        self._question.answer(STORED + message.wire_id)

    def duplicate(self, message_id: bytes) -> None:
        """See `ports.Receipt`."""
        self._question.answer(DUPLICATE + message_id)

    def accepted_all(self, messages: Sequence[Message]) -> None:
        """See `ports.GroupReceipt`."""
        self._question.answer(STORED + b",".join(message.wire_id for message in messages))

    def duplicate_all(self, message_ids: Sequence[bytes]) -> None:
        """See `ports.GroupReceipt`."""
        self._question.answer(DUPLICATE + b",".join(message_ids))

    def refused(self, refusal: Refusal) -> None:
        """See `ports.Receipt`."""
        self._question.refuse(refusal)


class _Arriving:
    """A message that comes in a stream (`streams.Ear`), and its receipt."""

    __slots__ = (
        "_awaited_id",
        "_came_bytes",
        "_died",
        "_head",
        "_intake",
        "_is_used",
        "_stream",
        "_taken_bytes",
        "_upload",
        "_waits",
    )

    def __init__(
        self, stream: Stream, head: Head, keys: Keys, intake: Acceptor, died: Died
    ) -> None:
        self._stream = stream
        self._head = head
        self._intake = intake
        self._died = died
        self._came_bytes = self._taken_bytes = 0
        self._is_used = self._waits = False
        self._awaited_id = b""
        self._upload: Upload | None = None
        if head.is_group:
            self._upload = intake.start_uploads(
                self._went_on,
                copies=head.copies,
                head_bytes=head.head_bytes,
                place=head.place,
                keys=keys,
            )
        elif head.is_large:
            self._upload = intake.start_upload(self._went_on, head.place, keys)
        stream.listen(self)

    # As an ear.

    def came(self, data: bytes) -> None:
        """See `streams.Ear`: a piece of the body."""
        upload = self._upload
        if upload is None or len(data) > CHUNK_BYTES:
            self._give_up(MOVED)
            return
        self._came_bytes += len(data)
        upload.write(data)
        self._went_on()

    def ended(self, payload: bytes) -> None:
        """See `streams.Ear`: the body is whole, and this is its message."""
        try:
            messages = self._messages(payload)
        except _UNREADABLE as error:
            self._died("forwarded message", error)
            self._give_up(MOVED)
            return
        self._is_used = True
        if self._head.is_group:
            self._intake.accept_all(messages, self, self._upload, self._head.place)
        else:
            self._intake.accept(messages[0], self, self._upload)

    def went_on(self) -> None:
        """See `streams.Ear`."""

    def broken(self, error: DispatcherError) -> None:
        """See `streams.Ear`: nobody over there waits any more."""
        if self._awaited_id:
            self._intake.forget(self._awaited_id)
        elif self._upload is not None and not self._is_used:
            self._is_used = True
            self._upload.abort()

    def _messages(self, payload: bytes) -> list[Message]:
        last, start = read_head(payload)
        if self._head.is_large:
            messages = read_without_body(payload, start, b"", self._came_bytes)
            if len(messages) != self._head.copies:
                raise RecordError("there are not as many messages as were announced")
        else:
            messages = [decode_message(payload, start)]
        self._waits = last.waits
        if last.waits:
            messages[0].want_start(MOST_WAITED_BYTES)
        return messages

    def _went_on(self) -> None:
        """More of the body is durable, or can't be."""
        upload = self._upload
        if upload is None or self._is_used:
            return
        if upload.refusal is not None:
            self._give_up(upload.refusal)
            return
        stored = self._came_bytes - upload.unstored_bytes
        if stored > self._taken_bytes:
            self._stream.take(stored - self._taken_bytes)
            self._taken_bytes = stored

    def _give_up(self, refusal: Refusal) -> None:
        self._stream.abort(refusal)
        if self._upload is not None and not self._is_used:
            self._is_used = True
            self._upload.abort()

    # As a receipt.

    def accepted(self, message: Message) -> None:
        """See `ports.Receipt`."""
        self._stream.write(STORED + message.wire_id)
        if self._waits and not self._stream.is_over:
            self._awaited_id = message.wire_id
            self._intake.await_end(message, _Outcome(self._stream))
        else:
            self._stream.end()

    def duplicate(self, message_id: bytes) -> None:
        """See `ports.Receipt`."""
        self._stream.write(DUPLICATE + message_id)
        self._stream.end()

    def accepted_all(self, messages: Sequence[Message]) -> None:
        """See `ports.GroupReceipt`."""
        self._stream.write(STORED + b",".join(message.wire_id for message in messages))
        self._stream.end()

    def duplicate_all(self, message_ids: Sequence[bytes]) -> None:
        """See `ports.GroupReceipt`."""
        self._stream.write(DUPLICATE + b",".join(message_ids))
        self._stream.end()

    def refused(self, refusal: Refusal) -> None:
        """See `ports.Receipt`."""
        self._stream.abort(refusal)


class _Outcome:
    """Who waits for what becomes of a message (`ports.Waiter`), for the other process."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def ended(self, answer: Answer | None, error: str | None) -> None:
        """See `ports.Waiter`."""
        said = encode_outcome(answer, error)
        if answer is not None:
            answer.release()
        self._stream.end(said)

    def undecided(self) -> None:
        """See `ports.Waiter`."""
        self._stream.end()

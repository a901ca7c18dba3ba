"""Events on their way into the log: in one record, or in chunks and a last record that names them.

Until that last record is durable nothing of a large event is there: a crash before it leaves dead
bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial
from typing import Final

from dispatcher.errors import Refusal
from dispatcher.functions.events import Event, Retried
from dispatcher.functions.ports import Then
from dispatcher.functions.store.ordering import Ordering, Thing
from dispatcher.functions.store.records import Encoded, encoded
from dispatcher.queue.bodies.host import Host
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.refusals import RECORD_TOO_LARGE

Apply = Callable[[int, bytes], None]


class Manner:
    """How records are handed in."""

    __slots__ = ("is_copy", "is_urgent")

    def __init__(self, *, is_copy: bool = False, is_urgent: bool = False) -> None:
        self.is_copy = is_copy
        self.is_urgent = is_urgent


URGENT: Final = Manner(is_urgent=True)
"""They must get there."""
NORMAL: Final = Manner()
"""They can be refused."""
AS_COPY: Final = Manner(is_copy=True)
"""They give way."""


class Writing:
    """Writes events. `apply` is told position and payload of each that is durable."""

    def __init__(self, host: Host, ordering: Ordering, apply: Apply) -> None:
        self._host = host
        self._committer = host.committer
        self._ordering = ordering
        self._apply = apply

    def write(self, event: Event, things: tuple[Thing, ...], then: Then, how: Manner) -> None:
        """Write an event that concerns these things; it is under way until `then` is told, after it
        was applied. What concerns the same waits until a large event has ended, urgent or not."""
        form = encoded(event)
        waiter = _Waiter(self, things, then)
        if form.is_large:
            self._write_large(form, waiter, how)
            return
        waiter.payload = form.small()
        if isinstance(event, Retried):
            self._committer.copies.submit_attempt(waiter.payload, waiter)
            self._committer.wake_lazily()
            return
        self._hand_in(waiter, how)

    def _hand_in(self, waiter: _Waiter, how: Manner) -> None:
        if how.is_copy:
            self._committer.copies.submit(waiter.payload, waiter)
        elif how.is_urgent:
            self._committer.submit_urgent(waiter.payload, waiter)
        else:
            self._committer.submit(waiter.payload, waiter)
            return
        self._committer.wake()

    def _write_large(self, form: Encoded, waiter: _Waiter, how: Manner) -> None:
        chunks = -(-form.blob_bytes // CHUNK_BYTES)
        size = len(form.header) + 8 * chunks + 64
        if size + OVERHEAD_BYTES > self._host.log.max_batch_bytes or not chunks:
            waiter.refused(RECORD_TOO_LARGE)
            return
        upload = self._host.upload(is_copy=how.is_copy, is_urgent=how.is_urgent)
        waiter.upload = upload
        self._ordering.shut(waiter.things)
        for piece in form.pieces():
            upload.write(piece)
        if how.is_copy or how.is_urgent:
            self._committer.wake()
        upload.when_stored(partial(self._chunks_stored, form, waiter, upload, how))

    def _chunks_stored(
        self, form: Encoded, waiter: _Waiter, upload: ChunkUpload, how: Manner
    ) -> None:
        if upload.refusal is not None:
            waiter.refused(upload.refusal)
            return
        waiter.payload = form.large(array("Q", upload.fixed()))
        self._hand_in(waiter, how)

    def stored(self, waiter: _Waiter, position: int) -> None:
        """An event is durable."""
        try:
            self._apply(position, waiter.payload)
        finally:  # who waits for it would wait for ever
            self._end(waiter, None)

    def refused(self, waiter: _Waiter, refusal: Refusal) -> None:
        """An event is not stored."""
        self._end(waiter, refusal)

    def _end(self, waiter: _Waiter, refusal: Refusal | None) -> None:
        self._ordering.ended(waiter.things)
        try:
            waiter.then(refusal)
        finally:
            if waiter.upload is not None:
                waiter.upload.let_go()
                self._ordering.open(waiter.things)


class _Waiter:
    """The record of an event on its way."""

    __slots__ = ("_writing", "payload", "then", "things", "upload")

    def __init__(self, writing: Writing, things: tuple[Thing, ...], then: Then) -> None:
        self._writing = writing
        self.things = things
        self.then = then
        self.payload = b""
        self.upload: ChunkUpload | None = None

    def stored(self, position: int) -> None:
        """It is durable."""
        self._writing.stored(self, position)

    def refused(self, refusal: Refusal) -> None:
        """It is not stored."""
        self._writing.refused(self, refusal)

"""Messages that another process sends for a partition of this one, while partitions of a former
spread may know their keys: this process decides for their places.

What comes for the partition of its place is not decided yet, and may go on to another process.
What comes for another partition was decided by the process that has that of its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from dispatcher.core.meeting import Keys
from dispatcher.core.message import Message
from dispatcher.core.placing import place_of
from dispatcher.errors import Refusal
from dispatcher.node.placed import PlacedUpload
from dispatcher.queue.ports import Acceptor, GroupReceipt, Receipt, Upload, Waiter


class Deciding(Acceptor, Protocol):
    """The router."""

    def partition_of(self, place: bytes) -> int | None:
        """The partition of a place; None: it has none."""


class Arrivals:
    """What other processes send for one partition (`ports.Acceptor`)."""

    __slots__ = ("_intake", "_partition", "_router", "spreads_keys")

    def __init__(self, router: Deciding, partition: int, intake: Acceptor) -> None:
        self.spreads_keys = True
        self._router = router
        self._partition = partition
        self._intake = intake

    def _of(self, place: bytes) -> Acceptor:
        return self._router if self._router.partition_of(place) == self._partition else self._intake

    def refusal(self) -> Refusal | None:
        """See `ports.Acceptor`."""
        return self._intake.refusal()

    def accept(self, message: Message, receipt: Receipt, upload: Upload | None = None) -> None:
        """See `ports.Acceptor`."""
        if upload is not None:
            to: Acceptor = self._router if isinstance(upload, PlacedUpload) else self._intake
        else:
            to = self._of(place_of(message.destination.key, message.terms))
        to.accept(message, receipt, upload)

    def accept_all(
        self,
        messages: Sequence[Message],
        receipt: GroupReceipt,
        upload: Upload | None = None,
        place: bytes = b"",
    ) -> None:
        """See `ports.Acceptor`."""
        if upload is not None:
            to: Acceptor = self._router if isinstance(upload, PlacedUpload) else self._intake
        else:
            to = self._of(place)
        to.accept_all(messages, receipt, upload, place)

    def start_upload(
        self, on_progress: Callable[[], None], place: bytes = b"", keys: Keys = ()
    ) -> Upload:
        """See `ports.Acceptor`."""
        return self._of(place).start_upload(on_progress, place, keys)

    def start_uploads(
        self,
        on_progress: Callable[[], None],
        *,
        copies: int,
        head_bytes: int,
        place: bytes = b"",
        keys: Keys = (),
    ) -> Upload:
        """See `ports.Acceptor`."""
        return self._of(place).start_uploads(
            on_progress, copies=copies, head_bytes=head_bytes, place=place, keys=keys
        )

    def await_end(self, message: Message, waiter: Waiter) -> None:
        """See `ports.Acceptor`: it may have gone on to another process."""
        self._router.await_end(message, waiter)

    def forget(self, message_id: bytes) -> None:
        """See `ports.Acceptor`."""
        self._router.forget(message_id)

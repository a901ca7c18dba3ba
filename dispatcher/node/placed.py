"""A large body on its way into the log of a partition, which may not be decided yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.node.meeting import PlacedGroupReceipt, PlacedReceipt, Placement
from dispatcher.queue.ports import Acceptor, GroupReceipt, Receipt, Upload

Begin = Callable[[Acceptor], Upload]


class PlacedUpload:
    """One body (`ports.Upload`). What comes before it is decided is kept, and as the caller's
    socket is paused on it, that is little."""

    __slots__ = ("_inner", "_intake", "_is_over", "_on_progress", "_placement", "_then", "_waiting")

    def __init__(self, on_progress: Callable[[], None] | None = None) -> None:
        """`on_progress` is told once it is decided, where anything was kept."""
        self._on_progress = on_progress
        self._inner: Upload | None = None
        self._intake: Acceptor | None = None
        self._placement: Placement | None = None
        self._waiting: list[bytes] = []
        self._then: Callable[[], None] | None = None
        self._is_over = False

    # What the router decides.

    def begin(self, intake: Acceptor, begin: Begin, placement: Placement | None = None) -> None:
        """It lies in the log of this partition; the placement ends with it."""
        self._placement = placement
        if self._is_over:
            self._end()
            return
        self._intake, self._inner = intake, begin(intake)
        waiting, self._waiting = self._waiting, []
        for chunk in waiting:
            self._inner.write(chunk)
        self._decided()

    def refuse(self, refusal: Refusal, placement: Placement | None = None) -> None:
        """No partition takes it."""
        self._placement = placement
        self._waiting.clear()
        self._inner = _Refused(refusal)
        self._end()
        if self._on_progress is not None:
            self._on_progress()
        self._decided()

    def _decided(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()

    # What the caller does.

    def accept(self, message: Message, receipt: Receipt) -> None:
        """Store the message whose body it is, as soon as it is decided where."""

        def accept() -> None:
            placement, self._placement = self._placement, None
            to = receipt if placement is None else PlacedReceipt(receipt, placement)
            if self._intake is not None:
                self._intake.accept(message, to, self._inner)
            elif self.refusal is not None:
                to.refused(self.refusal)

        self._when_decided(accept)

    def accept_all(self, messages: Sequence[Message], receipt: GroupReceipt) -> None:
        """The same of the messages of a group."""

        def accept() -> None:
            placement, self._placement = self._placement, None
            to = receipt if placement is None else PlacedGroupReceipt(receipt, placement)
            if self._intake is not None:
                self._intake.accept_all(messages, to, self._inner)
            elif self.refusal is not None:
                to.refused(self.refusal)

        self._when_decided(accept)

    def _when_decided(self, then: Callable[[], None]) -> None:
        if self._inner is None:
            self._then = then
        else:
            then()

    @property
    def unstored_bytes(self) -> int:
        """See `ports.Upload`."""
        return sum(map(len, self._waiting)) if self._inner is None else self._inner.unstored_bytes

    @property
    def refusal(self) -> Refusal | None:
        """See `ports.Upload`."""
        return None if self._inner is None else self._inner.refusal

    def write(self, chunk: bytes) -> None:
        """See `ports.Upload`."""
        if self._inner is None:
            self._waiting.append(chunk)
        else:
            self._inner.write(chunk)

    def abort(self) -> None:
        """See `ports.Upload`."""
        self._is_over = True
        self._waiting.clear()
        self._end()
        if self._inner is not None:
            self._inner.abort()

    def _end(self) -> None:
        placement, self._placement = self._placement, None
        if placement is not None:
            placement.done()


class _Refused:
    """A body that no partition takes."""

    __slots__ = ("refusal",)

    unstored_bytes = 0

    def __init__(self, refusal: Refusal) -> None:
        self.refusal: Refusal | None = refusal

    def write(self, chunk: bytes) -> None:
        """Nobody takes it."""

    def abort(self) -> None:
        """Nothing was begun."""

"""Which partition takes a message, where a process has several: an `Acceptor` over theirs.

    without a key     the process's own partition: always the same one, so that callers share
                      batches; another one when it refuses, as soon as it owes nobody an answer
    with a key        the one of its place (`core.placing`), also where another process has that;
                      503 `moved` where nobody is known to
    of a group        with a key the one of the group, else the own one
    with a rule that  its destination is its place, so that the limit is that of all processes; but
    limits attempts   those of a group stay together, and each process has the limit for those
    a large body      decided as it begins: its chunks lie in that log

With one partition there is no router: ingress has that one's intake itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.core.placing import partition_of, place_of
from dispatcher.errors import Refusal
from dispatcher.ingress.memory import Held
from dispatcher.ingress.outbox import Outbox
from dispatcher.peers.forwarding.elsewhere import Elsewhere
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.ports import Acceptor, GroupReceipt, Receipt, Upload, Waiter
from dispatcher.queue.records.ids import id_parts
from dispatcher.queue.refusals import MOVED


class Router:
    """Implements `ports.Acceptor`."""

    spreads_keys = True

    def __init__(self, spread: int, own: int = 0) -> None:
        """Places are spread over so many partitions, whether they are here or not; those with
        higher numbers take nothing without a key. The process's `own` is preferred."""
        self._spread = spread
        self._preferred = own
        self._intakes: dict[int, Intake] = {}
        self._unkeyed: dict[int, Intake] = {}
        """Those of them that take messages without a key."""
        self._own: Intake | None = None
        self._former: Intake | None = None  # the own one before, while it owes answers
        self.elsewhere: Elsewhere | None = None
        """The partitions of other processes, where there are any."""
        self.bounds: Callable[[Destination], bool] | None = None
        """Says of which destinations all messages go to one partition, where other processes accept
        some of them."""

    def __repr__(self) -> str:
        return f"<Router: {sorted(self._intakes)} of {self._spread}>"

    def add(self, number: int, intake: Intake) -> None:
        """A partition accepts messages from now on."""
        self._intakes[number] = intake
        if number < self._spread:
            self._unkeyed[number] = intake

    def remove(self, number: int) -> None:
        """It does not any more. Idempotent."""
        self._unkeyed.pop(number, None)
        intake = self._intakes.pop(number, None)
        if intake is not None and intake is self._own:
            self._own = None
            self._former = intake if intake.owes else None

    def local(self, number: int) -> Intake | None:
        """What accepts messages for a partition of this process."""
        return self._intakes.get(number)

    def _choose(self) -> Intake | None:
        """The own partition. Where that has left another one follows it, when all its answers are
        told: those of two partitions would come in any order on one connection."""
        if self._own is None and (self._former is None or not self._former.owes):
            self._former = None
            others = iter(self._unkeyed.values())
            self._own = self._unkeyed.get(self._preferred) or next(others, None)
        return self._own

    # As an `Acceptor`.

    def refusal(self) -> Refusal | None:
        """Why no message without a key is accepted now; another partition may take it then."""
        own = self._choose()
        if own is None:
            return MOVED
        refusal = own.refusal()
        if refusal is None or own.owes:  # as in `_choose`
            return refusal
        for other in self._unkeyed.values():
            if other.refusal() is None:
                self._own = other
                return None
        return refusal

    def accept(self, message: Message, receipt: Receipt, upload: Upload | None = None) -> None:
        """See `ports.Acceptor`."""
        if upload is not None:
            assert isinstance(upload, _Placed)
            upload.intake.accept(message, receipt, upload.inner)
            return
        place = place_of(message.destination.key, message.terms) or self._bounded(message, receipt)
        intake = self._of(place)
        refusal = _refusal(intake, place)
        if intake is None or refusal is not None:
            receipt.refused(refusal or MOVED)
        else:
            intake.accept(message, receipt)

    def accept_all(
        self,
        messages: Sequence[Message],
        receipt: GroupReceipt,
        upload: Upload | None = None,
        place: bytes = b"",
    ) -> None:
        """See `ports.Acceptor`."""
        if upload is not None:
            assert isinstance(upload, _Placed)
            upload.intake.accept_all(messages, receipt, upload.inner)
            return
        intake = self._of(place)
        refusal = _refusal(intake, place)
        if intake is None or refusal is not None:
            receipt.refused(refusal or MOVED)
        else:
            intake.accept_all(messages, receipt)

    def start_upload(self, on_progress: Callable[[], None], place: bytes = b"") -> Upload:
        """See `ports.Acceptor`."""
        intake = self._of(place)
        return _NOWHERE if intake is None else _Placed(intake, intake.start_upload(on_progress))

    def start_uploads(
        self, on_progress: Callable[[], None], *, copies: int, head_bytes: int, place: bytes = b""
    ) -> Upload:
        """See `ports.Acceptor`."""
        intake = self._of(place)
        if intake is None:
            return _NOWHERE
        inner = intake.start_uploads(on_progress, copies=copies, head_bytes=head_bytes)
        return _Placed(intake, inner)

    def await_end(self, message: Message, waiter: Waiter) -> None:
        """See `ports.Acceptor`."""
        intake = self._at(id_parts(message.wire_id)[0])
        if intake is not None:
            intake.await_end(message, waiter)

    def forget(self, message_id: bytes) -> None:
        """See `ports.Acceptor`."""
        intake = self._at(id_parts(message_id)[0])
        if intake is not None:
            intake.forget(message_id)

    def _of(self, place: bytes) -> Acceptor | None:
        if place:
            return self._at(partition_of(place, self._spread))
        return self._choose()

    def _bounded(self, message: Message, receipt: Receipt) -> bytes:
        """The place of a message without a key: its destination, where a rule bounds that. A
        receipt that comes in order can't be another partition's: the rule is younger than the
        request."""
        bounds = self.bounds
        if bounds is None or not bounds(message.destination) or _is_in_order(receipt):
            return b""
        return message.destination.key

    def _at(self, number: int) -> Acceptor | None:
        """What accepts messages for a partition, here or elsewhere."""
        intake = self._intakes.get(number)
        if intake is None and self.elsewhere is not None:
            return self.elsewhere.of(number)
        return intake


def _is_in_order(receipt: Receipt) -> bool:
    """Whether it has to be told in the order of what its caller sent."""
    return isinstance(receipt.receipt if isinstance(receipt, Held) else receipt, Outbox)


def _refusal(intake: Acceptor | None, place: bytes) -> Refusal | None:
    """Why a partition takes nothing now that no other one may take: of the own one whoever sends
    has asked already (`Router.refusal`)."""
    if intake is None:
        return MOVED
    return intake.refusal() if place else None


class _Placed:
    """A large body, and the partition in whose log its chunks lie."""

    __slots__ = ("inner", "intake")

    def __init__(self, intake: Acceptor, inner: Upload) -> None:
        self.intake = intake
        self.inner = inner

    @property
    def unstored_bytes(self) -> int:
        """See `ports.Upload`."""
        return self.inner.unstored_bytes

    @property
    def refusal(self) -> Refusal | None:
        """See `ports.Upload`."""
        return self.inner.refusal

    def write(self, chunk: bytes) -> None:
        """See `ports.Upload`."""
        self.inner.write(chunk)

    def abort(self) -> None:
        """See `ports.Upload`."""
        self.inner.abort()


class _Nowhere:
    """A large body whose partition is not here: refused from the beginning."""

    unstored_bytes = 0
    refusal = MOVED

    def write(self, chunk: bytes) -> None:
        """Nobody takes it."""

    def abort(self) -> None:
        """Nothing was begun."""


_NOWHERE = _Nowhere()

"""Which partition takes a message, where a process has several: an `Acceptor` over theirs.

    without a key     the process's own partition: always the same one, so that callers share
                      batches; another one when it refuses, as soon as it owes nobody an answer. A
                      node without any gives it to another node (`peers.forwarding.anywhere`)
    with a key        the one of its place (`core.placing`), also where another process has that;
                      503 `moved` where nobody is known to. Who has it may find that one of before
                      knows the key (`node.meeting`)
    of a group        with a key the one of the group, else the own one
    with a rule that  its destination is its place, so that the limit is that of all processes; but
    limits attempts   those of a group stay together, and each process has the limit for those
    a large body      decided as it begins: its chunks lie in that log

With one partition there is no router: ingress has that one's intake itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Protocol

from dispatcher.core.destination import Destination
from dispatcher.core.meeting import Keys, keys_of, keys_of_all
from dispatcher.core.message import Message
from dispatcher.core.placing import partition_of, place_of
from dispatcher.errors import Refusal
from dispatcher.ingress.memory import Held
from dispatcher.ingress.outbox import Outbox
from dispatcher.node.arrivals import Arrivals
from dispatcher.node.meeting import (
    Meeting,
    OnKnown,
    PlacedGroupReceipt,
    PlacedReceipt,
    Placement,
)
from dispatcher.node.placed import PlacedUpload
from dispatcher.peers.forwarding.anywhere import Anywhere
from dispatcher.peers.forwarding.elsewhere import Elsewhere
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.ports import Acceptor, GroupReceipt, Receipt, Upload, Waiter
from dispatcher.queue.records.ids import id_parts
from dispatcher.queue.refusals import MOVED


class _Undecided(Protocol):
    """Begins a large body at what takes it: without a place where that is decided."""

    def __call__(self, intake: Acceptor, place: bytes = b"", keys: Keys = ()) -> Upload: ...


class Router:
    """Implements `ports.Acceptor`."""

    spreads_keys = True

    def __init__(
        self,
        spread: int,
        own: int = 0,
        *,
        former: Sequence[int] = (),
        partitions: Collection[int] = (),
    ) -> None:
        """Places are spread over so many partitions, whether they are here or not; those with
        higher numbers take nothing without a key. The process's `own` is preferred. Where there
        are `former` spreads (the latest first), the `partitions` are asked for keys; those are the
        ones that the node has."""
        self._spread = spread
        self._preferred = own
        self._partitions = partitions
        self.meeting = Meeting(spread, former, self._ask) if former else None
        """Where messages with keys go; None: their place alone says that."""
        self._intakes: dict[int, Intake] = {}
        self._unkeyed: dict[int, Intake] = {}
        """Those of them that take messages without a key."""
        self._own: Intake | Anywhere | None = None
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
        if self.elsewhere is not None:
            self.elsewhere.here(number, intake)
            self._come_home()

    def remove(self, number: int) -> None:
        """It does not any more. Idempotent."""
        self._unkeyed.pop(number, None)
        intake = self._intakes.pop(number, None)
        if intake is not None and intake is self._own:
            self._own = None
            self._former = intake if intake.owes else None
        if self.elsewhere is not None:
            self.elsewhere.here(number, None)
            self._come_home()

    def _come_home(self) -> None:
        """While the own messages go to another process: what comes from now on goes to a partition
        of this one, if there is one, behind what is still to be answered."""
        anywhere = None if self.elsewhere is None else self.elsewhere.anywhere
        if anywhere is None or self._own is not anywhere:
            return
        if anywhere.home in self._unkeyed.values():
            return
        home = self._preferred_one()
        if anywhere.owes or home is None:
            anywhere.on_drained = self._come_home_for_good
            anywhere.come_home(home)
        else:
            anywhere.come_home(None)
            self._own = home

    def _come_home_for_good(self) -> None:
        anywhere = None if self.elsewhere is None else self.elsewhere.anywhere
        if anywhere is not None and self._own is anywhere:
            self._own = anywhere.home
            anywhere.come_home(None)

    # As other processes come to it (`peers.forwarding.receiving.Here`).

    def arriving(self, number: int) -> Acceptor | None:
        """What takes messages of another process for a partition of this one."""
        intake = self._intakes.get(number)
        if intake is None or self.meeting is None:
            return intake
        return Arrivals(self, number, intake)

    def known(self, number: int, keys: Keys) -> int | None:
        """Which of these keys a partition of this process knows; None: it can't say now."""
        intake = self._intakes.get(number)
        if intake is not None:
            return intake.known.which(keys)
        return None if number in self._partitions else 0

    def partition_of(self, place: bytes) -> int | None:
        """The partition of a place; None: it has none."""
        return partition_of(place, self._spread) if place else None

    def _choose(self) -> Intake | Anywhere | None:
        """The own partition. Where that has left another one follows it, when all its answers are
        told: those of two partitions would come in any order on one connection."""
        if self._own is None and (self._former is None or not self._former.owes):
            self._former = None
            self._own = self._preferred_one()
            if self._own is None and self.elsewhere is not None:
                self._own = self.elsewhere.anywhere
        return self._own

    def _preferred_one(self) -> Intake | None:
        others = iter(self._unkeyed.values())
        return self._unkeyed.get(self._preferred) or next(others, None)

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
            assert isinstance(upload, PlacedUpload)
            upload.accept(message, receipt)
            return
        terms = message.terms
        place = place_of(message.destination.key, terms)
        if terms is not None and self.meeting is not None and self._decides(place):
            keys = keys_of(message.destination.key, terms)
            self.meeting.place(place, keys, partial(self._placed, message, receipt))
            return
        place = place or self._bounded(message, receipt)
        intake = self._of(place)
        refusal = _refusal(intake, place)
        if intake is None or refusal is not None:
            receipt.refused(refusal or MOVED)
        else:
            intake.accept(message, receipt)

    def _placed(self, message: Message, receipt: Receipt, placement: Placement | None) -> None:
        if placement is None:
            receipt.refused(MOVED)
            return
        receipt = PlacedReceipt(receipt, placement)
        intake = self._at(placement.number)
        refusal = MOVED if intake is None else intake.refusal()
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
            assert isinstance(upload, PlacedUpload)
            upload.accept_all(messages, receipt)
            return
        if self.meeting is not None and self._decides(place):
            destinations = [message.destination.key for message in messages]
            keys = keys_of_all(place, destinations, messages[0].terms)
            self.meeting.place(place, keys, partial(self._placed_all, messages, receipt))
            return
        intake = self._of(place)
        refusal = _refusal(intake, place)
        if intake is None or refusal is not None:
            receipt.refused(refusal or MOVED)
        else:
            intake.accept_all(messages, receipt, None, place)

    def _placed_all(
        self,
        messages: Sequence[Message],
        receipt: GroupReceipt,
        placement: Placement | None,
    ) -> None:
        if placement is None:
            receipt.refused(MOVED)
            return
        receipt = PlacedGroupReceipt(receipt, placement)
        intake = self._at(placement.number)
        refusal = MOVED if intake is None else intake.refusal()
        if intake is None or refusal is not None:
            receipt.refused(refusal or MOVED)
        else:
            intake.accept_all(messages, receipt)

    def start_upload(
        self, on_progress: Callable[[], None], place: bytes = b"", keys: Keys = ()
    ) -> Upload:
        """See `ports.Acceptor`."""

        def begin(intake: Acceptor, place: bytes = b"", keys: Keys = ()) -> Upload:
            return intake.start_upload(on_progress, place, keys)

        return self._start(begin, on_progress, place, keys)

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

        def begin(intake: Acceptor, place: bytes = b"", keys: Keys = ()) -> Upload:
            return intake.start_uploads(
                on_progress, copies=copies, head_bytes=head_bytes, place=place, keys=keys
            )

        return self._start(begin, on_progress, place, keys)

    def _start(
        self, begin: _Undecided, on_progress: Callable[[], None], place: bytes, keys: Keys
    ) -> Upload:
        if keys and self.meeting is not None and self._decides(place):
            upload = PlacedUpload(on_progress)
            self.meeting.place(place, keys, partial(self._begin, upload, begin))
            return upload
        upload = PlacedUpload()
        intake = self._of(place)
        if intake is None:
            upload.refuse(MOVED)
        else:
            upload.begin(intake, lambda one: begin(one, place, keys))
        return upload

    def _begin(self, upload: PlacedUpload, begin: _Undecided, placement: Placement | None) -> None:
        intake = None if placement is None else self._at(placement.number)
        if intake is None:
            upload.refuse(MOVED, placement)
        else:
            upload.begin(intake, begin, placement)

    def await_end(self, message: Message, waiter: Waiter) -> None:
        """See `ports.Acceptor`."""
        elsewhere = self.elsewhere
        if elsewhere is not None and elsewhere.verdicts.await_end(message.wire_id, waiter):
            return
        intake = self._intakes.get(id_parts(message.wire_id)[0])
        if intake is not None:
            intake.await_end(message, waiter)

    def forget(self, message_id: bytes) -> None:
        """See `ports.Acceptor`."""
        if self.elsewhere is not None and self.elsewhere.verdicts.forget(message_id):
            return
        intake = self._intakes.get(id_parts(message_id)[0])
        if intake is not None:
            intake.forget(message_id)

    def _ask(self, number: int, keys: Keys, told: OnKnown) -> None:
        """See `meeting.Ask`."""
        remote = None
        if number not in self._intakes and number in self._partitions:
            remote = None if self.elsewhere is None else self.elsewhere.of(number)
        if remote is None:
            told(self.known(number, keys))
        else:
            remote.ask(keys, told)

    def _decides(self, place: bytes) -> bool:
        """Whether it is this process that decides for a place."""
        return bool(place) and partition_of(place, self._spread) in self._intakes

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

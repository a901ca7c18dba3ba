"""From a caller's request to a durable record, and from there into the index and a lane.

accept ─▶ committer ─▶ stored: named, receipt, admitted ─▶ lane, or at once to delivery
"""

from __future__ import annotations

from array import array
from binascii import hexlify
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from dispatcher.core.clock import SteadyClock
from dispatcher.core.meeting import Keys
from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.queue.bodies.copied import CopiedUpload
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.flow.admission import Admission
from dispatcher.queue.flow.duplicates import Duplicates
from dispatcher.queue.flow.figures import Figures
from dispatcher.queue.flow.known import Known
from dispatcher.queue.flow.starting import Starting
from dispatcher.queue.flow.together import Together
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.lanes.gates import is_shut
from dispatcher.queue.lanes.lanes import WORKER, Lanes
from dispatcher.queue.lanes.warm import Warm
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.ports import GroupReceipt, Receipt, Upload, Waiter, Watcher
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.kinds import NOTHING, OVERHEAD_BYTES
from dispatcher.queue.records.messages import encode_message
from dispatcher.queue.refusals import (
    BACKLOG_FULL,
    DISK_FULL,
    OVERLOADED,
    SHUTTING_DOWN,
)

MAX_UNSTORED_BYTES: Final = 64 * 1024 * 1024


class Intake:
    """Accepts messages (`ports.Acceptor`). `max_backlog_bytes` is of all partitions of the process,
    and 0 means until the disk is full; `late` is said while the log gives no verdict."""

    __slots__ = (
        "_admission",
        "_clock",
        "_committer",
        "_figures",
        "_id_prefix",
        "_incarnation",
        "_is_closed",
        "_lanes",
        "_late",
        "_max_backlog_bytes",
        "_pending",
        "_starting",
        "_together",
        "_traffic",
        "_warm",
        "_watch",
        "duplicates",
        "known",
        "spreads_keys",
    )

    def __init__(
        self,
        pending: Pending,
        committer: Committer,
        *,
        lanes: Lanes,
        traffic: Traffic,
        warm: Warm,
        starting: Starting,
        admission: Admission,
        duplicates: Duplicates,
        known: Known,
        figures: Figures,
        watch: Watcher,
        clock: SteadyClock,
        partition: int,
        incarnation: int,
        max_backlog_bytes: int,
        late: Refusal,
    ) -> None:
        self.spreads_keys = False
        self._pending = pending
        self._committer = committer
        self._lanes = lanes
        self._traffic = traffic
        self._warm = warm
        self._starting = starting
        self._admission = admission
        self.duplicates = duplicates
        self.known = known
        self._figures = figures
        self._watch = watch
        self._clock = clock
        self._incarnation = incarnation
        self._id_prefix = wire_id(partition, incarnation, 0)[:12]
        self._max_backlog_bytes = max_backlog_bytes
        self._late = late
        self._is_closed = False
        self._together = Together(
            committer,
            pending,
            payload_of=self.payload_of,
            name=self.name,
            admit=self.admit,
            backlog_refusal=self._backlog_refusal,
            duplicates=duplicates,
        )

    def close(self) -> None:
        """Accept nothing more. Idempotent."""
        self._is_closed = True

    def refusal(self) -> Refusal | None:
        """Why nothing is accepted now; None when it is."""
        committer = self._committer
        if committer.dead:
            return committer.gone
        if self._is_closed:
            return SHUTTING_DOWN
        if committer.full:
            return DISK_FULL
        if committer.stalled:
            return self._late
        if committer.waiting_bytes > MAX_UNSTORED_BYTES:
            return OVERLOADED
        return self._backlog_refusal() if self._max_backlog_bytes else None

    def refuse_waiting(self) -> None:
        """The log gives no verdict for so long that nothing more is accepted: refuse what was not
        handed to it, too. Who waits behind a message that was, on the same connection, goes on
        waiting, as that has to be told first."""
        with_log = self._committer.waiters_with_log
        first = {id(one.told) for one in with_log if isinstance(one, _Acceptance)}

        def may_be_told(waiter: object) -> bool:
            return isinstance(waiter, _Acceptance) and id(waiter.told) not in first

        self._committer.refuse_waiting(may_be_told, self._late)

    @property
    def owes(self) -> bool:
        """Whether somebody still waits to hear whether a message was stored."""
        return self._committer.owes

    def _backlog_refusal(self) -> Refusal | None:
        most = self._max_backlog_bytes
        return BACKLOG_FULL if most and self._traffic.backlog.size_bytes >= most else None

    @property
    def held_bytes(self) -> int:
        """What waits here, or is about to (`backlog.Holder`)."""
        return self._pending.live_bytes + self._committer.waiting_bytes

    def accept(self, message: Message, receipt: Receipt, upload: Upload | None = None) -> None:
        """Store a message (`ports.Acceptor`)."""
        terms = message.terms
        if terms is not None and terms.stands_for_one:
            first = self.duplicates.first(message.destination.key, terms, receipt, upload)
            if first is None:
                return
            receipt = first
        if upload is None:
            self._submit(message, receipt, None)
            return
        assert isinstance(upload, ChunkUpload)
        upload.use(partial(self._uploaded, message, receipt, upload))

    def start_upload(
        self, on_progress: Callable[[], None], place: bytes = b"", keys: Keys = ()
    ) -> ChunkUpload:
        """Begin a large body (`ports.Acceptor`)."""
        return ChunkUpload(self._committer, self._pending, on_progress).let_move()

    def await_end(self, message: Message, waiter: Waiter) -> None:
        """See `ports.Acceptor`."""
        self._pending.awaited[message.wire_id] = waiter

    def forget(self, message_id: bytes) -> None:
        """See `ports.Acceptor`."""
        self._pending.awaited.pop(message_id, None)

    def accept_all(
        self,
        messages: Sequence[Message],
        receipt: GroupReceipt,
        upload: Upload | None = None,
        place: bytes = b"",
    ) -> None:
        """Store messages together (`ports.Acceptor`)."""
        self._together.accept(messages, receipt, upload)

    def start_uploads(
        self,
        on_progress: Callable[[], None],
        *,
        copies: int,
        head_bytes: int,
        place: bytes = b"",
        keys: Keys = (),
    ) -> CopiedUpload:
        """Begin a large body of several messages (`ports.Acceptor`)."""
        return self._together.start_upload(on_progress, copies=copies, head_bytes=head_bytes)

    def _uploaded(self, message: Message, receipt: Receipt, upload: ChunkUpload) -> None:
        if upload.refusal is not None:
            upload.let_go()
            receipt.refused(upload.refusal)
            return
        message.chunks = upload.fixed() or None
        self._submit(message, receipt, upload)

    def _submit(self, message: Message, receipt: Receipt, upload: ChunkUpload | None) -> None:
        message.incarnation = self._incarnation
        if message.terms is not None:
            self._admission.prepare(message, message.terms)
        payload = encode_message(message)
        size = len(payload) + OVERHEAD_BYTES
        self._committer.submit(payload, _Acceptance(self, message, receipt, size, upload))

    def payload_of(self, message: Message) -> bytes:
        """The record of a message that is accepted now."""
        message.incarnation = self._incarnation
        if message.terms is not None:
            self._admission.prepare(message, message.terms)
        return encode_message(message)

    def reserve(self, message: Message, receipt: Receipt) -> None:
        """Give a message an id without storing it. The id is the position of an empty record."""
        message.incarnation = self._incarnation
        self._committer.submit(NOTHING, _Reservation(self, message, receipt))

    def note(self, position: int, size: int) -> None:
        """A record that nobody needs takes space in the log."""
        self._pending.extents.note(position, size)

    def name(self, message: Message, position: int) -> None:
        """The record of a message is durable at `position`: it exists from here on, with its id."""
        message.position = position
        # A format takes twice as long.
        message.wire_id = self._id_prefix + hexlify(position.to_bytes(8, "big"))

    def admit(self, message: Message, size: int) -> None:
        """Give a durable message its place in the index and in its lane."""
        self._figures.accepted(message.accepted_at)
        if self._watch.is_wanted:
            self._watch.accepted(message)
        pending = self._pending
        lane = self._lanes.of(message.destination)
        slot = message.slot = pending.add(message.position, self._incarnation, lane.number, size)
        if message.chunks is not None:
            pending.owned.own(slot, array("Q", message.chunks), message.body_size)
        if message.terms is not None:
            self.duplicates.stored(message, message.terms)
            if self._admission.waits(message, message.terms):
                return
        if pending.ages is not None:
            pending.ages.add(slot, self._clock.now_us())
        peer = lane.peer
        if (
            not lane.ready
            and peer.calm
            and peer.in_flight < peer.limit.value
            and not peer.spent
            and self._traffic.turns.are_free
            and self._starting.may_start()
        ):
            self._starting.start(lane, message, self._clock.now_us(), WORKER)
            return
        warm = (
            lane.warm == lane.ready
            and self._warm.fits(message)
            and (peer.calm or not is_shut(peer, self._clock.now_us()))
        )
        if warm:
            self._warm.put(lane, slot, message)
        lane.push(pending.index, slot, warm=warm)
        self._traffic.turns.enter(lane)


class _Reservation:
    """A record that says nothing on its way into the log: no other has its position."""

    __slots__ = ("_intake", "_message", "_receipt")

    def __init__(self, intake: Intake, message: Message, receipt: Receipt) -> None:
        self._intake = intake
        self._message = message
        self._receipt = receipt

    def stored(self, position: int) -> None:
        """It is durable, and the message has its id."""
        self._intake.note(position, len(NOTHING) + OVERHEAD_BYTES)
        self._intake.name(self._message, position)
        self._receipt.accepted(self._message)

    def refused(self, refusal: Refusal) -> None:
        """It is not stored."""
        self._receipt.refused(refusal)


class _Acceptance:
    """A message on its way into the log, and the caller who waits for it."""

    __slots__ = ("_intake", "_message", "_receipt", "_size", "_upload")

    def __init__(
        self,
        intake: Intake,
        message: Message,
        receipt: Receipt,
        size: int,
        upload: ChunkUpload | None,
    ) -> None:
        self._intake = intake
        self._message = message
        self._receipt = receipt
        self._size = size
        self._upload = upload

    @property
    def told(self) -> object:
        """Who is told, in the order of its messages: a receipt may pass it on to another."""
        return getattr(self._receipt, "receipt", self._receipt)

    def stored(self, position: int) -> None:
        """The record is durable: the message exists from here on."""
        message = self._message
        self._intake.name(message, position)
        try:
            self._receipt.accepted(message)
        finally:  # it exists, whatever became of the caller
            self._intake.admit(message, self._size)
            if self._upload is not None:
                self._upload.let_go()

    def refused(self, refusal: Refusal) -> None:
        """The record is not stored; neither is what was uploaded for it."""
        if self._upload is not None:
            self._upload.let_go()
        self._receipt.refused(refusal)

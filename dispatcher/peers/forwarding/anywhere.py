"""Some partition of another process, for a process that has none itself: an `Acceptor` for messages
without a key.

    accept ─▶ its turn ─▶ the partition that is used now ─▶ answered ─▶ told, when its turn has come

One partition is used as long as it takes messages, so that callers share batches there. When its
process is lost, or says no, another one is used; what certainly was not stored goes there too.
Answers are told in the order in which the messages came, as a partition of this process tells them:
callers may have sent several on one connection.

When this process has a partition again, messages go there, behind those that are still to be
answered elsewhere, until none of them is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from dispatcher.core.meeting import Keys
from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.peers.forwarding.remote import Remote
from dispatcher.peers.forwarding.uploads import RemoteUpload
from dispatcher.peers.forwarding.waiting import Verdicts
from dispatcher.peers.peer import Peer
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.ports import GroupReceipt, Receipt, Upload, Waiter
from dispatcher.queue.refusals import MOVED

_AVOIDED_S: Final = 1.0
"""How long one that has said no is not asked, while there are others."""


class Anywhere:
    """Takes the messages without a key of a process that has no partition (`ports.Acceptor`)."""

    spreads_keys = True

    def __init__(
        self,
        spread: int,
        first: int,
        peer_of: Callable[[int], Peer | None],
        verdicts: Verdicts,
        again: Callable[[], object],
    ) -> None:
        """There are so many partitions; `first` is tried first, another one for each process.
        `peer_of` says which process has one; `again` is as for a `Remote`."""
        self._spread = spread
        self._first = first % spread
        self._peer_of = peer_of
        self._read_again = again
        self._remote = Remote(self._first, self._peer, verdicts, self._moved)
        self._avoided: dict[int, tuple[Peer | None, float]] = {}
        """With the process that has said no, and until when: another one may say yes."""
        self._turns: deque[_Turn] = deque()
        self._owed = 0
        self._intake: Intake | None = None
        self.on_drained: Callable[[], object] = _nothing
        """Is told when nothing is to be answered elsewhere any more, after `come_home`."""

    def __repr__(self) -> str:
        return f"<Anywhere: {self._remote!r}, {len(self._turns)} to be told>"

    @property
    def owes(self) -> bool:
        """Whether somebody still waits to hear of a message that went elsewhere."""
        return self._owed > 0

    @property
    def home(self) -> Intake | None:
        """What takes messages since this process has a partition."""
        return self._intake

    def come_home(self, intake: Intake | None) -> None:
        """This process has a partition, which takes what is held and what comes; None: not any
        more."""
        self._intake = intake
        self._remote.here(intake)

    def go_on(self) -> None:
        """A process came or went, or has other partitions."""
        self._remote.go_on()

    # As an `Acceptor`.

    def refusal(self) -> Refusal | None:
        """See `ports.Acceptor`: nobody is there who could take it."""
        if self._intake is not None:
            return self._intake.refusal()
        return MOVED if self._peer() is None else None

    def accept(self, message: Message, receipt: Receipt, upload: Upload | None = None) -> None:
        """See `ports.Acceptor`."""
        intake = self._intake
        if message.answer_limit:  # its caller gets no other answer before or after
            if intake is None or upload is not None:
                self._remote.accept(message, receipt, upload)
            else:
                intake.accept(message, receipt)
            return
        goes_away = intake is None or upload is not None or self._remote.is_holding
        turn = _Turn(self, receipt, goes_away=goes_away)
        self._turns.append(turn)
        self._owed += goes_away
        if goes_away:
            self._remote.accept(message, turn, upload)
        elif intake is not None:
            intake.accept(message, turn)

    def accept_all(
        self,
        messages: Sequence[Message],
        receipt: GroupReceipt,
        upload: Upload | None = None,
        place: bytes = b"",
    ) -> None:
        """See `ports.Acceptor`."""
        if self._intake is None or upload is not None:
            self._remote.accept_all(messages, receipt, upload, place)
        else:
            self._intake.accept_all(messages, receipt, None, place)

    def start_upload(
        self, on_progress: Callable[[], None], place: bytes = b"", keys: Keys = ()
    ) -> RemoteUpload:
        """See `ports.Acceptor`. Once this process has a partition it is stored there."""
        return self._remote.start_upload(on_progress, place, keys)

    def start_uploads(
        self,
        on_progress: Callable[[], None],
        *,
        copies: int,
        head_bytes: int,
        place: bytes = b"",
        keys: Keys = (),
    ) -> RemoteUpload:
        """See `ports.Acceptor`."""
        return self._remote.start_uploads(
            on_progress, copies=copies, head_bytes=head_bytes, place=place, keys=keys
        )

    def await_end(self, message: Message, waiter: Waiter) -> None:
        """See `ports.Acceptor`."""
        self._remote.await_end(message, waiter)

    def forget(self, message_id: bytes) -> None:
        """See `ports.Acceptor`."""
        self._remote.forget(message_id)

    # Which partition.

    def _peer(self) -> Peer | None:
        """The process that has the one in use, or, where that can't be asked, the next one."""
        peer = self._peer_of(self._remote.partition)
        if peer is not None and peer.is_connected and not self._avoided:
            return peer
        return self._choose()

    def _choose(self) -> Peer | None:
        now = asyncio.get_running_loop().time()
        self._avoided = {
            one: (peer, until_s)
            for one, (peer, until_s) in self._avoided.items()
            if until_s > now and self._peer_of(one) is peer
        }
        begin = self._remote.partition
        known = [
            (number % self._spread, peer)
            for number in range(begin, begin + self._spread)
            if (peer := self._peer_of(number % self._spread)) is not None and peer.is_connected
        ]
        if not known:
            return None
        number, found = next((one for one in known if one[0] not in self._avoided), known[0])
        if number != begin:
            self._remote.aim(number)
        return found

    def _avoid(self) -> None:
        number = self._remote.partition
        until_s = asyncio.get_running_loop().time() + _AVOIDED_S
        self._avoided[number] = (self._peer_of(number), until_s)

    def _moved(self) -> None:
        """The one in use is not where it should be."""
        self._avoid()
        self._read_again()

    # Turns.

    def told(self, turn: _Turn) -> None:
        """It was answered: tell all whose turn has come."""
        self._owed -= turn.goes_away
        turns = self._turns
        while turns and turns[0].is_answered:
            turns.popleft().tell()
        if self._intake is not None and not self._owed:
            self.on_drained()

    def refused(self, refusal: Refusal) -> None:
        """The one in use takes nothing now: the next messages go to another one."""
        if not refusal.is_silent and refusal.status == _UNAVAILABLE and self._intake is None:
            self._avoid()


_UNAVAILABLE: Final = 503


class _Turn:
    """A message's place among those that are told (`ports.Receipt`)."""

    __slots__ = ("_anywhere", "_duplicate", "_message", "_receipt", "_refusal", "goes_away")

    def __init__(self, anywhere: Anywhere, receipt: Receipt, *, goes_away: bool) -> None:
        self._anywhere = anywhere
        self._receipt = receipt
        self.goes_away = goes_away
        self._message: Message | None = None
        self._duplicate: bytes | None = None
        self._refusal: Refusal | None = None

    @property
    def is_answered(self) -> bool:
        """Whether it can be told."""
        return not (self._message is None and self._duplicate is None and self._refusal is None)

    def tell(self) -> None:
        """Its turn has come."""
        if self._message is not None:
            self._receipt.accepted(self._message)
        elif self._duplicate is not None:
            self._receipt.duplicate(self._duplicate)
        elif self._refusal is not None:
            self._receipt.refused(self._refusal)

    def accepted(self, message: Message) -> None:
        """See `Receipt`."""
        self._message = message
        self._anywhere.told(self)

    def duplicate(self, message_id: bytes) -> None:
        """See `Receipt`."""
        self._duplicate = message_id
        self._anywhere.told(self)

    def refused(self, refusal: Refusal) -> None:
        """See `Receipt`."""
        self._refusal = refusal
        if self.goes_away:
            self._anywhere.refused(refusal)
        self._anywhere.told(self)


def _nothing() -> None:
    """Nobody wants to know."""

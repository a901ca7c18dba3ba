"""A partition of another process, as the router has it: an `Acceptor`, beside the intakes of this
process's own partitions.

While the other process is away, or nobody knows which it is, what comes is held for a while, in
order, and then refused: certainly nothing of it was stored. What is held is bounded.

In a cluster partitions move. Who says that he has none of it any more, or not yet, has stored
nothing: what he was sent comes back, the directory is read again, and the first of it tries again
for the others, until it is taken or late. When the partition comes here, this process takes what is
held.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from dispatcher.core.meeting import Keys
from dispatcher.core.message import Message
from dispatcher.errors import DispatcherError, Refusal
from dispatcher.peers.errors import Broken, NotConnected
from dispatcher.peers.forwarding.encoding import Head, encode_keys
from dispatcher.peers.forwarding.errands import (
    Errand,
    Group,
    Inquiry,
    Past,
    Single,
    is_not_there,
    refusal_for,
    refusal_when_late,
)
from dispatcher.peers.forwarding.telling import All, One
from dispatcher.peers.forwarding.uploads import RemoteUpload
from dispatcher.peers.forwarding.waiting import Verdicts, Waited
from dispatcher.peers.peer import Peer
from dispatcher.queue.ports import Acceptor, GroupReceipt, Receipt, Upload, Waiter
from dispatcher.queue.refusals import OVERLOADED

HOLD_S: Final = 2.0
"""A process that died is there again within some three seconds; its callers may wait as long as
those of a slow disk would."""
MOST_HELD_BYTES: Final = 32 * 1024 * 1024
_LOOK_S: Final = 0.05


class Remote:
    """One such partition. `peer_of` says which process has it now; None: nobody knows, or this one.
    `verdicts` are of all such partitions. `again` is called where somebody should have it and does
    not; None: nobody else could have it."""

    spreads_keys = True

    def __init__(
        self,
        partition: int,
        peer_of: Callable[[], Peer | None],
        verdicts: Verdicts,
        again: Callable[[], object] | None = None,
    ) -> None:
        self.partition = partition
        self.head = Head(partition).encode()
        self._peer_of = peer_of
        self._again = again
        self._intake: Acceptor | None = None
        self._back: deque[Errand] = deque()
        """What was sent and came back, before all that is held."""
        self._held: deque[Errand] = deque()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._rests_until_s = 0.0
        self._rests_from: Peer | None = None
        self._tries_one = False
        self._verdicts = verdicts

    def __repr__(self) -> str:
        return f"<Remote {self.partition}: {len(self._back) + len(self._held)} held>"

    def aim(self, partition: int) -> None:
        """From now on it is another one, and so it is for what is held."""
        self.partition = partition
        self.head = Head(partition).encode()
        self._rests_until_s = 0.0

    def here(self, intake: Acceptor | None) -> None:
        """This process has it, and takes it there; None: not any more."""
        self._intake = intake
        self.go_on()

    # As an `Acceptor`.

    def refusal(self) -> Refusal | None:
        """See `ports.Acceptor`: the other process says it itself."""
        return None

    def accept(self, message: Message, receipt: Receipt, upload: Upload | None = None) -> None:
        """See `ports.Acceptor`."""
        if upload is not None:
            assert isinstance(upload, RemoteUpload)
            upload.use(One(message, receipt), [message])
        elif message.answer_limit:
            self._send(Waited(self, self._verdicts, message, receipt))
        else:
            self._send(Single(self, message, receipt))

    def accept_all(
        self,
        messages: Sequence[Message],
        receipt: GroupReceipt,
        upload: Upload | None = None,
        place: bytes = b"",
    ) -> None:
        """See `ports.Acceptor`."""
        told = All(messages, receipt)
        if upload is not None:
            assert isinstance(upload, RemoteUpload)
            upload.use(told, messages)
        else:
            self._send(Group(self, told, place))

    def start_upload(
        self, on_progress: Callable[[], None], place: bytes = b"", keys: Keys = ()
    ) -> RemoteUpload:
        """See `ports.Acceptor`."""
        return self._begin(Head(self.partition, is_large=True, place=place), on_progress, keys)

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
        head = Head(
            self.partition,
            is_large=True,
            is_group=True,
            copies=copies,
            head_bytes=head_bytes,
            place=place,
        )
        return self._begin(head, on_progress, keys)

    def await_end(self, message: Message, waiter: Waiter) -> None:
        """See `ports.Acceptor`."""
        self._verdicts.await_end(message.wire_id, waiter)

    def forget(self, message_id: bytes) -> None:
        """See `ports.Acceptor`."""
        self._verdicts.forget(message_id)

    def ask(self, keys: Keys, told: Callable[[int | None], None]) -> None:
        """Ask which of these keys the partition knows: `told` is told once, later or before this
        returns, a bit for each; None: nobody can say now."""
        self._send(Inquiry(self, self.head + encode_keys(keys), told))

    def _begin(self, head: Head, on_progress: Callable[[], None], keys: Keys) -> RemoteUpload:
        upload = RemoteUpload(self, head, self._verdicts, on_progress, keys)
        self._send(upload)
        return upload

    # Sending, and holding.

    @property
    def is_holding(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._back or self._held)

    def failed(self, errand: Errand, error: DispatcherError) -> None:
        """See `errands.Way`."""
        if self._again is not None and is_not_there(error):
            self._rest()
            self._again()
            self._hold(errand, self._back)
            return
        refusal = refusal_for(errand, error)
        if refusal is not None:
            errand.refused(refusal)
            return
        past = self._past_of(errand)
        if isinstance(error, Broken):
            past.may_be_stored = True
        self._hold(errand, self._back)

    def _rest(self) -> None:
        """Who has it by the directory says that he does not: leave him alone for a moment."""
        self._rests_until_s = asyncio.get_running_loop().time() + _LOOK_S
        self._rests_from = self._peer_of()
        self._tries_one = True

    def _send(self, errand: Errand) -> None:
        if self._held or self._back:  # those before it go first
            self._hold(errand, self._held)
            return
        peer = self._peer_of()
        if peer is None:
            self._hold(errand, self._held)
            return
        try:
            errand.go(peer)
        except NotConnected:
            self._hold(errand, self._held)

    def _hold(self, errand: Errand, where: deque[Errand]) -> None:
        size = errand.size_bytes
        if self._held_bytes + size > MOST_HELD_BYTES:
            refusal = refusal_when_late(errand)
            errand.refused(refusal if refusal.is_silent else OVERLOADED)
            return
        self._past_of(errand)
        self._held_bytes += size
        where.append(errand)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(0, self._look)

    def _past_of(self, errand: Errand) -> Past:
        past = errand.past
        if past is None:
            past = errand.past = Past(asyncio.get_running_loop().time() + HOLD_S)
        return past

    def go_on(self) -> None:
        """Something has changed: send what is held, as far as that is possible."""
        while self._held or self._back:
            errand = self._back[0] if self._back else self._held[0]
            if errand.is_over:
                self._drop_first()
                continue
            if self._intake is not None:
                self._drop_first()
                errand.stay(self._intake)
                continue
            peer = self._peer_of()
            if peer is None or (peer is self._rests_from and self._is_resting):
                return
            try:
                errand.go(peer)
            except NotConnected:
                return
            self._drop_first()
            if self._tries_one:  # what becomes of it says whether the others follow
                self._tries_one = False
                self._rests_from = peer
                self._rests_until_s = asyncio.get_running_loop().time() + _LOOK_S
                return

    @property
    def _is_resting(self) -> bool:
        return asyncio.get_running_loop().time() < self._rests_until_s

    def _look(self) -> None:
        """Now and then, while something is held."""
        self._timer = None
        self.go_on()
        now = asyncio.get_running_loop().time()
        for where in (self._back, self._held):
            while where and where[0].past is not None and where[0].past.until_s <= now:
                errand = where.popleft()
                self._held_bytes -= errand.size_bytes
                if not errand.is_over:
                    errand.refused(refusal_when_late(errand))
        if self.is_holding and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _drop_first(self) -> None:
        errand = (self._back or self._held).popleft()
        self._held_bytes -= errand.size_bytes

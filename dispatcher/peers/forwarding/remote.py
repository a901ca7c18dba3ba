"""A partition of another process, as the router has it: an `Acceptor`, beside the intakes of this
process's own partitions.

While the other process is away, what comes is held for a while, in order, and then refused:
certainly nothing of it was stored. What is held is bounded.
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
    Single,
    refusal_for,
    refusal_when_late,
)
from dispatcher.peers.forwarding.telling import All, One
from dispatcher.peers.forwarding.uploads import RemoteUpload
from dispatcher.peers.forwarding.waiting import Verdicts, Waited
from dispatcher.peers.links import Peer
from dispatcher.queue.ports import GroupReceipt, Receipt, Upload, Waiter
from dispatcher.queue.refusals import NO_VERDICT, OVERLOADED

HOLD_S: Final = 2.0
"""A process that died is there again within some three seconds; its callers may wait as long as
those of a slow disk would."""
MOST_HELD_BYTES: Final = 32 * 1024 * 1024
_LOOK_S: Final = 0.05


class Remote:
    """One such partition. `peer_of` says which process has it now; None: nobody knows. `verdicts`
    are of all such partitions."""

    spreads_keys = True

    def __init__(
        self, partition: int, peer_of: Callable[[], Peer | None], verdicts: Verdicts
    ) -> None:
        self.partition = partition
        self.head = Head(partition).encode()
        self._peer_of = peer_of
        self._held: deque[Errand] = deque()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._verdicts = verdicts

    def __repr__(self) -> str:
        return f"<Remote {self.partition}: {len(self._held)} held>"

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
            self._send(Waited(self, self._verdicts, self.partition, message, receipt))
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
            self._send(Group(self, told, Head(self.partition, place=place).encode()))

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
        upload = RemoteUpload(head, self._verdicts, on_progress, keys)
        self._send(upload)
        return upload

    # Sending, and holding.

    def failed(self, errand: Errand, error: DispatcherError) -> None:
        """See `errands.Way`."""
        refusal = refusal_for(errand, error)
        if refusal is not None:
            errand.refused(refusal)
            return
        if isinstance(error, Broken):
            errand.may_be_stored = True
        self._hold(errand)

    def _send(self, errand: Errand) -> None:
        if self._held:  # those before it go first
            self._hold(errand)
            return
        try:
            self._go(errand)
        except NotConnected:
            self._hold(errand)

    def _go(self, errand: Errand) -> None:
        peer = self._peer_of()
        if peer is None:
            raise NotConnected("Nobody knows which process has the partition.")
        errand.go(peer)

    def _hold(self, errand: Errand) -> None:
        loop = asyncio.get_running_loop()
        size = errand.size_bytes
        if self._held_bytes + size > MOST_HELD_BYTES:
            errand.refused(NO_VERDICT if errand.may_be_stored else OVERLOADED)
            return
        if not errand.until_s:
            errand.until_s = loop.time() + HOLD_S
        self._held_bytes += size
        self._held.append(errand)
        if self._timer is None:
            self._timer = loop.call_later(0, self._look)

    def go_on(self) -> None:
        """Something has changed: send what is held, as far as that is possible."""
        while self._held:
            errand = self._held[0]
            if not errand.is_over:
                try:
                    self._go(errand)
                except NotConnected:
                    return
            self._drop_first()

    def _look(self) -> None:
        """Now and then, while something is held."""
        self._timer = None
        loop = asyncio.get_running_loop()
        self.go_on()
        while self._held and self._held[0].until_s <= loop.time():
            errand = self._drop_first()
            if not errand.is_over:
                errand.refused(refusal_when_late(errand))
        if self._held and self._timer is None:
            self._timer = loop.call_later(_LOOK_S, self._look)

    def _drop_first(self) -> Errand:
        errand = self._held.popleft()
        self._held_bytes -= errand.size_bytes
        return errand

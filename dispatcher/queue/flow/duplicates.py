"""Requests with an idempotency key: each makes one message, however often it comes.

What is durable is in `registry.idempotency`. Here is what is on its way: the first request with a
key, and those that came while its record, or the body before it, was not durable yet. They are
answered with it. If it is refused they are refused too: nobody knows of a message then that they
could be the duplicates of.

A key of a request to a group stands for each of its messages, by their places in the group: it is
taken while it stands for one of them, and free when it does for none.
"""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.core.idempotency import group_in_place, key_hash, place_in_group
from dispatcher.core.message import Message
from dispatcher.core.rules.table import MOST_MEMBERS
from dispatcher.core.terms import Terms
from dispatcher.errors import Refusal
from dispatcher.queue.ports import GroupReceipt, Receipt, Upload
from dispatcher.queue.records.ids import id_parts, wire_id
from dispatcher.queue.refusals import IDEMPOTENCY_CONFLICT
from dispatcher.queue.registry.idempotency.block import Entry
from dispatcher.queue.registry.idempotency.hashes import deciding
from dispatcher.queue.registry.idempotency.keys import Keys
from dispatcher.telemetry.supervisor import Died


class Duplicates:
    """Answers requests whose key stands for a message already."""

    __slots__ = ("_died", "_groups", "_keys", "_partition", "_under_way")

    def __init__(self, keys: Keys, *, partition: int, died: Died) -> None:
        self._keys = keys
        self._partition = partition
        self._died = died
        self._under_way: dict[bytes, _First] = {}
        self._groups: dict[bytes, FirstOfGroup] = {}

    def first(
        self, destination: bytes, terms: Terms, receipt: Receipt, upload: Upload | None = None
    ) -> Receipt | None:
        """The receipt of a message for a destination (its key) that is to be stored, the first one
        with its key; None: the key is taken, and `receipt` is told so, now or when that is sure."""
        hashed = deciding(terms, destination)
        under_way = self._under_way.get(hashed)
        entry = None if under_way is not None else self._keys.standing(hashed)
        if under_way is None and entry is None:
            first = self._under_way[hashed] = _First(self, hashed, receipt)
            return first
        if upload is not None:
            upload.abort()
        if under_way is not None:
            under_way.waiting.append((terms.request_print, receipt))
        elif entry is not None:
            message_id = wire_id(self._partition, entry.incarnation, entry.position)
            _tell(receipt, message_id, is_same=entry.print == terms.request_print)
        return None

    def first_of_group(
        self, terms: Terms, receipt: GroupReceipt, upload: Upload | None = None
    ) -> FirstOfGroup | None:
        """The same for messages that are to be stored together; `terms` are those of the first."""
        hashed = deciding(terms, b"")
        under_way = self._groups.get(hashed)
        standing = [] if under_way is not None else self._standing(terms)
        if under_way is None and not standing:
            first = self._groups[hashed] = FirstOfGroup(self, hashed, terms.request_print, receipt)
            return first
        if upload is not None:
            upload.abort()
        if under_way is not None:
            under_way.waiting.append((terms.request_print, receipt))
        else:
            ids = [wire_id(self._partition, one.incarnation, one.position) for one in standing]
            is_same = all(one.print == terms.request_print for one in standing)
            tell_all(receipt, ids, is_same=is_same)
        return None

    def knows(self, hashed: bytes) -> bool:
        """Whether a key stands for a message, or for one that is being stored."""
        return hashed in self._under_way or self._keys.standing(hashed) is not None

    def knows_group(self, group: str, key: str) -> bool:
        """The same of the key of a group."""
        terms = Terms(idempotency_key=key, key_place=place_in_group(group, 0))
        return deciding(terms, b"") in self._groups or bool(self._standing(terms))

    async def has_old(self, before_us: int) -> bool:
        """Whether a key that stands for a message came before an instant, by the queue's clock."""
        return await self._keys.has_old(before_us)

    def _standing(self, terms: Terms) -> list[Entry]:
        """The entries of a group's key, in the order of its members. How many those were when the
        key was new is not known, and some may be free: 250 look-ups, 0.4 ms."""
        group = group_in_place(terms.key_place)
        found: list[Entry] = []
        for number in range(MOST_MEMBERS):
            place = place_in_group(group, number).encode("ascii")
            entry = self._keys.standing(key_hash(place, terms.idempotency_key))
            if entry is not None:
                found.append(entry)
        return found

    def stored(self, message: Message, terms: Terms) -> None:
        """The record of a message was just stored, and has its place in the index."""
        if terms.stands_for_one:
            destination = message.destination.key
            self._keys.enter(terms, destination, message.position, message.incarnation)
            self.answer(destination, terms, message.wire_id)

    async def remember(self, destination: bytes, terms: Terms, letter_id: bytes) -> None:
        """Let keys stand for a dead letter, which is stored next; see `Keys.write`."""
        _, incarnation, position = id_parts(letter_id)
        await self._keys.write(terms, destination, position, incarnation)

    def answer(self, destination: bytes, terms: Terms, message_id: bytes) -> None:
        """A message is durable: answer the requests that waited for it."""
        first = self._under_way.pop(deciding(terms, destination), None)
        if first is None:
            return
        for print_, receipt in first.waiting:
            try:
                _tell(receipt, message_id, is_same=print_ == terms.request_print)
            except Exception as error:
                self._died("duplicate", error)

    def answer_group(self, hashed: bytes, message_ids: Sequence[bytes]) -> None:
        """All messages of a group are durable: answer the requests that waited for them."""
        first = self._groups.pop(hashed)
        for print_, receipt in first.waiting:
            try:
                tell_all(receipt, message_ids, is_same=print_ == first.print)
            except Exception as error:
                self._died("duplicate", error)

    def group_refused(self, hashed: bytes, refusal: Refusal) -> None:
        """The first request to a group with a key was refused."""
        for _, receipt in self._groups.pop(hashed).waiting:
            try:
                receipt.refused(refusal)
            except Exception as error:
                self._died("refused", error)

    def refused(self, hashed: bytes, refusal: Refusal) -> None:
        """The first request with a key was refused."""
        for _, receipt in self._under_way.pop(hashed).waiting:
            try:
                receipt.refused(refusal)
            except Exception as error:
                self._died("refused", error)


class _First:
    """The receipt of the first request with a key; `waiting` have the prints and receipts of those
    that came after it."""

    __slots__ = ("_duplicates", "_hashed", "_receipt", "waiting")

    def __init__(self, duplicates: Duplicates, hashed: bytes, receipt: Receipt) -> None:
        self._duplicates = duplicates
        self._hashed = hashed
        self._receipt = receipt
        self.waiting: list[tuple[int, Receipt]] = []

    def accepted(self, message: Message) -> None:
        """It is durable; see `Duplicates.stored` for the others."""
        self._receipt.accepted(message)

    def duplicate(self, message_id: bytes) -> None:
        """See `ports.Receipt`."""
        self._receipt.duplicate(message_id)

    def refused(self, refusal: Refusal) -> None:
        """It is not stored, and so are the others not."""
        try:
            self._receipt.refused(refusal)
        finally:
            self._duplicates.refused(self._hashed, refusal)


class FirstOfGroup:
    """The receipt of the first request to a group with a key; `print` is its print, `waiting` have
    the prints and receipts of those that came after it."""

    __slots__ = ("_duplicates", "_hashed", "_receipt", "print", "waiting")

    def __init__(
        self, duplicates: Duplicates, hashed: bytes, request_print: int, receipt: GroupReceipt
    ) -> None:
        self._duplicates = duplicates
        self._hashed = hashed
        self._receipt = receipt
        self.print = request_print
        self.waiting: list[tuple[int, GroupReceipt]] = []

    def accepted_all(self, messages: Sequence[Message]) -> None:
        """They are durable; `admitted` follows."""
        self._receipt.accepted_all(messages)

    def admitted(self, messages: Sequence[Message]) -> None:
        """Their keys stand for them: the others can be answered."""
        self._duplicates.answer_group(self._hashed, [message.wire_id for message in messages])

    def duplicate_all(self, message_ids: Sequence[bytes]) -> None:
        """See `ports.GroupReceipt`."""
        self._receipt.duplicate_all(message_ids)

    def refused(self, refusal: Refusal) -> None:
        """They are not stored, and so are the others not."""
        try:
            self._receipt.refused(refusal)
        finally:
            self._duplicates.group_refused(self._hashed, refusal)


def tell_all(receipt: GroupReceipt, message_ids: Sequence[bytes], *, is_same: bool) -> None:
    """Answer a request to a group whose key is taken."""
    if is_same:
        receipt.duplicate_all(message_ids)
    else:
        receipt.refused(IDEMPOTENCY_CONFLICT)


def _tell(receipt: Receipt, message_id: bytes, *, is_same: bool) -> None:
    if is_same:
        receipt.duplicate(message_id)
    else:
        receipt.refused(IDEMPOTENCY_CONFLICT)

"""Where messages with keys go while partitions of a former spread may know them."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.meeting import Key, KeyKind, Keys
from dispatcher.core.message import Message
from dispatcher.core.placing import partition_of
from dispatcher.core.terms import Terms
from dispatcher.errors import Refused
from dispatcher.node.meeting import Meeting, OnKnown, PlacedReceipt, Placement
from dispatcher.node.router import Router
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.refusals import MOVED
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, Receipts, destination, message
from dispatcher.testing.spread import SpreadNode

MOVING = next(
    place for number in range(100) if partition_of(place := b"http://h%d" % number, 2) == 1
)
"""A place that had partition 0 while there was one, and has 1 of two."""
ORDER = Key(KeyKind.ORDER, MOVING, "o")
ONCE = Key(KeyKind.IDEMPOTENCY, MOVING, "i")


class Partitions:
    """What each partition knows, and the questions that were not answered yet."""

    def __init__(self) -> None:
        self.known: dict[int, int | None] = {0: 0, 1: 0}
        self.asked: list[tuple[int, OnKnown]] = []
        self.is_far = False

    def ask(self, number: int, keys: Keys, told: OnKnown) -> None:
        """See `meeting.Ask`."""
        self.asked.append((number, told))
        if not self.is_far:
            self.answer()

    def answer(self) -> None:
        """The oldest question."""
        number, told = self.asked.pop(0)
        told(self.known[number])


class Placed:
    """A meeting of two partitions that were one before, and what it decided."""

    def __init__(self) -> None:
        self.partitions = Partitions()
        self.meeting = Meeting(2, [1], self.partitions.ask)
        self.found: list[Placement | None] = []

    def place(self, *keys: Key) -> Placement | None:
        """Decide for a message; what was decided last."""
        self.meeting.place(MOVING, keys, self.found.append)
        return self.found[-1] if self.found else None

    def number(self, *keys: Key) -> int:
        """The same; the partition."""
        placement = self.place(*keys)
        assert placement is not None
        return placement.number


def test_message_goes_where_its_key_is_known_and_else_to_its_new_partition() -> None:
    """Every partition that its place had is asked."""
    placed = Placed()
    assert placed.number(ORDER) == 1
    placed = Placed()
    placed.partitions.known[0] = 1
    assert placed.number(ORDER) == 0


def test_place_that_stays_where_it_was_is_not_asked_about() -> None:
    """Nothing of it can be elsewhere."""
    placed = Placed()
    staying = next(b"http://h%d" % n for n in range(100) if not partition_of(b"http://h%d" % n, 2))
    placed.partitions.is_far = True
    placed.meeting.place(staying, [ORDER], placed.found.append)
    (placement,) = placed.found
    assert placement is not None
    assert placement.number == 0


def test_message_follows_one_that_is_being_stored() -> None:
    """The partition does not know its key any more, as the messages before it were delivered, and
    does not know it yet."""
    placed = Placed()
    placed.partitions.known[0] = 1
    first = placed.place(ORDER)
    placed.partitions.known[0] = 0
    second = placed.place(ORDER)
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == (0, 0)
    first.done()
    first.done()
    assert placed.number(ORDER) == 0, "the second one is still being stored"
    second.done()


def test_nothing_is_left_of_messages_that_were_answered() -> None:
    """Then their partition knows them."""
    placed = Placed()
    placed.partitions.known[0] = 1
    placement = placed.place(ORDER, ONCE)
    assert placement is not None
    placement.done()
    placed.partitions.known[0] = 0
    assert placed.number(ORDER) == 1
    assert "1 under way" in repr(placed.meeting)


def test_duplicate_takes_no_other_message_along() -> None:
    """It is answered where its key is known, and not stored: its order key lies elsewhere."""
    placed = Placed()
    placed.partitions.known = {0: 0b01, 1: 0b10}
    assert placed.number(ONCE, ORDER) == 0
    placed.partitions.known = {0: 0, 1: 0}
    assert placed.number(ORDER) == 1


def test_messages_are_decided_in_their_order_when_a_partition_is_far() -> None:
    """Each with what it is told after the one before was decided."""
    placed = Placed()
    placed.partitions.is_far = True
    placed.place(ORDER)
    placed.place(ORDER)
    assert placed.found == []
    placed.partitions.answer()
    placed.partitions.known[0] = 1  # an operator brought a letter back meanwhile
    for _ in range(3):
        placed.partitions.answer()
    first, second = placed.found
    assert first is not None
    assert second is not None
    assert first.number == second.number


def test_nothing_is_decided_when_nobody_can_say() -> None:
    """A partition whose process is away may know the key."""
    placed = Placed()
    placed.partitions.known[0] = None
    assert placed.place(ORDER) is None

    async def main(clock: SimulatedClock) -> None:
        with pytest.raises(Refused) as refused:
            await placed.meeting.placed(MOVING, [ORDER])
        assert refused.value.refusal is MOVED

    run(main)


def test_former_spread_is_not_asked_about_once_it_is_forgotten() -> None:
    """Idempotent."""
    placed = Placed()
    placed.partitions.known[0] = 1
    placed.meeting.forget(1)
    placed.meeting.forget(1)
    assert placed.number(ORDER) == 1


def test_message_is_under_way_while_its_caller_is_told() -> None:
    """He may send the next one from there, and the partition does not have this one yet."""
    placed = Placed()
    placed.partitions.known[0] = 1
    placement = placed.place(ORDER)
    assert placement is not None
    placed.partitions.known[0] = 0
    told: list[int] = []

    class Caller(Receipts.One):
        def accepted(self, message: Message) -> None:
            told.append(placed.number(ORDER))

    PlacedReceipt(Caller(Receipts()), placement).accepted(message())
    assert told == [0]


PLACE = destination(MOVING.removeprefix(b"http://").decode())


def test_large_body_lies_where_its_keys_are_known() -> None:
    """Decided as it begins; those with its key that come meanwhile follow it."""

    async def main(clock: SimulatedClock) -> None:
        node = SpreadNode(clock)
        await node.start(1)
        node.send(PLACE, "m0", Terms(order_key="o"))
        await clock_turn()
        await node.stop()
        await node.start(2)
        await clock_turn()
        upload = node.router.start_upload(lambda: None, MOVING, [ORDER])
        upload.write(b"x" * CHUNK_BYTES)
        bench, first = node.holding()[0]
        bench.end(first)
        await clock_turn()
        assert node.benches[0].queue.intake.known.which([ORDER]) == 0, "nothing is left of it"
        other = node.send(PLACE, "m1", Terms(order_key="o"))
        sent = message(PLACE, b"", name="m2")
        sent.terms, sent.body_size = Terms(order_key="o"), CHUNK_BYTES
        receipt = Receipts().one()
        node.router.accept(sent, receipt, upload)
        await clock_turn()
        for one in (other, receipt):
            assert isinstance(one.answer, Message)
            assert one.answer.wire_id[:4] == b"0000"
        again = node.router.start_upload(lambda: None, MOVING, [Key(KeyKind.ORDER, MOVING, "p")])
        again.abort()
        assert "0 under way" in repr(node.router.meeting)
        await node.stop()

    run(main)


def test_large_body_is_kept_until_it_is_decided_where_it_lies() -> None:
    """And refused where nobody can say."""

    async def main(clock: SimulatedClock) -> None:
        bench = await Bench(clock, partition=1).start()
        router = Router(2, 1, former=[1], partitions=[0, 1])
        router.add(1, bench.queue.intake)
        far = Partitions()
        far.is_far = True
        router.meeting = Meeting(2, [1], far.ask)
        for known, is_stored in ((0, True), (None, False)):
            upload = router.start_upload(lambda: None, MOVING, [ORDER])
            upload.write(b"x" * 10)
            assert (upload.unstored_bytes, upload.refusal) == (10, None)
            sent = message(PLACE, b"")
            sent.terms, sent.body_size = Terms(order_key="o"), 10
            receipt = Receipts().one()
            router.accept(sent, receipt, upload)
            far.known[0] = known
            far.answer()
            far.answer()
            await clock_turn()
            assert isinstance(receipt.answer, Message) is is_stored
        assert receipt.answer is MOVED
        await bench.stop()

    run(main)


def test_group_lies_where_one_of_its_keys_is_known() -> None:
    """All of its messages together."""

    async def main(clock: SimulatedClock) -> None:
        node = SpreadNode(clock)
        await node.start(1)
        group = next(
            name for n in range(100) if partition_of(b"group:" + (name := b"g%d" % n), 2) == 1
        )
        answers = []
        for spread in (1, 2):
            if spread == 2:
                await node.stop()
                await node.start(2)
            messages = [message(destination(f"{name}.example")) for name in "ab"]
            for number, one in enumerate(messages):
                place = f"group:{group.decode()}/{number}"
                one.terms = Terms(idempotency_key="i", request_print=1, key_place=place)
            together = Receipts.Together([Receipts().one() for _ in messages])
            node.router.accept_all(messages, together, None, b"group:" + group)
            await clock_turn()
            answers.append(together)
        first, again = answers
        ids = [one.answer.wire_id for one in first.ones if isinstance(one.answer, Message)]
        assert again.duplicates == ids
        await node.stop()

    run(main)


async def clock_turn() -> None:
    """What was begun is done; on simulated time."""
    await asyncio.sleep(0.05)

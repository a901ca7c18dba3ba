"""Keys that lie in the partition of a former spread, in another process: whichever process a
message comes to, it goes where its key is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dispatcher.core.answer import MOST_WAITED_BYTES, Answer
from dispatcher.core.meeting import keys_of
from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.peers.forwarding.remote import HOLD_S
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.refusals import MOVED, NO_VERDICT
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.peered import Process, group_in, keyed, of_group, peered, place_in
from dispatcher.testing.peers import Network

TO = place_in(1)
"""Of partition 1 now; before, when there was one partition, in 0."""


def changed(test: Callable[[Process, Process, Network], Coroutine[Any, Any, None]]) -> Any:
    """The same test on simulated time, with two processes where there was one before."""

    def tested() -> None:
        async def main(clock: SimulatedClock) -> None:
            async with peered(clock, [1]) as (zero, one, network):
                await test(zero, one, network)

        run(main)

    tested.__name__, tested.__doc__ = test.__name__, test.__doc__
    return tested


def partition_of(answer: Message | bytes | Refusal | None) -> int:
    """Where it lies."""
    assert isinstance(answer, (Message, bytes)), answer
    return int((answer if isinstance(answer, bytes) else answer.wire_id)[:4], 16)


async def _begin(zero: Process, **terms: str) -> bytes:
    """A message that was there before there were two partitions; its id."""
    before = zero.bench.accept(keyed(TO, "before", **terms))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    assert isinstance(before.answer, Message)
    return before.answer.wire_id


@changed
async def test_an_order_goes_on_where_it_lies_and_moves_when_nothing_of_it_is_left(
    zero: Process, one: Process, network: Network
) -> None:
    """Whichever process its messages come to; other keys are in their new partition at once."""
    await _begin(zero, order_key="k")
    for number in range(10):
        receipt = (zero, one)[number % 2].accept(keyed(TO, str(number), order_key="k"))
        await asyncio.sleep(0.1)
        assert partition_of(receipt.answer) == 0
    for process in (zero, one):
        other = process.accept(keyed(TO, "other", order_key="l"))
        await asyncio.sleep(0.1)
        assert partition_of(other.answer) == 1
    zero.deliver()
    await asyncio.sleep(1)
    assert zero.delivered == ["/before", *(f"/{number}" for number in range(10))]
    for process in (zero, one):
        after = process.accept(keyed(TO, "after", order_key="k"))
        await asyncio.sleep(0.1)
        assert partition_of(after.answer) == 1


@changed
async def test_an_idempotency_key_is_known_from_before(
    zero: Process, one: Process, network: Network
) -> None:
    """As long as its window; a new key of the same place makes one message, in the new partition,
    whichever process the requests come to at the same time."""
    first = await _begin(zero, idempotency_key="k")
    receipts = [process.accept(keyed(TO, "before", idempotency_key="k")) for process in (zero, one)]
    new = [process.accept(keyed(TO, "new", idempotency_key="new")) for process in (zero, one, zero)]
    await asyncio.sleep(0.1)
    assert [receipt.answer for receipt in receipts] == [first, first]
    assert {partition_of(receipt.answer) for receipt in new} == {1}
    assert sum(isinstance(receipt.answer, Message) for receipt in new) == 1


@changed
async def test_a_group_goes_where_one_of_its_keys_is_known(
    zero: Process, one: Process, network: Network
) -> None:
    """Small and large, from both sides."""
    group = group_in(1)
    before = zero.bench.accept_all(of_group(group, b"x", 2, order_key="k"))
    await asyncio.sleep(0.1)
    assert partition_of(before[0].answer) == 0
    for process in (zero, one):
        for body in (b"y", b"z" * (2 * CHUNK_BYTES)):
            together = process.accept_all(of_group(group, body, 2, order_key="k"), group)
            await asyncio.sleep(1)
            assert [partition_of(each.answer) for each in together.ones] == [0, 0]
            new = process.accept_all(of_group(group, body, 2, order_key="new"), group)
            await asyncio.sleep(1)
            assert [partition_of(each.answer) for each in new.ones] == [1, 1]


@pytest.mark.parametrize("key", ["k", "new"])
def test_a_large_body_goes_where_its_key_is_known(key: str) -> None:
    """Through one process and another; its pieces are stored once, where its message lies."""

    async def main(clock: SimulatedClock) -> None:
        async with peered(clock, [1]) as (zero, one, _):
            await _begin(zero, order_key="k")
            pieces = [bytes([number]) * CHUNK_BYTES for number in range(6)]
            for process in (zero, one):
                sent = keyed(TO, f"large{process.number}", b"", order_key=key)
                assert sent.terms is not None
                moved = asyncio.Event()
                upload = process.router.start_upload(moved.set, TO.key, keys_of(TO.key, sent.terms))
                for piece in pieces:
                    upload.write(piece)
                    while upload.unstored_bytes >= 2 * CHUNK_BYTES:
                        moved.clear()
                        await moved.wait()
                receipt = process.receipts.one()
                sent.body_size = 6 * CHUNK_BYTES
                process.router.accept(sent, receipt, upload)
                await asyncio.sleep(1)
                assert partition_of(receipt.answer) == (0 if key == "k" else 1)
            assert not zero.bench.queue.pending.uploads
            assert not one.bench.queue.pending.uploads

    run(main)


class _Waiter:
    """See `ports.Receipt` and `ports.Waiter`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.told: list[Any] = []

    def accepted(self, message: Message) -> None:
        self.told.append(message.wire_id)
        self._process.router.await_end(message, self)

    def duplicate(self, message_id: bytes) -> None:
        self.told.append(message_id)

    def refused(self, refusal: Refusal) -> None:
        self.told.append(refusal)

    def ended(self, answer: Answer | None, error: str | None) -> None:
        self.told.append((answer, error))

    def undecided(self) -> None:
        self.told.append("undecided")


@changed
async def test_who_waits_is_told_through_all_processes_on_the_way(
    zero: Process, one: Process, network: Network
) -> None:
    """Also where the message came to the process in which it lies, and was away in between; and
    nobody waits any more when the caller is gone."""
    await _begin(zero, order_key="k")
    waiters = []
    for number, process in enumerate((zero, one, zero, one)):
        waiter = _Waiter(process)
        waiters.append(waiter)
        sent = keyed(TO, str(number), order_key="k")
        sent.want_start(MOST_WAITED_BYTES)
        process.router.accept(sent, waiter)
        await asyncio.sleep(0.1)
        assert partition_of(waiter.told[0]) == 0
    for process, waiter in zip((zero, one), waiters[2:], strict=True):
        process.router.forget(waiter.told[0])
    await asyncio.sleep(0.1)
    assert len(zero.bench.queue.pending.awaited) == 2
    for _ in range(5):
        (sent,) = zero.flying
        sent.answer = None
        zero.bench.end(sent)
        await asyncio.sleep(0.1)
    assert [waiter.told[1:] for waiter in waiters] == [[(None, None)]] * 2 + [[]] * 2
    assert not zero.bench.queue.pending.awaited


@changed
async def test_where_a_partition_of_before_cannot_be_asked_nothing_is_stored(
    zero: Process, one: Process, network: Network
) -> None:
    """Its process is away: callers are told to come again, or wait until it is back."""
    await _begin(zero, order_key="k")
    network.is_down = True
    network.cut()
    late = one.accept(keyed(TO, "late", order_key="k"))
    await asyncio.sleep(HOLD_S + 0.2)
    assert late.answer == MOVED
    in_time = one.accept(keyed(TO, "in time", order_key="k"))
    await asyncio.sleep(1)
    network.is_down = False
    await one.linked.links.to(0).connected(2)
    await asyncio.sleep(0.5)
    assert partition_of(in_time.answer) == 0


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("passes", range(0, 900, 37))
def test_a_link_that_is_cut_anywhere_doubles_nothing(side: int, passes: int) -> None:
    """With an idempotency key of before, and a new one: one message each."""

    async def main(clock: SimulatedClock) -> None:
        async with peered(clock, [1]) as (zero, one, network):
            first = await _begin(zero, idempotency_key="k")
            network.pairs[0].ends[side].passes = passes
            known = [
                process.accept(keyed(TO, "before", idempotency_key="k")) for process in (zero, one)
            ]
            new = [
                process.accept(keyed(TO, "new", idempotency_key="new")) for process in (zero, one)
            ]
            await asyncio.sleep(10)
            for receipt in known:
                assert receipt.answer in (first, MOVED, NO_VERDICT)
            zero.deliver()
            one.deliver()
            await asyncio.sleep(1)
            delivered = [*zero.delivered, *one.delivered]
            assert delivered.count("/before") == 1
            assert delivered.count("/new") <= 1
            if any(isinstance(receipt.answer, (Message, bytes)) for receipt in new):
                assert "/new" in delivered

    run(main)

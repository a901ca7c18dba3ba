"""Messages with a key that another process has the partition of: the caller is told what it would
be told there, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dispatcher.core.answer import MOST_WAITED_BYTES, Answer
from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.peers.forwarding.remote import HOLD_S, MOST_HELD_BYTES
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.refusals import (
    BACKLOG_FULL,
    DISK_FULL,
    IDEMPOTENCY_CONFLICT,
    MOVED,
    NO_VERDICT,
    OVERLOADED,
)
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import Space
from dispatcher.testing.loop import run
from dispatcher.testing.peered import (
    Process,
    group_in,
    keyed,
    of_group,
    peered,
    place_in,
)
from dispatcher.testing.peers import Network
from dispatcher.testing.queue import Receipts, failed, message

Test = Callable[[Process, Process, Network], Coroutine[Any, Any, None]]


def simulated(test: Test) -> Callable[[], None]:
    """The same test, on simulated time with two processes."""

    def tested() -> None:
        async def main(clock: SimulatedClock) -> None:
            async with peered(clock) as (zero, one, network):
                await test(zero, one, network)

        run(main)

    tested.__name__, tested.__doc__ = test.__name__, test.__doc__
    return tested


def stored_in(receipt: Receipts.One, partition: int) -> bytes:
    """The id of a message that was accepted."""
    assert isinstance(receipt.answer, Message), receipt.answer
    assert receipt.answer.wire_id.startswith(b"%04x" % partition)
    return receipt.answer.wire_id


@simulated
async def test_a_key_is_taken_to_the_partition_of_its_place(
    zero: Process, one: Process, network: Network
) -> None:
    """From both sides, with all that was asked for; what has no key stays where it came in."""
    for number in range(2):
        to = place_in(number)
        receipts = [
            process.accept(keyed(to, f"from{process.number}", order_key="k", label="L"))
            for process in (zero, one)
        ]
        await asyncio.sleep(0.1)
        for receipt in receipts:
            stored_in(receipt, number)
    for process in (zero, one):
        plain = process.accept(message(place_in(1)))
        await asyncio.sleep(0.1)
        stored_in(plain, process.number)
        (sent,) = [sent for sent in process.flying if sent.terms is not None]
        assert sent.label == "L"
        assert sent.body == b"hello"
        assert sent.head == keyed(place_in(0), f"from{process.number}").head


@simulated
async def test_an_order_is_kept_whichever_process_messages_come_to(
    zero: Process, one: Process, network: Network
) -> None:
    """Each is delivered when the one before it is, in the order in which they were answered."""
    to = place_in(0)
    for number in range(20):
        receipt = (zero, one)[number % 2].accept(keyed(to, str(number), order_key="k"))
        await asyncio.sleep(0.01)
        stored_in(receipt, 0)
    assert not one.flying
    for number in range(20):
        (flying,) = zero.flying
        assert flying.target == f"/{number}"
        zero.bench.end(flying)
        await asyncio.sleep(0.01)
    assert not zero.flying


@simulated
async def test_messages_of_one_turn_keep_their_order(
    zero: Process, one: Process, network: Network
) -> None:
    """Hundreds that come before the first was answered are stored as they came, in one write."""
    to = place_in(0)
    end = network.pairs[0].ends[0]
    end.is_held = True
    receipts = [one.accept(keyed(to, str(number), order_key="k")) for number in range(300)]
    await asyncio.sleep(0.01)
    assert len(end.written) == 1
    end.release()
    await asyncio.sleep(0.1)
    ids = [stored_in(receipt, 0) for receipt in receipts]
    assert ids == sorted(ids)


@simulated
async def test_an_idempotency_key_makes_one_message_from_both_sides(
    zero: Process, one: Process, network: Network
) -> None:
    """Whoever comes later gets the id of the first, also while that is not stored yet; another
    request with the key is a conflict."""
    to = place_in(0)
    first = one.accept(keyed(to, "x", idempotency_key="k"))
    second = one.accept(keyed(to, "x", idempotency_key="k"))
    third = zero.accept(keyed(to, "x", idempotency_key="k"))
    await asyncio.sleep(0.1)
    fourth = one.accept(keyed(to, "x", idempotency_key="k"))
    other = keyed(to, "x", idempotency_key="k")
    assert other.terms is not None
    other.terms = type(other.terms)(idempotency_key="k", request_print=8)
    conflict = one.accept(other)
    await asyncio.sleep(0.1)
    answers = [receipt.answer for receipt in (first, second, third, fourth)]
    ids = {answer.wire_id if isinstance(answer, Message) else answer for answer in answers}
    assert len(ids) == 1
    assert sum(isinstance(answer, Message) for answer in answers) == 1
    assert conflict.answer == IDEMPOTENCY_CONFLICT
    assert len(zero.flying) == 1


@pytest.mark.parametrize("body", [b"small", b"x" * (3 * CHUNK_BYTES)])
@pytest.mark.parametrize("key", ["order_key", "idempotency_key"])
def test_groups_with_a_key_are_stored_together_over_there(body: bytes, key: str) -> None:
    """All or none, each with the body; and again they are known."""

    async def main(clock: SimulatedClock) -> None:
        async with peered(clock) as (zero, one, _):
            group = group_in(0)
            together = one.accept_all(of_group(group, body, 3, **{key: "k"}), group)
            await asyncio.sleep(1)
            ids = [stored_in(receipt, 0) for receipt in together.ones]
            assert len(zero.flying) == 3
            if key == "idempotency_key":
                again = one.accept_all(of_group(group, body, 3, **{key: "k"}), group)
                await asyncio.sleep(1)
                assert again.duplicates == ids

    run(main)


async def _upload(process: Process, to: Message, pieces: list[bytes]) -> Receipts.One:
    """Send a large body as ingress does: no more than it may hold, then what was said of it."""
    moved = asyncio.Event()
    upload = process.router.start_upload(moved.set, to.destination.key)
    for piece in pieces:
        while upload.unstored_bytes >= 2 * CHUNK_BYTES and upload.refusal is None:
            moved.clear()
            await moved.wait()
        upload.write(piece)
    receipt = process.receipts.one()
    if upload.refusal is not None:
        upload.abort()
        receipt.refused(upload.refusal)
    else:
        to.body_size = sum(map(len, pieces))
        process.router.accept(to, receipt, upload)
    await asyncio.sleep(1)
    return receipt


@simulated
async def test_a_large_body_is_streamed_to_its_partition(
    zero: Process, one: Process, network: Network
) -> None:
    """As fast as it is stored there; it is delivered as it came."""
    pieces = [bytes([number]) * CHUNK_BYTES for number in range(20)] + [b"end"]
    receipt = await _upload(one, keyed(place_in(0), "large", b"", order_key="k"), pieces)
    stored_in(receipt, 0)
    (sent,) = zero.flying
    assert sent.body_size == 20 * CHUNK_BYTES + 3
    assert sent.chunks is not None
    assert await zero.bench.queue.settling.read_body(list(sent.chunks)) == pieces


@simulated
async def test_a_large_body_that_is_given_up_leaves_nothing(
    zero: Process, one: Process, network: Network
) -> None:
    """Its caller went away, or the disk over there is full: what was stored of it is dead."""
    to = place_in(0)
    upload = one.router.start_upload(lambda: None, to.key)
    upload.write(b"x" * CHUNK_BYTES)
    await asyncio.sleep(0.1)
    assert zero.bench.queue.pending.uploads
    upload.abort()
    await asyncio.sleep(0.1)
    assert not zero.bench.queue.pending.uploads

    upload = one.router.start_upload(lambda: None, to.key)
    await asyncio.sleep(0.1)
    zero.bench.log.space = Space.NOTHING
    upload.write(b"x" * CHUNK_BYTES)
    await asyncio.sleep(0.1)
    assert upload.refusal == DISK_FULL
    upload.abort()
    assert not zero.bench.queue.pending.uploads
    assert (await _upload(one, keyed(to, "x", b"", order_key="k"), [b"x"])).answer == DISK_FULL


@simulated
async def test_a_refusal_over_there_is_the_callers(
    zero: Process, one: Process, network: Network
) -> None:
    """With its slug, status and Retry-After; a partition that is gone from there has moved."""
    zero.bench.log.space = Space.NOTHING
    first = one.accept(keyed(place_in(0), "x", order_key="k"))
    await asyncio.sleep(0.1)
    assert first.answer == DISK_FULL
    zero.router.remove(0)
    group = group_in(0)
    receipts = [
        one.accept(keyed(place_in(0), "x", order_key="k")),
        *one.accept_all(of_group(group, b"x", 2, order_key="k"), group).ones,
    ]
    waiting = keyed(place_in(0), "x", order_key="k")
    waiting.want_start(MOST_WAITED_BYTES)
    receipts.append(one.accept(waiting))
    await asyncio.sleep(0.1)
    assert {receipt.answer for receipt in receipts} == {MOVED}


@simulated
async def test_what_comes_while_the_other_process_is_away_is_held_and_then_sent_in_order(
    zero: Process, one: Process, network: Network
) -> None:
    """It comes back within two seconds: nobody notices but by the time that it took."""
    to = place_in(0)
    network.is_down = True
    network.cut()
    receipts = [one.accept(keyed(to, str(number), order_key="k")) for number in range(50)]
    upload = asyncio.ensure_future(
        _upload(one, keyed(to, "large", b"", order_key="k"), [b"y" * CHUNK_BYTES] * 2)
    )
    await asyncio.sleep(0.5)
    assert not one.receipts.accepted
    network.is_down = False
    await one.linked.links.to(0).connected(2)
    after = one.accept(keyed(to, "after", order_key="k"))
    ids = []
    await asyncio.sleep(1)
    for receipt in [*receipts, after]:
        ids.append(stored_in(receipt, 0))
    assert ids == sorted(ids)
    stored_in(await upload, 0)


@simulated
async def test_what_is_held_too_long_is_refused_as_moved(
    zero: Process, one: Process, network: Network
) -> None:
    """It was certainly not stored, and a caller may send it again; what is held is bounded."""
    network.is_down = True
    network.cut()
    to = place_in(0)
    receipt = one.accept(keyed(to, "x", order_key="k"))
    group = group_in(0)
    together = one.accept_all(of_group(group, b"x", 2, order_key="k"), group)
    upload = one.router.start_upload(lambda: None, to.key)
    upload.write(b"z" * CHUNK_BYTES)
    large = b"w" * CHUNK_BYTES
    many = [
        one.accept(keyed(to, "x", large, order_key="k"))
        for _ in range(MOST_HELD_BYTES // CHUNK_BYTES)
    ]
    await asyncio.sleep(HOLD_S - 0.1)
    assert receipt.answer is None
    assert many[-1].answer == OVERLOADED
    await asyncio.sleep(0.2)
    assert [one.answer for one in (receipt, *together.ones)] == [MOVED] * 3
    assert upload.refusal == MOVED
    upload.abort()
    network.is_down = False
    await one.linked.links.to(0).connected(2)
    await asyncio.sleep(1)
    assert not zero.flying


@simulated
async def test_who_may_have_been_heard_gets_no_answer_when_the_link_is_lost(
    zero: Process, one: Process, network: Network
) -> None:
    """Nobody knows whether it is stored; and it is, here, once."""
    network.pairs[0].ends[1].is_held = True
    receipt = one.accept(keyed(place_in(0), "x", order_key="k"))
    await asyncio.sleep(0.1)
    assert len(zero.flying) == 1
    network.cut()
    await asyncio.sleep(0.1)
    assert receipt.answer == NO_VERDICT
    assert NO_VERDICT.is_silent
    await asyncio.sleep(5)
    assert len(zero.flying) == 1


@pytest.mark.parametrize("was_read", [True, False])
def test_with_an_idempotency_key_it_is_sent_once_more(was_read: bool) -> None:
    """The other process knows it, if it had come; if not, it is new."""

    async def main(clock: SimulatedClock) -> None:
        async with peered(clock) as (zero, one, network):
            network.pairs[0].ends[was_read].is_held = True
            receipt = one.accept(keyed(place_in(0), "x", idempotency_key="k"))
            group = group_in(0)
            together = one.accept_all(of_group(group, b"x", 2, idempotency_key="k"), group)
            await asyncio.sleep(0.1)
            network.cut()
            await asyncio.sleep(5)
            zero.deliver()
            await asyncio.sleep(1)
            assert sorted(zero.delivered) == ["/g", "/g", "/x"]
            if was_read:
                assert isinstance(receipt.answer, bytes)
                assert len({receipt.answer, *together.duplicates}) == 3
            else:
                assert len({stored_in(one, 0) for one in (receipt, *together.ones)}) == 3

    run(main)


@simulated
async def test_a_second_loss_or_a_refusal_after_it_says_nothing_of_the_first_try(
    zero: Process, one: Process, network: Network
) -> None:
    """A 503 would promise that nothing is stored."""
    network.pairs[0].ends[1].is_held = True
    receipts = [one.accept(keyed(place_in(0), "x", idempotency_key=str(key))) for key in range(2)]
    await asyncio.sleep(0.1)
    zero.router.remove(0)
    network.cut()
    await asyncio.sleep(1)
    assert [receipt.answer for receipt in receipts] == [NO_VERDICT] * 2
    zero.router.add(0, zero.bench.queue.intake)
    again = one.accept(keyed(place_in(0), "y", idempotency_key="again"))
    network.pairs[0].ends[1].is_held = True
    await asyncio.sleep(0.1)
    network.is_down = True
    network.cut()
    await asyncio.sleep(HOLD_S + 1)
    assert again.answer == NO_VERDICT
    network.is_down = False


class Waiter:
    """See `ports.Waiter`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.told: list[Any] = []
        self.refused_with: Refusal | None = None
        self.message: Message | None = None

    def accepted(self, message: Message) -> None:
        self.message = message
        self._process.router.await_end(message, self)

    def duplicate(self, message_id: bytes) -> None:
        self.told.append(message_id)

    def refused(self, refusal: Refusal) -> None:
        self.refused_with = refusal

    def ended(self, answer: Answer | None, error: str | None) -> None:
        self.told.append((answer, error))

    def undecided(self) -> None:
        self.told.append("undecided")

    def send(self, name: str = "x", key: str = "") -> None:
        sent = keyed(place_in(0), name, order_key=name, idempotency_key=key)
        sent.want_start(MOST_WAITED_BYTES)
        self._process.router.accept(sent, self)


@simulated
async def test_who_waits_for_the_answer_gets_it_from_the_other_process(
    zero: Process, one: Process, network: Network
) -> None:
    """Status, head and body as the destination sent them; its memory over there is given back."""
    waiter = Waiter(one)
    waiter.send()
    await asyncio.sleep(0.1)
    assert waiter.message is not None
    (sent,) = zero.flying
    assert sent.wire_id == waiter.message.wire_id
    released: list[int] = []
    fields = ((b"X-A", b"\xff"), (b"x-a", b"2"))
    answer = Answer(201, b"text/x", b"7", b"b\n\ndy", True, lambda: released.append(1), fields)
    sent.answer = answer
    zero.bench.end(sent, 201)
    await asyncio.sleep(0.1)
    ((got, error),) = waiter.told
    assert error is None
    assert isinstance(got, Answer)
    assert (got.status, got.content_type, got.retry_after) == (201, b"text/x", b"7")
    assert (got.body, got.is_whole, got.fields) == (b"b\n\ndy", True, fields)
    assert released
    assert not zero.bench.queue.pending.awaited


@simulated
async def test_who_waits_is_told_of_a_retry_and_forgotten_when_it_leaves(
    zero: Process, one: Process, network: Network
) -> None:
    """Also when the link is lost: it is stored, and its caller gets the 202."""
    retried, left, lost = Waiter(one), Waiter(one), Waiter(one)
    retried.send("retried")
    left.send("left")
    lost.send("lost")
    await asyncio.sleep(0.1)
    flying = {sent.target: sent for sent in zero.flying}
    zero.bench.end(flying["/retried"], failed(500))
    assert left.message is not None
    one.router.forget(left.message.wire_id)
    await asyncio.sleep(0.1)
    assert retried.told == ["undecided"]
    assert len(zero.bench.queue.pending.awaited) == 1
    network.cut()
    await asyncio.sleep(0.1)
    assert lost.told == ["undecided"]
    assert left.told == []
    assert not zero.bench.queue.pending.awaited


@simulated
async def test_who_waits_for_a_duplicate_is_told_at_once(
    zero: Process, one: Process, network: Network
) -> None:
    """And who waits for the first is still told of its end."""
    first, second = Waiter(one), Waiter(one)
    first.send("x", "k")
    await asyncio.sleep(0.1)
    second.send("x", "k")
    await asyncio.sleep(0.1)
    (sent,) = zero.flying
    assert second.told == [sent.wire_id]
    sent.answer = None
    zero.bench.end(sent, 200)
    await asyncio.sleep(0.1)
    assert first.told == [(None, None)]


@simulated
async def test_a_backlog_that_is_full_over_there_is_said_here(
    zero: Process, one: Process, network: Network
) -> None:
    """What a process may hold is its own to say."""
    zero.router.remove(0)

    class Full:
        def __getattr__(self, name: str) -> object:
            return getattr(zero.bench.queue.intake, name)

        def refusal(self) -> Refusal:
            return BACKLOG_FULL

    zero.router.add(0, Full())  # type: ignore[arg-type]
    receipt = one.accept(keyed(place_in(0), "x", order_key="k"))
    await asyncio.sleep(0.1)
    assert receipt.answer == BACKLOG_FULL


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("passes", [*range(0, 400, 7)])
def test_a_link_that_is_cut_anywhere_loses_and_doubles_nothing(side: int, passes: int) -> None:
    """After any byte, of the message or of its answer: what was accepted is stored once, what was
    refused is not, and with an idempotency key there is an answer."""

    async def main(clock: SimulatedClock) -> None:
        async with peered(clock) as (zero, one, network):
            network.pairs[0].ends[side].passes = passes
            plain = one.accept(keyed(place_in(0), "a", order_key="k"))
            known = one.accept(keyed(place_in(0), "b", idempotency_key="k"))
            waits = Waiter(one)
            waits.send("c")
            await asyncio.sleep(10)
            zero.deliver()
            await asyncio.sleep(1)
            targets = zero.delivered
            assert len(set(targets)) == len(targets)
            if isinstance(plain.answer, Message):
                assert "/a" in targets
            elif plain.answer != NO_VERDICT:
                assert "/a" not in targets
            assert isinstance(known.answer, (Message, bytes))
            assert "/b" in targets
            if waits.message is not None:
                assert "/c" in targets
            elif waits.refused_with != NO_VERDICT:
                assert "/c" not in targets
            assert waits.message is not None or waits.refused_with is not None

    run(main)

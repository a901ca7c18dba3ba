"""Idempotency keys of requests to groups: one key for all messages."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dispatcher.core.idempotency import begin_print, place_in_group, print_of
from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.errors import Refusal
from dispatcher.queue.admin.surface import Cancelled
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.refusals import DISK_FULL, IDEMPOTENCY_CONFLICT
from dispatcher.testing.log import Space
from dispatcher.testing.queue import Bench, Receipts, destination, failed, message
from tests.unit.test_queue_idempotency import deliver_all, keyed, restart, simulated

MEMBERS = 3


def group(
    key: str = "k",
    body: bytes = b"b",
    *,
    name: str = "orders",
    path: str = "x",
    hosts: int = MEMBERS,
) -> list[Message]:
    """Messages of a request with a key, as ingress makes them."""
    messages = [message(destination(f"h{number}"), body, name=path) for number in range(hosts)]
    printer = begin_print(messages[0].head)
    printer.update(body)
    terms = Terms(idempotency_key=key, request_print=print_of(printer))
    for number, one in enumerate(messages):
        one.terms = replace(terms, key_place=place_in_group(name, number))
    return messages


class Sent:
    """A request that was handed in; `first` are the ids of what was stored, `again` of what was
    there already."""

    def __init__(self, bench: Bench, messages: list[Message]) -> None:
        self.together = Receipts.Together([bench.receipts.one() for _ in messages])
        bench.queue.intake.accept_all(messages, self.together)

    @property
    def first(self) -> list[bytes] | None:
        answers = [one.answer for one in self.together.ones]
        return [one.wire_id for one in answers if isinstance(one, Message)] or None

    @property
    def again(self) -> list[bytes]:
        return self.together.duplicates

    @property
    def refusal(self) -> Refusal | None:
        (answer,) = {one.answer for one in self.together.ones}
        return answer if isinstance(answer, Refusal) else None


async def send(bench: Bench, messages: list[Message]) -> Sent:
    sent = Sent(bench, messages)
    await asyncio.sleep(0.1)
    return sent


async def first_ids(bench: Bench, messages: list[Message]) -> list[bytes]:
    ids = (await send(bench, messages)).first
    assert ids is not None
    return ids


def test_same_request_again_has_all_ids_of_the_first_and_stores_nothing() -> None:
    """In the order of the members, after a crash and after they were delivered too."""

    async def test(bench: Bench) -> None:
        ids = await first_ids(bench, group())
        assert (await send(bench, group())).again == ids
        assert bench.queue.figures.accepted_total == MEMBERS
        await restart(bench)
        assert (await send(bench, group())).again == ids
        await deliver_all(bench)
        await restart(bench)
        assert (await send(bench, group())).again == ids
        assert not bench.deliverer.flying

    simulated(test)


def test_same_request_after_the_members_changed_has_the_ids_of_the_first() -> None:
    """More of them, or fewer: what was answered first is what was sent."""

    async def test(bench: Bench) -> None:
        ids = await first_ids(bench, group())
        assert (await send(bench, group(hosts=1))).again == ids
        assert (await send(bench, group(hosts=5))).again == ids
        assert bench.queue.figures.accepted_total == MEMBERS

    simulated(test)


@pytest.mark.parametrize(("body", "path"), [(b"other", "x"), (b"b", "other")])
def test_another_request_with_the_key_is_a_conflict(body: bytes, path: str) -> None:
    """And stores nothing, also while the first is under way."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.5
        first, second = Sent(bench, group()), Sent(bench, group(body=body, path=path))
        await asyncio.sleep(1)
        assert first.first
        assert second.refusal is IDEMPOTENCY_CONFLICT
        assert (await send(bench, group(body=body, path=path))).refusal is IDEMPOTENCY_CONFLICT
        assert bench.queue.figures.accepted_total == MEMBERS

    simulated(test)


def test_key_belongs_to_its_group() -> None:
    """Another group, and a destination that is a member, have their own."""

    async def test(bench: Bench) -> None:
        ids = await first_ids(bench, group())
        others = await first_ids(bench, group(name="others"))
        assert not set(ids) & set(others)
        alone = bench.accept(keyed(bench, "k", to="h0"))
        await asyncio.sleep(0.1)
        assert isinstance(alone.answer, Message)
        assert (await send(bench, group())).again == ids

    simulated(test)


def test_two_at_the_same_moment_make_one_message_for_each_member() -> None:
    """The second waits for the first, and for the copies of its body."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.5
        for body in (b"small", bytes(CHUNK_BYTES)):
            sent = [Sent(bench, group(str(len(body)), body)) for _ in range(3)]
            await asyncio.sleep(0.4)
            assert not any(one.first or one.again for one in sent)
            await asyncio.sleep(10)
            ids = sent[0].first
            assert ids is not None
            assert [one.again for one in sent] == [[], ids, ids]
        assert bench.queue.figures.accepted_total == 2 * MEMBERS

    simulated(test)


def test_second_is_refused_when_the_first_is() -> None:
    """Nobody knows of messages then that it could be the duplicate of."""

    async def test(bench: Bench) -> None:
        bench.log.space = Space.NOTHING
        first, second = Sent(bench, group()), Sent(bench, group())
        await asyncio.sleep(0.5)
        assert first.refusal is second.refusal is DISK_FULL
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(5)
        assert (await send(bench, group())).first

    simulated(test)


def test_large_body_of_a_duplicate_is_let_go() -> None:
    """Its copies are dead bytes."""

    async def test(bench: Bench) -> None:
        body = bytes(2 * CHUNK_BYTES)
        ids = await first_ids(bench, group(body=body))
        held = bench.queue.pending.live_bytes
        again = group(body=body)
        upload = bench.queue.intake.start_uploads(lambda: None, copies=MEMBERS, head_bytes=300)
        for _ in range(2):
            upload.write(bytes(CHUNK_BYTES))
        together = Receipts.Together([bench.receipts.one() for _ in again])
        bench.queue.intake.accept_all(again, together, upload)
        await asyncio.sleep(1)
        assert together.duplicates == ids
        assert bench.queue.pending.live_bytes == held

    simulated(test)


def test_key_is_free_when_nothing_is_left_of_all_messages() -> None:
    """Until then a repeat has the ids of those that it stands for."""

    async def test(bench: Bench) -> None:
        for host in ("h0", "h1", "h2"):
            await bench.queue.admin.hold(host)
        ids = await first_ids(bench, group())
        for number in range(MEMBERS):
            assert (await send(bench, group())).again == ids[number:]
            cancelled = await bench.queue.admin.cancel(ids[number].decode())
            assert cancelled is Cancelled.DONE
        await restart(bench)
        later = await first_ids(bench, group())
        assert not set(ids) & set(later)

    simulated(test)


def test_key_stands_for_dead_letters_too() -> None:
    """Until they are purged."""

    async def test(bench: Bench) -> None:
        ids = await first_ids(bench, group())
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(1)
        await deliver_all(bench)
        assert (await send(bench, group())).again == ids
        await bench.queue.admin.purge([ids[0].decode()])
        assert (await send(bench, group())).again == ids[1:]

    simulated(test)


def test_crash_keeps_the_key_with_the_messages_or_neither() -> None:
    """They are durable in the same records."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.5
        for keep in (False, True):
            Sent(bench, group())
            await asyncio.sleep(0.2)
            await bench.crash(keep_batch=keep)
            await bench.start()
            bench.log.append_s = 0.5
        await asyncio.sleep(0.1)
        assert len((await send(bench, group())).again) == MEMBERS
        assert bench.queue.pending.index.count == MEMBERS

    simulated(test)

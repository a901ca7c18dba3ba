"""Messages that wait and are moved to the dead letters, because an operator says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from dispatcher.core.flow import parse_flow
from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.errors import Refused
from dispatcher.queue.admin.surface import Cancelled, LetterFilter, MessageState
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.kinds import Kind
from dispatcher.testing.admin import whole
from dispatcher.testing.log import Space
from dispatcher.testing.queue import Bench, destination, failed, message, simulate
from tests.unit.test_queue_admin import accepted, big

EVERYTHING = LetterFilter()
HELD = "a.example"


async def _with_terms(bench: Bench, name: str, terms: Terms) -> str:
    sent = message(destination(HELD), name=name)
    sent.terms = terms
    receipt = bench.accept(sent)
    await asyncio.sleep(0.01)
    assert isinstance(receipt.answer, Message)
    return receipt.answer.wire_id.decode()


def _held(test: Callable[[Bench], Coroutine[None, None, None]], **options: object) -> Bench:
    async def main(bench: Bench) -> None:
        await bench.queue.admin.hold(HELD)
        await test(bench)

    return simulate(main, **options)


async def _letters(bench: Bench) -> list[tuple[str, str, str | None, int]]:
    page = await bench.queue.admin.letters(EVERYTHING, cursor=0, limit=100)
    return [(one.target, one.reason, one.last_error, one.attempts) for one in page.items]


def test_message_that_waits_is_a_dead_letter_when_an_operator_gives_it_up() -> None:
    """With reason `operator`, durably, and never sent again; it can be redriven as any other."""

    async def test(bench: Bench) -> None:
        message_id = await accepted(bench, "one")
        stays = await accepted(bench, "other")
        assert await bench.queue.admin.give_up(message_id) is Cancelled.DONE
        assert await _letters(bench) == [("/one", "operator", None, 0)]
        await bench.crash()
        await bench.start()
        assert await _letters(bench) == [("/one", "operator", None, 0)]
        (record,) = [p for _, p in bench.dead_log.records if p[0] != Kind.NOTHING]
        assert record[0] == Kind.DEAD_OPERATOR
        view = await bench.queue.admin.message(stays)
        assert view is not None
        assert view.state is MessageState.READY
        await bench.queue.admin.resume(HELD)
        assert [one.target for one in bench.deliverer.flying] == ["/other"]
        bench.end(bench.deliverer.flying[0])
        await bench.queue.admin.redrive([message_id])
        assert [(one.target, one.attempt) for one in bench.deliverer.flying] == [("/one", 1)]

    _held(test)


def test_message_that_waits_for_a_retry_is_given_up_with_its_history() -> None:
    """The last error is that of its last attempt; its timer comes and starts nothing."""

    async def test(bench: Bench) -> None:
        message_id = await accepted(bench, "tried")
        bench.end(bench.deliverer.flying[0], failed(503))
        assert await bench.queue.admin.give_up(message_id) is Cancelled.DONE
        assert await _letters(bench) == [("/tried", "operator", "http_503", 1)]
        assert bench.queue.pending.index.count == 0
        await asyncio.sleep(30)
        assert not bench.deliverer.flying
        await accepted(bench, "next")
        assert [one.target for one in bench.deliverer.flying] == ["/next"]

    simulate(test)


def test_slot_whose_timer_comes_while_its_letter_is_on_its_way_is_used_again() -> None:
    """It was in a timer and between the two logs at once; nothing starts, and nothing is lost."""

    async def test(bench: Bench) -> None:
        message_id = await accepted(bench, "tried")
        bench.end(bench.deliverer.flying[0], failed(503))
        bench.dead_log.append_s = 1.0
        assert await bench.queue.admin.give_up(message_id) is Cancelled.DONE
        assert not bench.queue.pending.timers.lifted
        assert bench.queue.pending.timers.count == 0
        index = bench.queue.pending.index
        assert index.count == 0
        for n in range(3 * index.slots):
            await accepted(bench, f"n{n}")
        sent = 0
        while bench.deliverer.flying:
            sent += 1
            bench.end(bench.deliverer.flying[0])
        assert sent == 3 * 16
        assert index.count == 0

    simulate(test)


def test_message_in_flight_delivered_or_unknown_is_not_given_up() -> None:
    """An attempt that is under way may reach the destination."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        message_id = await accepted(bench)
        assert await admin.give_up(message_id) is Cancelled.IN_FLIGHT
        bench.end(bench.deliverer.flying[0])
        assert await admin.give_up(message_id) is Cancelled.DELIVERED
        assert await admin.give_up("0" * 28) is Cancelled.UNKNOWN
        other = await accepted(bench)
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(0.1)
        assert await admin.give_up(other) is Cancelled.DEAD

    simulate(test)


def test_large_body_is_in_the_letter_of_a_message_that_is_given_up() -> None:
    """All of it."""

    async def test(bench: Bench) -> None:
        message_id = await big(bench)
        assert await bench.queue.admin.give_up(message_id) is Cancelled.DONE
        letter = await bench.queue.admin.letter(message_id)
        assert letter is not None
        assert len(await whole(letter.body)) == letter.letter.size_bytes == 3 * CHUNK_BYTES

    _held(test)


def test_whoever_is_called_back_is_told_that_an_operator_gave_the_message_up() -> None:
    """As of any dead letter, with `operator` as the error; also when a crash comes between the
    two logs."""

    async def test(bench: Bench) -> None:
        url = "http://told.example/dead"
        message_id = await _with_terms(bench, "calls", Terms(failure_callback=url))
        assert await bench.queue.admin.give_up(message_id) is Cancelled.DONE
        await asyncio.sleep(0.1)
        (callback,) = bench.deliverer.flying
        assert b'"error":"operator"' in callback.body
        bench.end(callback)
        other = await _with_terms(bench, "again", Terms(failure_callback=url))
        bench.log.append_s = 1.0
        assert await bench.queue.admin.give_up(other) is Cancelled.DONE
        await bench.crash()
        await bench.start()
        await asyncio.sleep(2)
        while bench.deliverer.flying:
            assert b'"error":"operator"' in bench.deliverer.flying[0].body
            told = bench.deliverer.flying[0].body
            bench.end(bench.deliverer.flying[0])
        assert other.encode() in told

    _held(test)


@pytest.mark.parametrize("holds", [False, True])
def test_order_key_goes_on_or_waits_for_the_letter_as_it_does_for_others(*, holds: bool) -> None:
    """ORDER_ON_DEAD says which."""

    async def test(bench: Bench) -> None:
        ids = [await _with_terms(bench, f"n{n}", Terms(order_key="k")) for n in range(4)]
        bench.end(bench.deliverer.flying[0], failed(503))
        assert await bench.queue.admin.give_up(ids[1]) is Cancelled.DONE
        assert await bench.queue.admin.give_up(ids[0]) is Cancelled.DONE
        await asyncio.sleep(10)
        flying = [one.target for one in bench.deliverer.flying]
        assert flying == ([] if holds else ["/n2"])
        await bench.queue.admin.purge(ids[:2])
        assert [one.target for one in bench.deliverer.flying] == ["/n2"]

    simulate(test, order_holds=holds)


def test_flow_key_lets_the_next_one_through() -> None:
    """One that is given up takes no place of it."""

    async def test(bench: Bench) -> None:
        terms = Terms(flow_key="f", flow=parse_flow("parallelism=1"))
        ids = [await _with_terms(bench, f"n{n}", terms) for n in range(3)]
        assert await bench.queue.admin.give_up(ids[0]) is Cancelled.DONE
        await bench.queue.admin.resume(HELD)
        assert [one.target for one in bench.deliverer.flying] == ["/n1"]

    _held(test)


def test_idempotency_key_is_taken_as_long_as_the_letter_is_there() -> None:
    """As of any dead letter."""

    async def test(bench: Bench) -> None:
        terms = Terms(idempotency_key="k")
        message_id = await _with_terms(bench, "one", terms)
        assert await bench.queue.admin.give_up(message_id) is Cancelled.DONE

        async def again() -> object:
            sent = message(destination(HELD), name="one")
            sent.terms = terms
            receipt = bench.accept(sent)
            await asyncio.sleep(0.1)
            return receipt.answer

        assert await again() == message_id.encode()
        await bench.queue.admin.purge([message_id])
        assert isinstance(await again(), Message)

    _held(test)


def test_nothing_is_given_up_when_there_is_no_space_for_letters() -> None:
    """The message stays where it is; one whose letter finds no space on its way there becomes one
    when there is."""

    async def test(bench: Bench) -> None:
        bench.dead_log.space = Space.NOTHING
        ids = [await accepted(bench, f"n{n}") for n in range(2)]
        with pytest.raises(Refused):
            await bench.queue.admin.give_up(ids[0])
        with pytest.raises(Refused):
            await bench.queue.admin.give_up(ids[1])
        view = await bench.queue.admin.message(ids[1])
        assert view is not None
        assert view.state is MessageState.READY
        bench.dead_log.space = Space.ENOUGH
        await asyncio.sleep(5)
        assert [target for target, *_ in await _letters(bench)] == ["/n0"]

    _held(test)


@pytest.mark.parametrize("turns", range(12))
def test_message_is_given_up_or_sent_when_its_turn_comes_at_that_moment(turns: int) -> None:
    """One of the two, and the operator is told which."""

    async def test(bench: Bench) -> None:
        await accepted(bench, "first")
        second = await accepted(bench, "second")
        giving_up = asyncio.create_task(bench.queue.admin.give_up(second))
        for _ in range(turns):
            await asyncio.sleep(0)
        bench.end(bench.deliverer.flying[0])
        result = await giving_up
        targets = [one.target for one in bench.deliverer.flying]
        assert (result, targets) in [
            (Cancelled.DONE, []),
            (Cancelled.IN_FLIGHT, ["/second"]),
        ]

    simulate(test, workers=1)


def test_message_copied_forward_while_it_is_given_up_does_not_come_back() -> None:
    """Neither before the record that settles it nor behind it."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        message_id = await accepted(bench)
        bench.log.append_s = bench.log.read_s = 0.01
        giving_up = asyncio.create_task(queue.admin.give_up(message_id))
        await asyncio.sleep(0.005)
        await queue.space.copy([queue.pending.extents.oldest])
        assert await giving_up is Cancelled.DONE
        await asyncio.sleep(1)
        await bench.crash()
        await bench.start()
        assert bench.queue.pending.index.count == 0
        assert len(bench.queue.dead_letters) == 1

    _held(test)

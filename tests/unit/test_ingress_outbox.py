"""Answers of one connection come in the order of its requests, large bodies among them."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import LogUnknown, Refusal
from dispatcher.ingress import answers
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.outbox import MAX_HELD_BYTES, Outbox
from dispatcher.ingress.shared import Shared
from dispatcher.queue.ports import CHUNK_BYTES, LogName
from dispatcher.testing.ingress import MemoryAcceptor, MemoryTransport
from dispatcher.testing.queue import Bench, message, simulate
from tests.unit.test_ingress_connection import CONFIG, Caller, Ready, chunked, request

LARGE = b"x" * (CHUNK_BYTES + 1)


def test_nothing_is_read_after_an_upload_before_it_is_answered() -> None:
    """The queue submits a message with an upload when its last chunk is durable: a small one after
    it would be durable before it, and its answer would be taken for the other's."""
    assert MAX_HELD_BYTES <= CHUNK_BYTES
    for large in (request(LARGE), chunked(LARGE)):
        caller = Caller(upload_at_once=False)
        caller.send(large[:CHUNK_BYTES], large[CHUNK_BYTES:] + request(b"small"))
        assert len(caller.queue.uploads[0].chunks) == 2
        assert len(caller.queue.messages) == 1
        caller.queue.uploads[0].store()
        caller.queue.settle()
        assert caller.queue.bodies[1] == b"small"


def test_each_answer_tells_the_id_of_its_own_request_when_uploads_are_pipelined() -> None:
    """With the real queue and a slow log: small, large, small, in one stream."""

    async def test(bench: Bench) -> None:
        delivered: dict[bytes, str] = {}
        bench.deliverer.on_start = lambda sent: delivered.update({sent.wire_id: sent.target})
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        bench.log.append_s = 0.5
        shared = Shared(bench.queue.intake, CONFIG, lambda: Ready(200, b"{}"), lambda: 0.0)
        connection, transport = Connection(shared), MemoryTransport()
        connection.connection_made(transport)
        paths = ["/1", "/2", "/3", "/4"]
        bodies = [b"", LARGE, b"", b""]
        stream = b"".join(
            request(body, start=b"POST %b HTTP/1.1" % path.encode())
            for path, body in zip(paths, bodies, strict=True)
        )
        for at in range(0, len(stream), 200_000):
            assert not transport.is_reading_paused
            connection.data_received(stream[at : at + 200_000])
        await asyncio.sleep(10)
        ids = re.findall(rb"X-Dispatcher-Message-Id: (\w+)", bytes(transport.written))
        assert [delivered[one] for one in ids] == paths
        assert shared.memory.held_bytes == 0

    simulate(test)


def test_each_answer_is_of_its_own_request_when_the_log_fails_under_the_first() -> None:
    """The first is stored all the same. A 202 in the second one's place would lose a message."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.5
        shared = Shared(bench.queue.intake, CONFIG, lambda: Ready(200, b"{}"), lambda: 0.0)
        connection, transport = Connection(shared), MemoryTransport()
        connection.connection_made(transport)
        connection.data_received(request(b"first") + request(b"second"))
        bench.queue.fail(LogName.DEAD_LETTER, LogUnknown("the disk is broken"))
        await asyncio.sleep(1)
        assert re.findall(rb"HTTP/1.1 (\d+)", bytes(transport.written)) == [b"202", b"503"]

    simulate(test)


@given(
    kinds=st.lists(st.sampled_from(["plain", "json", "place", "duplicate", "put", "refused"])),
    order=st.randoms(use_true_random=False),
    stops=st.booleans(),
)
def test_answers_are_in_order_when_the_queue_answers_some_earlier_or_later(
    kinds: list[str], order: Random, stops: bool
) -> None:
    """Whatever is known when: each is written at its turn, and the last before a stop says so."""
    written: list[bytes] = []
    shared = Shared(MemoryAcceptor(), CONFIG, lambda: Ready(200, b"{}"), lambda: 0.0)
    emptied: list[int] = []
    outbox = Outbox(shared, lambda: emptied.append(len(written)))
    outbox.connect(written.append, lambda: None)
    plain: deque[Callable[[], None]] = deque()
    free: list[Callable[[], None]] = []
    owed: list[bytes] = []
    for number, kind in enumerate(kinds):
        name = b"%028x" % number
        sent = message()
        sent.wire_id = name
        refusal = Refusal(503, f"r{number}", "why")
        match kind:
            case "plain" | "json":
                outbox.expect(answers.JSON if kind == "json" else 0, 10)
                plain.append(partial(outbox.accepted, sent))
            case "put":
                outbox.put(b"put %d" % number)
                owed.append(b"put %d" % number)
                continue
            case "refused":
                name = refusal.slug.encode()
                place = outbox.place(0, 10)
                free.append(partial(place.refused, refusal))
            case "place":
                free.append(partial(outbox.place(0, 10).accepted, sent))
            case "duplicate":
                free.append(partial(outbox.place(0, 10).duplicate, name))
        owed.append(name)
    outbox.ends = stops
    assert outbox.is_empty is not bool(plain or free)
    while plain or free:
        if plain and (not free or order.random() < 0.5):
            plain.popleft()()
        else:
            free.pop(order.randrange(len(free)))()
    assert outbox.is_empty
    assert len(written) == len(owed)
    for answer, name in zip(written, owed, strict=True):
        assert name in answer
    for answer, kind in zip(written, kinds, strict=True):
        assert (b"X-Dispatcher-Duplicate: true" in answer) is (kind == "duplicate")
    if stops and written and kinds[-1] != "put":
        assert b"Connection: close" in written[-1]
    assert not any(b"Connection: close" in answer for answer in written[:-1])


def test_nothing_is_taken_behind_the_answer_that_was_the_last() -> None:
    """An answer that is known before others may say that it is the last: a message behind it would
    be delivered, and its caller would never know."""
    written: list[bytes] = []
    shared = Shared(MemoryAcceptor(), CONFIG, lambda: Ready(200, b"{}"), lambda: 0.0)
    outbox = Outbox(shared, lambda: None)
    outbox.connect(written.append, lambda: None)
    first, last = outbox.place(0, 10), outbox.place(0, 10)
    outbox.ends = True
    assert not outbox.is_full
    last.duplicate(b"%028x" % 2)
    assert outbox.is_full
    first.duplicate(b"%028x" % 1)
    assert [b"Connection: close" in answer for answer in written] == [False, True]

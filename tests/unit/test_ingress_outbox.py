"""Answers of one connection come in the order of its requests, large bodies among them."""

from __future__ import annotations

import asyncio
import re

from dispatcher.errors import LogUnknown
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.outbox import MAX_HELD_BYTES
from dispatcher.ingress.shared import Shared
from dispatcher.queue.ports import CHUNK_BYTES, LogName
from dispatcher.testing.ingress import MemoryTransport
from dispatcher.testing.queue import Bench, simulate
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

"""Two servers that are the processes of one node: whichever a caller comes to, a key means the
same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules
from dispatcher.node.assignment import Assignment
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.destination import FakeDestination, answer
from tests.integration.partitioned import Running, destinations, running, until

COUNT = 2


def part(number: int) -> Assignment:
    """One of the processes."""
    return Assignment(number, (number,), COUNT, COUNT)


@asynccontextmanager
async def node(directory: Path) -> AsyncIterator[list[Running]]:
    """Both, connected."""
    async with AsyncExitStack() as stack:
        both = []
        for number in range(COUNT):
            running_one = running(directory, part(number))
            both.append(await stack.enter_async_context(running_one))
        neighbours = both[1].server.messages.neighbours
        assert neighbours is not None
        await neighbours.links.to(0).connected(60)
        yield both


async def post(
    server: Running, to: FakeDestination, body: bytes = b"x", **options: str
) -> aiohttp.ClientResponse:
    """Send a message with a body."""
    headers = {
        f"X-Dispatcher-{name.replace('_', '-').title()}": value
        for name, value in {"origin_host": to.authority, **options}.items()
    }
    url = f"http://{server.ready['listen'][0]}/x"
    async with server.session.post(url, headers=headers, data=body) as answered:
        await answered.read()
        return answered


def id_of(answered: aiohttp.ClientResponse) -> str:
    """The id that a message got."""
    assert answered.status == 202
    return answered.headers["X-Dispatcher-Message-Id"]


async def test_keys_mean_the_same_whichever_process_a_caller_comes_to(tmp_path: Path) -> None:
    """Small bodies, large ones and chunked ones lie in the partition of their place and are
    delivered as they came; an order is kept; an idempotency key makes one message."""
    large = bytes(range(256)) * (CHUNK_BYTES // 256 * 9) + b"end"
    async with destinations(COUNT) as places, node(tmp_path) as servers:
        for number, to in enumerate(places):
            for turn in range(20):
                body = large if turn == 7 else b"%d" % turn
                answered = await post(servers[turn % 2], to, body, order_key="k")
                assert id_of(answered)[:4] == f"{number:04x}"
            await to.received(20)
            bodies = [one.body for one in to.requests]
            assert bodies == [large if turn == 7 else b"%d" % turn for turn in range(20)]
        first = await post(servers[0], places[1], large, idempotency_key="k")
        again = await post(servers[1], places[1], large, idempotency_key="k")
        small = await post(servers[0], places[1], b"other", idempotency_key="k")
        assert id_of(first) == id_of(again)
        assert again.headers["X-Dispatcher-Duplicate"] == "true"
        assert small.status == 409
        await places[1].received(21)


async def test_who_waits_gets_the_answer_of_the_destination(tmp_path: Path) -> None:
    """Through the other process, as if there were one."""
    async with destinations(COUNT) as places, node(tmp_path) as servers:
        for to in places:
            to.default = answer(201, b"made", ("X-Made", "yes"))
            for server in servers:
                answered = await post(server, to, order_key="k", wait="60s")
                assert answered.status == 201
                assert await answered.text() == "made"
                assert answered.headers["X-Made"] == "yes"
                large = await post(server, to, b"y" * (2 * CHUNK_BYTES), order_key="k", wait="60s")
                assert large.status == 201


async def test_a_process_that_comes_back_gets_what_was_held_for_it(tmp_path: Path) -> None:
    """Callers of the other one wait a little, and those that wait too long are told to come
    again."""
    async with destinations(COUNT) as places, AsyncExitStack() as stack:
        zero = await stack.enter_async_context(running(tmp_path, part(0)))
        assert (await post(zero, places[1], order_key="k")).status == 503
        waiting = asyncio.ensure_future(post(zero, places[1], order_key="k"))
        neighbours = zero.server.messages.neighbours
        assert neighbours is not None
        remote = neighbours.links.to(1)

        async def is_held() -> bool:
            return "1 held" in repr(zero.server.messages.acceptor.elsewhere)  # type: ignore[attr-defined]

        await until(is_held)
        one = await stack.enter_async_context(running(tmp_path, part(1)))
        await remote.connected(60)
        assert (await waiting).status in (202, 503)  # where this machine takes too long to start
        assert id_of(await post(zero, places[1], order_key="k"))[:4] == "0001"
        assert [line["peer"] for line in one.lines if line["event"] == "peer.connected"] == [0]
        assert (tmp_path / "transaction.log" / "run").stat().st_mode & 0o777 == 0o700


def rules_for(to: FakeDestination, **says: object) -> Rules:
    """One rule, for this destination."""
    return Rules([Rule(Match.parse(to.authority), **says)])  # type: ignore[arg-type]


async def test_a_rule_bounds_attempts_of_all_processes_together(tmp_path: Path) -> None:
    """Plain messages, on kept-alive connections and in large bodies, meet in one partition at a
    destination that a rule bounds, as soon as it is in force and as long. So its limit is one."""
    async with destinations(COUNT) as places, node(tmp_path) as servers:
        to = places[1]

        async def partitions() -> set[str]:
            """Where messages lie that come to both processes."""
            bodies = (b"x", b"", b"z" * (2 * CHUNK_BYTES))
            sent = [post(server, to, body) for server in servers for body in bodies]
            return {id_of(answered)[:4] for answered in await asyncio.gather(*sent)}

        assert await partitions() == {"0000", "0001"}
        await to.received(6)
        for server in servers:
            server.server.prepare_rules(rules_for(to, timeout_ms=60_000))()
        assert await partitions() == {"0000", "0001"}
        await to.received(12)
        for server in servers:
            server.server.prepare_rules(rules_for(to, concurrency=1))()
        assert [await partitions() for _ in range(3)] == [{"0001"}] * 3
        assert await partitions() == {"0001"}
        await to.received(36)
        for server in servers:
            server.server.prepare_rules(Rules())()
        assert await partitions() == {"0000", "0001"}


async def test_answers_of_one_connection_keep_their_order_where_a_rule_bounds_some(
    tmp_path: Path,
) -> None:
    """A pipelined message that another process takes is answered in its place."""
    async with destinations(COUNT) as places, node(tmp_path) as servers:
        for server in servers:
            server.server.prepare_rules(rules_for(places[1], concurrency=1))()
        host, port = servers[0].ready["listen"][0].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for turn in range(30):
            to = places[turn % 2]
            head = f"POST /{turn} HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {to.authority}"
            writer.write(f"{head}\r\nContent-Length: 1\r\n\r\nx".encode())
        for turn in range(30):
            answered = await reader.readuntil(b"\r\n\r\n")
            assert answered.startswith(b"HTTP/1.1 202")
            assert b"Message-Id: %04x" % (turn % 2) in answered
        writer.close()

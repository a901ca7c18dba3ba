"""Connections to the API that somebody opens and does nothing with."""

from __future__ import annotations

import asyncio

from dispatcher.testing.api import ApiBench

KEY = {"Authorization": "Bearer right"}


async def test_operator_gets_through_when_strangers_open_many_connections() -> None:
    """They take no more descriptors than the API has, and nobody's place."""
    async with ApiBench((b"right",), max_connections=8) as api:
        strangers = [await asyncio.open_connection(*api.address) for _ in range(50)]
        status, _, _ = await api.ask("/v1/stats", headers=KEY)
        assert status == 200
        async with asyncio.timeout(60):
            ended = [await reader.read() for reader, _ in strangers[:40]]
        assert ended == [b""] * 40
        for _, writer in strangers:
            writer.close()


async def test_reader_that_takes_nothing_of_an_answer_is_cut_off() -> None:
    """Its answer would be kept for ever, and its connection with it."""
    async with ApiBench(max_connections=8) as api:
        api.render = lambda: "x" * 20_000_000
        now = 1000.0
        connections = api.server.connections
        connections._now = lambda: now
        _, writer = await asyncio.open_connection(*api.address, limit=1024)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        is_there = False
        async with asyncio.timeout(60):
            while len(connections) or not is_there:
                is_there = is_there or bool(len(connections))
                connections.look()
                now += 1 if is_there else 0
                await asyncio.sleep(0.01)
        writer.close()

"""Clients that ask over and over, and what is left for others."""

from __future__ import annotations

import asyncio
import time

import pytest

from dispatcher.api.entrance import Lines
from dispatcher.api.turns import Turns
from dispatcher.testing.api import ApiBench

KEY = {"Authorization": "Bearer right"}


async def ask(address: tuple[str, int], path: str) -> asyncio.StreamWriter:
    """Send a request without a key, and leave its answer unread."""
    _, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return writer


@pytest.mark.parametrize("path", ["/nothing", "/v1/messages/x"])
async def test_clients_that_ask_over_and_over_are_answered_in_turn(path: str) -> None:
    """Refusals too; a probe does not wait behind them."""
    answered = 0

    async def ask_on(address: tuple[str, int]) -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection(*address)
        while True:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await reader.readuntil(b"}")
            answered += 1

    async with ApiBench(lines=Lines(operators=Turns(20, 2))) as api:
        began = time.monotonic()
        clients = [asyncio.create_task(ask_on(api.address)) for _ in range(4)]
        async with asyncio.timeout(60):
            while answered < 10:  # noqa: ASYNC110  # a plain counter
                await asyncio.sleep(0.05)
        assert (await api.ask("/healthz"))[0] == 200
        most = 2 + 20 * (time.monotonic() - began)
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
    assert answered <= most + 1


@pytest.mark.parametrize("path", ["/v1/stats", "/dashboard/nothing", "/"])
async def test_operator_gets_in_while_strangers_fill_all_places(path: str) -> None:
    """They wait for turns of their own, and a request under way keeps nobody's place."""
    lines = Lines(strangers=Turns(0.01, 1))
    async with ApiBench((b"right",), max_connections=4, lines=lines) as api:
        strangers = [await ask(api.address, path) for _ in range(6)]
        async with asyncio.timeout(60):  # a stranger waits for 100 s
            for _ in range(8):
                assert (await api.ask("/v1/stats", headers=KEY))[0] == 200
            assert (await api.ask("/readyz"))[0] == 200
        for writer in strangers:
            writer.close()


async def test_strangers_that_hang_up_take_no_turns_and_leave_no_tasks() -> None:
    """However many they were: who comes after them is answered as if they had not been there."""
    async with ApiBench((b"right",), lines=Lines(strangers=Turns(2, 1))) as api:
        assert (await api.ask("/v1/stats"))[0] == 401
        before = len(asyncio.all_tasks())
        for _ in range(200):
            (await ask(api.address, "/v1/stats")).close()
        async with asyncio.timeout(60):  # the turns of 200 take 100 s
            assert (await api.ask("/v1/stats"))[0] == 401
        assert len(asyncio.all_tasks()) <= before

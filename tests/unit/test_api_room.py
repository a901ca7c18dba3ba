"""Room for bodies that are read whole: how much there is, and who gets it next."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from dispatcher.api.errors import ApiError
from dispatcher.api.room import BodyRoom
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run

KB = 1000
MOST = 100 * KB


def request(size: int, *, length: bool = True, coding: str = "") -> web.Request:
    """A request whose body is there; it has that size without its coding."""
    data = gzip.compress(bytes(size)) if coding == "gzip" else bytes(size)
    body = StreamReader(BaseProtocol(asyncio.get_running_loop()), limit=2**20)
    body.feed_data(data)
    body.feed_eof()
    headers = {"Content-Length": str(len(data))} if length else {"Transfer-Encoding": "chunked"}
    if coding:
        headers["Content-Encoding"] = coding
    return make_mocked_request("POST", "/", headers, payload=body)


def spawn(work: Coroutine[Any, Any, int]) -> asyncio.Task[int]:
    """Begin something."""
    return asyncio.get_running_loop().create_task(work)


async def read(room: BodyRoom, size: int, *, keep: asyncio.Event | None = None) -> int:
    """Read a body, and keep its room for a while; its size."""
    async with room.body(request(size), MOST) as body:
        if keep is not None:
            await keep.wait()
        return len(body)


@pytest.mark.parametrize(
    ("size", "length", "coding", "taken"),
    [
        (10 * KB, True, "", 0),
        (50 * KB, True, "", 50 * KB),
        (50 * KB, True, "identity", 50 * KB),
        (50 * KB, True, "gzip", MOST),
        (50 * KB, False, "", MOST),
        (10 * KB, False, "", 0),
        (10 * KB, True, "gzip", 0),
    ],
)
async def test_room_is_taken_for_what_a_body_may_need_and_given_back(
    size: int, length: bool, coding: str, taken: int
) -> None:
    """All that it may have at most where its length says nothing; none for a small one."""
    room = BodyRoom(300 * KB)
    async with room.body(request(size, length=length, coding=coding), MOST) as body:
        assert len(body) == size
        assert room.free_bytes == 300 * KB - taken
    assert room.free_bytes == 300 * KB


@pytest.mark.parametrize("length", [True, False])
async def test_body_is_refused_when_it_is_larger_than_it_may_be(length: bool) -> None:
    """By what it says, or by what comes; nothing stays taken."""
    room = BodyRoom(300 * KB)
    with pytest.raises(ApiError) as caught:
        async with room.body(request(MOST + 1, length=length), MOST):
            pass
    assert (caught.value.status, caught.value.slug) == (413, "body_too_large")
    assert room.free_bytes == 300 * KB


async def test_who_comes_when_there_is_no_room_waits_in_turn() -> None:
    """A small one behind a large one too, so that large ones are never passed over."""
    room = BodyRoom(100 * KB)
    keep = asyncio.Event()
    first = spawn(read(room, 90 * KB, keep=keep))
    await asyncio.sleep(0)
    large = spawn(read(room, 80 * KB))
    behind = spawn(read(room, 20 * KB))
    await asyncio.sleep(0.01)
    assert not large.done()
    assert not behind.done()
    keep.set()
    assert [await one for one in (first, large, behind)] == [90 * KB, 80 * KB, 20 * KB]
    assert room.free_bytes == 100 * KB


def test_who_waits_too_long_is_refused_and_those_behind_go_on() -> None:
    """With the time to ask again."""

    async def main(_: SimulatedClock) -> None:
        room = BodyRoom(100 * KB, patience_s=5)
        async with room.body(request(60 * KB), MOST):
            large = spawn(read(room, 80 * KB))
            await asyncio.sleep(4)
            behind = spawn(read(room, 30 * KB))
            await asyncio.sleep(0.5)
            assert not large.done()
            assert not behind.done()
            with pytest.raises(ApiError) as caught:
                await large
            assert (caught.value.status, caught.value.slug) == (503, "api_busy")
            assert caught.value.headers == {"Retry-After": "1"}
            assert await behind == 30 * KB
        assert room.free_bytes == 100 * KB

    run(main)


@pytest.mark.parametrize("has_turn", [False, True])
async def test_room_is_not_lost_when_who_waits_goes_away(has_turn: bool) -> None:
    """Also in the moment in which its turn comes."""
    room = BodyRoom(100 * KB)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(room.body(request(90 * KB), MOST))
        waiting = spawn(read(room, 90 * KB))
        await asyncio.sleep(0)
        if has_turn:
            await stack.aclose()
            assert room.free_bytes == 10 * KB
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
    assert room.free_bytes == 100 * KB

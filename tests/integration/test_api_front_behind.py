"""The API itself behind a front: whoever asks cannot tell that it is elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.testing.admin import letter, message, message_id
from dispatcher.testing.api import ApiBench
from tests.integration.fronted import FrontBench, Side, ToAddress

KEYS = Keyring([Key("alice", Role.ADMIN, b"right"), Key("grafana", Role.READ, b"reads")])


@pytest.fixture
async def api() -> AsyncIterator[ApiBench]:
    """The API with keys, a message and a dead letter."""
    async with ApiBench(KEYS, is_fronted=True) as bench:
        bench.admin.put(message(1))
        bench.admin.bury(letter(1001, body=bytes(range(256)) * 40_000))
        yield bench


@pytest.fixture
async def front(api: ApiBench) -> AsyncIterator[FrontBench]:
    """A front before it."""
    async with FrontBench(ToAddress(*api.address), KEYS) as bench:
        yield bench


def asks(method: str, path: str, *more: str, body: str = "", key: str = "right") -> bytes:
    """A request, the last one of its connection."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {key}",
        "Connection: close",
        *more,
        *([f"Content-Length: {len(body)}"] if body else []),
    ]
    return "\r\n".join([*lines, "", body]).encode()


LETTER = f"/v1/dead-letters/{message_id(1001)}"
JSON = "Content-Type: application/json"
ASKED = {
    "dashboard": asks("GET", "/"),
    "script": asks("GET", "/dashboard/main.js"),
    "unchanged": asks("GET", "/dashboard/main.js", "If-None-Match: *"),
    "description": asks("GET", "/openapi.json"),
    "stats": asks("GET", "/v1/stats"),
    "head": asks("HEAD", "/v1/stats"),
    "head of a letter": asks("HEAD", f"{LETTER}/body"),
    "body of a letter": asks("GET", f"{LETTER}/body"),
    "export": asks("GET", "/v1/export"),
    "unknown": asks("GET", f"/v1/messages/{message_id(7)}"),
    "nowhere": asks("GET", "/v1/nowhere"),
    "wrong parameter": asks("GET", "/v1/stats?x=1"),
    "wrong method": asks("PUT", "/v1/stats"),
    "wrong type": asks("POST", "/v1/dead-letters/purge", body="{}"),
    "wrong body": asks("POST", "/v1/dead-letters/purge", JSON, body="{"),
    "wrong expectation": asks("GET", "/v1/stats", "Expect: wonders"),
    "wrong key": asks("GET", "/v1/stats", key="wrong"),
    "weak key": asks("POST", "/v1/dead-letters/purge", JSON, body='{"all": true}', key="reads"),
    "hold": asks("POST", "/v1/destinations/http%3A%2F%2Fa/hold"),
    "procedure": asks("POST", "/dispatch.sdk.v1.DispatchService/Dispatch", JSON, body="{}"),
    "old": asks("GET", "/v1/stats").replace(b"HTTP/1.1", b"HTTP/1.0"),
}


async def answer_of(address: tuple[str, int], request: bytes) -> list[bytes]:
    """All lines of an answer, but for the one that says when it was made."""
    side = Side(*await asyncio.open_connection(*address))
    await side.send(request)
    answer = await side.rest()
    side.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Date: ")]
    return [lines[0], *sorted(lines[1:]), _joined(body) if b"chunked" in head else body]


def _joined(chunks: bytes) -> bytes:
    """A body that came in chunks."""
    found = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        found += rest[: int(size, 16)]
        chunks = rest[int(size, 16) + 2 :]
    return found


@pytest.mark.parametrize("name", ASKED)
async def test_answers_are_those_of_the_api_itself(
    api: ApiBench, front: FrontBench, name: str
) -> None:
    """Status, headers and body, also of what is refused."""
    request = ASKED[name]
    direct = await answer_of(api.address, request)
    assert direct[0].startswith(b"HTTP/1.")
    assert await answer_of(front.front.bound[0], request) == direct


async def test_events_are_heard_as_they_happen(api: ApiBench, front: FrontBench) -> None:
    """And nobody listens any more when the reader has gone."""
    side = await front.connect()
    await side.send(asks("GET", "/v1/events"))
    assert b"text/event-stream" in await side.upto(b"\r\n\r\n")
    await side.upto(b": listening\n\n\r\n")
    for number in range(3):
        api.admin.put(message(number + 10))
        assert message_id(number + 10).encode() in await side.upto(b"\n\n\r\n")
    side.close()
    async with asyncio.timeout(60):
        while len(api.server.connections) > 0 or api.admin.listeners:  # noqa: ASYNC110  # both end
            await asyncio.sleep(0.01)


async def test_audit_knows_the_address_of_the_caller(api: ApiBench, front: FrontBench) -> None:
    """Not that of the front, and not one that the caller makes up."""
    forged = asks("GET", "/v1/stats", "X-Dispatcher-Client: 192.0.2.1", key="wrong")
    assert (await answer_of(front.front.bound[0], forged))[0].startswith(b"HTTP/1.1 401")
    (entry,) = api.audit.entries
    assert entry.selection["address"] == "127.0.0.1"
    (line,) = [one for one in map(json.loads, api.lines) if "key_refused" in one["event"]]
    assert line["address"] == "127.0.0.1"


async def test_calls_of_one_caller_need_one_connection_to_the_api(
    api: ApiBench, front: FrontBench
) -> None:
    """It is used again, whatever was asked over it."""
    side = await front.connect()
    for number in range(20):
        path = "/v1/stats" if number % 2 else "/v1/nowhere"
        await side.send(asks("GET", path).replace(b"Connection: close\r\n", b""))
        head = await side.upto(b"\r\n\r\n")
        size = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
        await side.exactly(int(size.split()[1]))
    assert len(api.server.connections) == 1
    side.close()

"""The bridge of the Dispatch protocol over HTTP, as its clients speak it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from dispatcher.core.answer import Answer
from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.functions.bridge.sessions import Fetched
from dispatcher.testing.api import ApiBench
from dispatcher.testing.sessions import MemorySessions

KEYS = Keyring(
    [
        Key("shop", Role.DISPATCH, b"shop-key"),
        Key("bank", Role.DISPATCH, b"bank-key"),
        Key("grafana", Role.READ, b"read-key"),
        Key("alice", Role.ADMIN, b"admin-key"),
    ]
)
HEAD = b"POST /dispatch.sdk.v1.FunctionService/Run HTTP/1.1\r\nHost: s\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: 2\r\n\r\nok"
SHOP = {"Authorization": "Bearer shop-key"}
NAMES = {**SHOP, "X-Request-ID": "r1"}


def request(body: bytes = b"body", number: int = 1) -> Fetched:
    """A request with the id r1."""
    return Fetched(f"r{number}", HEAD, body)


class Served:
    """An API with sessions, and who asks it."""

    def __init__(self, api: ApiBench, sessions: MemorySessions) -> None:
        self.api = api
        self.sessions = sessions

    async def ask(
        self, method: str, headers: Mapping[str, str] = SHOP, body: Any = None, session: str = "s"
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer."""
        async with (
            aiohttp.ClientSession() as client,
            client.request(
                method, f"{self.api.url}/sessions/{session}", headers=headers, data=body
            ) as answer,
        ):
            return answer.status, answer.headers, await answer.read()

    async def until(self, done: Any) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(60):
            while not done():  # noqa: ASYNC110 - anything may be asked
                await asyncio.sleep(0.01)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """An API with keys."""
    sessions = MemorySessions()
    async with ApiBench(KEYS, sessions=sessions) as api:
        yield Served(api, sessions)


async def test_request_is_fetched_and_answered(served: Served) -> None:
    """Byte for byte; the answer in chunks, as the command line sends it."""
    polling = asyncio.ensure_future(served.ask("GET", {**SHOP, "Request-Timeout": "30"}))
    await served.until(lambda: served.sessions.polling)
    served.sessions.put("shop", "s", request())
    status, headers, body = await polling
    assert (status, headers["X-Request-Id"]) == (200, "r1")
    assert body == HEAD + b"body"
    assert headers["Content-Length"] == str(len(body))

    async def pieces() -> AsyncIterator[bytes]:
        yield RESPONSE[:30]
        yield RESPONSE[30:]

    assert (await served.ask("POST", NAMES, pieces()))[0] == 202
    ((number, came),) = served.sessions.answers
    assert isinstance(came, Answer)
    assert (number, came.status, came.content_type, came.body) == (
        "r1",
        200,
        b"application/proto",
        b"ok",
    )
    status, _, text = await served.ask("POST", NAMES, RESPONSE)
    assert (status, b"request_unknown" in text) == (404, True)


async def test_requests_and_responses_of_16_mb_pass(served: Served) -> None:
    """The largest that there are; more is told as such."""
    served.sessions.put("shop", "s", request(bytes(16_000_000)))
    _, _, body = await served.ask("GET")
    assert len(body) == len(HEAD) + 16_000_000
    head = b"HTTP/1.1 200 OK\r\n\r\n"

    async def pieces(size: int) -> AsyncIterator[bytes]:
        yield head
        yield bytes(size)

    assert (await served.ask("POST", NAMES, pieces(16_000_000)))[0] == 202
    served.sessions.out["r1"] = ("shop", "s")
    assert (await served.ask("POST", NAMES, pieces(16_000_001)))[0] == 202
    first, second = (came for _, came in served.sessions.answers)
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert (len(first.body), first.is_whole) == (16_000_000, True)
    assert (len(second.body), second.is_whole) == (0, False)
    assert (await served.ask("POST", NAMES, pieces(17_000_000)))[0] == 413


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [("0.1", 0.09), ("30", 28.0), ("3600", 58.0), (None, 28.0)],
)
async def test_poll_is_answered_a_little_before_its_time_is_over(
    served: Served, said: str | None, wait_s: float
) -> None:
    """504, and nothing has happened."""
    headers = SHOP if said is None else {**SHOP, "Request-Timeout": said}
    polling = asyncio.ensure_future(served.ask("GET", headers))
    await served.until(lambda: served.sessions.waits)
    assert served.sessions.waits == [pytest.approx(wait_s)]
    if wait_s < 1:
        status, _, text = await polling
        assert (status, b"nothing_to_do" in text) == (504, True)
    polling.cancel()


async def test_request_that_will_not_be_answered_is_given_up(served: Served) -> None:
    """200, then 404."""
    served.sessions.put("shop", "s", request())
    await served.ask("GET")
    assert (await served.ask("DELETE", NAMES))[0] == 200
    assert served.sessions.given_up == ["r1"]
    assert (await served.ask("DELETE", NAMES))[0] == 404


async def test_what_is_no_response_is_refused_and_told(served: Served) -> None:
    """The attempt has failed by then."""
    served.sessions.put("shop", "s", request())
    await served.ask("GET")
    status, _, text = await served.ask("POST", NAMES, b"<html>")
    assert (status, b"body_invalid" in text) == (400, True)
    ((number, came),) = served.sessions.answers
    assert (number, isinstance(came, str)) == ("r1", True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Authorization": "Bearer bank-key"}, 504),
        ({"Authorization": "Bearer admin-key"}, 504),
        ({"Authorization": "Bearer read-key"}, 403),
        ({"Authorization": "Bearer wrong"}, 401),
        ({}, 401),
    ],
)
async def test_session_is_its_applications(
    served: Served, headers: dict[str, str], expected: int
) -> None:
    """Another one with a session of that name has another one."""
    served.sessions.put("shop", "s", request())
    status, _, _ = await served.ask("GET", {**headers, "Request-Timeout": "0.1"})
    assert status == expected
    assert (await served.ask("GET"))[0] == 200
    for method in ("POST", "DELETE"):
        body = RESPONSE if method == "POST" else None
        status, _, _ = await served.ask(method, {**headers, "X-Request-ID": "r1"}, body)
        assert status == {504: 404}.get(expected, expected)
    assert (await served.ask("POST", NAMES, RESPONSE))[0] == 202


@pytest.mark.parametrize("size", [10, 8_000_000])
async def test_who_hangs_up_before_it_has_the_request_has_not_fetched_it(
    served: Served, size: int
) -> None:
    """Neither while it waits, nor in the middle of a large one."""
    host, port = served.api.address
    ask = b"GET /sessions/s HTTP/1.1\r\nHost: %b\r\nAuthorization: Bearer shop-key\r\n\r\n"
    with socket.create_connection((host, port)) as client:
        client.sendall(ask % host.encode())
        await served.until(lambda: served.sessions.polling)
        if size > 10:
            served.sessions.put("shop", "s", request(bytes(size)))
            await served.until(lambda: served.sessions.out)
            await asyncio.sleep(0.1)
    await served.until(lambda: not served.sessions.polling)
    if size > 10:
        await served.until(lambda: served.sessions.given_back == ["r1"])
    else:
        served.sessions.put("shop", "s", request(bytes(size)))
        assert (await served.ask("GET"))[0] == 200


async def test_what_is_wrong_about_a_call_is_named(served: Served) -> None:
    """The name of a session, the time to wait, the request that is meant."""
    for method, headers, session, slug in (
        ("GET", SHOP, "a%20b", b"name_invalid"),
        ("GET", {**SHOP, "Request-Timeout": "soon"}, "s", b"parameter_invalid"),
        ("POST", SHOP, "s", b"parameter_invalid"),
        ("DELETE", SHOP, "s", b"parameter_invalid"),
    ):
        body = RESPONSE if method == "POST" else None
        status, _, text = await served.ask(method, headers, body, session)
        assert (status, slug in text) == (400, True), text


async def test_half_of_the_connections_may_wait_for_requests() -> None:
    """The others are for those who want to do something."""
    sessions = MemorySessions()
    async with ApiBench(KEYS, max_connections=4, sessions=sessions) as api:
        served = Served(api, sessions)
        polling = [asyncio.ensure_future(served.ask("GET")) for _ in range(2)]
        await served.until(lambda: sessions.polling == 2)
        status, headers, text = await served.ask("GET")
        assert (status, b"too_many_polls" in text) == (503, True)
        assert headers["Retry-After"] == "10"
        for one in polling:
            one.cancel()
        await served.until(lambda: not sessions.polling)
        assert (await served.ask("GET", {**SHOP, "Request-Timeout": "0.1"}))[0] == 504


async def test_who_waits_is_let_go_when_the_server_stops() -> None:
    """At once."""
    sessions = MemorySessions()
    async with ApiBench(KEYS, sessions=sessions) as api:
        served = Served(api, sessions)
        polling = asyncio.ensure_future(served.ask("GET"))
        await served.until(lambda: sessions.polling)
        async with asyncio.timeout(60):
            await api.server.stop()
            assert (await polling)[0] == 504


async def test_head_fetches_nothing(served: Served) -> None:
    """It only looks."""
    served.sessions.put("shop", "s", request())
    assert (await served.ask("HEAD"))[0] == 200
    assert not served.sessions.out

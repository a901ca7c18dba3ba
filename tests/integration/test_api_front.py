"""The listener of a node whose API may be elsewhere: what it answers itself, and what it passes on.

Who has the API is played here by a script that sees every byte.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import pytest
import trustme

from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.listening.certificate import read_certificate
from dispatcher.listening.tls import Secured
from tests.integration.fronted import FrontBench, Scripted, Side, ToNobody, eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def asks(path: str, method: str = "GET", *more: str) -> bytes:
    """A request, the last one of its connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *more, "", ""]
    return "\r\n".join(lines).encode()


def parts(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    return int(first.split(" ")[1]), fields, body


async def test_node_answers_for_itself_whoever_has_the_api() -> None:
    """Whether it lives, whether it takes messages, and its own metrics."""
    async with FrontBench(ToNobody()) as bench:
        status, _, body = parts(await bench.ask(asks("/healthz")))
        assert (status, json.loads(body)) == (200, {"status": "alive"})
        assert parts(await bench.ask(asks("/readyz")))[0] == 200
        status, fields, body = parts(await bench.ask(asks("/metrics")))
        assert (status, body) == (200, b"own 1\n")
        assert fields["Content-Type"].startswith("text/plain")
        status, fields, body = parts(await bench.ask(asks("/metrics", "HEAD")))
        assert (status, fields["Content-Length"], body) == (200, "6", b"")
        bench.reason = "log_late"
        status, _, body = parts(await bench.ask(asks("/readyz")))
        assert (status, json.loads(body)["error"]) == (503, "log_late")
        assert parts(await bench.ask(asks("/healthz")))[0] == 200
        assert parts(await bench.ask(asks("/metrics", "POST")))[0] == 405


async def test_metrics_need_a_key_that_may_read_and_health_needs_none() -> None:
    """As of the API itself; who was refused is told in the log."""
    keys = Keyring((Key("prometheus", Role.READ, b"reads"), Key("app", Role.DISPATCH, b"sends")))
    async with FrontBench(ToNobody(), keys) as bench:

        async def status(path: str, *more: str) -> int:
            return parts(await bench.ask(asks(path, "GET", *more)))[0]

        assert await status("/healthz") == await status("/readyz") == 200
        assert await status("/metrics") == 401
        assert await status("/metrics", "Authorization: Bearer wrong") == 401
        assert await status("/metrics", "Authorization: Bearer sends") == 403
        assert await status("/metrics", "Authorization: Bearer reads") == 200
        assert sum("key_invalid" in line for line in bench.lines) == 2
        bench.front.replace_keys([Key("prometheus", Role.READ, b"other")])
        assert await status("/metrics", "Authorization: Bearer reads") == 401
        assert await status("/metrics", "Authorization: Bearer other") == 200


async def test_pages_of_other_sites_get_no_metrics_where_there_are_no_keys() -> None:
    """As of the API itself."""
    async with FrontBench(ToNobody()) as bench:
        status, _, body = parts(await bench.ask(asks("/metrics", "GET", "Origin: http://evil")))
        assert (status, json.loads(body)["error"]) == (403, "origin_refused")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_api_that_nobody_has_is_said_to_be_moving(method: str) -> None:
    """With a second to wait; nothing was done, whatever was asked for."""
    async with FrontBench(ToNobody()) as bench:
        status, fields, body = parts(await bench.ask(asks("/v1/stats", method)))
        assert (status, fields["Retry-After"], json.loads(body)["error"]) == (503, "1", "moved")
        path = "/dispatch.sdk.v1.DispatchService/Dispatch"
        status, fields, body = parts(await bench.ask(asks(path, method)))
        assert (status, json.loads(body)["code"]) == (503, "unavailable")


async def test_request_is_passed_on_byte_for_byte() -> None:
    """Target, order, spelling and bytes of headers. What belongs to the connection is not passed
    on; the address of the caller is added, and nobody else says it."""
    heads: list[bytes] = []

    async def script(side: Side) -> None:
        heads.append(await side.upto(b"\r\n\r\n"))
        await side.send(OK)
        await side.rest()

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        await bench.ask(
            b"DELETE /v1/x%2fy/../z?b=%20&a=%c3%A9#x HTTP/1.1\r\nhOsT: localhost\r\nx-b: 1\r\n"
            b"X-A: \xff\xfe\r\nx-B:  2 \r\nConnection: close\r\nKeep-Alive: timeout=5\r\n"
            b"X-Dispatcher-Client: 10.0.0.1\r\n\r\n"
        )
    assert heads == [
        b"DELETE /v1/x%2fy/../z?b=%20&a=%c3%A9#x HTTP/1.1\r\nhOsT: localhost\r\nx-b: 1\r\n"
        b"X-A: \xff\xfe\r\nx-B: 2\r\nX-Dispatcher-Client: 127.0.0.1\r\n\r\n"
    ]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
async def test_bodies_are_passed_on_whole(is_chunked: bool) -> None:
    """With the length that the caller said, or in chunks."""
    found: list[bytes] = []
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 10"

    async def script(side: Side) -> None:
        found.append(await side.upto(b"\r\n\r\n"))
        found.append(await (side.upto(b"0\r\n\r\n") if is_chunked else side.exactly(10)))
        await side.send(OK)
        await side.rest()

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        side = await bench.connect()
        await side.send(b"POST /v1/import HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % framing)
        await side.send(b"4\r\n\r\n\r\n\r\n" if is_chunked else b"\r\n\r\n")
        await eventually(lambda: len(found) == 1)
        await side.send(b"6;x=y\r\nabcdef\r\n0\r\n\r\n" if is_chunked else b"abcdef")
        assert b"200 OK" in await side.upto(b"ok")
        side.close()
    assert framing in found[0]
    if is_chunked:
        assert found[1] == b"4\r\n\r\n\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n"
    else:
        assert found[1] == b"\r\n\r\nabcdef"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na\r\n",
        b"HTTP/1.1 418 I'm a Teapot!\r\nx-A: 1\r\nX-a:  two words\r\nDate: yesterday\r\n"
        b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nETag: W/\"x\"\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nDate: today\r\nServer: me\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Name: caf\xc3\xa9\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n",
    ],
)  # fmt: skip
async def test_answer_is_passed_on_byte_for_byte(answer: bytes) -> None:
    """Status, its words, headers in their order and spelling, and the body; none is added."""

    async def script(side: Side) -> None:
        await side.upto(b"\r\n\r\n")
        await side.send(answer)
        await side.rest()

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        side = await bench.connect()
        await side.send(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        expected = answer.replace(b":  ", b": ")
        assert await side.exactly(len(expected)) == expected
        side.close()


async def test_head_has_the_length_and_no_body() -> None:
    """And the connection serves the next request."""
    methods: list[bytes] = []

    async def script(side: Side) -> None:
        while head := await side.upto(b"\r\n\r\n"):
            methods.append(head.split()[0])
            body = b"" if methods[-1] == b"HEAD" else b"12345"
            await side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        side = await bench.connect()
        for method in (b"HEAD", b"GET", b"HEAD"):
            await side.send(b"%b /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n" % method)
            assert b"Content-Length: 5" in await side.upto(b"\r\n\r\n")
            if method == b"GET":
                assert await side.exactly(5) == b"12345"
        side.close()
        assert upstream.connections == 1
    assert methods == [b"HEAD", b"GET", b"HEAD"]


async def test_events_come_through_as_they_are_sent() -> None:
    """Each on its own: nothing waits for more of it, or for the end."""

    async def script(side: Side) -> None:
        await side.upto(b"\r\n\r\n")
        await side.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(3):
            await side.send(b"7\r\ndata: 1\r\n")
            await heard.acquire()
        await side.rest()

    heard = asyncio.Semaphore(0)
    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        side = await bench.connect()
        await side.send(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await side.upto(b"\r\n\r\n")
        for _ in range(3):
            assert await side.exactly(12) == b"7\r\ndata: 1\r\n"
            heard.release()
        side.close()
        await eventually(lambda: upstream.ended == 1)


async def test_caller_that_goes_away_ends_its_request_behind_the_front() -> None:
    """Before an answer, in the middle of one, and in the middle of its own body."""

    async def script(side: Side) -> None:
        head = await side.upto(b"\r\n\r\n")
        came.release()
        if b"/begins" in head:
            await side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
        await side.rest()

    came = asyncio.Semaphore(0)
    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        for number, request in enumerate(
            (
                b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
                b"GET /begins HTTP/1.1\r\nHost: localhost\r\n\r\n",
                b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf",
            ),
            1,
        ):
            side = await bench.connect()
            await side.send(request)
            await came.acquire()
            side.close()
            await eventually(lambda number=number: upstream.ended == number)  # type: ignore[misc]


async def test_large_answer_goes_at_the_pace_of_its_reader() -> None:
    """Of 64 MiB no more than a few are on their way to who does not read; then all of them come."""
    size = 64 << 20
    sent = 0

    async def script(side: Side) -> None:
        nonlocal sent
        await side.upto(b"\r\n\r\n")
        await side.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            await side.send(piece)
            sent += len(piece)
        await side.rest()

    piece = bytes(range(256)) * 1024
    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        side = await bench.connect(limit=4096)
        await side.send(b"GET /v1/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await side.upto(b"\r\n\r\n")
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < size // 2
        left = size
        while left:
            found = await side.exactly(min(left, len(piece)))
            assert found == piece
            left -= len(found)
        side.close()


async def test_large_body_goes_at_the_pace_of_who_has_the_api() -> None:
    """Of 64 MiB no more than a few are taken from the caller; then all of them come."""
    size = 64 << 20
    sent = 0
    goes_on = asyncio.Event()

    async def script(side: Side) -> None:
        await side.upto(b"\r\n\r\n")
        await goes_on.wait()
        for _ in range(size // len(piece)):
            assert await side.exactly(len(piece)) == piece
        await side.send(OK)
        await side.rest()

    async def upload(side: Side) -> None:
        nonlocal sent
        await side.send(
            b"POST /v1/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
        )
        while sent < size:
            await side.send(piece)
            sent += len(piece)

    piece = bytes(range(256)) * 1024
    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        side = await bench.connect()
        uploading = asyncio.ensure_future(upload(side))
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < size // 2
        goes_on.set()
        await uploading
        assert b"200 OK" in await side.upto(b"ok")
        side.close()


async def test_callers_speak_tls_where_the_api_does(tmp_path: Path) -> None:
    """What is answered here and what is passed on; who speaks plainly is told so."""
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    made.private_key_pem.write_to_path(str(tmp_path / "key"))
    tls = Secured(read_certificate("API", tmp_path / "cert", tmp_path / "key"))
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def script(side: Side) -> None:
        await side.upto(b"\r\n\r\n")
        await side.send(OK)
        await side.rest()

    async with Scripted(script) as upstream, FrontBench(upstream, tls=tls) as bench:
        for path, end in (("/healthz", b'"alive"}\n'), ("/v1/x", b"ok")):
            reader, writer = await asyncio.open_connection(
                *bench.front.bound[0], ssl=context, server_hostname="localhost"
            )
            side = Side(reader, writer)
            await side.send(asks(path))
            assert (await side.upto(end)).startswith(b"HTTP/1.1 200 OK")
            side.close()
        assert b"tls_expected" in await bench.ask(asks("/healthz"))
        assert tls.failed["plain"] == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_api_that_goes_before_its_answer_is_said_to_be_moving(method: str) -> None:
    """To who only looks: it may ask again."""

    async def script(side: Side) -> None:
        await side.upto(b"\r\n\r\n")

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        status, fields, _ = parts(await bench.ask(asks("/v1/stats", method)))
        assert (status, fields["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 20"])
async def test_who_wanted_a_change_gets_no_answer_when_the_api_goes_before_it(begun: bytes) -> None:
    """Whether it was done nobody knows: its connection is cut."""

    async def script(side: Side) -> None:
        await side.upto(b"\r\n\r\n")
        await side.send(begun)

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        assert await bench.ask(asks("/v1/dead-letters/purge", "POST")) == b""
        assert upstream.connections == 1, "it is not asked for twice"


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n",
    ],
)
async def test_answer_that_breaks_off_is_cut(begun: bytes) -> None:
    """Nobody takes a part of it for the whole: the end of chunks is never made up."""

    async def script(side: Side) -> None:
        await side.upto(b"\r\n\r\n")
        await side.send(begun)

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        side = await bench.connect()
        await side.send(b"GET /v1/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
        found = await side.rest()
        assert b"200 OK" in found
        assert not found.endswith(b"0\r\n\r\n")


async def test_answer_that_comes_before_the_body_was_sent_is_passed_on() -> None:
    """A refusal does not wait for a body that nobody wants."""

    async def script(side: Side) -> None:
        await side.upto(b"\r\n\r\n")
        await side.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await side.rest()

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        side = await bench.connect()
        await side.send(
            b"POST /v1/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"
        )
        found = await side.upto(b"\r\n\r\nno")
        assert found.startswith(b"HTTP/1.1 413 Too Large\r\n")
        await eventually(lambda: upstream.ended == 1)
        await side.send(b"12345678GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await side.upto(b"\r\n\r\nno") == found, "the connection goes on behind the body"
        side.close()


async def test_body_that_is_waited_with_is_asked_for_by_who_has_the_api() -> None:
    """The front does not promise in its place that it will be taken."""
    asked = asyncio.Event()

    async def script(side: Side) -> None:
        assert b"Expect: 100-continue\r\n" in await side.upto(b"\r\n\r\n")
        await asked.wait()
        await side.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await side.exactly(4) == b"body"
        await side.send(OK)
        await side.rest()

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        side = await bench.connect()
        await side.send(
            b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Length: 4\r\n\r\n"
        )
        await eventually(lambda: upstream.connections == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await side.reader.read(1)
        asked.set()
        assert await side.upto(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await side.send(b"body")
        assert b"200 OK" in await side.upto(b"ok")
        side.close()


async def test_connection_that_was_closed_meanwhile_is_made_anew() -> None:
    """Who only looks does not hear of it."""

    async def script(side: Side) -> None:
        await side.upto(b"\r\n\r\n")
        await side.send(OK)
        await side.upto(b"\r\n\r\n")  # and goes as the next one comes

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        for _ in range(4):
            assert (await bench.ask(asks("/v1/x"))).endswith(b"ok")
        assert upstream.connections == 4


async def test_callers_that_come_at_once_do_not_wait_for_each_other() -> None:
    """Each has a connection of its own behind the front."""
    together = asyncio.Barrier(8)

    async def script(side: Side) -> None:
        await side.upto(b"\r\n\r\n")
        await together.wait()
        await side.send(OK)
        await side.rest()

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        answers = await asyncio.gather(*(bench.ask(asks("/v1/x")) for _ in range(8)))
        assert all(answer.endswith(b"ok") for answer in answers)


async def test_stop_ends_what_is_passed_on() -> None:
    """A stream that never ends is no reason to wait."""

    async def script(side: Side) -> None:
        await side.upto(b"\r\n\r\n")
        await side.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await side.rest()

    async with Scripted(script) as upstream:
        async with FrontBench(upstream) as bench:
            side = await bench.connect()
            await side.send(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await side.upto(b"\r\n\r\n")
            async with asyncio.timeout(30):
                await bench.front.stop()
            assert await side.rest() == b""
        await eventually(lambda: upstream.ended == 1)


async def test_connections_of_strangers_make_room_for_who_shows_a_key() -> None:
    """What it asks for is passed on; that its key is right is seen here too."""
    keys = Keyring((Key("ops", Role.ADMIN, b"right"),))

    async def script(side: Side) -> None:
        while await side.upto(b"\r\n\r\n"):
            await side.send(OK)

    async with Scripted(script) as upstream, FrontBench(upstream, keys, max_connections=4) as bench:
        known = await bench.connect()
        await known.send(
            b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right\r\n\r\n"
        )
        await known.upto(b"ok")
        strangers = [await bench.connect() for _ in range(20)]
        assert [await one.rest() for one in strangers[:15]] == [b""] * 15
        await known.send(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await known.upto(b"ok")
        for one in (known, *strangers):
            one.close()


@pytest.mark.parametrize(
    ("request_", "slug"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "request_invalid"),
        (b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 9000), "head_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "tls_unexpected"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         "request_invalid"),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_refused_and_not_passed_on(request_: bytes, slug: str) -> None:
    """In the words of the API; what could mean two requests means none."""

    async def script(side: Side) -> None:
        raise AssertionError("nobody asks")

    async with Scripted(script) as upstream, FrontBench(upstream) as bench:
        _, _, body = parts(await bench.ask(request_))
        assert json.loads(body)["error"] == slug
        assert upstream.connections == 0

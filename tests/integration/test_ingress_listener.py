"""The real listener on uvloop and loopback: what only shows with sockets."""

from __future__ import annotations

import asyncio
import functools
import http.client
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import ParamSpec

import aiohttp
import pytest
import uvloop

from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.errors import ConfigError, PortTaken, Refusal
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.listener import Listener
from dispatcher.testing.ingress import MemoryAcceptor

CONFIG = IngressConfig("127.0.0.1", 0)
STOPPING = Refusal(503, "shutting_down", "Later.", retry_after_s=3)
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b\r\n"
DEADLINE_S = 60.0
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Ready:
    status: int = 200
    body: bytes = b'{"status": "ok"}'


def on_uvloop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Run a test on the loop that the server has, and not for ever."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def within_deadline() -> None:
            await asyncio.wait_for(test(*args, **kwargs), DEADLINE_S * 2)

        uvloop.run(within_deadline())

    return run


@asynccontextmanager
async def listening(
    config: IngressConfig = CONFIG, queue: MemoryAcceptor | None = None
) -> AsyncIterator[tuple[Listener, MemoryAcceptor, int]]:
    """A listener, the queue behind it, and its port."""
    queue = MemoryAcceptor() if queue is None else queue
    listener = Listener(queue, config, Ready)
    await listener.start()
    try:
        yield listener, queue, listener.bound[0][1]
    finally:
        await listener.close()
        assert listener.open_connections == 0
        queue.settle()
        assert listener.held_bytes == 0


class Caller:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @staticmethod
    async def connect(port: int) -> Caller:
        return Caller(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0.002 if len(pieces) > 1 else 0)

    async def answer(self) -> bytes:
        """The head of the next answer; its body is read and dropped."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length or 0))
        return head

    async def status(self) -> int:
        return int((await self.answer()).split(b" ")[1])

    async def rest(self) -> bytes:
        """Everything until the listener closes."""
        return await asyncio.wait_for(self._reader.read(), DEADLINE_S)

    def end_sending(self) -> None:
        self._writer.write_eof()

    def reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens on the other side of a socket."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # it looks at plain counters
            await asyncio.sleep(0.005)


@on_uvloop
async def test_request_is_accepted_and_the_connection_kept() -> None:
    """202 with the id, many times over one connection."""
    async with listening() as (_, queue, port):
        caller = await Caller.connect(port)
        for number in range(1, 4):
            await caller.send(POST + b"Content-Length: 3\r\n\r\nabc")
            answer = await caller.answer()
            assert answer.startswith(b"HTTP/1.1 202 Accepted\r\n")
            assert b"\r\nX-Dispatcher-Message-Id: %028x\r\n" % number in answer
            assert b"\r\nDate: " in answer
        assert queue.bodies == [b"abc"] * 3


SMUGGLING = {
    "both framings": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, other order": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two equal lengths": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "list of lengths": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "signed length": POST + b"Content-Length: +3\r\n\r\nabc",
    "bad chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "chunk too long": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "chunk with LF": POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "coding in 1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "blank before colon": POST + b"Content-Length : 3\r\n\r\nabc",
    "NUL in a value": POST + b"X: a\0b\r\n\r\n",
    "NUL in a name": POST + b"X\0: a\r\n\r\n",
    "CR in a value": POST + b"X: a\rb\r\n\r\n",
    "LF line ends": POST.replace(b"\r\n", b"\n") + b"\n",
    "one LF line end": POST + b"X: y\nZ: z\r\n\r\n",
    "LF at the end": POST + b"X: y\r\n\n",
    "folded header": POST + b"X: y\r\n z\r\n\r\n",
    "folded first header": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "no host": POST.replace(b"Host: a\r\n", b"", 1) + b"\r\n",
    "two hosts": POST + b"Host: a\r\n\r\n",
    "8-bit target": POST.replace(b"/x", b"/\xc3\xa4") + b"\r\n",
    "blank in target": POST.replace(b"/x", b"/x y") + b"\r\n",
}


@pytest.mark.parametrize("raw", SMUGGLING.values(), ids=SMUGGLING.keys())
@on_uvloop
async def test_smuggling_shape_is_400_and_closes(raw: bytes) -> None:
    """What two readers could read in two ways is refused, and nothing after it is read."""
    async with listening() as (listener, queue, port):
        caller = await Caller.connect(port)
        await caller.send(raw + POST + b"\r\n")
        answer = await caller.rest()
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.count(b"\r\nDate: ") == 1
        assert queue.messages == []
        assert sum(listener.refused.values()) == 1
        other = await Caller.connect(port)
        await other.send(POST + b"\r\n")
        assert await other.status() == 202
        caller.reset()  # else the listener, when it closes, waits for it to end


@on_uvloop
async def test_pipelined_requests_are_answered_in_order() -> None:
    """Hundreds in one write, accepted and refused ones mixed."""
    async with listening() as (_, queue, port):
        caller = await Caller.connect(port)
        good, bad = POST + b"\r\n", POST + b"X-Dispatcher-Timeout: 0\r\n\r\n"
        await caller.send((good + bad + good) * 200)
        assert [await caller.status() for _ in range(600)] == [202, 400, 202] * 200
        assert len(queue.messages) == 400


@on_uvloop
async def test_caller_that_closed_its_sending_side_gets_all_its_answers() -> None:
    """However many requests it sent before: they take turns, and the end of its input waits."""
    async with listening() as (listener, queue, port):
        caller = await Caller.connect(port)
        flood = b"GET / HTTP/1.1\r\nHost:a\r\n\r\n" * 9000 + POST + b"\r\n"
        sending = asyncio.ensure_future(caller.send(flood))
        await asyncio.sleep(0)
        caller.end_sending()
        answers = await caller.rest()
        await sending
        assert answers.count(b"HTTP/1.1 405 ") == 9000
        assert answers.count(b"HTTP/1.1 202 ") == 1
        assert answers.rpartition(b"HTTP/1.1 ")[2].startswith(b"202 ")
        assert listener.refused == {"origin_missing": 9000}
        assert len(queue.messages) == 1


@pytest.mark.parametrize(
    "flood",
    [
        b"GET / HTTP/1.1\r\nHost:a\r\n\r\n" * 9000,
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 42_000,
    ],
    ids=["requests", "chunks"],
)
@on_uvloop
async def test_others_are_served_while_one_caller_sends_much_that_is_small(flood: bytes) -> None:
    """What one read brings is taken in turns: another caller gets many answers meanwhile."""
    async with listening() as (listener, _, port):
        loud, other = await Caller.connect(port), await Caller.connect(port)
        await loud.send(flood)
        await until(lambda: bool(listener.refused or listener.held_bytes))
        answered = 0
        refused, held = sum(listener.refused.values()), listener.held_bytes
        while True:
            await other.send(POST + b"\r\n")
            assert await other.status() == 202
            before = refused, held
            refused, held = sum(listener.refused.values()), listener.held_bytes
            if (refused, held) == before:
                break
            answered += 1
        assert answered >= 3
        loud.reset()


@on_uvloop
async def test_caller_that_closed_its_sending_side_gets_its_answer() -> None:
    """A half-closed connection is answered, then closed."""
    async with listening(queue=MemoryAcceptor(at_once=False)) as (_, queue, port):
        caller = await Caller.connect(port)
        await caller.send(POST + b"Content-Length: 3\r\n\r\nabc")
        caller.end_sending()
        await asyncio.sleep(0.05)
        queue.settle()
        assert (await caller.rest()).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize("how", ["end", "reset"])
@on_uvloop
async def test_half_a_request_is_nothing(how: str) -> None:
    """A caller that goes away in the middle of a large body leaves no message."""
    async with listening() as (listener, queue, port):
        caller = await Caller.connect(port)
        await caller.send(POST + b"Content-Length: 600001\r\n\r\n" + b"x" * 600_000)
        await until(lambda: bool(queue.uploads and len(queue.uploads[0].chunks) == 2))
        if how == "end":
            caller.end_sending()
            assert await caller.rest() == b""
        else:
            caller.reset()
        await until(lambda: not listener.open_connections)
        assert queue.messages == []
        assert queue.uploads[0].is_aborted


@on_uvloop
async def test_caller_sees_the_refusal_although_it_keeps_sending() -> None:
    """413 is answered at once; the body that nobody wants is drained, so that no reset hides it."""
    async with listening(replace(CONFIG, max_body=1000)) as (_, _queue, port):

        def send_all_then_read() -> int:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
            headers = {"X-Dispatcher-Origin-Host": "b"}
            client.request("POST", "/", body=b"x" * 16_000_000, headers=headers)
            status = client.getresponse().status
            client.close()
            return status

        assert await asyncio.to_thread(send_all_then_read) == 413


@on_uvloop
async def test_large_bodies_are_streamed_side_by_side() -> None:
    """Many at once arrive whole, and none has more than two chunks waiting."""
    body = bytes(range(256)) * 8192
    async with listening() as (_, queue, port):
        callers = [await Caller.connect(port) for _ in range(8)]
        request = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
        await asyncio.gather(*(caller.send(request) for caller in callers))
        assert [await caller.status() for caller in callers] == [202] * 8
        assert queue.bodies == [body] * 8
        assert max(upload.peak_unstored_bytes for upload in queue.uploads) <= 512 * 1024


@on_uvloop
async def test_common_client_is_understood() -> None:
    """Chunked with Expect, compressed, empty, HEAD and OPTIONS, as a real client sends them."""
    async with listening() as (_, queue, port), aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/a%2Fb?c=d"
        headers = {"X-Dispatcher-Origin-Host": "b:81/base", "Accept": "application/json"}

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"part" * 2000

        async with session.post(url, data=parts(), headers=headers, expect100=True) as answer:
            assert answer.status == 202
            assert (await answer.json())["id"] == answer.headers["X-Dispatcher-Message-Id"]
        for method in ("GET", "HEAD", "OPTIONS", "DELETE"):
            async with session.request(method, url, headers=headers) as answer:
                assert answer.status == 202
        async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            assert await answer.json() == {"status": "ok"}
        assert queue.bodies[0] == b"part" * 200_000
        assert b"\r\nContent-Length: 800000\r\n" in queue.messages[0].head
        assert queue.messages[1].head.startswith(b"GET /base/a%2Fb?c=d HTTP/1.1\r\nHost: b:81\r\n")


@on_uvloop
async def test_slow_head_is_408_on_the_clock() -> None:
    """The sweep finds it, and not before its time is over."""
    async with listening(replace(CONFIG, head_timeout_s=0.5)) as (_, _queue, port):
        started_s = asyncio.get_running_loop().time()
        caller = await Caller.connect(port)
        await caller.send(b"POST / HT")
        assert (await caller.rest()).startswith(b"HTTP/1.1 408 ")
        assert asyncio.get_running_loop().time() - started_s >= 0.5


@on_uvloop
async def test_idle_connections_are_closed() -> None:
    """Without an answer: the caller may not have asked anything."""
    async with listening(replace(CONFIG, idle_timeout_s=0.1)) as (_, _queue, port):
        caller = await Caller.connect(port)
        assert await caller.rest() == b""


@on_uvloop
async def test_stopping_frees_the_address_and_finishes_what_is_under_way() -> None:
    """Idle connections close, new ones are refused, the one under way gets its 202 and the end."""
    async with listening(queue=MemoryAcceptor(at_once=False)) as (listener, queue, port):
        idle, waiting, late = [await Caller.connect(port) for _ in range(3)]
        await waiting.send(POST + b"\r\n")
        await late.send(POST)
        await until(lambda: bool(queue.messages))
        await asyncio.sleep(0.02)
        queue.refusing = STOPPING
        listener.stop_accepting()
        listener.stop_accepting()
        assert await idle.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await Caller.connect(port)
        queue.settle()
        answer = await waiting.rest()
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert b"\r\nConnection: close\r\n" in answer
        await late.send(b"\r\n")
        answer = await late.rest()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"shutting_down" in answer
        assert listener.refused == {"shutting_down": 1}


@on_uvloop
async def test_receipts_after_closing_are_harmless() -> None:
    """The queue may still settle what was accepted before the connections were closed."""
    async with listening(queue=MemoryAcceptor(at_once=False)) as (listener, queue, port):
        callers = [await Caller.connect(port) for _ in range(4)]
        for caller, line in zip(callers, (b"", b"", b"Connection: close\r\n", b""), strict=True):
            await caller.send((POST + line + b"\r\n") * 2)
        await until(lambda: len(queue.messages) == 7)
        callers[0].reset()
        await asyncio.sleep(0.01)
        closing = asyncio.ensure_future(listener.close())
        await asyncio.sleep(0)
        queue.settle(5)
        await closing
        queue.settle()
        await listener.close()


@on_uvloop
async def test_taken_port_is_named() -> None:
    """The error says which address, and what to do about it."""
    async with listening() as (_, queue, port):
        other = Listener(queue, replace(CONFIG, port=port), Ready)
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port}.*LISTEN"):
            await other.start()
        assert other.bound == []
        await other.close()


@on_uvloop
async def test_taken_port_of_the_proxy_is_named() -> None:
    """With its own setting; the other listener does not open then."""
    async with listening() as (_, queue, port):
        other = Listener(queue, replace(CONFIG, proxy=("127.0.0.1", port)), Ready)
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port}.*PROXY_LISTEN"):
            await other.start()
        assert (other.bound, other.proxy_bound) == ([], [])
        await other.close()


@on_uvloop
async def test_proxy_shares_counts_keys_and_stop_with_the_listener() -> None:
    """It is the same listener with a second door."""
    config = replace(CONFIG, proxy=("127.0.0.1", 0), keys=Keyring.of_secrets(b"old"))
    async with listening(config) as (listener, queue, port):
        ((_, proxy_port),) = listener.proxy_bound
        assert proxy_port != port
        caller = await Caller.connect(proxy_port)
        other = await Caller.connect(port)
        await until(lambda: listener.open_connections == 2)
        request = b"POST http://b/x HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Key: %b\r\n\r\n"
        await caller.send(request % b"old")
        assert await caller.status() == 202
        assert str(queue.messages[0].destination) == "http://b"
        listener.replace_keys([Key("k", Role.ADMIN, b"new")])
        await caller.send(request % b"old")
        assert await caller.status() == 407
        assert listener.refused == {"key_invalid": 1}
        idle = await Caller.connect(proxy_port)
        await until(lambda: listener.open_connections == 3)
        listener.announce_stop()
        await caller.send(request % b"new")
        assert b"Connection: close\r\n" in await caller.answer()
        listener.stop_accepting()
        assert (await idle.rest(), await other.rest()) == (b"", b"")
        with pytest.raises(OSError, match="refused"):
            await Caller.connect(proxy_port)


@on_uvloop
async def test_unknown_host_and_foreign_address_are_named() -> None:
    """A name that is nobody's, and an address that is not this machine's."""
    with pytest.raises(ConfigError, match="LISTEN"):
        await Listener(MemoryAcceptor(), replace(CONFIG, host="no such host"), Ready).start()
    with pytest.raises(PortTaken, match="does not have that address"):
        await Listener(MemoryAcceptor(), replace(CONFIG, host="192.0.2.1"), Ready).start()


@on_uvloop
async def test_every_interface_has_the_same_port() -> None:
    """With an empty host, IPv4 and (where there is one) IPv6 listen on one port."""
    async with listening(replace(CONFIG, host="")) as (listener, _, port):
        assert [bound[1] for bound in listener.bound] == [port] * len(listener.bound)
        assert listener.bound[0][0] == "0.0.0.0"
        for host, _ in listener.bound:
            target = "127.0.0.1" if host == "0.0.0.0" else "::1"
            reader, writer = await asyncio.open_connection(target, port)
            writer.write(POST + b"\r\n")
            assert (await reader.readline()) == b"HTTP/1.1 202 Accepted\r\n"
            writer.close()


@on_uvloop
async def test_caller_that_never_reads_is_not_read_either() -> None:
    """Answers that nobody takes do not pile up: reading stops until they are taken."""
    async with listening() as (listener, _, port):
        caller = await Caller.connect(port)
        flood = (POST + b"X-Dispatcher-Timeout: 0\r\n\r\n") * 2000

        async def send_all() -> None:
            for _ in range(500):
                await caller.send(flood)

        sending = asyncio.ensure_future(send_all())
        await until(lambda: bool(listener.refused))
        before = -1
        while before < sum(listener.refused.values()):
            before = sum(listener.refused.values())
            await asyncio.sleep(0.2)
        assert 0 < before < 200_000
        assert not sending.done()
        sending.cancel()
        caller.reset()


@on_uvloop
async def test_every_caller_above_the_limit_is_told_why() -> None:
    """However many come at once: a reset without an answer tells them nothing."""
    async with listening(replace(CONFIG, max_connections=1)) as (listener, _, port):
        first = await Caller.connect(port)
        await until(lambda: listener.open_connections == 1)
        callers = [await Caller.connect(port) for _ in range(60)]
        answers = [await caller.rest() for caller in callers]
        assert all(b'"too_many_connections"' in answer for answer in answers)
        await first.send(POST + b"Content-Length: 0\r\n\r\n")
        assert await first.status() == 202

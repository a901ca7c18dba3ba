"""How the SDK's clients reach a server: connections that are kept, that end, and that are lost. On
loopback."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import trustme
import uvloop

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.client.connections import Connections
from dispatcher.sdk.client.exchange import Lost, Reply, Request
from dispatcher.sdk.client.server import Server
from dispatcher.sdk.client.sessions import Sessions

Answers = Callable[[socket.socket, bytes], bool]
Asks = Callable[[Server, Request], Reply | Lost]

_GET = Request("GET", "/v1/a%2Fb?x=%20")


class Listener:
    """Listens on loopback and has `answers` answer each request: False ends the connection. `seen`
    are the requests, `connections` counts those that came."""

    def __init__(self, answers: Answers, context: ssl.SSLContext | None = None) -> None:
        self.seen: list[bytes] = []
        self.connections = 0
        self._answers = answers
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.taken: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._socket.getsockname()[1]
        return port

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for one in self.taken:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _accept(self) -> None:
        threads = []
        while True:
            try:
                one, _ = self._socket.accept()
            except OSError:
                break
            self.connections += 1
            self.taken.append(one)
            threads.append(threading.Thread(target=self._serve, args=(one,)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _serve(self, one: socket.socket) -> None:
        with suppress(OSError):
            if self._context is not None:
                one = self._context.wrap_socket(one, server_side=True)
            with one:
                while request := _request(one):
                    self.seen.append(request)
                    if not self._answers(one, request):
                        return


def _request(one: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = one.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    wanted = int(length[0].partition(b":")[2]) if length else 0
    while len(body) < wanted:
        body += one.recv(65536)
    return head + b"\r\n\r\n" + body


def says(status: int = 200, body: bytes = b"done", more: bytes = b"") -> Answers:
    """Answer so, and keep the connection."""

    def answer(one: socket.socket, _: bytes) -> bool:
        head = b"HTTP/1.1 %d X\r\nX-Word: Yes\r\nContent-Length: %d\r\n" % (status, len(body))
        one.sendall(head + more + b"\r\n" + body)
        return b"close" not in more

    return answer


def hangs_up(one: socket.socket, _: bytes) -> bool:
    """Do not answer."""
    return False


def breaks_off(one: socket.socket, _: bytes) -> bool:
    """Answer a half."""
    one.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nhalf")
    return False


def server_at(port: int, scheme: str = "http") -> Server:
    """A server on loopback."""
    return Server.found(f"{scheme}://127.0.0.1:{port}/base", "secret", {})


def blocking(server: Server, request: Request, within_s: float = 5.0) -> Reply | Lost:
    """Ask over http.client."""
    connections = Connections(server, {"Authorization": "Bearer secret"})
    try:
        return connections.exchange(request, within_s)
    finally:
        connections.close()


def asynchronous(server: Server, request: Request, within_s: float = 5.0) -> Reply | Lost:
    """Ask over aiohttp."""

    async def ask() -> Reply | Lost:
        sessions = Sessions(server, {"Authorization": "Bearer secret"})
        try:
            return await sessions.exchange(request, within_s)
        finally:
            await sessions.close()

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [blocking, asynchronous])


@contextmanager
def no_warnings() -> Iterator[None]:
    """Nothing is left open: Python warns of what is collected unclosed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(one.message) for one in caught] == []


@both
def test_request_is_sent_as_it_is(ask: Any) -> None:
    """Path and query are not encoded anew, and come behind the path of the address."""
    with Listener(says(202)) as listener:
        body = bytes(range(256))
        request = Request("POST", "/v1/a%2Fb?x=%20", {"Content-Type": "application/proto"}, body)
        answer = ask(server_at(listener.port), request)
    assert isinstance(answer, Reply)
    assert (answer.status, answer.headers["x-word"], answer.body) == (202, "Yes", b"done")
    head, _, sent = listener.seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /base/v1/a%2Fb?x=%20 HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret\r\n" in head
    assert b"Content-Type: application/proto" in head
    assert sent == body


@both
def test_server_that_nobody_listens_at_was_not_asked(ask: Any) -> None:
    """So it may be asked again, whatever it was asked for."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert ask(server_at(port), _GET) == Lost("connection refused", was_sent=False)


@both
def test_server_that_hangs_up_may_have_been_asked(ask: Any) -> None:
    """It may have done what it was asked for."""
    for answers in (hangs_up, breaks_off):
        with Listener(answers) as listener:
            found = ask(server_at(listener.port), Request("POST", "/x", is_repeatable=False))
        assert isinstance(found, Lost)
        assert found.was_sent
        assert found.reason in (
            "the connection was closed before it answered",
            "connection reset by peer",
        )


@both
def test_server_that_does_not_answer_is_left(ask: Any) -> None:
    """When the time is over."""
    gone = threading.Event()

    def waits(one: socket.socket, _: bytes) -> bool:
        return gone.wait(5)

    with Listener(waits) as listener:
        found = ask(server_at(listener.port), _GET, 0.05)
        gone.set()
    assert found == Lost("it did not answer in time", was_sent=True, status=Status.TIMEOUT)


@both
def test_certificate_that_nobody_knows_is_final(ask: Any) -> None:
    """Another try would end the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Listener(says(), context) as listener:
        found = ask(server_at(listener.port, "https"), _GET)
    assert isinstance(found, Lost)
    assert (found.status, found.is_final, found.was_sent) == (Status.TLS_ERROR, True, False)
    assert found.reason == "TLS failed: unable to get local issuer certificate"


@both
def test_host_without_an_address_is_told(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is not known, or not yet."""

    def nobody(*_: object, **__: object) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    server = Server.found("http://nobody.invalid:1", None, {})
    assert ask(server, _GET) == Lost("its host has no address", False, Status.DNS_ERROR)


def test_blocking_connections_are_kept() -> None:
    """One after the other goes over one; at once, each has its own."""
    with Listener(says()) as listener:
        connections = Connections(server_at(listener.port), {})
        for _ in range(3):
            assert isinstance(connections.exchange(_GET, 5), Reply)
        assert listener.connections == 1
        threads = [threading.Thread(target=connections.exchange, args=(_GET, 5)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(listener.seen) == 11
        assert listener.connections <= 8
        with no_warnings():
            connections.close()


def test_what_may_be_done_once_goes_over_a_new_connection() -> None:
    """The server may be closing the one that was idle: nobody would know what came of it."""
    with Listener(says()) as listener:
        connections = Connections(server_at(listener.port), {})
        connections.exchange(_GET, 5)
        connections.exchange(Request("POST", "/x", is_repeatable=False), 5)
        assert listener.connections == 2
        connections.close()


def test_server_that_started_anew_is_asked_over_a_new_connection() -> None:
    """Of those that were idle none is tried in vain after the first."""
    with Listener(says()) as listener:
        connections = Connections(server_at(listener.port), {})
        threads = [threading.Thread(target=connections.exchange, args=(_GET, 5)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one in listener.taken:
            one.shutdown(socket.SHUT_RDWR)
        assert isinstance(connections.exchange(_GET, 5), Lost)
        assert isinstance(connections.exchange(_GET, 5), Reply)
        connections.close()


def test_connection_that_the_server_closes_is_not_kept() -> None:
    """It says so in its answer."""
    with Listener(says(more=b"Connection: close\r\n")) as listener:
        connections = Connections(server_at(listener.port), {})
        for _ in range(2):
            assert isinstance(connections.exchange(_GET, 5), Reply)
        assert listener.connections == 2
        connections.close()


def test_process_that_was_forked_has_connections_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two processes on one connection would read each other's answers."""
    with Listener(says()) as listener:
        connections = Connections(server_at(listener.port), {})
        connections.exchange(_GET, 5)
        monkeypatch.setattr("os.getpid", lambda: -1)
        with no_warnings():
            connections.exchange(_GET, 5)
            assert listener.connections == 2
            connections.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_client_is_used_in_one_event_loop_after_the_other(run: Any) -> None:
    """Nothing is left open, though nobody closes anything."""
    with Listener(says()) as listener, no_warnings():
        sessions = Sessions(server_at(listener.port), {})

        async def twice() -> list[Reply | Lost]:
            first = await sessions.exchange(_GET, 5)
            return [first, await sessions.exchange(Request("GET", "/", is_waiting=True), 5)]

        for _ in range(3):
            assert all(isinstance(one, Reply) for one in run(twice()))
        assert listener.connections == 6


def test_client_is_used_in_several_event_loops_at_once() -> None:
    """As threads with `asyncio.run` do."""
    with Listener(says()) as listener:
        sessions = Sessions(server_at(listener.port), {})
        found: list[Reply | Lost] = []

        def run() -> None:
            found.append(asyncio.run(sessions.exchange(_GET, 5)))

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(isinstance(one, Reply) for one in found)
    assert len(found) == 8


def test_loop_that_was_closed_carelessly_leaves_no_error() -> None:
    """Without the end that `asyncio.run` makes: its connections are gone, and the next loop has
    others."""
    errors: list[Any] = []
    with Listener(says(more=b"Connection: close\r\n")) as listener, no_warnings():
        sessions = Sessions(server_at(listener.port), {})
        for _ in range(2):
            loop = asyncio.new_event_loop()
            loop.set_exception_handler(lambda _, context: errors.append(context))
            assert isinstance(loop.run_until_complete(sessions.exchange(_GET, 5)), Reply)
            loop.close()
        asyncio.run(sessions.close())
    assert errors == []


def test_client_that_was_closed_may_be_used_again() -> None:
    """In the same loop."""
    with Listener(says()) as listener, no_warnings():

        async def again() -> list[Reply | Lost]:
            sessions = Sessions(server_at(listener.port), {})
            found = []
            for _ in range(2):
                found.append(await sessions.exchange(_GET, 5))
                await sessions.close()
            return found

        assert all(isinstance(one, Reply) for one in asyncio.run(again()))

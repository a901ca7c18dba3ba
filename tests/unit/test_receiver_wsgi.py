"""The receiver as middleware of WSGI: what it does with responses of all shapes."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from dispatcher.receiver import UNSIGNED, MemoryStore, WsgiReceiver

NOW_S = 2_000_000_000
HANDLED, RUNNING, FREE = "Handled", "Running", "Claimed"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def stands(store: MemoryStore) -> str:
    """How the message stands; without changing it."""
    standing = type(store.claim("m", "test", now_us=NOW_S * 1_000_000, lease_us=1))
    store.release("m", "test")
    return standing.__name__


def ask(
    app: Callable[..., Iterable[bytes]], store: MemoryStore, started: Any = None, **environ: Any
) -> Any:
    """The response of a receiver with this application; `started` is what the server is told."""
    given = {"PATH_INFO": "/", "HTTP_WEBHOOK_ID": "m", "wsgi.input": io.BytesIO()} | environ
    told = [] if started is None else started

    def start_response(*arguments: Any) -> Any:
        told.append(arguments)
        return told.append

    receiver = WsgiReceiver(
        app, secrets=UNSIGNED, store=store, lease_s=1e9, clock=lambda: NOW_S, most_bytes=100
    )
    return receiver(given, start_response)


def in_pieces(environ: Any, start_response: Any) -> Iterator[bytes]:
    """An application that is a generator: it begins when the server asks for the first piece."""
    start_response("200 OK", [])
    yield b"a"
    yield b"b"
    yield b"c"


def test_last_piece_waits_until_the_store_knows(store: MemoryStore) -> None:
    """Those before it go out as they come."""
    response = ask(in_pieces, store)
    stood = [(piece, stands(store)) for piece in response]
    assert stood == [(b"a", RUNNING), (b"b", RUNNING), (b"c", HANDLED)]
    response.close()
    assert stands(store) == HANDLED


def test_response_in_one_piece_waits_until_the_store_knows(store: MemoryStore) -> None:
    """As those of most applications."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"all"]

    assert [(piece, stands(store)) for piece in ask(app, store)] == [(b"all", HANDLED)]


def test_response_without_a_piece_is_whole(store: MemoryStore) -> None:
    """As a 204."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    assert list(ask(app, store)) == []
    assert stands(store) == HANDLED


def test_response_that_is_not_taken_to_its_end_is_no_success(store: MemoryStore) -> None:
    """The caller hung up, and will send it again; the application is told to stop."""
    stopped = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        try:
            yield from in_pieces(environ, start_response)
        finally:
            stopped.append(True)

    response = ask(app, store)
    assert next(iter(response)) == b"a"
    response.close()
    assert stopped == [True]
    assert stands(store) == FREE


def test_response_that_was_never_asked_for_frees_the_message(store: MemoryStore) -> None:
    """The server found out before that the caller has gone."""
    ask(in_pieces, store).close()
    assert stands(store) == FREE


def test_piece_that_fails_frees_the_message(store: MemoryStore) -> None:
    """Also where the server forgets to close."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield from in_pieces(environ, start_response)
        raise ZeroDivisionError

    response = iter(ask(app, store))
    with pytest.raises(ZeroDivisionError):
        list(response)
    assert stands(store) == FREE


def test_response_that_cannot_be_closed_frees_the_message(store: MemoryStore) -> None:
    """The error is the server's."""

    class Bad(list[bytes]):
        def close(self) -> None:
            raise ZeroDivisionError

    def app(environ: Any, start_response: Any) -> Bad:
        start_response("200 OK", [])
        return Bad([b"a"])

    with pytest.raises(ZeroDivisionError):
        ask(app, store).close()
    assert stands(store) == FREE


def test_status_that_comes_last_counts(store: MemoryStore) -> None:
    """An application may change its mind before anything is sent, with what went wrong."""
    started: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Oh", [("a", "b")], sys.exc_info())
        return [b"no"]

    assert list(ask(app, store, started)) == [b"no"]
    assert [len(each) for each in started] == [2, 3]
    assert started[1][2][0] is ZeroDivisionError
    assert stands(store) == FREE


def test_application_may_write(store: MemoryStore) -> None:
    """As the oldest ones do."""
    started: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])(b"written")
        return []

    assert list(ask(app, store, started)) == []
    assert started[1] == b"written"
    assert stands(store) == HANDLED


def echo(environ: Any, start_response: Any) -> list[bytes]:
    """What an application reads."""
    start_response("200 OK", [])
    assert environ["wsgi.input_terminated"] is True
    assert "HTTP_TRANSFER_ENCODING" not in environ
    body = environ["wsgi.input"].read()
    assert environ["CONTENT_LENGTH"] == str(len(body))
    return [body]


def test_body_without_a_length_is_read_where_the_server_ends_it(store: MemoryStore) -> None:
    """It came in chunks. The application finds one of a known length."""
    environ = {
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": io.BytesIO(b"x" * 100),
        "wsgi.input_terminated": True,
    }
    assert list(ask(echo, store, **environ)) == [b"x" * 100]


def test_body_without_a_length_is_not_read_beyond_the_bound(store: MemoryStore) -> None:
    """One byte more is enough to know."""
    stream = io.BytesIO(b"x" * 1000)
    answer = ask(echo, store, **{"wsgi.input": stream, "wsgi.input_terminated": True})
    assert b"body_too_large" in b"".join(answer)
    assert stream.tell() == 101


def test_body_in_chunks_that_the_server_leaves_alone_is_refused(store: MemoryStore) -> None:
    """It can't be read, and is not taken for an empty one."""
    started: list[Any] = []
    answer = ask(echo, store, started, HTTP_TRANSFER_ENCODING="chunked")
    assert b"length_required" in b"".join(answer)
    assert started[0][0] == "411 Length Required"


def test_stream_without_a_length_is_not_read(store: MemoryStore) -> None:
    """It may be the connection, and wait for ever."""

    class Endless:
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("it is read")

    assert list(ask(echo, store, **{"wsgi.input": Endless(), "CONTENT_LENGTH": ""})) == [b""]


def test_body_is_not_read_beyond_its_length(store: MemoryStore) -> None:
    """What follows is another request."""
    stream = io.BytesIO(b"bodyGET /")
    assert list(ask(echo, store, **{"wsgi.input": stream, "CONTENT_LENGTH": "4"})) == [b"body"]
    assert stream.tell() == 4


def test_body_that_ends_early_is_refused(store: MemoryStore) -> None:
    """And its message stays free."""
    answer = ask(echo, store, **{"wsgi.input": io.BytesIO(b"bo"), "CONTENT_LENGTH": "4"})
    assert b"after 2 of 4 bytes" in b"".join(answer)
    assert stands(store) == FREE

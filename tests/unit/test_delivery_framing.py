"""How much is read of a response that is mostly framing: reading it holds up everybody else."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.delivery.lenient import LenientReader
from dispatcher.delivery.progress import FRAMING_LINES, HEAD_BYTES, Progress
from dispatcher.delivery.response import Response


def read(*pieces: bytes) -> tuple[Progress, Response]:
    """Feed pieces until one of them ends the response."""
    response = Response()
    progress = Progress.MORE
    for piece in pieces:
        if progress is Progress.MORE:
            progress = response.feed(piece)
    return progress, response


@pytest.mark.parametrize(
    "endless",
    [
        b"X-Trailer: " + b"y" * 1000,
        b"X-Trailer: y\r\n" * 80,
    ],
)
def test_endless_trailers_are_broken(endless: bytes) -> None:
    """They bring no byte of a body and are not counted as one: memory stays bounded."""
    response = Response()
    response.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    progress = Progress.MORE
    fed = 0
    while progress is Progress.MORE and fed < 10 * HEAD_BYTES:
        progress = response.feed(endless)
        fed += len(endless)
    assert progress is Progress.BROKEN
    assert fed < HEAD_BYTES + 2 * len(endless)


def test_slow_small_chunks_are_not_mistaken_for_endless_trailers() -> None:
    """What is counted is the bytes since the last byte of the body."""
    response = Response()
    response.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(3 * HEAD_BYTES // 120):
        assert response.feed(b"1;" + b"e" * 120 + b"\r\nx\r\n") is Progress.MORE
    assert response.feed(b"0\r\n\r\n") is Progress.DONE
    assert response.reusable


@pytest.mark.parametrize("piece", [1000, 1 << 20])
def test_body_in_tiny_chunks_is_read_up_to_a_number_of_them(piece: int) -> None:
    """Reading each would hold up everybody else; the status counts, and the connection goes."""
    body = b"1\r\nx\r\n" * FRAMING_LINES
    response = Response()
    progress = response.feed(b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n")
    for begin in range(0, len(body), piece):
        if progress is Progress.MORE:
            progress = response.feed(body[begin : begin + piece])
    assert progress is Progress.DONE
    assert (response.status, response.reusable) == (404, False)
    assert response._lenient is not None
    assert response._lenient.body_bytes == FRAMING_LINES / 2


def test_body_of_as_many_chunks_as_are_read_is_whole() -> None:
    """To the last of them."""
    progress, response = read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n" * (FRAMING_LINES // 2 - 1) + b"0\r\n\r\n",
    )
    assert progress is Progress.DONE
    assert response.reusable


def test_trailers_that_are_too_many_are_broken() -> None:
    """Also where all of them come at once."""
    progress, response = read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n0\r\n" + b"a:b\r\n" * (2 * FRAMING_LINES),
    )
    assert progress is Progress.BROKEN
    assert response.problem == "it has too many trailers"


class Looked(bytes):
    """Bytes that count what is copied out of them."""

    copied = 0

    def __add__(self, more: Any) -> Any:
        return Looked(super().__add__(more))

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        Looked.copied += len(found)
        return Looked(found)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_many_interim_answers_are_read_in_linear_time(end: bytes) -> None:
    """However many fit into a head, nothing is copied for each of them but itself."""
    interim = b"HTTP/1.1 100" + end + end
    final = b"HTTP/1.1 404 No" + end + b"Retry-After: 7" + end + b"Content-Length: 0" + end + end
    whole = interim * ((HEAD_BYTES - len(final)) // len(interim)) + final
    reader = LenientReader(head=False)
    reader._raw = Looked()
    Looked.copied = 0
    assert reader.feed(whole) is Progress.DONE
    assert Looked.copied < 3 * len(whole)
    progress, response = read(whole)
    assert progress is Progress.DONE
    assert (response.status, response.retry_after) == (404, b"7")


def test_trailer_after_many_chunks_is_read() -> None:
    """Lines of chunks are not counted as trailers, however many came before."""
    chunks = b"1\r\nx\r\n" * (FRAMING_LINES // 2 - 1)
    progress, response = read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunks + b"0\r\nA: b\r\n\r\n"
    )
    assert (progress, response.status) == (Progress.DONE, 200)

"""Responses that are not quite HTTP: what they mean however they are cut, and what they never
do."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.delivery.chunks import Chunks
from dispatcher.delivery.lenient import LenientReader
from dispatcher.delivery.progress import BODY_BYTES, HEAD_BYTES, Progress
from dispatcher.delivery.response import Response

ODD = [
    b"HTTP/1.1 404 OK\nContent-Length: 2\nRetry-After: 7\n\nok",
    b"\r\n\nHTTP/1.1 404 OK\r\nSet-Cookie: a=\x01b\r\nContent-Length: 2\r\n"
    b"Retry-After: 7\r\n\r\nok",
    b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\nRetry-After: 7\r\n\r\n"
    b"1 \r\no\r\n1;ext\r\nk\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 404 No\nTransfer-Encoding: gzip,\n  chunked\nRetry-After: 7\n\n2\nok\n00\n\n",
    b"HTTP/1.1 404 No\r\nContent-Length: 2\r\nContent-Length: 2\r\nRetry-After:7\r\n\r\nok",
    b"HTTP/1.1 404 No\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n"
    b"Retry-After: \r\n 7\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 103 Early\r\nX : y\r\n\r\nHTTP/2 404\r\n"
    b"Content-Length: 2\r\nRetry-After: 7\r\n\r\nok",
]
STRICT = [
    b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\nRetry-After: 7\r\n\r\n"
    b'1\r\no\r\n1;e="x"\r\nk\r\n0\r\nA: b\r\n\r\n',
    b"HTTP/1.1 404 No\r\nContent-Length: 2\r\nX: chunked\r\nRetry-After: 7\r\n\r\nok",
]


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes into pieces."""
    edges = sorted({0, len(whole), *(place for place in places if place < len(whole))})
    return [whole[a:b] for a, b in pairwise(edges)]


def read(pieces: list[bytes], *, head: bool = False) -> tuple[Progress, Response]:
    """Feed pieces until one of them ends the response."""
    response = Response()
    response.expect(head=head)
    progress = Progress.MORE
    for piece in pieces:
        progress = response.feed(piece)
        if progress is not Progress.MORE:
            break
    return progress, response


@given(whole=st.sampled_from(ODD), places=st.lists(st.integers(0, 150), max_size=8))
def test_odd_response_means_the_same_however_it_is_cut(whole: bytes, places: list[int]) -> None:
    """Its status and its headers count, its body is kept, its connection is not."""
    progress, response = read(cut(whole, places))
    assert progress is Progress.DONE
    assert (response.status, response.retry_after, response.start) == (404, b"7", b"ok")
    assert not response.reusable


@given(whole=st.sampled_from(STRICT), places=st.lists(st.integers(0, 150), max_size=8))
def test_strict_response_keeps_its_connection_whoever_read_it(
    whole: bytes, places: list[int]
) -> None:
    """A chunked body that comes in pieces is read by the lenient reader, and is no less strict."""
    progress, response = read(cut(whole, places))
    assert progress is Progress.DONE
    assert (response.status, response.retry_after, response.start) == (404, b"7", b"ok")
    assert response.reusable
    response.expect(head=False)
    assert response.feed(STRICT[0]) is Progress.DONE
    assert response.reusable


@given(whole=st.sampled_from(ODD), data=st.data())
def test_odd_response_cut_short_is_never_whole(whole: bytes, data: st.DataObject) -> None:
    """A message is not taken for delivered when its answer is not complete."""
    length = data.draw(st.integers(3, len(whole) - 1))
    progress, response = read([whole[:length]])
    assert progress is Progress.MORE
    assert response.end(clean=True) is Progress.BROKEN
    assert response.problem


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A response with some bytes changed, dropped or put in."""
    whole = bytearray(draw(st.sampled_from(ODD + STRICT)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(whole)))
        new = draw(st.sampled_from([b"", b"\r", b"\n", b"\0", b" ", b":", b"0", b"f" * 17]))
        whole[place : place + draw(st.integers(0, 3))] = new
    return bytes(whole)


@given(
    whole=damaged() | st.binary(max_size=200).map(lambda tail: b"HTTP/1.1 200 " + tail),
    places=st.lists(st.integers(0, 150), max_size=8),
    head=st.booleans(),
    clean=st.booleans(),
)
def test_whatever_comes_has_one_outcome(
    whole: bytes, places: list[int], head: bool, clean: bool
) -> None:
    """No exception, and after the end always one of two; nothing is reused after damage."""
    progress, response = read(cut(whole, places), head=head)
    if progress is Progress.MORE:
        progress = response.end(clean=clean)
        assert not response.reusable
    assert progress in (Progress.DONE, Progress.BROKEN)
    assert (progress is Progress.BROKEN) == bool(response.problem)
    assert 200 <= response.status <= 999 or (progress is Progress.BROKEN and response.status == 0)
    assert len(response.start) <= 1024


@pytest.mark.parametrize("piece", [1, 1000, 1 << 18])
@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 OK\nX: " + b"y" * 1000,
        b"\r\n" * 1000,
        b"HTTP/1.1 200 OK\n" + b" folded\n" * 100,
        b"HTTP/1.1 100 Go\n\n" * 100,
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n" + b"0" * 1000,
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1;" + b"x" * 1000,
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\n" + b"x: y\n" * 100,
    ],
)
def test_endless_oddity_is_broken_with_bounded_memory(endless: bytes, piece: int) -> None:
    """Whatever goes on without a byte of a body ends after 64 KiB."""
    whole = endless
    while len(whole) < 2 * HEAD_BYTES:
        whole += endless[-100:]
    if piece == 1:
        pieces = [whole[:1000], *(whole[i : i + 1] for i in range(1000, len(whole), 1))]
    else:
        pieces = [whole[i : i + piece] for i in range(0, len(whole), piece)]
    progress, response = read(pieces)
    assert progress is Progress.BROKEN
    assert response.problem
    reader = response._lenient
    assert reader is None or len(reader._raw) <= HEAD_BYTES + max(piece, 1000)


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\n\n200000\n", b"\n"])
def test_odd_response_is_read_up_to_a_mebibyte(framing: bytes) -> None:
    """Then its status counts."""
    response = Response()
    assert response.feed(b"HTTP/1.1 200 OK\n" + framing) is Progress.MORE
    for _ in range(BODY_BYTES // 4096 - 1):
        assert response.feed(b"x" * 4096) is Progress.MORE
    assert response.feed(b"x" * 4096) is Progress.DONE
    assert (response.status, response.reusable) == (200, False)


def test_odd_body_without_length_ends_with_its_connection() -> None:
    """With an orderly end, not with a reset."""
    for clean, progress in ((True, Progress.DONE), (False, Progress.BROKEN)):
        response = Response()
        assert response.feed(b"HTTP/1.1 200 OK\n\nwhatever") is Progress.MORE
        assert response.end(clean=clean) is progress


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail.example ESMTP\r\n",
        b"\x15\x03\x01\x00\x02\x02",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 20\r\n",
        b"HTTP/x.1 200 OK\r\n",
        b"http/1.1 200 OK\r\n",
        b"HTTP/1.1 099 OK\n\n",
        b"HTTP/1.1 101 OK\n\n",
        b"HTTP/1.1 200 OK\nBad Header: x\n\n",
        b"HTTP/1.1 200 OK\nno colon\n\n",
        b"HTTP/1.1 200 OK\n: no name\n\n",
        b"HTTP/1.1 200 OK\nX\x01: y\n\n",
        b"HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\nx",
        b"HTTP/1.1 200 OK\nContent-Length: -1\n\nx",
        b"HTTP/1.1 200 OK\nContent-Length: x\n\nx",
        b"HTTP/1.1 200 OK\nContent-Length:\n\nx",
        b"HTTP/1.1 200 OK\nContent-Length: " + b"9" * 20 + b"\n\nx",
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nxx\n",
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n-1\n",
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n\n",
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\nxx\n",
    ],
)
def test_what_is_no_response_is_broken_at_once(data: bytes) -> None:
    """Leniency ends where nobody could say what was meant; no more bytes are waited for."""
    progress, response = read([data])
    assert progress is Progress.BROKEN
    assert response.problem


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_odd_response_without_a_body_ends_with_its_head(status: bytes) -> None:
    """Whatever its headers say; so does an answer to HEAD."""
    for head, text in ((False, status), (True, b"200")):
        data = b"HTTP/1.1 " + text + b" OK\nContent-Length: 9\n\n"
        progress, response = read([data], head=head)
        assert (progress, response.status) == (Progress.DONE, int(text))


def test_bytes_behind_an_odd_response_are_noted() -> None:
    """The reader tells of them, so that a connection with them is not used again."""
    for whole in [*STRICT, b"HTTP/1.1 204 No\r\n\r\n"]:
        for extra, strange in ((b"", False), (b"x", True)):
            reader = LenientReader(head=False)
            assert reader.feed(whole + extra) is Progress.DONE
            assert reader.strange is strange


@pytest.mark.parametrize(
    ("coding", "strange"),
    [
        (b"2\r\nok\r\n0\r\n\r\n", False),
        (b"2;a=b\r\nok\r\n000\r\nA: b\r\n\r\n", False),
        (b"2 \r\nok\r\n0\r\n\r\n", True),
        (b" 2\r\nok\r\n0\r\n\r\n", True),
        (b"2\nok\r\n0\r\n\r\n", True),
        (b"2\r\nok\n0\r\n\r\n", True),
        (b"2\r\nok\r\n0\n\r\n", True),
        (b"2\r\nok\r\n0\r\n\n", True),
        (b"2\r\nok\r\n0\r\nA b\r\n\r\n", True),
        (b"2\r\nok\r\n0\r\nA : b\r\n\r\n", True),
        (b"2;\x00\r\nok\r\n0\r\n\r\n", True),
    ],
)
def test_chunks_say_what_is_strange_about_them(coding: bytes, strange: bool) -> None:
    """Byte by byte and at once; the body is the same."""
    for pieces in ([coding], [coding[i : i + 1] for i in range(len(coding))]):
        body: list[bytes] = []
        chunks = Chunks(body.append)
        for piece in pieces[:-1]:
            assert chunks.feed(piece) is Progress.MORE
        assert chunks.feed(pieces[-1]) is Progress.DONE
        assert (b"".join(body), chunks.strange, chunks.rest) == (b"ok", strange, b"")

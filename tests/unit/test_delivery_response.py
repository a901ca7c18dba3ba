"""What bytes of a response mean, however they are cut into pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.delivery.progress import BODY_BYTES, HEAD_BYTES, Progress
from dispatcher.delivery.response import Response

WHOLE = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nRetry-After: 1\r\nContent-Length: 3\r\n\r\nno!",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nRetry-After: 7\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\n!",
]


def read(*pieces: bytes, head: bool = False) -> tuple[Progress, Response]:
    """Feed pieces until one of them ends the response."""
    response = Response()
    response.expect(head=head)
    progress = Progress.MORE
    for piece in pieces:
        assert progress is Progress.MORE
        progress = response.feed(piece)
    return progress, response


@given(whole=st.sampled_from(WHOLE), cuts=st.lists(st.integers(0, 120), max_size=6))
def test_response_means_the_same_however_it_is_cut(whole: bytes, cuts: list[int]) -> None:
    """Nothing is decided before the last byte, and everything with it."""
    _, expected = read(whole)
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    progress, response = read(*(whole[a:b] for a, b in pairwise(edges)))
    assert progress is Progress.DONE
    assert response.reusable
    assert (response.status, response.retry_after, response.start) == (
        expected.status,
        expected.retry_after,
        expected.start,
    )


@given(whole=st.sampled_from(WHOLE), data=st.data())
def test_response_cut_short_is_never_whole(whole: bytes, data: st.DataObject) -> None:
    """Each proper prefix that is followed by the end of the connection is broken."""
    length = data.draw(st.integers(1, len(whole) - 1))
    response = Response()
    assert response.feed(whole[:length]) is Progress.MORE
    assert response.end(clean=True) is Progress.BROKEN


@given(pieces=st.lists(st.binary(max_size=40), max_size=8))
def test_garbage_is_never_taken_for_a_response(pieces: list[bytes]) -> None:
    """Whatever comes, the answer is one of three, and a status is only told with a head."""
    response = Response()
    for piece in pieces:
        if response.feed(piece) is not Progress.MORE:
            break
    assert response.end(clean=True) in (Progress.DONE, Progress.BROKEN)
    assert response.status == 0 or 200 <= response.status <= 999


STREAM = [
    *WHOLE,
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",  # alike, but for the body
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP",  # with bytes nobody asked for
    b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n" + b"b" * 600,
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
]


@given(
    answers=st.lists(
        st.tuples(st.sampled_from(STREAM), st.sampled_from([0, 0, 0, 20]), st.booleans()),
        max_size=12,
    )
)
def test_answers_one_after_the_other_mean_what_each_means_alone(
    answers: list[tuple[bytes, int, bool]],
) -> None:
    """A connection that was used before, also for the same bytes, changes nothing."""
    used = Response()
    for whole, cut, head in answers:
        pieces = [whole[:cut], whole[cut:]] if cut else [whole]
        alone = Response()
        seen = []
        for response in (used, alone):
            response.expect(head=head)
            progress = Progress.MORE
            for piece in pieces:
                if progress is Progress.MORE:
                    progress = response.feed(piece)
            answer = (response.status, response.retry_after, response.start, response.problem)
            ends = progress is Progress.DONE and response.says_close
            seen.append((progress, *answer, response.reusable, response.untouched, ends))
        assert seen[0] == seen[1]
        if not used.reusable:
            return


def test_one_response_object_reads_one_after_the_other() -> None:
    """As on a kept connection; nothing of the one before is left."""
    response = Response()
    for whole in WHOLE * 2:
        response.expect(head=False)
        assert response.untouched
        assert response.feed(whole) is Progress.DONE
        assert response.reusable
    assert (response.status, response.retry_after, response.start) == (201, None, b"")


@pytest.mark.parametrize(
    ("connection", "version", "reusable"),
    [
        (b"", b"1.1", True),
        (b"Connection: keep-alive\r\n", b"1.1", True),
        (b"Connection: close\r\n", b"1.1", False),
        (b"Connection: x, CLOSE\r\n", b"1.1", False),
        (b"", b"1.0", False),
        (b"Connection: Keep-Alive\r\n", b"1.0", True),
    ],
)
@pytest.mark.parametrize("length", [b"", b"Content-Length: 5\r\n"])
def test_answer_to_head_says_whether_its_connection_persists(
    connection: bytes, version: bytes, reusable: bool, length: bytes
) -> None:
    """Also without a length, where the parser alone would wait for the end of the connection."""
    head = b"HTTP/" + version + b" 200 OK\r\n" + connection + length + b"\r\n"
    progress, response = read(head, head=True)
    assert progress is Progress.DONE
    assert response.reusable is reusable


def test_body_after_an_answer_to_head_makes_the_connection_useless() -> None:
    """It must not be read as the start of the next answer."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    progress, response = read(whole, head=True)
    assert progress is Progress.DONE
    assert not response.reusable


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\n", WHOLE[3], b"\0"])
def test_bytes_after_the_response_make_the_connection_useless(extra: bytes) -> None:
    """The response counts, with its own status and headers."""
    progress, response = read(WHOLE[0] + extra)
    assert progress is Progress.DONE
    assert not response.reusable
    assert (response.status, response.retry_after) == (200, None)


def test_retry_after_is_taken_from_the_head_alone() -> None:
    """The first of several; not from an interim answer, not from a trailer."""
    _, response = read(
        b"HTTP/1.1 103 Hint\r\nRetry-After: 1\r\n\r\n"
        b"HTTP/1.1 503 Busy\r\nretry-AFTER: 2\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n"
    )
    assert response.retry_after == b"2"
    _, response = read(
        b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nRetry-After: 4\r\n\r\n"
    )
    assert response.retry_after is None


@pytest.mark.parametrize("size", [HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, 5 * HEAD_BYTES])
@pytest.mark.parametrize("piece", [1000, 65536, 1 << 20])
def test_head_may_have_64_kib(size: int, piece: int) -> None:
    """To the byte, in whatever pieces it comes, and with a body right behind it."""
    start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: ", b"\r\n\r\n"
    head = start + b"y" * (size - len(start) - len(end)) + end
    whole = head + b"hello"
    response = Response()
    progress = Progress.MORE
    for begin in range(0, len(whole), piece):
        progress = response.feed(whole[begin : begin + piece])
        if progress is not Progress.MORE:
            break
    assert progress is (Progress.DONE if size <= HEAD_BYTES else Progress.BROKEN)
    assert response.status == (200 if size <= HEAD_BYTES else 0)


@pytest.mark.parametrize("more", [0, 9])
def test_body_that_came_with_its_head_is_not_held(more: int) -> None:
    """A thousand idle connections would hold a quarter of a GiB."""
    response = Response()
    size = 1 << 18
    progress = response.feed(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size + more) + b"x" * size
    )
    assert progress is (Progress.MORE if more else Progress.DONE)
    assert len(response._raw_head) <= HEAD_BYTES


@pytest.mark.parametrize("framing", [b"Content-Length: 99999999\r\n", b""])
def test_body_is_read_up_to_a_mebibyte(framing: bytes) -> None:
    """One byte less is not enough, and the connection is not used again."""
    response = Response()
    response.feed(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
    assert response.feed(b"x" * (BODY_BYTES - 1)) is Progress.MORE
    assert response.feed(b"x") is Progress.DONE
    assert not response.reusable


def test_start_of_a_refusal_is_kept_and_of_a_2xx_not() -> None:
    """1024 bytes, however they come."""
    _, response = read(b"HTTP/1.1 500 Oh\r\nContent-Length: 3000\r\n\r\n", *[b"abc" * 100] * 10)
    assert response.start == (b"abc" * 1000)[:1024]
    _, response = read(WHOLE[0])
    assert response.start == b""


@pytest.mark.parametrize(
    ("head", "clean", "progress"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True, Progress.DONE),
        (b"HTTP/1.1 200 OK\r\n\r\n", False, Progress.BROKEN),
        (b"HTTP/1.0 500 Oh\r\n\r\nbody", True, Progress.DONE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx", True, Progress.DONE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", True, Progress.BROKEN),
        (b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 5\r\n\r\nxx", True, Progress.BROKEN),
        (b"HTTP/1.1 200 OK\r\n", True, Progress.BROKEN),
        (b"HTTP/1.1 103 Hint\r\n\r\n", True, Progress.BROKEN),
    ],
)
def test_end_of_the_connection_ends_a_body_without_length(
    head: bytes, clean: bool, progress: Progress
) -> None:
    """RFC 9112 §6.3; a reset is not an end."""
    response = Response()
    assert response.feed(head) is Progress.MORE
    assert response.end(clean=clean) is progress
    assert not response.reusable

"""An answer of which the start is wanted: kept as far as there is room, and read as any other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.message import Message
from dispatcher.core.room import Rooms
from dispatcher.delivery.collecting import UNCOUNTED_BYTES, Collecting
from dispatcher.delivery.progress import BODY_BYTES, Progress
from dispatcher.delivery.response import Response
from dispatcher.testing.delivery import RecordingHome
from tests.effort import times
from tests.unit.test_delivery_collecting import Tap, chunked, feed, got, pieces

MIB = 1024 * 1024
PATTERN = bytes(range(251)) * 9000


def wanted(most: int) -> Message:
    message = RecordingHome().outgoing("http://127.0.0.1:1", b"x")
    message.want_start(most)
    return message


def collecting(message: Message, start_rooms: Rooms | None = None) -> Collecting:
    response = Collecting(Tap(), Rooms(), start_rooms)
    response.expect(head=False)
    response.want(message)
    return response


def framed(body: bytes, how: str, status: int = 200) -> bytes:
    head = b"HTTP/1.1 %d X\r\nX-One: 1\r\n" % status
    if how == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if how == "chunked":
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 9000)
    return head.replace(b"\r\n", b"\n") + b"Content-Length: %d\n\n" % len(body) + body


def feed_until(response: Response, raw: list[bytes]) -> Progress:
    """Feed as a connection does: nothing after the last that is needed."""
    progress = Progress.MORE
    for piece in raw:
        progress = response.feed(piece)
        if progress is not Progress.MORE:
            break
    return progress


@settings(max_examples=times(20), deadline=None)
@given(
    size=st.sampled_from([0, 1, 65_535, 65_536, 65_537, 200_000, MIB - 1, MIB, MIB + 1, 2 * MIB]),
    most=st.sampled_from([UNCOUNTED_BYTES, MIB]),
    step=st.sampled_from([1000, 65_536, 10_000_000]),
    how=st.sampled_from(["length", "chunked", "lenient"]),
    status=st.sampled_from([200, 404, 503]),
)
def test_answer_is_read_as_if_nobody_wanted_it(
    size: int, most: int, step: int, how: str, status: int
) -> None:
    """However it comes: the same progress, the same status. What is kept is its whole body, or how
    that starts, and it is said which. Of the room all that was not needed is given back."""
    body = PATTERN[:size]
    raw = pieces(framed(body, how, status), step)
    plain = Response()
    plain.expect(head=False)
    message, rooms = wanted(most), Rooms(8 * MIB)
    response = collecting(message, rooms)
    progress, seen = feed_until(response, raw), feed_until(plain, raw)
    if not (size == BODY_BYTES and how != "length"):  # there one more byte would tell
        assert response.reusable == plain.reusable
    assert (progress, response.status) == (seen, plain.status)
    answer = got(message)
    assert answer.is_whole is (size <= most)
    assert answer.body == (body if size <= most else body[:UNCOUNTED_BYTES])
    assert answer.fields[0] == (b"X-One", b"1")
    if not answer.is_whole or size <= UNCOUNTED_BYTES:
        assert rooms.free_bytes == 8 * MIB
    answer.release()
    assert rooms.free_bytes == 8 * MIB


@pytest.mark.parametrize("how", ["length", "chunked", "lenient"])
def test_answer_that_finds_no_room_is_read_all_the_same(how: str) -> None:
    """Nothing waits for room: what takes none is kept, and the attempt ends as ever."""
    message, rooms = wanted(MIB), Rooms(MIB)
    taken = rooms.take(MIB - 1000)
    assert taken is not None
    body = PATTERN[:300_000]
    assert feed(collecting(message, rooms), pieces(framed(body, how), 7000)) is Progress.DONE
    answer = got(message)
    assert not answer.is_whole
    assert answer.body == body[:UNCOUNTED_BYTES]
    assert rooms.free_bytes == 1000


def test_answer_that_breaks_off_is_kept_as_far_as_it_came() -> None:
    """Its head says what it says."""
    message, rooms = wanted(MIB), Rooms(MIB)
    response = collecting(message, rooms)
    raw = framed(PATTERN[:200_000], "length", 404)[:150_000]
    assert feed(response, pieces(raw, 30_000)) is Progress.MORE
    assert response.end(clean=True) is Progress.BROKEN
    answer = got(message)
    assert (answer.status, answer.is_whole) == (404, False)
    assert answer.fields == ((b"X-One", b"1"), (b"Content-Length", b"200000"))
    assert PATTERN.startswith(answer.body)
    assert rooms.free_bytes == MIB


def test_chunks_without_end_are_not_read_to_their_end() -> None:
    """Very many tiny ones would hold up everybody else: the status counts, as for any answer."""
    message = wanted(MIB)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert feed(collecting(message), [head, chunked(b"x" * 4000, 1)]) is Progress.DONE
    answer = got(message)
    assert not answer.is_whole
    assert len(answer.body) < 4000
    assert set(answer.body) == {ord("x")}


def test_fields_are_kept_as_they_came() -> None:
    """In their order, as they are spelled, each of those that are repeated, and folded lines as
    one; of an interim answer none."""
    message = wanted(MIB)
    raw = (
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nx-Odd: v\xe9\r\nSet-Cookie: b=2\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    assert collecting(message).feed(raw) is Progress.DONE
    assert got(message).fields == (
        (b"Set-Cookie", b"a=1"),
        (b"x-Odd", b"v\xe9"),
        (b"Set-Cookie", b"b=2"),
        (b"Content-Length", b"0"),
    )
    lenient = b"HTTP/1.1 200 OK\nA : 1\n folded\nContent-Length: 0\n\n"
    assert collecting(message := wanted(1)).feed(lenient) is Progress.DONE
    assert got(message).fields == ((b"A", b"1 folded"), (b"Content-Length", b"0"))


def test_most_that_is_wanted_counts() -> None:
    """Who wants less than somebody else takes nothing from him."""
    message = wanted(MIB)
    message.want_start(10)
    assert message.answer_limit == -MIB
    assert message.with_chunks((1,)).answer_limit == -MIB

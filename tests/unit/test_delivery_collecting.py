"""An answer that is wanted whole is kept to its last byte, and takes no more room than there is."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from dispatcher.core.answer import Answer
from dispatcher.core.message import Message
from dispatcher.core.room import Rooms
from dispatcher.delivery.collecting import UNCOUNTED_BYTES, Collecting
from dispatcher.delivery.progress import BODY_BYTES, Progress
from dispatcher.testing.delivery import RecordingHome

LIMIT = 4 * BODY_BYTES


class Tap:
    """A connection whose bytes can be stopped."""

    is_open = True

    def pause(self) -> None:
        self.is_open = False

    def resume(self) -> None:
        self.is_open = True


def wanted(limit: int = LIMIT) -> Message:
    message = RecordingHome().outgoing("http://127.0.0.1:1", b"x")
    message.want_answer(limit)
    return message


def collecting(message: Message, tap: Tap | None = None, rooms: Rooms | None = None) -> Collecting:
    response = Collecting(tap or Tap(), rooms or Rooms())
    response.expect(head=False)
    response.want(message)
    return response


def feed(response: Collecting, pieces: Iterable[bytes]) -> Progress:
    progress = Progress.MORE
    for piece in pieces:
        assert progress is Progress.MORE
        progress = response.feed(piece)
    return progress


def got(message: Message) -> Answer:
    assert message.answer is not None
    return message.answer


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


BODY = bytes(range(256)) * 12_000  # 3 MB: more than is read of a response that nobody wants


def chunked(body: bytes, size: int) -> bytes:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces(body, size))
    return chunks + b"0\r\n\r\n"


@pytest.mark.parametrize("step", [997, 65536, 10_000_000])
@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: %d\r\n\r\n"
        % len(BODY)
        + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY, 1000),
        b"HTTP/1.1 200 OK\nContent-Type: application/proto\nContent-Length: %d\n\n" % len(BODY)
        + BODY,
    ],
    ids=["length", "chunked", "lenient"],
)
def test_body_is_kept_whole_however_it_comes(raw: bytes, step: int) -> None:
    """Three megabytes, with a length or in chunks, in pieces of any size."""
    message = wanted()
    assert feed(collecting(message), pieces(raw, step)) is Progress.DONE
    answer = got(message)
    assert (answer.status, answer.content_type) == (200, b"application/proto")
    assert answer.is_whole
    assert answer.body == BODY


def test_body_that_ends_with_the_connection_is_kept() -> None:
    """Only an orderly end is one."""
    for clean in (True, False):
        message = wanted()
        response = collecting(message)
        assert feed(response, [b"HTTP/1.1 200 OK\r\n\r\n", b"abc", b"def"]) is Progress.MORE
        progress = response.end(clean=clean)
        if clean:
            assert progress is Progress.DONE
            assert got(message).body == b"abcdef"
        else:
            assert progress is Progress.BROKEN
            assert message.answer is None


def test_the_usual_answer_is_kept_each_time() -> None:
    """The short way of answers that are the same as before must not swallow a body."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    response = collecting(first := wanted())
    assert response.feed(raw) is Progress.DONE
    response.expect(head=False)
    assert response.feed(raw) is Progress.DONE  # of a message that does not want it
    response.expect(head=False)
    assert response.feed(raw) is Progress.DONE
    response.expect(head=False)
    response.want(second := wanted())
    assert response.feed(raw) is Progress.DONE
    assert got(first).body == got(second).body == b"ok"


def test_refusal_is_kept_with_its_retry_after() -> None:
    """Of other statuses than 2xx too."""
    message = wanted()
    raw = b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"
    assert collecting(message).feed(raw) is Progress.DONE
    answer = got(message)
    assert (answer.status, answer.retry_after, answer.body) == (503, b"7", b"busy")
    assert answer.content_type == b""


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 101, 10),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101,
    ],
    ids=["length", "chunked", "end"],
)
def test_body_above_the_limit_is_broken_and_says_so(raw: bytes) -> None:
    """It is not read any further; that there was such an answer is told."""
    message = wanted(100)
    response = collecting(message)
    assert response.feed(raw) is Progress.BROKEN
    assert "100 are the most" in response.problem
    assert not got(message).is_whole
    assert got(message).body == b""


def test_body_in_countless_tiny_chunks_is_broken() -> None:
    """Reading each holds up everybody else, and half a body is of no use."""
    message = wanted()
    response = collecting(message)
    progress = response.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100):
        if progress is Progress.MORE:
            progress = response.feed(b"1\r\nx\r\n" * 1000)
    assert progress is Progress.BROKEN
    assert "small chunks" in response.problem
    assert message.answer is None


def test_large_answer_waits_for_room_and_gives_it_back() -> None:
    """What there is room for is read; the next one stands still until that is released."""
    size = 3 * UNCOUNTED_BYTES
    rooms = Rooms(size)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    taps = Tap(), Tap()
    messages = wanted(), wanted()
    one, other = (
        collecting(message, tap, rooms) for message, tap in zip(messages, taps, strict=True)
    )
    one.feed(head)
    other.feed(head)
    assert [tap.is_open for tap in taps] == [True, False]
    assert one.feed(bytes(size)) is Progress.DONE
    assert not taps[1].is_open
    got(messages[0]).release()
    assert taps[1].is_open
    got(messages[0]).release()  # twice is once
    assert other.feed(bytes(size)) is Progress.DONE
    got(messages[1]).release()
    assert rooms.free_bytes == size


def test_who_gives_up_gives_room_back() -> None:
    """One that has it and one that waits for it."""
    rooms = Rooms(UNCOUNTED_BYTES * 2)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (UNCOUNTED_BYTES * 2)
    readers = [collecting(wanted(), Tap(), rooms) for _ in range(3)]
    for reader in readers:
        reader.feed(head)
    readers[1].drop()
    readers[0].drop()
    readers[0].drop()
    assert rooms.free_bytes == 0  # the third has it
    readers[2].drop()
    assert rooms.free_bytes == UNCOUNTED_BYTES * 2


def test_small_answers_ask_for_no_room() -> None:
    """They are read although all room is taken, also when they do not say how long they are."""
    rooms = Rooms(1)
    rooms.ask(1, lambda: None)
    tap = Tap()
    message = wanted()
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 50_000, 1000)
    assert feed(collecting(message, tap, rooms), pieces(raw, 5000)) is Progress.DONE
    assert tap.is_open
    assert len(got(message).body) == 50_000


def test_answer_of_unknown_length_asks_for_all_it_may_have() -> None:
    """So that one that was begun can be ended."""
    rooms = Rooms()
    response = collecting(wanted(), Tap(), rooms)
    response.feed(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(UNCOUNTED_BYTES + 1))
    assert rooms.free_bytes == rooms.most_bytes - LIMIT


def test_head_has_no_body_to_keep() -> None:
    """Whatever its length says."""
    message = wanted()
    response = Collecting(Tap(), Rooms())
    response.expect(head=True)
    response.want(message)
    assert response.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n") is Progress.DONE
    assert got(message).body == b""

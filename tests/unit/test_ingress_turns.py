"""One read from a caller, however it is filled, does not hold up the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dispatcher.core.message import Message
from dispatcher.ingress.outbox import MAX_WAITING
from dispatcher.ingress.turn import TURN_STEPS
from dispatcher.queue.ports import CHUNK_BYTES, Receipt, Upload
from dispatcher.testing.ingress import MemoryUpload
from tests.unit.test_ingress_connection import BUSY, STOPPING, Caller, chunked, request

READ_BYTES = 256_000
"""What uvloop reads at once."""
NO_ORIGIN = b"GET / HTTP/1.1\r\nHost:a\r\n\r\n"
BAD = request(b"", b"X-Dispatcher-Timeout: 0")
MANY_CHUNKS = chunked(*[b"x"] * 40_000)
REQUESTS_A_TURN = TURN_STEPS // 8
MANY = 3 * REQUESTS_A_TURN


class Round(Caller):
    """A caller on a loop that goes round when the test says so."""

    def __init__(self, *, upload_at_once: bool = True) -> None:
        super().__init__(upload_at_once=upload_at_once)
        self.turns: list[Callable[[], None]] = []
        self.shared.call_soon = self.turns.append

    def go_round(self) -> None:
        """Do what waits for the loop's next round."""
        turns, self.turns[:] = list(self.turns), []
        assert len(turns) <= 1, "one connection has one turn a round"
        for turn in turns:
            turn()

    def go_on(self) -> int:
        """Go round until nothing waits; return how often."""
        rounds = 0
        while self.turns:
            assert self.transport.is_reading_paused or self.is_over
            self.go_round()
            rounds += 1
        return rounds

    def has_forgotten_everything(self) -> bool:
        """Whether nothing waits, and nothing is counted as held."""
        return not self.turns and not self.shared.memory.held_bytes


def test_bytes_set_aside_are_counted_when_they_are_taken_and_only_once() -> None:
    """Tiny chunks do not look many times faster than they are, when memory is short and the slowest
    go first."""
    caller = Round()
    stream = MANY_CHUNKS[:-5]
    caller.send(stream)
    caller.go_on()
    caller.later(1)
    rate = caller.connection.rate_in(caller.shared.memory, caller.now_s)
    assert rate == pytest.approx(len(stream), rel=0.01)


def test_requests_that_are_refused_at_once_take_turns() -> None:
    """Ten thousand in one read: some are answered, the rest waits, reading stops; all are answered
    in the end, and reading goes on."""
    caller = Round()
    count = READ_BYTES // len(NO_ORIGIN)
    caller.send(NO_ORIGIN * count)
    answered = len(caller.statuses())
    assert 0 < answered <= REQUESTS_A_TURN
    assert caller.transport.is_reading_paused
    while caller.turns:
        caller.go_round()
        now = len(caller.statuses())
        assert 0 < now <= REQUESTS_A_TURN
        answered += now
    assert answered == count
    assert not caller.transport.is_reading_paused
    assert caller.has_forgotten_everything()
    assert caller.shared.refused == {"origin_missing": count}


def test_chunks_of_one_byte_take_turns() -> None:
    """Forty thousand in one read become one body, some a turn."""
    caller = Round()
    caller.send(MANY_CHUNKS)
    assert caller.queue.bodies == []
    assert caller.transport.is_reading_paused
    assert caller.go_on() >= 3 * 40_000 // TURN_STEPS - 1
    assert caller.queue.bodies == [b"x" * 40_000]
    assert not caller.transport.is_reading_paused
    caller.queue.settle()
    assert caller.statuses() == [202]
    assert caller.has_forgotten_everything()


def test_chunks_and_requests_share_a_turn() -> None:
    """Many small chunked requests are as much work as one with many chunks."""
    caller = Round()
    caller.send(chunked(*[b"x"] * 100) * 20)
    assert 0 < len(caller.queue.bodies) <= TURN_STEPS // 300
    caller.go_on()
    assert caller.queue.bodies == [b"x" * 100] * 20


def test_large_heads_take_turns() -> None:
    """A head costs by its length; one that is larger than a turn begins one."""
    caller = Round()
    large = request(b"", *[b"a:"] * 16_000)
    caller.send(large * 4)
    assert len(caller.queue.bodies) == 1
    caller.go_round()
    assert len(caller.queue.bodies) == 2
    caller.go_on()
    assert len(caller.queue.bodies) == 4


def test_usual_pipelines_are_taken_in_one_turn() -> None:
    """As many requests as may wait for answers, alike or not."""
    for number in ("0", "%d"):
        caller = Round()
        heads = (b"X-Id: " + number.replace("%d", str(at)).encode() for at in range(MAX_WAITING))
        caller.send(b"".join(request(b"body", head) for head in heads))
        assert len(caller.queue.bodies) == MAX_WAITING
        assert not caller.turns


def test_answers_keep_their_order_over_turns() -> None:
    """Accepted and refused ones, while some wait for the queue and some for their turn."""
    caller = Round()
    caller.send((BAD * 9 + request(b"1")) * 50)
    statuses = []
    for _ in range(1000):
        caller.go_round()
        caller.queue.settle(3)
        statuses += caller.statuses()
    assert statuses == ([400] * 9 + [202]) * 50
    assert caller.queue.bodies == [b"1"] * 50
    assert not caller.transport.is_reading_paused
    assert caller.has_forgotten_everything()


def test_bytes_that_arrive_while_something_is_left_come_after_it() -> None:
    """A transport may deliver once more after it was told to stop."""
    for first, statuses in ((NO_ORIGIN * MANY, [405] * MANY), (MANY_CHUNKS, [202])):
        caller = Round()
        caller.send(first)
        caller.connection.data_received(request(b"next")[:-1])
        caller.connection.data_received(request(b"next")[-1:])
        assert b"next" not in caller.queue.bodies
        caller.go_on()
        assert caller.queue.bodies[-1] == b"next"
        caller.queue.settle()
        assert caller.statuses() == [*statuses, 202]


@pytest.mark.parametrize("end", [b"", request(b"half")[:-1], chunked(b"half")[:-1], BAD[:9]])
def test_caller_that_ended_its_input_gets_all_answers(end: bytes) -> None:
    """The end is heard of while requests are left: they are answered, half a one is nothing, then
    the connection is closed."""
    caller = Round()
    caller.send(NO_ORIGIN * MANY + end)
    assert caller.turns
    assert caller.connection.eof_received() is True
    while caller.turns:
        assert not caller.is_over
        caller.go_round()
    assert caller.statuses() == [405] * MANY
    assert caller.queue.messages == []
    assert caller.transport.is_closing()


def test_caller_that_ended_its_input_gets_the_answers_of_messages_too() -> None:
    """Those that wait for the disk when the last turn is over, and those that are left then."""
    caller = Round()
    caller.send((NO_ORIGIN * 10 + request(b"1")) * 70 + request(b"half")[:-1])
    assert caller.connection.eof_received() is True
    statuses = []
    for _ in range(1000):
        if caller.is_over:
            break
        caller.go_round()
        caller.queue.settle(1)
        statuses += caller.statuses()
    assert statuses == ([405] * 10 + [202]) * 70
    assert caller.transport.is_closing()
    assert caller.has_forgotten_everything()


def test_caller_that_ended_its_input_gets_all_answers_that_come_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The queue may answer before `accept` returns: that no answer is owed then, is not the end."""
    caller = Round()
    caller.send(request(b"1") * (2 * MAX_WAITING))
    assert caller.connection.eof_received() is True
    accept = caller.queue.accept

    def refuse_at_once(message: Message, receipt: Receipt, upload: Upload | None = None) -> None:
        accept(message, receipt, upload)
        caller.queue.settle(refusal=BUSY)

    monkeypatch.setattr(caller.queue, "accept", refuse_at_once)
    caller.queue.settle()
    assert caller.statuses() == [202] * MAX_WAITING + [503] * MAX_WAITING
    assert caller.transport.is_closing()


def test_half_a_chunked_body_is_nothing_when_its_end_is_left() -> None:
    """The caller ended its input in the middle of a body, of which chunks are left."""
    caller = Round()
    caller.send(MANY_CHUNKS[:-3])
    assert caller.connection.eof_received() is True
    caller.go_on()
    assert caller.transport.is_closing()
    assert caller.received() == b""
    assert caller.queue.messages == []
    assert caller.has_forgotten_everything()


@pytest.mark.parametrize("how", ["close", "abort", "lost"])
@pytest.mark.parametrize("stream", [request(b"1") + NO_ORIGIN * MANY + request(b"2"), MANY_CHUNKS])
def test_nothing_is_taken_any_more_when_the_connection_is_over(how: str, stream: bytes) -> None:
    """Whatever was left; and nothing of it is counted any more."""
    caller = Round()
    caller.send(stream)
    before = len(caller.queue.messages)
    match how:
        case "close":
            caller.connection.close()
        case "abort":
            caller.connection.abort()
        case _:
            caller.connection.connection_lost(None)
    caller.go_round()
    caller.connection.connection_lost(None)
    caller.queue.settle()
    caller.connection.resume_writing()
    assert len(caller.queue.messages) == before
    assert caller.has_forgotten_everything()
    assert caller.shared.connections == set()


def test_next_request_is_refused_when_the_listener_stops() -> None:
    """What was left is told so once, and the connection ends."""
    caller = Round()
    caller.send(NO_ORIGIN * MANY + request(b"1"))
    caller.shared.stopping = True
    caller.connection.end_soon()
    caller.queue.refusing = STOPPING
    caller.connection.retire()
    assert not caller.is_over
    caller.statuses()
    caller.go_on()
    answer = caller.received()
    assert answer.count(b"HTTP/1.1") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert caller.is_over
    assert caller.has_forgotten_everything()


@pytest.mark.parametrize("is_closed", [False, True])
def test_chunked_body_is_refused_when_the_listener_stops(*, is_closed: bool) -> None:
    """503 at its end, or at once when connections are closed before that."""
    caller = Round()
    caller.send(MANY_CHUNKS)
    caller.shared.stopping = True
    caller.connection.end_soon()
    caller.queue.refusing = STOPPING
    if is_closed:
        caller.connection.close()
        assert caller.is_over
    caller.go_on()
    assert caller.statuses() == [503]
    assert caller.is_over
    assert not caller.transport.is_reading_paused
    assert caller.queue.messages == []
    assert caller.has_forgotten_everything()


def test_last_answer_ends_the_connection_when_the_listener_stops() -> None:
    """It said so; what was left is not looked at."""
    caller = Round()
    caller.send(request(b"1") + NO_ORIGIN * (MAX_WAITING - 2) + MANY_CHUNKS)
    assert caller.turns
    caller.shared.stopping = True
    caller.connection.end_soon()
    caller.queue.refusing = STOPPING
    caller.connection.retire()
    caller.queue.settle()
    caller.received()
    assert caller.is_over
    caller.go_on()
    assert caller.received() == b""
    assert caller.has_forgotten_everything()


def test_caller_is_not_late_while_it_waits_for_its_turn() -> None:
    """Neither its body nor its next head; when its turn is over, its time begins."""
    caller = Round()
    caller.send(MANY_CHUNKS[:-5] + b"1\r\n")
    caller.later(1000)
    caller.go_round()
    caller.later(1000)
    caller.go_on()
    caller.later(29)
    assert caller.received() == b""
    caller.send(b"x\r\n0\r\n\r\n" + NO_ORIGIN * MANY + request(b"1")[:9])
    assert caller.queue.bodies == [b"x" * 40_001]
    caller.queue.settle()
    caller.later(1000)
    caller.go_on()
    caller.statuses()
    caller.later(9)
    assert caller.received() == b""
    caller.later(2)
    assert caller.statuses() == [408]


def test_answers_that_come_meanwhile_make_no_turn_of_their_own() -> None:
    """One connection has one turn a round, whatever the queue says in between."""
    caller = Round()
    caller.send(request(b"1") + MANY_CHUNKS)
    caller.queue.settle()
    caller.connection.pause_writing()
    caller.connection.resume_writing()
    assert len(caller.turns) == 1
    caller.go_on()
    assert caller.queue.bodies == [b"1", b"x" * 40_000]


def test_turns_wait_for_a_caller_that_does_not_read() -> None:
    """Its answers do not pile up: what is left waits until it reads, whatever comes first."""
    caller = Round()
    caller.send(NO_ORIGIN * MANY)
    answered = len(caller.statuses())
    caller.connection.pause_writing()
    assert caller.go_on() == 1
    assert caller.received() == b""
    caller.connection.resume_writing()
    assert caller.turns
    caller.connection.pause_writing()
    caller.connection.resume_writing()
    caller.go_on()
    assert answered + len(caller.statuses()) == MANY
    assert not caller.transport.is_reading_paused


def test_reading_goes_on_when_both_turn_and_log_have_caught_up() -> None:
    """A chunked upload waits for its turn and for the log, in either order."""
    for log_first in (True, False):
        caller = Round(upload_at_once=False)
        piece = b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
        caller.send(chunked()[:-5] + piece * 2 + b"1\r\nx\r\n" * 1000)
        (upload,) = caller.queue.uploads
        assert caller.turns
        for step in (upload.store, caller.go_on) if log_first else (caller.go_on, upload.store):
            assert caller.transport.is_reading_paused
            step()
        assert not caller.transport.is_reading_paused
        caller.send(b"0\r\n\r\n")
        assert caller.queue.bodies == [b"x" * (2 * CHUNK_BYTES + 1000)]


def test_reading_goes_on_after_a_body_that_ended_while_the_log_was_behind() -> None:
    """Its last chunks were left when reading stopped for the log: nobody says any more that the log
    has caught up with a body that is over."""
    caller = Round(upload_at_once=False)
    large = b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
    caller.send(chunked()[:-5] + large * 2 + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")
    assert caller.go_on() > 1
    assert len(caller.queue.messages) == 1
    caller.queue.uploads[0].store()
    caller.queue.settle()
    assert caller.statuses() == [202]
    assert not caller.transport.is_reading_paused
    caller.send(request(b"next"))
    assert caller.queue.bodies[1] == b"next"


def test_bad_chunk_that_was_left_is_refused_in_its_turn() -> None:
    """And what comes after it is dropped."""
    caller = Round()
    caller.send(MANY_CHUNKS[:-5] + b"bad\n" + request(b"not read") * 100)
    assert caller.received() == b""
    caller.go_on()
    assert caller.statuses() == [400]
    assert caller.is_over
    assert not caller.transport.is_reading_paused
    assert caller.queue.messages == []
    assert caller.has_forgotten_everything()


def test_nothing_is_left_of_an_upload_that_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log may refuse a chunk before `write` returns; the chunks after it are dropped."""
    caller = Round()
    monkeypatch.setattr(MemoryUpload, "write", lambda upload, chunk: upload.refuse(BUSY))
    large = b"40001\r\n" + b"x" * 0x40001 + b"\r\n"
    caller.send(chunked()[:-5], large + b"1\r\nx\r\n" * 1000)
    assert caller.statuses() == [503]
    assert not caller.turns
    assert not caller.transport.is_reading_paused
    assert caller.has_forgotten_everything()


def test_last_request_of_a_connection_ends_it_in_any_turn() -> None:
    """What was left after it is dropped."""
    caller = Round()
    caller.send(NO_ORIGIN * MANY + request(b"1", b"Connection: close") + request(b"2") * MANY)
    caller.go_on()
    caller.queue.settle()
    assert caller.statuses() == [405] * MANY + [202]
    assert caller.is_over
    assert caller.queue.bodies == [b"1"]
    assert caller.has_forgotten_everything()

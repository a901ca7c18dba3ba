"""Every message survives every record it is written in."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.destination import Origin
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.queue.records.history import Attempt, decode_history, encode_attempt, last_attempt
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.kinds import MAX_DETAIL_BYTES
from dispatcher.queue.records.letters import (
    DeadLetter,
    LetterFacts,
    decode_dead,
    encode_dead,
    letter_facts,
)
from dispatcher.queue.records.messages import (
    decode_stored,
    encode_message,
    encode_moved,
    message_facts,
    moved_facts,
)
from dispatcher.queue.records.removed import decode_removed, encode_removed
from dispatcher.queue.records.retry import decode_retry, encode_retry, retry_facts

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
hosts = st.sampled_from(
    [b"a", b"https://a", b"b.example:81", b"https://[::1]:9", b"[2001:db8::1]", b"x_y-z"]
)
results = st.builds(
    AttemptResult,
    st.none() | st.integers(100, 599),
    st.none() | st.sampled_from(list(Failure)),
    st.text(max_size=20),
    st.integers(0, 2**33),
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    chunks = draw(st.none() | st.lists(u64, min_size=1, max_size=4).map(tuple))
    body = draw(st.binary(max_size=60)) if chunks is None else b""
    message = Message(
        Origin.parse(draw(hosts)).destination,
        draw(st.binary(max_size=60)),
        body,
        timeout_ms=draw(u32),
        accepted_at=draw(u64),
        incarnation=draw(u32),
        chunks=chunks,
        body_size=None if chunks is None else draw(u64),
    )
    message.position = draw(u64)
    message.attempt = draw(u16)
    message.redrives = draw(u16)
    message.history = b"".join(
        encode_attempt(draw(u64), result) for result in draw(st.lists(results, max_size=3))
    )
    message.wire_id = wire_id(0, message.incarnation, message.position)
    return message


def _facts(message: Message, *names: str) -> dict[str, object]:
    always = ("head", "body", "chunks", "body_size", "timeout_ms", "accepted_at", "incarnation")
    return {name: getattr(message, name) for name in (*always, "destination", "wire_id", *names)}


@given(messages())
def test_message_is_read_as_it_was_written(message: Message) -> None:
    """A MESSAGE record, and what recovery reads of it."""
    payload = encode_message(message)
    assert _facts(decode_stored(message.position, payload, 0)) == _facts(message)
    size = message.body_size if message.chunks else 0
    assert message_facts(payload) == (
        message.incarnation,
        str(message.destination).encode("ascii"),
        size,
        len(message.chunks or ()),
    )


@given(messages(), u64, u64)
def test_moved_message_is_read_as_it_was_written(message: Message, at: int, due_at: int) -> None:
    """A MOVED record keeps the id, the attempts and the history, wherever it lies."""
    destination = str(message.destination).encode("ascii")
    payload = encode_moved(message, due_at)
    names = ("position", "attempt", "redrives", "history")
    assert _facts(decode_stored(at, payload, 0), *names) == _facts(message, *names)
    position, attempts, due, start = moved_facts(payload)
    assert (position, attempts, due) == (message.position, message.attempt, due_at)
    assert message_facts(payload, start)[:2] == (message.incarnation, destination)


@given(messages(), u64, st.text(max_size=300))
def test_retry_is_read_as_it_was_written(message: Message, due_at: int, detail: str) -> None:
    """A RETRY record; its text may be cut."""
    payload = encode_retry(message, due_at, detail)
    retry = decode_retry(payload)
    assert retry_facts(payload) == (
        message.incarnation,
        message.position,
        message.attempt,
        due_at,
    )
    assert (retry.incarnation, retry.position, retry.attempts, retry.due_at, retry.history) == (
        message.incarnation,
        message.position,
        message.attempt,
        due_at,
        message.history,
    )
    if len(detail.encode("utf-8", "replace")) <= MAX_DETAIL_BYTES:
        assert retry.detail == detail.encode("utf-8", "replace").decode()


@given(messages(), u16, u64, st.binary(max_size=50))
def test_dead_letter_is_read_as_it_was_written(
    message: Message, partition: int, dead_at: int, response: bytes
) -> None:
    """A DEAD record holds the message with its whole history."""
    payload = encode_dead(DeadLetter(partition, message, dead_at, "rejected", "no", response, 77))
    letter = decode_dead(payload)
    message.wire_id = wire_id(partition, message.incarnation, message.position)
    names = ("position", "attempt", "redrives", "history")
    assert _facts(letter.message, *names) == _facts(message, *names)
    assert (letter.partition, letter.dead_at, letter.reason) == (partition, dead_at, "rejected")
    assert (letter.detail, letter.response_start) == ("no", response)
    last = last_attempt(message.history)
    assert letter_facts(payload) == LetterFacts(
        message_id=message.wire_id,
        partition=partition,
        incarnation=message.incarnation,
        id_position=message.position,
        redrives=message.redrives,
        dead_at=dead_at,
        destination=message.destination.key,
        status=(last.status or 0) if last else 0,
        failure=list(Failure).index(last.failure) + 1 if last and last.failure else 0,
        reason="rejected",
        body_size=message.body_size,
        chunks=None if message.chunks is None else array("Q", message.chunks),
        uptime_s=77,
    )


@given(st.lists(st.tuples(u64, results), max_size=5))
def test_history_is_read_as_it_was_written(made: list[tuple[int, AttemptResult]]) -> None:
    """Times, durations (up to 49 days), statuses and failures."""
    history = b"".join(encode_attempt(at, result) for at, result in made)
    assert decode_history(history) == [
        Attempt(at, min(r.duration_ms, 2**32 - 1), r.status, r.failure) for at, r in made
    ]


@given(u16, u32, u64, u16)
def test_removal_is_read_as_it_was_written(
    partition: int, incarnation: int, position: int, redrives: int
) -> None:
    """A REMOVED record."""
    payload = encode_removed(partition, incarnation, position, redrives)
    assert decode_removed(payload) == (partition, incarnation, position, redrives)

"""Events as bytes: what is written comes back, and what is not known is refused."""

from __future__ import annotations

import dataclasses
from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.errors import LogTooNew
from dispatcher.functions import events
from dispatcher.functions.events import Copied, Event, Fact, NewCall
from dispatcher.functions.model import Call, How, Phase, Poll, Result, StateArm
from dispatcher.functions.spans import Span, length_of, offset_of, span
from dispatcher.functions.store.records import chunks_of, decoded, encoded
from dispatcher.queue.records.kinds import RecordError
from dispatcher.testing.call_fields import FIELDS
from tests.effort import times

U64 = st.integers(0, 2**64 - 1)
U128 = st.integers(1, 2**96 - 1)
US = st.integers(0, 2**52)
SMALL = st.integers(0, 2**31)
TEXT = st.text(max_size=20)
BLOB = st.binary(max_size=40)
HOW = st.sampled_from(How)
ARM = st.sampled_from(StateArm)
BOOL = st.booleans()

CALLS = st.lists(
    st.builds(NewCall, U128, U64, TEXT, TEXT, TEXT, US, US, BLOB, US, SMALL), max_size=5
).map(tuple)
FACTS = st.lists(st.builds(Fact, TEXT, TEXT, st.none() | BLOB, US), max_size=4).map(tuple)
KEYS = st.lists(U128, max_size=12, unique=True).map(tuple)
NUMBERS = ("step", "generation", "began_step", "reached", "restarts", "idle", "attempts", "due_us")

PLAIN: st.SearchStrategy[Event] = st.one_of(
    st.builds(events.Created, TEXT, CALLS, FACTS),
    st.builds(
        events.Polled,
        U128,
        SMALL,
        SMALL,
        BOOL,
        ARM,
        BLOB,
        st.integers(0, 2**32 - 1),
        BOOL,
        CALLS,
        SMALL,
        SMALL,
        US,
        st.none() | BLOB,
        SMALL,
        KEYS,
    ),
    st.builds(events.Exited, U128, SMALL, HOW, BLOB, BOOL, US),
    st.builds(events.TailCalled, U128, SMALL, TEXT, TEXT, TEXT, BLOB),
    st.builds(events.Restarted, U128, SMALL),
    st.builds(events.Resuming, U128, SMALL, SMALL),
    st.builds(events.Retried, U128, SMALL, SMALL, US),
    st.builds(events.Ended, U128, HOW, BLOB, US, BOOL),
    st.builds(events.CancelAsked, U128, BLOB, BLOB, US, KEYS),
    st.builds(events.Dropped, U128, KEYS, BLOB, BLOB, US, KEYS),
    st.builds(events.Completed, TEXT, TEXT, BLOB, BOOL, US, US, BOOL),
    st.builds(events.Sent, TEXT, TEXT, BLOB, BOOL, US, U128),
    st.builds(events.Given, TEXT, TEXT, U128, KEYS, st.integers(0, 2**100), BOOL),
    st.builds(events.Noted, FACTS),
    st.builds(events.Forgotten, KEYS),
    st.builds(events.Gone, U128),
    st.builds(events.Stored, st.lists(BLOB, max_size=3).map(tuple)),
)


def with_bytes(event: Any, like: Any, payload: bytes) -> Any:
    """`event` with the bytes that its spans name, wherever `like` has bytes."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(event):
        mine, other = getattr(event, field.name), getattr(like, field.name)
        if isinstance(other, bytes):
            changes[field.name] = cut(mine, payload)
        elif isinstance(other, tuple) and other and isinstance(other[0], bytes):
            changes[field.name] = tuple(cut(one, payload) for one in mine)
        elif isinstance(other, tuple) and other and dataclasses.is_dataclass(other[0]):
            assert len(mine) == len(other)
            changes[field.name] = tuple(
                with_bytes(one, two, payload) for one, two in zip(mine, other, strict=True)
            )
    return dataclasses.replace(event, **changes)


def cut(where: Span, payload: bytes) -> bytes:
    """The bytes that a span names."""
    return payload[offset_of(where) : offset_of(where) + length_of(where)]


@given(event=PLAIN)
def test_every_event_comes_back_as_it_was(event: Event) -> None:
    """Each field has its value, and each span names the bytes that were there."""
    payload = encoded(event).small()
    assert payload[0] == 16
    again = decoded(4096, payload)
    assert with_bytes(again, event, payload) == event


def fields_of(call: Call) -> dict[str, Any]:
    """All that a call is but its spans."""
    names = set(FIELDS)
    spans = {"input", "states", "results", "error", "result", "kept", "base", "alarm_us"}
    found = {name: getattr(call, name) for name in names - spans if not name.startswith("_")}
    return found | {"children": set(call.children), "strays": set(call.strays)}


def results_of(call: Call) -> tuple[Result, ...]:
    """Those to be delivered, and those that are kept."""
    return call.results + call.kept


@st.composite
def copies(draw: st.DrawFn) -> Copied:
    """A call that is copied, with its bytes."""
    call = Call(
        draw(U128),
        parent=draw(U128 | st.just(0)),
        root=draw(U128),
        correlation=draw(U64),
        parent_generation=draw(SMALL),
        endpoint=draw(TEXT),
        function=draw(TEXT),
        version=draw(TEXT),
        application=draw(TEXT),
        created_us=draw(US),
        expires_us=draw(US),
        not_before_us=draw(US),
        depth=draw(st.integers(0, 2**16 - 1)),
        timeout_ms=draw(SMALL),
        input=span(1, 1, 1),
    )
    for name in [
        "step",
        "generation",
        "began_step",
        "reached",
        "restarts",
        "idle",
        "attempts",
        "due_us",
    ]:
        setattr(call, name, draw(SMALL))
    call.arm, call.state_crc = draw(ARM), draw(st.integers(0, 2**32 - 1))
    call.states = tuple(span(1, n, 1) for n in range(draw(st.integers(0, 3))))
    call.poll = draw(st.none() | st.builds(Poll, SMALL, SMALL, US))
    call.children, call.strays = (
        keys if len(keys) <= 8 else set(keys) for keys in (draw(KEYS), draw(KEYS))
    )
    call.results, call.kept = (
        tuple(
            Result(draw(U64), draw(U128), span(at, n, 1), draw(BOOL))
            for n in range(draw(st.integers(0, 3)))
        )
        for at in (2, 4)
    )
    call.frozen = draw(st.integers(-1, 5))
    call.error = draw(st.none() | st.just(span(3, 0, 1)))
    call.result = draw(st.none() | st.just(span(3, 1, 1)))
    call.cancelling, call.is_error = draw(BOOL), draw(BOOL)
    call.how, call.phase = draw(st.none() | HOW), draw(st.sampled_from(Phase))
    blobs = tuple(draw(BLOB) for _ in call.spans)
    return Copied(call, blobs, draw(SMALL), draw(SMALL), draw(SMALL))


@given(event=copies())
@settings(max_examples=times(70))
def test_whole_call_comes_back_as_it_was(event: Copied) -> None:
    """All its fields, and its bytes in the order of its spans."""
    payload = encoded(event).small()
    again = decoded(4096, payload)
    assert isinstance(again, Copied)
    assert (again.made, again.count, again.first) == (event.made, event.count, event.first)
    assert fields_of(again.call) == fields_of(event.call)
    assert tuple(cut(where, payload) for where in again.call.spans) == event.blobs
    for found, wanted in zip(results_of(again.call), results_of(event.call), strict=True):
        assert (found.correlation, found.child) == (wanted.correlation, wanted.child)
        assert found.is_error == wanted.is_error
    assert len(again.call.kept) == len(event.call.kept)


def test_large_event_names_its_chunks_and_spans_count_in_them() -> None:
    """Its own record has no blobs, and is small."""
    calls = tuple(
        NewCall(10 + n, n, "http://a", "f", "", 5, 6, bytes([n]) * 100_000) for n in range(5)
    )
    form = encoded(events.Created("app", calls))
    assert form.is_large
    pieces = list(form.pieces())
    assert [len(piece) for piece in pieces] == [262_144, 237_856]
    payload = form.large(array("Q", [100, 200]))
    assert len(payload) < 200
    assert list(chunks_of(payload) or ()) == [100, 200]
    again = decoded(300, payload)
    assert with_bytes(again, events.Created("app", calls), b"".join(pieces)).calls == calls


def test_ten_thousand_calls_have_a_header_that_fits_in_a_batch() -> None:
    """Numbers are close together, and names come again."""
    calls = tuple(
        NewCall((7 << 64) + n, n * 2**50, "http://a", "f", "v", 10**15 + n, 2 * 10**15, b"")
        for n in range(10_000)
    )
    assert len(encoded(events.Created("app", calls)).header) < 200_000


def test_event_that_is_not_known_is_refused() -> None:
    """A newer version wrote it; passing over it would lose what it says."""
    payload = bytearray(encoded(events.Gone(5)).small())
    payload[1] = 99
    with pytest.raises(LogTooNew):
        decoded(1, bytes(payload))


def test_event_that_ends_too_early_is_an_error() -> None:
    """It is never taken for a shorter one."""
    payload = encoded(events.Forgotten((1, 2, 3))).small()
    broken = payload[:2] + bytes([2, 0, 0, 0]) + payload[6:8]
    with pytest.raises(RecordError):
        decoded(1, broken)

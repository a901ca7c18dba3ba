"""The record of a durable call as bytes: what was written is read, and nothing else is."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from copy import deepcopy

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dispatcher.sdk.replay.journal import (
    COMPACTED_FROM,
    BadState,
    Columns,
    compacted,
    decode,
    encode,
)
from dispatcher.sdk.replay.model import (
    Cancelled,
    Contradicted,
    Failure,
    Raised,
    Returned,
    Suspended,
    Value,
)
from dispatcher.sdk.replay.record import Record, kept_in
from dispatcher.sdk.replay.results import USUAL, Kept
from dispatcher.testing.durable import (
    advance,
    call,
    close_all,
    ended,
    patched,
    recorded,
    sleep,
    start,
    step,
    value,
)
from tests.effort import times

texts = st.text(max_size=8)
names = st.text(st.characters(exclude_characters="\0"), max_size=8)
data = st.binary(max_size=300)
numbers = st.integers(0, 2**32 - 1)
results = st.one_of(
    st.none(),
    st.builds(Value, st.sampled_from(USUAL) | texts, data),
    st.builds(Failure, texts, texts, data, data),
    st.builds(Kept, texts),
    st.builds(Cancelled, texts),
)


@st.composite
def columns(draw: st.DrawFn, *, most: int = 6) -> Columns:
    """A record in which every number points to something."""
    kinds = st.sampled_from(["call", "step", "sleep", "patch", "timer"])
    parts = st.tuples(kinds, names, names, names)
    places = ["\0".join(each) for each in draw(st.lists(parts, min_size=1, max_size=3))]
    paths = draw(
        st.lists(
            st.from_regex(r"([1-9](\.[1-9])*)?", fullmatch=True),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    operations = draw(st.integers(1, most))
    events = draw(st.integers(0, most))

    def column(values: st.SearchStrategy[int], size: int) -> list[int]:
        return draw(st.lists(values, min_size=size, max_size=size))

    return Columns(
        nonce=draw(st.integers(1, 2**32 - 1)),
        started_us=draw(st.integers(0, 2**62)),
        python=draw(st.integers(11, 200)),
        outcomes=draw(st.integers(0, 2**40)),
        sent=draw(st.integers(0, operations)),
        untold=draw(st.none() | st.integers(0, operations)),
        places=places,
        paths=paths,
        place_of=column(st.integers(0, len(places) - 1), operations),
        path_of=column(st.integers(0, len(paths) - 1), operations),
        inputs=column(numbers, operations),
        event_of=column(st.integers(0, operations - 1), events),
        event_ms=column(st.integers(0, 2**50), events),
        results=draw(st.lists(results, min_size=events, max_size=events)),
    )


def _merged(first: Columns, second: Columns) -> Columns:
    """The second record behind the first, as two columns are."""
    both = deepcopy(first)
    both.nonce, both.outcomes, both.sent = second.nonce, second.outcomes, second.sent
    both.untold = second.untold
    for name in ("places", "paths", "place_of", "path_of", "inputs"):
        getattr(both, name).extend(getattr(second, name))
    for name in ("event_of", "event_ms", "results"):
        getattr(both, name).extend(getattr(second, name))
    return both


@given(columns())
@settings(max_examples=times(25))
def test_record_is_read_as_it_was_written(record: Columns) -> None:
    """Numbers, texts with lone surrogates, and values of any type."""
    assert decode(encode(record, whole=True)) == record


@given(columns(), columns())
@settings(max_examples=times(10))
def test_concatenation_is_merging_when_a_piece_is_appended(first: Columns, piece: Columns) -> None:
    """A server that knows nothing of the format puts the piece behind the state."""
    assume(not set(first.paths) & set(piece.paths))
    stored = encode(first, whole=True) + encode(piece, whole=False)
    merged = _merged(first, piece)
    assert decode(stored) == merged
    assert decode(encode(merged, whole=True)) == merged


@given(columns(), st.lists(columns(most=60), min_size=1, max_size=6))
@settings(max_examples=times(6))
def test_compaction_changes_the_bytes_and_nothing_that_is_in_them(
    first: Columns, pieces: list[Columns]
) -> None:
    """It is done once what was appended has doubled the state, and gives what one who wrote it at
    once would have written."""
    stored = encode(first, whole=True)
    whole = len(stored)
    for n, piece in enumerate(pieces):
        piece.paths = [f"{n}{path}x" for path in piece.paths]
        stored += encode(piece, whole=False)
    again = compacted(stored)
    assert decode(again) == decode(stored)
    if len(stored) >= max(2 * whole, COMPACTED_FROM):
        assert again == encode(decode(stored), whole=True)
        assert compacted(again) == again
    else:
        assert again == stored


def _read(state: bytes) -> None:
    """Read a state as a run does."""
    kept = dict.fromkeys(kept_in(state), Value("", b""))
    record = Record(decode(state), kept)
    for operation, _, _ in record.replay():
        if record.columns.place_of:
            record.entry(operation)
            record.timer(operation)


@given(columns(), st.data())
@settings(max_examples=times(40))
def test_damaged_state_is_bad_and_raises_nothing_else(record: Columns, draw: st.DataObject) -> None:
    """Bytes changed, lost, added or moved: either it can be read all the same, or `BadState` says
    that it can't, which is INCOMPATIBLE_STATE and never an HTTP 500."""
    state = bytearray(encode(record, whole=True))
    for _ in range(draw.draw(st.integers(1, 4), label="damages")):
        at = draw.draw(st.integers(0, len(state)), label="at")
        end = at + draw.draw(st.integers(0, 4), label="lost")
        state[at:end] = draw.draw(st.binary(max_size=4), label="added")
    with suppress(BadState):
        _read(bytes(state))


async def _body() -> int:
    async def branch(number: int) -> int:
        await asyncio.sleep(number)
        await sleep(1)
        return await call("branch", number)

    first = await call("first", 1)
    patched("later")
    rest = await asyncio.gather(branch(1), branch(2), step("third", first))
    return sum(rest)


STATE = recorded(_body, [ended(0, 3)], [ended(1, 4)], [], [], [])
close_all()


@given(st.data())
@settings(max_examples=times(40))
def test_damaged_state_gives_an_outcome_whatever_it_says(draw: st.DataObject) -> None:
    """One that can be read may say what the body never did: that is a contradiction."""
    state = bytearray(STATE)
    for _ in range(draw.draw(st.integers(1, 3), label="damages")):
        state[draw.draw(st.integers(0, len(state) - 1), label="at")] = draw.draw(
            st.integers(0, 255), label="byte"
        )
    with suppress(BadState):
        run = start(_body, bytes(state), kept=defaultdict(lambda: value(0)))
        outcome = advance(run, after_s=3)
        close_all()
        assert isinstance(outcome, Suspended | Returned | Contradicted | Raised), outcome


@given(st.binary(max_size=60))
@example(b"\x08\x01")
@example(b"\x08\x02")
@example(b"")
def test_bytes_that_are_no_state_are_bad(junk: bytes) -> None:
    """Also those that begin as one does."""
    for state in (junk, b"\x08\x01" + junk, b"\x08\x01\x15\x01\0\0\0" + junk):
        with suppress(BadState):
            _read(state)


def test_state_of_a_later_version_is_told_so() -> None:
    """A call that a later version suspended may reach an earlier one while it is being deployed."""
    with pytest.raises(BadState, match="has version 2 of the format, this SDK knows 1: a later"):
        decode(b"\x08\x02")

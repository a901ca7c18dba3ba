"""Frames come out as they went in, however the bytes were cut on their way."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import Refusal, Refused
from dispatcher.peers.errors import Failed, LinkMisused
from dispatcher.peers.frames import HEAD, Frame, Frames, head_of
from dispatcher.peers.hello import Hello, read_hello
from dispatcher.peers.refusing import encode_refusal, read_refused

frames = st.tuples(
    st.integers(0, 255),
    st.integers(0, 65535),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=80),
)


def _written(frame: Frame) -> bytes:
    type_, kind, number, payload = frame
    return head_of(type_, kind, number, len(payload)) + payload


@given(st.lists(frames, max_size=12), st.lists(st.integers(0, 1200), max_size=30))
def test_frames_are_what_was_written_whatever_the_pieces(
    sent: list[Frame], cuts: list[int]
) -> None:
    """However bytes are cut: the same frames, in order, and nothing is held when all came."""
    data = b"".join(map(_written, sent))
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = Frames()
    got: list[Frame] = []
    for start, end in itertools.pairwise(bounds):
        got += reader.feed(data[start:end])
    assert got == sent
    assert reader.held_bytes == 0


@given(st.lists(frames, max_size=4), st.integers(65, 2**32 - 1))
def test_a_frame_that_is_too_large_is_refused_by_its_head(
    sent: list[Frame], size_bytes: int
) -> None:
    """No memory is kept for what is larger than any frame may be."""
    reader = Frames(most_bytes=64)
    small = [(type_, kind, number, payload[:64]) for type_, kind, number, payload in sent]
    assert reader.feed(b"".join(map(_written, small))) == small
    with pytest.raises(LinkMisused):
        reader.feed(HEAD.pack(size_bytes, 1, 0, 0))


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_refused(data: bytes) -> None:
    """Whatever arrives, nothing else is raised."""
    reader = Frames(most_bytes=100)
    try:
        reader.feed(data)
    except LinkMisused:
        return
    assert reader.held_bytes <= len(data)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_hello_or_refused(data: bytes) -> None:
    """The same of the first frame, and of what says that something failed."""
    with pytest.raises(LinkMisused):
        read_hello(data)
    assert isinstance(read_refused(data), Failed)


@given(st.integers(0, 2**31), st.integers(0, 2**128), st.none() | st.integers(0, 250))
def test_a_hello_says_who_it_is(process: int, incarnation: int, to: int | None) -> None:
    """It is read as it was written."""
    hello = Hello(process, incarnation, to)
    assert read_hello(hello.encode()) == hello


@given(
    st.builds(
        Refusal,
        st.integers(400, 599),
        st.text(max_size=20),
        st.text(max_size=80),
        st.none() | st.integers(0, 3600),
        st.text(max_size=20),
        st.booleans(),
    )
)
def test_a_refusal_is_the_same_in_another_process(refusal: Refusal) -> None:
    """Status, slug, text, Retry-After, phrase, and whether it is said at all."""
    error = read_refused(encode_refusal(refusal))
    assert isinstance(error, Refused)
    assert error.refusal == refusal

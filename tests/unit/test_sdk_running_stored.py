"""The input in front of a record."""

from __future__ import annotations

import pytest

from dispatcher.sdk.replay.journal import BadState
from dispatcher.sdk.replay.model import Value
from dispatcher.sdk.running.stored import head_of, split


@pytest.mark.parametrize("size", [0, 1, 127, 128, 70_000])
def test_a_state_is_split_into_what_it_was_made_of(size: int) -> None:
    """Also inputs whose length takes several bytes, and types with any text."""
    value = Value("type.example/Größe", bytes(size))
    assert split(head_of(value) + b"record") == (value, b"record")


def test_the_format_is_the_documented_one() -> None:
    """Byte by byte."""
    assert head_of(Value("T", b"ab")) == b"\x01\x01T\x02ab"


WHOLE = head_of(Value("type", b"x" * 300))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (b"", "the state has nothing in it, and this SDK knows version 1"),
        (b"\x02abc", "the state has version 2 of its format, and this SDK knows version 1"),
        *[(WHOLE[:end], "the state is damaged: it ends in the input") for end in (1, 3, 7, 8, 100)],
        (b"\x01" + b"\xff" * 9, "the state is damaged: it ends in the input"),
        (b"\x01\x01\xff\x00", "the state is damaged: the type of its input is no text"),
    ],
)
def test_a_damaged_state_is_a_bad_state(state: bytes, message: str) -> None:
    """With what is wrong; never another exception."""
    with pytest.raises(BadState) as raised:
        split(state)
    assert str(raised.value) == message

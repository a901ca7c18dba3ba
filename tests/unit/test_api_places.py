"""Cursors of replays."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.api import places
from dispatcher.queue.admin.surface import Place

PLACES = st.builds(
    Place,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1, 2**16 - 1]),
)


@given(PLACES)
def test_cursor_is_read_as_the_place_it_was(place: Place) -> None:
    """In a word of forty letters and digits, and eight more for any partition but the first."""
    text = places.encode(place)
    assert places.decode(text) == place
    assert len(text) == (48 if place.partition else 40)
    assert text.isalnum()


@given(PLACES, st.integers(0, 39), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_cursor_with_another_letter_is_none(place: Place, at: int, letter: str) -> None:
    """It would go on somewhere else."""
    text = places.encode(place)
    other = text[:at] + letter + text[at + 1 :]
    if other != text:
        with pytest.raises(ValueError, match="it is not the `cursor`"):
            places.decode(other)


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    """With nothing but a ValueError."""
    with suppress(ValueError):
        assert places.encode(places.decode(text)) == text

"""Durations and sizes are read in one way everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.units import duration_ms, duration_text, size_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1500", 1500),
        ("500ms", 500),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("7d", 604_800_000),
        ("2w", 1_209_600_000),
        ("1w1d1h1m1s1ms", 694_861_001),
        ("0s", 0),
        ("007s", 7000),
        ("9" * 19, 9_999_999_999_999_999_999),
    ],
)
def test_duration_is_read_when_amounts_have_units(text: str, expected: int) -> None:
    """The largest unit first; a bare number is milliseconds."""
    assert duration_ms(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "s", "ms", "1.5s", "-1s", "+1s", "1 s", " 1s", "1s ", "30m1h", "1s1s", "1S", "1H", "1y",
     "1h30", "٣s", "1_0s", "1e3", "0x10", "9" * 20, "inf", "1s\n"],
)  # fmt: skip
def test_duration_is_refused_when_it_is_anything_else(text: str) -> None:
    """Fractions, signs, blanks, other units and orders: nobody has to guess what they mean."""
    assert duration_ms(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("17", 17), ("17B", 17), ("64KiB", 65_536), ("1GiB", 2**30), ("2MiB", 2**21),
     ("1TiB", 2**40), ("1kB", 1000), ("10MB", 10_000_000), ("1GB", 10**9), ("1TB", 10**12)],
)  # fmt: skip
def test_size_is_read_when_it_has_a_unit(text: str, expected: int) -> None:
    """Binary and decimal units; a bare number is bytes."""
    assert size_bytes(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "KiB", "1.5MiB", "-1", "1 MiB", "1M", "1G", "1k", "1mib", "1KB", "1PiB", "9" * 20, "1B\n"],
)
def test_size_is_refused_when_it_is_anything_else(text: str) -> None:
    """A unit with a letter missing could mean two sizes."""
    assert size_bytes(text) is None


@given(st.integers(0, 10**15))
def test_duration_is_the_same_when_it_was_written_and_read(milliseconds: int) -> None:
    """Nothing is lost in what is shown."""
    assert duration_ms(duration_text(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0ms"), (1500, "1s500ms"), (5_400_000, "1h30m"), (2_592_000_000, "30d")],
)
def test_duration_is_written_short(milliseconds: int, text: str) -> None:
    """Only the units that are there."""
    assert duration_text(milliseconds) == text

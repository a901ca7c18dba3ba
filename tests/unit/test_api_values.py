"""What the API and the command line share: destinations, instants and keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.api.letter_models import LetterReason
from dispatcher.cli import tail
from dispatcher.cli.errors import BadUsage
from dispatcher.core.calls import CallReason
from dispatcher.core.destination import Destination
from dispatcher.core.instants import rfc3339
from dispatcher.core.keys import Keyring
from dispatcher.core.verdict import DeadReason

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("example.com", "http://example.com"),
        ("HTTPS://Example.com:443/", "https://example.com"),
        ("[0:0::1]:8080", "http://[::1]:8080"),
    ],
)
def test_destination_is_read_as_operators_write_it(written: str, spelled: str) -> None:
    """Without a scheme it is http; a `/` at the end is no path."""
    assert str(Destination.parse(written)) == spelled


@pytest.mark.parametrize(
    ("written", "because"),
    [
        ("", "empty"),
        ("example.com/hooks", "path"),
        ("example.com?", "query"),
        ("me@example.com", "user information"),
        ("ftp://example.com", "scheme"),
        ("example.com:0", "port"),
        ("exämple.com", "host"),
        ("\udcff.example.com", "host"),
        ("example.com/\udcff", "8-bit"),
    ],
)
def test_destination_is_refused_with_a_reason(written: str, because: str) -> None:
    """Also what cannot be encoded: an argument that was not UTF-8 arrives so."""
    with pytest.raises(ValueError, match=because):
        Destination.parse(written)


def test_tail_refuses_a_destination_with_a_path() -> None:
    """No event would ever match it, or all of those of its host, which were not asked for."""
    with pytest.raises(BadUsage, match=r"--destination a\.example/hooks: it must not have a path"):
        tail.tail(destination=["a.example/hooks"])


@pytest.mark.parametrize(
    ("instant_us", "spelled"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_704_067_200_000_001, "2024-01-01T00:00:00.000001Z"),
        (1_709_164_800_000_000, "2024-02-29T00:00:00.000000Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00.000000Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_instant_is_spelled_to_the_microsecond(instant_us: int, spelled: str) -> None:
    """Always with six digits, so that text sorts as time does; years have four."""
    assert rfc3339(instant_us) == spelled


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_instant_is_the_one_that_is_spelled(instant_us: int) -> None:
    """As another reader understands it, without the rounding of floating point."""
    read = datetime.fromisoformat(rfc3339(instant_us))
    assert (read - EPOCH) // timedelta(microseconds=1) == instant_us


@pytest.mark.parametrize("instant_us", [-62_135_596_800_000_001, 253_402_300_800_000_000, 10**30])
def test_instant_beyond_the_calendar_is_an_error(instant_us: int) -> None:
    """Never another instant."""
    with pytest.raises(OverflowError):
        rfc3339(instant_us)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [(b"one", True), (b"two", True), (b"", False), (b"on", False), (b"one ", False)],
)
def test_key_is_known_when_it_is_one_of_them(shown: bytes, expected: bool) -> None:
    """To the byte; without keys none is."""
    found = Keyring.of_secrets(b"one", b"two").find(shown)
    assert (found is not None) is expected
    assert Keyring().find(shown) is None


def test_every_reason_of_a_death_has_a_word_in_the_api() -> None:
    """Of messages and of calls, and no other."""
    reasons = {one.value for one in (*DeadReason, *CallReason)}
    assert {one.value for one in LetterReason} == reasons

"""Which headers are masked, and what is left of them."""

from __future__ import annotations

import pytest

from dispatcher.api.masking import Masking

MASKING = Masking.of(["X-Api-Key"])


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        (b"Authorization", b"Bearer s3cret", "Bearer ***"),
        (b"authorization", b"basic  dXNlcjpwYXNz", "basic ***"),
        (b"AUTHORIZATION", b"AWS4-HMAC-SHA256 Credential=a, Signature=b", "AWS4-HMAC-SHA256 ***"),
        (b"Proxy-Authorization", b"Digest username=x", "Digest ***"),
        (b"Authorization", b"s3cret", "***"),
        (b"Authorization", b"s3cret in words", "***"),
        (b"Authorization", b"Bearer", "***"),
        (b"Authorization", b"Bearer ", "***"),
        (b"Cookie", b"session=1; other=2", "***"),
        (b"Set-Cookie", b"session=1", "***"),
        (b"X-Dispatcher-Key", b"k", "***"),
        (b"x-API-key", b"Token abc", "Token ***"),
        (b"x-api-key", b"\xff\xfe", "***"),
        (b"Authorization", b"", ""),
        (b"X-Api-Key-Id", b"7", "7"),
        (b"X-Name", b"J\xfcrgen", "J\xfcrgen"),
    ],
)
def test_of_a_secret_header_the_scheme_is_left(name: bytes, value: bytes, shown: str) -> None:
    """A first word that is no scheme may be a part of the secret; an empty value has none."""
    assert MASKING.masked((name, value)) == (name.decode(), shown)


STORED = [
    (b"Authorization", b"Bearer one"),
    (b"Cookie", b"a=1"),
    (b"X-Other", b"left"),
    (b"cookie", b"b=2"),
]


def test_headers_that_come_back_as_they_were_shown_keep_their_values() -> None:
    """Others are what was written; of several of one name each keeps its own."""
    edited = [
        ("authorization", "Bearer ***"),
        ("X-New", "***"),
        ("Cookie", "***"),
        ("cookie", "***"),
    ]
    assert MASKING.restored(edited, STORED) == [
        ("authorization", "Bearer one"),
        ("X-New", "***"),
        ("Cookie", "a=1"),
        ("cookie", "b=2"),
    ]


def test_secret_that_was_written_anew_is_taken_as_it_is() -> None:
    """Also beside one that is kept."""
    edited = [("Authorization", "Bearer two"), ("X-Api-Key", "new")]
    assert MASKING.restored(edited, STORED) == edited


@pytest.mark.parametrize(
    "edited",
    [
        [("Cookie", "***")],  # which of two?
        [("X-Api-Key", "***")],  # there was none
        [("Authorization", "Basic ***")],  # another scheme than was shown
    ],
)
def test_mask_that_stands_for_no_certain_value_is_refused(edited: list[tuple[str, str]]) -> None:
    """A mask is never sent as a value."""
    with pytest.raises(ValueError, match="the whole value"):
        MASKING.restored(edited, STORED)

"""Signatures and stores under anything that can be sent to them."""

from __future__ import annotations

import tempfile
from base64 import b64encode
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.protocol.webhooks import (
    ID,
    SIGNATURE,
    TIMESTAMP,
    Secret,
    SignatureRefused,
    SignatureWrong,
    Signing,
    sign,
    verify,
)
from dispatcher.receiver import (
    Claimed,
    Handled,
    MemoryStore,
    Running,
    SqliteStore,
    Standing,
    Store,
)

NOW_S = 1_700_000_000
ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
keys = st.binary(min_size=1, max_size=80)
texts = st.text(max_size=60) | st.text(st.characters(max_codepoint=0xFF), max_size=60)
names = st.sampled_from([ID, TIMESTAMP, SIGNATURE, ID.title()]) | texts


@given(st.lists(keys, min_size=1, max_size=3), ids, st.lists(st.binary(), max_size=5))
def test_what_is_signed_is_accepted(several: list[bytes], one: str, pieces: list[bytes]) -> None:
    """With any of the secrets, however the body was cut."""
    secrets = [Secret.read(b"x" + key) for key in several]
    signing = Signing(secrets, one, NOW_S)
    for piece in pieces:
        signing.add(piece)
    body = b"".join(pieces)
    assert signing.signed == sign(secrets, one, NOW_S, body)
    for secret in secrets:
        assert verify([secret], signing.signed.headers.items(), body, now_s=NOW_S) == one


@given(st.lists(st.tuples(names, texts), max_size=6), st.binary(max_size=20))
@example([(ID, "m"), (TIMESTAMP, "0" * 12), (SIGNATURE, "v1,é v1,\ud800")], b"")
@example([(ID, "m"), (TIMESTAMP, str(NOW_S)), (SIGNATURE, "v1,\x00\u2028v1,")], b"")
def test_what_is_not_signed_is_refused(headers: list[tuple[str, str]], body: bytes) -> None:
    """Whatever is in its headers, and never by another error."""
    with pytest.raises(SignatureRefused):
        verify([Secret(b"key")], headers, body, now_s=NOW_S, tolerance_s=1e12)


@given(keys, ids, st.binary(min_size=1), st.data())
def test_a_bit_that_is_changed_is_noticed(
    key: bytes, one: str, body: bytes, data: st.DataObject
) -> None:
    """In the body, wherever."""
    headers = sign([Secret(key)], one, NOW_S, body).headers
    place = data.draw(st.integers(0, len(body) * 8 - 1))
    changed = bytearray(body)
    changed[place // 8] ^= 1 << place % 8
    with pytest.raises(SignatureWrong):
        verify([Secret(key)], headers.items(), bytes(changed), now_s=NOW_S)


@given(keys)
def test_a_secret_is_read_as_it_is_written(key: bytes) -> None:
    """With its padding or without."""
    written = "whsec_" + b64encode(key).decode()
    assert Secret.read(written).key == Secret.read(written.rstrip("=")).key == key


@given(st.text(max_size=40))
def test_a_secret_is_read_or_refused(written: str) -> None:
    """Nothing else happens."""
    with suppress(ValueError):
        assert Secret.read(f"whsec_{written}").key


steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "claim", "finish", "release"]),
        st.sampled_from("ab"),  # the message
        st.sampled_from("xyz"),  # who asks
        st.integers(0, 40),  # seconds until then
    ),
    max_size=40,
)


class Model:
    """A store, as simple as can be: for each message who has it, since when and until when."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[str | None, int, int]] = {}

    def claim(self, message: str, by: str, now: int) -> Standing:
        token, since, until = self.of.get(message, ("", 0, -1))
        if until > now:
            return Running(now - since, until - now) if token else Handled()
        self.of[message] = (by, now, now + 30)
        return Claimed()

    def finish(self, message: str, now: int) -> None:
        self.of[message] = (None, now, now + 100)

    def release(self, message: str, by: str) -> None:
        if self.of.get(message, (None,))[0] == by:
            del self.of[message]


@given(steps)
def test_stores_do_what_the_model_does(taken: list[tuple[str, str, str, int]]) -> None:
    """Both, whatever comes after what."""
    with tempfile.TemporaryDirectory() as place:
        file = SqliteStore(Path(place, "a.db"), keep_s=100e-6)
        stores: list[Store] = [MemoryStore(keep_s=100e-6), file]
        model, now = Model(), 0
        for step, message, by, later in taken:
            now += later
            if step == "claim":
                expected = model.claim(message, by, now)
                for store in stores:
                    assert store.claim(message, by, now_us=now, lease_us=30) == expected
            elif step == "finish":
                model.finish(message, now)
                for store in stores:
                    store.finish(message, now_us=now)
            else:
                model.release(message, by)
                for store in stores:
                    store.release(message, by)
        file.close()

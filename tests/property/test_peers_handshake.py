"""The handshake of two nodes: who knows the key gets through, however the bytes are cut; nobody
else does, whatever he has heard before and whatever he changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dispatcher.peers.handshake import (
    NONCE_BYTES,
    VERSION,
    Accepting,
    Connecting,
    HandshakeFailed,
    Purpose,
    Reason,
)

KEY = b"the key of the cluster"
ALL = frozenset(Purpose)
nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)
cuts = st.lists(st.integers(0, 120), max_size=12)
Change = Callable[[int, bytes], bytes]


class Outcome:
    """What both sides came to. `sent` are the bytes of the messages in order."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.connecting: Reason | None = None
        self.accepting: Reason | None = None
        self.is_over = False


def _pieces(data: bytes, bounds: Sequence[int]) -> list[bytes]:
    ends = sorted({min(bound, len(data)) for bound in bounds} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def shake(
    connecting: Connecting,
    accepting: Accepting,
    *,
    serves: frozenset[Purpose] = ALL,
    bounds: Sequence[int] = (),
    change: Change = lambda number, data: data,
) -> Outcome:
    """Have both speak with each other until nobody says anything more; `change` is what somebody in
    between does with each message."""
    outcome = Outcome()

    def passed(data: bytes) -> list[bytes]:
        outcome.sent.append(data)
        return _pieces(change(len(outcome.sent) - 1, data), bounds)

    to_accepting = connecting.opening
    while to_accepting and outcome.accepting is None:
        to_connecting = b""
        for piece in passed(to_accepting):
            try:
                to_connecting += accepting.receive(piece, serves)
            except HandshakeFailed as error:
                outcome.accepting = error.reason
                to_connecting += error.answer
                break
        to_accepting = b""
        for piece in passed(to_connecting) if to_connecting else ():
            try:
                to_accepting += connecting.receive(piece)
            except HandshakeFailed as error:
                outcome.connecting = error.reason
                return outcome
    outcome.is_over = connecting.is_over and accepting.is_over
    return outcome


@given(st.sampled_from(Purpose), st.binary(min_size=1, max_size=200), nonces, nonces, cuts)
def test_two_with_the_same_key_meet_however_the_bytes_are_cut(
    purpose: Purpose, key: bytes, one: bytes, other: bytes, bounds: list[int]
) -> None:
    """Both know what the connection is for, and nothing is left over."""
    connecting, accepting = Connecting(key, purpose, one), Accepting(key, other)
    assert shake(connecting, accepting, bounds=bounds).is_over
    assert accepting.purpose is purpose
    assert connecting.rest == b""


@given(st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=40), nonces, nonces)
def test_two_with_different_keys_both_learn_that_they_are_different(
    key: bytes, other_key: bytes, one: bytes, other: bytes
) -> None:
    """Neither shows anything that only who knows its key could make."""
    assume(key.ljust(64, b"\0") != other_key.ljust(64, b"\0"))  # HMAC fills short keys up
    outcome = shake(Connecting(key, Purpose.LINK, one), Accepting(other_key, other))
    assert outcome.connecting is outcome.accepting is Reason.WRONG_KEY
    assert not outcome.is_over


@given(st.data(), nonces, nonces)
def test_whatever_is_changed_on_the_way_ends_it(
    data: st.DataObject, one: bytes, other: bytes
) -> None:
    """One bit of any message, the purpose and the version too: nobody goes on."""
    message = data.draw(st.integers(0, 3))

    def change(number: int, sent: bytes) -> bytes:
        if number != message:
            return sent
        bit = data.draw(st.integers(0, 8 * len(sent) - 1))
        changed = bytearray(sent)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    outcome = shake(Connecting(KEY, Purpose.LINK, one), Accepting(KEY, other), change=change)
    assert not outcome.is_over


@given(nonces, nonces, nonces, st.sampled_from(Purpose))
def test_what_was_heard_of_one_handshake_opens_no_other(
    one: bytes, other: bytes, later: bytes, purpose: Purpose
) -> None:
    """Replayed to the accepting side, and by one that plays the accepting side."""
    assume(other != later)
    assume(one != later)
    opening, challenge, proof, verdict = shake(
        Connecting(KEY, purpose, one), Accepting(KEY, other)
    ).sent
    accepting = Accepting(KEY, later)
    accepting.receive(opening, ALL)
    with pytest.raises(HandshakeFailed) as failed:
        accepting.receive(proof, ALL)
    assert failed.value.reason is Reason.WRONG_KEY
    connecting = Connecting(KEY, purpose, later)
    connecting.receive(challenge)
    with pytest.raises(HandshakeFailed) as failed:
        connecting.receive(verdict)
    assert failed.value.reason is Reason.WRONG_KEY


@given(nonces, nonces)
def test_a_proof_is_of_no_use_for_another_purpose_or_as_the_other_sides(
    one: bytes, other: bytes
) -> None:
    """Whoever sits between two nodes turns a link into nothing else, and mirrors nothing."""
    opening, challenge, proof, _ = shake(
        Connecting(KEY, Purpose.LINK, one), Accepting(KEY, other)
    ).sent
    accepting = Accepting(KEY, other)
    changed = opening.replace(bytes((VERSION, Purpose.LINK)), bytes((VERSION, Purpose.API)), 1)
    assert changed != opening
    accepting.receive(changed, ALL)
    with pytest.raises(HandshakeFailed):
        accepting.receive(proof, ALL)
    connecting = Connecting(KEY, Purpose.LINK, one)
    assert connecting.receive(challenge) == proof
    with pytest.raises(HandshakeFailed) as failed:
        connecting.receive(b"\0" + proof)
    assert failed.value.reason is Reason.WRONG_KEY


def _told(accepting: Accepting, pieces: Sequence[bytes]) -> HandshakeFailed | None:
    """What these bytes come to, and nothing is said before."""
    for piece in pieces:
        try:
            said = accepting.receive(piece, ALL)
        except HandshakeFailed as error:
            return error
        assert said == b""
    return None


@given(st.binary(max_size=300), cuts)
def test_any_bytes_are_refused_and_little_is_kept(data: bytes, bounds: list[int]) -> None:
    """To who does not begin as a node does nothing is said, and his first wrong byte ends it."""
    error = _told(Accepting(KEY, bytes(NONCE_BYTES)), _pieces(data, bounds))
    if error is None:
        assert b"dispatcher".startswith(data)
    else:
        assert (error.reason, error.answer) == (Reason.NOT_UNDERSTOOD, b"")


@given(st.binary(min_size=1, max_size=300) | st.binary(min_size=32, max_size=32))
def test_any_bytes_after_the_opening_are_no_proof(data: bytes) -> None:
    """One that is too long is refused before it is whole; a guessed one gets no proof back."""
    accepting = Accepting(KEY, bytes(NONCE_BYTES))
    accepting.receive(Connecting(KEY, Purpose.LINK, bytes(NONCE_BYTES)).opening, ALL)
    error = _told(accepting, [data])
    if len(data) < 32:
        assert error is None
    elif len(data) == 32:
        assert error is not None
        assert (error.reason, error.answer) == (Reason.WRONG_KEY, b"\x01" + bytes(32))
    else:
        assert error is not None
        assert (error.reason, error.answer) == (Reason.NOT_UNDERSTOOD, b"")


@given(st.binary(max_size=300))
def test_any_bytes_are_no_challenge_and_no_verdict(data: bytes) -> None:
    """Who answers at the address of a node, and is none, learns at most one proof of a nonce that
    will never come again."""
    connecting = Connecting(KEY, Purpose.LINK, bytes(NONCE_BYTES))
    with pytest.raises(HandshakeFailed):
        connecting.receive(data.ljust(200, b"x"))
    accepting = Accepting(KEY, bytes(NONCE_BYTES))
    connecting = Connecting(KEY, Purpose.LINK, bytes(NONCE_BYTES))
    connecting.receive(accepting.receive(connecting.opening, ALL))
    with pytest.raises(HandshakeFailed):
        connecting.receive(data.ljust(200, b"x"))


def test_what_is_not_served_is_said_to_who_knows_the_key() -> None:
    """He has to ask again later; the other one has shown that it is a node of the cluster."""
    nonce = bytes(NONCE_BYTES)
    outcome = shake(
        Connecting(KEY, Purpose.API, nonce),
        Accepting(KEY, nonce),
        serves=frozenset((Purpose.LINK,)),
    )
    assert outcome.connecting is outcome.accepting is Reason.NOT_SERVED


@pytest.mark.parametrize("side", range(2))
def test_another_version_is_said_to_be_one(side: int) -> None:
    """Whoever is newer: nobody takes it for a wrong key."""

    def change(number: int, sent: bytes) -> bytes:
        return sent[:10] + bytes((VERSION + 1,)) + sent[11:] if number == side else sent

    nonce = bytes(NONCE_BYTES)
    outcome = shake(Connecting(KEY, Purpose.LINK, nonce), Accepting(KEY, nonce), change=change)
    assert not outcome.is_over
    reason = outcome.connecting if side else outcome.accepting
    assert reason is Reason.WRONG_VERSION


def test_what_comes_behind_the_verdict_is_the_connections() -> None:
    """The accepting side may begin at once."""
    connecting = Connecting(KEY, Purpose.LINK, bytes(NONCE_BYTES))
    accepting = Accepting(KEY, bytes(NONCE_BYTES))
    proof = connecting.receive(accepting.receive(connecting.opening, ALL))
    connecting.receive(accepting.receive(proof, ALL) + b"and more")
    assert connecting.is_over
    assert connecting.rest == b"and more"

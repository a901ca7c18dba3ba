"""Dead letters of either kind: a message, or a call."""

from __future__ import annotations

from typing import Final, TypeAlias

from dispatcher.queue.records.dead_calls import CallLetter, call_facts, decode_call, encode_call
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.letters import (
    DeadLetter,
    LetterFacts,
    decode_dead,
    encode_dead,
    letter_facts,
)

AnyLetter: TypeAlias = DeadLetter | CallLetter

LETTER_KINDS: Final = frozenset(
    {Kind.DEAD, Kind.DEAD_V1, Kind.DEAD_TERMS, Kind.DEAD_OPERATOR, Kind.DEAD_CALL}
)


def encode_letter(letter: AnyLetter) -> bytes:
    """A DEAD or a DEAD_CALL payload."""
    return encode_dead(letter) if isinstance(letter, DeadLetter) else encode_call(letter)


def decode_letter(payload: bytes) -> AnyLetter:
    """The letter of a payload of one of `LETTER_KINDS`."""
    return decode_call(payload) if payload[0] == Kind.DEAD_CALL else decode_dead(payload)


def facts_of(payload: bytes) -> LetterFacts:
    """The facts of such a payload."""
    return call_facts(payload) if payload[0] == Kind.DEAD_CALL else letter_facts(payload)

"""States that grow (our extension `append`): an answer holds what is new, and the bytes are put
behind those that are there; they are never parsed.

A state is then one whole piece and the pieces behind it, each where its event is in the log. Its
pieces are made one again when they have doubled it, or are many: so what is written stays in
proportion to what was sent, and so does what is kept in memory of the places of the pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dispatcher.functions.model import Call, StateArm
from dispatcher.functions.spans import Span, length_of
from dispatcher.protocol.messages import Any, Poll

LARGE_BYTES: Final = 64 * 1024
"""Pieces behind a smaller whole may have that much."""
FEW: Final = 64
"""So many pieces there may be in any case, and"""
EACH_BYTES: Final = 512
"""one for each of these bytes of the whole."""


def extends(call: Call, poll: Poll, arm: StateArm) -> bool:
    """Whether a poll extends the very state that the call has."""
    return bool(call.states) and arm is call.arm and poll.extends == call.state_crc


def is_to_be_one(states: Sequence[Span], new_bytes: int) -> bool:
    """Whether a state is to be written whole when so many bytes come behind these pieces."""
    whole_bytes, *appended = map(length_of, states)
    if len(states) > max(FEW, whole_bytes // EACH_BYTES):
        return True
    return sum(appended) + new_bytes > max(whole_bytes, LARGE_BYTES)


def one(arm: StateArm, states: Sequence[bytes]) -> bytes:
    """The pieces of a state as a whole one, in the form in which it is stored. Of an Any the values
    are put together; its type is that of the first."""
    if len(states) == 1:
        return states[0]
    if arm is not StateArm.TYPED:
        return b"".join(states)
    whole = Any.FromString(states[0])
    whole.value = b"".join((whole.value, *(Any.FromString(state).value for state in states[1:])))
    return whole.SerializeToString()


def piece_of(poll: Poll, arm: StateArm) -> bytes:
    """What of a poll is stored behind the state that it extends."""
    if arm is StateArm.TYPED:
        return Any(value=poll.typed_coroutine_state.value).SerializeToString()
    return poll.coroutine_state

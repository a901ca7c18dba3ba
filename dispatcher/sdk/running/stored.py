"""The state of a durable call as the server keeps it: its input, and behind that its record.

    byte 0      1, the version of this format
    varint      length of the type of the input, in bytes; then the type in UTF-8
    varint      length of the input; then the input
    the rest    the record, as `replay.journal` writes it

A resume brings no input, and the body needs it to be replayed. What is new in the record is put
behind it, so the server can put pieces together without reading them.
"""

from __future__ import annotations

from typing import Final

from dispatcher.sdk.replay import varints
from dispatcher.sdk.replay.journal import BadState
from dispatcher.sdk.replay.model import Value

VERSION: Final = 1


def head_of(input: Value) -> bytes:
    """What a state begins with."""
    kind = input.type.encode("utf-8", "surrogatepass")
    head = bytearray([VERSION])
    for piece in (kind, input.data):
        varints.put(head, len(piece))
        head += piece
    return bytes(head)


def split(state: bytes) -> tuple[Value, bytes]:
    """The input in a state, and the record.

    Raises:
        BadState: it is none.
    """
    if not state or state[0] != VERSION:
        found = f"version {state[0]} of its format" if state else "nothing in it"
        raise BadState(f"the state has {found}, and this SDK knows version {VERSION}")
    kind, at = _piece(state, 1)
    data, at = _piece(state, at)
    try:
        return Value(kind.decode("utf-8", "surrogatepass"), data), state[at:]
    except UnicodeDecodeError as error:
        raise BadState("the state is damaged: the type of its input is no text") from error


def _piece(state: bytes, at: int) -> tuple[bytes, int]:
    try:
        length, at = varints.get(state, at)
    except (IndexError, ValueError):
        length = len(state)
    if at + length > len(state):
        raise BadState("the state is damaged: it ends in the input")
    return state[at : at + length], at + length

"""How much is done in one turn changes nothing but when it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.shared import Shared
from dispatcher.testing.ingress import MemoryAcceptor, MemoryTransport
from tests.property.test_ingress_framing import Made, Ready, cut, damaged, requests, take


def take_in_turns(pieces: Sequence[bytes], steps: int) -> tuple[MemoryAcceptor, bytes]:
    """As `take`, with turns of so many steps, and bytes that arrive whether it is their turn or
    not."""
    queue = MemoryAcceptor(at_once=False)
    turns: list[Callable[[], None]] = []
    shared = Shared(queue, IngressConfig("", 0), Ready, lambda: 0.0, turns.append)
    shared.turn_steps = steps
    shared.date = b""
    shared.accepted_start = b"HTTP/1.1 202 Accepted\r\nX-Dispatcher-Message-Id: "
    connection, transport = Connection(shared), MemoryTransport()
    connection.connection_made(transport)
    for piece in pieces:
        connection.data_received(piece)
        assert len(turns) <= 1
        if turns and len(piece) % 2:
            turns.pop()()
    connection.check(1e9 if turns else 0.0)
    while turns:
        turns.pop()()
    queue.settle()
    connection.connection_lost(None)
    assert not shared.memory.held_bytes
    return queue, bytes(transport.written)


def _joined(made: Sequence[Made]) -> bytes:
    return b"".join(one.raw for one in made)


@given(
    st.lists(requests(), min_size=1, max_size=4).map(_joined) | damaged(),
    st.lists(st.integers(0, 2000), max_size=8),
    st.integers(1, 60),
)
def test_turns_change_nothing(stream: bytes, cuts: list[int], steps: int) -> None:
    """The same messages and the same answers, however little is done at once."""
    pieces = cut(stream, cuts)
    queue, answered = take(pieces)
    in_turns, answered_in_turns = take_in_turns(pieces, steps)
    assert [one.head for one in in_turns.messages] == [one.head for one in queue.messages]
    assert in_turns.bodies == queue.bodies
    assert answered_in_turns == answered

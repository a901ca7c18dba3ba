"""The table of a connection's states: every row of it happens, and nothing else can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dispatcher.ingress.connection import Connection
from dispatcher.ingress.states import TRANSITIONS, State
from tests.unit.test_ingress_connection import CONFIG, Caller, chunked, request

REFUSED = request(b"", b"X-Dispatcher-Timeout: 0", length=10)
LAST = request(b"", b"Connection: close")
Step = Callable[[Caller], object]


def _send(data: bytes) -> Step:
    return lambda caller: caller.connection.data_received(data)


def _lose(caller: Caller) -> None:
    caller.connection.connection_lost(None)


def _settle(caller: Caller) -> None:
    caller.queue.settle()


def _end_input(caller: Caller) -> None:
    caller.connection.eof_received()


WAYS: dict[State, tuple[Step, ...]] = {
    State.IDLE: (),
    State.HEAD: (_send(b"GET /"),),
    State.BODY: (_send(request(b"x", length=2)),),
    State.DROP: (_send(REFUSED),),
    State.ENDING: (_send(LAST),),
    State.LINGER: (_send(b"bad\r\n\r\n"),),
    State.CLOSED: (_lose,),
}
"""How a connection comes into each state."""

STEPS: dict[tuple[State, State], Step] = {
    (State.IDLE, State.HEAD): _send(b"P"),
    (State.IDLE, State.BODY): _send(chunked(b"x")[:-2]),
    (State.IDLE, State.DROP): _send(REFUSED),
    (State.IDLE, State.ENDING): _send(LAST),
    (State.HEAD, State.IDLE): _send(b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    (State.BODY, State.IDLE): _send(b"x"),
    (State.DROP, State.IDLE): _send(b"x" * 10),
    (State.HEAD, State.ENDING): _end_input,
    (State.BODY, State.ENDING): _end_input,
    (State.DROP, State.ENDING): _end_input,
    (State.ENDING, State.LINGER): _settle,
    **{(state, State.CLOSED): _lose for state in State if state is not State.CLOSED},
}


def _in(state: State) -> Caller:
    caller = Caller(config=replace(CONFIG, max_connections=5))
    for step in WAYS[state]:
        step(caller)
    return caller


@pytest.mark.parametrize("state", State)
def test_connection_comes_into_every_state(state: State) -> None:
    """And shows it to whoever looks with a debugger."""
    caller = _in(state)
    assert caller.connection.exchange.state is state
    assert repr(caller.connection).startswith(f"<Connection {state.name}")


def test_connection_shows_what_it_waits_for() -> None:
    """What is owed, and why nothing is read."""
    caller = Caller()
    assert repr(Connection(caller.shared)) == "<Connection IDLE, <Outbox 0 answers owed>>"
    caller.connection.pause_writing()
    caller.connection.data_received(request())
    shown = repr(caller.connection)
    assert shown == "<Connection IDLE, waits for FULL, <Outbox 0 answers owed, blocked>>"


@pytest.mark.parametrize(("state", "after"), STEPS, ids=lambda state: state.name)
def test_every_transition_of_the_table_happens(state: State, after: State) -> None:
    """One thing happens, and one state follows the other."""
    caller = _in(state)
    STEPS[state, after](caller)
    assert caller.connection.exchange.state is after


def test_table_has_no_transition_that_nothing_makes() -> None:
    """The steps above are all of it; `Exchange` refuses to enter anything else."""
    assert {(state, after) for state in State for after in TRANSITIONS[state]} == set(STEPS)

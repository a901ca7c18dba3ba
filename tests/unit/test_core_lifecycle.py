"""The life-cycle table: documentation and code are one."""

from __future__ import annotations

import re

from dispatcher.core import lifecycle
from dispatcher.core.lifecycle import (
    TRANSITIONS,
    MessageEvent,
    MessageState,
    may,
)

_ROW = re.compile(r"^    (\w+) +(\S+) +-> (\S+)$", re.MULTILINE)


def _state(word: str) -> MessageState | None:
    return None if word in ("(new)", "(gone)") else MessageState(word)


def test_docstring_and_table_are_the_same() -> None:
    """What is written on top of the module is what holds."""
    rows = {
        (_state(before), MessageEvent(event)): _state(after)
        for event, before, after in _ROW.findall(lifecycle.__doc__ or "")
    }
    assert rows == dict(TRANSITIONS)


def test_every_state_can_be_reached_and_survives_a_restart() -> None:
    """There is a transition into each, and a way back from the log for each."""
    assert set(TRANSITIONS.values()) - {None} == set(MessageState)
    assert {s for s, e in TRANSITIONS if e is MessageEvent.RECOVERED} == set(MessageState)


def test_only_delivered_is_final() -> None:
    """Everything else goes on, by itself or by an operator."""
    leaving = {state for (state, _), after in TRANSITIONS.items() if after is not state}
    assert set(MessageState) - leaving == {MessageState.DELIVERED}


def test_message_lives_through_a_retry_and_a_redrive() -> None:
    """Accepted, failed, retried, given up, redriven, delivered."""
    state: MessageState | None = None
    for event in (
        MessageEvent.ACCEPTED,
        MessageEvent.STARTED,
        MessageEvent.FAILED,
        MessageEvent.RECOVERED,
        MessageEvent.DUE,
        MessageEvent.STARTED,
        MessageEvent.GIVEN_UP,
        MessageEvent.REDRIVEN,
        MessageEvent.STARTED,
        MessageEvent.DELIVERED,
    ):
        state = TRANSITIONS[state, event]
    assert state is MessageState.DELIVERED


def test_what_waits_can_be_cancelled_and_nothing_else() -> None:
    """An attempt that is under way may reach the destination, and what is over is over."""
    cancelled = {state for state in MessageState if may(state, MessageEvent.CANCELLED)}
    assert cancelled == {MessageState.READY, MessageState.SCHEDULED}

"""What arrives too slowly: what is given up, and who is refused first when memory is used up.

Time is looked at by the listener's sweep, and by `room` when a budget is used up.
"""

from __future__ import annotations

from typing import Final, assert_never

from dispatcher.ingress import refusals
from dispatcher.ingress.exchange import LATELY, Exchange
from dispatcher.ingress.memory import Memory
from dispatcher.ingress.states import HEAD, State

_SHORTEST_S: Final = 1.0
"""A rate is measured over at least this long: bytes that arrive at once have none."""


def end_if_slow(exchange: Exchange, now_s: float) -> None:
    """End an exchange that has taken too long. `now_s` is the loop's clock."""
    config = exchange.shared.config
    quiet_s = now_s - exchange.since_s
    match exchange.state:
        case State.IDLE:
            if exchange.since_s == LATELY:
                # Counted from now it is never closed early: who keeps connections a second less
                # than we do must not find one closed.
                exchange.since_s = now_s
            elif quiet_s > config.idle_timeout_s and exchange.outbox.is_empty:
                exchange.give_up()
        case State.HEAD:
            if quiet_s > config.head_timeout_s:
                exchange.abandon(refusals.HEAD_TIMEOUT)
        case State.BODY:
            if exchange.receiving is not None and exchange.receiving.pace.is_late(now_s):
                exchange.abandon(refusals.BODY_TIMEOUT)
        case State.DROP:
            if quiet_s > config.body_timeout_s:
                exchange.give_up()
        case State.LINGER:
            if exchange.closing is None or exchange.closing.is_over(now_s):
                exchange.transport.abort()
        case State.ENDING | State.CLOSED:
            pass
        case _ as unknown:
            assert_never(unknown)


def rate_in(exchange: Exchange, memory: Memory, now_s: float) -> float | None:
    """Bytes a second at which the request under way arrives, if it takes of this memory and waits
    for its caller; 0 for the head of a stranger."""
    shared = exchange.shared
    if exchange.state is HEAD and memory is shared.head_memory:
        return head_rate(exchange, now_s)
    receiving = exchange.receiving
    if receiving is None or memory is not shared.memory or not receiving.body.held.size_bytes:
        return None
    pace = receiving.pace
    return None if pace.is_resting else pace.bytes_a_second(now_s)


def head_rate(exchange: Exchange, now_s: float, more_bytes: int = 0) -> float:
    """Bytes a second at which a head arrives, these too; a stranger's counts for nothing."""
    heads = exchange.heads
    if heads.is_of_a_stranger:
        return 0.0
    return (heads.waiting_bytes + more_bytes) / max(now_s - exchange.since_s, _SHORTEST_S)

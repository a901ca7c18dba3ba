"""What of many calls goes into one answer: a server takes so many of them, and so many bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from dispatcher.sdk.replay.model import Numbered
from dispatcher.sdk.running.responses import MOST_BYTES, Waiting, response_of
from dispatcher.sdk.running.session import Session
from dispatcher.sdk.wire import call_of

MOST_CALLS: Final = 10_000
"""In one answer."""
_AROUND_BYTES: Final = 4_000
"""Around an input: names, ids, times. No server takes longer names."""
_FIELD_BYTES: Final = 6
"""Before a call: a tag, and a length."""
_HELD_BYTES: Final = 16
"""By which a state grows that says which calls are held."""
_SMALL_BYTES: Final = 4_000
"""Where there is no more than that beside the calls, it is not worth an answer of its own."""


def parted(waiting: Waiting, session: Session, *, appends: bool) -> Waiting:
    """The same with as many of its calls as fit, and the rest is held: then it is resumed at once.
    Its state is what `session` has, not marked yet; it `appends` where it need not come whole."""
    part = part_of(waiting, may_be_none=appends)
    if len(part) < len(waiting.calls):
        session.hold(waiting.calls[len(part) :])
        state, _ = session.state(extends=appends)
        nonce = session.engine.nonce
        return replace(waiting, state=state, nonce=nonce, calls=part, wait_us=0)
    return waiting


def part_of(waiting: Waiting, *, may_be_none: bool) -> Sequence[Numbered]:
    """The first of its calls, as many as fit beside its state. One that fits nowhere is alone: what
    is said of it names it.

    `may_be_none`: only what is new in the state is sent the next time. So a large call may wait for
    an answer that has not much else.
    """
    if _fits_anyway(waiting):
        return waiting.calls
    sizes = [call_of(one.operation, one.id).ByteSize() + _FIELD_BYTES for one in waiting.calls]
    if max(sizes, default=0) > MOST_BYTES:
        return [waiting.calls[sizes.index(max(sizes))]]
    beside = response_of(replace(waiting, calls=())).ByteSize()
    count = _first_that_fit(sizes[:MOST_CALLS], MOST_BYTES - _HELD_BYTES - beside)
    if may_be_none and beside > _SMALL_BYTES:
        return waiting.calls[:count]
    return waiting.calls[: max(1, count)]


def _fits_anyway(waiting: Waiting) -> bool:
    """Without a look at each: nearly all do."""
    calls = waiting.calls
    inputs = sum(len(one.operation.input.data) for one in calls)
    others = len(calls) + len(waiting.cancelled) + len(waiting.kept) + 1
    size = len(waiting.state) + inputs + _AROUND_BYTES * others
    return len(calls) <= MOST_CALLS and size <= MOST_BYTES


def _first_that_fit(sizes: Sequence[int], room: int) -> int:
    for count, size in enumerate(sizes):
        room -= size
        if room < 0:
            return count
    return len(sizes)

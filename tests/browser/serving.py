"""What the browser's tests talk to: the API over a `MemoryAdmin` with data of all kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from dispatcher.api.call_values import any_of
from dispatcher.functions.shown import CallState, Entry, Step
from dispatcher.protocol.messages import CallResult, Error
from dispatcher.queue.admin.surface import LetterDetail, MessageState
from dispatcher.schedules.plans import Plan, PlannedCall
from dispatcher.testing.admin import letter, message, message_id
from dispatcher.testing.api import ApiBench
from dispatcher.testing.function_service import NOW_US, MemoryFunctions, call_id, view

BOUNDS: Final = (0.01, 0.05, 0.25)
"""Of the buckets of the latencies."""
HOSTILE: Final = (
    "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>\u202e"
)
"""What a page that put it in as HTML would run."""


def fill(bench: ApiBench) -> None:
    """Messages 1 to 4, one a state, and dead letters from 1001 on: 30 of `a`, 2 of `b`."""
    states = [
        MessageState.READY,
        MessageState.SCHEDULED,
        MessageState.IN_FLIGHT,
        MessageState.DELIVERED,
    ]
    for number, state in enumerate(states, 1):
        bench.admin.put(message(number, state))
    for number in range(1001, 1031):
        bench.admin.bury(letter(number))
    bench.admin.bury(letter(1031, to="b", status=None, error="timeout"))
    bench.admin.bury(hostile_letter(1032))
    bench.render = lambda: latencies(bench.admin.delivered_total)


ORDER, CHARGE, MAIL, SHIP, STRANGE = map(call_id, range(1, 6))
"""The calls there are: the first is the root of the next two."""


async def functions() -> MemoryFunctions:
    """A tree of three calls that wait, one that succeeded, and one that failed, with HTML in
    everything that a stranger may choose."""
    found = MemoryFunctions()
    plan = Plan("30 2 * * *", "Europe/Berlin", PlannedCall("http://127.0.0.1:8000", "clean_up"))
    await found.schedules.put("", "nightly", plan)
    found.put(
        replace(
            view(1, state=CallState.SUSPENDED, function="order", application="shop"),
            waits_for=1,
            steps=1,
        )
    )
    found.put(view(2, state=CallState.SUSPENDED, function="charge", parent=1))
    mail = view(3, state=CallState.SCHEDULED, function="mail", parent=2)
    found.put(
        replace(
            mail,
            root_id=ORDER,
            depth=2,
            attempts=2,
            last_error="throttled",
            next_run_at_us=NOW_US + 60_000_000,
        )
    )
    found.put(view(4, function="ship"))
    await found.end(SHIP, CallResult(output=any_of({"parcels": [1, 2]})), CallState.SUCCEEDED)
    found.put(view(5, function=HOSTILE, endpoint="https://b.example"))
    refused = CallResult(output=any_of(HOSTILE), error=Error(type=HOSTILE, message=HOSTILE))
    await found.end(STRANGE, refused, CallState.FAILED)
    found.timelines[ORDER] = [
        Entry(Step.CREATED, NOW_US),
        Entry(
            Step.RUN,
            NOW_US,
            attempt=1,
            duration_ms=40,
            status="temporary_error",
            error="http_503",
            next_at_us=NOW_US + 500_000,
        ),
        Entry(Step.RUN, NOW_US + 500_000, attempt=2, duration_ms=12, status="ok"),
        Entry(Step.SUSPENDED, NOW_US + 512_000, count=1),
    ]
    return found


def latencies(delivered: int) -> str:
    """Metrics that say that every delivery took between the first two bounds."""
    lines = [
        f'dispatcher_delivery_seconds_bucket{{le="{bound}"}} {delivered if at else 0}'
        for at, bound in enumerate(BOUNDS)
    ]
    return "\n".join([*lines, f'dispatcher_delivery_seconds_bucket{{le="+Inf"}} {delivered}', ""])


def hostile_letter(number: int) -> LetterDetail:
    """A dead letter for `b` with HTML in everything that a stranger may choose."""
    made = letter(number, to="b", status=None, error="timeout", body=HOSTILE.encode())
    history = [replace(one, response_start=HOSTILE.encode()) for one in made.history]
    return replace(
        made,
        letter=replace(made.letter, target=f"/{HOSTILE}"),
        headers=[(b"X-Name", HOSTILE.encode()), (b"<b>X</b>", b"\x00")],
        detail=HOSTILE,
        history=history,
    )


def long_letter(number: int) -> LetterDetail:
    """A dead letter whose words have no place to break."""
    made = letter(number, body=bytes(range(256)))
    destination = f"https://{'long-' * 40}.example"
    return replace(
        made,
        letter=replace(made.letter, destination=destination, target=f"/{'x' * 3000}"),
        headers=[(b"X-Long", b"y" * 3000)],
    )


def deliver(bench: ApiBench, numbers: range) -> None:
    """Let messages come and be delivered."""
    for number in numbers:
        done = message(number, MessageState.DELIVERED)
        bench.admin.put(done)
        bench.admin.messages.pop(message_id(number - 50), None)

"""What a call waits for that the test does not bring about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dispatcher.sdk.testing.calls import Record

MOST_FAILURES: Final = 1_000
"""How often in a row a call may fail before nobody expects it to succeed: a day of tries."""


class Stuck(AssertionError):
    """A call waits for something that only the test can bring: a promise, a channel, or time; or it
    fails again and again."""


def stuck(call: Record) -> Stuck:
    """Return the error that says what a call waits for, and what to write."""
    waits = sorted(set(_waits(call)))
    if not waits:
        return Stuck(f"{call.function} waits, and nothing that it called is under way.")
    return Stuck(f"{call.function} waits for {', '.join(waits)}")


def failing(call: Record, why: str) -> Stuck:
    """Return the error that says that a call does not succeed, and what to write."""
    return Stuck(
        f"{call.function} has failed {call.failures:,} times in a row, the last time with {why}. "
        "It would be tried again until it expires: have it raise a PermanentError, or call it with "
        "with_options(expiration=…)."
    )


def _waits(call: Record) -> Iterator[str]:
    if not call.open and call.parent is not None:
        yield _shown(call)
    for child in call.open.values():
        yield from _waits(child)


def _shown(call: Record) -> str:
    kind, _, name = call.endpoint.partition(":")
    if kind == "promise":
        return f"the promise {name!r}: write env.resolve({name!r}, value) before"
    if kind == "channel":
        return f"the channel {name!r}: write env.send({name!r}, value) before"
    return f"{call.function} of {call.endpoint}: write env.stub(…) for what is elsewhere"

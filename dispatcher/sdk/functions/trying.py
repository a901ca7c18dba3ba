"""When a step that failed is tried again."""

from __future__ import annotations

from typing import Final

from dispatcher.protocol.statuses import Status, Then
from dispatcher.sdk.exceptions import CallError
from dispatcher.sdk.replay.model import INTERRUPTED, Failure

_FIRST_US: Final = 1_000_000
_MOST_US: Final = 300_000_000


def delay_us(failures: int, error: BaseException) -> int:
    """Return how long to wait after `failures` of them (1 or more), in microseconds: a second,
    doubling up to five minutes; longer where the error has a `retry_after` in seconds."""
    usual = min(_FIRST_US << min(failures - 1, 20), _MOST_US)
    asked = getattr(error, "retry_after", None)
    if isinstance(asked, int | float) and not isinstance(asked, bool) and asked > 0:
        return max(usual, round(min(asked, 86_400) * 1_000_000))
    return usual


def is_worth_a_retry(failure: Failure, error: BaseException) -> bool:
    """Whether to try again: always, but where the error says by its class that it is final, or the
    step may have been done and is to be done once at most."""
    status = getattr(error, "status", None)
    if isinstance(status, Status) and not isinstance(error, CallError):
        return failure.type != INTERRUPTED and status.then is not Then.END
    return failure.type != INTERRUPTED

"""What follows from an attempt: the outcome table of the contract, as one pure function.

    complete 2xx                                              delivered
    any response, with ACK_ANY_RESPONSE                       delivered
    address refused by the egress rules                       dead: egress_denied
    no connection, DNS, TLS, timeout, broken response         try again
    408, 425, 429, 5xx except 501, and what RETRY_ON lists    try again
    501, other 3xx and 4xx                                    dead: rejected
    "try again" with no retry left                            dead: retries_exhausted

Nobody else decides, but for the first row: a plain 2xx comes here no more, because delivery tells
the queue at once that it is one (`queue.ports.Settler.delivered`). A response that broke off was no
complete one, whatever its status: only with ACK_ANY_RESPONSE is its head enough.

`core.breaker.classify` reads the same result for another question: what it says about the
destination.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from dispatcher.core.clock import Random
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.retry import RetryPolicy, delay_ms, parse_retry_after

__all__ = ["Dead", "DeadReason", "Delivered", "RetryAt", "RetryPolicy", "Verdict", "decide"]

_ASK_AGAIN = frozenset({408, 425, 429})


class DeadReason(Enum):
    """Why a message is given up. The value is the stable slug of the API, the log and the
    metrics."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    REJECTED = "rejected"
    EGRESS_DENIED = "egress_denied"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The message is done."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again, not before `due_us` (microseconds since the epoch)."""

    due_us: int


@dataclass(frozen=True, slots=True)
class Dead:
    """Give the message up and keep it as a dead letter."""

    reason: DeadReason


Verdict: TypeAlias = Delivered | RetryAt | Dead

_DELIVERED = Delivered()


def decide(
    result: AttemptResult, attempt: int, policy: RetryPolicy, now_us: int, random: Random
) -> Verdict:
    """Say what happens to a message after an attempt.

    Args:
        result: how the attempt ended.
        attempt: its number, from 1; after attempt `1 + policy.retry_limit` there is none.
        policy: what the settings say.
        now_us: microseconds since the epoch, at the end of the attempt.
        random: where jitter comes from.

    Returns:
        One of the rows of the table on top. A response that broke off is a failure whatever its
        status said; with `policy.ack_any_response` it is enough that there was a status.
    """
    if result.failure is Failure.EGRESS:
        return Dead(DeadReason.EGRESS_DENIED)
    if _is_delivered(result, policy):
        return _DELIVERED
    if not _is_worth_asking_again(result, policy):
        return Dead(DeadReason.REJECTED)
    if attempt > policy.retry_limit:
        return Dead(DeadReason.RETRIES_EXHAUSTED)
    asked_ms = 0
    if result.retry_after is not None:
        asked_ms = parse_retry_after(result.retry_after, now_us) or 0
    return RetryAt(now_us + delay_ms(attempt, policy, random, at_least_ms=asked_ms) * 1000)


def _is_delivered(result: AttemptResult, policy: RetryPolicy) -> bool:
    if result.status is None:
        return False
    return policy.ack_any_response or (result.failure is None and 200 <= result.status <= 299)


def _is_worth_asking_again(result: AttemptResult, policy: RetryPolicy) -> bool:
    status = result.status
    if result.failure is not None or status is None:
        return True
    if status in policy.retry_on or status in _ASK_AGAIN:
        return True
    # A number outside 200…599 is no final status at all; RFC 9110 §15 has it treated as a 5xx.
    return status != 501 and not 300 <= status <= 499

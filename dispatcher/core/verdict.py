"""What follows from an attempt: what docs/errors.md says of attempts, as one pure function.

    complete 2xx                                              delivered
    any response, with ACK_ANY_RESPONSE                       delivered
    a status that the `ack` of a rule lists                   delivered
    address refused by the egress rules                       dead: egress_denied
    501, 3xx and 4xx but for the next row, complete or not    dead: rejected
    408, 425, 429, 5xx except 501, and what RETRY_ON or the
    `retry_on` of a rule lists                                try again
    no connection, DNS, TLS, timeout, broken response         try again
    something was lacking on this machine                     try again soon, no attempt is spent
    "try again" with no retry left                            dead: retries_exhausted
    "try again" of a message that is older than MAX_AGE       dead: expired
    none: an operator gives up what waits                     dead: operator

Nobody else decides, but for the first row: a plain 2xx comes here no more, because delivery tells
the queue at once that it is one (`core.message.Home.delivered`). A response that broke off was no
complete one: only where ACK_ANY_RESPONSE or `ack` says so, or its status is final, is its head
enough.

`core.breaker.classify` reads the same result for another question: what it says about the
destination.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from dispatcher.core.clock import Random, WallUs
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.retry import RetryPolicy, delay_ms, parse_retry_after

__all__ = [
    "Dead",
    "DeadReason",
    "Delivered",
    "NotSpent",
    "RetryAt",
    "RetryPolicy",
    "Verdict",
    "decide",
]


class DeadReason(Enum):
    """Why a message is given up. The value is the stable slug of the API, the log and the
    metrics."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    REJECTED = "rejected"
    EGRESS_DENIED = "egress_denied"
    EXPIRED = "expired"
    OPERATOR = "operator"

    @property
    def told(self) -> str | None:
        """What is told in place of what the last attempt came to; None where that is the cause."""
        return self.value if self in _OF_NO_ATTEMPT else None


_OF_NO_ATTEMPT: Final = (DeadReason.EXPIRED, DeadReason.OPERATOR)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The message is done."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again, not before `due_us` (microseconds since the epoch)."""

    due_us: WallUs


@dataclass(frozen=True, slots=True)
class Dead:
    """Give the message up and keep it as a dead letter."""

    reason: DeadReason


@dataclass(frozen=True, slots=True)
class NotSpent:
    """The attempt failed for a reason on this machine and does not count: make it again, not before
    `due_us` (microseconds since the epoch)."""

    due_us: WallUs


Verdict: TypeAlias = Delivered | RetryAt | NotSpent | Dead

_DELIVERED = Delivered()
_REST_MS = 1000
"""Until an attempt that was not spent is made again: what is lacking comes back when others end."""


def decide(
    result: AttemptResult,
    attempt: int,
    policy: RetryPolicy,
    now_us: WallUs,
    random: Random,
    *,
    expires_us: WallUs | None = None,
) -> Verdict:
    """Say what happens to a message after an attempt.

    Args:
        result: how the attempt ended.
        attempt: its number, from 1; after attempt `1 + policy.retry_limit` there is none.
        policy: the message's.
        now_us: microseconds since the epoch, at the end of the attempt.
        random: where jitter comes from.
        expires_us: when the message is given up at the latest, by the clock of `now_us`; None:
            never. No retry is made later, so that it is looked at then.

    Returns:
        One of the rows of the table on top. A 2xx that broke off is a failure; of what
        `policy.acks` the status is enough.
    """
    if result.failure is Failure.EGRESS:
        return Dead(DeadReason.EGRESS_DENIED)
    if _is_delivered(result, policy):
        return _DELIVERED
    if not _is_worth_asking_again(result, policy):
        return Dead(DeadReason.REJECTED)
    if attempt > policy.retry_limit and not result.ours:
        return Dead(DeadReason.RETRIES_EXHAUSTED)
    if expires_us is not None and expires_us <= now_us:
        return Dead(DeadReason.EXPIRED)
    if result.ours:
        rest_ms = min(round(random.uniform(0.8, 1.2) * _REST_MS), policy.max_delay_ms)
        due_us = WallUs(now_us + rest_ms * 1000)
        return NotSpent(due_us if expires_us is None else min(due_us, expires_us))
    asked_ms = 0
    if result.retry_after is not None:
        asked_ms = parse_retry_after(result.retry_after, now_us) or 0
    asked_us = delay_ms(attempt, policy, random, at_least_ms=asked_ms) * 1000
    due_us = WallUs(now_us + asked_us)
    return RetryAt(due_us if expires_us is None else min(due_us, expires_us))


def _is_delivered(result: AttemptResult, policy: RetryPolicy) -> bool:
    if result.status is None:
        return False
    return policy.acks(result.status) or (result.failure is None and 200 <= result.status <= 299)


def _is_worth_asking_again(result: AttemptResult, policy: RetryPolicy) -> bool:
    """A response that broke off after a final status has said all the same what it says."""
    return result.ours or result.status is None or not policy.is_final(result.status)

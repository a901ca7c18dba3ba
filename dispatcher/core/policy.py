"""How a message is treated: what it says itself, else its destination's rule, else the settings.

Asked anew for every attempt, so that other rules hold for messages that wait already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from dispatcher.core.message import Message
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and when a message is tried again (`retry`), and how long one attempt may take
    (`timeout_ms`, above 0). How long a message may wait at all is one for all of them
    (`queue.pending.ages`)."""

    retry: RetryPolicy
    timeout_ms: int = 10_000


NO_RETRY: Final = RetryPolicy(retry_limit=0, delay_ms=0, max_delay_ms=0)


def timeout_of(message: Message, settings: Policy, rules: Rules | None = None) -> int:
    """How long one attempt of a message may take, in milliseconds."""
    if message.timeout_ms:
        return message.timeout_ms
    if rules is not None:
        rule = rules.of_message(message)
        if rule is not None and rule.timeout_ms is not None:
            return rule.timeout_ms
    return settings.timeout_ms


def retry_of(message: Message, settings: Policy, rules: Rules | None = None) -> RetryPolicy:
    """How often and when a message is tried again, and what counts as delivered."""
    terms, retry = message.terms, settings.retry
    rule = None if rules is None else rules.of_message(message)
    if rule is not None:
        retry = _by_rule(rule, retry)
    if terms is None:
        return retry
    return replace(
        retry,
        retry_limit=retry.retry_limit if terms.retries is None else terms.retries,
        delay_ms=retry.delay_ms if terms.retry_delay_ms is None else terms.retry_delay_ms,
        max_delay_ms=(
            retry.max_delay_ms if terms.retry_max_delay_ms is None else terms.retry_max_delay_ms
        ),
    )


def _by_rule(rule: Rule, retry: RetryPolicy) -> RetryPolicy:
    return replace(
        retry,
        retry_limit=retry.retry_limit if rule.retries is None else rule.retries,
        delay_ms=retry.delay_ms if rule.retry_delay_ms is None else rule.retry_delay_ms,
        retry_on=retry.retry_on if rule.retry_on is None else rule.retry_on,
        ack=rule.ack,
    )

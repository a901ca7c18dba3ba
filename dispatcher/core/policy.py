"""How a message is treated: what the settings say, where the message does not say otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dispatcher.core.message import Message
from dispatcher.core.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and when a message is tried again (`retry`), and how long one attempt may take
    (`timeout_ms`, above 0). How long a message may wait at all is one for all of them
    (`queue.pending.ages`)."""

    retry: RetryPolicy
    timeout_ms: int = 10_000


NO_RETRY: Final = RetryPolicy(retry_limit=0, delay_ms=0, max_delay_ms=0)


def policy_of(message: Message, settings: Policy) -> Policy:
    """The policy of a message. What it brings itself wins over the settings."""
    if message.timeout_ms:
        return Policy(settings.retry, message.timeout_ms)
    return settings

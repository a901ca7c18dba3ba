"""Which policy wins."""

from __future__ import annotations

from dispatcher.core.policy import NO_RETRY, Policy, policy_of
from dispatcher.testing.queue import message


def test_timeout_of_a_message_wins_over_the_settings() -> None:
    """And nothing else changes."""
    settings = Policy(NO_RETRY, timeout_ms=7)
    assert policy_of(message(), settings) is settings
    assert policy_of(message(timeout_ms=3), settings) == Policy(NO_RETRY, 3)

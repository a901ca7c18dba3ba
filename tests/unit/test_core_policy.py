"""Which policy wins: the message's own, its rule's, the settings'."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dispatcher.core.policy import NO_RETRY, Policy, retry_of, timeout_of
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules
from dispatcher.core.terms import Terms
from dispatcher.testing.queue import destination, message

SETTINGS = Policy(RetryPolicy(10, 2000, 60_000, frozenset({404})), timeout_ms=7)


def test_timeout_of_a_message_wins_over_the_settings() -> None:
    """And nothing else changes."""
    assert timeout_of(message(), SETTINGS) == 7
    assert timeout_of(message(timeout_ms=3), SETTINGS) == 3
    assert retry_of(message(timeout_ms=3), Policy(NO_RETRY, 7)) is NO_RETRY


def test_retries_of_a_message_win_over_the_settings() -> None:
    """Each of them by itself, 0 included; what is not said stays the settings'."""
    one = message()
    one.terms = Terms(retries=0)
    assert retry_of(one, SETTINGS) == RetryPolicy(0, 2000, 60_000, frozenset({404}))
    one.terms = Terms(retry_delay_ms=0, retry_max_delay_ms=5)
    assert retry_of(one, SETTINGS) == RetryPolicy(10, 0, 5, frozenset({404}))


def ruled(**keys: Any) -> Rules:
    """A rule for the destination of messages."""
    return Rules([Rule(Match.parse("a.example"), **keys)])


def test_a_rule_wins_over_the_settings_and_a_message_over_its_rule() -> None:
    """Key by key; what neither says stays the settings'."""
    one = message()
    assert timeout_of(one, SETTINGS, ruled(timeout_ms=5)) == 5
    assert timeout_of(message(timeout_ms=3), SETTINGS, ruled(timeout_ms=5)) == 3
    assert timeout_of(one, SETTINGS, ruled(retries=1)) == 7
    rules = ruled(retries=3, retry_delay_ms=0, retry_on=frozenset((409,)), ack=frozenset((410,)))
    policy = RetryPolicy(3, 0, 60_000, frozenset((409,)), ack=frozenset((410,)))
    assert retry_of(one, SETTINGS, rules) == policy
    one.terms = Terms(retries=1, retry_max_delay_ms=9)
    assert retry_of(one, SETTINGS, rules) == replace(policy, retry_limit=1, max_delay_ms=9)
    assert retry_of(message(), SETTINGS, ruled(retries=0)) == replace(SETTINGS.retry, retry_limit=0)
    no_code = ruled(retry_on=frozenset())
    assert retry_of(message(), SETTINGS, no_code).retry_on == frozenset()


def test_other_destinations_have_the_settings() -> None:
    """And no other object is made for them."""
    one = message(destination("b.example"))
    assert retry_of(one, SETTINGS, ruled(retries=0)) is SETTINGS.retry
    assert timeout_of(one, SETTINGS, ruled(timeout_ms=1)) == 7


def test_the_rule_of_a_path_holds_for_it_alone() -> None:
    """The first that matches, also where the destination has others."""
    rules = Rules(
        [Rule(Match.parse("a.example/x"), timeout_ms=1), Rule(Match.parse("*"), timeout_ms=2)]
    )
    assert timeout_of(message(name="x/y?z"), SETTINGS, rules) == 1
    assert timeout_of(message(name="xy"), SETTINGS, rules) == 2

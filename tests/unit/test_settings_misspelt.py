"""A misspelt variable is found, and nobody else's is taken for one."""

from __future__ import annotations

import pytest

from dispatcher.settings import Settings
from dispatcher.settings.misspelt import is_one_slip_away, misspelt
from dispatcher.settings.sources import Names

NAMES = Names.of(Settings)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("LISTEN_KEY", "LISTEN_KEYS"),
        ("WORKERS", "WORKER"),
        ("EGRES", "EGRESS"),
        ("API_KEY", "API_KEYS"),
        ("LISTNE", "LISTEN"),
        ("RETRY_LIMITS", "RETRY_LIMIT"),
        ("RETRYLIMTI", "RETRYLIMIT"),
        ("DEADLETTER", "DEAD_LETTER"),
        ("MAX_BODYS", "MAX_BODY"),
        ("API_KEY_FILE", "API_KEYS_FILE"),
        ("DISPATCHER_CONFG", "DISPATCHER_CONFIG"),
        ("DISPATCHER_WORKER", "WORKER"),
        ("DISPATCHER_API_KEYS", "API_KEYS"),
        ("DISPATCHER_LISTEN_KEY", "LISTEN_KEYS"),
        ("DISPATCHER_WORKERS", "WORKER"),
        ("DISPATCHER_LISTEN_KEY_FILE", "LISTEN_KEYS_FILE"),
        ("listen", "LISTEN"),
        ("Log_Level", "LOG_LEVEL"),
    ],
)
def test_variable_is_misspelt_when_it_is_a_slip_away_from_a_setting(given: str, meant: str) -> None:
    """With the name that was meant."""
    assert misspelt({given: "x"}, NAMES) == [(given, meant)]


@pytest.mark.parametrize(
    "name",
    ["PATH", "HOME", "PORT", "LISTEN_FDS", "LISTEN_PID", "WORKER_COUNT", "WEB_CONCURRENCY", "KEYS",
     "LOG", "LEVEL", "DISPATCHER_API", "DISPATCHER_KEY", "DISPATCHER_LISTENER", "DISPATCHER_PORT",
     "DISPATCHER_LISTENER_KEY", "DISPATCHER_SERVICE_HOST", "DISPATCHER_PURE", "HTTP_PROXY",
     "RETRY", "TIMEOUT", "_DISPATCHER_COMPLETE", "DISPATCHER_PORT_80_TCP"],
)  # fmt: skip
def test_variable_is_somebody_elses_when_it_is_not_close_to_a_setting(name: str) -> None:
    """systemd's, Kubernetes', those of the command line, and whatever else is there."""
    assert misspelt({name: "x"}, NAMES) == []


def test_variable_is_not_misspelt_when_it_is_a_setting_or_empty() -> None:
    """Every name that is ours is right; an empty variable is not set."""
    assert misspelt(dict.fromkeys(NAMES.every, "x") | {"WORKERS": " "}, NAMES) == []


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("", "A", True), ("AB", "BA", True), ("ABC", "ABD", True), ("ABC", "AC", True),
     ("ABCD", "BACD", True), ("ABCD", "ABDC", True), ("ABC", "ABC", False), ("ABC", "CBA", False),
     ("ABCD", "BADC", False), ("AB", "ABCD", False), ("ABC", "BCA", False)],
)  # fmt: skip
def test_slip_is_one_character_or_two_in_the_wrong_order(
    one: str, other: str, expected: bool
) -> None:
    """The same both ways."""
    assert is_one_slip_away(one, other) is expected
    assert is_one_slip_away(other, one) is expected

"""How a message that waits stands, in a word."""

from __future__ import annotations

import pytest

from dispatcher.cli.client import Json
from dispatcher.cli.standing import due, last_error, standing
from dispatcher.queue.admin.surface import Reason


@pytest.mark.parametrize(
    ("reason", "until", "word"),
    [
        ("breaker_open", "x", "backs off"),
        ("breaker_open", None, "probing"),
        ("retry_after", "x", "backs off"),
        ("lacking", "x", "backs off"),
        ("destination_held", None, "held"),
        ("rate_reached", "x", "rate"),
        ("order_key", None, "order key"),
        ("flow_key", None, "flow key"),
        ("waiting_turn", None, "ready"),
        ("limit_reached", None, "ready"),
        (None, None, "ready"),
    ],
)
def test_word_is_what_a_message_waits_for(reason: str | None, until: str | None, word: str) -> None:
    """Its state where it waits for its turn only."""
    assert standing({"state": "ready", "reason": reason, "until": until}) == word
    assert reason is None or reason in {one.value for one in Reason}


def test_error_is_that_of_the_destination_where_a_message_was_never_tried() -> None:
    """Its own comes first."""
    message: Json = {"last_error": None, "destination_error": "timeout"}
    assert last_error(message) == "timeout"
    assert last_error({**message, "last_error": "http_503"}) == "http_503"
    assert last_error({"last_error": None}) is None


def test_no_attempt_is_promised_while_an_operator_holds_the_destination() -> None:
    """Else the time that is known: its own, or when its destination is tried again."""
    message: Json = {"reason": "breaker_open", "next_attempt_at": None, "until": "x"}
    assert due(message) == "x"
    assert due({**message, "next_attempt_at": "y"}) == "y"
    assert due({**message, "reason": "destination_held"}) is None

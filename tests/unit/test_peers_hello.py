"""What a process of another version says of itself is passed over or refused, never guessed."""

from __future__ import annotations

import json

import pytest

from dispatcher.peers.errors import LinkMisused
from dispatcher.peers.hello import VERSION, Hello, read_hello

SAID = {"protocol": "dispatcher", "version": VERSION, "process": 1, "incarnation": 2}


def test_a_field_more_is_passed_over() -> None:
    """A later version may say more."""
    said = json.dumps({**SAID, "speaks": ["everything"]}).encode()
    assert read_hello(said) == Hello(1, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocol": "other"},
        {"version": VERSION + 1},
        {"version": None},
        {"process": "1"},
        {"process": True},
        {"process": -1},
        {"incarnation": None},
    ],
)
def test_a_hello_of_another_protocol_or_version_is_refused(wrong: dict[str, object]) -> None:
    """Two processes that would not understand each other do not speak."""
    with pytest.raises(LinkMisused):
        read_hello(json.dumps({**SAID, **wrong}).encode())

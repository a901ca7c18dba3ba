"""A head that is sent to another place, or with another body."""

from __future__ import annotations

import pytest

from dispatcher.core.destination import Destination
from dispatcher.core.readdressing import terms_elsewhere, with_host, with_length
from dispatcher.core.terms import Terms

TO = Destination.parse("https://new.example:8443")


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"GET / HTTP/1.1\r\nA: 1\r\nhOST:old\r\nB: 2\r\n",
         b"GET / HTTP/1.1\r\nA: 1\r\nHost: new.example:8443\r\nB: 2\r\n"),
        (b"GET / HTTP/1.1\r\nA: host: x\r\n",
         b"GET / HTTP/1.1\r\nHost: new.example:8443\r\nA: host: x\r\n"),
        (b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: new.example:8443\r\n"),
    ],
)  # fmt: skip
def test_host_is_another_one_at_its_place(head: bytes, found: bytes) -> None:
    """Every other byte stays."""
    assert with_host(head, TO) == found


@pytest.mark.parametrize(
    ("head", "size", "found"),
    [
        (b"PUT / HTTP/1.1\r\ncontent-length:  7\r\nB: 2\r\n", 12,
         b"PUT / HTTP/1.1\r\nContent-Length: 12\r\nB: 2\r\n"),
        (b"GET / HTTP/1.1\r\nB: 2\r\n", 12, b"GET / HTTP/1.1\r\nB: 2\r\nContent-Length: 12\r\n"),
        (b"GET / HTTP/1.1\r\nB: 2\r\n", 0, b"GET / HTTP/1.1\r\nB: 2\r\n"),
        (b"POST / HTTP/1.1\r\n", 0, b"POST / HTTP/1.1\r\nContent-Length: 0\r\n"),
        (b"DELETE / HTTP/1.1\r\nContent-Length: 3\r\n", 0,
         b"DELETE / HTTP/1.1\r\nContent-Length: 0\r\n"),
    ],
)  # fmt: skip
def test_length_is_that_of_the_body(head: bytes, size: int, found: bytes) -> None:
    """At its place; a request that needs none gets none."""
    assert with_length(head, size) == found


def test_idempotency_key_belongs_to_the_first_destination() -> None:
    """However often it is readdressed; of a group's message it stays with the group."""
    was = Destination.parse("http://old.example")
    moved = terms_elsewhere(Terms(idempotency_key="k", label="l"), was)
    assert moved == Terms(idempotency_key="k", label="l", key_place="http://old.example")
    assert terms_elsewhere(moved, TO) is moved
    grouped = Terms(idempotency_key="k", key_place="group:g/0")
    assert terms_elsewhere(grouped, was) is grouped
    assert terms_elsewhere(Terms(copy_of="x"), was).key_place == "http://old.example"
    assert terms_elsewhere(Terms(label="l"), was) == Terms(label="l")

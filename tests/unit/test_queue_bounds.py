"""What operators and callers can make large has a bound."""

from __future__ import annotations

import pytest

from dispatcher.errors import Refused
from dispatcher.queue.flow.recent import Recent
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.records.paused import encode_paused
from dispatcher.queue.registry import pauses
from dispatcher.testing.queue import Bench, destination, message, simulate


def test_no_more_destinations_are_paused_than_one_record_can_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next one is refused; those that are paused can be paused again, and resumed."""
    monkeypatch.setattr(pauses, "MOST", 3)

    async def test(bench: Bench) -> None:
        for n in range(3):
            await bench.queue.admin.hold(f"h{n}")
        with pytest.raises(Refused, match="Resume one first"):
            await bench.queue.admin.hold("h3")
        await bench.queue.admin.hold("h2")
        await bench.queue.admin.resume("h0")
        await bench.queue.admin.hold("h3")
        assert bench.queue.pauses.keys == {b"http://h1", b"http://h2", b"http://h3"}

    simulate(test)


def test_the_longest_names_of_all_destinations_that_may_be_paused_fit_into_a_batch() -> None:
    """A record that no batch can hold would end the process."""
    long = destination("a" * 63 + ".b" * 95 + ":65535").key  # 253 bytes of name
    payload = encode_paused(long + b"%d" % n for n in range(pauses.MOST))
    assert len(payload) + OVERHEAD_BYTES < 512 * 1024


def test_delivered_message_is_known_with_its_own_request_line() -> None:
    """Also where it begins as the one before it does."""
    past = Recent()
    names = ["x", "x", "xy", "x", ""]
    for position, name in enumerate(names, 1):
        sent = message(name=name)
        sent.position, sent.incarnation, sent.attempt = position, 9, 1
        past.add(sent, b"http://a")
    found = [past.find(position, 9) for position in range(1, 6)]
    lines = [None if one is None else one.request_line for one in found]
    assert lines == [f"POST /{name} HTTP/1.1".encode() for name in names]


def test_long_request_lines_of_delivered_messages_take_bounded_memory() -> None:
    """Fewer messages are known then; the last ones always are."""
    past = Recent(most_line_bytes=100_000)
    for position in range(1, 1000):
        sent = message(name=f"{position:04000d}")
        sent.position, sent.incarnation, sent.attempt = position, 9, 1
        past.add(sent, b"http://a")
    known = [position for position in range(1000) if past.find(position, 9) is not None]
    assert known[-1] == 999
    assert 20 <= len(known) <= 40

"""Sections 1 and 2: what takes ten seconds but hardly any work; `test_timing.py` runs it."""

from __future__ import annotations

import time
from pathlib import Path

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receivers, attempts_of, gaps
from tests.acceptance.running import accept
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Caller, post


def slow_head(directory: Path, receivers: Receivers) -> None:
    """A caller slower than 10 s over its head gets 408, although it sends all the time; one that
    needs less is served."""
    with (
        ServerProcess(directory) as server,
        receivers.open() as receiver,
        Caller(server.listen, timeout_s=60) as slow,
        Caller(server.listen, timeout_s=60) as quicker,
    ):
        data = post(receiver.authority, path="/quicker")
        began = time.monotonic()
        slow.send(b"POST / HTTP/1.1\r\nHost: h\r\nX-Slow: ")
        for number in range(9):
            slow.send(b"s")
            if number < 3:  # done with many seconds to spare: a busy machine may take some
                quicker.send(data[number * 10 : number * 10 + 10])
            elif number == 3:
                quicker.send(data[30:])
            time.sleep(1)
        assert quicker.answer().id
        refused = slow.answer()
        assert time.monotonic() - began > 9.8
        assert (refused.status, refused.slug) == (408, "head_timeout")
        assert slow.at_end()


def breaker(directory: Path, receivers: Receivers) -> None:
    """After 10 failed attempts in a row nothing is sent for 1 s, then 2, then 4, each followed by
    one real message as a probe; its success closes the breaker. No message spends an attempt by
    waiting, and all that is told once."""
    settings = {"RETRY_DELAY": "1", "RETRY_MAX_DELAY": "60000", "RETRYLIMIT": "20"}
    settings["WORKER"] = "1"  # else another attempt may be in flight when the tenth fails
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.script(*[answer(500)] * 12)
        numbers = {accept(server, receiver).id for _ in range(30)}
        requests = receiver.received(42, timeout_s=60)
        # 10 attempts, 1 s, a probe, 2 s, a probe, 4 s, a probe that succeeds, and all the others.
        for gap, pause_s in zip(gaps(requests)[9:12], (1, 2, 4), strict=True):
            assert gap >= pause_s
        server.event("destination.reopened")
        assert len(server.events("destination.breaker_opened")) == 1
        found = attempts_of(requests)
        assert found.keys() == numbers
        for attempts in found.values():
            assert attempts == list(range(1, len(attempts) + 1))


SLOW = [slow_head, breaker]

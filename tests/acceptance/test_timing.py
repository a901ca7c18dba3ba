"""What takes long. Some of it runs at once, each with a server of its own.

The first test to ask starts the scenarios in threads; each test waits for the end of its own. A
delay is never shorter than promised, however busy the machine is, and so that is asserted to the
point. How much longer it takes is not, only how long it is meant to be, as the log announces it.
What is sent at once is counted while it is held (`Gate`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from email.utils import formatdate
from pathlib import Path

import pytest

from dispatcher.testing.destination import Close, Reset, Script, Wait, answer
from tests.acceptance.receiver import Gate, Receiver, Receivers, attempts_of, eventually, gaps
from tests.acceptance.running import accept, dead, settled
from tests.acceptance.served import Line, ServerProcess
from tests.acceptance.slow import SLOW
from tests.acceptance.wire import Caller, post, request

QUIET_S = 0.15
"""Long enough to see what a server sends that should send nothing."""

CLOCKS_S = 0.01
"""How far the wall clock and the monotonic clock may drift apart within a test."""

AT_ONCE = 3
"""Scenarios under way at the same time: more would measure each other on a small machine."""

Scenario = Callable[[Path, Receivers], None]


# Retries


def backoff(directory: Path, receivers: Receivers) -> None:
    """`RETRY_DELAY` × 2^(n-1), ±20 %, at most `RETRY_MAX_DELAY`; not the same for all."""
    settings = {"RETRY_DELAY": "250", "RETRY_MAX_DELAY": "900", "RETRYLIMIT": "4", "WORKER": "100"}
    with ServerProcess(directory, **settings) as server:
        firsts = []
        bounds = [(0.2, 0.3), (0.4, 0.6), (0.72, 0.9), (0.72, 0.9)]
        with ExitStack() as stack:
            failing = [stack.enter_context(receivers.open(default=answer(500))) for _ in range(6)]
            numbers = [accept(server, receiver).id for receiver in failing]
            for number, receiver in zip(numbers, failing, strict=True):
                made = gaps(receiver.received(5))
                meant = delays(server, number, 4)
                for (least_s, most_s), gap, delay in zip(bounds, made, meant, strict=True):
                    assert gap >= least_s, made
                    assert delay <= most_s, meant
                firsts.append(meant[0])
        assert max(firsts) - min(firsts) > 0.005


def delays(server: ServerProcess, number: str, count: int) -> list[float]:
    """Seconds from the end of each of the first attempts to the next one, as the log announces
    them. A busy machine writes the line late: a delay is what is said here or a little more."""

    def find() -> list[Line]:
        lines = [line for line in server.events("attempt.finished") if line["id"] == number]
        return lines[:count] if len(lines) >= count else []

    return [
        (_instant(line["next_attempt_at"]) - _instant(line["timestamp"])).total_seconds()
        for line in eventually(find)
    ]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def retry_after(directory: Path, receivers: Receivers) -> None:
    """A lower bound, in seconds or as a date, that jitter never goes below; what cannot be read is
    no bound."""
    settings = {"RETRY_DELAY": "20", "RETRY_MAX_DELAY": "5000"}

    cases: list[tuple[int, str | int, float, float]] = [
        (503, "1", 1.0, 1.2),
        (429, "1", 1.0, 1.2),
        (500, "1", 1.0, 1.2),
        (503, +3, 0.0, 3.6),
        (503, -60, 0.0, 0.024),
        (503, "0", 0.0, 0.024),
        (503, "soon", 0.0, 0.024),
        (503, "-5", 0.0, 0.024),
    ]
    with ServerProcess(directory, **settings) as server, ExitStack() as stack:
        asking = []
        for status, value, least_s, most_s in cases:
            receiver = stack.enter_context(receivers.open())
            ahead_s = 0.0
            if isinstance(value, int):
                at_s = int(time.time()) + value
                ahead_s = at_s - time.time()
                value = formatdate(at_s, usegmt=True)
            not_before_s = time.monotonic() + ahead_s - CLOCKS_S
            receiver.script(answer(status, b"", ("Retry-After", value)))
            number = accept(server, receiver).id
            asking.append((receiver, number, value, not_before_s, least_s, most_s))
        for receiver, number, value, not_before_s, least_s, most_s in asking:
            first, second = receiver.received(2)
            assert second.arrived_s >= not_before_s, value
            assert second.arrived_s - first.arrived_s >= least_s, value
            (delay,) = delays(server, number, 1)
            assert delay <= most_s, value


def retry_after_is_capped(directory: Path, receivers: Receivers) -> None:
    """At `RETRY_MAX_DELAY`, and `Retry-After` of an hour does not stop the lane for longer."""
    settings = {"RETRY_DELAY": "20", "RETRY_MAX_DELAY": "400"}
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.script(answer(503, b"", ("Retry-After", "3600")))
        number = accept(server, receiver).id
        (gap,) = gaps(receiver.received(2))
        assert gap >= 0.4
        (delay,) = delays(server, number, 1)
        assert delay <= 0.4


# Lanes


def breaker_is_short(directory: Path, receivers: Receivers) -> None:
    """Its pauses are never longer than `RETRY_MAX_DELAY` (they would double, from 1 s), and no
    connection opens it as well. It is told once, however often the probe fails."""
    settings = {"RETRY_DELAY": "1", "RETRY_MAX_DELAY": "300", "RETRYLIMIT": "20"}
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.script(*[[Reset()]] * 13)
        for _ in range(10):
            accept(server, receiver)
        pauses = gaps(receiver.received(23))[9:13]
        assert min(pauses) >= 0.3, pauses
        assert min(pauses) < 1.0, pauses  # a busy machine makes one or the other longer
        server.event("destination.reopened")
        assert len(server.events("destination.breaker_opened")) == 1


def successes_between_failures(directory: Path, receivers: Receivers) -> None:
    """Only failures in a row open the breaker; a 4xx is the destination answering."""
    settings = {"RETRY_DELAY": "1", "RETRY_MAX_DELAY": "5000", "WORKER": "1"}
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.script(*([answer(500)] * 9 + [answer(404)]) * 3)
        for _ in range(10):
            accept(server, receiver)
        receiver.received(37)
        assert server.events("destination.breaker_opened") == []


def slow_start(directory: Path, receivers: Receivers) -> None:
    """One attempt of a destination that was never tried; then 2 at once, then 4, 8, 16 with each
    round of successes, and never more than `WORKER`."""
    gate = Gate()
    with (
        ServerProcess(directory, WORKER="20", DEFAULT_TIMEOUT="60000") as server,
        receivers.open(default=gate) as receiver,
        Caller(server.listen) as caller,
    ):
        caller.send(post(receiver.authority) * 71)
        for size in (1, 2, 4, 8, 16, 20, 20):
            held_at_once(gate, size)
            gate.let_through(answer())


def held_at_once(gate: Gate, size: int) -> None:
    """So many requests come, and no other before they are answered."""
    eventually(lambda: gate.held >= size)
    time.sleep(QUIET_S)
    assert gate.held == size


def given_up(gate: Gate, size: int) -> None:
    """So many of those that are held get no answer in time."""
    eventually(lambda: gate.gone == size)


# On connections of their own: one that ends before an answer would else only be a stale one.
LAST_OK: Script = [*answer(200, b"", ("Connection", "close")), Close()]
WIDE = {"WORKER": "64", "DEFAULT_TIMEOUT": "60000"}
NO_RETRY = {"RETRY_DELAY": "60000", "RETRY_MAX_DELAY": "60000"}


def overload(directory: Path, receivers: Receivers) -> None:
    """429, 503, a timeout or a failed connection halves what is sent at once; then it grows by one
    with each round."""
    timeout: Script = []
    with ServerProcess(directory, **WIDE, **NO_RETRY) as server:
        for overloaded in (answer(503), answer(429), [Close()], timeout):
            gate = Gate()
            with receivers.open(default=gate) as receiver, Caller(server.listen) as caller:
                failing = ["X-Dispatcher-Timeout: 4000"] if overloaded is timeout else []
                caller.send(
                    post(receiver.authority) * 7
                    + post(receiver.authority, *failing) * 8
                    + post(receiver.authority) * 22
                )
                for size in (1, 2, 4):
                    held_at_once(gate, size)
                    gate.let_through(LAST_OK)
                held_at_once(gate, 8)
                # Eight at once fail together: that is one overload, and 8 is halved once.
                if overloaded is timeout:
                    given_up(gate, 8)
                else:
                    gate.let_through(overloaded)
                for size in (4, 5, 6, 7):
                    held_at_once(gate, size)
                    gate.let_through(LAST_OK)


def server_errors_do_not_halve(directory: Path, receivers: Receivers) -> None:
    """A 500 is a failure, and no overload: as much is sent at once as before, and it goes on to
    double."""
    gate = Gate()
    with (
        ServerProcess(directory, **WIDE, **NO_RETRY) as server,
        receivers.open(default=gate) as receiver,
        Caller(server.listen) as caller,
    ):
        caller.send(post(receiver.authority) * 39)
        for size, answered in ((1, 200), (2, 200), (4, 200), (8, 500), (8, 200), (16, 200)):
            held_at_once(gate, size)
            gate.let_through(answer(answered))


def fairness(directory: Path, receivers: Receivers) -> None:
    """A destination with hundreds of messages, and one that never answers, hold up no other: that
    gets its messages while they still wait."""
    settings = {"WORKER": "4", "DEFAULT_TIMEOUT": "600000", "DRAIN_TIMEOUT": "100"}
    slow = [Wait(0.5), *answer()]
    hangs = [Wait(600)]
    with (
        ServerProcess(directory, **settings) as server,
        receivers.open(default=slow) as flooded,
        receivers.open(default=hangs) as stuck,
        receivers.open() as light,
        Caller(server.listen) as caller,
    ):
        started = time.monotonic()
        caller.send(post(flooded.authority) * 600)
        caller.send(post(stuck.authority) * 50)
        for _ in range(650):
            assert caller.answer().id
        for count in range(1, 6):
            accept(server, light)
            light.received(count)
        # Its hundreds still wait meanwhile, for 4 workers and 0.5 s each.
        came = len(flooded.requests)
        assert came <= 4 * (1 + (time.monotonic() - started) / 0.5)
        assert came < 600
        assert len(stuck.requests) <= 4
        eventually(lambda: len(flooded.requests) > 12)


def one_worker_and_many_that_hang(directory: Path, receivers: Receivers) -> None:
    """`WORKER=1`: eight destinations never answer, and another one gets its messages all the same;
    to each of the eight there is one attempt under way."""
    settings = {"WORKER": "1", "DEFAULT_TIMEOUT": "600000", "DRAIN_TIMEOUT": "100"}
    with (
        ServerProcess(directory, **settings) as server,
        receivers.open(default=[Wait(600)], host="0.0.0.0") as stuck,
        receivers.open() as light,
    ):
        port = stuck.authority.rpartition(":")[2]
        hosts = [f"127.0.0.{n}" for n in range(1, 9)]
        with Caller(server.listen) as caller:
            for host in hosts * 3:
                caller.send(post(f"{host}:{port}"))
                assert caller.answer().id
        for count in range(1, 6):
            accept(server, light)
            light.received(count)
        assert len(stuck.requests) == len(hosts)


def too_old(directory: Path, receivers: Receivers) -> None:
    """`MAX_AGE`: what waits behind an attempt that hangs, and what waits for a retry in an hour, is
    given up then, as `expired`."""
    settings = {"MAX_AGE": "2s", "DEFAULT_TIMEOUT": "600000", "DRAIN_TIMEOUT": "100"}
    settings |= {"RETRY_DELAY": "3600000", "RETRY_MAX_DELAY": "3600000"}
    with (
        ServerProcess(directory, **settings) as server,
        receivers.open(default=[Wait(600)]) as stuck,
        receivers.open(default=answer(503)) as broken,
    ):
        began = time.monotonic()
        accept(server, stuck)
        behind = accept(server, stuck).id
        retried = accept(server, broken).id
        for number in (behind, retried):
            assert dead(server, number)["reason"] == "expired"
            assert time.monotonic() - began > 1.9
        assert len(stuck.requests) == len(broken.requests) == 1


def a_destination_that_was_down(directory: Path, receivers: Receivers) -> None:
    """Once it is back it gets everything that waited for it, each message once."""
    settings = {"RETRY_DELAY": "100", "RETRY_MAX_DELAY": "500", "RETRYLIMIT": "1000"}
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.run(receiver.fake.stop())
        numbers = [accept(server, receiver).id for _ in range(20)]
        eventually(lambda: server.events("destination.breaker_opened"))
        receiver.run(receiver.fake.start())
        delivered_once(server, receiver, numbers)


def delivered_once(server: ServerProcess, receiver: Receiver, numbers: list[str]) -> None:
    """Wait until these messages are delivered; each came once."""
    receiver.received(len(numbers))
    settled(server, len(numbers))
    assert sorted(attempts_of(receiver.requests)) == sorted(numbers)
    assert len(receiver.requests) == len(numbers)


def replay_to_a_destination_that_was_down(directory: Path, receivers: Receivers) -> None:
    """After a restart everything comes in the order of its arrival, whatever was tried before, and
    attempts are counted on."""
    settings = {"RETRY_DELAY": "200", "RETRY_MAX_DELAY": "200", "RETRYLIMIT": "1000", "WORKER": "1"}
    with receivers.open() as receiver:
        with ServerProcess(directory, **settings) as server:
            receiver.run(receiver.fake.stop())
            numbers = [accept(server, receiver).id for _ in range(20)]
            # The breaker lets one message through at a time: some are tried again, others wait.
            eventually(lambda: len(server.events("attempt.finished")) >= 13)
            assert server.stop() == 0
            tried = {line["id"] for line in server.events("attempt.finished")}
        receiver.run(receiver.fake.start())
        time.sleep(0.25)  # no message waits for its delay any more
        with ServerProcess(directory, **settings) as server:
            delivered_once(server, receiver, numbers)
        found = [one.headers["x-dispatcher-message-id"] for one in receiver.requests]
        assert found == numbers
        for number, (attempt,) in attempts_of(receiver.requests).items():
            assert (attempt > 1) == (number in tried)


# Settings that change what is tried again


def no_retries(directory: Path, receivers: Receivers) -> None:
    """`RETRYLIMIT=0`: one attempt."""
    with ServerProcess(directory, RETRYLIMIT="0") as server, receivers.open() as receiver:
        receiver.script([Reset()], answer(503))
        for count in (1, 2):
            number = accept(server, receiver).id
            assert dead(server, number)["attempts"] == 1
            assert len(receiver.received(count)) == count


def retry_on(directory: Path, receivers: Receivers) -> None:
    """Statuses listed in `RETRY_ON` are tried again, others not."""
    settings = {"RETRY_ON": "404, 409", "RETRY_DELAY": "10", "RETRYLIMIT": "2"}
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.script(answer(404), answer(409), answer(404), answer(410), answer(404))
        number = accept(server, receiver).id
        assert dead(server, number)["attempts"] == 3
        number = accept(server, receiver).id
        assert dead(server, number)["reason"] == "rejected"
        accept(server, receiver)
        receiver.received(6)


def any_response(directory: Path, receivers: Receivers) -> None:
    """`ACK_ANY_RESPONSE`: any response at all counts as delivered; no response does not."""
    settings = {"ACK_ANY_RESPONSE": "true", "RETRY_DELAY": "10", "LOG_LEVEL": "debug"}
    statuses = (200, 301, 404, 429, 500, 501, 503)
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.script(*map(answer, statuses))
        for count, _ in enumerate(statuses, 1):
            accept(server, receiver)
            wait_for_delivered(server, count)
        assert len(receiver.requests) == len(statuses)
        receiver.run(receiver.fake.disconnect())
        receiver.script([Reset()])
        accept(server, receiver)
        wait_for_delivered(server, len(statuses) + 1)
        last = receiver.received(len(statuses) + 2)[-1]
        assert last.headers["x-dispatcher-attempt"] == "2"


def wait_for_delivered(server: ServerProcess, count: int) -> None:
    """Wait until so many messages were delivered, as the log says."""
    eventually(lambda: len(server.events("message.delivered")) == count)


def backlog(directory: Path, receivers: Receivers) -> None:
    """Above `MAX_BACKLOG_BYTES` callers get 503 with `Retry-After`; what was accepted is delivered,
    and then messages are accepted again."""
    settings = {"MAX_BACKLOG_BYTES": "100000", "RETRY_DELAY": "300", "RETRY_MAX_DELAY": "300"}
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.run(receiver.fake.stop())
        numbers = []
        refused = None
        with Caller(server.listen) as caller:
            for _ in range(60):
                caller.send(post(receiver.authority, body=b"b" * 10_000))
                answered = caller.answer()
                if answered.status != 202:
                    refused = answered
                    break
                numbers.append(answered.id)
            assert refused is not None
            assert (refused.status, refused.slug) == (503, "backlog_full")
            assert int(refused.headers["retry-after"]) >= 1
            assert 5 <= len(numbers) <= 20
            health = request("GET /readyz HTTP/1.1", "Host: h")
            caller.send(health)
            assert caller.answer().status == 503
            receiver.run(receiver.fake.start())
            receiver.received(len(numbers))
            eventually(lambda: _accepts(caller, receiver))
        last = receiver.received(len(numbers) + 1)[-1]
        assert bytes(last.body) == b"again"
        assert attempts_of(receiver.requests[:-1]).keys() == set(numbers)


def _accepts(caller: Caller, receiver: Receiver) -> bool:
    caller.send(post(receiver.authority, body=b"again"))
    return caller.answer().status == 202


SCENARIOS: list[Scenario] = [
    retry_after,
    backoff,
    fairness,
    one_worker_and_many_that_hang,
    too_old,
    overload,
    slow_start,
    server_errors_do_not_halve,
    breaker_is_short,
    successes_between_failures,
    a_destination_that_was_down,
    replay_to_a_destination_that_was_down,
    retry_after_is_capped,
    no_retries,
    retry_on,
    any_response,
    backlog,
]


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest, receivers: Receivers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """Every scenario that is asked for: `AT_ONCE` at a time, and beside them those of `slow.py`."""
    wanted = {item.name for item in request.session.items if item.path == request.path}
    with ThreadPoolExecutor(AT_ONCE) as busy, ThreadPoolExecutor(len(SLOW)) as waiting:
        asked: list[tuple[str, ThreadPoolExecutor, Scenario]]
        asked = [("slow", waiting, one) for one in SLOW]
        asked += [("timing", busy, one) for one in SCENARIOS]
        yield {
            one.__name__: pool.submit(one, tmp_path_factory.mktemp(one.__name__), receivers)
            for test, pool, one in asked
            if f"test_{test}[{one.__name__}]" in wanted
        }


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in SCENARIOS])
def test_timing(running: dict[str, Future[None]], scenario: str) -> None:
    """What each promises is said where it is defined, above."""
    running[scenario].result(600)


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in SLOW])
def test_slow(running: dict[str, Future[None]], scenario: str) -> None:
    """Of `slow.py`: these run beside all others."""
    running[scenario].result(600)

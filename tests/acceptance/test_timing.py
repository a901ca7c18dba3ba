"""Section 2: what takes long. All of it runs at once, each with a server of its own.

The first test to ask starts every scenario in a thread; each test waits for the end of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from email.utils import formatdate
from pathlib import Path

import pytest

from dispatcher.testing.destination import Close, Request, Reset, Wait, answer
from dispatcher.testing.process import ServerProcess
from tests.acceptance.receiver import Receiver, Receivers, attempts_of, eventually, gaps
from tests.acceptance.running import accept, dead
from tests.acceptance.slow import SLOW
from tests.acceptance.wire import Caller, post, request

SLACK_S = 0.15
"""What a busy machine may add to a delay."""

Scenario = Callable[[Path, Receivers], None]


# Retries


def backoff(directory: Path, receivers: Receivers) -> None:
    """`RETRY_DELAY` × 2^(n-1), ±20 %, at most `RETRY_MAX_DELAY`; not the same for all."""
    settings = {"RETRY_DELAY": "250", "RETRY_MAX_DELAY": "900", "RETRYLIMIT": "4", "WORKER": "100"}
    with ServerProcess(directory, **settings) as server:
        firsts = []
        with ExitStack() as stack:
            failing = [stack.enter_context(receivers.open(default=answer(500))) for _ in range(6)]
            for receiver in failing:
                accept(server, receiver)
            for receiver in failing:
                first, second, third, fourth = gaps(receiver.received(5))
                assert 0.2 <= first < 0.3 + SLACK_S
                assert 0.4 <= second < 0.6 + SLACK_S
                assert 0.72 <= third < 0.9 + SLACK_S
                assert 0.72 <= fourth < 0.9 + SLACK_S
                firsts.append(first)
        assert max(firsts) - min(firsts) > 0.005


def retry_after(directory: Path, receivers: Receivers) -> None:
    """A lower bound, in seconds or as a date, that jitter never goes below; what cannot be read is
    no bound."""
    settings = {"RETRY_DELAY": "20", "RETRY_MAX_DELAY": "5000"}

    def date(ahead_s: int) -> str:
        return formatdate(time.time() + ahead_s, usegmt=True)

    cases: list[tuple[int, str | int, float, float]] = [
        (503, "1", 1.0, 1.2),
        (429, "1", 1.0, 1.2),
        (500, "1", 1.0, 1.2),
        (503, +3, 1.0, 3.9),
        (503, -60, 0.0, 0.3),
        (503, "0", 0.0, 0.3),
        (503, "soon", 0.0, 0.3),
        (503, "-5", 0.0, 0.3),
    ]
    with ServerProcess(directory, **settings) as server, ExitStack() as stack:
        asking = []
        for status, value, _, _ in cases:
            text = date(value) if isinstance(value, int) else value
            receiver = stack.enter_context(receivers.open())
            receiver.script(answer(status, b"", ("Retry-After", text)))
            accept(server, receiver)
            asking.append(receiver)
        for receiver, (status, value, least_s, most_s) in zip(asking, cases, strict=True):
            (gap,) = gaps(receiver.received(2))
            assert least_s <= gap < most_s + SLACK_S, (status, value, gap)


def retry_after_is_capped(directory: Path, receivers: Receivers) -> None:
    """At `RETRY_MAX_DELAY`, and `Retry-After` of an hour does not stop the lane for longer."""
    settings = {"RETRY_DELAY": "20", "RETRY_MAX_DELAY": "400"}
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.script(answer(503, b"", ("Retry-After", "3600")))
        accept(server, receiver)
        (gap,) = gaps(receiver.received(2))
        assert 0.4 <= gap < 0.4 + SLACK_S


# Lanes


def breaker_is_short(directory: Path, receivers: Receivers) -> None:
    """Its pauses are never longer than `RETRY_MAX_DELAY`, and no connection opens it as well."""
    settings = {"RETRY_DELAY": "1", "RETRY_MAX_DELAY": "300", "RETRYLIMIT": "20"}
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.script(*[[Reset()]] * 13)
        for _ in range(10):
            accept(server, receiver)
        between = gaps(receiver.received(23))
        assert [at for at, gap in enumerate(between) if gap > 0.2] == [9, 10, 11, 12], between
        assert all(0.3 <= between[at] < 0.3 + SLACK_S for at in (9, 10, 11, 12))


def successes_between_failures(directory: Path, receivers: Receivers) -> None:
    """Only failures in a row open the breaker; a 4xx is the destination answering."""
    settings = {"RETRY_DELAY": "1", "RETRY_MAX_DELAY": "5000", "WORKER": "1"}
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.script(*([answer(500)] * 9 + [answer(404)]) * 3)
        for _ in range(10):
            accept(server, receiver)
        assert max(gaps(receiver.received(37))) < 0.9


def slow_start(directory: Path, receivers: Receivers) -> None:
    """2 attempts at once, then 4, 8, 16 with each round of successes, and never more than
    `WORKER`."""
    settings = {"WORKER": "20"}
    slow = [Wait(0.2), *answer()]
    with (
        ServerProcess(directory, **settings) as server,
        receivers.open(default=slow) as receiver,
        Caller(server.listen) as caller,
    ):
        caller.send(post(receiver.authority) * 70)
        requests = receiver.received(70)
        assert bursts(requests, 0.1) == [2, 4, 8, 16, 20, 20]


def bursts(requests: list[Request], apart_s: float) -> list[int]:
    """How many requests came at once, where a pause of `apart_s` ends a burst."""
    sizes = [1]
    for gap in gaps(requests):
        if gap < apart_s:
            sizes[-1] += 1
        else:
            sizes.append(1)
    return sizes


def overload(directory: Path, receivers: Receivers) -> None:
    """429, 503, a timeout or a failed connection halves what is sent at once; then it grows by one
    with each round."""
    settings = {"WORKER": "64", "RETRY_DELAY": "8000", "RETRY_MAX_DELAY": "8000"}
    slow = [Wait(0.2), *answer()]
    with ServerProcess(directory, **settings) as server:
        for overloaded in (answer(503), answer(429), [Close()]):
            first = [Wait(0.2), *overloaded]
            with receivers.open(default=slow) as receiver, Caller(server.listen) as caller:
                receiver.script(*[slow] * 6, *[first] * 8)
                caller.send(post(receiver.authority) * 40)
                sizes = bursts(receiver.received(40), 0.1)
                # Eight at once fail together: that is one overload, and 8 is halved once.
                assert sizes[:3] == [2, 4, 8]
                assert sizes[3:7] == [4, 5, 6, 7]


def server_errors_do_not_halve(directory: Path, receivers: Receivers) -> None:
    """A 500 is a failure, and no overload: as much is sent at once as before."""
    settings = {"WORKER": "64", "RETRY_DELAY": "8000", "RETRY_MAX_DELAY": "8000"}
    slow = [Wait(0.2), *answer()]
    with (
        ServerProcess(directory, **settings) as server,
        receivers.open(default=slow) as receiver,
        Caller(server.listen) as caller,
    ):
        receiver.script(*[slow] * 6, [Wait(0.2), *answer(500)])
        caller.send(post(receiver.authority) * 30)
        sizes = bursts(receiver.received(30), 0.1)
        assert sizes[:3] == [2, 4, 8]
        assert sizes[3] >= 8


def fairness(directory: Path, receivers: Receivers) -> None:
    """A destination with hundreds of messages, and one that never answers, hold up no other."""
    settings = {"WORKER": "4", "DEFAULT_TIMEOUT": "1000"}
    slow = [Wait(0.1), *answer()]
    hangs = [Wait(60)]
    with (
        ServerProcess(directory, **settings) as server,
        receivers.open(default=slow) as flooded,
        receivers.open(default=hangs) as stuck,
        receivers.open() as light,
        Caller(server.listen) as caller,
    ):
        caller.send(post(flooded.authority) * 300)
        caller.send(post(stuck.authority) * 50)
        for _ in range(350):
            assert caller.answer().id
        for count in range(1, 6):
            began = time.monotonic()
            accept(server, light)
            light.received(count)
            assert time.monotonic() - began < 1.5
        assert len(flooded.requests) < 200
        eventually(lambda: len(flooded.requests) > 40)


def stale_messages_of_a_dead_destination(directory: Path, receivers: Receivers) -> None:
    """A destination that is down and comes back gets everything, in the order of its arrival."""
    settings = {"RETRY_DELAY": "100", "RETRY_MAX_DELAY": "500", "RETRYLIMIT": "1000", "WORKER": "1"}
    with ServerProcess(directory, **settings) as server, receivers.open() as receiver:
        receiver.run(receiver.fake.stop())
        numbers = [accept(server, receiver).id for _ in range(20)]
        time.sleep(1.5)
        receiver.run(receiver.fake.start())
        found = [one.headers["x-dispatcher-message-id"] for one in receiver.received(20)]
        assert sorted(found) == sorted(numbers)


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
    overload,
    slow_start,
    server_errors_do_not_halve,
    breaker_is_short,
    successes_between_failures,
    stale_messages_of_a_dead_destination,
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
    """Every scenario that is asked for, started in its thread."""
    wanted = {item.name for item in request.session.items if item.path == request.path}
    pool = ThreadPoolExecutor(len(SCENARIOS))
    yield {
        scenario.__name__: pool.submit(
            scenario, tmp_path_factory.mktemp(scenario.__name__), receivers
        )
        for scenario in SCENARIOS
        if f"test_timing[{scenario.__name__}]" in wanted
    }
    pool.shutdown()


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in SCENARIOS])
def test_timing(running: dict[str, Future[None]], scenario: str) -> None:
    """What each promises is said where it is defined, above."""
    running[scenario].result(60)


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in SLOW])
def test_slow(slow: dict[str, Future[None]], scenario: str) -> None:
    """Of `slow.py`: these run beside all other tests."""
    slow[scenario].result(60)

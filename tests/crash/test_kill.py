"""The real server is killed at random moments, and started again on the same logs.

What was answered 202 is delivered, with the right bytes, and nothing else is. The seed is printed;
set `CRASH_SEED` to run the same moments again (the machine's part in them is not repeatable).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import pytest

from dispatcher.testing.process import ServerProcess
from tests.crash.load import (
    Account,
    Destination,
    Load,
    ask,
    come,
    counts,
    delivered,
    records,
    silent,
    until,
)

pytestmark = pytest.mark.crash

_ROUNDS = 10
_QUICK = {"RETRY_DELAY": "60", "RETRY_MAX_DELAY": "400", "RETRYLIMIT": "1000", "WORKER": "16"}


@pytest.fixture
def dice() -> random.Random:
    """Where random moments come from."""
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"CRASH_SEED={seed}")
    return random.Random(seed)


async def _ready(server: ServerProcess) -> tuple[str, int]:
    """Wait without holding up the destinations, which are on this loop; return where it listens."""
    await asyncio.to_thread(server.event, "server.ready")
    return server.listen


async def test_every_202_is_delivered_when_the_server_is_killed_again_and_again(
    tmp_path: Path, dice: random.Random
) -> None:
    """Ten kills under load: nothing accepted is lost or changed, nothing is invented, what comes
    twice has the same id, and attempts are counted on."""
    account = Account()
    async with contextlib.AsyncExitStack() as stack:
        destinations = [
            await stack.enter_async_context(Destination(account)),
            await stack.enter_async_context(Destination(account)),
            await stack.enter_async_context(Destination(account, fails=_now_and_then)),
        ]
        for round_ in range(_ROUNDS):
            server = ServerProcess(tmp_path, **_QUICK)
            stack.callback(server.kill)
            address = await _ready(server)
            load = Load(account, address, destinations, most=400, seed=dice.randrange(1 << 32))
            async with load:
                await asyncio.sleep(dice.uniform(0.02, 0.6))
                # On a slow machine there would else be no load to speak of.
                await until(lambda most=20 * round_: len(account.accepted) > most)  # type: ignore[misc]  # bound at once
                await asyncio.to_thread(server.kill)
            print(f"round {round_}: {len(account.sizes)} sent, {len(account.accepted)} accepted")
        server = ServerProcess(tmp_path, **_QUICK)
        stack.callback(server.kill)
        await _ready(server)
        await delivered(account, destinations)
        # A message whose 202 was cut off by a kill may be there too, and wait for its retry.
        await until(lambda: counts(server)[0] == 0)
        deliveries = come(destinations)
        code = await asyncio.to_thread(server.stop)

    account.check(deliveries)
    assert not account.refused
    assert code == 0
    assert server.events("server.stopped")[0]["pending"] == 0


async def test_nothing_is_lost_when_the_server_is_killed_while_it_starts(
    tmp_path: Path, dice: random.Random
) -> None:
    """A start that is killed, during recovery or before, leaves a log as good as it found it."""
    account = Account()
    async with Destination(account) as destination:
        await destination.stop()
        with ServerProcess(tmp_path, **_QUICK) as server:
            async with Load(account, server.listen, [destination], most=300, large_one_in=20):
                await until(lambda: len(account.sizes) == 300)
        for _ in range(8):
            server = ServerProcess(tmp_path, **_QUICK)
            await asyncio.sleep(dice.uniform(0.05, 0.5))
            server.kill()
        await destination.start()
        with ServerProcess(tmp_path, **_QUICK) as server:
            deliveries = await delivered(account, [destination])
    account.check(deliveries, every=False)
    assert len(account.accepted) > 250


async def test_nothing_is_lost_when_the_server_is_killed_while_it_drains(
    tmp_path: Path, dice: random.Random
) -> None:
    """SIGTERM, and a kill at any moment of what it leads to."""
    account = Account()
    async with Destination(account) as destination:
        for _ in range(4):
            server = ServerProcess(tmp_path, **_QUICK)
            address = await _ready(server)
            async with Load(account, address, [destination], most=300):
                await asyncio.sleep(0.2)
                server.signal(signal.SIGTERM)
                await asyncio.sleep(dice.uniform(0.0, 0.15))
                await asyncio.to_thread(server.kill)
        with ServerProcess(tmp_path, **_QUICK) as server:
            deliveries = await delivered(account, [destination])
    account.check(deliveries)


async def test_all_is_settled_when_the_server_is_stopped_under_load(tmp_path: Path) -> None:
    """SIGTERM under load: exit code 0; what was delivered is not sent again, what was answered 202
    and not delivered is, and what was refused never is."""
    account = Account()
    async with Destination(account) as destination:
        for _ in range(3):
            server = ServerProcess(tmp_path, **_QUICK, DRAIN_TIMEOUT="60000")
            address = await _ready(server)
            async with Load(account, address, [destination], most=1000, callers=16):
                await asyncio.sleep(0.3)
                code = await asyncio.to_thread(server.stop)
            assert code == 0, server.stderr
        with ServerProcess(tmp_path, **_QUICK) as server:
            deliveries = await delivered(account, [destination])
    account.check(deliveries)
    twice = len(deliveries) - len({each.target for each in deliveries})
    assert twice == 0, "an orderly stop settles what was delivered"


async def test_each_message_is_pending_or_dead_when_the_server_is_killed_while_it_gives_up(
    tmp_path: Path, dice: random.Random
) -> None:
    """Messages that a destination rejects: after kills in between each of them is a dead letter,
    and none is one and pending too."""
    account = Account()
    async with Destination(account, fails=lambda target, attempt: 404) as destination:
        for _ in range(4):
            server = ServerProcess(tmp_path, **_QUICK)
            address = await _ready(server)
            async with Load(account, address, [destination], most=150, large_one_in=10):
                await asyncio.sleep(dice.uniform(0.05, 0.4))
                await asyncio.to_thread(server.kill)
        with ServerProcess(tmp_path, **_QUICK) as server:
            await until(lambda: counts(server)[0] == 0)
            _, dead = counts(server)
            assert await asyncio.to_thread(server.stop) == 0
        with ServerProcess(tmp_path, **_QUICK) as server:
            assert counts(server) == (0, dead)
    tried = {each.target for each in come([destination])}
    assert account.accepted.keys() <= tried
    # A message whose 202 was cut off by the kill is there too, if it was tried.
    assert dead == len(tried)


async def test_a_caller_in_the_middle_of_a_body_is_told_when_the_server_stops(
    tmp_path: Path,
) -> None:
    """It gets 503, so that it knows that the message will not be delivered."""
    account = Account()
    async with Destination(account) as destination:
        with ServerProcess(tmp_path, **_QUICK) as server:
            reader, writer = await asyncio.open_connection(*server.listen)
            head = (
                "POST /half HTTP/1.1\r\nHost: dispatcher\r\nContent-Length: 9000000\r\n"
                f"X-Dispatcher-Origin-Host: {destination.origin}\r\n\r\n"
            )
            writer.write(head.encode() + bytes(3_000_000))
            await writer.drain()
            await until(lambda: records(server) > 0)  # it stores what has come of the body
            server.signal(signal.SIGTERM)
            answer = await asyncio.wait_for(reader.readuntil(b"}"), 60)
            writer.close()
            assert await asyncio.to_thread(server.wait) == 0
        with ServerProcess(tmp_path, **_QUICK) as server:
            assert server.event("server.ready")["pending"] == 0
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"shutting_down" in answer
    assert not come([destination])


async def test_a_second_signal_ends_the_server_at_once_and_loses_nothing(tmp_path: Path) -> None:
    """While a destination lets it wait, a second signal ends it: no drain, which would last longer
    than anybody waits here, and nothing lost."""
    account = Account()
    destination = Destination(account)
    async with silent() as destination.port:
        settings = {"DRAIN_TIMEOUT": "600000", "DEFAULT_TIMEOUT": "600000"}
        with ServerProcess(tmp_path, **settings) as server:
            target = account.begin(1000)
            answer = await ask(server.listen, destination.origin, target, account.body(target))
            account.note(target, answer)
            server.signal(signal.SIGTERM)
            await asyncio.to_thread(server.event, "server.stopping")
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait) == 1
    async with destination:
        with ServerProcess(tmp_path, **_QUICK) as server:
            deliveries = await delivered(account, [destination])
    account.check(deliveries)
    assert [each.attempt for each in deliveries] == [1]


async def test_attempts_are_counted_on_after_a_kill(tmp_path: Path) -> None:
    """What was tried twice before the kill is tried for the third time after it."""
    account = Account()
    # The third attempt is due 2.4 s after the second at the earliest: long after the kill.
    slow = {**_QUICK, "RETRY_DELAY": "1500", "RETRY_MAX_DELAY": "3000"}
    async with Destination(account, fails=_three_times) as destination:
        with ServerProcess(tmp_path, **slow) as server:
            target = account.begin(10)
            answer = await ask(server.listen, destination.origin, target, account.body(target))
            account.note(target, answer)
            await until(lambda: len(come([destination])) == 2)
            await until(lambda: records(server) >= 3)  # the message, and each failed attempt
        with ServerProcess(tmp_path, **_QUICK) as server:
            deliveries = await delivered(account, [destination])
    assert [each.attempt for each in deliveries] == [1, 2, 3, 4]


def _now_and_then(target: str, attempt: int) -> int:
    return 503 if attempt < 3 and target.endswith("7") else 200


def _three_times(target: str, attempt: int) -> int:
    return 503 if attempt < 4 else 200

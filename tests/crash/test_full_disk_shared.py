"""The real server with both logs on one disk, as most keep them, when it is full."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from dispatcher.testing.process import ServerProcess
from tests.crash.callers import accepts_again, send
from tests.crash.load import Account, Destination, come, counts, readiness, until
from tests.crash.operators import purge_all

pytestmark = pytest.mark.crash


async def _fill(account: Account, server: ServerProcess, origin: str) -> None:
    """Send until messages of any size are refused."""
    for size in (300 * 1024, 50_000, 4_000):
        while True:
            answers = await asyncio.gather(*(send(account, server, origin, size) for _ in range(8)))
            if any(answer.status == 503 for answer in answers):
                break


async def test_messages_that_die_on_a_full_disk_become_letters_as_others_are_purged(
    tmp_path: Path, small_disk: Path
) -> None:
    """Every letter needs space that only the end of its message gives back. Those that find none
    wait, none is tried again or lost, and in the end the server accepts again by itself."""
    account = Account()
    settings = {
        "TRANSACTION_LOG": str(small_disk / "transaction.log"),
        "DEAD_LETTER": str(small_disk / "deadletter.log"),
        "RETRY_DELAY": "100",
        "RETRY_MAX_DELAY": "500",
        "RETRYLIMIT": "1000",
    }
    purged = 0
    async with Destination(account, fails=lambda target, attempt: 404) as destination:
        await destination.stop()
        with ServerProcess(tmp_path, **settings) as server:
            await _fill(account, server, destination.origin)
            await destination.start()
            deadline = time.monotonic() + 120
            while counts(server) != (0, 0):
                assert time.monotonic() < deadline
                purged += await asyncio.to_thread(purge_all, server)
                await asyncio.sleep(0.2)
            assert purged == len(account.accepted) == len(destination.deliveries)
            await accepts_again(account, server, destination.origin)
            await until(lambda: readiness(server)[0] == 200)
            server.kill()
        with ServerProcess(tmp_path, **settings) as server:
            assert sum(counts(server)) == len(account.accepted) - purged
            assert await asyncio.to_thread(server.stop) == 0
    assert {each.target for each in come([destination])} >= set(account.accepted)

"""The real server on a disk full of small messages, of large bodies, of dead letters: each comes
back by itself, also where some of what is there has to stay."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dispatcher.testing.process import ServerProcess
from tests.crash.callers import accepts_again, pour, send
from tests.crash.load import Account, Destination, come, counts, readiness, until
from tests.crash.operators import purge_all
from tests.effort import thorough

pytestmark = pytest.mark.crash

_QUICK = {"RETRY_DELAY": "100", "RETRY_MAX_DELAY": "500", "RETRYLIMIT": "1000", "WORKER": "32"}
_CALLERS = 4


@thorough
async def test_a_disk_full_of_small_messages_goes_on_although_a_few_have_to_wait(
    tmp_path: Path, tiny_disk: Path
) -> None:
    """Settling all the others fits into what is kept back, those that wait are copied, and nothing
    comes twice after a kill."""
    account = Account()
    settings = {**_QUICK, "TRANSACTION_LOG": str(tiny_disk / "transaction.log")}
    async with Destination(account) as destination, Destination(account) as away:
        await destination.stop()
        await away.stop()
        with ServerProcess(tmp_path, **settings) as server:
            accepted = 1
            while accepted:
                await send(account, server, away.origin, 100)
                poured = await asyncio.gather(
                    *(pour(account, server, destination.origin, 100) for _ in range(_CALLERS))
                )
                accepted = sum(poured)
            assert {refusal.slug for refusal in account.refused.values()} == {"disk_full"}
            assert len(account.accepted) > 10_000
            waits = counts(server)[0]
            await destination.start()
            await until(lambda: counts(server)[0] < 100, timeout_s=60)
            await accepts_again(account, server, destination.origin)
            await until(lambda: readiness(server)[0] == 200)
            await asyncio.sleep(1.5)
            waits = counts(server)[0]
            tried = [each.id for each in destination.deliveries]
            server.kill()
        with ServerProcess(tmp_path, **settings) as server:
            assert server.event("server.ready")["pending"] == waits
            await away.start()
            await until(lambda: counts(server)[0] == 0)
            assert await asyncio.to_thread(server.stop) == 0
        assert [each.id for each in destination.deliveries] == tried, "nothing comes twice"
        assert waits == len(away.deliveries)
    account.check(come([destination, away]), every=False)


async def test_a_disk_full_of_large_bodies_goes_on_although_one_has_to_wait(
    tmp_path: Path, small_disk: Path
) -> None:
    """It lies at the beginning of the log, and is copied as a whole."""
    account = Account()
    settings = {**_QUICK, "TRANSACTION_LOG": str(small_disk / "transaction.log")}
    async with Destination(account) as destination, Destination(account) as away:
        await destination.stop()
        await away.stop()
        with ServerProcess(tmp_path, **settings) as server:
            first = await send(account, server, away.origin, 600 * 1024)
            assert first.status == 202
            while (await send(account, server, destination.origin, 900 * 1024)).status == 202:
                pass
            assert len(account.accepted) > 10
            await destination.start()
            await until(lambda: counts(server)[0] == 1)
            await accepts_again(account, server, destination.origin)
            for _ in range(30):
                await send(account, server, destination.origin, 900 * 1024)
            await until(lambda: counts(server)[0] == 1)
            await away.start()
            await until(lambda: counts(server)[0] == 0)
            assert await asyncio.to_thread(server.stop) == 0
    account.check(come([destination, away]), every=False)


async def test_a_disk_full_of_dead_letters_goes_on_when_they_are_purged(
    tmp_path: Path, small_disk: Path
) -> None:
    """Those that waited for space are stored then, and no letter comes back after a kill."""
    account = Account()
    settings = {**_QUICK, "DEAD_LETTER": str(small_disk / "deadletter.log")}
    async with Destination(account, fails=lambda target, attempt: 404) as destination:
        with ServerProcess(tmp_path, **settings) as server:
            while readiness(server)[0] == 200:
                await asyncio.gather(
                    *(
                        send(account, server, destination.origin, size)
                        for size in (300 * 1024, *[50_000] * 10)
                    )
                )
            await asyncio.sleep(1.5)
            _, letters = counts(server)
            assert letters * 50_000 > 10 * 1024 * 1024, "the disk was used"
            waits = counts(server)[0]
            assert waits
            purged = await asyncio.to_thread(purge_all, server)
            assert purged >= letters
            await until(lambda: counts(server)[0] == 0)
            await until(lambda: readiness(server)[0] == 200)
            left = counts(server)[1]
            assert left == len(account.accepted) - purged
            await asyncio.sleep(1)
            server.kill()
        with ServerProcess(tmp_path, **settings) as server:
            assert server.event("server.ready")["pending"] == 0
            assert counts(server)[1] == left
            assert await asyncio.to_thread(server.stop) == 0
        assert len(destination.deliveries) == len(account.accepted), "each was tried once"

"""The real server when it may open few files only."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from dispatcher.testing.process import ServerProcess
from tests.crash.load import Account, Destination, ask, delivered

pytestmark = pytest.mark.crash

_QUICK = {"RETRY_DELAY": "60", "RETRY_MAX_DELAY": "300", "RETRYLIMIT": "1000"}


async def test_callers_cannot_take_the_descriptors_that_deliveries_need(tmp_path: Path) -> None:
    """More connections than the process may have files: those too many are refused or wait, the log
    is still read and written, and everything that was accepted is delivered."""
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        pytest.skip("prlimit is not installed")
    account = Account()
    async with Destination(account) as destination:
        await destination.stop()
        with ServerProcess(tmp_path, (prlimit, "--nofile=120:120"), **_QUICK) as server:
            for _ in range(40):  # more than is kept in memory for a destination that is down
                target = account.begin(30_000)
                body = account.body(target)
                account.note(target, await ask(server.listen, destination.origin, target, body))
            crowd = [await asyncio.open_connection(*server.listen) for _ in range(200)]
            await asyncio.sleep(0.5)
            await destination.start()
            deliveries = await delivered(account, [destination])
            for _, writer in crowd:
                writer.close()
            assert await asyncio.to_thread(server.stop) == 0
    account.check(deliveries, every=False)
    assert len(account.accepted) == 40
    assert not server.events("library.warned")

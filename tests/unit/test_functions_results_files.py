"""The results' log on the file engine: power cuts, real segments, and what a dump shows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dispatcher.cli.main import main
from dispatcher.core.clock import SteadyClock, SystemClock
from dispatcher.errors import Refusal
from dispatcher.functions.model import How
from dispatcher.functions.results.reading import Standing
from dispatcher.functions.results.records import StoredResult, key_of
from dispatcher.functions.results.retention import ResultPolicy
from dispatcher.functions.results.store import Results
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing.disk import SimulatedDisk
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.disk import Disk, RealDisk
from dispatcher.txlog.files.segment import Sizes

SIZES = Sizes(smallest=600 << 10, largest=600 << 10)
NOW_US = SystemClock().now_us()


class Running:
    """A results' log as one process has it. `stored` are those that it told were durable."""

    def __init__(self, path: Path, disk: Disk, policy: ResultPolicy, *, exists: bool) -> None:
        self.stored: dict[int, StoredResult] = {}
        self.supervisor = Supervisor(lambda name, error: None)
        self.failures: list[Exception] = []
        self.results = Results(
            lambda: FileLog(path, disk, sizes=SIZES),
            policy,
            exists=exists,
            clock=SteadyClock(SystemClock()),
            supervisor=self.supervisor,
            failed=self.failures.append,
            space_changed=lambda full: None,
            pace_changed=lambda before, pace, waited_s: None,
            died=lambda name, error: None,
        )

    async def start(self) -> Running:
        await self.results.open("test", 1)
        self.results.start()
        return self

    async def stop(self) -> None:
        await self.results.stop()
        await self.supervisor.stop()

    def store(self, number: int, size: int) -> asyncio.Future[None]:
        """Store a result; the future is done when it is known what became of it."""
        result = StoredResult(
            key_of(7, 1 << 63 | number),
            *("f", "http://a", "", "app", NOW_US, NOW_US, NOW_US, How.OK, "ok"),
            is_error=False,
            attempts=1,
            steps=0,
            restarts=0,
            result=number.to_bytes(2, "big") * (size // 2),
        )
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def then(refusal: Refusal | None) -> None:
            if refusal is None:
                self.stored[result.key] = result
            done.set_result(None)

        self.results.store(result, then)
        return done


@pytest.mark.parametrize("seed", range(20))
async def test_what_was_told_to_be_durable_is_there_after_a_power_cut(seed: int) -> None:
    """Whichever sectors the disk had written of the rest, large results included."""
    random = Random(seed)
    path = Path("/logs/results.log")
    disk = SimulatedDisk(seed=seed)
    policy = ResultPolicy(0, 0)
    running = await Running(path, disk, policy, exists=False).start()
    for number in range(random.randrange(5, 25)):
        done = running.store(number, random.choice((10, 2000, 300_000, 700_000)))
        if random.random() < 0.5:
            await done
    cut_at = asyncio.Event()
    calls = random.randrange(1, 12)

    def count() -> None:
        nonlocal calls
        calls -= 1
        if calls == 0:
            loop.call_soon_threadsafe(cut_at.set)

    loop = asyncio.get_running_loop()
    disk.after_change = count
    last = running.store(99, 10)
    first: set[asyncio.Future[Any]] = {last, asyncio.ensure_future(cut_at.wait())}
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    cut_at.set()
    disk.after_change = None
    told = dict(running.stored)
    after = disk.crash(random)
    await running.stop()
    again = await Running(path, after, policy, exists=True).start()
    for key, result in told.items():
        assert await again.results.read(key) == result
    assert again.results.holdings.lost == set()
    await again.store(100, 700_000)
    assert await again.results.read(key_of(7, 1 << 63 | 100)) == again.stored.popitem()[1]
    await again.stop()
    assert not again.failures


async def test_segments_are_given_back_and_the_log_can_be_dumped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a real disk, with the log that a server leaves."""
    path = tmp_path / "results.log"
    running = await Running(path, RealDisk(), ResultPolicy(0, 1 << 20), exists=False).start()
    assert not path.exists()
    for number in range(60):
        await running.store(number, 100_000)
    await asyncio.sleep(0.1)
    assert sum(file.stat().st_size for file in path.glob("*.seg")) <= 5 * SIZES.largest
    assert running.results.find(key_of(7, 1 << 63)) is Standing.EXPIRED
    assert await running.results.read(key_of(7, 1 << 63 | 59)) is not None
    await running.stop()
    with pytest.raises(SystemExit) as ended:
        main(["log", "dump", "--path", str(path)])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "result id=000000000007800000000000003b function=f endpoint=http://a how=ok" in said
    assert "known first=0000000000078000000000000000" in said

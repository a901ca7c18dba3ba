"""A results' log that leads a whole life: what it holds afterwards is kept as a golden file.

`python -m tests.golden.results_life N` writes `results_vN.json.gz` for the version of the records
that the program writes now, if the file is missing; it is never written again.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from pathlib import Path
from typing import Any

from dispatcher.functions.model import How
from dispatcher.functions.results.retention import ResultPolicy
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.loop import run
from dispatcher.testing.results import ResultsBench
from tests.golden.queue_life import log_of

HERE = Path(__file__).parent
POLICY = ResultPolicy(max_age_ms=24 * 3_600_000, max_bytes=2**20)


def golden(version: int) -> Path:
    """Where the records of a version are kept."""
    return HERE / f"results_v{version}.json.gz"


def load(version: int) -> dict[str, Any]:
    """The golden file of a version: `log` is positions and payloads in hexadecimal, `now_us` when
    it was written, `state` what `state_of` says after it was read."""
    found: dict[str, Any] = json.loads(gzip.decompress(golden(version).read_bytes()))
    return found


async def opened(clock: SimulatedClock, records: list[list[Any]]) -> ResultsBench:
    """A bench that has read these records."""
    return await ResultsBench(clock, log=log_of(records), policy=POLICY).start()


async def state_of(bench: ResultsBench) -> dict[str, Any]:
    """What a results' log that was just opened holds: all that there is of each result, and of the
    life's calls which are known."""
    results = bench.results
    index = results.holdings.index
    found = []
    for incarnation in (1, 2):
        for number in range(300):
            key = bench.key(number, incarnation)
            if index.find(key >> 64, key & (1 << 64) - 1) < 0:
                continue
            one = await results.read(key)
            assert one is not None
            found.append(
                [
                    *(f"{key:x}", one.function, one.endpoint, one.version, one.application),
                    *(one.created_us, one.expires_us, one.ended_us, one.how.name, one.status),
                    *(one.is_error, one.attempts, one.steps, one.restarts),
                    one.result.hex(),
                ]
            )
    known = [[one.incarnation, f"{one.low:x}", f"{one.high:x}"] for one in results.holdings.known]
    return {"results": found, "known": known}


async def _live(clock: SimulatedClock) -> tuple[FaultyLog, int]:
    """Each kind of record; results that are replaced, forgotten, expired, large."""
    bench = await ResultsBench(clock, policy=POLICY).start()
    for number in range(150):
        bench.store(number, bytes([number]) * 10_000)
        await asyncio.sleep(0.05)
    await asyncio.sleep(30)
    bench.store(200, b"ok", how=How.OK, application="büro")
    bench.store(
        201, b"no", how=How.FAILED, is_error=True, status="no: ä", attempts=12, steps=7, restarts=3
    )
    bench.store(202, b"late", how=How.EXPIRED, is_error=True)
    bench.store(203, b"stop", how=How.CANCELLED, is_error=True, endpoint="promise:x")
    bench.store(204, b"l" * 600_000)
    bench.store(205, b"older")
    await asyncio.sleep(1)
    bench.forget(200)
    bench.forget(203)
    bench.store(205, b"newer")
    await asyncio.sleep(1)
    await bench.crash()
    await bench.start()  # another incarnation
    bench.store(1, b"after")
    await asyncio.sleep(1)
    await bench.crash()
    assert bench.log is not None
    return bench.log, clock.now_us()


def live() -> tuple[FaultyLog, int]:
    """A log after a crash that holds the whole life, and when that was."""
    return run(_live)


def _write(version: int) -> None:
    path = golden(version)
    if path.exists():
        sys.exit(f"{path} is there")
    log, now_us = live()
    records = [[position, payload.hex()] for position, payload in log.records]

    async def reopened(clock: SimulatedClock) -> dict[str, Any]:
        clock.set_wall_clock(now_us)
        return await state_of(await opened(clock, records))

    found: dict[str, Any] = {"log": records, "now_us": now_us, "state": run(reopened)}
    path.write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))
    state = found["state"]
    print(len(records), len(state["results"]), state["known"], path.stat().st_size)


if __name__ == "__main__":
    _write(int(sys.argv[1]))

"""What a suspended call takes in memory: its input and state are in the log."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

from dispatcher.testing.callstore import BEGAN_US, CallBench, created, new, polled
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run

CALLS = 2_000
MOST_BYTES = 500


def test_suspended_call_takes_few_bytes_at_work_and_after_a_start() -> None:
    """Its place in the table, the two spans, the timer's instant and what holds them in the log:
    `MOST_BYTES` together, whether it became so or was read from the log."""

    async def main(clock: SimulatedClock) -> None:
        bench = CallBench(clock)
        await bench.start()
        bench.store.keep_recent(0)  # what was written lately is bounded, however many wait
        keys = bench.keys
        gc.collect()
        tracemalloc.start()
        for n in range(CALLS // 100):
            some = [keys.next() for _ in range(100)]
            await bench.store.stored(created(*(new(key, b"input", n=2**60 + n) for key in some)))
            for key in some:
                call = bench.store.machine.calls[key]
                due_us = BEGAN_US + key % 10**9
                bench.store.submit(polled(call, b"state", due_us=due_us, state_crc=key % 2**32))
            await asyncio.sleep(0.1)
        used = in_functions()
        tracemalloc.stop()
        assert used / CALLS < MOST_BYTES, f"{used / CALLS:.0f} bytes"

        await bench.crash()
        bench.queue.pending.guest.__dict__.clear()
        gc.collect()
        tracemalloc.start()
        await bench.start()
        used = in_functions()
        tracemalloc.stop()
        assert used / CALLS < MOST_BYTES, f"{used / CALLS:.0f} bytes"

    run(main)


def in_functions() -> int:
    """Bytes that were allocated for calls, and what keeps them in the log, and are still there."""
    gc.collect()
    snapshot = tracemalloc.take_snapshot()
    return sum(
        one.size
        for one in snapshot.statistics("filename")
        if "dispatcher/functions" in one.traceback[0].filename
        or "dispatcher/queue/pending" in one.traceback[0].filename
    )

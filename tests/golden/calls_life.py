"""A life of calls with every event: what the log holds afterwards is kept as a golden file.

`python -m tests.golden.calls_life N` writes `calls_vN.json.gz` for the version of the events that
the program writes now, if the file is missing; it is never written again. A new event, or a new
layout of one, gets a new file, and the older ones stay as they are.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from pathlib import Path
from typing import Any

from dispatcher.functions.events import (
    CancelAsked,
    Completed,
    Created,
    Dropped,
    Ended,
    Fact,
    Forgotten,
    Gone,
    Noted,
    Restarted,
    Resuming,
    Retried,
    Sent,
    TailCalled,
)
from dispatcher.functions.model import How
from dispatcher.testing.callstore import BEGAN_US, CallBench, created, exited, new, polled
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from tests.golden.queue_life import log_of

HERE = Path(__file__).parent
LATE_US = BEGAN_US + 10**15
TRACE = f"traceparent: 00-{1:032x}-{2:016x}-01\r\n"
LARGE = bytes(range(256)) * 1100
"""More than a chunk holds."""


def golden(version: int) -> Path:
    """Where the records of a version are kept."""
    return HERE / f"calls_v{version}.json.gz"


def load(version: int) -> dict[str, Any]:
    """The golden file of a version: `log` is positions and payloads in hexadecimal, `state` what
    `state_of` says after they were read."""
    found: dict[str, Any] = json.loads(gzip.decompress(golden(version).read_bytes()))
    return found


async def reopened(clock: SimulatedClock, records: list[list[Any]]) -> CallBench:
    """A queue and a store that have just read these records."""
    bench = CallBench(clock, log=log_of(records))
    await bench.open()
    return bench


async def state_of(bench: CallBench) -> Any:
    """All that the machine knows, with the bytes, as JSON."""
    return json.loads(json.dumps(_plain(await bench.dump())))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex() if len(value) < 1000 else f"{len(value)} bytes, {value[:4].hex()}"
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value) if hasattr(value, "due_us") else value


async def live(clock: SimulatedClock) -> CallBench:
    """Every event, small and large; some calls are copied, and some are not."""
    bench = CallBench(clock, extent_bytes=2000, keep_everything=True)
    await bench.start()
    store, keys = bench.store, bench.keys
    calls = store.machine.calls
    stored = store.stored
    roots = [keys.next() for _ in range(12)]
    facts = (Fact("key", "a", b"value", LATE_US), Fact("key", "b", b"gone"))
    await stored(Created("app", tuple(new(key, b"in %d" % key) for key in roots), facts))
    first = calls[roots[0]]
    children = [keys.next() for _ in range(4)]
    await stored(polled(first, b"state", *map(new, children), min_results=4))
    await stored(exited(calls[children[0]]))
    await stored(Ended(children[1], How.EXPIRED, b"late", BEGAN_US))
    await stored(Resuming(first.key, first.step, 1))
    second = calls[roots[1]]
    await stored(polled(second, b"one", new(keys.next()), min_results=2))
    await stored(polled(second, b"two", is_appended=True, min_results=2, error=b"refused"))
    await stored(Restarted(second.key, second.step))
    third = calls[roots[2]]
    await stored(TailCalled(third.key, third.step, "http://other", "g", "v2", b"tail"))
    await stored(Retried(third.key, third.step, 3, BEGAN_US + 5))
    fourth = calls[roots[3]]
    await stored(polled(fourth, b"s", new(keys.next())))
    await stored(CancelAsked(fourth.key, b"error", b"result", BEGAN_US + 9, tuple(fourth.children)))
    await stored(Noted((Fact("key", "b", None), Fact("schedule", "s", b"at", 0))))
    await stored(Completed("app", "p", b"done", False, BEGAN_US, LATE_US))
    for number in (keys.next(), keys.next(), keys.next()):
        await stored(Sent("app", "c", b"%d" % number, False, LATE_US, number))
    takers = [keys.next(), keys.next(), keys.next()]
    names = ("channel:c", "promise:p", "promise:q")
    await stored(
        created(*(new(key, endpoint=name) for key, name in zip(takers, names, strict=True)))
    )
    await asyncio.sleep(1)
    await stored(exited(calls[roots[4]]))
    await stored(exited(calls[roots[5]]))
    await stored(Forgotten((roots[5],)))
    await stored(polled(calls[roots[6]], LARGE))
    await stored(Gone(roots[7]))
    await _keep(bench, roots[10])
    traced = keys.next()
    await stored(Created("app", (new(traced, b"traced"),), trace=TRACE))
    await stored(polled(calls[traced], b"s", new(keys.next())))
    await asyncio.sleep(1)
    await stored(created(new(keys.next(), LARGE)))
    await bench.queue.space.copy(list(bench.queue.pending.extents)[:-1])
    fifth = calls[roots[9]]
    await stored(polled(fifth, b"s", *(new(keys.next()) for _ in range(3)), min_results=3))
    unneeded = tuple(fifth.children)[:2]
    await stored(Dropped(fifth.key, unneeded, b"error", b"result", BEGAN_US + 9, unneeded[:1]))
    await stored(created(*(new(keys.next(), LARGE) for _ in range(2))))
    await stored(polled(calls[roots[8]], b"after the copy", new(keys.next())))
    await _keep(bench, roots[11])
    await asyncio.sleep(1)
    await bench.crash()
    return bench


async def _keep(bench: CallBench, root: int) -> None:
    """A call is given two results, of which one stays."""
    stored, calls = bench.store.stored, bench.store.machine.calls
    children = [bench.store.machine.calls[root].key + number * 1000 for number in (1, 2)]
    await stored(polled(calls[root], b"s", *map(new, children), min_results=2))
    for child in children:
        await stored(exited(calls[child], b"out of %d" % child))
    await stored(polled(calls[root], b"s", delivered=2, keep=(children[1],)))


def _write(version: int) -> None:
    path = golden(version)
    if path.exists():
        sys.exit(f"{path} is there")
    records = [[position, payload.hex()] for position, payload in run(live).log.records]

    async def state(clock: SimulatedClock) -> Any:
        return await state_of(await reopened(clock, records))

    found = {"log": records, "state": run(state)}
    path.write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))
    print(json.dumps(found["state"], indent=1)[:3000])


if __name__ == "__main__":
    _write(int(sys.argv[1]))

"""The SDK: what an await costs, how long a record gets, and calls a second of one application.

First the replay engine by itself, in this process: a function that awaits calls one after the
other, warm (suspended in memory, each result appended to its record) and cold (replayed from the
record), and one that gathers; then as many functions suspended in memory as an application keeps.
Then whole: a server, and one application process (`benchmarks.application`), on the same
processors; every event is synced, every run signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import arguments, procfs, report
from benchmarks.application import FUNCTIONS, chain, doze, fan, noop
from benchmarks.process import HOST, free_port, running, wait_for_port, workspace
from benchmarks.server import Dispatcher, Site, dispatcher
from dispatcher.sdk import Client, Dispatch
from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.replay.model import Ended, Returned, Suspended, Told
from dispatcher.sdk.values import encode

_BEGAN_US = 1_700_000_000_000_000
_BATCH = 100
Body = Callable[[], Coroutine[Any, Any, object]]
Rows = dict[str, list[float]]


def main() -> None:
    """Run everything once for each round; print what was found."""
    options = _options()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace(options.directory))
        report.heading(directory, detail=f"{options.rounds} rounds of {options.calls} calls")
        Dispatch(*FUNCTIONS)
        rows: Rows = {}
        for number in range(options.rounds):
            _engine(rows, options)
            report.progress(f"engine, round {number + 1} of {options.rounds}")
        _suspend(rows, options.suspended)
        _whole(stack, directory, rows, options)
    report.table([(name, f"{report.Series.of(found):.1f}") for name, found in rows.items()])


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds")
    parser.add_argument("--calls", type=int, default=5_000, help="no-op calls a round")
    parser.add_argument("--suspended", type=int, default=10_000, help="functions in memory")
    return parser.parse_args()


def _run(body: Body, state: bytes | None = None) -> Run:
    return Run(body, Told("01f3", "benchmark"), state)


# The engine by itself.


def _engine(rows: Rows, options: Namespace) -> None:
    took: dict[int, float] = {}
    for awaits in (500, 5_000, 50_000):
        body = partial(chain.local, awaits)
        took[awaits], state = _warm(body, awaits)
        _add(rows, f"{awaits} awaits: warm, us each", took[awaits] / awaits * 1e6)
        _add(rows, f"{awaits} awaits: cold, us each", _cold(body, state) / awaits * 1e6)
        _add(rows, f"{awaits} awaits: bytes of record each", len(state) / awaits)
    _add(rows, "5000 awaits take as long as 500, times", took[5_000] / took[500])
    for children in (1_000, 10_000):
        issued, delivered, state = _gathered(children)
        _add(rows, f"gather of {children}: issued, ms", issued * 1e3)
        _add(rows, f"gather of {children}: a result delivered, us", delivered / children * 1e6)
        body = partial(fan.local, children)
        _add(rows, f"gather of {children}: cold, ms", _cold(body, state) * 1e3)


def _warm(body: Body, awaits: int) -> tuple[float, bytes]:
    """Seconds from the first await to the end, with each record's piece; and the record before the
    end, compacted."""
    run = _run(body)
    result = encode(1)
    events: list[Ended] = []
    began = time.perf_counter()
    for number in range(awaits):
        outcome = run.advance(events, _BEGAN_US + number * 1_000)
        assert isinstance(outcome, Suspended), outcome
        events = [Ended(outcome.calls[0].id, result)]
        run.appended()
        run.mark()
    took = time.perf_counter() - began
    state = run.state()
    run.close()
    return took, state


def _cold(body: Body, state: bytes) -> float:
    """Seconds that a replay of all that is on record takes, its parsing included."""
    gc.collect()
    began = time.perf_counter()
    run = _run(body, state)
    outcome = run.advance((), _BEGAN_US)
    took = time.perf_counter() - began
    assert isinstance(outcome, Suspended), outcome
    run.close()
    return took


def _gathered(children: int) -> tuple[float, float, bytes]:
    """Seconds to issue all, seconds to deliver all results, and the record before the last."""
    run = _run(partial(fan.local, children))
    began = time.perf_counter()
    outcome = run.advance((), _BEGAN_US)
    issued = time.perf_counter() - began
    assert isinstance(outcome, Suspended), outcome
    events = [Ended(one.id, encode(1)) for one in outcome.calls]
    began = time.perf_counter()
    run.advance(events[:-1], _BEGAN_US)
    delivered = time.perf_counter() - began
    state = run.state()
    ended = run.advance(events[-1:], _BEGAN_US)
    assert isinstance(ended, Returned), ended
    return issued, delivered, state


def _suspend(rows: Rows, count: int) -> None:
    """Suspend as many functions, each with one task."""
    gc.collect()
    before = procfs.memory(os.getpid()).resident
    began = time.perf_counter()
    runs = [_run(partial(doze.local, number)) for number in range(count)]
    for run in runs:
        run.advance((), _BEGAN_US)
    took = time.perf_counter() - began
    gc.collect()
    grown = procfs.memory(os.getpid()).resident - before
    _add(rows, f"{count} suspended: bytes of memory each", grown / count)
    _add(rows, f"{count} suspended: us to start each", took / count * 1e6)
    began = time.perf_counter()
    for run in runs:
        run.close()
    _add(rows, f"{count} suspended: us to evict each", (time.perf_counter() - began) / count * 1e6)


# Whole.


def _whole(stack: contextlib.ExitStack, directory: Path, rows: Rows, options: Namespace) -> None:
    server = stack.enter_context(dispatcher(Site(directory / "dispatcher")))
    application = stack.enter_context(_application(directory, server))
    for number in range(options.rounds):
        asyncio.run(_round(rows, server, application, options.calls))
        report.progress(f"whole, round {number + 1} of {options.rounds}")


@contextlib.contextmanager
def _application(directory: Path, server: Dispatcher) -> Iterator[int]:
    """The process id of an application; this process calls as one of the same URL."""
    port = free_port()
    settings = {
        "DISPATCH_API_URL": f"http://{HOST}:{server.site.api_port}",
        "DISPATCH_API_KEY": "any",
        "DISPATCH_ENDPOINT_URL": f"http://{HOST}:{port}",
        "DISPATCH_ENDPOINT_ADDR": f"{HOST}:{port}",
    }
    command = [sys.executable, "-m", "benchmarks.application"]
    output = directory / "application.log"
    os.environ.update(settings)
    with running(command, output=output, environment=os.environ | settings) as process:
        wait_for_port(port, process)
        yield process.pid


async def _round(rows: Rows, server: Dispatcher, application: int, calls: int) -> None:
    async with Client() as client:
        used = [procfs.cpu_seconds(pid) for pid in (server.pid, application)]
        began = time.perf_counter()
        handles = []
        numbers = iter(range(calls))
        while batch := list(islice(numbers, _BATCH)):
            handles += await client.dispatch(*(noop.build_call(number) for number in batch))
        for handle in handles:
            await handle.result()
        took = time.perf_counter() - began
        _add(rows, "no-op calls a second", calls / took)
        for name, pid, before in zip(
            ("server", "application"), (server.pid, application), used, strict=True
        ):
            cpu_us = (procfs.cpu_seconds(pid) - before) / calls * 1e6
            _add(rows, f"no-op calls: processor time of the {name}, us each", cpu_us)
        began = time.perf_counter()
        (handle,) = await client.dispatch(chain.build_call(500))
        await handle.result()
        _add(rows, "a chain of 500: awaits a second", 500 / (time.perf_counter() - began))
        began = time.perf_counter()
        (handle,) = await client.dispatch(fan.build_call(1_000))
        await handle.result()
        _add(rows, "f.gather of 1000: children a second", 1000 / (time.perf_counter() - began))
        _add(rows, "f.gather of 1000: resumes", _resumes(server, handle.id))


def _resumes(server: Dispatcher, call: str) -> int:
    status, body = server.get(f"/v1/calls/{call}/timeline")
    assert status == 200, body
    return sum(entry["step"] == "resumed" for entry in json.loads(body)["entries"])


def _add(rows: Rows, name: str, value: float) -> None:
    rows.setdefault(name, []).append(value)


if __name__ == "__main__":
    main()

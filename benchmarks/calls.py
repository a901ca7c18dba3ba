"""Function calls: how many a second, what one costs, and what a hundred thousand that wait take.

The endpoint (`benchmarks.endpoint`) answers at once and shares the processors; runs are signed, and
every event is synced. Measured: `noop` calls dispatched one by one by 64 callers, and in batches of
100 by 4; a chain of awaits; gathers of 100 and of 1 000; the time from Dispatch to the result; then
the memory of calls that sleep, and the start with all of them, beside one with none. `--rounds 0`
does the last two only.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from argparse import Namespace
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import arguments, procfs, report
from benchmarks.process import HOST, free_port, running, wait_for_port, workspace
from benchmarks.server import Dispatcher, Site, dispatcher
from dispatcher.protocol.messages import Any, DispatchRequest, DispatchResponse, Int64Value

_SETTLE_S = 5
"""After a start calls are looked at, a portion at a time: they get their alarms."""
_DISPATCH = "/dispatch.sdk.v1.DispatchService/Dispatch"


def main() -> None:
    """Run everything once for each round; print what was found."""
    options = _options()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace(options.directory))
        report.heading(directory, detail=f"{options.rounds} rounds of {options.calls} calls")
        endpoint = stack.enter_context(_endpoint(directory))
        if options.rounds:
            _run(directory, endpoint, options)
        if options.sleeping:
            _sleep(directory, endpoint, options.sleeping)


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds")
    parser.add_argument("--calls", type=int, default=10_000, help="no-op calls a round and way")
    parser.add_argument("--awaits", type=int, default=500, help="awaits of a chain")
    parser.add_argument("--sleeping", type=int, default=100_000, help="calls that sleep; 0: none")
    return parser.parse_args()


@contextlib.contextmanager
def _endpoint(directory: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.endpoint", str(port)]
    with running(command, output=directory / "endpoint.log") as process:
        wait_for_port(port, process)
        yield f"http://{HOST}:{port}"


def _run(directory: Path, endpoint: str, options: Namespace) -> None:
    rows: dict[str, list[float]] = {}
    with dispatcher(Site(directory / "dispatcher")) as server:
        for number in range(options.rounds):
            for name, value in asyncio.run(_round(server, endpoint, options)).items():
                rows.setdefault(name, []).append(value)
            report.progress(f"round {number + 1} of {options.rounds}")
    report.table([(name, f"{report.Series.of(found):.1f}") for name, found in rows.items()])


async def _round(server: Dispatcher, endpoint: str, options: Namespace) -> dict[str, float]:
    client = _Client(server.site.api_port, endpoint)
    found = {}
    for name, each, callers in (("one by one", 1, 64), ("in batches of 100", 100, 4)):
        used = procfs.cpu_seconds(server.pid)
        began = time.perf_counter()
        ended = _ended(server)
        ids = await client.dispatch_all("noop", options.calls, each, callers)
        accepted = time.perf_counter() - began
        while _ended(server) - ended < len(ids):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)
        took = time.perf_counter() - began
        found[f"{name}: dispatched a second"] = len(ids) / accepted
        found[f"{name}: calls a second"] = len(ids) / took
        found[f"{name}: processor time a call, us"] = (
            (procfs.cpu_seconds(server.pid) - used) / len(ids) * 1e6
        )
    for name, function, count in (
        (f"a chain of {options.awaits}: awaits a second", "chain", options.awaits),
        ("a gather of 100: children a second", "gather", 100),
        ("a gather of 1000: children a second", "gather", 1000),
    ):
        began = time.perf_counter()
        await client.ended(await client.dispatch(function, 1, count))
        found[name] = count / (time.perf_counter() - began)
    times = []
    for _ in range(200):
        began = time.perf_counter()
        await client.ended(await client.dispatch("noop", 1))
        times.append((time.perf_counter() - began) * 1000)
    found["alone, Dispatch to result: ms, p50"] = report.percentile(times, 50)
    found["alone, Dispatch to result: ms, p99"] = report.percentile(times, 99)
    return found


def _sleep(directory: Path, endpoint: str, count: int) -> None:
    site = Site(directory / "sleeping")
    began = time.perf_counter()
    with dispatcher(site) as server:
        empty = _Start.of(server, began)
        asyncio.run(_fall_asleep(server, endpoint, count))
        grown = procfs.memory(server.pid).resident - empty.resident
    began = time.perf_counter()
    with dispatcher(site) as server:
        full = _Start.of(server, began)
        time.sleep(_SETTLE_S)
        after = procfs.memory(server.pid).resident
    used_us = (full.cpu_s - empty.cpu_s) * 1e6
    report.table(
        [
            ("calls that sleep", str(count)),
            ("bytes of memory for each", f"{grown / count:.0f}"),
            ("the same after a start", f"{(after - empty.resident) / count:.0f}"),
            ("seconds from start to ready", f"{full.ready_s:.2f}"),
            ("the same without a call", f"{empty.ready_s:.2f}"),
            ("processor time of the start, each: us", f"{used_us / count:.1f}"),
        ]
    )


@dataclass(frozen=True)
class _Start:
    """A process that has just become ready: after how long, processor time, bytes of memory."""

    ready_s: float
    cpu_s: float
    resident: int

    @classmethod
    def of(cls, server: Dispatcher, began: float) -> _Start:
        ready_s = time.perf_counter() - began
        memory = procfs.memory(server.pid)
        return cls(ready_s, procfs.cpu_seconds(server.pid), memory.resident)


async def _fall_asleep(server: Dispatcher, endpoint: str, count: int) -> None:
    client = _Client(server.site.api_port, endpoint)
    await client.dispatch_all("sleep", count, 1000, 4)
    runs = 'dispatcher_call_runs_total{status="ok"}'
    while server.metrics().get(runs, 0) < count:  # noqa: ASYNC110 - in another process
        await asyncio.sleep(0.5)


def _ended(server: Dispatcher) -> float:
    """How many calls have ended, those of other calls included."""
    name = "dispatcher_calls_ended_total"
    return sum(value for key, value in server.metrics().items() if key.startswith(name))


class _Client:
    """Speaks HTTP by itself: a library would take more than the server."""

    def __init__(self, port: int, endpoint: str) -> None:
        self._port = port
        self._endpoint = endpoint

    async def dispatch(self, function: str, count: int, argument: int = 1) -> list[str]:
        """Dispatch calls in one request."""
        reader, writer = await asyncio.open_connection(HOST, self._port)
        try:
            return await self._dispatch(reader, writer, self._request(function, count, argument))
        finally:
            writer.close()

    async def dispatch_all(self, function: str, count: int, each: int, callers: int) -> list[str]:
        """Dispatch calls, `each` at once, from so many callers at a time."""
        request = self._request(function, each, 1)
        left = count // each
        ids: list[str] = []

        async def call() -> None:
            nonlocal left
            reader, writer = await asyncio.open_connection(HOST, self._port)
            while left:
                left -= 1
                ids.extend(await self._dispatch(reader, writer, request))
            writer.close()

        await _together(call, callers)
        return ids

    def _request(self, function: str, count: int, argument: int) -> bytes:
        request = DispatchRequest()
        packed = Any()
        packed.Pack(Int64Value(value=argument))
        for _ in range(count):
            request.calls.add(endpoint=self._endpoint, function=function, input=packed)
        body = request.SerializeToString()
        return (
            f"POST {_DISPATCH} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/proto\r\n"
            f"Connect-Protocol-Version: 1\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def _dispatch(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> list[str]:
        writer.write(request)
        return list(DispatchResponse.FromString(await _body(reader)).dispatch_ids)

    async def ended(self, ids: list[str]) -> None:
        """Wait until these have ended, one after the other."""
        for number in ids:
            await self.get(f"/v1/calls/{number}/result?wait=60s")

    async def get(self, path: str) -> bytes:
        """The body of an answer."""
        reader, writer = await asyncio.open_connection(HOST, self._port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        body = await _body(reader)
        writer.close()
        return body


async def _together(act: Callable[[], Awaitable[None]], count: int) -> None:
    await asyncio.gather(*(act() for _ in range(count)))


async def _body(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    status, _, fields = head.partition(b"\r\n")
    if b" 200 " not in status:
        raise SystemExit(f"not the answer that was expected: {head!r}")
    for field in fields.split(b"\r\n"):
        name, _, value = field.partition(b":")
        if name.lower() == b"content-length":
            return await reader.readexactly(int(value))
    raise SystemExit(f"an answer without a length: {head!r}")


if __name__ == "__main__":
    main()

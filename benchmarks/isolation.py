"""What healthy destinations get while many others hang, next to the same load without those.

Every destination gets one message, as fast as they are accepted; then, at a steady rate, messages
go to destinations that are drawn anew for each. What is measured is that second part, for those
that had answered once when the message was sent, and what a first message took.

Cases: 20 000 destinations of which 5 000 hang, and 400 of which 100 hang and the others answer 503
to one request of fifty; each with WORKER 10 and 64.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks import arguments, report
from benchmarks.crowd import address
from benchmarks.process import HOST, free_port, running, wait_for_port, workspace
from benchmarks.server import Site, dispatcher

_Choose = Callable[[float], int | None]
"""The number of the destination that comes next, at a moment; None: no more."""


@dataclass(frozen=True, slots=True)
class Case:
    """How many destinations there are, how many of them hang, and to what share of requests the
    others answer 503."""

    destinations: int
    hanging: int
    broken: float
    workers: int

    def __str__(self) -> str:
        broken = f", others 503 to {self.broken:.0%}" if self.broken else ""
        return f"{self.hanging} of {self.destinations} hang{broken}, WORKER={self.workers}"


@dataclass(frozen=True, slots=True)
class Result:
    """`rate` is of healthy destinations, in messages a second that were sent and delivered in the
    measured part; the rest in milliseconds. `known` is of messages to
    destinations that had answered, `first` of those that had not; what was answered 503 is in
    neither."""

    rate: float
    known: Sequence[float]
    first: Sequence[float]


CASES = [
    Case(*load, workers=workers)
    for load in ((20_000, 5_000, 0.0), (400, 100, 0.02))
    for workers in (10, 64)
]


def main() -> None:
    """Run the cases and print the comparison."""
    options = _options()
    with workspace(options.directory) as directory:
        report.heading(
            directory,
            detail=f"{options.rate} messages a second for {options.seconds} s after one for each",
        )
        for number, case in enumerate(CASES):
            if options.case not in (0, number + 1):
                continue
            beside = _run(case, directory / f"{number}-beside", options, with_sick=True)
            alone = _run(case, directory / f"{number}-alone", options, with_sick=False)
            print(f"\n  {case}")
            report.table(
                [
                    *_rows("beside", beside),
                    *_rows("alone", alone),
                    ("rate, beside / alone", f"{beside.rate / alone.rate:.2f}"),
                ]
            )


def _rows(side: str, result: Result) -> list[tuple[str, str]]:
    known = ", ".join(f"{report.percentile(result.known, p):.1f}" for p in (50, 99, 100))
    first = ", ".join(f"{report.percentile(result.first, p):.0f}" for p in (50, 99, 100))
    return [
        (f"{side}: healthy deliveries/s", f"{result.rate:.0f}"),
        (f"{side}: ms to a known one, p50, p99, most", known),
        (f"{side}: ms to an untried one, p50, p99, most", first),
    ]


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--case", type=int, default=0, help="1 to 4; 0: all of them")
    parser.add_argument("--seconds", type=int, default=20, help="length of the measured part")
    parser.add_argument("--rate", type=int, default=1500, help="messages a second, sick ones too")
    parser.add_argument("--connections", type=int, default=32, help="callers at once")
    return parser.parse_args()


def _run(case: Case, directory: Path, options: Namespace, *, with_sick: bool) -> Result:
    port = free_port()
    directory.mkdir()
    rows = directory / "rows"
    command = [sys.executable, "-m", "benchmarks.crowd", str(port), str(case.hanging)]
    command += [str(case.broken), str(rows)]
    with contextlib.ExitStack() as stack:
        crowd = stack.enter_context(running(command, output=directory / "crowd.log"))
        wait_for_port(port, crowd)
        site = Site(directory / "dispatcher", {"WORKER": str(case.workers)})
        server = stack.enter_context(dispatcher(site))
        first = 0 if with_sick else case.hanging
        rate = options.rate * (case.destinations - first) // case.destinations
        load = _Load(site.port, port, range(first, case.destinations), options.connections)
        began, ended = uvloop.run(load.run(rate, options.seconds))
        time.sleep(3)
        report.progress(f"{case}: {server.waiting()} wait")
        crowd.terminate()
        crowd.wait(30)
    return _result(rows, case, began, ended)


def _result(file: Path, case: Case, began: int, ended: int) -> Result:
    answered: dict[int, int] = {}
    known: list[float] = []
    first: list[float] = []
    delivered = 0
    for line in file.read_text().splitlines():
        number, status, sent, arrived, attempt = map(int, line.split())
        took_ms = (arrived - sent) / 1e6
        delivered += status == 200 and began <= sent and arrived < ended
        if number not in answered:
            first.append(took_ms)
            answered[number] = arrived
        elif sent > answered[number] and attempt == 1:
            known.append(took_ms)
    if len(answered) < case.destinations - case.hanging:
        report.progress(f"{len(answered)} destinations got a message in time")
    return Result(delivered / ((ended - began) / 1e9), known, first)


class _Load:
    """Callers that keep their connections: first one message for each destination, then more at a
    steady rate."""

    def __init__(self, listen: int, port: int, numbers: range, connections: int) -> None:
        self._listen = listen
        self._port = port
        self._connections = connections
        self._order = list(numbers)
        self._random = random.Random(3)
        self._random.shuffle(self._order)

    async def run(self, rate: int, seconds: int) -> tuple[int, int]:
        """Send everything; returns when the steady part began and ended, in nanoseconds."""
        every = list(self._order)
        await self._all(lambda _: every.pop() if every else None, 0.0)
        began = time.time_ns()
        end = time.monotonic() + seconds

        def drawn(now: float) -> int | None:
            return self._random.choice(self._order) if now < end else None

        await self._all(drawn, self._connections / rate)
        return began, time.time_ns()

    async def _all(self, choose: _Choose, interval_s: float) -> None:
        callers = [self._call(choose, interval_s) for _ in range(self._connections)]
        await asyncio.gather(*callers)

    async def _call(self, choose: _Choose, interval_s: float) -> None:
        reader, writer = await asyncio.open_connection(HOST, self._listen)
        due = time.monotonic() + self._random.random() * interval_s
        while (number := choose(time.monotonic())) is not None:
            await asyncio.sleep(due - time.monotonic())
            due += interval_s
            head = (
                f"GET /message HTTP/1.1\r\nHost: dispatcher\r\nX-Sent: {time.time_ns()}\r\n"
                f"X-Dispatcher-Origin-Host: {address(number)}:{self._port}\r\n\r\n"
            )
            writer.write(head.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 202 "):
                raise SystemExit(f"a message was refused: {answer!r}")
        writer.close()


if __name__ == "__main__":
    main()

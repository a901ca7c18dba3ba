"""What options of a message cost: each of them beside none, and many messages that have one.

First `--rounds` rounds in which every option has `--seconds` of wrk, with heads that differ from
one request to the next, so that none of them is read faster than the others. Then `--count`
messages each that are delayed, that had an idempotency key and were delivered, and that have one of
`--keys` order keys, written into a log at once: the start with them, what they take of memory, and
how fast those with order keys are delivered, beside as many without. Last `--destinations` with a
rate each. `--only` runs one part.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from argparse import Namespace
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import arguments, crowd, nginx, procfs, report, wrk
from benchmarks.process import HOST, free_port, running, wait_for_port, workspace
from benchmarks.server import Dispatcher, Site, dispatcher
from dispatcher.core.destination import Origin
from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.queue.records.messages import encode_message
from dispatcher.queue.records.settled import encode_settled
from dispatcher.txlog.files import FileLog

_SETTLE_S = 3
_INCARNATION = 1
_AT_ONCE = 1500
_HOUR_US = 3_600_000_000
_BODY = b"x" * 64
_RATE = 2
_RATE_SECONDS = 20
_RATE_WARM_S = 10
_RATE_MESSAGES_S = 60
"""For so long each destination has messages at its rate: none runs out of them while it is
measured."""

_NONE = "none"
OPTIONS = {
    _NONE: "",
    "label": "headers['X-Dispatcher-Label'] = 'invoice'",
    "deadline": "headers['X-Dispatcher-Deadline'] = '1h'",
    "retries": "headers['X-Dispatcher-Retries'] = '3'",
    "delay of 1 s": "headers['X-Dispatcher-Delay'] = '1s'",
    "idempotency key": "headers['X-Dispatcher-Idempotency-Key'] = run .. n",
    "one of 1000 order keys": "headers['X-Dispatcher-Order-Key'] = 'k' .. (n % 1000)",
    "one of 1000 flow keys": "headers['X-Dispatcher-Flow-Key'] = 'k' .. (n % 1000)",
    "callback": "headers['X-Dispatcher-Callback'] = 'http://{origin}/callback'",
    "wait of 5 s": "headers['X-Dispatcher-Wait'] = '5s'",
}
"""Options, and the line of Lua that adds one to a request."""

_SCRIPT = """
local body = string.rep("x", %(body_bytes)d)
local n = 0
local run = tostring({}):sub(8) .. os.time() .. "-"
request = function()
    n = n + 1
    local headers = {
        ["Host"] = "benchmark",
        ["X-Dispatcher-Origin-Host"] = "%(origin)s",
        ["X-Request-Id"] = string.format("%%08x", n * 2654435761 %% 4294967296),
    }
    %(line)s
    return wrk.format("POST", "/message", headers, body)
end
"""


def main() -> None:
    """Run the parts and print what was found."""
    options = _options()
    parts: dict[str, Callable[[Path, Namespace], None]] = {
        "each": _each,
        "delayed": _delayed,
        "keys": _keys,
        "order": _order,
        "rates": _rates,
    }
    with workspace(options.directory) as directory:
        report.heading(
            directory,
            detail=f"{options.rounds} rounds of {options.seconds} s, {options.count} messages",
        )
        for name, part in parts.items():
            if options.only in (None, name):
                part(directory / name, options)


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--seconds", type=int, default=5, help="of each option in a round")
    parser.add_argument("--connections", type=int, default=64, help="callers at once")
    parser.add_argument("--count", type=int, default=1_000_000, help="messages that wait, or keys")
    parser.add_argument("--keys", type=int, default=10_000, help="order keys of them")
    parser.add_argument("--destinations", type=int, default=1000, help="destinations with a rate")
    parser.add_argument("--only", choices=["each", "delayed", "keys", "order", "rates"])
    return parser.parse_args()


# Each option beside none.


def _each(directory: Path, options: Namespace) -> None:
    rates: dict[str, list[float]] = {name: [] for name in OPTIONS}
    cpu_us: dict[str, list[float]] = {name: [] for name in OPTIONS}
    directory.mkdir()
    sink_port = free_port()
    with contextlib.ExitStack() as stack:
        stack.enter_context(nginx.sink(directory / "sink", sink_port))
        site = Site(directory / "dispatcher", {"WORKER": "64"})
        server = stack.enter_context(dispatcher(site))
        for number in range(options.rounds):
            order = list(OPTIONS) if number % 2 == 0 else list(reversed(OPTIONS))
            for name in order:
                script = wrk.script(directory, _lua(name, f"{HOST}:{sink_port}"))
                rate, used_us = _load(server, script, options)
                rates[name].append(rate)
                cpu_us[name].append(used_us)
            report.progress(f"round {number + 1} of {options.rounds}")
    rows = []
    for name in OPTIONS:
        ratios = [one / none for one, none in zip(rates[name], rates[_NONE], strict=True)]
        rows.append(
            (
                name,
                f"{report.Series.of(rates[name]):.0f} a second, "
                f"{report.Series.of(ratios):.2f} of none, "
                f"{report.Series.of(cpu_us[name]):.1f} us of processor",
            )
        )
    report.table(rows)


def _lua(name: str, origin: str) -> str:
    line = OPTIONS[name].replace("{origin}", origin)
    return _SCRIPT % {"body_bytes": 1024, "origin": origin, "line": line}


def _load(server: Dispatcher, script: Path, options: Namespace) -> tuple[float, float]:
    """Callers' messages a second, accepted and delivered, and processor time of each: a callback is
    a part of the message that it is of."""
    spent = procfs.cpu_seconds(server.pid)
    load = wrk.run(
        server.site.port, script, seconds=options.seconds, connections=options.connections
    )
    ended = time.monotonic()
    load.check()
    server.drain(timeout_s=120)
    elapsed = load.seconds + time.monotonic() - ended
    spent = procfs.cpu_seconds(server.pid) - spent
    return load.requests / elapsed, spent / load.requests * 1e6


# Many messages that have one, written into a log at once.


@dataclass(frozen=True, slots=True)
class _Started:
    """A server that has just read its log."""

    ready_s: float
    resident: int
    cpu_s: float


@contextlib.contextmanager
def _started(site: Site) -> Iterator[tuple[Dispatcher, _Started]]:
    began = time.monotonic()
    with dispatcher(site) as server:
        ready_s, cpu_s = server.ready_at - began, procfs.cpu_seconds(server.pid)
        time.sleep(_SETTLE_S)
        yield server, _Started(ready_s, procfs.memory(server.pid).resident, cpu_s)


def _delayed(directory: Path, options: Namespace) -> None:
    empty = _start_of(directory / "empty")
    site = Site(directory / "delayed")
    due_us = _now_us() + 24 * _HOUR_US
    asyncio.run(_fill(site, options.count, lambda _: Terms(not_before_us=due_us)))
    with _started(site) as (server, started):
        _expect(server, options.count)
    report.table(
        [
            ("delayed messages", str(options.count)),
            ("bytes of memory for each", _each_of(started, empty, options.count)),
            ("seconds from start to ready", f"{started.ready_s:.2f}"),
            ("processor time of the start, s", f"{started.cpu_s:.2f}"),
        ]
    )


def _keys(directory: Path, options: Namespace) -> None:
    empty = _start_of(directory / "empty")
    site = Site(directory / "keys")
    asyncio.run(_fill(site, options.count, _with_idempotency_key, settled=True))
    with _started(site) as (server, started):
        _expect(server, 0)
    report.table(
        [
            ("idempotency keys of messages that are delivered", str(options.count)),
            ("bytes of memory for each", _each_of(started, empty, options.count)),
            ("seconds from start to ready", f"{started.ready_s:.2f}"),
            ("processor time of the start, s", f"{started.cpu_s:.2f}"),
        ]
    )


def _with_idempotency_key(number: int) -> Terms:
    return Terms(idempotency_key=f"order-{number}", request_print=number)


def _order(directory: Path, options: Namespace) -> None:
    rows: list[tuple[str, str]] = []

    def keyed(number: int) -> Terms:
        return Terms(order_key=f"k{number % options.keys}")

    for name, terms_of in (("without keys", None), (f"{options.keys} order keys", keyed)):
        site = Site(directory / name.replace(" ", "-"), {"WORKER": "64"})
        sink_port = free_port()
        asyncio.run(_fill(site, options.count, terms_of, port=sink_port))
        empty = _start_of(directory / f"empty-{len(rows)}")
        with _started(site) as (server, started):
            began, spent = time.monotonic(), procfs.cpu_seconds(server.pid)
            with nginx.sink(directory / f"sink-{len(rows)}", sink_port):
                server.drain(timeout_s=3600)
            took_s = time.monotonic() - began
            spent = procfs.cpu_seconds(server.pid) - spent
            if server.delivered() != options.count:
                raise SystemExit(f"{server.delivered()} of {options.count} were delivered")
        rows += [
            (f"{name}: bytes of memory for each", _each_of(started, empty, options.count)),
            (f"{name}: seconds from start to ready", f"{started.ready_s:.2f}"),
            (f"{name}: processor time of the start, s", f"{started.cpu_s:.2f}"),
            (f"{name}: delivered a second", f"{options.count / took_s:.0f}"),
            (f"{name}: processor time of each, us", f"{spent / options.count * 1e6:.1f}"),
        ]
    report.table(rows)


def _start_of(directory: Path) -> _Started:
    with _started(Site(directory)) as (_, started):
        return started


def _each_of(started: _Started, empty: _Started, count: int) -> str:
    return f"{(started.resident - empty.resident) / count:.0f}"


def _expect(server: Dispatcher, waiting: int) -> None:
    if server.waiting() != waiting:
        raise SystemExit(f"{server.waiting()} messages wait, {waiting} should")


async def _fill(
    site: Site,
    count: int,
    terms_of: Callable[[int], Terms] | None,
    *,
    port: int = 9,
    hosts: Sequence[str] = (),
    settled: bool = False,
) -> None:
    """Write a log with so many messages, as a server leaves it; with `hosts` for each in turn."""
    site.log.parent.mkdir(parents=True, exist_ok=True)
    log = FileLog(site.log)
    await log.open("benchmark", 0)
    hosts = hosts or [f"{HOST}:{port}"]
    destinations = [Origin.parse(host.encode()).destination for host in hosts]
    head = (
        b"POST /message HTTP/1.1\r\nHost: benchmark\r\nX-Sent: 0\r\nContent-Length: %d\r\n"
        % len(_BODY)
    )
    for start in range(0, count, _AT_ONCE):
        payloads = []
        for number in range(start, min(start + _AT_ONCE, count)):
            message = Message(
                destinations[number % len(destinations)],
                head,
                _BODY,
                timeout_ms=0,
                accepted_at=_now_us(),
                incarnation=_INCARNATION,
            )
            message.terms = None if terms_of is None else terms_of(number)
            payloads.append(encode_message(message))
        positions = await log.append(payloads)
        if settled:
            await log.append([encode_settled(_INCARNATION, array("Q", positions))])
    await log.close()


# Destinations with a rate each.


def _rates(directory: Path, options: Namespace) -> None:
    directory.mkdir()
    port, file = free_port(), directory / "rows"
    rules = directory / "rules.toml"
    rules.write_text(
        "".join(
            f'[[destination]]\nmatch = "{crowd.address(n)}:{port}"\nrate = "{_RATE}/s"\n'
            for n in range(options.destinations)
        )
    )
    site = Site(directory / "dispatcher", {"WORKER": "64", "DISPATCHER_CONFIG": str(rules)})
    hosts = [f"{crowd.address(n)}:{port}" for n in range(options.destinations)]
    count = options.destinations * _RATE * _RATE_MESSAGES_S
    asyncio.run(_fill(site, count, None, hosts=hosts))
    command = [sys.executable, "-m", "benchmarks.crowd", str(port), "0", "0", str(file)]
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(running(command, output=directory / "crowd.log"))
        wait_for_port(port, process)
        server = stack.enter_context(dispatcher(site))
        time.sleep(_RATE_WARM_S)
        delivered, spent = server.delivered(), procfs.cpu_seconds(server.pid)
        began = time.monotonic()
        time.sleep(_RATE_SECONDS)
        took_s = time.monotonic() - began
        delivered = server.delivered() - delivered
        spent = procfs.cpu_seconds(server.pid) - spent
        left = server.waiting()
    expected = options.destinations * _RATE * took_s
    report.table(
        [
            (f"destinations with {_RATE}/s", str(options.destinations)),
            ("delivered a second", f"{delivered / took_s:.0f}"),
            ("of what the rates allow", f"{delivered / expected:.3f}"),
            ("processor time, %", f"{spent / took_s * 100:.0f}"),
            ("messages that still wait for each", f"{left / options.destinations:.0f}"),
        ]
    )


def _now_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    main()

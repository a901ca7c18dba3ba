"""How long operators hold up the event loop, where a million messages wait and a million are dead.

Writes both logs, with messages for `--lanes` destinations, and starts the dispatcher on them.
Callers post messages as fast as they are answered: while operators cancel, explain, purge,
redrive, page, hold and scrape all at once, while two page through what waits, and while eight
clients ask for one expensive answer after the other. Then the same operators meet a dispatcher of
which every callback is timed (`watching`): what is told is the longest, with its name.

Each work is measured `--rounds` times, beside as long without it, and the order of the two changes
from round to round. With `--only-lists` the log keeps everything: else, with a million small
messages waiting, the dispatcher copies four of them forward for each one that comes, now and then,
which halves the rate for as long as it lasts, with lists or without.

On two cores the callers, nginx and the lists' clients take time from the dispatcher. So the
processor time is told too: of the dispatcher for a message, and of those who ask. Where other
programs run, waits say when those let the dispatcher run; see to it that they do not count
(`chrt --fifo 1`, as root).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import arguments, nginx, procfs, report, wrk
from benchmarks.filling import Amounts, fill
from benchmarks.process import HOST, free_port, workspace
from benchmarks.report import Series
from benchmarks.server import Dispatcher, Site, dispatcher

_EXPENSIVE = ("/v1/dead-letters/groups", "/metrics", "/v1/stats", "/healthz", "/nothing")
_IDS = 20_000
"""Of each kind, that operators may use up."""
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What came of one load: what callers met, processor time of the dispatcher for each message
    and of the operators, in all, and how many of their calls were answered, by status."""

    load: wrk.Load
    server_us: float
    operators_s: float
    answered: Counter[str]


def main() -> None:
    """Fill, load, watch; print what was found."""
    options = _options()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace(options.directory))
        report.heading(
            directory,
            detail=f"{options.messages} waiting in {options.lanes} lanes, {options.deep} of them "
            f"in one; {options.dead} dead",
        )
        sink_port = free_port()
        stack.enter_context(nginx.sink(directory / "sink", sink_port))
        settings = {"WORKER": "64", "DEAD_LETTER_RETENTION": "0", "DEAD_LETTER_MAX_BYTES": "0"}
        if options.only_lists:
            settings["EVENT_SOURCING"] = "true"
        site = Site(directory / "dispatcher", settings)
        ids = _fill(site, options)
        script = wrk.post_script(directory, origin=f"{HOST}:{sink_port}", body_bytes=1024)
        if not options.only_watch:
            _measure(site, script, ids, options)
        if not options.only_lists:
            _watch(site, script, ids, options)


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, help="messages that wait")
    parser.add_argument("--deep", type=int, default=200_000, help="of them in one held lane")
    parser.add_argument("--lanes", type=int, default=100_000, help="destinations of the others")
    parser.add_argument("--dead", type=int, default=1_000_000, help="dead letters")
    parser.add_argument("--seconds", type=int, default=20, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements with and without each")
    parser.add_argument("--connections", type=int, default=8, help="callers at once")
    parser.add_argument("--only-watch", action="store_true", help="nothing but the holds")
    parser.add_argument("--only-lists", action="store_true", help="nothing but lists of what waits")
    return parser.parse_args()


def _fill(site: Site, options: Namespace) -> Path:
    """Write the logs; returns the file with ids for operators."""
    began = time.monotonic()
    amounts = Amounts(options.messages, options.deep, options.lanes, options.dead)
    filled = asyncio.run(fill(site.log, site.directory / "deadletter.log", amounts))
    report.progress(f"logs written in {time.monotonic() - began:.0f} s")
    some = {
        name: value if isinstance(value, str) else _spread(value)
        for name, value in asdict(filled).items()
    }
    path = site.directory / "ids.json"
    path.write_text(json.dumps(some))
    return path


def _spread(ids: list[str]) -> list[str]:
    return ids[:: max(1, len(ids) // _IDS)]


def _measure(site: Site, script: Path, ids: Path, options: Namespace) -> None:
    rows: list[tuple[str, str]] = []
    with dispatcher(site) as server:
        wrk.run(site.port, script, seconds=3, connections=options.connections)
        works = {"lists of what waits": ("lists", str(ids))}
        if not options.only_lists:
            works["with operators"] = ("all", str(ids))
            works |= {f"8 clients on {path}": ("ask", path) for path in _EXPENSIVE}
        for name, work in works.items():
            pairs = []
            for number in range(options.rounds):
                turns = [None, work] if number % 2 == 0 else [work, None]
                found = [_loaded(server, script, turn, options) for turn in turns]
                pairs.append((found[turns.index(None)], found[turns.index(work)]))
                report.progress(f"{name}: round {number + 1} of {options.rounds}")
            rows += _rows(name, pairs)
    report.table(rows)


def _rows(name: str, pairs: Sequence[tuple[_Loaded, _Loaded]]) -> list[tuple[str, str]]:
    """What is told of loads without and with a work, in pairs."""
    alone, beside = zip(*pairs, strict=True)
    answered: Counter[str] = sum((one.answered for one in beside), Counter())

    def compared(of: Callable[[_Loaded], float], spec: str) -> str:
        ratio = Series.of([of(second) / of(first) for first, second in pairs])
        without, with_it = (Series.of([of(one) for one in some]) for some in (alone, beside))
        return f"{with_it:{spec}}, alone {without:{spec}}: {ratio:.2f}"

    return [
        (f"{name}: messages/s", compared(lambda one: one.load.rate, ".0f")),
        (f"{name}: ms to 202, p50", compared(lambda one: one.load.p50_ms, ".2f")),
        (f"{name}: ms to 202, p99", compared(lambda one: one.load.p99_ms, ".2f")),
        (f"{name}: ms to 202, p99.9", compared(lambda one: one.load.p999_ms, ".2f")),
        (f"{name}: server, us a message", compared(lambda one: one.server_us, ".1f")),
        (
            f"{name}: clients, processors",
            f"{Series.of([one.operators_s / one.load.seconds for one in beside]):.3f}",
        ),
        (
            f"{name}: calls answered",
            _by_status(answered),
        ),
    ]


def _by_status(answered: Counter[str]) -> str:
    return ", ".join(f"{status}: {count}" for status, count in sorted(answered.items()))


def _loaded(
    server: Dispatcher, script: Path, work: tuple[str, str] | None, options: Namespace
) -> _Loaded:
    site = server.site
    with _operators(site, work, options.seconds) as operators:
        spent = procfs.cpu_seconds(server.pid)
        load = wrk.run(site.port, script, seconds=options.seconds, connections=options.connections)
        spent = procfs.cpu_seconds(server.pid) - spent
        others_s = _ended_children_s()  # wrk's among them
        answered = _answered(operators)
    used_s = _ended_children_s() - others_s
    return _Loaded(load, spent / max(1, load.requests) * 1e6, used_s, answered)


@contextlib.contextmanager
def _operators(
    site: Site, work: tuple[str, str] | None, seconds: int
) -> Iterator[subprocess.Popen[str] | None]:
    if work is None:
        yield None
        return
    command = [sys.executable, "-m", "benchmarks.operating", str(site.api_port)]
    with subprocess.Popen(
        [*command, str(seconds), *work],
        stdout=subprocess.PIPE,
        text=True,
        env=site.environment(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _ended_children_s() -> float:
    """Processor time of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _answered(operators: subprocess.Popen[str] | None) -> Counter[str]:
    total: Counter[str] = Counter()
    if operators is not None:
        output, _ = operators.communicate(timeout=150)
        for statuses in json.loads(output).values():
            total.update(statuses)
    return total


def _watch(site: Site, script: Path, ids: Path, options: Namespace) -> None:
    holds = site.directory / "holds.json"
    with dispatcher(site, module=("benchmarks.watching", str(holds))) as server:
        wrk.run(site.port, script, seconds=2, connections=options.connections)
        server.process.send_signal(signal.SIGUSR2)
        loaded = _loaded(server, script, ("all", str(ids)), options)
        server.process.terminate()
        server.process.wait(60)
    found: dict[str, Any] = json.loads(holds.read_text())
    longest = sorted(found["long"].items(), key=lambda one: -one[1][1])
    rows = [
        ("watched: messages/s", f"{loaded.load.rate:.0f}"),
        ("watched: calls answered", _by_status(loaded.answered)),
        ("callbacks", str(found["callbacks"])),
        ("longest hold, ms", f"{longest[0][1][1] * 1000:.1f}" if longest else "below 1"),
    ]
    rows += [
        (f"  {most * 1000:6.1f} ms, {int(count)} above 1 ms", name)
        for name, (count, most) in longest[:_SHOWN]
    ]
    report.table(rows)


if __name__ == "__main__":
    main()

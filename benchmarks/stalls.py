"""How long operators hold up the event loop, where a million messages wait and a million are dead.

Writes both logs, with messages for `--lanes` destinations, and starts the dispatcher on them.
Callers post messages as fast as they are answered: while operators cancel, explain, purge,
redrive, page, hold and scrape all at once, while two page through what waits, and while eight
clients ask for one expensive answer after the other. Then the same operators meet a dispatcher of
which every callback is timed (`watching`): what is told is the longest, with its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import arguments, nginx, report, wrk
from benchmarks.filling import Amounts, fill
from benchmarks.process import HOST, free_port, workspace
from benchmarks.server import Site, dispatcher

_EXPENSIVE = ("/v1/dead-letters/groups", "/metrics", "/v1/stats", "/healthz", "/nothing")
_IDS = 20_000
"""Of each kind, that operators may use up."""
_SHOWN = 12


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
        site = Site(
            directory / "dispatcher",
            {"WORKER": "64", "DEAD_LETTER_RETENTION": "0", "DEAD_LETTER_MAX_BYTES": "0"},
        )
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
    with dispatcher(site):
        wrk.run(site.port, script, seconds=3, connections=options.connections)
        works = {"lists of what waits": ("lists", str(ids))}
        if not options.only_lists:
            works["with operators"] = ("all", str(ids))
            works |= {f"8 clients on {path}": ("ask", path) for path in _EXPENSIVE}
        for name, work in works.items():
            # Each beside its own: the machine is not as fast at one time as at another.
            alone, _ = _loaded(site, script, None, options)
            load, answered = _loaded(site, script, work, options)
            rows += [
                (f"{name}: messages/s", f"{load.rate:.0f}, {load.rate / alone.rate:.2f} of alone"),
                (f"{name}: ms to 202, p99", f"{load.p99_ms:.2f}, alone {alone.p99_ms:.2f}"),
                (f"{name}: ms to 202, p99.9", f"{load.p999_ms:.2f}, alone {alone.p999_ms:.2f}"),
                (f"{name}: calls answered", answered),
            ]
            report.progress(name)
    report.table(rows)


def _loaded(
    site: Site, script: Path, work: tuple[str, str] | None, options: Namespace
) -> tuple[wrk.Load, str]:
    with _operators(site, work, options.seconds) as operators:
        load = wrk.run(site.port, script, seconds=options.seconds, connections=options.connections)
        return load, _answered(operators)


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


def _answered(operators: subprocess.Popen[str] | None) -> str:
    if operators is None:
        return ""
    output, _ = operators.communicate(timeout=150)
    total: Counter[str] = Counter()
    for statuses in json.loads(output).values():
        total.update(statuses)
    return ", ".join(f"{status}: {count}" for status, count in sorted(total.items()))


def _watch(site: Site, script: Path, ids: Path, options: Namespace) -> None:
    holds = site.directory / "holds.json"
    with dispatcher(site, module=("benchmarks.watching", str(holds))) as server:
        wrk.run(site.port, script, seconds=2, connections=options.connections)
        server.process.send_signal(signal.SIGUSR2)
        load, answered = _loaded(site, script, ("all", str(ids)), options)
        server.process.terminate()
        server.process.wait(60)
    found: dict[str, Any] = json.loads(holds.read_text())
    longest = sorted(found["long"].items(), key=lambda one: -one[1][1])
    rows = [
        ("watched: messages/s", f"{load.rate:.0f}"),
        ("watched: calls answered", answered),
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

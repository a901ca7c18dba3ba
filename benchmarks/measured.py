"""One load on one server, and what it came to."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import procfs, wrk
from benchmarks.server import Dispatcher


@dataclass(frozen=True, slots=True)
class Measured:
    """Messages a second, processor time of each, and wrk's own view."""

    rate: float
    cpu_us: float
    load: wrk.Load


def measure(server: Dispatcher, script: Path, seconds: int, connections: int) -> Measured:
    """Load a server, and wait until all that it has accepted is delivered: only that counts."""
    delivered, spent = server.delivered(), cpu_seconds(server.pid)
    load = wrk.run(server.site.port, script, seconds=seconds, connections=connections)
    ended = time.monotonic()
    load.check()
    server.drain(timeout_s=60)
    elapsed = load.seconds + time.monotonic() - ended
    delivered = server.delivered() - delivered
    spent = cpu_seconds(server.pid) - spent
    # wrk does not count the requests that were under way when its time was over: more is right.
    if delivered < load.requests:
        raise SystemExit(f"{load.requests} messages accepted, but only {delivered} delivered")
    return Measured(delivered / elapsed, spent / delivered * 1e6, load)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, and of those that it has started and that still live."""
    return sum(procfs.cpu_seconds(one) for one in (pid, *procfs.children(pid)))

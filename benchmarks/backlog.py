"""A destination that is down: what waiting messages cost, how fast a restart has them, how they
leave.

Fills the log with `--count` messages for a port that nobody listens on, restarts the dispatcher,
then starts the destination and waits until everything is delivered.
"""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path

from benchmarks import arguments, nginx, procfs, report, wrk
from benchmarks.process import HOST, free_port, workspace
from benchmarks.server import Dispatcher, Site, dispatcher

_SETTLE_S = 3
"""Seconds of rest before memory is read, for buffers of the load to go."""


def main() -> None:
    """Fill, restart, deliver; print what each took."""
    options = _options()
    with workspace(options.directory) as directory:
        report.heading(directory, detail=f"{options.count} messages of {options.body} bytes")
        sink_port = free_port()
        settings = {
            "WORKER": str(options.worker),
            # No message may die of old age here, and the probe must not keep us waiting.
            "RETRYLIMIT": "1000",
            "RETRY_MAX_DELAY": "1000",
        }
        site = Site(directory / "dispatcher", settings)
        origin = f"{HOST}:{sink_port}"
        script = wrk.post_script(directory, origin=origin, body_bytes=options.body)
        rows = _fill(site, script, options)
        rows += _restart_and_deliver(site, directory / "sink", sink_port, options)
        report.table(rows)


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="messages that wait")
    parser.add_argument("--body", type=int, default=1024, help="bytes of a message's body")
    parser.add_argument("--connections", type=int, default=64, help="callers at once")
    parser.add_argument("--worker", type=int, default=64, help="WORKER: deliveries at once")
    return parser.parse_args()


def _fill(site: Site, script: Path, options: Namespace) -> list[tuple[str, str]]:
    with dispatcher(site) as server:
        # A hundredth first: what a process needs once, however many messages wait, is in there.
        _accept(server, script, max(1000, options.count // 100), options.connections)
        time.sleep(_SETTLE_S)
        waiting, before = server.waiting(), procfs.memory(server.pid)
        load = _accept(server, script, options.count, options.connections)
        time.sleep(_SETTLE_S)
        after, more = procfs.memory(server.pid), server.waiting() - waiting
        return [
            ("accepted a second while filling", f"{load.rate:.0f}"),
            ("waiting", str(waiting + more)),
            ("resident before", report.mib(before.resident)),
            ("resident with all", report.mib(after.resident)),
            ("bytes a message, resident", f"{(after.resident - before.resident) / more:.1f}"),
            ("bytes a message, anonymous", f"{(after.anonymous - before.anonymous) / more:.1f}"),
            ("log on disk", _log_size(site)),
        ]


def _accept(server: Dispatcher, script: Path, count: int, connections: int) -> wrk.Load:
    """Let callers come until `count` messages were accepted in all."""
    port = server.site.port
    with wrk.started(port, script, seconds=3600, connections=connections) as load:
        while (accepted := server.accepted()) < count:
            if load.poll() is not None:
                raise SystemExit(f"wrk ended after {accepted} of {count} messages")
            time.sleep(0.2)
        result = wrk.interrupt(load)
    result.check()
    return result


def _restart_and_deliver(
    site: Site, sink: Path, sink_port: int, options: Namespace
) -> list[tuple[str, str]]:
    started = time.monotonic()
    with dispatcher(site) as server:
        ready_s = server.ready_at - started
        waiting, memory = server.waiting(), procfs.memory(server.pid)
        if waiting < options.count:
            raise SystemExit(f"only {waiting} messages wait after the restart")
        spent = procfs.cpu_seconds(server.pid)
        with nginx.sink(sink, sink_port):
            first_s = _await_first(server)
            took_s = server.drain(timeout_s=3600)
            delivered = server.delivered()
            spent = procfs.cpu_seconds(server.pid) - spent
        if delivered != waiting:
            raise SystemExit(f"{waiting} messages waited, but {delivered} were delivered")
        time.sleep(_SETTLE_S)
        return [
            ("seconds from start to ready", f"{ready_s:.2f}"),
            ("resident after the restart", report.mib(memory.resident)),
            ("peak of the restart", report.mib(memory.peak)),
            ("seconds until the first delivery", f"{first_s:.2f}"),
            ("delivered a second from then on", f"{delivered / took_s:.0f}"),
            ("CPU us a delivery", f"{spent / delivered * 1e6:.1f}"),
            ("log on disk afterwards", _log_size(site)),
            ("resident afterwards", report.mib(procfs.memory(server.pid).resident)),
        ]


def _await_first(server: Dispatcher) -> float:
    started = time.monotonic()
    while not server.delivered():
        if time.monotonic() - started > 60:
            raise SystemExit("nothing was delivered within a minute")
        time.sleep(0.01)
    return time.monotonic() - started


def _log_size(site: Site) -> str:
    segments = len(list(site.log.glob("*.seg")))
    return f"{report.mib(procfs.directory_bytes(site.log))} in {segments} segments"


if __name__ == "__main__":
    main()

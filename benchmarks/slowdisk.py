"""Throughput on a disk that takes 5 ms for each sync, next to the same disk without the delay.

The delay is put into every `fdatasync` by strace. strace costs time of its own, so the other side
of each round runs under the same strace, without a delay. Both sides start anew in every round.
"""

from __future__ import annotations

import contextlib
import time
from argparse import Namespace
from pathlib import Path

from benchmarks import arguments, nginx, report, wrk
from benchmarks.process import HOST, find_program, free_port, workspace
from benchmarks.server import Site, dispatcher


def main() -> None:
    """Run the rounds and print the comparison."""
    options = _options()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace(options.directory))
        report.heading(
            directory,
            detail=f"{options.rounds} rounds of {options.seconds} s, {options.connections} "
            f"connections, {options.body} bytes, WORKER={options.worker}, "
            f"{options.delay_ms} ms a sync",
        )
        sink_port = free_port()
        stack.enter_context(nginx.sink(directory / "sink", sink_port))
        origin = f"{HOST}:{sink_port}"
        script = wrk.post_script(directory, origin=origin, body_bytes=options.body)
        fast: list[float] = []
        slow: list[float] = []
        for number in range(options.rounds):
            sides = [(fast, 0.0), (slow, options.delay_ms)]
            for rates, delay_ms in sides if number % 2 == 0 else reversed(sides):
                site = Site(directory / f"{number}-{delay_ms}", {"WORKER": str(options.worker)})
                rates.append(_rate(site, script, delay_ms, options))
            report.progress(f"round {number + 1}: {fast[-1]:.0f}, {slow[-1]:.0f} a second")
    ratios = [b / a for a, b in zip(fast, slow, strict=True)]
    report.table(
        [
            ("messages/s, no delay", f"{report.Series.of(fast):.0f}"),
            (f"messages/s, {options.delay_ms} ms a sync", f"{report.Series.of(slow):.0f}"),
            ("ratio, round by round", f"{report.Series.of(ratios):.2f}"),
        ]
    )


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds")
    parser.add_argument("--seconds", type=int, default=10, help="length of each side of a round")
    parser.add_argument("--connections", type=int, default=256, help="callers at once")
    parser.add_argument("--body", type=int, default=1024, help="bytes of a message's body")
    parser.add_argument("--worker", type=int, default=64, help="WORKER: deliveries at once")
    parser.add_argument("--delay-ms", type=float, default=5.0, help="time added to each sync")
    return parser.parse_args()


def _rate(site: Site, script: Path, delay_ms: float, options: Namespace) -> float:
    """Messages accepted and delivered a second."""
    strace = [find_program("strace"), "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"]
    strace += ["-e", "trace=fdatasync"]
    if delay_ms:
        strace += ["-e", f"inject=fdatasync:delay_exit={round(delay_ms * 1000)}"]
    with dispatcher(site, wrapper=strace) as server:
        wrk.run(site.port, script, seconds=2, connections=options.connections)  # warm
        server.drain(timeout_s=60)
        before = server.delivered()
        load = wrk.run(site.port, script, seconds=options.seconds, connections=options.connections)
        ended = time.monotonic()
        load.check()
        server.drain(timeout_s=60)
        return (server.delivered() - before) / (load.seconds + time.monotonic() - ended)


if __name__ == "__main__":
    main()

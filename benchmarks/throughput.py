"""Messages a second, accepted durably and delivered, next to what nginx forwards without keeping
anything.

A round is `--seconds` of wrk on the dispatcher, then as long on nginx `proxy_pass`, or the other
way round in every second round, with one destination for both. A message counts when it was
delivered, and the time until the last one was delivered counts.
"""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from benchmarks import arguments, nginx, procfs, report, wrk
from benchmarks.measured import Measured, measure
from benchmarks.process import HOST, find_program, free_port, running, workspace
from benchmarks.server import Site, dispatcher


def main() -> None:
    """Run the rounds and print the comparison."""
    options = _options()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace(options.directory))
        report.heading(
            directory,
            detail=f"{options.rounds} rounds of {options.seconds} s, {options.connections} "
            f"connections, {options.body} bytes, WORKER={options.worker}, vary {options.vary}",
        )
        sink_port, proxy_port = free_port(), free_port()
        site = Site(directory / "dispatcher", {"WORKER": str(options.worker)})
        stack.enter_context(nginx.sink(directory / "sink", sink_port))
        proxy_pid = stack.enter_context(
            nginx.proxy(directory / "proxy", proxy_port, sink_port=sink_port)
        )
        server = stack.enter_context(dispatcher(site))
        script = wrk.post_script(
            directory,
            origin=f"{HOST}:{sink_port}",
            body_bytes=options.body,
            vary=options.vary,
        )

        def ours(seconds: int) -> Measured:
            return measure(server, script, seconds, options.connections)

        def theirs(seconds: int) -> Measured:
            return _proxy(proxy_pid, proxy_port, script, seconds, options.connections)

        _print(*_rounds(options.rounds, options.seconds, ours, theirs))
        if options.profile is not None:
            _profile(server.pid, options, ours)


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--seconds", type=int, default=10, help="length of each side of a round")
    parser.add_argument("--connections", type=int, default=64, help="callers at once")
    parser.add_argument("--body", type=int, default=1024, help="bytes of a message's body")
    parser.add_argument("--worker", type=int, default=64, help="WORKER: deliveries at once")
    parser.add_argument(
        "--vary",
        choices=wrk.VARIATIONS,
        default="nothing",
        help="what differs between requests: heads that repeat are read faster",
    )
    parser.add_argument(
        "--profile", type=Path, help="a file for py-spy's profile of one more round (speedscope)"
    )
    return parser.parse_args()


def _proxy(pid: int, port: int, script: Path, seconds: int, connections: int) -> Measured:
    spent = procfs.cpu_seconds(pid)
    load = wrk.run(port, script, seconds=seconds, connections=connections)
    load.check()
    spent = procfs.cpu_seconds(pid) - spent
    return Measured(load.rate, spent / load.requests * 1e6, load)


def _rounds(
    rounds: int,
    seconds: int,
    ours: Callable[[int], Measured],
    theirs: Callable[[int], Measured],
) -> tuple[list[Measured], list[Measured]]:
    ours(2)  # warm: connections, the first segments, the limit of the lane
    theirs(2)
    mine: list[Measured] = []
    peer: list[Measured] = []
    for number in range(rounds):
        sides = [(mine, ours), (peer, theirs)]
        for results, run in sides if number % 2 == 0 else reversed(sides):
            results.append(run(seconds))
        report.progress(f"round {number + 1}: {mine[-1].rate:.0f}, {peer[-1].rate:.0f} a second")
    return mine, peer


def _print(mine: list[Measured], peer: list[Measured]) -> None:
    ratios = [a.rate / b.rate for a, b in zip(mine, peer, strict=True)]
    series = report.Series.of
    report.table(
        [
            ("dispatcher, messages/s", f"{series([m.rate for m in mine]):.0f}"),
            ("nginx proxy_pass, messages/s", f"{series([m.rate for m in peer]):.0f}"),
            ("ratio, round by round", f"{series(ratios):.2f}"),
            ("dispatcher, CPU us a message", f"{series([m.cpu_us for m in mine]):.1f}"),
            ("nginx, CPU us a message", f"{series([m.cpu_us for m in peer]):.1f}"),
            ("dispatcher, ms to 202, median", f"{series([m.load.p50_ms for m in mine]):.2f}"),
            ("dispatcher, ms to 202, p99", f"{series([m.load.p99_ms for m in mine]):.2f}"),
            ("accepted and all delivered", str(sum(m.load.requests for m in mine))),
        ]
    )


def _profile(pid: int, options: Namespace, ours: Callable[[int], Measured]) -> None:
    command = [find_program("py-spy"), "record", "--pid", str(pid), "--rate", "500", "--threads"]
    command += ["--duration", str(options.seconds + 1), "--format", "speedscope"]
    command += ["--output", str(options.profile)]
    log = options.profile.with_suffix(".log")
    with running(command, output=log) as profiler:
        ours(options.seconds)
        profiler.wait(60)
    report.progress(f"the profile is in {options.profile}, what py-spy said in {log}")


if __name__ == "__main__":
    main()

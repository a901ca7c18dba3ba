"""What several processes of one server give, and what they cost, beside one.

Two servers with the same settings but PROCESSES, and one destination for both. A round is
`--seconds` of wrk on each, in turn: as much as they take, and then a light load, of which each
connection waits `--pause-ms` between two messages. A message counts when it was delivered.
Processor time is that of all processes of a server, the parent's too.
"""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from benchmarks import arguments, nginx, report, wrk
from benchmarks.measured import Measured, measure
from benchmarks.process import HOST, free_port, workspace
from benchmarks.server import Dispatcher, Site, dispatcher


def main() -> None:
    """Run the rounds and print the comparison."""
    options = _options()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace(options.directory))
        report.heading(
            directory,
            detail=f"{options.rounds} rounds of {options.seconds} s, {options.connections} "
            f"connections, {options.body} bytes, {options.processes} processes beside one, "
            f"WORKER={options.worker}, light: a message each {options.pause_ms} ms",
        )
        sink_port = free_port()
        stack.enter_context(nginx.sink(directory / "sink", sink_port))
        origin = f"{HOST}:{sink_port}"
        kind = wrk.Kind(origin, "/message", options.body)
        scripts = {
            "full": wrk.post_script(directory, origin=origin, body_bytes=options.body),
            "light": wrk.mix_script(directory, [kind], pause_ms=options.pause_ms),
        }
        servers = {
            processes: stack.enter_context(
                dispatcher(
                    Site(
                        directory / f"of-{processes}",
                        {"WORKER": str(options.worker), "PROCESSES": str(processes)},
                    )
                )
            )
            for processes in (1, options.processes)
        }
        _print(_rounds(options, servers, scripts), options.processes)


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--seconds", type=int, default=5, help="length of each load of a round")
    parser.add_argument("--processes", type=int, default=2, help="PROCESSES of the second server")
    parser.add_argument("--connections", type=int, default=64, help="callers at once")
    parser.add_argument("--body", type=int, default=1024, help="bytes of a message's body")
    parser.add_argument("--worker", type=int, default=64, help="WORKER: deliveries at once")
    parser.add_argument("--pause-ms", type=int, default=100, help="of the light load")
    options = parser.parse_args()
    if options.processes < 2:
        parser.error("--processes: 2 or more")
    return options


Results = dict[tuple[str, int], list[Measured]]
"""By load and number of processes."""


def _rounds(
    options: Namespace, servers: Mapping[int, Dispatcher], scripts: Mapping[str, Path]
) -> Results:
    results: Results = {(load, of): [] for load in scripts for of in servers}
    for server in servers.values():  # warm
        measure(server, scripts["full"], 2, options.connections)
    for number in range(options.rounds):
        for load, script in scripts.items():
            for of in list(servers) if number % 2 == 0 else reversed(list(servers)):
                measured = measure(servers[of], script, options.seconds, options.connections)
                results[load, of].append(measured)
        report.progress(f"round {number + 1} of {options.rounds}")
    return results


def _print(results: Results, several: int) -> None:
    series = report.Series.of
    rows = []
    for load in ("full", "light"):
        one, more = results[load, 1], results[load, several]
        if load == "full":
            ratios = [b.rate / a.rate for a, b in zip(one, more, strict=True)]
            for name, measured in ((1, one), (several, more)):
                rates = series([each.rate for each in measured])
                rows.append((f"PROCESSES={name}, messages/s", f"{rates:.0f}"))
            rows.append(("ratio of rates, round by round", f"{series(ratios):.2f}"))
        for name, measured in ((1, one), (several, more)):
            spent = series([each.cpu_us for each in measured])
            rows.append((f"PROCESSES={name}, {load}: CPU us a message", f"{spent:.1f}"))
        costs = [b.cpu_us / a.cpu_us for a, b in zip(one, more, strict=True)]
        rows.append((f"{load}: ratio of CPU, round by round", f"{series(costs):.2f}"))
        for name, measured in ((1, one), (several, more)):
            p50 = series([each.load.p50_ms for each in measured])
            p99 = series([each.load.p99_ms for each in measured])
            rows.append((f"PROCESSES={name}, {load}: ms to 202, median", f"{p50:.2f}"))
            rows.append((f"PROCESSES={name}, {load}: ms to 202, p99", f"{p99:.2f}"))
    report.table(rows)


if __name__ == "__main__":
    main()

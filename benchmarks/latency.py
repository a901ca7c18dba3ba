"""Time to 202 for one caller at a time, next to the time of one bare append and sync.

A round is `--messages` requests, each after the answer to the one before, then as many
`pwrite` + `fdatasync` of a record of that size into a file filled with zeros, beside the log. The
destination is up and everything is delivered meanwhile, as in real life.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from benchmarks import arguments, nginx, report
from benchmarks.process import HOST, free_port, workspace
from benchmarks.server import Site, dispatcher

_RECORD_OVERHEAD_BYTES = 250
"""What a record holds besides the body: frame, head of the request, destination."""

_FILE_BYTES = 64 * 2**20


def main() -> None:
    """Run the rounds and print the comparison."""
    options = _options()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace(options.directory))
        report.heading(
            directory,
            detail=f"{options.rounds} rounds of {options.messages} messages, {options.body} bytes",
        )
        sink_port = free_port()
        stack.enter_context(nginx.sink(directory / "sink", sink_port))
        server = stack.enter_context(dispatcher(Site(directory / "dispatcher")))
        disk = stack.enter_context(_zero_filled(directory / "dispatcher" / "bare.file"))
        request = _request(f"{HOST}:{sink_port}", options.body)
        record = os.urandom(options.body + _RECORD_OVERHEAD_BYTES)
        requests: list[list[float]] = []
        syncs: list[list[float]] = []
        offset = 0
        with socket.create_connection((HOST, server.site.port)) as caller:
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _time_requests(caller, request, options.messages, options.pause_ms)  # warm
            for number in range(options.rounds):
                requests.append(_time_requests(caller, request, options.messages, options.pause_ms))
                server.drain(timeout_s=30)
                syncs.append(_time_syncs(disk, record, options.messages, offset))
                offset += len(record) * options.messages
                report.progress(f"round {number + 1} of {options.rounds}")
        _print(requests, syncs)


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="interleaved rounds")
    parser.add_argument("--messages", type=int, default=500, help="messages, and syncs, a round")
    parser.add_argument("--body", type=int, default=1024, help="bytes of a message's body")
    parser.add_argument("--pause-ms", type=float, default=0, help="between two messages")
    options = parser.parse_args()
    needed = options.rounds * options.messages * (options.body + _RECORD_OVERHEAD_BYTES)
    if needed > _FILE_BYTES:
        parser.error(f"rounds * messages * body is more than {_FILE_BYTES} bytes")
    return options


def _request(origin: str, body_bytes: int) -> bytes:
    head = (
        f"POST /message HTTP/1.1\r\nHost: benchmark\r\nX-Dispatcher-Origin-Host: {origin}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {body_bytes}\r\n\r\n"
    )
    return head.encode() + b"x" * body_bytes


def _time_requests(
    caller: socket.socket, request: bytes, count: int, pause_ms: float
) -> list[float]:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        caller.sendall(request)
        answer = caller.recv(65536)
        times.append(time.perf_counter() - started)
        if not (answer.startswith(b"HTTP/1.1 202 ") and answer.endswith(b"\r\n\r\n")):
            raise SystemExit(f"not the answer that was expected: {answer!r}")
        if pause_ms:
            time.sleep(pause_ms / 1000)
    return times


@contextlib.contextmanager
def _zero_filled(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(file, bytes(_FILE_BYTES), 0)
        os.fsync(file)
        yield file
    finally:
        os.close(file)


def _time_syncs(file: int, record: bytes, count: int, offset: int) -> list[float]:
    times = []
    for number in range(count):
        started = time.perf_counter()
        os.pwrite(file, record, offset + number * len(record))
        os.fdatasync(file)
        times.append(time.perf_counter() - started)
    return times


def _print(requests: list[list[float]], syncs: list[list[float]]) -> None:
    def series(rounds: list[list[float]], percent: int) -> report.Series:
        return report.Series.of([report.percentile(times, percent) * 1e6 for times in rounds])

    medians = zip(series(requests, 50).values, series(syncs, 50).values, strict=True)
    ratios = [ours / bare for ours, bare in medians]
    report.table(
        [
            ("us to 202, median", f"{series(requests, 50):.0f}"),
            ("us to 202, p99", f"{series(requests, 99):.0f}"),
            ("us of pwrite + fdatasync, median", f"{series(syncs, 50):.0f}"),
            ("us of pwrite + fdatasync, p99", f"{series(syncs, 99):.0f}"),
            ("ratio of medians, round by round", f"{report.Series.of(ratios):.2f}"),
        ]
    )


if __name__ == "__main__":
    main()

"""Minutes of mixed load, with memory and file descriptors over time: they have to stay flat.

The load: bodies from nothing to 64 KiB to one destination, another one that fails one request in
twenty (tried again), one 1 MiB upload and one rejected message (a dead letter) a second, and
callers that connect for each request. A line each `--interval`; at the end the slopes, without the
first third.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import arguments, nginx, procfs, report, wrk
from benchmarks.process import HOST, free_port, workspace
from benchmarks.server import Dispatcher, Site, dispatcher

_SIZES_BYTES = (0, 100, 1024, 1024, 1024, 4096, 16_384, 65_536)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the process. Sizes in bytes."""

    minutes: float
    resident: int
    anonymous: int
    files: int
    log: int
    waiting: int
    delivered: int


def main() -> None:
    """Load, look, and print the slopes."""
    options = _options()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace(options.directory))
        report.heading(
            directory, detail=f"{options.minutes} minutes, {options.connections} callers"
        )
        good, flaky = free_port(), free_port()
        stack.enter_context(nginx.sink(directory / "good", good))
        stack.enter_context(nginx.sink(directory / "flaky", flaky))
        settings = {"WORKER": "64", "RETRY_DELAY": "200", "LOG_LEVEL": "error"}
        server = stack.enter_context(dispatcher(Site(directory / "dispatcher", settings)))
        load = stack.enter_context(_load(server.site.port, directory, good, flaky, options))
        with _strays(server.site.port, f"{HOST}:{good}"):
            samples = _watch(server, load, options)
        result = wrk.interrupt(load)
        result.check()
        drained_s = server.drain(timeout_s=120)
        _print(samples, result, drained_s, procfs.open_files(server.pid))


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="length of the load")
    parser.add_argument("--interval", type=float, default=10, help="seconds between two looks")
    parser.add_argument("--connections", type=int, default=32, help="callers at once")
    parser.add_argument("--pause-ms", type=int, default=10, help="a caller's pause after an answer")
    return parser.parse_args()


def _load(
    port: int, directory: Path, good: int, flaky: int, options: Namespace
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    kinds = [wrk.Kind(f"{HOST}:{good}", "/message", size) for size in _SIZES_BYTES]
    kinds += [wrk.Kind(f"{HOST}:{flaky}", "/flaky", 1024)] * 2
    script = wrk.mix_script(directory, kinds, pause_ms=options.pause_ms)
    seconds = options.minutes * 60 + 60  # it is interrupted before
    return wrk.started(port, script, seconds=seconds, connections=options.connections)


@contextlib.contextmanager
def _strays(port: int, origin: str) -> Iterator[None]:
    """Callers that come once: an upload, a message that is rejected and ten small ones a second."""
    ended = threading.Event()

    def call() -> None:
        while not ended.wait(1):
            _call(port, origin, "/upload", 2**20)
            _call(port, origin, "/missing", 10)
            for _ in range(10):
                _call(port, origin, "/message", 1024)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    try:
        yield
    finally:
        ended.set()
        caller.join()


def _call(port: int, origin: str, path: str, body_bytes: int) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: benchmark\r\nX-Dispatcher-Origin-Host: {origin}\r\n"
        f"Content-Length: {body_bytes}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(head.encode() + bytes(body_bytes))
        while connection.recv(65536):
            pass


def _watch(server: Dispatcher, load: subprocess.Popen[str], options: Namespace) -> list[Sample]:
    samples: list[Sample] = []
    started = time.monotonic()
    print("\n  minutes  resident  anonymous  files       log  waiting  delivered")
    while (passed := time.monotonic() - started) < options.minutes * 60:
        time.sleep(options.interval)
        if load.poll() is not None or server.process.poll() is not None:
            raise SystemExit("the load or the dispatcher ended before its time")
        samples.append(_look(server, (passed + options.interval) / 60))
        print(_line(samples[-1]), flush=True)
    return samples


def _look(server: Dispatcher, minutes: float) -> Sample:
    memory = procfs.memory(server.pid)
    return Sample(
        minutes=minutes,
        resident=memory.resident,
        anonymous=memory.anonymous,
        files=procfs.open_files(server.pid),
        log=procfs.directory_bytes(server.site.log),
        waiting=server.waiting(),
        delivered=server.delivered(),
    )


def _line(s: Sample) -> str:
    sizes = f"{s.resident / 2**20:>8.1f}  {s.anonymous / 2**20:>9.1f}  {s.files:>5}"
    return f"  {s.minutes:>7.2f}  {sizes}  {s.log / 2**20:>8.1f}  {s.waiting:>7}  {s.delivered:>9}"


def _print(samples: list[Sample], load: wrk.Load, drained_s: float, files_after: int) -> None:
    # The first third is growing up: caches fill, the limits of the lanes rise.
    steady = samples[len(samples) // 3 :]

    def each_minute(value: Callable[[Sample], float]) -> float:
        return report.slope([(s.minutes, value(s)) for s in steady])

    report.table(
        [
            ("requests answered", f"{load.requests} ({load.rate:.0f} a second)"),
            ("resident, KiB a minute", f"{each_minute(lambda s: s.resident) / 1024:+.1f}"),
            ("anonymous, KiB a minute", f"{each_minute(lambda s: s.anonymous) / 1024:+.1f}"),
            ("files, a minute", f"{each_minute(lambda s: s.files):+.2f}"),
            ("log, MiB a minute", f"{each_minute(lambda s: s.log) / 2**20:+.2f}"),
            ("resident at the end", report.mib(samples[-1].resident)),
            ("open files after the load", str(files_after)),
            ("seconds until nothing waited", f"{drained_s:.1f}"),
        ]
    )


if __name__ == "__main__":
    main()

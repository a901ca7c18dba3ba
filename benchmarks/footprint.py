"""What the dispatcher costs when little or much happens: start, idling, and many large uploads.

`--starts` starts on an empty log, from the start of the process to the first 200 of `/readyz`; the
CPU time of `--idle` seconds without any message; then `--uploads` bodies of `--size` MiB at once,
each stored and delivered, and the most memory the process ever had.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
import threading
import time
from argparse import Namespace
from pathlib import Path

from benchmarks import arguments, procfs, report
from benchmarks.process import HOST, free_port, running, wait_for_port, workspace
from benchmarks.server import Site, dispatcher


def main() -> None:
    """Measure all three and print them."""
    options = _options()
    with workspace(options.directory) as directory:
        report.heading(
            directory,
            detail=f"{options.starts} starts, {options.idle} s idle, "
            f"{options.uploads} uploads of {options.size} MiB",
        )
        _require_space(directory, options)
        starts = [_start_s(directory / f"start-{number}") for number in range(options.starts)]
        report.progress("started")
        rows = [("seconds from start to ready", f"{report.Series.of(starts):.3f}")]
        with dispatcher(Site(directory / "idle")) as server:
            rows += _idle(server.pid, options.idle)
        report.progress("idled")
        rows += _uploads(directory, options)
        report.table(rows)


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--starts", type=int, default=7, help="starts on an empty log")
    parser.add_argument("--idle", type=int, default=30, help="seconds without messages")
    parser.add_argument("--uploads", type=int, default=50, help="large bodies at once")
    parser.add_argument("--size", type=int, default=64, help="MiB of each body")
    return parser.parse_args()


def _require_space(directory: Path, options: Namespace) -> None:
    needed = 2 * options.uploads * options.size * 2**20
    if shutil.disk_usage(directory).free < needed:
        raise SystemExit(
            f"the uploads may need {report.mib(needed)} of disk: fewer --uploads, or "
            "another --directory"
        )


def _start_s(directory: Path) -> float:
    started = time.monotonic()
    with dispatcher(Site(directory)) as server:
        return server.ready_at - started


def _idle(pid: int, seconds: int) -> list[tuple[str, str]]:
    time.sleep(1)  # the end of the start, and of the question whether it is ready
    spent = procfs.cpu_seconds(pid)
    time.sleep(seconds)
    spent = procfs.cpu_seconds(pid) - spent
    return [
        ("CPU while idle", f"{spent / seconds * 100:.2f} %"),
        ("resident while idle", report.mib(procfs.memory(pid).resident)),
    ]


def _uploads(directory: Path, options: Namespace) -> list[tuple[str, str]]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.reader", str(port)]
    settings = {"MAX_BODY": str(options.size * 2**20), "DEFAULT_TIMEOUT": "600000"}
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(running(command, output=directory / "reader.log"))
        wait_for_port(port, reader)
        server = stack.enter_context(dispatcher(Site(directory / "uploads", settings)))
        before, spent = procfs.memory(server.pid), procfs.cpu_seconds(server.pid)
        started = time.monotonic()
        _upload_all(server.site.port, f"{HOST}:{port}", options)
        accepted_s = time.monotonic() - started
        server.drain(timeout_s=600)
        delivered_s = time.monotonic() - started
        if server.delivered() != options.uploads:
            raise SystemExit(f"only {server.delivered()} of {options.uploads} were delivered")
        megabytes = options.uploads * options.size * 2**20 / 1e6
        spent = procfs.cpu_seconds(server.pid) - spent
        return [
            ("resident before the uploads", report.mib(before.resident)),
            ("peak of the uploads", report.mib(procfs.memory(server.pid).peak)),
            ("seconds until all were accepted", f"{accepted_s:.1f}"),
            ("MB a second accepted", f"{megabytes / accepted_s:.0f}"),
            ("seconds until all were delivered", f"{delivered_s:.1f}"),
            ("CPU seconds", f"{spent:.1f}"),
        ]


def _upload_all(port: int, origin: str, options: Namespace) -> None:
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(_upload(port, origin, options.size)))
        for _ in range(options.uploads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if not answer.startswith(b"HTTP/1.1 202 ")]
    if refused or len(answers) < len(threads):
        raise SystemExit(f"{len(answers)} of {len(threads)} uploads were answered, {refused[:3]}")


def _upload(port: int, origin: str, size_mib: int) -> bytes:
    head = (
        f"POST /upload HTTP/1.1\r\nHost: benchmark\r\nX-Dispatcher-Origin-Host: {origin}\r\n"
        f"Content-Length: {size_mib * 2**20}\r\n\r\n"
    )
    piece = bytes(2**20)
    with socket.create_connection((HOST, port)) as caller:
        caller.sendall(head.encode())
        for _ in range(size_mib):
            caller.sendall(piece)
        return caller.recv(65536)


if __name__ == "__main__":
    main()

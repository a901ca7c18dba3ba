"""wrk, the load generator, with the requests that it sends."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import HOST, find_program

_REPORT = r"""
done = function(summary, latency, requests)
    local e = summary.errors
    local broken = e.connect + e.read + e.write + e.timeout
    io.write(string.format('\nJSON {"requests": %d, "duration_us": %d, ',
        summary.requests, summary.duration))
    io.write(string.format('"bad_status": %d, "broken": %d, "p50_us": %d, "p99_us": %d, ',
        e.status, broken, latency:percentile(50), latency:percentile(99)))
    io.write(string.format('"p999_us": %d}\n', latency:percentile(99.9)))
end
"""

_POST = """
wrk.method = "POST"
wrk.path = "%(path)s"
wrk.body = string.rep("x", %(body_bytes)d)
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.headers["X-Dispatcher-Origin-Host"] = "%(origin)s"
"""

_POST_VARIED = """
local made = {}
init = function(args)
    for i = 1, 1000 do
        %(change)s
        made[i] = wrk.format()
    end
end
local n = 0
request = function()
    n = n %% #made + 1
    return made[n]
end
"""

VARIATIONS = {
    "nothing": "",
    "length": 'wrk.body = string.rep("x", {body_bytes} + i % 10)',
    "heads": 'wrk.headers["X-Request-Id"] = string.format("%08x", i * 2654435761 % 4294967296)',
}
"""What differs from one request of a load to the next."""

_MIX = """
local kinds = {%(kinds)s}
local made = {}
init = function(args)
    for i, kind in ipairs(kinds) do
        made[i] = wrk.format("POST", kind.path, {
            ["Host"] = "benchmark",
            ["Content-Type"] = "application/octet-stream",
            ["X-Dispatcher-Origin-Host"] = kind.origin,
        }, string.rep("x", kind.size))
    end
end
local n = 0
request = function()
    n = n %% #made + 1
    return made[n]
end
delay = function() return %(pause_ms)d end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk came to."""

    requests: int
    seconds: float
    bad_status: int
    broken: int
    p50_ms: float
    p99_ms: float
    p999_ms: float

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return self.requests / self.seconds

    def check(self) -> None:
        """End the script where not everything was answered as it should be.

        Raises:
            SystemExit: an answer had a status of 400 or above, or a connection broke.
        """
        if self.bad_status or self.broken:
            raise SystemExit(f"the load did not go through: {self}")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request in a mix."""

    origin: str
    path: str
    size_bytes: int


def post_script(
    directory: Path,
    *,
    origin: str,
    body_bytes: int,
    path: str = "/message",
    vary: str = "nothing",
) -> Path:
    """Write a script that posts one request again and again; `vary` is one of VARIATIONS."""
    text = _POST % {"origin": origin, "body_bytes": body_bytes, "path": path}
    change = VARIATIONS[vary].format(body_bytes=body_bytes)
    if change:
        text += _POST_VARIED % {"change": change}
    return _write(directory / "post.lua", text)


def script(directory: Path, text: str) -> Path:
    """Write a script that makes its requests by itself."""
    return _write(directory / "made.lua", text)


def mix_script(directory: Path, kinds: Sequence[Kind], *, pause_ms: int) -> Path:
    """Write a script that goes round the kinds; each connection waits `pause_ms` between two."""
    rows = (f'{{origin="{k.origin}", path="{k.path}", size={k.size_bytes}}}' for k in kinds)
    return _write(directory / "mix.lua", _MIX % {"kinds": ", ".join(rows), "pause_ms": pause_ms})


def run(port: int, script: Path, *, seconds: float, connections: int) -> Load:
    """Load a port for some seconds.

    Raises:
        SystemExit: wrk did not work.
    """
    with started(port, script, seconds=seconds, connections=connections) as process:
        return finish(process, timeout_s=seconds + 60)


@contextlib.contextmanager
def started(
    port: int, script: Path, *, seconds: float, connections: int
) -> Iterator[subprocess.Popen[str]]:
    """A load that goes on while the caller does something else; `finish` has its result."""
    command = [find_program("wrk"), "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{max(1, round(seconds))}s", "--timeout", "30s"]
    command += ["--script", str(script), f"http://{HOST}:{port}/"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def interrupt(process: subprocess.Popen[str]) -> Load:
    """End a load before its time; wrk prints its result as usual."""
    process.send_signal(signal.SIGINT)
    return finish(process, timeout_s=60)


def finish(process: subprocess.Popen[str], timeout_s: float) -> Load:
    """Wait for the end of a load and read its result.

    Raises:
        SystemExit: wrk did not work.
    """
    output, _ = process.communicate(timeout=timeout_s)
    return parse(output)


def parse(output: str) -> Load:
    """Read what the script's `done` printed.

    Raises:
        SystemExit: it printed nothing.
    """
    lines = [line for line in output.splitlines() if line.startswith("JSON ")]
    if not lines:
        raise SystemExit(f"wrk did not finish:\n{output}")
    values = json.loads(lines[-1].removeprefix("JSON "))
    return Load(
        requests=values["requests"],
        seconds=values["duration_us"] / 1e6,
        bad_status=values["bad_status"],
        broken=values["broken"],
        p50_ms=values["p50_us"] / 1000,
        p99_ms=values["p99_us"] / 1000,
        p999_ms=values["p999_us"] / 1000,
    )


def _write(path: Path, text: str) -> Path:
    path.write_text(text + _REPORT)
    return path

"""nginx, as the destination of messages and as the peer to compare with."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import procfs
from benchmarks.process import HOST, find_program, running, wait_for_port

_COMMON = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{http}
}}
"""

_SINK = """
    # A choice for each request, so that a retry may go through where the first attempt did not.
    split_clients "$request_id" $fails {{ {failing_percent}% 1; * 0; }}
    server {{
        listen {host}:{port} backlog=4096;
        location / {{ return 200; }}
        location /missing {{ return 404; }}
        location /flaky {{
            if ($fails) {{ return 500; }}
            return 200;
        }}
    }}
"""

_PROXY = """
    upstream sink {{
        server {host}:{sink_port};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {host}:{port} backlog=4096;
        location / {{
            proxy_pass http://sink;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""


@contextlib.contextmanager
def sink(directory: Path, port: int, *, failing_percent: float = 5) -> Iterator[int]:
    """A destination that answers 200 with an empty body; yields the pid of its one worker.

    `/missing` answers 404, `/flaky` 500 to `failing_percent` of its requests.
    """
    http = _SINK.format(host=HOST, port=port, failing_percent=failing_percent)
    with _nginx(directory, port, http) as worker:
        yield worker


@contextlib.contextmanager
def proxy(directory: Path, port: int, *, sink_port: int) -> Iterator[int]:
    """`proxy_pass` to the sink: one worker, keep-alive both ways, bodies in memory, no log."""
    http = _PROXY.format(host=HOST, port=port, sink_port=sink_port)
    with _nginx(directory, port, http) as worker:
        yield worker


@contextlib.contextmanager
def _nginx(directory: Path, port: int, http: str) -> Iterator[int]:
    directory.mkdir(parents=True, exist_ok=True)
    configuration = directory / "nginx.conf"
    configuration.write_text(_COMMON.format(directory=directory, http=http))
    command = [find_program("nginx"), "-p", str(directory), "-c", str(configuration)]
    with running(command, output=directory / "output.log") as master:
        wait_for_port(port, master)
        yield _worker(master)


def _worker(master: subprocess.Popen[bytes]) -> int:
    """The master listens before it forks, so its worker may be a moment late."""
    deadline = time.monotonic() + 5
    while not (workers := procfs.children(master.pid)):
        if time.monotonic() > deadline:
            raise SystemExit("nginx has started no worker")
        time.sleep(0.01)
    (worker,) = workers
    return worker

"""A cluster of three nodes on this machine beside one node whose logs are files.

Three NATS servers and three nodes share the cores with the one node, with the callers and with the
destination: what a cluster costs shows, not what three machines give. A round is `--seconds` of wrk
on the one node, then on all three of the cluster at once, in turn, and then `--messages` requests
of a single caller to each, one after the answer to the other. A message counts when it was
delivered. At last `--pending` messages wait in one node's partition, for a destination that is not
there, when that node is killed: the time counts until another node answers for one of them.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import arguments, nginx, procfs, report, wrk
from benchmarks.process import HOST, free_port, workspace
from benchmarks.server import Dispatcher, Site, dispatcher
from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.testing.nats import NatsServers, servers

_NODES = 3
_WORKER = "64"
_KEY_FILE = "signing.pem"
_LOST_S = 120


@dataclass(frozen=True, slots=True)
class Measured:
    """One load on one side: messages a second, and processor time of each in nodes and in NATS
    servers."""

    rate: float
    node_us: float
    nats_us: float


@dataclass(frozen=True, slots=True)
class Side:
    """What is loaded: nodes, and the NATS servers that they have."""

    nodes: Sequence[Dispatcher]
    nats: NatsServers | None = None

    def spent(self) -> tuple[float, float]:
        """Seconds of processor time so far, of nodes and of NATS servers."""
        nodes = sum(procfs.cpu_seconds(one.pid) for one in self.nodes)
        of = self.nats.servers if self.nats is not None else ()
        return nodes, sum(procfs.cpu_seconds(one.process.pid) for one in of if one.process)

    def delivered(self) -> int:
        """Messages delivered so far."""
        return sum(one.delivered() for one in self.nodes)


def main() -> None:
    """Run the rounds and print the comparison."""
    options = _options()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace(options.directory))
        report.heading(
            directory,
            detail=f"{options.rounds} rounds of {options.seconds} s, {options.connections} "
            f"connections, {options.body} bytes, then {options.messages} of one caller",
        )
        sink_port = free_port()
        stack.enter_context(nginx.sink(directory / "sink", sink_port))
        one = Site(directory / "files", {"WORKER": _WORKER})
        sides = {
            "files": Side([stack.enter_context(dispatcher(one))]),
            "cluster": stack.enter_context(_cluster(directory)),
        }
        origin = f"{HOST}:{sink_port}"
        script = wrk.post_script(directory, origin=origin, body_bytes=options.body)
        rows = _rounds(options, sides, script, origin)
        report.table(rows)
        if options.pending:
            report.table(_takeover(sides["cluster"], directory, options))


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds")
    parser.add_argument("--seconds", type=int, default=4, help="length of each load")
    parser.add_argument("--connections", type=int, default=63, help="callers at once")
    parser.add_argument("--body", type=int, default=1024, help="bytes of a message's body")
    parser.add_argument("--messages", type=int, default=500, help="of the single caller, a round")
    parser.add_argument("--pending", type=int, default=200_000, help="0: no takeover")
    return parser.parse_args()


@contextlib.contextmanager
def _cluster(directory: Path) -> Iterator[Side]:
    nats = servers(directory / "nats", count=_NODES)
    SigningKeyFile(directory / _KEY_FILE).load()
    nats.start()
    try:
        with contextlib.ExitStack() as stack:
            nodes = [
                stack.enter_context(dispatcher(_site(directory, nats, number)))
                for number in range(_NODES)
            ]
            yield Side(nodes, nats)
    finally:
        nats.stop()


def _site(directory: Path, nats: NatsServers, number: int) -> Site:
    own_first = [*nats.servers[number:], *nats.servers[:number]]
    links = f"{HOST}:{free_port()}"
    monitoring = (f"http://{HOST}:{one.monitoring_port}" for one in own_first)
    return Site(
        directory / f"node{number}",
        {
            "WORKER": _WORKER,
            "CLUSTER": ",".join(one.url for one in own_first),
            "CLUSTER_MONITORING": ",".join(monitoring),
            "CLUSTER_KEY": "the-same-on-every-node-of-a-benchmark",
            "CLUSTER_LISTEN": links,
            "CLUSTER_ADVERTISE": links,
            "NODE": f"node{number}",
            "SIGNING_KEY": str(directory / _KEY_FILE),
        },
    )


def _rounds(
    options: Namespace, sides: Mapping[str, Side], script: Path, origin: str
) -> list[tuple[str, str]]:
    loads: dict[str, list[Measured]] = {name: [] for name in sides}
    times: dict[str, list[list[float]]] = {name: [] for name in sides}
    for side in sides.values():  # warm
        _load(side, script, 2, options.connections)
    for number in range(options.rounds):
        for name in sides if number % 2 == 0 else reversed(list(sides)):
            loads[name].append(_load(sides[name], script, options.seconds, options.connections))
        for name in sides if number % 2 == 0 else reversed(list(sides)):
            port = sides[name].nodes[0].site.port
            times[name].append(_time(port, origin, options.body, options.messages))
        report.progress(f"round {number + 1} of {options.rounds}")
    return _rows(loads, times)


def _load(side: Side, script: Path, seconds: int, connections: int) -> Measured:
    delivered, (nodes, nats) = side.delivered(), side.spent()
    each = max(1, connections // len(side.nodes))
    with contextlib.ExitStack() as stack:
        loads = [
            stack.enter_context(
                wrk.started(one.site.port, script, seconds=seconds, connections=each)
            )
            for one in side.nodes
        ]
        ended = [wrk.finish(one, timeout_s=seconds + 60) for one in loads]
    began = time.monotonic()
    for load in ended:
        load.check()
    for one in side.nodes:
        one.drain(timeout_s=60)
    elapsed = max(one.seconds for one in ended) + time.monotonic() - began
    delivered = side.delivered() - delivered
    accepted = sum(one.requests for one in ended)
    if delivered < accepted:
        raise SystemExit(f"{accepted} messages accepted, but only {delivered} delivered")
    nodes_after, nats_after = side.spent()
    return Measured(
        delivered / elapsed,
        (nodes_after - nodes) / delivered * 1e6,
        (nats_after - nats) / delivered * 1e6,
    )


def _time(port: int, origin: str, body_bytes: int, count: int) -> list[float]:
    """Seconds to 202 of one message after the other."""
    head = f"POST /message HTTP/1.1\r\nHost: benchmark\r\nX-Dispatcher-Origin-Host: {origin}\r\n"
    request = f"{head}Content-Length: {body_bytes}\r\n\r\n".encode() + b"x" * body_bytes
    times = []
    with socket.create_connection((HOST, port), timeout=30) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            started = time.perf_counter()
            caller.sendall(request)
            answer = caller.recv(65536)
            times.append(time.perf_counter() - started)
            if not answer.startswith(b"HTTP/1.1 202 "):
                raise SystemExit(f"not the answer that was expected: {answer!r}")
    return times


def _rows(
    loads: Mapping[str, Sequence[Measured]], times: Mapping[str, Sequence[Sequence[float]]]
) -> list[tuple[str, str]]:
    series = report.Series.of
    rows = []
    for name, measured in loads.items():
        rows.append((f"{name}, messages/s", f"{series([one.rate for one in measured]):.0f}"))
    ratios = [b.rate / a.rate for a, b in zip(loads["files"], loads["cluster"], strict=True)]
    rows.append(("ratio of rates, round by round", f"{series(ratios):.2f}"))
    for name, measured in loads.items():
        spent = series([one.node_us for one in measured])
        rows.append((f"{name}, CPU us a message", f"{spent:.1f}"))
    nats = series([one.nats_us for one in loads["cluster"]])
    rows.append(("NATS servers, CPU us a message", f"{nats:.1f}"))
    for name, rounds in times.items():
        for percent in (50, 99):
            values = series([report.percentile(one, percent) * 1000 for one in rounds])
            rows.append((f"{name}, one caller: ms to 202, p{percent}", f"{values:.2f}"))
    return rows


def _takeover(cluster: Side, directory: Path, options: Namespace) -> list[tuple[str, str]]:
    """Kill the first node while messages wait in its partition."""
    lost, *others = cluster.nodes
    nobody = f"{HOST}:{free_port()}"
    script = wrk.post_script(directory, origin=nobody, body_bytes=300)
    message_id = _post(lost, nobody)
    with wrk.started(lost.site.port, script, seconds=600, connections=64) as load:
        while (waiting := _waiting(lost)) < options.pending:
            report.progress(f"{waiting} messages wait")
            time.sleep(1)
        wrk.interrupt(load)
    lost.process.kill()
    lost.process.wait()
    killed = time.monotonic()
    while True:
        answers = [_status(one, f"/v1/messages/{message_id}") for one in others]
        if answers == [200] * len(others):
            break
        if 404 in answers or time.monotonic() > killed + _LOST_S:
            raise SystemExit(f"{message_id} is answered {answers}")
        time.sleep(0.01)
    return [
        ("messages that waited", str(waiting)),
        ("takeover, s", f"{time.monotonic() - killed:.2f}"),
    ]


def _post(node: Dispatcher, origin: str) -> str:
    connection = http.client.HTTPConnection(HOST, node.site.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/", b"x", {"X-Dispatcher-Origin-Host": origin})
        message_id = connection.getresponse().getheader("X-Dispatcher-Message-Id")
    if message_id is None:
        raise SystemExit("a message was not accepted")
    return message_id


def _waiting(node: Dispatcher) -> int:
    status, body = node.get("/v1/stats")
    if status != 200:
        return 0
    stats = json.loads(body)
    return int(stats["ready"] + stats["scheduled"] + stats["in_flight"])


def _status(node: Dispatcher, path: str) -> int:
    try:
        return node.get(path)[0]
    except (OSError, http.client.HTTPException):
        return 0


if __name__ == "__main__":
    main()

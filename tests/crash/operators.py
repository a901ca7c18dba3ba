"""What an operator does to a server that runs as a process."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any

from dispatcher.testing.process import ServerProcess


def call(server: ServerProcess, path: str, body: Any) -> Any:
    """POST to its API, and return the answer; 200 is expected."""
    connection = http.client.HTTPConnection(*server.api, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())


def purge_all(server: ServerProcess) -> int:
    """Purge every dead letter; returns how many."""
    return int(call(server, "/v1/dead-letters/purge", {"all": True})["purged"])

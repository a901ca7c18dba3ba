"""The API of a server of several processes, while one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dispatcher.testing.many import ManyProcesses

_PATIENCE_S = 120.0


def _ask(server: ManyProcesses, path: str) -> str:
    host, port = server.api
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=60) as answered:
        text: str = answered.read().decode()
        return text


def _stats(server: ManyProcesses) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_ask(server, "/v1/stats"))
    return found


def _samples(server: ManyProcesses) -> dict[str, float]:
    lines = [line for line in _ask(server, "/metrics").splitlines() if line[:1] != "#"]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _send(server: ManyProcesses) -> str:
    host, port = server.listen
    headers = {"X-Dispatcher-Origin-Host": "127.0.0.1:9", "X-Dispatcher-Delay": "1h"}
    request = urllib.request.Request(f"http://{host}:{port}/x", b"x", headers)
    with urllib.request.urlopen(request, timeout=60) as answered:
        message_id: str = answered.headers["X-Dispatcher-Message-Id"]
        return message_id


def test_killed_process_is_missing_for_a_moment_and_no_counter_falls(tmp_path: Path) -> None:
    """All its messages are there again, and what it had counted is not lost."""
    with ManyProcesses(tmp_path, 2) as server:
        _until(lambda: "incomplete" not in _stats(server))
        ids = [_send(server) for _ in range(40)]
        stats, before = _stats(server), _samples(server)
        assert stats["scheduled"] == 40
        assert before["dispatcher_messages_accepted_total"] == 40
        former = server.pid_of(1)
        os.kill(former, signal.SIGKILL)

        def is_back() -> bool:
            now = _samples(server)
            assert now["dispatcher_messages_accepted_total"] >= 40
            is_up = now['dispatcher_process_up{process="1"}'] == 1
            return is_up and server.pid_of(1) != former

        _until(is_back)
        _until(lambda: "incomplete" not in _stats(server))
        stats = _stats(server)
        assert (stats["accepted_total"], stats["scheduled"]) == (40, 40)
        found = json.loads(_ask(server, "/v1/messages?limit=100"))["items"]
        assert sorted(one["id"] for one in found) == sorted(ids)
        for one in ids:
            assert json.loads(_ask(server, f"/v1/messages/{one}"))["id"] == one
        _send(server)
        assert _samples(server)["dispatcher_messages_accepted_total"] == 41

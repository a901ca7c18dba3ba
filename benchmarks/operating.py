"""Operators: `python -m benchmarks.operating PORT SECONDS`, then `all FILE`, `lists FILE` or `ask
PATH`.

`all`: they do all they can at once; FILE has the ids that they may use up, as `filling` leaves
them. `lists`: two page through the messages that wait, one through all of them and one through
those with a label, which is read back of each. `ask`: eight clients ask for PATH over and over,
without a pause. Prints how many calls were answered, by status.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.process import HOST

_CLIENTS = 8
_PAUSE_SECONDS = 0.05
_LETTERS = "/v1/dead-letters"
_LISTS = ("/v1/messages?limit=1000", "/v1/messages?limit=100&label=nobody-has-it")


class Operator:
    """One client, its connection and what it was answered."""

    def __init__(self, port: int) -> None:
        self.statuses: Counter[str] = Counter()
        self._port = port
        self._connection = http.client.HTTPConnection(HOST, port, timeout=120)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """One call; its document, None without one."""
        sent = None if body is None else json.dumps(body)
        headers = {} if sent is None else {"Content-Type": "application/json"}
        try:
            self._connection.request(method, path, sent, headers)
            answer = self._connection.getresponse()
            received = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self.statuses["broken"] += 1
            return None
        self.statuses[str(answer.status)] += 1
        return json.loads(received) if received[:1] == b"{" else None


def main() -> None:
    """Operate for some seconds, and print what came of it."""
    port, seconds, kind, what = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
    if kind == "ask":
        works = {f"client {n}": _asks_again(what) for n in range(_CLIENTS)}
    elif kind == "lists":
        works = {path: _pages(path) for path in _LISTS}
    else:
        works = _everything(json.loads(Path(what).read_text()))
    ends_at = time.monotonic() + seconds
    operators = {name: Operator(port) for name in works}
    threads = [
        threading.Thread(target=_work, args=(operators[name], work, ends_at))
        for name, work in works.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({name: one.statuses for name, one in operators.items()}))


Work = Callable[[Operator], Iterator[float]]
"""What an operator does over and over; yields how long to pause."""


def _work(operator: Operator, work: Work, ends_at: float) -> None:
    for pause_s in work(operator):
        if time.monotonic() >= ends_at:
            return
        time.sleep(pause_s)


def _asks_again(path: str) -> Work:
    def work(operator: Operator) -> Iterator[float]:
        while True:
            operator.ask("GET", path)
            yield 0

    return work


def _pages(path: str) -> Work:
    def work(operator: Operator) -> Iterator[float]:
        following = None
        while True:
            answer = operator.ask("GET", f"{path}&cursor={following}" if following else path)
            following = answer and answer.get("next")
            yield _PAUSE_SECONDS

    return work


def _everything(ids: dict[str, Any]) -> dict[str, Work]:
    dead: list[str] = ids["dead"]
    held = quote(ids["held"], safe="")

    def cancel_deep(operator: Operator) -> Iterator[float]:
        for one in reversed(ids["deep"]):
            operator.ask("DELETE", f"/v1/messages/{one}")
            yield _PAUSE_SECONDS

    def cancel_scheduled(operator: Operator) -> Iterator[float]:
        for one in ids["scheduled"][::7]:
            operator.ask("DELETE", f"/v1/messages/{one}")
            yield _PAUSE_SECONDS

    def explain(operator: Operator) -> Iterator[float]:
        for one in ids["deep"]:
            operator.ask("GET", f"/v1/messages/{one}/explain")
            yield _PAUSE_SECONDS

    def purge(operator: Operator) -> Iterator[float]:
        half = len(dead) // 2
        for start in range(0, half, 1000):
            operator.ask(
                "POST", f"{_LETTERS}/purge", {"ids": dead[start : min(half, start + 1000)]}
            )
            yield _PAUSE_SECONDS

    def purge_destination(operator: Operator) -> Iterator[float]:
        for number in range(900, 1000):
            where = f"127.1.{number >> 8 & 255}.{number & 255}:9"
            operator.ask("POST", f"{_LETTERS}/purge", {"destination": where})
            yield _PAUSE_SECONDS

    def redrive(operator: Operator) -> Iterator[float]:
        for start in range(len(dead) // 2, len(dead), 100):
            operator.ask("POST", f"{_LETTERS}/redrive", {"ids": dead[start : start + 100]})
            yield _PAUSE_SECONDS

    def hold(operator: Operator) -> Iterator[float]:
        while True:
            operator.ask("POST", f"/v1/destinations/{held}/pause")
            yield _PAUSE_SECONDS

    works: dict[str, Work] = {
        "cancel deep in a lane": cancel_deep,
        "cancel what is scheduled": cancel_scheduled,
        "explain": explain,
        "purge ids": purge,
        "purge a destination": purge_destination,
        "redrive": redrive,
        "page": _pages(f"{_LETTERS}?limit=1000"),
        "hold": hold,
    }
    for path in ("/metrics", "/v1/stats", "/v1/stats?lanes_order=messages", f"{_LETTERS}/groups"):
        works[path] = _asks_again(path)
    return works


if __name__ == "__main__":
    main()

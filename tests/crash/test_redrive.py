"""Tens of thousands of dead letters are redriven, and the server is killed in the middle."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dispatcher.core.clock import SystemClock
from dispatcher.core.destination import Origin
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.queue.deadletters.burial import Burial
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.records.history import encode_attempt
from dispatcher.queue.records.ids import wire_id
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing.process import ServerProcess
from dispatcher.txlog import each
from dispatcher.txlog.files import FileLog
from tests.crash.load import until

pytestmark = pytest.mark.crash

_COUNT = 30_000
_INCARNATION = 7
_DIED_AT = 1_704_067_200_000_000


class _Sink(asyncio.Protocol):
    """Answers 200 to every request and counts its message's id."""

    def __init__(self, seen: Counter[bytes]) -> None:
        self._seen = seen
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, body_at = self._buffer[:end], end + 4
            if len(self._buffer) < body_at + 5:
                return
            assert self._buffer[body_at : body_at + 5] == b"hello"
            self._buffer = self._buffer[body_at + 5 :]
            _, _, rest = head.partition(b"X-Dispatcher-Message-Id: ")
            self._seen[rest[:28]] += 1
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


class _NoBodies:
    """Every body is in its message."""

    async def read(self, positions: list[int]) -> list[bytes]:
        raise AssertionError("no body is large")


async def _bury(directory: Path, origin: str) -> set[bytes]:
    """Fill a dead-letter log as the server does; returns the ids."""

    def failed(error: BaseException) -> None:
        raise error

    log = FileLog(directory)
    letters = DeadLetters(
        log,
        _NoBodies(),
        partition=0,
        failed=failed,
        space_changed=lambda full: None,
        clock=SystemClock(),
        died=lambda name, error: failed(error),
        supervisor=Supervisor(lambda name, error: failed(error)),
    )
    await log.open("test", 0, each(letters.visit))
    letters.start()
    destination = Origin.parse(origin.encode()).destination
    head = b"POST /x HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\n" % destination.authority.encode()
    history = encode_attempt(_DIED_AT, AttemptResult(404, None, "status 404", 3))
    ids = set()
    for number in range(_COUNT):
        message = Message(destination, head, b"hello", timeout_ms=0, accepted_at=_DIED_AT)
        message.incarnation = _INCARNATION
        message.position = number + 1
        message.attempt = 1
        message.history = history
        message.wire_id = wire_id(0, _INCARNATION, message.position)
        ids.add(message.wire_id)
        letters.bury(Burial(message, "rejected", "status 404", b"no", _DIED_AT), lambda: None)
        if number % 1000 == 0:
            await asyncio.sleep(0)
    await letters.stop()
    await log.close()
    return ids


def _call(server: ServerProcess, method: str, path: str, body: object = None) -> Any:
    connection = http.client.HTTPConnection(*server.api, timeout=120)
    payload = None if body is None else json.dumps(body)
    connection.request(method, path, payload, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200, text
    return json.loads(text)


async def test_redriving_30_000_dead_letters_survives_a_kill_in_the_middle(tmp_path: Path) -> None:
    """None is lost; and none is delivered twice but the few that were on their way just then."""
    seen: Counter[bytes] = Counter()
    sink = await asyncio.get_running_loop().create_server(lambda: _Sink(seen), "127.0.0.1", 0)
    port = sink.sockets[0].getsockname()[1]
    ids = await _bury(tmp_path / "deadletter.log", f"127.0.0.1:{port}")
    settings = {"WORKER": "64", "DEAD_LETTER_RETENTION": "0"}
    with ServerProcess(tmp_path, **settings) as server:
        assert _call(server, "GET", "/v1/stats")["dead"] == _COUNT
        # For ten seconds: it is not done before enough was seen, however slowly we look.
        everything = {"all": True, "rate": _COUNT // 10}
        redriving = asyncio.create_task(
            asyncio.to_thread(_call, server, "POST", "/v1/dead-letters/redrive", everything)
        )
        await until(lambda: len(seen) > _COUNT * 0.6, timeout_s=90)
        server.kill()
        with pytest.raises((OSError, http.client.HTTPException)):
            await redriving
    assert len(seen) < _COUNT
    before = Counter(seen)
    with ServerProcess(tmp_path, **settings) as server:
        stats = await asyncio.to_thread(_call, server, "GET", "/v1/stats")
        assert stats["dead"] > 0
        moved = await asyncio.to_thread(
            _call, server, "POST", "/v1/dead-letters/redrive", {"all": True}
        )
        assert moved["not_found"] == []
        await until(lambda: len(seen) == _COUNT, timeout_s=90)
        assert (await asyncio.to_thread(_call, server, "GET", "/v1/stats"))["dead"] == 0
        assert await asyncio.to_thread(server.stop) == 0
    sink.close()
    assert set(seen) == ids
    assert not [one for one, times in before.items() if times > 1]
    twice = [one for one, times in seen.items() if times > 1]
    assert set(twice) <= set(before)
    # Only what was settled just before the kill is sent again; a disk may have stood still then.
    assert len(twice) < _COUNT // 2

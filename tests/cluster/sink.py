"""Destinations on loopback, so many that each partition has one for keyed messages, which tell by
which node each message was delivered.

Nodes of these tests have a rule that adds a header with their name to everything that they send.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final

from dispatcher.core.placing import partition_of
from dispatcher.testing.ports import KeptPort
from tests.cluster.ledger import Ledger

NODE_HEADER: Final = "X-Node"
_ID: Final = re.compile(rb"\r\nx-dispatcher-message-id: *([0-9a-f]{28})\r\n", re.IGNORECASE)
_NODE: Final = re.compile(rb"\r\nx-node: *(\S+)\r\n", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_NOTHING: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Sink:
    """The destinations. An async context manager."""

    def __init__(self, ledger: Ledger, partitions: int) -> None:
        self._ledger = ledger
        self._kept = KeptPort("127.0.1.1")
        self.origins = _one_each(partitions, self._kept.number)
        """`host:port` by partition."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Sink:
        hosts = [one.partition(":")[0] for one in self.origins]
        self._server = await asyncio.start_server(self._serve, hosts, self._kept.number)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._kept.let_go()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                await self._take(reader)
                writer.write(_NOTHING)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a node was killed, or this is the end
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _take(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        began_s = time.monotonic()
        length, message_id, node = (one.search(head) for one in (_LENGTH, _ID, _NODE))
        assert message_id is not None, head
        assert node is not None, head
        body = await reader.readexactly(int(length[1]) if length else 0)
        target = head.split(b" ", 2)[1].decode()
        self._ledger.arrive(target, message_id[1].decode(), node[1].decode(), began_s, body)


def _one_each(partitions: int, port: int) -> list[str]:
    """An address for each partition, by the place that a destination there is."""
    found: dict[int, str] = {}
    for last in range(1, 255):
        origin = f"127.0.1.{last}:{port}"
        found.setdefault(partition_of(f"http://{origin}".encode(), partitions), origin)
    return [found[number] for number in range(partitions)]

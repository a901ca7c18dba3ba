"""An answer to a large body that comes, with the end of the connection, while nobody looks."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.testing.delivery import MemoryBodies, RecordingHome

TOO_LARGE = b"HTTP/1.1 413 No\r\nContent-Length: 9\r\n\r\ntoo large"


class Refusing(threading.Thread):
    """A destination that reads the beginning of one request, answers and hangs up with the rest
    unread, so that its kernel resets the connection. `over` is set then."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.authority = f"127.0.0.1:{self._server.getsockname()[1]}"

    def run(self) -> None:
        connection, _ = self._server.accept()
        connection.recv(100)
        connection.sendall(TOO_LARGE)
        connection.close()
        self._server.close()
        self.over.set()


class HoldingUp(MemoryBodies):
    """Bodies whose second chunk holds up the whole event loop until the destination has hung up."""

    def __init__(self, refusing: Refusing) -> None:
        super().__init__()
        self._refusing = refusing

    async def read(self, positions: list[int]) -> list[bytes]:
        """Read without giving way, so that the chunk is written before any socket is looked at."""
        if positions == [1]:
            self._refusing.over.wait(5)
        return [self.chunk(position) for position in positions]


@pytest.mark.parametrize("chunks", [(0, 1), (0, 1, 2)])
async def test_early_answer_counts_when_the_next_write_meets_the_reset(
    chunks: tuple[int, ...],
) -> None:
    """The write fails before anybody has read: the answer is still there."""
    refusing = Refusing()
    refusing.start()
    bodies = HoldingUp(refusing)
    home = RecordingHome(bodies)
    pool = Pool(DeliveryConfig())
    size = len(chunks) * bodies.chunk_bytes
    pool.deliver(home.outgoing(refusing.authority, chunks=chunks, body_size=size))
    result = (await home.settled(1))[0].result
    assert result is not None
    assert (result.status, result.failure) == (413, None)
    assert result.response_start == b"too large"
    await asyncio.sleep(0.02)
    assert (pool.open_connections, pool.idle_connections, pool.in_flight) == (0, 0, 0)
    await pool.close()

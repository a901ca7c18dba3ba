"""What can happen between the moment a connection is open and the first byte on it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from contextlib import suppress

from dispatcher.core.egress import EgressPolicy
from dispatcher.core.outcome import Failure
from dispatcher.core.room import Rooms
from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.connection import Connection
from dispatcher.delivery.dial import AddrInfo, Dialer, happy_eyeballs
from dispatcher.delivery.idle import IdleConnections
from dispatcher.delivery.opening import open_for
from dispatcher.delivery.pool import Pool
from dispatcher.delivery.progress import Progress
from dispatcher.delivery.resolver import Resolver
from dispatcher.testing.delivery import RecordingHome
from dispatcher.testing.destination import FakeDestination, Wait


class Cancelling:
    """An owner of connections: cancels a task as soon as its connection is made, and counts those
    that are open."""

    def __init__(self) -> None:
        self.open: set[Connection] = set()
        self.task: asyncio.Task[object] | None = None
        self.seen = 0
        self.rooms = self.start_rooms = Rooms()

    def opened(self, connection: Connection) -> None:
        self.seen += 1
        self.open.add(connection)
        assert self.task is not None
        self.task.cancel()

    def closed(self, connection: Connection) -> None:
        self.open.discard(connection)

    def answered(self, connection: Connection, attempt: Attempt, progress: Progress) -> None:
        raise AssertionError("nothing was sent")

    def ended(self, connection: Connection, attempt: Attempt, error: Exception | None) -> None:
        raise AssertionError("nothing was sent")

    def useless(self, connection: Connection) -> None:
        pass


async def test_connection_is_not_counted_when_its_attempt_ends_as_it_is_made() -> None:
    """The deadline may come between the two turns of the loop in which it is made and taken."""
    loop = asyncio.get_running_loop()
    idle = IdleConnections(loop, timeout_ms=1000, max_age_ms=1000, max_each=1, max_total=1)
    owner = Cancelling()
    async with FakeDestination() as destination:
        message = RecordingHome().outgoing(destination.authority)
        attempt = Attempt(message, loop.time(), loop.time() + 60)
        dialer = Dialer(EgressPolicy(), Resolver())
        owner.task = loop.create_task(open_for(attempt, dialer, idle, owner))
        await asyncio.wait([owner.task])
        await asyncio.sleep(0.02)
        assert owner.task.cancelled()
        assert (owner.seen, owner.open) == (1, set())


async def test_destination_that_speaks_first_is_named() -> None:
    """As mail servers and SSH do; "closed by the destination" would be wrong: it was us."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test ESMTP\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def connect_late(addr_infos: Sequence[AddrInfo]) -> socket.socket:
        connected = await happy_eyeballs(addr_infos)
        await asyncio.sleep(0.05)  # the greeting is there before anybody can write
        return connected

    home = RecordingHome()
    pool = Pool(DeliveryConfig(), connector=connect_late)
    async with await asyncio.start_server(greet, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        pool.deliver(home.outgoing(f"127.0.0.1:{port}"))
        result = (await home.settled(1))[0].result
    await pool.close()
    assert result is not None
    if result.failure is Failure.BROKEN:  # asyncio writes before it reads
        assert result.detail.startswith("not a valid HTTP/1.1 response")
        return
    assert result.failure is Failure.CONNECTION
    assert result.detail == "the destination spoke before it was asked, so it does not speak HTTP"


async def test_open_connection_that_fails_for_want_of_buffers_is_ours() -> None:
    """The kernel has no memory for what is to be sent; the destination knows nothing of that."""
    home = RecordingHome()
    pool = Pool(DeliveryConfig())
    async with FakeDestination() as destination:
        destination.script([Wait(600)])
        pool.deliver(home.outgoing(destination.authority))
        await destination.received(1)
        (connection,) = pool._open
        connection.connection_lost(OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)))
        result = (await home.settled(1))[0].result
        await pool.close()
    assert result is not None
    assert (result.failure, result.ours) == (Failure.CONNECTION, True)

"""A front on a free port of loopback, and who has the API behind it, as a test plays it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from dispatcher.api.entrance import Lines
from dispatcher.api.front.server import Front
from dispatcher.api.health import Health
from dispatcher.core.keys import Keyring
from dispatcher.listening.tls import Secured
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log

PATIENCE_S = 60.0
Script = Callable[["Side"], Awaitable[None]]


class Side:
    """One end of a connection, in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes, at the pace at which they are taken."""
        self.writer.write(data)
        await self.writer.drain()

    async def upto(self, end: bytes) -> bytes:
        """What comes until these bytes, with them."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(end)

    async def exactly(self, size: int) -> bytes:
        """So many bytes."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """What comes until the end."""
        async with asyncio.timeout(PATIENCE_S):
            found = b""
            try:
                while piece := await self.reader.read(65_536):
                    found += piece
            except ConnectionError:
                pass
            return found

    def close(self) -> None:
        """End it at once."""
        self.writer.transport.abort()


class ToNobody:
    """Nobody has the API (`Upstream`)."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See `Upstream`."""
        raise ConnectionRefusedError("nobody is there")


class ToAddress:
    """Who listens at an address of loopback has it (`Upstream`)."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See `Upstream`."""
        return await asyncio.open_connection(*self._address)


class Scripted:
    """An `Upstream` that does what a script says with each connection; `ended` counts those that
    did."""

    def __init__(self, script: Script) -> None:
        self.connections = 0
        self.ended = 0
        self.errors: list[BaseException] = []
        self._script = script
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._play, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        if error is None and self.errors:
            raise self.errors[0]

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._script(Side(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            writer.transport.abort()
            self.ended += 1

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See `Upstream`."""
        assert self._server is not None
        return await asyncio.open_connection(*self._server.sockets[0].getsockname()[:2])


class FrontBench:
    """A front; `reason` is that of its own `/readyz`."""

    def __init__(
        self,
        upstream: Scripted | ToNobody | ToAddress,
        keys: Keyring | None = None,
        *,
        max_connections: int = 64,
        lines: Lines | None = None,
        tls: Secured | None = None,
    ) -> None:
        self.reason: str | None = None
        self.lines: list[str] = []
        self.front = Front(
            "127.0.0.1",
            0,
            keys or Keyring(()),
            upstream=upstream,
            health=lambda: Health(self.reason),
            metrics=self._metrics,
            events=Events(open_log(self.lines.append, level="debug", format="json")),
            max_connections=max_connections,
            lines=lines,
            tls=tls,
        )

    async def _metrics(self) -> str:
        return "own 1\n"

    async def __aenter__(self) -> Self:
        await self.front.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.front.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.front.bound[0]
        return f"http://{host}:{port}"

    async def connect(self, limit: int = 65_536) -> Side:
        """A connection to it."""
        return Side(*await asyncio.open_connection(*self.front.bound[0], limit=limit))

    async def ask(self, request: bytes) -> bytes:
        """Send bytes, and return all that comes until the connection ends."""
        side = await self.connect()
        await side.send(request)
        answer = await side.rest()
        side.close()
        return answer


async def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  # many things are waited for
            await asyncio.sleep(0.005)

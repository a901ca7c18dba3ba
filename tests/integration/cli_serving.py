"""What the tests of the command line talk to: the API over a `MemoryAdmin`, and canned answers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dispatcher.api.health import Health
from dispatcher.api.server import ApiServer
from dispatcher.core.clock import SystemClock
from dispatcher.core.keys import Keyring
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.testing.admin import MemoryAdmin
from dispatcher.testing.backups import MemoryBackups
from dispatcher.testing.carrier import MemoryCarrier
from dispatcher.testing.cluster import MemoryCluster, three_nodes
from dispatcher.testing.function_service import MemoryFunctions
from dispatcher.testing.memory_audit import MemoryAudit
from dispatcher.testing.outlook import MemoryOutlook
from dispatcher.testing.replayer import MemoryReplayer

SECONDS = 60.0


class Served:
    """An API in a thread of its own, over `admin`."""

    def __init__(
        self,
        admin: MemoryAdmin,
        backups: MemoryBackups,
        loop: asyncio.AbstractEventLoop,
        port: int,
        replayer: MemoryReplayer,
    ) -> None:
        self.admin = admin
        self.backups = backups
        self.replayer = replayer
        self.port = port
        self._loop = loop

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def tell(self, act: Callable[[], None]) -> None:
        """Do something in the thread of the server, and wait for it."""

        async def run() -> None:
            act()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(SECONDS)


@contextmanager
def served(
    admin: MemoryAdmin,
    keys: tuple[bytes, ...] = (),
    functions: MemoryFunctions | None = None,
) -> Iterator[Served]:
    """Serve the whole API on a free port of loopback."""
    ready: list[Served] = []
    is_ready = threading.Event()
    loop = asyncio.new_event_loop()
    backups = MemoryBackups()
    replayer = MemoryReplayer()
    stopping = asyncio.Event()

    async def nothing() -> str:
        return ""

    async def serve() -> None:
        silent = Events(open_log(lambda line: None, level="error", format="json"))
        server = ApiServer(
            "127.0.0.1",
            0,
            Keyring.of_secrets(*keys),
            admin=admin,
            carrier=MemoryCarrier(),
            replayer=replayer,
            backups=backups,
            keeper=MemoryAudit(),
            health=Health,
            metrics=nothing,
            outlook=MemoryOutlook(),
            cluster=MemoryCluster(three_nodes(SystemClock().now_us())),
            events=silent,
            functions=functions,
            schedules=None if functions is None else functions.schedules,
        )
        await server.start()
        ready.append(Served(admin, backups, loop, server.bound[0][1], replayer))
        is_ready.set()
        await stopping.wait()
        await server.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    try:
        assert is_ready.wait(SECONDS)
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(SECONDS)
        loop.close()


def heard(api: Served) -> None:
    """Wait until somebody listens to what happens."""
    deadline = time.monotonic() + 2 * SECONDS
    while not api.admin.listeners:
        assert time.monotonic() < deadline, "nobody listens"
        time.sleep(0.002)


class Canned:
    """A server that answers each connection with the next of some bytes, and keeps what it read.

    Without bytes left it closes connections at once.
    """

    def __init__(self, answers: Sequence[bytes]) -> None:
        self.requests: list[bytes] = []
        self._answers = list(answers)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Canned:
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone does not wake a thread that waits in accept.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(SECONDS)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(SECONDS)
                if self._answers:
                    self.requests.append(_read_request(connection))
                    connection.sendall(self._answers.pop(0))


def answer(status: int, body: str = "", *headers: str) -> bytes:
    """A response with a length, as bytes."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body.encode())}", *headers, "", body]
    return "\r\n".join(lines).encode()


def _read_request(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        head = b""
        while (line := stream.readline()) not in (b"\r\n", b""):
            head += line
        head += line
        fields = head.lower()
        if b"transfer-encoding: chunked" in fields:
            body = b""
            while not body.endswith(b"0\r\n\r\n") and (line := stream.readline()):
                body += line
            return head + body
        _, found, rest = fields.partition(b"content-length:")
        return head + stream.read(int(rest.split(b"\r\n")[0]) if found else 0)

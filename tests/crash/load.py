"""Callers that send messages to a server which may end at any moment, and the account of what
became of them.

Every request has a target of its own, and its body follows from the target: so whatever a
destination gets can be checked without a copy of everything that was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from dispatcher.testing.ports import KeptPort
from dispatcher.testing.process import ServerProcess

_STATE = re.compile(r'^dispatcher_messages\{state="([a-z_]+)"\} (.+)$', re.MULTILINE)
_RECORDS = re.compile(r"^dispatcher_log_records_total (.+)$", re.MULTILINE)
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_ID = re.compile(rb"\r\nx-dispatcher-message-id: *([0-9a-f]{28})\r\n", re.IGNORECASE)
_ATTEMPT = re.compile(rb"\r\nx-dispatcher-attempt: *([0-9]+)\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller was told. `id` is empty unless it was 202; `slug` is the error's."""

    status: int
    id: str
    slug: str
    headers: bytes


@dataclass(slots=True)
class Account:
    """What was sent to whom, by target, and how it was answered.

    What is in `sizes` and nowhere else got no answer: it may be delivered, or not.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Answer] = field(default_factory=dict)

    def begin(self, size_bytes: int) -> str:
        """Return a new target for a request with a body of this size."""
        target = f"/{len(self.sizes):06d}"
        self.sizes[target] = size_bytes
        return target

    def body(self, target: str) -> bytes:
        """Return the body that belongs to a target."""
        return body_of(target, self.sizes[target])

    def note(self, target: str, answer: Answer) -> None:
        """Write down how a request was answered."""
        if answer.status == 202:
            self.accepted[target] = answer.id
        else:
            self.refused[target] = answer

    def missing(self, deliveries: Iterable[Delivery]) -> set[str]:
        """Return the targets that were answered 202 and are not among these deliveries."""
        return self.accepted.keys() - {each.target for each in deliveries if each.status == 200}

    def check(
        self, deliveries: Iterable[Delivery], *, refused_may_come: bool = False, every: bool = True
    ) -> None:
        """Fail unless this is what destinations may and must get.

        Args:
            deliveries: everything that came, in the order of its coming to each destination.
            refused_may_come: a log that failed may hold what was answered 503.
            every: the destinations were always there, so they have seen every attempt.
        """
        all_ = list(deliveries)
        ids: dict[str, str] = {}
        attempts: dict[str, int] = {}
        for each in all_:
            target, id_ = each.target, each.id
            assert target in self.sizes, f"{target} was never sent"
            assert each.is_intact, f"{target} has other bytes"
            assert refused_may_come or target not in self.refused, f"{target} was refused"
            assert ids.setdefault(target, id_) == id_, f"{target} came under two ids"
            assert self.accepted.get(target, id_) == id_, f"{target} came under another id"
            before = attempts.get(id_, 0)
            assert not every or 1 <= each.attempt <= before + 1, f"{target} skipped an attempt"
            attempts[id_] = max(each.attempt, before)
        assert len(set(ids.values())) == len(ids), "two messages have one id"
        assert not self.missing(all_), "accepted, and never delivered"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request that came whole to a destination, and what it was answered."""

    target: str
    id: str
    attempt: int
    is_intact: bool
    status: int


class Destination:
    """A destination that looks at what it gets and keeps only what it found. Use it as an async
    context manager; `stop` and `start` make it dead and alive again at the same port."""

    def __init__(
        self, account: Account, *, fails: Callable[[str, int], int] = lambda target, attempt: 200
    ) -> None:
        """`fails` says what an attempt is answered, from the target and its number."""
        self.deliveries: list[Delivery] = []
        self._kept = KeptPort()
        self.port = self._kept.number
        self._account = account
        self._fails = fails
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def origin(self) -> str:
        """Where it is, as callers say it."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Drop every connection, and listen no more. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Destination:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._kept.let_go()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                await self._take(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the dispatcher was killed, or this is the end
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length, id_, attempt = (pattern.search(head) for pattern in (_LENGTH, _ID, _ATTEMPT))
        assert id_ is not None, head
        assert attempt is not None, head
        body = await reader.readexactly(int(length[1]) if length else 0)
        target = head.split(b" ", 2)[1].decode()
        number = int(attempt[1])
        status = self._fails(target, number)
        is_intact = body == body_of(target, self._account.sizes.get(target, 0))
        self.deliveries.append(Delivery(target, id_[1].decode(), number, is_intact, status))
        writer.write(b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n" % status)


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """Listen as a destination that takes requests and never answers; gives its port."""

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(read, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def body_of(target: str, size_bytes: int) -> bytes:
    """Return the body of a target: pieces that tell which one, and where they belong."""
    count = size_bytes // 16 + 1
    return b"".join(b"%s:%08x" % (target.encode(), place) for place in range(count))[:size_bytes]


async def ask(
    address: tuple[str, int], origin: str, target: str, body: bytes, *, timeout_s: float = 60.0
) -> Answer:
    """Send one message on a connection of its own.

    Raises:
        OSError, asyncio.IncompleteReadError, TimeoutError: there was no (whole) answer.
    """
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(*address)
        try:
            return await _exchange(reader, writer, origin, target, body)
        finally:
            writer.transport.abort()


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    origin: str,
    target: str,
    body: bytes,
) -> Answer:
    writer.write(request_of(origin, target, body))
    return await read_answer(reader)


def request_of(origin: str, target: str, body: bytes) -> bytes:
    """Return what a caller writes to send one message."""
    head = (
        f"POST {target} HTTP/1.1\r\nHost: dispatcher\r\nX-Dispatcher-Origin-Host: {origin}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read what the caller is told.

    Raises:
        OSError, asyncio.IncompleteReadError: there is no (whole) answer.
    """
    answer = await reader.readuntil(b"\r\n\r\n")
    status, length, id_ = _STATUS.match(answer), _LENGTH.search(answer), _ID.search(answer)
    assert status is not None, answer
    content = await reader.readexactly(int(length[1]) if length else 0)
    return Answer(
        int(status[1]),
        id_[1].decode() if id_ else "",
        json.loads(content)["error"] if content else "",
        answer,
    )


class Load:
    """So many callers, each sending one message after the other for as long as this is entered.

    ```
    async with Load(account, server.listen, destinations, seed=7):
        await asyncio.sleep(0.5)
        server.kill()
    ```
    """

    def __init__(
        self,
        account: Account,
        address: tuple[str, int],
        destinations: Sequence[Destination],
        *,
        callers: int = 8,
        most: int = 2000,
        large_one_in: int = 60,
        pause_s: float = 0.0,
        seed: int = 0,
    ) -> None:
        """`most` bounds the messages; one in `large_one_in` has a body above 256 KiB (0: none)."""
        self._account = account
        self._address = address
        self._destinations = destinations
        self._most = len(account.sizes) + most
        self._large_one_in = large_one_in
        self._pause_s = pause_s
        self._random = random.Random(seed)
        self._callers = callers
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._call()) for _ in range(self._callers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _call(self) -> None:
        """Be one caller: one connection, until it breaks; then the server is taken for dead."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(*self._address)
            try:
                while len(self._account.sizes) < self._most:
                    await self._send(reader, writer)
                    await asyncio.sleep(self._pause_s)
            finally:
                writer.transport.abort()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        account = self._account
        target = account.begin(self._size())
        origin = self._random.choice(self._destinations).origin
        answer = await _exchange(reader, writer, origin, target, account.body(target))
        account.note(target, answer)
        if b"connection: close" in answer.headers.lower():
            raise ConnectionAbortedError("as the answer said")

    def _size(self) -> int:
        if self._large_one_in and self._random.randrange(self._large_one_in) == 0:
            return self._random.randrange(256 * 1024 + 1, 700 * 1024)
        return self._random.choice((0, 1, 100, 1024, 5000))


async def delivered(
    account: Account, destinations: Sequence[Destination], *, timeout_s: float = 60.0
) -> list[Delivery]:
    """Wait until everything that was accepted has come somewhere; return all that came.

    Raises:
        TimeoutError: it does not come in time; the message names what is missing.
    """
    try:
        await until(lambda: not account.missing(come(destinations)), timeout_s=timeout_s)
    except TimeoutError as error:
        missing = account.missing(come(destinations))
        raise TimeoutError(f"{len(missing)} never came, such as {sorted(missing)[:5]}") from error
    return come(destinations)


def counts(server: ServerProcess) -> tuple[int, int]:
    """Return how many messages are pending, and how many are dead letters."""
    _, text = _get(server, "/metrics")
    by_state = {state: int(float(count)) for state, count in _STATE.findall(text)}
    dead = by_state.pop("dead")
    return sum(by_state.values()), dead


def records(server: ServerProcess) -> int:
    """Return how many records the server has made durable in its transaction log."""
    _, text = _get(server, "/metrics")
    return int(float(_RECORDS.findall(text)[0]))


def readiness(server: ServerProcess) -> tuple[int, str]:
    """Return the status and the body of `/readyz`."""
    return _get(server, "/readyz")


def _get(server: ServerProcess, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*server.api, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


async def until(holds: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    """Wait until something holds that nobody tells us of.

    Raises:
        TimeoutError: it does not.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not holds():
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.02)


def come(destinations: Iterable[Destination]) -> list[Delivery]:
    """Return what has come to the destinations so far."""
    return [each for destination in destinations for each in destination.deliveries]

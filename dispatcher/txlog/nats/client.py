"""The connection to NATS, with nats-py (the extra `cluster`): the only module that imports it.

One connection serves all logs of a process. When it is lost another one is made, for ever, with the
next server first; what is asked meanwhile is silence at once: whoever asks asks again.

The client's own way back is not used. It ends for good with most errors that a server says (a user
who is let in no more for a moment), and waits for the lost connection to be closed: over TLS, or
with bytes that were not sent, as long as that server hangs.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, cast

from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error

from dispatcher.errors import ConfigError
from dispatcher.txlog.nats.access import Access
from dispatcher.txlog.nats.link import Answer, Heard, Silence, Stop

_PENDING_BYTES: Final = 64 << 20
"""What the client keeps for a server that does not take it yet. Its own 2 MiB are four batches."""
_AGAIN_S: Final = 0.1
"""Between rounds of all servers, and between looks at whether the connection is lost."""
_SERVER_S: Final = 2.0
"""For one server, which has a second to take the connection, and one for each of its answers."""
_CLOSE_S: Final = 1.0
_REMEMBERED: Final = 32
"""Errors of a connection that is being made."""
_REFUSED: Final = "Authorization Violation"
"""What a server says that lets nobody in with this name; the client has no error of its own for
it while it connects."""
_ALONE: Final = "503"
"""The status of an answer that says that nobody listens."""
_FAILED: Final = (Error, OSError, TimeoutError, RuntimeError)
"""What the client raises where a connection is no good. The last one is of uvloop, whose transport
was written to after its end: the client may not have heard of that yet."""


async def connect(
    servers: Sequence[str],
    *,
    name: str = "dispatcher",
    access: Access | None = None,
    timeout_s: float = 5.0,
) -> NatsLink:
    """Connect to one of these servers, the first one first. `name` is what their monitoring shows.

    Raises:
        Silence: none answers in that time.
        ConfigError: one does, and does not let us in.
    """
    making = _Making(servers, name, access or Access())
    try:
        async with asyncio.timeout(timeout_s):
            client = await making.one()
    except TimeoutError as error:
        where, met = ", ".join(servers), making.met
        if any(_REFUSED in str(one) for one in met):
            # Said with the last word of a connection, or lost with it: one of them is enough.
            raise ConfigError(f"the NATS servers at {where} do not let this user in") from error
        last = met[-1] if met else error
        raise Silence(f"no NATS server answers at {where}: {last}") from error
    return NatsLink(client, making)


class _Making:
    """Makes connections to one of the servers, as `access` is then. `met` are the last errors."""

    def __init__(self, servers: Sequence[str], name: str, access: Access) -> None:
        self.met: list[Exception] = []
        self._servers = itertools.cycle(servers)
        self._count = len(servers)
        self._name = name
        self.access = access

    async def one(self) -> Client:
        """Try one server after the other, beginning with the one after the last that was tried,
        until one takes us: for ever."""
        while True:
            for _ in range(self._count):
                client = await self._tried(next(self._servers))
                if client is not None:
                    return client
            await asyncio.sleep(_AGAIN_S)

    async def _tried(self, server: str) -> Client | None:
        access, client = self.access, Client()
        text = access.credentials
        try:
            async with asyncio.timeout(_SERVER_S):
                await client.connect(
                    servers=[server],
                    name=self._name,
                    user=access.user,
                    password=access.password,
                    user_credentials=None if text is None else RawCredentials(text),
                    tls=access.tls,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=cast(int, _AGAIN_S),
                    connect_timeout=1,
                    ping_interval=1,
                    max_outstanding_pings=2,
                    pending_size=_PENDING_BYTES,
                    error_cb=self._meet,
                )
        except (*_FAILED, ValueError) as error:  # the last one of a line without an end
            await self._meet(error)
        except BaseException:
            _cut(client)
            raise
        else:
            return client
        _cut(client)
        return None

    async def _meet(self, error: Exception) -> None:
        self.met.append(error)
        del self.met[:-_REMEMBERED]


class NatsLink:
    """A `Link`."""

    def __init__(self, client: Client, making: _Making) -> None:
        self._client = client
        self._making = making
        self._listening: list[_Listening] = []
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """See the seam."""
        client = self._connected()
        try:
            async with asyncio.timeout(timeout_s + 0.1):  # writing may wait too
                answer = await client.request(
                    subject,
                    data,
                    timeout=timeout_s,
                    headers=None if headers is None else dict(headers),
                )
        except _FAILED as error:
            raise Silence(str(error)) from error
        return Answer(answer.data, answer.headers or {})

    async def gather(self, subject: str, data: bytes, *, timeout_s: float) -> list[Answer]:
        """See the seam."""
        client = self._connected()
        found: list[Answer] = []
        subscription: Subscription | None = None
        try:
            inbox = client.new_inbox()
            subscription = await client.subscribe(inbox)
            await client.publish(subject, data, reply=inbox)
            while True:
                answer = await subscription.next_msg(timeout=timeout_s)
                headers = answer.headers or {}
                status = headers.get("Status")
                if status == _ALONE:
                    raise Silence("nobody answers")
                found.append(Answer(answer.data, headers))
                if status is not None:
                    return found
        except _FAILED as error:
            raise Silence(str(error)) from error
        finally:
            if subscription is not None:
                await _end(subscription)

    async def listen(self, subject: str, heard: Heard) -> Stop:
        """See the seam."""
        listening = _Listening(subject, heard)
        client = self._connected()
        try:
            await listening.begin(client)
            await client.flush(timeout=1)
        except _FAILED as error:
            raise Silence(str(error)) from error
        self._listening.append(listening)

        async def stop() -> None:
            if listening in self._listening:
                self._listening.remove(listening)
            await listening.end()

        return stop

    @property
    def server(self) -> str | None:
        """The server that it is connected to now, without a password; None: it is to none."""
        url = self._client.connected_url
        return None if url is None else f"{url.hostname}:{url.port}"

    @property
    def access(self) -> Access:
        """How servers let the next connection in."""
        return self._making.access

    def use(self, access: Access) -> None:
        """From now on. The connection that there is goes on."""
        self._making.access = access

    async def close(self) -> None:
        """End the connection. Raises nothing, also when the servers are gone."""
        self._keeping.cancel()
        await asyncio.wait([self._keeping])
        await _close(self._client)

    def _connected(self) -> Client:
        if not self._client.is_connected:
            raise Silence("there is no connection now")
        return self._client

    async def _keep(self) -> None:
        """Make another connection whenever this one is lost."""
        while True:
            await asyncio.sleep(_AGAIN_S)
            if self._client.is_connected:
                continue
            _cut(self._client)
            await _close(self._client)
            self._client = await self._making.one()
            with suppress(*_FAILED):  # lost again
                for listening in self._listening:
                    await listening.begin(self._client)


class _Listening:
    """To a subject, over one connection after the other."""

    def __init__(self, subject: str, heard: Heard) -> None:
        self._subject = subject
        self._heard = heard
        self._subscription: Subscription | None = None

    async def begin(self, client: Client) -> None:
        """Over this one."""
        self._subscription = await client.subscribe(self._subject, cb=self._hear)

    async def _hear(self, message: Msg) -> None:
        self._heard(message.subject, message.data)

    async def end(self) -> None:
        """Listen no more."""
        if self._subscription is not None:
            await _end(self._subscription)


async def _end(subscription: Subscription) -> None:
    with suppress(*_FAILED, ValueError):
        await subscription.unsubscribe()  # else it ended with the connection


async def _close(client: Client) -> None:
    """In the orderly way, if the server takes part."""
    with suppress(*_FAILED):
        async with asyncio.timeout(_CLOSE_S):
            await client.close()
    _cut(client)


def _cut(client: Client) -> None:
    """End its connection at once: nothing that the client offers does that without waiting."""
    writer = getattr(client._transport, "_io_writer", None)
    if writer is not None:
        writer.transport.abort()

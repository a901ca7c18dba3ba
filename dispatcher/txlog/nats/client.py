"""The connection to NATS, with nats-py (the extra `cluster`): the only module that imports it.

One connection serves all logs of a process. It comes back by itself, for ever; what is asked while
it is gone is silence at once: the client would keep it and send it later, many times over, since
whoever asks asks again.
"""

from __future__ import annotations

import asyncio
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
_RECONNECT_S: Final = 0.1
"""Between tries of one server; the client sleeps for it, whatever its annotation says."""
_REMEMBERED: Final = 32
"""Errors of a connection that is being made."""
_REFUSED: Final = "Authorization Violation"
"""What a server says that lets nobody in with this name; the client has no error of its own for
it while it connects."""
_ALONE: Final = "503"
"""The status of an answer that says that nobody listens."""


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
    client = Client()
    access = access or Access()
    text = access.credentials
    credentials = None if text is None else RawCredentials(text)
    met: list[Exception] = []  # the client tries for ever

    async def meet(error: Exception) -> None:
        met.append(error)
        del met[:-_REMEMBERED]

    try:
        async with asyncio.timeout(timeout_s):
            await client.connect(
                servers=list(servers),
                name=name,
                user=access.user,
                password=access.password,
                user_credentials=credentials,
                tls=access.tls,
                dont_randomize=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=cast(int, _RECONNECT_S),
                connect_timeout=1,
                ping_interval=1,
                max_outstanding_pings=2,
                pending_size=_PENDING_BYTES,
                error_cb=meet,
            )
    except (Error, OSError, TimeoutError) as error:
        await _close(client)
        where = ", ".join(servers)
        if any(_REFUSED in str(one) for one in met):
            # Said with the last word of a connection, or lost with it: one of them is enough.
            raise ConfigError(f"the NATS servers at {where} do not let this user in") from error
        last = met[-1] if met else error
        raise Silence(f"no NATS server answers at {where}: {last}") from error
    return NatsLink(client)


class NatsLink:
    """A `Link`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """See the seam."""
        self._check()
        try:
            async with asyncio.timeout(timeout_s + 0.1):  # writing may wait too
                answer = await self._client.request(
                    subject,
                    data,
                    timeout=timeout_s,
                    headers=None if headers is None else dict(headers),
                )
        except (Error, OSError, TimeoutError) as error:
            raise Silence(str(error)) from error
        return Answer(answer.data, answer.headers or {})

    async def gather(self, subject: str, data: bytes, *, timeout_s: float) -> list[Answer]:
        """See the seam."""
        self._check()
        found: list[Answer] = []
        subscription: Subscription | None = None
        try:
            inbox = self._client.new_inbox()
            subscription = await self._client.subscribe(inbox)
            await self._client.publish(subject, data, reply=inbox)
            while True:
                answer = await subscription.next_msg(timeout=timeout_s)
                headers = answer.headers or {}
                status = headers.get("Status")
                if status == _ALONE:
                    raise Silence("nobody answers")
                found.append(Answer(answer.data, headers))
                if status is not None:
                    return found
        except (Error, OSError, TimeoutError) as error:
            raise Silence(str(error)) from error
        finally:
            if subscription is not None:
                await _end(subscription)

    async def listen(self, subject: str, heard: Heard) -> Stop:
        """See the seam."""
        self._check()

        async def pass_on(message: Msg) -> None:
            heard(message.subject, message.data)

        try:
            subscription = await self._client.subscribe(subject, cb=pass_on)
            await self._client.flush(timeout=1)
        except (Error, OSError, TimeoutError) as error:
            raise Silence(str(error)) from error

        async def stop() -> None:
            await _end(subscription)

        return stop

    @property
    def server(self) -> str | None:
        """The server that it is connected to now, without a password; None: it is to none."""
        url = self._client.connected_url
        return None if url is None else f"{url.hostname}:{url.port}"

    async def close(self) -> None:
        """End the connection. Raises nothing, also when the servers are gone."""
        await _close(self._client)

    def _check(self) -> None:
        if not self._client.is_connected:
            raise Silence("there is no connection now")


async def _end(subscription: Subscription) -> None:
    with suppress(Error, OSError, TimeoutError, ValueError):
        await subscription.unsubscribe()  # else it ended with the connection


async def _close(client: Client) -> None:
    with suppress(Error, OSError, TimeoutError):
        await client.close()

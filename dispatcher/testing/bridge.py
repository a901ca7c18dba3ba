"""A client of the bridge, as the Dispatch command line is one: it fetches requests of a session,
passes each to an application at once, and sends back what that answered.

    python -m dispatcher.testing.bridge http://API KEY SESSION HOST:PORT

as a process, writes a line of JSON for each request when it has fetched it: `function`, `id` and
`parent` of the call, and the `attempt`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp

from dispatcher.protocol.messages import RunRequest

_TIMEOUT_S = 30.0
_PAUSE_S = 0.2
_HOST = re.compile(rb"\r\nHost: [^\r]*\r\n")
_ATTEMPT = re.compile(rb"\r\nX-Dispatcher-Attempt: ([0-9]+)\r\n")


class Taken:
    """A request that was fetched; `data` is all of it."""

    def __init__(self, id_: str, data: bytes) -> None:
        self.id = id_
        self.data = data
        self.head, _, body = data.partition(b"\r\n\r\n")
        self.run = RunRequest.FromString(body)

    @property
    def attempt(self) -> int:
        """The number of the attempt."""
        found = _ATTEMPT.search(self.head + b"\r\n")
        assert found is not None
        return int(found[1])


Forward = Callable[[Taken], Awaitable[bytes]]
"""Returns the bytes of a response.

Raises:
    OSError: the application does not answer.
"""


class BridgeClient:
    """One client. `taken` are the requests that it fetched, in order; `posted` what its answers
    were answered with."""

    def __init__(self, api: str, key: str, session: str, forward: Forward) -> None:
        self.taken: list[Taken] = []
        self.posted: list[int] = []
        self._url = f"{api}/sessions/{session}"
        self._headers = {"Authorization": f"Bearer {key}"}
        self._forward = forward

    async def run(self) -> None:
        """Poll until cancelled. What was fetched and not answered then never will be."""
        timeout = aiohttp.ClientTimeout(_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(headers=self._headers, timeout=timeout) as http,
            asyncio.TaskGroup() as tasks,
        ):
            while True:
                try:
                    taken = await self.poll(http)
                except aiohttp.ClientError:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                if taken is not None:
                    tasks.create_task(self._pass_on(http, taken))

    async def poll(self, http: aiohttp.ClientSession) -> Taken | None:
        """Ask once; None: there is nothing to do."""
        async with http.get(self._url, headers={"Request-Timeout": "30"}) as answer:
            if answer.status == 504:
                return None
            answer.raise_for_status()
            taken = Taken(answer.headers["X-Request-Id"], await answer.read())
        self.taken.append(taken)
        return taken

    async def _pass_on(self, http: aiohttp.ClientSession, taken: Taken) -> None:
        named = {"X-Request-ID": taken.id}
        try:
            response = await asyncio.wait_for(self._forward(taken), _TIMEOUT_S)
            if not response:
                raise ConnectionError("no answer")
        except OSError:
            method, body = http.delete, None
        else:
            method, body = http.post, _chunked(response)
        try:
            async with method(self._url, headers=named, data=body) as answer:
                self.posted.append(answer.status)
        except aiohttp.ClientError:
            return  # the server is gone: it asks again when it is back


async def _chunked(response: bytes) -> AsyncIterator[bytes]:
    """Without a length, as it would come from a connection."""
    for begin in range(0, len(response), 32_768):
        yield response[begin : begin + 32_768]


def to(address: str) -> Forward:
    """Pass requests on to `host:port`."""
    host, _, port = address.rpartition(":")

    async def forward(taken: Taken) -> bytes:
        line = b"\r\nHost: %b\r\nConnection: close\r\n" % address.encode()
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(_HOST.sub(line, taken.data, count=1))
            return await reader.read()
        finally:
            writer.close()

    return forward


def _told(forward: Forward) -> Forward:
    async def tell(taken: Taken) -> bytes:
        run = taken.run
        line = {
            "function": run.function,
            "id": run.dispatch_id,
            "parent": run.parent_dispatch_id,
            "attempt": taken.attempt,
        }
        print(json.dumps(line), flush=True)
        return await forward(taken)

    return tell


if __name__ == "__main__":
    _, _api, _key, _session, _address = sys.argv
    asyncio.run(BridgeClient(_api, _key, _session, _told(to(_address))).run())

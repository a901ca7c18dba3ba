"""`Client`: the server, as asynchronous code asks it."""

from __future__ import annotations

import asyncio
from typing import Any, Self, TypeVar, overload

from dispatcher.sdk.client.batch import Batch
from dispatcher.sdk.client.caller import Calling
from dispatcher.sdk.client.exchange import Came, Conversation, Send
from dispatcher.sdk.client.handle import Handle
from dispatcher.sdk.client.information import CallInfo, CallPage
from dispatcher.sdk.client.outcome import Named, returned
from dispatcher.sdk.client.replayed import refuse_replayed
from dispatcher.sdk.client.server import Server
from dispatcher.sdk.client.sessions import Sessions
from dispatcher.sdk.client.settings import PATIENCE_S, asking, common_headers
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.ports import Caller

T = TypeVar("T")


class Client:
    """Makes calls, waits for their results and ends them, through one server.

    ```python
    async with Client() as client:
        (handle,) = await client.dispatch(greet.build_call("Ada"))
        print(await handle.result(timeout=10))
    ```

    It may be kept for as long as the process lives, and used in any number of event loops, one
    after the other or at once. What is safe to repeat is repeated while the server is away, for
    `timeout` seconds; a dispatch always is.
    """

    def __init__(
        self,
        *,
        api_url: str | None = None,
        api_key: str | None = None,
        endpoint_url: str | None = None,
        timeout: float = PATIENCE_S,
        server: Server | None = None,
    ) -> None:
        """What is None is DISPATCH_API_URL, DISPATCH_API_KEY and DISPATCH_ENDPOINT_URL.

        Args:
            api_url: where the server's API is.
            api_key: one of its API_KEYS.
            endpoint_url: where calls go that name no endpoint; "" for nowhere.
            timeout: how long one question may take, in seconds, if the server is away.
            server: one that is known already, in place of `api_url` and `api_key`.

        Raises:
            ConfigError: one of them is wrong, or there is no `api_url`.
        """
        server = Server.found(api_url, api_key) if server is None else server
        self._server = server
        self._asking = asking(server, endpoint_url, timeout)
        self._sessions = Sessions(server, common_headers(server))
        self._caller: Caller = Calling(self._asking, self._hold, self._handle)

    def __repr__(self) -> str:
        return f"<Client of {self._server.url}>"

    async def dispatch(self, *calls: BuiltCall[T], key: str | None = None) -> list[Handle[T]]:
        """Make calls, all or none, and return their handles once they are on the server's disk.

        The same `key` with the same calls makes no others, and answers with the same ids, for as
        long as the server keeps results. Without one, this dispatch has a key of its own.

        Raises:
            CallsRefused: they can't be sent as they are.
            ClientError: the server did not take them; Unreachable: nobody knows whether it did.
        """
        ids = await self._caller.dispatch(calls, key=key)
        return [self._handle(id, call.returns) for id, call in zip(ids, calls, strict=True)]

    @overload
    async def result(
        self,
        call_id: str,
        *,
        returns: type[T],
        timeout: float | None = None,  # noqa: ASYNC109 - the server waits
    ) -> T: ...
    @overload
    async def result(
        self,
        call_id: str,
        *,
        returns: object = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the server waits
    ) -> Any: ...
    async def result(
        self,
        call_id: str,
        *,
        returns: object = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the server waits
    ) -> Any:
        """Wait for what a call returns, for `timeout` seconds, None: as long as it takes.

        `returns` is the type hint that the value is read by.

        Raises:
            NotEnded: it is not there in time (a TimeoutError); the call goes on.
            CallUnknown, ResultGone: there is none.
            BaseException: what the function raised.
        """
        return returned(await self._hold(self._asking.result(call_id, timeout)), returns)

    async def info(self, call_id: str) -> CallInfo:
        """Return how a call stands. Raises CallUnknown."""
        return await self._hold(self._asking.info(call_id))

    async def calls(
        self,
        *,
        state: str | None = None,
        function: str | None = None,
        endpoint: str | None = None,
        roots: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> CallPage:
        """Return the calls that match all that is said, the newest first; `roots` leaves out those
        that others have made. `limit` is 1 to 1000."""
        return await self._hold(
            self._asking.calls(
                state=state,
                function=function,
                endpoint=endpoint,
                roots=roots,
                limit=limit,
                cursor=cursor,
            )
        )

    async def cancel(self, call_id: str, *, kill: bool = False) -> None:
        """Ask a call to end, with all that it called: it may clean up. With `kill` nothing of it
        runs any more. One that has ended stays as it is. Raises CallUnknown."""
        await self._hold(self._asking.cancel(call_id, kill=kill))

    async def resolve(
        self, promise: str | Named, value: object = None, *, application: str | None = None
    ) -> None:
        """Complete a promise with a value, whether anybody waits for it yet or not.

        `application` says whose it is, for keys that are no application's.

        Raises:
            AlreadyCompleted: it has a result, which counts.
        """
        await self._hold(self._asking.resolve(promise, value, application))

    async def reject(
        self,
        promise: str | Named,
        error: BaseException | str,
        *,
        application: str | None = None,
    ) -> None:
        """Complete a promise with an error, which is raised where it is awaited. See `resolve`."""
        await self._hold(self._asking.reject(promise, error, application))

    async def send(
        self, channel: str | Named, value: object = None, *, application: str | None = None
    ) -> None:
        """Send a value to a channel: whoever waits there first gets it. It is never sent twice, so
        after Unreachable nobody knows whether it was."""
        await self._hold(self._asking.send(channel, value, application))

    @overload
    def handle(self, call_id: str, *, returns: type[T]) -> Handle[T]: ...
    @overload
    def handle(self, call_id: str, *, returns: object = None) -> Handle[Any]: ...
    def handle(self, call_id: str, *, returns: object = None) -> Handle[Any]:
        """Return the handle of a call by its id; `returns` is the type hint of its result."""
        return self._handle(call_id, returns)

    def batch(self) -> Batch:
        """Return an empty batch."""
        return Batch(self._caller)

    @property
    def caller(self) -> Caller:
        """This client, as functions use it."""
        return self._caller

    async def close(self) -> None:
        """End the connections of the event loop that runs. Idempotent; it may be used again."""
        await self._sessions.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _handle(self, call_id: str, returns: object) -> Handle[Any]:
        return Handle(self, call_id, returns)

    async def _hold(self, conversation: Conversation[T], /) -> T:
        refuse_replayed("A client", "`await dispatch.step(…)` with a function that asks")
        came: Came = None
        while True:
            try:
                step = conversation.send(came)
            except StopIteration as end:
                value: T = end.value
                return value
            if isinstance(step, Send):
                came = await self._sessions.exchange(step.request, step.within_s)
            else:
                await asyncio.sleep(step.seconds)
                came = None

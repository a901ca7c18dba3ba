"""`SyncClient`: the server, as code without an event loop asks it."""

from __future__ import annotations

import time
from typing import Any, Self, TypeVar, overload

from dispatcher.sdk.client.batch import SyncBatch
from dispatcher.sdk.client.caller import Calling
from dispatcher.sdk.client.connections import Connections
from dispatcher.sdk.client.exchange import Came, Conversation, Send
from dispatcher.sdk.client.handle import SyncHandle
from dispatcher.sdk.client.information import CallInfo, CallPage
from dispatcher.sdk.client.outcome import Named, returned
from dispatcher.sdk.client.replayed import refuse_replayed
from dispatcher.sdk.client.server import Server
from dispatcher.sdk.client.settings import PATIENCE_S, asking, common_headers
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.ports import SyncCaller

T = TypeVar("T")


class SyncClient:
    """`Client` for code that is not async: its methods block. Threads may share one.

    ```python
    with SyncClient() as client:
        (handle,) = client.dispatch(greet.build_call("Ada"))
        print(handle.result(timeout=10))
    ```
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
        """See `Client`."""
        server = Server.found(api_url, api_key) if server is None else server
        self._server = server
        self._asking = asking(server, endpoint_url, timeout)
        self._connections = Connections(server, common_headers(server))
        self._caller: SyncCaller = Calling(self._asking, self._hold, self._handle)

    def __repr__(self) -> str:
        return f"<SyncClient of {self._server.url}>"

    def dispatch(self, *calls: BuiltCall[T], key: str | None = None) -> list[SyncHandle[T]]:
        """See `Client`."""
        ids = self._caller.dispatch(calls, key=key)
        return [self._handle(id, call.returns) for id, call in zip(ids, calls, strict=True)]

    @overload
    def result(self, call_id: str, *, returns: type[T], timeout: float | None = None) -> T: ...
    @overload
    def result(
        self, call_id: str, *, returns: object = None, timeout: float | None = None
    ) -> Any: ...
    def result(self, call_id: str, *, returns: object = None, timeout: float | None = None) -> Any:
        """See `Client`."""
        return returned(self._hold(self._asking.result(call_id, timeout)), returns)

    def info(self, call_id: str) -> CallInfo:
        """See `Client`."""
        return self._hold(self._asking.info(call_id))

    def calls(
        self,
        *,
        state: str | None = None,
        function: str | None = None,
        endpoint: str | None = None,
        roots: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> CallPage:
        """See `Client`."""
        return self._hold(
            self._asking.calls(
                state=state,
                function=function,
                endpoint=endpoint,
                roots=roots,
                limit=limit,
                cursor=cursor,
            )
        )

    def cancel(self, call_id: str, *, kill: bool = False) -> None:
        """See `Client`."""
        self._hold(self._asking.cancel(call_id, kill=kill))

    def resolve(
        self, promise: str | Named, value: object = None, *, application: str | None = None
    ) -> None:
        """See `Client`."""
        self._hold(self._asking.resolve(promise, value, application))

    def reject(
        self,
        promise: str | Named,
        error: BaseException | str,
        *,
        application: str | None = None,
    ) -> None:
        """See `Client`."""
        self._hold(self._asking.reject(promise, error, application))

    def send(
        self, channel: str | Named, value: object = None, *, application: str | None = None
    ) -> None:
        """See `Client`."""
        self._hold(self._asking.send(channel, value, application))

    @overload
    def handle(self, call_id: str, *, returns: type[T]) -> SyncHandle[T]: ...
    @overload
    def handle(self, call_id: str, *, returns: object = None) -> SyncHandle[Any]: ...
    def handle(self, call_id: str, *, returns: object = None) -> SyncHandle[Any]:
        """See `Client`."""
        return self._handle(call_id, returns)

    def batch(self) -> SyncBatch:
        """Return an empty batch."""
        return SyncBatch(self._caller)

    @property
    def caller(self) -> SyncCaller:
        """This client, as functions use it."""
        return self._caller

    def close(self) -> None:
        """End its connections. Idempotent; it may be used again."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _handle(self, call_id: str, returns: object) -> SyncHandle[Any]:
        return SyncHandle(self, call_id, returns)

    def _hold(self, conversation: Conversation[T], /) -> T:
        refuse_replayed("A client", "`await dispatch.step(…)` with a function that asks")
        came: Came = None
        while True:
            try:
                step = conversation.send(came)
            except StopIteration as end:
                value: T = end.value
                return value
            if isinstance(step, Send):
                came = self._connections.exchange(step.request, step.within_s)
            else:
                time.sleep(step.seconds)
                came = None

"""Calls that were dispatched: to wait for them, look at them and end them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Generic, NoReturn, Protocol, TypeVar, cast

from dispatcher.sdk.client.information import CallInfo
from dispatcher.sdk.client.replayed import refuse_replayed

R_co = TypeVar("R_co", covariant=True)


class _Client(Protocol):
    async def result(
        self,
        call_id: str,
        *,
        returns: object = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the server waits
    ) -> object: ...

    async def info(self, call_id: str) -> CallInfo: ...

    async def cancel(self, call_id: str, *, kill: bool = False) -> None: ...


class _SyncClient(Protocol):
    def result(
        self, call_id: str, *, returns: object = None, timeout: float | None = None
    ) -> object: ...

    def info(self, call_id: str) -> CallInfo: ...

    def cancel(self, call_id: str, *, kill: bool = False) -> None: ...


class Handle(Generic[R_co]):
    """A call that is on the server's disk. Its `id` is enough to find it again, from any process:
    `client.handle(id, returns=...)`."""

    __slots__ = ("_client", "_id", "_returns")

    def __init__(self, client: _Client, call_id: str, returns: object) -> None:
        self._client = client
        self._id = call_id
        self._returns = returns

    def __repr__(self) -> str:
        return f"<Handle {self._id}>"

    def __await__(self) -> Generator[Any, Any, NoReturn]:
        """Say what to write."""
        raise TypeError("a handle is not the result: write `await handle.result()`")

    @property
    def id(self) -> str:
        """The id of the call, the same for as long as the server knows it."""
        return self._id

    async def result(self, timeout: float | None = None) -> R_co:  # noqa: ASYNC109 - the server waits
        """Wait for what the call returns, for `timeout` seconds, None: as long as it takes.

        Raises:
            NotEnded: it is not there in time (a TimeoutError); the call goes on.
            ResultGone: it is no longer kept.
            BaseException: what the function raised.
        """
        refuse_replayed(
            "handle.result()",
            "`await f(…)` in place of its dispatch, or `await dispatch.step(handle.result)`",
        )
        found = await self._client.result(self._id, returns=self._returns, timeout=timeout)
        return cast(R_co, found)

    async def info(self) -> CallInfo:
        """Return how the call stands."""
        refuse_replayed("handle.info()", "`await dispatch.step(…)` with a function that asks")
        return await self._client.info(self._id)

    async def cancel(self, *, kill: bool = False) -> None:
        """Ask the call to end, with all that it called: it may clean up. With `kill` nothing of it
        runs any more. If it has ended it stays as it is."""
        refuse_replayed("handle.cancel()", "`await dispatch.step(handle.cancel)`")
        await self._client.cancel(self._id, kill=kill)


class SyncHandle(Generic[R_co]):
    """`Handle` for code that is not async: its methods block."""

    __slots__ = ("_client", "_id", "_returns")

    def __init__(self, client: _SyncClient, call_id: str, returns: object) -> None:
        self._client = client
        self._id = call_id
        self._returns = returns

    def __repr__(self) -> str:
        return f"<SyncHandle {self._id}>"

    @property
    def id(self) -> str:
        """See `Handle`."""
        return self._id

    def result(self, timeout: float | None = None) -> R_co:
        """See `Handle`."""
        return cast(R_co, self._client.result(self._id, returns=self._returns, timeout=timeout))

    def info(self) -> CallInfo:
        """See `Handle`."""
        return self._client.info(self._id)

    def cancel(self, *, kill: bool = False) -> None:
        """See `Handle`."""
        self._client.cancel(self._id, kill=kill)

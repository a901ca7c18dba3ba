"""Both clients as functions use them (`functions.ports`)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from dispatcher.sdk.client.asking import Asking
from dispatcher.sdk.client.exchange import Conversation
from dispatcher.sdk.client.settings import key_of
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.ports import Handle, SyncHandle
from dispatcher.sdk.replay.model import Result

T = TypeVar("T")


class Holds(Protocol):
    """Holds a conversation."""

    def __call__(self, conversation: Conversation[T], /) -> Coroutine[Any, Any, T]: ...


class SyncHolds(Protocol):
    """Holds a conversation, and blocks."""

    def __call__(self, conversation: Conversation[T], /) -> T: ...


class Calling:
    """Implements `Caller`."""

    def __init__(
        self, asking: Asking, hold: Holds, handle: Callable[[str, object], Handle[Any]]
    ) -> None:
        self._asking = asking
        self._hold = hold
        self._handle = handle

    async def dispatch(
        self, calls: Sequence[BuiltCall[Any]], *, key: str | None = None
    ) -> list[str]:
        """See `Caller`."""
        if not calls:
            return []
        return await self._hold(self._asking.dispatch(calls, key_of(calls, key)))

    async def wait(self, dispatch_id: str, *, timeout_s: float | None = None) -> Result:
        """See `Caller`."""
        return await self._hold(self._asking.result(dispatch_id, timeout_s))

    async def complete(self, endpoint: str, result: Result, *, is_again: bool = False) -> None:
        """See `Caller`."""
        asking = self._asking
        complete = asking.complete_again if is_again else asking.complete
        await self._hold(complete(endpoint, result))

    def handle(self, dispatch_id: str, returns: object) -> Handle[Any]:
        """See `Caller`."""
        return self._handle(dispatch_id, returns)


class SyncCalling:
    """Implements `SyncCaller`."""

    def __init__(
        self, asking: Asking, hold: SyncHolds, handle: Callable[[str, object], SyncHandle[Any]]
    ) -> None:
        self._asking = asking
        self._hold = hold
        self._handle = handle

    def dispatch(self, calls: Sequence[BuiltCall[Any]], *, key: str | None = None) -> list[str]:
        """See `SyncCaller`."""
        if not calls:
            return []
        return self._hold(self._asking.dispatch(calls, key_of(calls, key)))

    def wait(self, dispatch_id: str, *, timeout_s: float | None = None) -> Result:
        """See `SyncCaller`."""
        return self._hold(self._asking.result(dispatch_id, timeout_s))

    def complete(self, endpoint: str, result: Result) -> None:
        """See `SyncCaller`."""
        self._hold(self._asking.complete(endpoint, result))

    def handle(self, dispatch_id: str, returns: object) -> SyncHandle[Any]:
        """See `SyncCaller`."""
        return self._handle(dispatch_id, returns)

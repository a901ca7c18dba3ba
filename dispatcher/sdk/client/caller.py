"""A client as functions use it (`functions.ports`): one implementation with two faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dispatcher.sdk.client.asking import Asking
from dispatcher.sdk.client.exchange import Conversation
from dispatcher.sdk.client.settings import key_of
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.replay.model import Result


class Calling:
    """Implements `Caller` and `SyncCaller`; clients give it out as the one that it is for them.

    `hold` holds a conversation, and makes it one or the other: with that of `Client` the methods
    return what is to be awaited, with that of `SyncClient` they block, and return the answer.
    """

    def __init__(
        self,
        asking: Asking,
        hold: Callable[[Conversation[Any]], Any],
        handle: Callable[[str, object], Any],
    ) -> None:
        self._asking = asking
        self._hold = hold
        self._handle = handle

    def dispatch(self, calls: Sequence[BuiltCall[Any]], *, key: str | None = None) -> Any:
        """See `Caller`."""
        return self._hold(self._asking.dispatch(calls, key_of(calls, key)))

    def wait(self, dispatch_id: str, *, timeout_s: float | None = None) -> Any:
        """See `Caller`."""
        return self._hold(self._asking.result(dispatch_id, timeout_s))

    def complete(self, endpoint: str, result: Result, *, is_again: bool = False) -> Any:
        """See `Caller`."""
        asking = self._asking
        complete = asking.complete_again if is_again else asking.complete
        return self._hold(complete(endpoint, result))

    def handle(self, dispatch_id: str, returns: object) -> Any:
        """See `Caller`."""
        return self._handle(dispatch_id, returns)

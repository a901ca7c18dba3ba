"""Calls that are dispatched together: all of them, or none."""

from __future__ import annotations

from typing import Any, Protocol, Self

from dispatcher.sdk.client.errors import CallsRefused
from dispatcher.sdk.client.settings import key_of
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.ports import Caller, Handle, SyncCaller, SyncHandle


class Buildable(Protocol):
    """A function, as a batch sees it."""

    def build_call(self, /, *args: Any, **kwargs: Any) -> BuiltCall[Any]: ...


class _Collected:
    """What both batches are: calls that are collected. Their key stays the same until all of them
    were dispatched: who tries again after an error makes no call twice."""

    def __init__(self) -> None:
        self._calls: list[BuiltCall[Any]] = []
        self._key: str | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} calls>"

    def add(self, function: Buildable, /, *args: Any, **kwargs: Any) -> Self:
        """Add a call of a function with these arguments; returns the batch."""
        return self.add_call(function.build_call(*args, **kwargs))

    def add_call(self, call: BuiltCall[Any]) -> Self:
        """Add a call that was built; returns the batch."""
        if not isinstance(call, BuiltCall):
            raise CallsRefused(
                f"add_call takes what f.build_call(...) gives, not {type(call).__name__}: "
                "write add(f, ...), or add_call(f.build_call(...))."
            )
        self._calls.append(call)
        self._key = None
        return self

    def clear(self) -> None:
        """Forget all calls."""
        self._calls = []
        self._key = None

    def _key_or(self, key: str | None) -> str:
        if self._key is None or key is not None:
            self._key = key_of(self._calls, key)
        return self._key

    def _dispatch_by(self, caller: SyncCaller, key: str | None) -> list[SyncHandle[Any]]:
        calls = self._calls
        ids = caller.dispatch(calls, key=self._key_or(key))
        self.clear()
        return [caller.handle(id, call.returns) for id, call in zip(ids, calls, strict=True)]


class Batch(_Collected):
    """Collects calls for one dispatch: 1 000 calls and 16 MB at most.

    ```python
    handles = await app.batch().add(greet, "Ada").add(greet, "Alan").dispatch()
    ```
    """

    def __init__(self, caller: Caller, sync_caller: SyncCaller | None = None) -> None:
        super().__init__()
        self._caller = caller
        self._sync_caller = sync_caller

    async def dispatch(self, *, key: str | None = None) -> list[Handle[Any]]:
        """Make all calls, or none; returns their handles, in order, and the batch is empty. After
        an error it is as it was: another try makes no call twice.

        Raises: as `Client.dispatch`.
        """
        calls = self._calls
        ids = await self._caller.dispatch(calls, key=self._key_or(key))
        self.clear()
        return [self._caller.handle(id, call.returns) for id, call in zip(ids, calls, strict=True)]

    def dispatch_sync(self, *, key: str | None = None) -> list[SyncHandle[Any]]:
        """`dispatch`, for code that is not async."""
        if self._sync_caller is None:
            raise CallsRefused(
                "This batch is of a Client: write `await batch.dispatch()`, or take a SyncClient."
            )
        return self._dispatch_by(self._sync_caller, key)


class SyncBatch(_Collected):
    """`Batch` for code that is not async."""

    def __init__(self, caller: SyncCaller) -> None:
        super().__init__()
        self._caller = caller

    def dispatch(self, *, key: str | None = None) -> list[SyncHandle[Any]]:
        """See `Batch`."""
        return self._dispatch_by(self._caller, key)

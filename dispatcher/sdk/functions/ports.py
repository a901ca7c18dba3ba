"""What functions need of the rest of the SDK: who makes calls from outside, and who runs a body.

The client implements `Caller`, `SyncCaller` and the handles; `Dispatch` is an `App`; who runs plain
functions implements `Net`. Nothing here imports them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Protocol, TypeVar

from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.replay.model import Operation, Result

R_co = TypeVar("R_co", covariant=True)


class Handle(Protocol[R_co]):
    """A call that was dispatched. `R_co` is the type of its result."""

    @property
    def id(self) -> str:
        """The id of the call, enough to find it again from any process."""
        ...

    async def result(self, timeout: float | None = None) -> R_co:  # noqa: ASYNC109 - the server waits
        """Wait for the result. `timeout` in seconds, None: as long as it takes.

        Raises:
            TimeoutError: it is not there yet; the call goes on.
            BaseException: what the function raised, in its own class where that is imported.
        """
        ...

    async def info(self) -> Any:
        """Return how the call stands, a `CallInfo`."""
        ...

    async def cancel(self, *, kill: bool = False) -> None:
        """Ask the call to end, with all that it called: it may clean up. With `kill` nothing of it
        runs any more."""
        ...


class SyncHandle(Protocol[R_co]):
    """`Handle` for code that is not async: its methods block."""

    @property
    def id(self) -> str:
        """The id of the call, enough to find it again from any process."""
        ...

    def result(self, timeout: float | None = None) -> R_co:
        """Wait for the result, as `Handle.result`."""
        ...

    def info(self) -> Any:
        """Return how the call stands, a `CallInfo`."""
        ...

    def cancel(self, *, kill: bool = False) -> None:
        """Ask the call to end, as `Handle.cancel`."""
        ...


class Caller(Protocol):
    """Makes calls from outside of functions. A call without an endpoint goes to the application's
    own; a `key` makes the whole batch idempotent."""

    async def dispatch(
        self, calls: Sequence[BuiltCall[Any]], *, key: str | None = None
    ) -> list[str]:
        """Return the ids of the calls, in their order, once all of them are on the server's disk:
        after an error none of them is."""
        ...

    async def wait(self, dispatch_id: str, *, timeout_s: float | None = None) -> Result:
        """Return the result of a call. Raises `TimeoutError` where it is not there in time."""
        ...

    async def complete(self, endpoint: str, result: Result, *, is_again: bool = False) -> None:
        """Give a result to `promise:NAME` or `channel:NAME`. `is_again`: perhaps it was given
        before, and who gave it does not know: a promise that has the same result is completed."""
        ...

    def handle(self, dispatch_id: str, returns: object) -> Handle[Any]:
        """Return the handle of a call; `returns` is the type hint of its result."""
        ...


class SyncCaller(Protocol):
    """`Caller` for code that is not async."""

    def dispatch(self, calls: Sequence[BuiltCall[Any]], *, key: str | None = None) -> list[str]: ...

    def wait(self, dispatch_id: str, *, timeout_s: float | None = None) -> Result: ...

    def complete(self, endpoint: str, result: Result) -> None: ...

    def handle(self, dispatch_id: str, returns: object) -> SyncHandle[Any]: ...


class App(Protocol):
    """An application, as its functions see it. Both callers are made when they are first used."""

    @property
    def caller(self) -> Caller: ...

    @property
    def sync_caller(self) -> SyncCaller: ...


class Net(Protocol):
    """Who runs a body that was judged plain, and is told of durable operations in it."""

    def met(self, operation: Operation) -> Generator[Any, Any, Result]:
        """What `await` of `operation` does there: it yields for ever to be dropped (the body is
        run anew as a durable one), or raises the error that says what to write instead."""
        ...

"""Calls from outside, made in an environment: from the test, from plain functions and steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dispatcher.protocol.messages import Call, DispatchRequest
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.client.calls import dispatched
from dispatcher.sdk.client.errors import AlreadyCompleted, CallUnknown, NotEnded
from dispatcher.sdk.client.handle import Handle, SyncHandle
from dispatcher.sdk.client.information import CallInfo
from dispatcher.sdk.client.outcome import returned
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.instants import instant
from dispatcher.sdk.replay.model import Result
from dispatcher.sdk.testing.calls import Record
from dispatcher.sdk.testing.driver import Driver
from dispatcher.sdk.testing.running import OWN
from dispatcher.sdk.testing.world import World
from dispatcher.sdk.wire import call_result_of, result_of


class Calling:
    """Implements `ports.Caller`, and what handles need of a client."""

    def __init__(self, driver: Driver, world: World) -> None:
        self._driver = driver
        self._world = world

    async def dispatch(
        self, calls: Sequence[BuiltCall[Any]], *, key: str | None = None
    ) -> list[str]:
        """Make calls. The same key again makes none."""
        return self._driver.server.dispatch(messages(calls), key=key)

    async def wait(self, dispatch_id: str, *, timeout_s: float | None = None) -> Result:
        """Run until a call has ended; after `timeout_s` raise NotEnded."""
        return await self._world.within(self._wait(dispatch_id, timeout_s))

    async def complete(self, endpoint: str, result: Result, *, is_again: bool = False) -> None:
        """Give a result to a promise or a channel."""
        if not (is_again and self._driver.server.given.has(endpoint, call_result_of(result))):
            complete(self._driver, endpoint, result)

    def handle(self, dispatch_id: str, returns: object) -> Handle[Any]:
        """Return the handle of a call."""
        return Handle(self, dispatch_id, returns)

    async def result(
        self,
        call_id: str,
        *,
        returns: object = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as the client has it
    ) -> object:
        """What a call returned, or raised."""
        return returned(await self.wait(call_id, timeout_s=timeout), returns)

    async def info(self, call_id: str) -> CallInfo:
        """How a call stands."""
        return info(found(self._driver, call_id))

    async def cancel(self, call_id: str, *, kill: bool = False) -> None:
        """Ask a call to end."""
        self._driver.server.cancel(found(self._driver, call_id), kill=kill)

    async def _wait(self, call_id: str, timeout_s: float | None) -> Result:
        call = found(self._driver, call_id)
        until_us = None
        if timeout_s is not None:
            until_us = self._driver.server.now_us + round(timeout_s * 1_000_000)
        await self._driver.finish(call, until_us=until_us)
        if call.result is None:
            raise NotEnded(f"Call {call.id} has not ended in {timeout_s:g} s. It goes on.")
        return result_of(call.result)


class SyncCalling:
    """`Calling` for code that is not async."""

    def __init__(self, calling: Calling, world: World) -> None:
        self._calling = calling
        self._world = world

    def dispatch(self, calls: Sequence[BuiltCall[Any]], *, key: str | None = None) -> list[str]:
        """See `Calling`."""
        return self._world.block(self._calling.dispatch(calls, key=key))

    def wait(self, dispatch_id: str, *, timeout_s: float | None = None) -> Result:
        """See `Calling`."""
        return self._world.block(self._calling.wait(dispatch_id, timeout_s=timeout_s))

    def complete(self, endpoint: str, result: Result) -> None:
        """See `Calling`."""
        self._world.block(self._calling.complete(endpoint, result))

    def handle(self, dispatch_id: str, returns: object) -> SyncHandle[Any]:
        """See `Calling`."""
        return SyncHandle(self, dispatch_id, returns)

    def result(
        self, call_id: str, *, returns: object = None, timeout: float | None = None
    ) -> object:
        """See `Calling`."""
        return returned(self.wait(call_id, timeout_s=timeout), returns)

    def info(self, call_id: str) -> CallInfo:
        """See `Calling`."""
        return self._world.block(self._calling.info(call_id))

    def cancel(self, call_id: str, *, kill: bool = False) -> None:
        """See `Calling`."""
        self._world.block(self._calling.cancel(call_id, kill=kill))


def messages(calls: Sequence[BuiltCall[Any]]) -> Sequence[Call]:
    """Calls as they are dispatched. Raises CallsRefused."""
    return DispatchRequest.FromString(dispatched(calls, OWN)).calls


def complete(driver: Driver, endpoint: str, result: Result) -> None:
    """Give a result to a promise or a channel.

    Raises:
        AlreadyCompleted: the promise has one.
    """
    if not driver.server.complete(endpoint, call_result_of(result)):
        raise AlreadyCompleted(
            f"Promise {endpoint.partition(':')[2]} was completed before, and that counts."
        )


def found(driver: Driver, call_id: str) -> Record:
    """Return a call. Raises CallUnknown."""
    call = driver.server.calls.get(call_id)
    if call is None:
        raise CallUnknown(f"The environment knows no call {call_id[:60]}.", status=Status.NOT_FOUND)
    return call


def info(call: Record) -> CallInfo:
    """How a call stands, as a client is told."""
    return CallInfo(
        id=call.id,
        state=_state(call),
        function=call.function,
        endpoint=call.endpoint or OWN,
        version=call.asked.version,
        application="environment",
        parent_id=call.parent.id if call.parent else None,
        root_id=call.root.id,
        depth=call.depth,
        created_at=instant(call.created_us),
        expires_at=instant(call.expires_us),
        next_run_at=None if call.due_us is None else instant(call.due_us),
        ended_at=None if call.ended_us is None else instant(call.ended_us),
        attempts=call.failures,
        steps=call.attempts,
        restarts=0,
        waits_for=len(call.open),
        results=len(call.arrived),
        last_error=call.status.name.lower() if call.failures else None,
    )


def _state(call: Record) -> str:
    if call.result is not None:
        kind = call.result.error.type if call.result.HasField("error") else ""
        return {"": "succeeded", "Expired": "expired", "Cancelled": "cancelled"}.get(kind, "failed")
    if call.endpoint.startswith(("promise:", "channel:")):
        return "outside"
    if call.wait is not None:
        return "suspended"
    return "ready" if call.due_us is not None else "running"

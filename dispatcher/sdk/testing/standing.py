"""A run that is answered by a test's code, in place of the function."""

from __future__ import annotations

from typing import Any

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.errors import failure_of, retry_after_of
from dispatcher.sdk.functions.served import Served
from dispatcher.sdk.replay.model import Result, Value
from dispatcher.sdk.running.responses import Ending, reply_of
from dispatcher.sdk.testing.calls import Record
from dispatcher.sdk.testing.doubles import Stub, awaited
from dispatcher.sdk.values import FOREIGN, decode, encode
from dispatcher.sdk.wire import value_of


async def stand_in(call: Record, code: Stub, served: Served | None) -> Answer:
    """Return what a run of `code` is answered. `served` is the function that it stands in for, None
    for one of another application: then `code` gets the one value that it is called with."""
    status, retry_after_s = Status.OK, None
    try:
        args, kwargs = _arguments(call, served)
        value = await awaited(code, args, kwargs)
        result: Result = _encoded(value, call, served)
    except Exception as error:  # as a run of the function would end
        status, result = served.failure(error) if served else failure_of(error)
        retry_after_s = retry_after_of(error)
    reply = reply_of(Ending(status, result, retry_after_s))
    return Answer(200, [("Retry-After", str(reply.retry_after_s))], reply.body)


def _arguments(call: Record, served: Served | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    value = value_of(call.input)
    if served is not None:
        bound = served.bind(value)
        return bound.args, bound.kwargs
    return (() if value.type == _EMPTY else (decode(value, None),)), {}


def _encoded(value: object, call: Record, served: Served | None) -> Value:
    if served is not None:
        return served.encode(value)
    return encode(value, FOREIGN, f"the result of the stub of {call.function}")


_EMPTY = "google.protobuf.Empty"

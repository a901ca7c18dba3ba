"""Values, results and calls of the SDK as the protocol's messages, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dispatcher.protocol.messages import Any, Call, CallResult, Duration, Error
from dispatcher.sdk.replay.model import NOTHING, Failure, Operation, Result, Value

if TYPE_CHECKING:
    from dispatcher.protocol.messages import Timestamp

GOOGLE: Final = "type.googleapis.com/"


def any_of(value: Value) -> Any:
    """A value as the protocol has it."""
    url = value.type if "/" in value.type else GOOGLE + value.type
    return Any(type_url=url, value=value.data)


def value_of(packed: Any) -> Value:
    """An `Any` in parts."""
    return Value(packed.type_url.removeprefix(GOOGLE), packed.value)


def error_of(failure: Failure) -> Error:
    """A failure as the protocol has it."""
    return Error(
        type=failure.type,
        message=failure.message,
        value=failure.value,
        traceback=failure.traceback,
    )


def failure_of(error: Error) -> Failure:
    """An error of the protocol in parts."""
    return Failure(error.type, error.message, error.value, error.traceback)


def call_result_of(result: Result) -> CallResult:
    """What became of a call, as the protocol has it."""
    if isinstance(result, Failure):
        return CallResult(error=error_of(result))
    return CallResult(output=any_of(result))


def result_of(result: CallResult) -> Result:
    """What became of a call. Without output and error it returned nothing."""
    if result.HasField("error"):
        return failure_of(result.error)
    return value_of(result.output) if result.HasField("output") else NOTHING


def call_of(operation: Operation, id: int = 0) -> Call:
    """A call as the protocol has it; `id` is its correlation id."""
    options = operation.options
    call = Call(
        correlation_id=id,
        endpoint=operation.endpoint,
        function=operation.function,
        input=any_of(operation.input),
        version=options.version,
    )
    if options.expiration_us is not None:
        call.expiration.CopyFrom(duration_of(options.expiration_us))
    if options.timeout_us is not None:
        call.timeout.CopyFrom(duration_of(options.timeout_us))
    if options.delay_us is not None:
        call.delay.CopyFrom(duration_of(options.delay_us))
    return call


def duration_of(us: int) -> Duration:
    """Microseconds as the protocol has them."""
    seconds, micros = divmod(us, 1_000_000)
    return Duration(seconds=seconds, nanos=micros * 1000)


def instant_us(instant: Timestamp) -> int:
    """An instant of the protocol in microseconds since the epoch."""
    return instant.seconds * 1_000_000 + instant.nanos // 1000

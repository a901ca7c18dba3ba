"""A call that was built and not made yet: what `f.build_call(x)` gives, and clients take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from dispatcher.sdk.replay.model import NO_OPTIONS, CallOptions, Kind, Operation, Value

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class BuiltCall(Generic[R_co]):
    """A call with its arguments encoded, ready to be made any number of times.

    `endpoint` is empty for the caller's own application. `returns` is the type hint that the result
    is decoded by, `site` ("app.py:41") where it was built. `key` makes a dispatch of it alone
    idempotent; in a batch the batch's own key counts.
    """

    function: str
    input: Value
    site: str
    endpoint: str = ""
    options: CallOptions = NO_OPTIONS
    key: str | None = None
    returns: object = None
    is_input_checked: bool = True

    def operation(self) -> Operation:
        """Return it as what a durable body waits for."""
        return Operation(
            Kind.CALL,
            self.function,
            self.site,
            input=self.input,
            endpoint=self.endpoint,
            options=self.options,
            is_input_checked=self.is_input_checked,
        )

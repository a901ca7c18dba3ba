"""Steps: I/O of a durable function, done on the application's loop or in a thread, and recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar, overload

from dispatcher.sdk.errors import exception_of
from dispatcher.sdk.functions import marks, naming, performing, sites, unknown
from dispatcher.sdk.functions.durations import DAY_US, Seconds, microseconds
from dispatcher.sdk.functions.pending import Pending
from dispatcher.sdk.functions.spec import Place
from dispatcher.sdk.functions.stepcall import called, is_async, refuse_unfit
from dispatcher.sdk.functions.stepinput import input_of
from dispatcher.sdk.functions.trying import delay_us, is_worth_a_retry
from dispatcher.sdk.replay.model import (
    INTENT,
    Failure,
    Intent,
    Kind,
    Operation,
    Result,
    StepRun,
    Value,
)
from dispatcher.sdk.values import Signature, encode

P = ParamSpec("P")
R = TypeVar("R")

_MOST_RETRIES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Step:
    """`dispatch.step`, and what `dispatch.step.options(...)` returns: both are called alike."""

    name: str | None = None
    retries: int = 0
    timeout_us: int | None = None
    at_most_once: bool = False
    input_checked: bool = True

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Pending[R]: ...

    @overload
    def __call__(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Pending[R]: ...

    def __call__(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Pending[Any]:
        """Run `fn(*args, **kwargs)` and record what comes of it: `await dispatch.step(fetch, url)`.

        It is I/O of a durable function: an `async def` runs on the application's loop, another
        function in a thread. It is done at least once until its result is stored, then never again.
        What it returns must be such that it can be sent; its arguments may be anything.

        Raises:
            TypeError: `fn` is no function that can be a step.
        """
        refuse_unfit(fn)
        return _Running(self, fn, args, kwargs, sites.caller())

    @unknown.explained("step.options")
    def options(
        self,
        *,
        name: str | None = None,
        retries: int | None = None,
        timeout: Seconds | None = None,
        at_most_once: bool | None = None,
        input_checked: bool | None = None,
    ) -> Step:
        """Return `step` with options: `await dispatch.step.options(retries=5)(fetch, url)`.

        Args:
            name: what it is called in the record; the function's `__qualname__` if not said.
            retries: how often it is tried again when it raises, after durable sleeps of a second,
                doubling up to five minutes. An error that is final by its class is not retried.
            timeout: seconds or a timedelta that one try may take.
            at_most_once: store that it is about to begin before it does. Where its process dies
                meanwhile it is not run again, and raises `Interrupted`.
            input_checked: False lets a replay go on where its arguments are others than on record.
        """
        return Step(
            name=self.name if name is None else naming.checked(name, of="a step"),
            retries=self.retries if retries is None else _checked_retries(retries),
            timeout_us=self.timeout_us
            if timeout is None
            else microseconds(timeout, "timeout=", least=1_000, most=DAY_US),
            at_most_once=self.at_most_once
            if at_most_once is None
            else _flag(at_most_once, "at_most_once="),
            input_checked=self.input_checked
            if input_checked is None
            else _flag(input_checked, "input_checked="),
        )


marks.operation()(Step)

step: Final = Step()


class _Running(Pending[R]):
    """One step: what `step(fn, x)` returns."""

    __slots__ = ("_args", "_fn", "_kwargs", "_options")

    def __init__(
        self,
        options: Step,
        fn: Callable[..., Any],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        place: Place,
    ) -> None:
        super().__init__(options.name or naming.fitting(naming.shown(fn)), place)
        self._options = options
        self._fn = fn
        self._args = args
        self._kwargs = kwargs

    @property
    def what(self) -> str:
        return f"the step {self.__name__}"

    def _run(self) -> Generator[Any, Any, R]:
        if not performing.is_inside():
            return (yield from self._here().__await__())
        failures = 0
        while True:
            result = yield from self._once()
            if not isinstance(result, Failure):
                value: R = performing.outcome(result, self._returns())
                return value
            failures += 1
            error = exception_of(result)
            if failures > self._options.retries or not is_worth_a_retry(result, error):
                raise error
            yield from performing.performed(self._pause(delay_us(failures, error)))

    def _once(self) -> Generator[Any, Any, Result]:
        """Do it once, announced where it is to be done once at most."""
        if not self._options.at_most_once:
            return (yield from performing.performed(self._operation(self._to_run(None))))
        intent = yield from performing.performed(self._operation(INTENT))
        if isinstance(intent, Failure):
            return intent
        return (yield from performing.performed(self._operation(self._to_run(intent))))

    def _operation(self, carrier: StepRun | Intent) -> Operation:
        return Operation(
            Kind.STEP,
            self.__name__,
            str(self._place),
            input=input_of(self._args, self._kwargs),
            is_input_checked=self._options.input_checked,
            carrier=carrier,
        )

    def _to_run(self, intent: Value | None) -> StepRun:
        return StepRun(
            call=partial(called, self._fn, self._args, self._kwargs),
            encode=partial(encode, hint=self._returns(), where=f"the result of {self.what}"),
            is_async=is_async(self._fn),
            timeout_us=self._options.timeout_us,
            intent=intent,
        )

    def _returns(self) -> object:
        try:
            return Signature(self._fn).returns
        except (ValueError, TypeError):  # nothing is known of some functions written in C
            return None

    def _pause(self, delay: int) -> Operation:
        return Operation(Kind.SLEEP, "sleep", str(self._place), duration_us=delay)

    async def _here(self) -> R:
        """Outside of functions it just runs."""
        call = partial(called, self._fn, self._args, self._kwargs)
        value: R = await (call() if is_async(self._fn) else asyncio.to_thread(call))
        return value


def _checked_retries(retries: object) -> int:
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise TypeError(f"retries= must be a whole number, and is {retries!r}.")
    if not 0 <= retries <= _MOST_RETRIES:
        raise ValueError(f"retries= must be 0 to {_MOST_RETRIES}, and is {retries!r}.")
    return retries


def _flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, and is {value!r}.")
    return value

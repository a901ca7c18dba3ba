"""A function of this application: `@dispatch.function` makes one of each `def`."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, cast

from dispatcher.sdk.functions.binding import checker
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.call import Home
from dispatcher.sdk.functions.callee import Callee
from dispatcher.sdk.functions.options import Options
from dispatcher.sdk.functions.spec import Place, Spec
from dispatcher.sdk.values import encode_arguments

P = ParamSpec("P")
R = TypeVar("R")


class Function(Callee[P, R]):
    """A function that is run durably: `P` are its parameters, `R` is what it returns.

    `await f(x)` calls it; `.dispatch`, `.gather`, `.reset` and `.with_options` are other ways to,
    `.local` runs it as if it had never been decorated.
    """

    __name__: str
    __wrapped__: Callable[P, Any]

    def __init__(self, spec: Spec) -> None:
        functools.update_wrapper(self, spec.body)
        # For frameworks that ask whether a handler is async: awaiting a call is.
        mark = getattr(inspect, "markcoroutinefunction", None)
        if mark is not None:
            mark(self)
        else:  # Python 3.11
            self._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
        self.spec = spec
        self._name = spec.name
        self._home = Home()
        self._options = Options()

    @functools.cached_property
    def _check(self) -> Callable[..., None]:
        return checker(self.spec.body.__name__, self.spec.signature.plain)

    def _built(
        self, args: tuple[object, ...], kwargs: dict[str, object], place: Place
    ) -> BuiltCall[R]:
        spec, options = self.spec, self._options
        self._check(*args, **kwargs)
        return BuiltCall(
            spec.name,
            encode_arguments(spec.signature, args, kwargs),
            str(place),
            endpoint=options.endpoint,
            options=options.on_the_wire(spec.expiration_us, spec.timeout_us),
            key=options.key,
            returns=spec.signature.returns,
            is_input_checked=spec.is_input_checked,
        )

    def __repr__(self) -> str:
        return f"<function {self._name} of dispatch, {self.spec.place}>"


class AsyncFunction(Function[P, R]):
    """A `Function` that was written as `async def`."""

    def local(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the bare function: `await f.local(x)` runs it here and now, and nothing is durable.

        In it calls of other functions are dispatched, steps just run, and `sleep` is asyncio's.
        """
        return cast("Coroutine[Any, Any, R]", self.spec.body(*args, **kwargs))


class SyncFunction(Function[P, R]):
    """A `Function` that was written as `def`: it runs in a thread."""

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the bare function here and now; nothing is durable."""
        return cast(R, self.spec.body(*args, **kwargs))

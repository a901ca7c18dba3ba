"""One call of a function: `f(x)`, made when it is awaited."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from dispatcher.sdk.functions import apps, performing
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.pending import Pending
from dispatcher.sdk.functions.ports import App, Caller, SyncCaller
from dispatcher.sdk.functions.spec import Place
from dispatcher.sdk.replay.model import Result

R_co = TypeVar("R_co", covariant=True)


class Home:
    """Which application a function was given to. What is derived from the function shares it."""

    __slots__ = ("app",)

    def __init__(self) -> None:
        self.app: App | None = None

    def caller(self, what: str, place: Place) -> Caller:
        """Return who makes calls from here. Raises RuntimeError where there is no application."""
        return self._found(what, place).caller

    def sync_caller(self, what: str, place: Place) -> SyncCaller:
        """`caller`, for code that is not async."""
        return self._found(what, place).sync_caller

    def _found(self, what: str, place: Place) -> App:
        app = apps.find(self.app)
        if app is None:
            raise RuntimeError(
                f"{what} made at {place} has no application that could carry it out: make one "
                f"first, `app = dispatch.Dispatch(…)`, or use a client, "
                f"`await dispatch.Client().dispatch(f.build_call(…))`."
            )
        return app


class Call(Pending[R_co]):
    """A call of a function with its arguments. `await` it for the result, once.

    In a function it is a child: made once, whatever crashes, and its result is on record. Elsewhere
    it is dispatched through the application's client and waited for.
    """

    __slots__ = ("_built", "_home")

    def __init__(self, built: BuiltCall[R_co], home: Home, place: Place) -> None:
        super().__init__(built.function, place)
        self._built = built
        self._home = home

    @property
    def what(self) -> str:
        return f"the call of {self.__name__}"

    @property
    def built(self) -> BuiltCall[R_co]:
        """The call itself, to be made in another way than by awaiting."""
        return self._built

    def take(self) -> BuiltCall[R_co]:
        """Return the call to who makes it in place of awaiting this, which can't be awaited now."""
        self._begin()
        return self._built

    @property
    def _nothing(self) -> str:
        return "nothing was dispatched"

    def _run(self) -> Generator[Any, Any, R_co]:
        if performing.is_inside():
            refuse_key(self._built)
            result = yield from performing.performed(self._built.operation())
        else:
            result = yield from self._from_outside().__await__()
        value: R_co = performing.outcome(result, self._built.returns)
        return value

    async def _from_outside(self) -> Result:
        caller = self._home.caller(self.what, self._place)
        ids = await caller.dispatch([self._built], key=self._built.key)
        return await caller.wait(ids[0])


def refuse_key(built: BuiltCall[Any]) -> None:
    """Raise ValueError for a call with a key that is made inside of a function."""
    if built.key is not None:
        raise ValueError(
            f"the call of {built.function} at {built.site} has a key=, and is made inside of a "
            f"function: there each call is made once anyway. Leave key= out, or write "
            f"`await {built.function}.with_options(key=…).dispatch(…)`, which waits for nothing."
        )

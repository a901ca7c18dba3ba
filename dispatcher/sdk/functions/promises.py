"""Values that come from outside: promises, which are given one, and channels, which queue them.

Both are calls to the endpoint `promise:NAME` or `channel:NAME`, which no application runs. They
belong to the application by its API key, and are there before anybody waits or gives.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from dispatcher.sdk.errors import failure_of
from dispatcher.sdk.functions import durable, marks, naming, performing, sites
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.call import Call, Home
from dispatcher.sdk.functions.durations import Seconds
from dispatcher.sdk.functions.options import Options, expiration_us
from dispatcher.sdk.functions.pending import Pending
from dispatcher.sdk.functions.spec import Place
from dispatcher.sdk.functions.unawaited import refused
from dispatcher.sdk.replay.model import NOTHING, Result, Value
from dispatcher.sdk.values import encode

T = TypeVar("T")

_MOST_NAME_CHARS: Final = 255
_NOT_WAITING: Final = ("name", "kind", "endpoint")


class _Outside(Generic[T]):
    """What promises and channels share. `kind` is how their endpoints begin."""

    kind = ""
    __slots__ = ("_hint", "_home", "name")

    if not TYPE_CHECKING:
        __bool__ = refused("__bool__")  # `if promise:` would be true whatever it is given

    def __init__(self, name: str, hint: object) -> None:
        self.name = checked_name(name, self.kind)
        self._hint = hint
        self._home = Home()

    @property
    def endpoint(self) -> str:
        """What the server knows it by: `promise:NAME`."""
        return f"{self.kind}:{self.name}"

    def _wait(self, expiration: Seconds | None) -> Call[T]:
        place = sites.caller()
        built: BuiltCall[T] = BuiltCall(
            self.kind,
            NOTHING,
            str(place),
            endpoint=self.endpoint,
            options=Options(expiration_us=expiration_us(expiration)).on_the_wire(None, None),
            returns=self._hint,
        )
        return _Waiting(built, self._home, place)

    def _give(self, verb: str, result: Result) -> _Giving:
        return _Giving(f"{self.kind}.{verb}", self.endpoint, result, self._home, sites.caller())

    def _encoded(self, value: T) -> Value:
        return encode(value, self._hint, f"the value of {self.endpoint}")

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r} of dispatch>"


@marks.operation(harmless=(*_NOT_WAITING, "resolve", "reject"))
class Promise(_Outside[T]):
    """A value that somebody will give: `approved = await dispatch.promise("order-7", bool)`.

    It is given once, by `resolve`, by a client, by `dispatcher promises resolve`, or with
    `curl -X POST …/v1/promises/order-7 -d true`; before or after somebody waits.
    """

    kind = "promise"
    __slots__ = ()

    def wait(self, *, expiration: Seconds | None = None) -> Call[T]:
        """Wait for the value: the same as `await promise`. `expiration` is how long, in seconds or
        as a timedelta; then `Expired` is raised."""
        return self._wait(expiration)

    def __await__(self) -> Generator[Any, Any, T]:
        return self._wait(None).__await__()

    def resolve(self, value: T) -> Pending[None]:
        """Give the value: `await promise.resolve(True)`. In a durable function it is a step, and a
        promise that has the same value already is as good.

        Raises:
            AlreadyCompleted: the promise has another value.
            EncodeError: the value can't be sent.
        """
        return self._give("resolve", self._encoded(value))

    def reject(self, error: BaseException) -> Pending[None]:
        """Give an error in place of a value: it is raised where somebody waits."""
        return self._give("reject", _failure(error, self.endpoint))


@marks.operation(harmless=(*_NOT_WAITING, "send", "fail"))
class Channel(_Outside[T]):
    """A queue of values from outside: each is for one `receive`.

    `async for order in dispatch.channel("orders", Order)` receives for ever.
    """

    kind = "channel"
    __slots__ = ()

    def receive(self, *, expiration: Seconds | None = None) -> Call[T]:
        """Wait for the next value. `expiration` is how long; then `Expired` is raised."""
        return self._wait(expiration)

    def __await__(self) -> Generator[Any, Any, T]:
        return self._wait(None).__await__()

    def __aiter__(self) -> Channel[T]:
        return self

    def __anext__(self) -> Call[T]:
        return self._wait(None)

    def send(self, value: T) -> Pending[None]:
        """Put a value in: `await channel.send(order)`. In a durable function it is a step."""
        return self._give("send", self._encoded(value))

    def fail(self, error: BaseException) -> Pending[None]:
        """Put an error in: the next `receive` raises it."""
        return self._give("fail", _failure(error, self.endpoint))


@overload
def promise(name: str) -> Promise[Any]: ...


@overload
def promise(name: str, returns: type[T]) -> Promise[T]: ...


@overload
def promise(name: str, returns: object) -> Promise[Any]: ...


@marks.operation(harmless=("resolve", "reject"), same=[("()",)])
def promise(name: str, returns: object = None) -> Promise[Any]:
    """Return the promise of this name. `returns` is the type of its value, as a type hint.

    The name is yours to choose, and the application's own: f"order-{order.id}".

    Raises:
        TypeError, ValueError: the name can't be one.
    """
    return Promise(name, returns)


@overload
def channel(name: str) -> Channel[Any]: ...


@overload
def channel(name: str, returns: type[T]) -> Channel[T]: ...


@overload
def channel(name: str, returns: object) -> Channel[Any]: ...


@marks.operation(harmless=("send", "fail"), same=[("()",)])
def channel(name: str, returns: object = None) -> Channel[Any]:
    """Return the channel of this name. `returns` is the type of its values, as a type hint."""
    return Channel(name, returns)


class _Waiting(Call[T]):
    """A wait for a value."""

    __slots__ = ()

    @property
    def what(self) -> str:
        return f"the wait for {self.built.endpoint}"

    @property
    def _nothing(self) -> str:
        return "nobody waits"


class _Giving(Pending[None]):
    """A value, or an error, on its way to who waits for it."""

    __slots__ = ("_endpoint", "_home", "_result")

    def __init__(self, verb: str, endpoint: str, result: Result, home: Home, place: Place) -> None:
        super().__init__(verb, place)
        self._endpoint = endpoint
        self._result = result
        self._home = home

    @property
    def what(self) -> str:
        return f"the {self.__name__.rpartition('.')[2]} of {self._endpoint}"

    @property
    def _nothing(self) -> str:
        return "nothing was sent"

    def _run(self) -> Generator[Any, Any, None]:
        is_step = durable.running() is not None

        async def give() -> None:
            # A step that was not stored is done again, and then the promise has its result.
            caller = self._home.caller(self.what, self._place)  # a body does not see whose it is
            await caller.complete(self._endpoint, self._result, is_again=is_step)

        encoded = self._result if isinstance(self._result, Value) else NOTHING
        yield from performing.as_step(
            naming.fitting(self.__name__),
            give,
            hint=None,
            site=str(self._place),
            input=Value(encoded.type, self._endpoint.encode() + b"\0" + encoded.data),
        )


def _failure(error: BaseException, where: str) -> Result:
    if not isinstance(error, BaseException):
        raise TypeError(f"{where} was given {error!r} as its error: it must be an exception.")
    return failure_of(error)[1]


def checked_name(name: object, kind: str) -> str:
    """Return the name of a promise or a channel. Raises TypeError or ValueError where it is none,
    which says what one is."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a {kind} must be a string, and is {name!r}.")
    if not 0 < len(name) <= _MOST_NAME_CHARS or not name.isprintable():
        raise ValueError(
            f"the name of a {kind} must be 1 to {_MOST_NAME_CHARS} printable characters, "
            f"and is {name!r:.60}."
        )
    return name

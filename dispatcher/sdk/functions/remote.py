"""Functions of other applications, in whatever language: known by name, without a body."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, overload

from dispatcher.sdk.functions import naming
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.call import Home
from dispatcher.sdk.functions.callee import Callee
from dispatcher.sdk.functions.foreign import plain_input
from dispatcher.sdk.functions.options import Options, checked_endpoint
from dispatcher.sdk.functions.spec import Place
from dispatcher.sdk.values import encode_pickled_arguments

R = TypeVar("R")


class Remote(Callee[..., R]):
    """A function of another application: called as one of your own."""

    def __init__(
        self, name: str, *, endpoint: str, returns: object, style: Literal["plain", "dispatch-py"]
    ) -> None:
        self._name = name
        self._home = Home()
        self._options = Options(endpoint=endpoint)
        self._returns = returns
        self._style = style

    def _built(
        self, args: tuple[object, ...], kwargs: dict[str, object], place: Place
    ) -> BuiltCall[R]:
        encode = encode_pickled_arguments if self._style == "dispatch-py" else plain_input
        return BuiltCall(
            self._name,
            encode(self._name, args, kwargs),
            str(place),
            endpoint=self._options.endpoint,
            options=self._options.on_the_wire(None, None),
            key=self._options.key,
            returns=self._returns,
        )

    def __repr__(self) -> str:
        return f"<function {self._name} of dispatch, at {self._options.endpoint or 'home'}>"


@overload
def remote(
    name: str, *, endpoint: str = "", style: Literal["plain", "dispatch-py"] = "plain"
) -> Remote[Any]: ...


@overload
def remote(
    name: str,
    *,
    endpoint: str = "",
    returns: type[R],
    style: Literal["plain", "dispatch-py"] = "plain",
) -> Remote[R]: ...


@overload
def remote(
    name: str,
    *,
    endpoint: str = "",
    returns: object,
    style: Literal["plain", "dispatch-py"] = "plain",
) -> Remote[Any]: ...


def remote(
    name: str,
    *,
    endpoint: str = "",
    returns: object = None,
    style: Literal["plain", "dispatch-py"] = "plain",
) -> Remote[Any]:
    """Return a function of another application: `charge = dispatch.remote("charge",
    endpoint="http://billing:8000", returns=Receipt)`, then `await charge(order)`.

    Args:
        name: what it is called there.
        endpoint: the URL of that application; "" for this one.
        returns: the type of its result, as a type hint.
        style: how it takes its input. "plain": one value, as the Go SDK's functions do;
            "dispatch-py": the arguments, in that SDK's own form.

    Raises:
        TypeError, ValueError: the name, the endpoint or the style can't be one.
    """
    if style not in ("plain", "dispatch-py"):
        raise ValueError(f'style= must be "plain" or "dispatch-py", and is {style!r}.')
    return Remote(
        naming.checked(name, of="a function"),
        endpoint=checked_endpoint(endpoint) if endpoint != "" else "",
        returns=returns,
        style=style,
    )

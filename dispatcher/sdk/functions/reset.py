"""Tail calls: a call that takes the place of the one whose body runs."""

from __future__ import annotations

from typing import Any

from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.call import Call
from dispatcher.sdk.replay.model import TailCall


class Reset(TailCall):
    """`raise dispatch.Reset(f(x))`: a call of `f` takes the place of this one. `f.reset(x)` raises
    it too. Like CancelledError it passes `except Exception`.

    Raises:
        TypeError: what is given is no call.
        ValueError: the call asks for what a tail call can't have.
    """

    def __init__(self, call: Call[Any] | BuiltCall[Any]) -> None:
        if not isinstance(call, Call | BuiltCall):
            raise TypeError(f"Reset takes a call, as Reset(f(x)), and was given {call!r}.")
        built = call.take() if isinstance(call, Call) else call
        if built.options.delay_us or built.key is not None:
            raise ValueError(
                f"the tail call of {built.function} at {built.site} takes the place of this call "
                f"at once: with_options(delay=, key=) means nothing for it."
            )
        super().__init__(built.operation())
        self.call = built

    def __str__(self) -> str:
        return f"a call of {self.call.function} takes the place of this one"

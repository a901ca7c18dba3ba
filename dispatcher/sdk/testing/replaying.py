"""Whether a function, as it is now, can go on with a call that was recorded before."""

from __future__ import annotations

from typing import Any

from dispatcher.sdk.functions.function import Function
from dispatcher.sdk.testing.environment import Environment
from dispatcher.sdk.testing.history import History, NoLongerFits


def replay(function: Function[..., Any], history: History) -> None:
    """Run a function against a history: what `Environment.history` gave, with the code of then.
    No step is run.

    Raises:
        NoLongerFits: it does something else than what is on record. Suspended calls would begin
            anew: guard the change with `dispatch.patched(…)`.
    """
    if history.function != function.name:
        raise NoLongerFits(f"This is a history of {history.function}, not of {function.name}.")
    with Environment(function) as env:
        env.check(history)

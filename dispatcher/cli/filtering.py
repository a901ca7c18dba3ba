"""Options that several commands share, filters above all: they are written down once, and typed
alike.

typer reads the options of a command from its signature. `taking` puts those of another function in
place of one parameter of the command, and calls the command with what that function makes of them:

    @taking(waiting_filters)
    def retry(filters: WaitingFilters, ids: SomeIds = None, …) -> None:
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

from dispatcher.cli.options import (
    AfterFilter,
    BeforeFilter,
    DestinationFilter,
    ErrorFilter,
    FunctionFilter,
    KindFilter,
    LabelFilter,
    MethodFilter,
    OlderThan,
    OrderKeyFilter,
    ReasonFilter,
    StateFilter,
    StatusFilter,
    TargetFilter,
    WaitingSince,
)
from dispatcher.cli.selection import Filters, WaitingFilters, filters_of
from dispatcher.cli.signatures import give_parameters, signature_of

_FILTERS: Final = "filters"

F = TypeVar("F")
Command = Callable[..., None]


def taking(make: Callable[..., F], name: str = _FILTERS) -> Callable[[Command], Command]:
    """Give a command the options that are the parameters of `make`, in place of its parameter
    `name`, which is what `make` returns for them."""
    shared = signature_of(make).parameters

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(**options: Any) -> None:
            given = {option: options.pop(option) for option in shared}
            command(**{name: make(**given)}, **options)

        parameters: list[inspect.Parameter] = []
        for one in signature_of(command).parameters.values():
            parameters += shared.values() if one.name == name else [one]
        by_name = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
        give_parameters(run, by_name)
        return run

    return decorate


def waiting_filters(
    destination: DestinationFilter = None,
    state: StateFilter = None,
    label: LabelFilter = None,
    order_key: OrderKeyFilter = None,
    method: MethodFilter = None,
    target: TargetFilter = None,
    older_than: WaitingSince = None,
) -> WaitingFilters:
    """Which waiting messages."""
    return WaitingFilters(destination, state, label, order_key, method, target, older_than)


def group_filters(
    kind: KindFilter = None,
    destination: DestinationFilter = None,
    function: FunctionFilter = None,
    label: LabelFilter = None,
    reason: ReasonFilter = None,
    status: StatusFilter = None,
    error: ErrorFilter = None,
    before: BeforeFilter = None,
    after: AfterFilter = None,
    older_than: OlderThan = None,
) -> Filters:
    """Which dead letters, as far as that is known without reading them."""
    return filters_of(
        *(kind, destination, function, label, status, error, before, after, older_than),
        reason=reason,
    )


def letter_filters(
    kind: KindFilter = None,
    destination: DestinationFilter = None,
    function: FunctionFilter = None,
    label: LabelFilter = None,
    order_key: OrderKeyFilter = None,
    method: MethodFilter = None,
    target: TargetFilter = None,
    reason: ReasonFilter = None,
    status: StatusFilter = None,
    error: ErrorFilter = None,
    before: BeforeFilter = None,
    after: AfterFilter = None,
    older_than: OlderThan = None,
) -> Filters:
    """Which dead letters."""
    return filters_of(
        *(kind, destination, function, label, status, error, before, after, older_than),
        reason=reason,
        order_key=order_key,
        method=method,
        target=target,
    )

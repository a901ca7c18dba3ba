"""The status of a run that ends with an exception. In this order:

    1. its own attribute `status`            4. the tables: well-known libraries, builtins
    2. the `errors` of the function          5. its `__cause__`, once
    3. what was registered for its class     6. PERMANENT_ERROR

In 2 to 4 the nearest class of the exception counts. A group of exceptions is tried again only where
each of them would be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from dispatcher.protocol.statuses import Status, Then
from dispatcher.sdk.errors.tables import attribute, rule_of
from dispatcher.sdk.exceptions import DispatchError

Said: TypeAlias = Status | type[DispatchError]
"""A status, or an exception of the SDK, for its status."""

Means: TypeAlias = Said | Callable[[Any], Said | None]
"""What an exception means, or what tells it from the exception, None where it can't."""

Errors: TypeAlias = Mapping[type[BaseException], Means]

_REGISTERED: Final[dict[type[BaseException], Means]] = {}


def register(kind: type[BaseException], means: Means) -> None:
    """Say what exceptions of this class, and of those derived from it, mean in all functions.

        dispatch.register(stripe.RateLimitError, dispatch.ThrottledError)

    Raises:
        TypeError: one of the two is not what it has to be.
    """
    checked({kind: means})
    _REGISTERED[kind] = means


def checked(errors: Errors) -> Errors:
    """Return them. Raises TypeError where an entry can't be one."""
    for kind, means in errors.items():
        if not issubclass(_class(kind), BaseException):
            raise TypeError(f"{kind!r} is no class of exceptions: write errors={{SomeError: …}}")
        if isinstance(means, type) and not issubclass(means, DispatchError):
            raise TypeError(
                f"{kind.__name__} can't mean {means.__name__}: write one of the SDK's errors, such "
                "as dispatch.TemporaryError"
            )
        if not (isinstance(means, Status) or callable(means)):
            raise TypeError(
                f"{kind.__name__} can't mean {means!r}: write one of the SDK's errors, such as "
                "dispatch.TemporaryError, or a function that returns one"
            )
    return errors


def _class(kind: object) -> type:
    return kind if isinstance(kind, type) else object


def status_of(error: BaseException, errors: Errors | None = None) -> Status:
    """Return the status of a run that ends with this exception; `errors` are those that the
    function has for itself. It is never OK."""
    found = _known(error, errors)
    if found is None and error.__cause__ is not None:
        found = _known(error.__cause__, errors)
    return found or Status.PERMANENT_ERROR


def _known(error: BaseException, errors: Errors | None) -> Status | None:
    own = _failing(attribute(error, "status"))
    if own is not None:
        return own
    for known in (errors or {}, _REGISTERED):
        found = _nearest(error, known.get) if known else None
        if found is not None:
            return found
    if isinstance(error, BaseExceptionGroup):
        return _of_group(error, errors)
    return _nearest(error, rule_of)


def _nearest(error: BaseException, find: Callable[[Any], Means | None]) -> Status | None:
    for kind in type(error).__mro__:
        means = find(kind)
        status = None if means is None else _meant(error, means)
        if status is not None:
            return status
    return None


def _meant(error: BaseException, means: Means) -> Status | None:
    is_said = isinstance(means, Status | type)
    said = means if is_said else means(error)  # type: ignore[operator]  # else it is a function
    return _failing(said if isinstance(said, Status) else getattr(said, "status", None))


def _failing(status: object) -> Status | None:
    """An exception is no success: OK and UNSPECIFIED say nothing of it. Other attributes of that
    name, such as the HTTP status that some libraries have there, are no Status."""
    if isinstance(status, Status) and status not in (Status.OK, Status.UNSPECIFIED):
        return status
    return None


def _of_group(group: BaseExceptionGroup[Any], errors: Errors | None) -> Status:
    statuses = {status_of(one, errors) for one in group.exceptions}
    if len(statuses) == 1:
        return statuses.pop()
    if all(status.then is Then.RETRY for status in statuses):
        return Status.TEMPORARY_ERROR
    return Status.PERMANENT_ERROR

"""What the server tells about calls, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Self

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.client.errors import ClientError

_ENDED: Final = frozenset({"succeeded", "failed", "expired", "cancelled"})
_INSTANTS: Final = frozenset({"created_at", "expires_at", "next_run_at", "ended_at"})


@dataclass(frozen=True, slots=True)
class CallInfo:
    """One call, as it stands. `state` is `ready`, `running`, `scheduled`, `suspended`, `outside`,
    `succeeded`, `failed`, `expired` or `cancelled`; `attempts` counts the runs that failed since
    its last step, `waits_for` the calls whose results it has not got, `results` those that it will
    get next. `last_error` is a word such as `throttled` or `http_503`. Times are in UTC.
    """

    id: str
    state: str
    function: str
    endpoint: str
    version: str
    application: str
    parent_id: str | None
    root_id: str
    depth: int
    created_at: datetime
    expires_at: datetime
    next_run_at: datetime | None
    ended_at: datetime | None
    attempts: int
    steps: int
    restarts: int
    waits_for: int
    results: int
    last_error: str | None

    @property
    def has_ended(self) -> bool:
        """Whether there will be no other state."""
        return self.state in _ENDED

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read one; what a newer server tells beyond it is passed over."""
        try:
            return cls(**{one.name: _read(one.name, document[one.name]) for one in fields(cls)})
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable("a call") from error


@dataclass(frozen=True, slots=True)
class CallPage:
    """Some calls, the newest first. `next` is the `cursor` of the page behind it, None for the
    last."""

    items: tuple[CallInfo, ...]
    next: str | None


def read_info(body: bytes) -> CallInfo:
    """Read the answer about one call."""
    return CallInfo.of(_document(body))


def read_page(body: bytes) -> CallPage:
    """Read a page of calls."""
    document = _document(body)
    try:
        items, after = document["items"], document["next"]
    except KeyError as error:
        raise unreadable("a page of calls") from error
    return CallPage(tuple(CallInfo.of(item) for item in items), after)


def unreadable(what: str) -> ClientError:
    """The server's answer is not what it should be."""
    return ClientError(
        f"The server answered with something that is not {what}: is it of another version, or "
        "something else that listens there?",
        status=Status.INVALID_RESPONSE,
    )


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise unreadable("JSON") from error
    if not isinstance(document, dict):
        raise unreadable("a JSON object")
    return document


def _read(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if name in _INSTANTS and value is not None else value

"""What one call of the API is: a row of the table from which requests are routed, checked and
documented."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

from aiohttp import web
from pydantic import BaseModel

from dispatcher.api.models import Input, Nothing

Place = TypeVar("Place", bound=Input)
Query = TypeVar("Query", bound=Input)
Body = TypeVar("Body", bound=Input)

JSON: Final = "application/json"
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Asked(Generic[Place, Query, Body]):
    """A request that was checked: its path, its query, its body, and where it came from."""

    place: Place
    query: Query
    body: Body
    request: web.Request


Answer: TypeAlias = BaseModel | web.StreamResponse | None
"""What a handler returns: a model is sent as JSON, None has no body."""


@dataclass(frozen=True, slots=True)
class Route(Generic[Place, Query, Body]):
    """One call.

    `place`, `query` and `body` are the models of what callers send. `status` and `answer` are of
    success; `content_type` is the answer's. `refusals` says with which statuses this call in
    particular is refused, and why; what every call may be refused with is not repeated.
    """

    method: str
    path: str
    handler: Callable[[Asked[Place, Query, Body]], Awaitable[Answer]]
    name: str
    summary: str
    place: type[Place]
    query: type[Query]
    body: type[Body]
    status: int = 200
    answer: type[BaseModel] | None = None
    content_type: str = JSON
    refusals: Mapping[int, str] = field(default_factory=dict)
    is_open: bool = False

    @property
    def takes_body(self) -> bool:
        """Whether a body is looked at; that of a GET never is."""
        return self.method not in SAFE_METHODS

    @property
    def has_body(self) -> bool:
        """Whether a body says something."""
        return self.body is not Nothing


AnyRoute: TypeAlias = Route[Any, Any, Any]

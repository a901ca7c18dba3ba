"""What one call of the API is: a row of the table from which requests are routed, checked and
documented."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

from aiohttp import web
from pydantic import BaseModel

from dispatcher.api.models import Input, Nothing
from dispatcher.core.keys import Role

Place = TypeVar("Place", bound=Input)
Query = TypeVar("Query", bound=Input)
Body = TypeVar("Body", bound=Input)

JSON: Final = "application/json"
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
MAY_LOOK: Final = frozenset({Role.DISPATCH, Role.READ, Role.ADMIN})
"""Roles that may look at function calls: an application at its own."""
MAY_ACT: Final = frozenset({Role.DISPATCH, Role.ADMIN})
"""Roles that may make and change function calls."""


TOO_MANY_ASK: Final[Mapping[int, str]] = {
    503: "Too many calls that take long came at once: `api_busy`; `Retry-After` says when to ask."
}
"""What a call that takes long is refused with."""


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
    particular is refused, and why; what every call may be refused with is not repeated. `streams`
    is the content type of a body that the handler reads by itself, piece by piece, and
    `also_streams` are others that it takes. `roles` are
    those of the keys that may make the call; None: its method says it. `is_rpc` says that its
    errors are as Connect has them. `also` are other answers than `status` that are no refusals.
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
    streams: str | None = None
    also_streams: Sequence[str] = ()
    roles: frozenset[Role] | None = None
    is_rpc: bool = False
    also: Mapping[int, tuple[type[BaseModel], str]] = field(default_factory=dict)

    @property
    def takes_body(self) -> bool:
        """Whether a body is looked at; that of a GET never is."""
        return self.method not in SAFE_METHODS

    @property
    def is_an_applications(self) -> bool:
        """Whether applications make it: as often as they like, as they send messages."""
        return self.roles is not None and Role.DISPATCH in self.roles

    @property
    def has_body(self) -> bool:
        """Whether a body says something."""
        return self.body is not Nothing


AnyRoute: TypeAlias = Route[Any, Any, Any]

"""The call about the audit: `GET /v1/audit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, WithJsonSchema

from dispatcher.api import cursor
from dispatcher.api.audit import Action, Keeper
from dispatcher.api.errors import ApiError
from dispatcher.api.fields import CursorIn, InstantIn, InstantOut, PageSize, Slug
from dispatcher.api.models import DEFAULT_PAGE, Input, Nothing, Output
from dispatcher.api.routes import AnyRoute, Asked, Route
from dispatcher.audit.entries import Entry, EntryFilter
from dispatcher.errors import LogError
from dispatcher.queue.admin.pace import Pace

# Entries of other versions may have other actions: no answer has this type.
_ActionIn = Annotated[
    Action, WithJsonSchema({"type": "string", "enum": [action.value for action in Action]})
]


class AuditQuery(Input):
    """Which entries of the audit."""

    since: InstantIn | None = Field(None, description="What was done then or later.")
    action: _ActionIn | None = None
    key: str | None = Field(None, description="What was done with the key of this name.")
    limit: PageSize = Field(DEFAULT_PAGE, description="How many at most.")
    cursor: CursorIn | None = None


class AuditEntry(Output):
    """Something that an operator did."""

    at: InstantOut
    action: str
    key: str | None = Field(description="The name of the key that was shown; null: none, or wrong.")
    selection: Mapping[str, Any] = Field(description="Which were meant.")
    count: int | None = Field(description="How many it was done to; null: that is not known.")
    error: Slug | None = Field(description="Why it failed, or was not done to all.")
    job: str | None = Field(description="The id of the job that did it.")

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """As it is shown."""
        return cls(
            at=entry.at_us,
            action=entry.action,
            key=entry.key,
            selection=entry.selection,
            count=entry.count,
            error=entry.error,
            job=entry.job,
        )


class AuditPage(Output):
    """Entries, the newest first."""

    items: list[AuditEntry]
    next: str | None = Field(description="The `cursor` of the next page.")
    unkept: str | None = Field(
        description="Why the newest are in memory only, and gone after a restart; null: all are "
        "on the disk."
    )


class AuditCalls:
    """Look at what operators did."""

    def __init__(self, keeper: Keeper, pace: Pace) -> None:
        self._keeper = keeper
        self._pace = pace

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", "/v1/audit", self._list, "listAudit", "What operators did, newest first",
                Nothing, AuditQuery, Nothing, answer=AuditPage,
                refusals={503: "The log of the audit cannot be read: `audit_unreadable`."},
            ),
        ]  # fmt: skip

    async def _list(self, asked: Asked[Nothing, AuditQuery, Nothing]) -> AuditPage:
        query = asked.query
        action = None if query.action is None else query.action.value
        which = EntryFilter(query.since, action, query.key)
        try:
            page = await self._keeper.page(
                which, before=query.cursor, limit=query.limit, pace=self._pace
            )
        except LogError as error:
            raise ApiError(
                503, "audit_unreadable", f"The audit cannot be read now: {error}"
            ) from error
        return AuditPage(
            items=[AuditEntry.of(entry) for entry in page.items],
            next=None if page.next_before is None else cursor.encode(page.next_before),
            unkept=self._keeper.unkept,
        )

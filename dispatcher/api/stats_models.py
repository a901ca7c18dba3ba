"""What the API gives as `/v1/stats`: totals, and lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from dispatcher.api.all_lanes import CALLS
from dispatcher.api.fields import (
    InstantOut,
    LaneCursorIn,
    PageSize,
)
from dispatcher.api.models import Input, Output, attributes
from dispatcher.core.breaker import State as BreakerState
from dispatcher.functions.shown import CallTotals
from dispatcher.queue.admin.surface import (
    MOST_LANES,
    LaneKind,
    LaneOrder,
    LanePage,
    LaneView,
    Totals,
)


class StatsQuery(Input):
    """Which lanes are shown with the totals."""

    lanes_order: Literal["name", "messages"] = Field(
        "name", description="By destination, or those with most messages first."
    )
    lanes_kind: Literal["message", "call"] | None = Field(
        None, description="Of messages or of calls; without it of both."
    )
    lanes_limit: PageSize = Field(MOST_LANES, description="How many at most.")
    lanes_cursor: LaneCursorIn | None = Field(
        None, description="The `lanes_next` of the page before; only by name."
    )

    @model_validator(mode="after")
    def _check_cursor(self) -> Self:
        if self.lanes_cursor is None:
            return self
        if self.order is not LaneOrder.NAME:
            raise ValueError("`lanes_cursor` is for lanes by name only")
        if self.kind is LaneKind.MESSAGE and self.lanes_cursor.startswith(CALLS):
            raise ValueError("`lanes_cursor` is of a page of calls")
        if self.kind is LaneKind.CALL and not self.lanes_cursor.startswith(CALLS):
            raise ValueError("`lanes_cursor` is of a page of messages")
        return self

    @property
    def order(self) -> LaneOrder:
        """As the queue understands it."""
        return LaneOrder(self.lanes_order)

    @property
    def kind(self) -> LaneKind | None:
        """As the queue understands it."""
        return None if self.lanes_kind is None else LaneKind(self.lanes_kind)


class Lane(Output):
    """One destination that has messages or is held, or one application with calls to run."""

    kind: LaneKind
    destination: str = Field(
        description="Of calls scheme and authority of their endpoint; of a session, whose it is "
        "too."
    )
    ready: int
    scheduled: int | None = Field(
        description="Null of calls, which wait for their times outside of their lane."
    )
    in_flight: int
    limit: int | None = Field(
        description="How many attempts it may have at once; null where runs are fetched."
    )
    paused_until: InstantOut | None = Field(
        validation_alias="paused_until_us",
        description="Until when it backs off: Retry-After, breaker, or what this machine lacks.",
    )
    held: bool = Field(description="An operator holds it.")
    paused: bool = Field(validation_alias="held", description="The older name of `held`.")
    breaker: BreakerState


class CallLane(Output):
    """The calls of one application."""

    endpoint: str = Field(description="Scheme and authority; of a session, whose it is too.")
    waiting: int = Field(description="Calls that wait for their turn.")
    in_flight: int
    limit: int | None = Field(description="How many runs at once; null where runs are fetched.")
    paused_until: InstantOut | None = Field(
        validation_alias="paused_until_us",
        description="Until when it backs off: Retry-After, breaker.",
    )
    held: bool = Field(description="An operator holds it.")
    breaker: BreakerState


class CallStats(Output):
    """Function calls: totals since the start of the process, and how they stand now."""

    created_total: int
    succeeded_total: int
    failed_total: int
    expired_total: int
    cancelled_total: int
    runs_total: int
    ready: int
    scheduled: int
    running: int
    suspended: int
    outside: int
    ending: int = Field(description="They have ended; their results are being stored.")
    results: int = Field(description="Results that are kept.")
    results_bytes: int
    waiters: int = Field(description="Callers that wait for a result.")
    lanes: list[CallLane] = Field(description="The hundred with most calls.")
    lanes_total: int


class Stats(Output):
    """Totals since the start of the process, and how it stands now."""

    accepted_total: int
    delivered_total: int
    dead_total: int
    ready: int
    scheduled: int
    in_flight: int
    dead: int
    log_bytes: int
    log_live_bytes: int
    lanes: list[Lane] = Field(description="Of messages, then of calls.")
    lanes_total: int = Field(description="How many there are on all pages.")
    lanes_next: str | None = Field(description="The `lanes_cursor` of the next page.")
    calls: CallStats | None = Field(description="Null where there is no function service.")

    @classmethod
    def of(
        cls,
        totals: Totals,
        page: LanePage,
        lanes: Sequence[LaneView] = (),
        calls: CallTotals | None = None,
    ) -> Self:
        """From what the queue says; where lanes are many, they are written by themselves."""
        return cls.model_validate(
            {
                **attributes(totals),
                "lanes": lanes,
                "lanes_total": page.total,
                "lanes_next": page.next_after,
                "calls": calls,
            }
        )

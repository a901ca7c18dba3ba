"""What the API gives as `/v1/stats`: totals, and lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from dispatcher.api.all_lanes import CALLS
from dispatcher.api.fields import (
    Incomplete,
    InstantOut,
    LaneCursorIn,
    LanePartIn,
    PageSize,
)
from dispatcher.api.models import Input, Output, attributes
from dispatcher.core.breaker import State as BreakerState
from dispatcher.functions.shown import CallTotals
from dispatcher.queue.admin.surface import (
    MOST_LANES,
    LaneFilter,
    LaneKind,
    LaneOrder,
    LanePage,
    LaneTrouble,
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
    lanes_destination: LanePartIn | None = Field(
        None, description="Those with this in the name of their destination, in any case."
    )
    lanes_state: Literal["failing", "held"] | None = Field(
        None,
        description="Those whose destination is down (its breaker is not closed, or attempts have "
        "failed for a minute), or that an operator holds.",
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
            raise ValueError("`lanes_cursor` is for destinations by name only: `lanes_order=name`")
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
    def which(self) -> LaneFilter:
        """As the queue understands it."""
        return LaneFilter(
            part=None if self.lanes_destination is None else self.lanes_destination.lower(),
            trouble=None if self.lanes_state is None else LaneTrouble(self.lanes_state),
        )

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
        description="Null of calls, which wait for their times elsewhere."
    )
    in_flight: int
    limit: int | None = Field(
        description="How many attempts it may have at once; null where runs are fetched."
    )
    rate: str | None = Field(
        description="How many attempts may start in which time, by its rule: `50/s`, `10/m`."
    )
    paused_until: InstantOut | None = Field(
        validation_alias="paused_until_us",
        description="Until when it backs off: Retry-After, breaker, or what this machine lacks.",
    )
    held: bool = Field(description="An operator holds it.")
    paused: bool = Field(validation_alias="held", description="The older name of `held`.")
    breaker: BreakerState
    last_error: str | None = Field(
        description="What the last attempt that went wrong came to: a slug, or `http_503`; null "
        "where none did since the start."
    )
    last_error_at: InstantOut | None = Field(validation_alias="last_error_at_us")
    failing_since: InstantOut | None = Field(
        validation_alias="failing_since_us",
        description="When the first of the failures in a row was; null: the last attempt was "
        "answered.",
    )
    delivered_per_s: float | None = Field(description="In the last minute; null of calls.")
    attempt_p50_ms: float | None = Field(
        description="Of its last attempts that were timed, 64 at most; null before the first."
    )
    attempt_p95_ms: float | None = Field(description="As `attempt_p50_ms`.")
    oldest_at: InstantOut | None = Field(
        validation_alias="oldest_at_us",
        description="When the oldest message was accepted that waits for its turn, or for another "
        "attempt.",
    )


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
    incomplete: Incomplete = Field(default_factory=list)

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

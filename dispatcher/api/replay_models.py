"""What the API takes and gives about replays."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from dispatcher.api import places
from dispatcher.api.fields import (
    DestinationIn,
    Everything,
    InstantIn,
    InstantOut,
    LabelIn,
    RateIn,
    Slug,
)
from dispatcher.api.models import Input, Output
from dispatcher.api.places import PlaceOfReplay
from dispatcher.queue.admin.surface import HistoryFilter, Replayed

_State = Literal["running", "waiting", "done", "failed", "cancelled"]
_NARROWING: Final = ("destination", "since", "until", "label")


def _say_selectors(schema: JsonDict) -> None:
    """The rule of `ReplayRequest` in JSON Schema."""
    schema["anyOf"] = [{"required": [name]} for name in (*_NARROWING, "all")]


class ReplayRequest(Input):
    """Messages that were delivered, to be sent again: those that match everything that is said. All
    of them have to be asked for with `all`."""

    model_config = ConfigDict(json_schema_extra=_say_selectors)

    destination: DestinationIn | None = Field(None, description="Were delivered there.")
    since: InstantIn | None = Field(None, description="Were accepted at this instant, or after it.")
    until: InstantIn | None = Field(None, description="Were accepted before this instant.")
    label: LabelIn | None = Field(None, description="Have this label.")
    all: Everything | None = None
    to: DestinationIn | None = Field(None, description="Where they are sent, in place of theirs.")
    rate: RateIn | None = Field(None, description="How often one is sent, at most.")
    dry_run: bool = Field(False, description="Count, and send nothing.")
    cursor: PlaceOfReplay | None = Field(
        None, description="The `cursor` of the last line of a replay that broke off: go on there."
    )

    @model_validator(mode="after")
    def _check_selectors(self) -> Self:
        if not {*_NARROWING, "all"} & self.model_fields_set:
            raise ValueError("say which: `destination`, `since`, `until`, `label`, or `all`")
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise ValueError("`until` is not after `since`: nothing was accepted between them")
        return self

    def filter(self) -> HistoryFilter:
        """As the queue understands it."""
        return HistoryFilter(self.destination, self.since, self.until, self.label)


class ReplayedTo(Output):
    """Messages that were delivered to one destination."""

    destination: str
    messages: int
    size_bytes: int


class ReplayLine(Output):
    """How far a replay is. What is counted is durable, under new ids; with `dry_run` it would be
    sent."""

    state: _State = Field(
        description="`waiting`: nothing is accepted now, and `error` says why; it goes on by "
        "itself. The last line has `done`, or `failed` or `cancelled` with the `error`."
    )
    messages: int
    size_bytes: int = Field(description="Bytes of their bodies.")
    first_accepted_at: InstantOut | None = Field(description="When the first was accepted.")
    last_accepted_at: InstantOut | None
    read_bytes: int = Field(description="How much of the log is read.")
    log_bytes: int = Field(description="Of how much, about.")
    unreadable: int = Field(description="Messages that the disk gives back as something else.")
    cursor: str = Field(description="Goes on behind this line, in another request.")
    job: str = Field(description="The id of the job that sends them.")
    error: Slug | None = None
    message: str | None = None
    destinations: list[ReplayedTo] | None = Field(
        None,
        exclude_if=lambda found: found is None,
        description="The 1000 with most messages; in the last line only.",
    )
    destinations_total: int | None = Field(None, exclude_if=lambda found: found is None)

    @classmethod
    def of(
        cls,
        told: Replayed,
        job: str,
        *,
        failure: tuple[str, str] | None = None,
        is_cancelled: bool = False,
    ) -> Self:
        """From what the queue says; `failure` is the slug and the message of what ended it."""
        state: _State = "running" if told.waiting is None else "waiting"
        if told.is_done:
            state = "done"
        if failure is not None:
            state = "cancelled" if is_cancelled else "failed"
        error, message = failure or (None, None)
        if told.waiting is not None and failure is None:
            error, message = told.waiting.slug, told.waiting.message
        return cls(
            state=state,
            messages=told.messages,
            size_bytes=told.size_bytes,
            first_accepted_at=told.first_us,
            last_accepted_at=told.last_us,
            read_bytes=told.read_bytes,
            log_bytes=told.log_bytes,
            unreadable=told.unreadable,
            cursor=places.encode(told.place),
            job=job,
            error=error,
            message=message,
            destinations=_destinations(told) if told.is_done else None,
            destinations_total=told.destinations_total if told.is_done else None,
        )


def _destinations(told: Replayed) -> list[ReplayedTo]:
    return [
        ReplayedTo(destination=name, messages=messages, size_bytes=size_bytes)
        for name, messages, size_bytes in told.destinations
    ]

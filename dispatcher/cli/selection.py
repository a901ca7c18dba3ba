"""Which dead letters a command is about: some ids, those that match filters, or all.

Pure: what was typed comes in, what to ask the API for goes out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from dispatcher.cli import times
from dispatcher.cli.client import Json
from dispatcher.cli.errors import BadUsage

STDIN = "-"
KINDS = ("message", "call")
_DEAD_OPTIONS: Final = (
    "--kind, --destination, --function, --label, --order-key, --method, --target, --reason, "
    "--status, --error, --before, --after, --older-than"
)
_OF_DESTINATIONS: Final = ("backs off", "probing")
"""What lists of messages show in place of a state, where it is what keeps a message waiting."""
WAITING_OPTIONS: Final = (
    "--destination, --state, --label, --order-key, --method, --target, --older-than"
)


@dataclass(frozen=True, slots=True)
class Filters:
    """Dead letters that match everything that is not None; instants as the API spells them."""

    destination: str | None = None
    status: int | None = None
    error: str | None = None
    before: str | None = None
    after: str | None = None
    kind: str | None = None
    function: str | None = None
    label: str | None = None
    reason: str | None = None
    order_key: str | None = None
    method: str | None = None
    target: str | None = None

    @staticmethod
    def read(
        destination: str | None,
        status: int | None,
        error: str | None,
        *,
        before: str | None,
        after: str | None,
        older_than: str | None,
        now: datetime,
        kind: str | None = None,
        function: str | None = None,
        label: str | None = None,
        reason: str | None = None,
        order_key: str | None = None,
        method: str | None = None,
        target: str | None = None,
    ) -> Filters:
        """Make filters of options.

        Raises:
            BadUsage: an instant or a span cannot be read, both ends are given twice, or the kind
                is none.
        """
        if kind not in (None, *KINDS):
            raise BadUsage(f"--kind: expected {' or '.join(KINDS)}")
        if before is not None and older_than is not None:
            raise BadUsage("--before and --older-than mean the same: give one of them")
        if older_than is not None:
            before = times.ago(older_than, "--older-than", now)
        elif before is not None:
            before = times.instant(before, "--before")
        if after is not None:
            after = times.instant(after, "--after")
        return Filters(
            *(destination, status, error, before, after, kind, function, label),
            *(reason, order_key, method, target),
        )

    def given(self) -> Json:
        """Return those that are not None, under the API's names."""
        names = (
            *("kind", "destination", "function", "label", "order_key", "method", "target"),
            *("reason", "status", "error", "before", "after"),
        )
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def filters_of(
    kind: str | None,
    destination: str | None,
    function: str | None,
    label: str | None,
    status: int | None,
    error: str | None,
    before: str | None,
    after: str | None,
    older_than: str | None,
    *,
    reason: str | None = None,
    order_key: str | None = None,
    method: str | None = None,
    target: str | None = None,
) -> Filters:
    """The filters of the options that commands about dead letters share; spans end now.

    Raises:
        BadUsage: see `Filters.read`.
    """
    return Filters.read(
        destination,
        status,
        error,
        before=before,
        after=after,
        older_than=older_than,
        now=datetime.now(UTC),
        kind=kind,
        function=function,
        label=label,
        reason=reason,
        order_key=order_key,
        method=method,
        target=target,
    )


class Given(Protocol):
    """Filters of some list."""

    def given(self) -> Json:
        """Return those that are not None, under the API's names."""


@dataclass(frozen=True, slots=True)
class WaitingFilters:
    """Waiting messages that match everything that is not None, as the API spells it.

    Raises:
        BadUsage: `older_than` is no span with a unit, or `state` is one of destinations.
    """

    destination: str | None = None
    state: str | None = None
    label: str | None = None
    order_key: str | None = None
    method: str | None = None
    target: str | None = None
    older_than: str | None = None

    def __post_init__(self) -> None:
        if self.older_than is not None:
            times.span(self.older_than, "--older-than")
        word = (self.state or "").replace("-", " ").replace("_", " ")
        if word in _OF_DESTINATIONS:
            raise BadUsage(
                f"--state {self.state}: {word} is what a destination does, and its messages are "
                "ready or scheduled; expected ready, scheduled, in_flight or held. "
                "`dispatcher destinations list` shows how each stands"
            )

    def given(self) -> Json:
        """Return those that are not None, under the API's names."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Ids:
    """These dead letters, or messages."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matching:
    """The dead letters, or messages, that match; with no filter at all, every one."""

    filters: Given

    def selector(self) -> Json:
        """Return the selector of the API."""
        given = self.filters.given()
        return given if "destination" in given else {"all": True, **given}


Selection = Ids | Matching


def select(
    ids: Sequence[str], filters: Given, *, everything: bool, options: str = _DEAD_OPTIONS
) -> Selection:
    """Decide what is meant. `options` are those of the filters, for who said nothing.

    Raises:
        BadUsage: nothing is, or ids and filters at once.
    """
    given = filters.given()
    if ids and (given or everything):
        raise BadUsage("give ids, or filters, or --all: ids are not narrowed")
    if ids:
        return Ids(tuple(dict.fromkeys(ids)))
    if not given and not everything:
        raise BadUsage(f"say which: ids, '-' for ids on standard input, {options}, or --all")
    return Matching(filters)


def given_ids(given: Sequence[str] | None, stdin: Iterable[str]) -> Sequence[str]:
    """Return the ids that were given, or those on standard input for `-`.

    Raises:
        BadUsage: there are none on it.
    """
    if given != [STDIN]:
        return given or []
    found = read_ids(stdin)
    if not found:
        raise BadUsage("standard input: no ids in it")
    return found


def read_ids(lines: Iterable[str]) -> list[str]:
    """Read ids between blanks, or out of the lines that `dead list --json` and `messages list
    --json` print.

    Raises:
        BadUsage: a line is a JSON object without an id.
    """
    found: list[str] = []
    for line in lines:
        if line.lstrip().startswith("{"):
            found.append(_id_of(line))
        else:
            found.extend(line.split())
    return found


def _id_of(line: str) -> str:
    try:
        found = json.loads(line)["id"]
    except (ValueError, KeyError):
        found = None
    if not isinstance(found, str):
        raise BadUsage("standard input: expected ids, or the lines of a list's --json")
    return found

"""What is wrong now, as a pure function of the facts: the list on top of the overview.

    log_failed, disk_full, disk_stalled, …   nothing is accepted: the slug is that of `/readyz`
    process_away            a process of the server does not answer: what its partitions have waits
    partition_failed        a node cannot open a partition that it has
    partition_free          no node has a partition, or the one that has it does not answer; the
                            first five by number, then `partitions_free`
    node_away               a node of the cluster does not answer, and was not stopped; as above,
                            `nodes_away`
    disk_filling            the disk is full within a day, if it goes on as it did (`Forecast`)
    disk_slow               a sync takes longer than a second
    destination_failing     its breaker is open, or its attempts have failed for a minute, and
                            messages wait; the worst five by name, then `destinations_failing`
    application_failing     the breaker of an application is open, and calls wait; as above,
                            `applications_failing`
    destination_held        an operator holds it, and messages wait; as above, `destinations_held`
    machine_lacking         attempts rest because this machine lacks something
    descriptors_short       nine in ten file descriptors are in use
    messages_waiting_long   the oldest message is old, and its destination is well
    dead_letters            messages were given up in the last hour, and are still here
    letters_dropping        dead letters will be dropped soon, for their age or their bytes
    audit_unkept            what operators do is not written down

In this order: what stops everything, what stops one destination, what wants a look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.api.cluster import ClusterView
from dispatcher.api.outlook import Problem, Severity
from dispatcher.core.outcome import in_words
from dispatcher.node.history import Forecast
from dispatcher.node.problem_parts import MOST_NAMED as MOST_NAMED
from dispatcher.node.problem_parts import about, behind, last
from dispatcher.node.work_problems import of_work

_MINUTE_US: Final = 60_000_000
_HOUR_S: Final = 3600
_FILLING_S: Final = 24 * _HOUR_S
_FILLING_SOON_S: Final = 4 * _HOUR_S
_LONG_US: Final = 10 * _MINUTE_US
_DROPPING_S: Final = 24 * _HOUR_S
_SHORT: Final = 0.9


@dataclass(frozen=True, slots=True)
class Ailing:
    """A destination that fails, or is held, with messages waiting."""

    destination: str
    waiting: int
    since_us: int | None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Oldest:
    """The oldest message that waits for its turn. `is_well`: its destination takes messages."""

    destination: str
    accepted_at_us: int
    is_well: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What the list is made from. `failing`, `applications` and `held` are the worst, the worst
    first; the totals say how many there are.

    `not_ready`              the slug of `/readyz` and its sentence, None while all is accepted.
    `dead_lately`            messages given up within the hour, that are still dead letters.
    `letters_dropped_in_s`   when the oldest letter is dropped for its age; None: never.
    `letters_part`           of the bytes that dead letters may have, 0 to 1; 0 without a limit.
    `descriptors_part`       of the file descriptors of the process, 0 to 1.
    `audit_unkept`           why the audit is not written; None: it is.
    `cluster`                who does the work; None where that is one process.
    """

    now_us: int
    not_ready: tuple[str, str] | None = None
    is_slow: bool = False
    forecast: Forecast | None = None
    failing: Sequence[Ailing] = ()
    failing_total: int = 0
    applications: Sequence[Ailing] = ()
    applications_total: int = 0
    held: Sequence[Ailing] = ()
    held_total: int = 0
    lacking_since_us: int | None = None
    descriptors_part: float = 0.0
    oldest: Oldest | None = None
    dead_lately: int = 0
    letters_dropped_in_s: float | None = None
    letters_part: float = 0.0
    audit_unkept: str | None = None
    cluster: ClusterView | None = None


def problems(facts: Facts) -> list[Problem]:
    """What is wrong, in order of gravity; empty when all is well."""
    return [
        *_not_ready(facts),
        *of_work(facts.cluster, facts.now_us),
        *_of_logs(facts),
        *_failing(facts),
        *_applications(facts),
        *_held(facts),
        *_of_machine(facts),
        *_of_messages(facts),
        *_of_letters(facts),
        *_of_audit(facts),
    ]


def _not_ready(facts: Facts) -> Iterator[Problem]:
    if facts.not_ready is not None:
        slug, message = facts.not_ready
        yield Problem(slug, Severity.ERROR, message)


def _of_logs(facts: Facts) -> Iterator[Problem]:
    forecast = facts.forecast
    if forecast is not None and forecast.full_in_s < _FILLING_S:
        yield Problem(
            "disk_filling",
            Severity.ERROR if forecast.full_in_s < _FILLING_SOON_S else Severity.WARNING,
            f"The disk of the log will be full in {about(forecast.full_in_s)}, if it goes on as "
            f"in the last {last(forecast.known_s)}. Make space; without any, messages are "
            "refused.",
        )
    if facts.is_slow:
        yield Problem(
            "disk_slow",
            Severity.WARNING,
            "A sync of a log takes longer than a second. No caller is answered sooner: look at the "
            "disk, and at who else uses it.",
        )


def _failing(facts: Facts) -> Iterator[Problem]:
    for one in facts.failing[:MOST_NAMED]:
        since_us = one.since_us
        lasted = "" if since_us is None else f" for {about((facts.now_us - since_us) / 1e6)}"
        yield Problem(
            "destination_failing",
            Severity.ERROR,
            f"{one.destination} has been failing{lasted}"
            f"{f' ({in_words(one.last_error)})' if one.last_error else ''}; "
            f"{_messages(one.waiting)} for it.",
            destination=one.destination,
            since_us=since_us,
            count=one.waiting,
        )
    more = facts.failing_total - len(facts.failing[:MOST_NAMED])
    yield from behind(
        "destinations_failing",
        Severity.ERROR,
        more,
        f"{_destinations(more)} more {'fails' if more == 1 else 'fail'}, and messages wait.",
    )


def _applications(facts: Facts) -> Iterator[Problem]:
    for one in facts.applications[:MOST_NAMED]:
        calls = "1 call waits" if one.waiting == 1 else f"{one.waiting} calls wait"
        yield Problem(
            "application_failing",
            Severity.ERROR,
            f"Runs at {one.destination} fail in a row; {calls} for it.",
            destination=one.destination,
            count=one.waiting,
        )
    more = facts.applications_total - len(facts.applications[:MOST_NAMED])
    yield from behind(
        "applications_failing",
        Severity.ERROR,
        more,
        f"{more} more application{' fails' if more == 1 else 's fail'}, and calls wait.",
    )


def _held(facts: Facts) -> Iterator[Problem]:
    for one in facts.held[:MOST_NAMED]:
        yield Problem(
            "destination_held",
            Severity.WARNING,
            f"An operator holds {one.destination}; {_messages(one.waiting)} for it.",
            destination=one.destination,
            since_us=one.since_us,
            count=one.waiting,
        )
    more = facts.held_total - len(facts.held[:MOST_NAMED])
    yield from behind(
        "destinations_held",
        Severity.WARNING,
        more,
        f"{_destinations(more)} more {'is' if more == 1 else 'are'} held, and messages wait.",
    )


def _of_machine(facts: Facts) -> Iterator[Problem]:
    if facts.lacking_since_us is not None:
        yield Problem(
            "machine_lacking",
            Severity.ERROR,
            "Attempts rest because this machine lacks something: descriptors, memory, local ports "
            "or a network. `detail` of attempt.finished in the log says what.",
            since_us=facts.lacking_since_us,
        )
    if facts.descriptors_part >= _SHORT:
        yield Problem(
            "descriptors_short",
            Severity.WARNING,
            f"{facts.descriptors_part:.0%} of the file descriptors are in use. Raise the limit "
            "(LimitNOFILE, ulimit -n) and start again.",
        )


def _of_messages(facts: Facts) -> Iterator[Problem]:
    oldest = facts.oldest
    if oldest is None or not oldest.is_well:
        return
    age_us = facts.now_us - oldest.accepted_at_us
    if age_us > _LONG_US:
        yield Problem(
            "messages_waiting_long",
            Severity.WARNING,
            f"The oldest message has waited for {about(age_us / 1e6)}, although "
            f"{oldest.destination} takes messages.",
            destination=oldest.destination,
            since_us=oldest.accepted_at_us,
        )


def _became_letters(count: int) -> str:
    return (
        "1 message became a dead letter" if count == 1 else f"{count} messages became dead letters"
    )


def _of_letters(facts: Facts) -> Iterator[Problem]:
    if facts.dead_lately:
        yield Problem(
            "dead_letters",
            Severity.WARNING,
            f"{_became_letters(facts.dead_lately)} within the last hour. Repair the cause, then "
            f"redrive {'it' if facts.dead_lately == 1 else 'them'}.",
            count=facts.dead_lately,
        )
    in_s = facts.letters_dropped_in_s
    if in_s is not None and in_s < _DROPPING_S:
        yield Problem(
            "letters_dropping",
            Severity.WARNING,
            f"The oldest dead letter will be dropped for its age in {about(max(in_s, 0))}. "
            "Redrive or purge it, or raise DEAD_LETTER_RETENTION.",
        )
    elif facts.letters_part >= _SHORT:
        yield Problem(
            "letters_dropping",
            Severity.WARNING,
            f"Dead letters have {facts.letters_part:.0%} of DEAD_LETTER_MAX_BYTES; above it the "
            "oldest are dropped. Redrive or purge some, or raise it.",
        )


def _of_audit(facts: Facts) -> Iterator[Problem]:
    if facts.audit_unkept is not None:
        yield Problem(
            "audit_unkept",
            Severity.WARNING,
            "What operators do is not written down, and is gone after a restart: "
            f"{facts.audit_unkept.rstrip('.')}.",
        )


def _messages(count: int) -> str:
    return "1 message waits" if count == 1 else f"{count} messages wait"


def _destinations(count: int) -> str:
    return "1 destination" if count == 1 else f"{count} destinations"

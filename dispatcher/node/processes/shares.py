"""What a node may have altogether, shared out to its processes.

    WORKER, WORKER_SLOW                        in equal parts; the first ones get the rest
    MAX_BACKLOG_BYTES, DEAD_LETTER_MAX_BYTES   the same; 0 is no limit, for each of them too
    CALL_WORKER, RESULT_MAX_BYTES, AUDIT_MAX_BYTES
                                               the first process's, which alone has what they bound

Descriptors are not shared out, nor is what is bounded by them: the limit (RLIMIT_NOFILE) is one of
a process, and each has its own. Callers least of all: which process takes a connection is the
kernel's choice, and one with a part of the limit would refuse while others have room.
"""

from __future__ import annotations

from dispatcher.settings import Settings


def of_child(settings: Settings, number: int, processes: int) -> Settings:
    """What the process of this number is told. Settings that were not given count as not given."""
    shared = {
        "worker": part(settings.worker, number, processes),
        "worker_slow": max(part(settings.worker_slow, number, processes), 1),
        "max_backlog_bytes": _part_of_limit(settings.max_backlog_bytes, number, processes),
        "dead_letter_max_bytes": _part_of_limit(settings.dead_letter_max_bytes, number, processes),
    }
    # A copy counts what it was updated with as given.
    given = set(settings.model_fields_set)
    copy = settings.model_copy(update=shared)
    copy.__pydantic_fields_set__.intersection_update(given)
    return copy


def part(whole: int, number: int, of: int) -> int:
    """The part of one of so many; all of them are `whole`, and differ by one at most."""
    return whole // of + (number < whole % of)


def _part_of_limit(limit: int, number: int, of: int) -> int:
    return max(part(limit, number, of), 1) if limit else 0

"""File descriptors: as many as the system allows, and shared out before they run out.

Without one nothing can be read back from the log, no segment be made and no destination be reached:
so callers are refused (503) long before, whose connections are the ones that nobody bounds.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Final

from dispatcher.settings import Settings
from dispatcher.settings.descriptors import attainable
from dispatcher.telemetry.events import Events

_OWN: Final = 48
"""The logs, the listeners, the resolver, the event loop, and some for good measure."""
_MOST_CALLERS: Final = 10_000
_MOST_IDLE: Final = 1024
_MOST_OPERATORS: Final = 1024
"""And applications, which dispatch calls there, and wait for results on a connection each."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many connections there may be: `workers` of attempts in flight, `slow` ones of attempts
    that take long, `calls` ones of runs of function calls, `idle` ones to destinations, `callers`
    open at once, and `operators` at the API."""

    workers: int
    slow: int
    calls: int
    idle: int
    callers: int
    operators: int


def share_of(settings: Settings, events: Events) -> Share:
    """Raise the limit of this process as far as it may, and share it out as the settings ask; log
    which of them ask for more than there is."""
    limit = raise_limit()
    found = share(limit, settings.worker, settings.worker_slow, settings.call_worker)
    asked = [("WORKER", settings.worker, found.workers)]
    if "worker_slow" in settings.model_fields_set:
        asked.append(("WORKER_SLOW", settings.worker_slow, found.slow))
    if "call_worker" in settings.model_fields_set:
        asked.append(("CALL_WORKER", settings.call_worker, found.calls))
    for setting, value, in_force in asked:
        if in_force < value:
            events.setting_reduced(
                setting=setting, value=value, in_force=in_force, descriptors=limit
            )
    return found


def raise_limit() -> int:
    """Raise the soft limit of this process as far as it may; return what is in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = attainable()
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def share(limit: int, workers: int, slow: int, calls: int) -> Share:
    """Share out `limit` descriptors. Attempts in flight get `workers` of them, but no more than
    half of what the server itself leaves, slow ones get `slow`, but no more than half of what is
    left then, and runs `calls`, but no more than an eighth of the rest: without any for callers
    there would be nothing to deliver.

    Everybody gets one at least: a process that may open next to nothing still serves one caller
    after the other.
    """
    free = max(limit - _OWN, 8)
    workers = min(workers, free // 2)
    free -= workers
    slow = max(min(slow, free // 2), 1)
    free -= slow
    calls = max(min(calls, free // 8), 1)
    free -= calls
    operators = max(min(free // 8, _MOST_OPERATORS), 1)
    idle = max(min((free - operators) // 4, _MOST_IDLE), 1)
    callers = max(min(free - operators - idle, _MOST_CALLERS), 1)
    return Share(workers, slow=slow, calls=calls, idle=idle, callers=callers, operators=operators)

"""An `Outlook` that says what it is told, and what a dashboard can be tried with: a server that is
busy, one that has nothing to do, and one with everything broken."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from random import Random

from dispatcher import __version__
from dispatcher.api.outlook import (
    DeadView,
    DiskView,
    HistoryView,
    LaneCounts,
    LastLetter,
    OverviewView,
    Problem,
    WaitingView,
)
from dispatcher.api.outlook_models import Series
from dispatcher.core.clock import SystemClock
from dispatcher.node.history import POINTS, STEP_S, Forecast
from dispatcher.node.problems import Ailing, Facts, problems

_MINUTE_US = 60_000_000
_GIB = 1 << 30
_CALLS = {
    "ready": 2, "scheduled": 1, "running": 3, "suspended": 14, "outside": 0, "ending": 0,
    "created_total": 250, "succeeded_total": 211, "failed_total": 12, "expired_total": 3,
    "cancelled_total": 4,
}  # fmt: skip


class Variant(Enum):
    """How the invented server is."""

    BUSY = "busy"
    EMPTY = "empty"
    BROKEN = "broken"


class MemoryOutlook:
    """`shown` and `series` are what is answered, `now_us` the clock; each may be replaced."""

    def __init__(
        self, variant: Variant = Variant.EMPTY, now_us: Callable[[], int] | None = None
    ) -> None:
        """`now_us` is the clock; the machine's when nothing is said."""
        self.now_us = now_us or SystemClock().now_us
        self.shown = overview(variant, self.now_us())
        self.series: Mapping[str, Sequence[float | None]] = series(variant)

    def history(self) -> HistoryView:
        """See `Outlook`."""
        step_us = STEP_S * 1_000_000
        return HistoryView(STEP_S, self.now_us() // step_us * step_us, self.series)

    async def overview(self) -> OverviewView:
        """See `Outlook`."""
        return self.shown


def overview(variant: Variant, now_us: int) -> OverviewView:
    """The facts of an invented server."""
    empty = OverviewView(
        version=__version__,
        instance="dispatcher-1.example",
        started_at_us=now_us - 30 * _MINUTE_US,
        pid=4711,
        listen=["0.0.0.0:80"],
        api_listen=["127.0.0.1:8081"],
        problems=[],
        waiting=WaitingView(0, None),
        dead=DeadView(0, []),
        disk=DiskView(41 * _GIB, 50 * _GIB, _GIB // 4, 0, None),
        lanes=LaneCounts(0, 0, 0),
        calls=dict.fromkeys(_CALLS, 0),
    )
    if variant is Variant.EMPTY:
        return empty
    last = [
        LastLetter(f"{number:028x}", f"https://{to}.example", cause, now_us - age * _MINUTE_US)
        for number, to, cause, age in (
            (1250, "mail", "http_404", 2),
            (1249, "stock", "timeout", 9),
            (1248, "billing", "http_503", 31),
        )
    ]
    busy = replace(
        empty,
        started_at_us=now_us - 3 * 1440 * _MINUTE_US,
        problems=problems(Facts(now_us, dead_lately=2)),
        waiting=WaitingView(75, now_us - _MINUTE_US // 3),
        dead=DeadView(250, last),
        disk=DiskView(31 * _GIB, 50 * _GIB, 3 * _GIB, 2 * _GIB, 19 * 86_400),
        lanes=LaneCounts(3, 0, 0),
        calls=_CALLS,
    )
    if variant is Variant.BUSY:
        return busy
    return replace(
        busy,
        problems=_everything(now_us),
        waiting=WaitingView(48_211, now_us - 95 * _MINUTE_US),
        disk=DiskView(_GIB, 50 * _GIB, 44 * _GIB, 40 * _GIB, 5_400),
        lanes=LaneCounts(12, 7, 1),
    )


def _everything(now_us: int) -> list[Problem]:
    names = ("billing", "mail", "stock", "ledger.accounting.internal", "orders")
    errors = ("http_503", "timeout", "connection_failed", "dns_failed", "tls_failed")
    failing = [
        Ailing(f"https://{name}.example", 20_000 >> number, now_us - 95 * _MINUTE_US, error)
        for number, (name, error) in enumerate(zip(names, errors, strict=True))
    ]
    return problems(
        Facts(
            now_us,
            not_ready=("disk_stalled", "The disk of a log does not answer. Look at it; accepting "
                       "resumes by itself."),
            is_slow=True,
            forecast=Forecast(5_400, 3_600),
            failing=failing,
            failing_total=7,
            applications=[Ailing("http://apps.example:8000", 14, None)],
            applications_total=1,
            held=[Ailing("https://archive.example", 12, None)],
            held_total=1,
            lacking_since_us=now_us - 3 * _MINUTE_US,
            descriptors_part=0.94,
            dead_lately=118,
            letters_dropped_in_s=7_200,
        )
    )  # fmt: skip


def series(variant: Variant) -> dict[str, list[float | None]]:
    """An hour of an invented server, the same each time. The busy one has waves, the empty one has
    run for half of it and has nothing to do, and of the broken one destinations have failed for
    some time: nothing is delivered any more, and it was away for five minutes."""
    random = Random(3)
    found: dict[str, list[float | None]] = {name: [] for name in Series.model_fields}
    state = _State()
    for number in range(POINTS):
        if (variant is Variant.EMPTY and number < POINTS // 2) or (
            variant is Variant.BROKEN and 100 <= number < 130
        ):
            point: dict[str, float | None] = {}
        else:
            point = state.step(number, variant, random)
        for name, points in found.items():
            points.append(point.get(name))
    return found


class _State:
    """What goes on from one step to the next."""

    def __init__(self) -> None:
        self.ready = 0.0
        self.letters = 180
        self.free = 31.0 * _GIB

    def step(self, number: int, variant: Variant, random: Random) -> dict[str, float | None]:
        """The points of the next step."""
        if variant is Variant.EMPTY:
            accepted, broken, slow = 0, False, 0.0
        else:
            accepted = int(900 + 600 * math.sin(number / 25) + random.uniform(-120, 120))
            broken = variant is Variant.BROKEN and number > 200
            slow = 40.0 if broken else 1.0
        delivered = 0 if broken else accepted
        dead = int(accepted and random.random() < (0.5 if broken else 0.05))
        self.letters += dead
        self.ready = self.ready + accepted - delivered
        self.free -= accepted * (200_000 if broken else 2_000)
        return {
            "accepted": accepted,
            "delivered": delivered,
            "dead": dead,
            "attempts_failed": int(random.uniform(0, 60)) if broken else dead,
            "refused": int(random.uniform(0, 9)) if broken else 0,
            "ready": int(self.ready) + (int(random.uniform(0, 40)) if accepted else 0),
            "scheduled": 21 if accepted else 0,
            "in_flight": int(random.uniform(1, 10)) if accepted else 0,
            "dead_letters": self.letters if accepted else 0,
            "accept_p50_ms": round(random.uniform(0.8, 1.4), 3) if accepted else None,
            "accept_p95_ms": round(random.uniform(2, 5) * slow, 3) if accepted else None,
            "attempt_p50_ms": round(random.uniform(9, 16), 3) if accepted else None,
            "attempt_p95_ms": round(random.uniform(60, 110) * slow, 3) if accepted else None,
            "log_bytes": _GIB // 4 + int(self.ready) * 1024,
            "disk_free_bytes": max(int(self.free), _GIB),
        }

"""How the messages of one flow key may run: `rate=10/1m, parallelism=2, burst=5`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from dispatcher.core.rate import Rate, parse_rate

MOST_PARALLEL: Final = 1000
MOST_BURST: Final = 1_000_000
FLOW_EXPECTED: Final = (
    "`rate=10/1m`, `parallelism=2` or both, separated by a comma, and with a rate perhaps "
    f"`burst=5`; units are s, m, h, d, parallelism is at most {MOST_PARALLEL}, burst {MOST_BURST}"
)


@dataclass(frozen=True, slots=True)
class Flow:
    """How often attempts start, and how many run at once; None: as many as there are."""

    rate: Rate | None = None
    parallelism: int | None = None

    def __str__(self) -> str:
        """As `parse_flow` reads it."""
        parts = []
        if self.rate is not None:
            parts.append(f"rate={self.rate}")
        if self.parallelism is not None:
            parts.append(f"parallelism={self.parallelism}")
        if self.rate is not None and self.rate.burst > 1:
            parts.append(f"burst={self.rate.burst}")
        return ", ".join(parts)


NO_FLOW: Final = Flow()


@lru_cache(maxsize=1000)
def parse_flow(text: str) -> Flow | None:
    """Read `NAME=VALUE` pairs, separated by commas, each name once; None where that is none."""
    rate: Rate | None = None
    numbers: dict[str, int] = {}
    for part in text.split(","):
        name, _, value = part.strip(" \t").partition("=")
        if name == "rate" and rate is None:
            rate = parse_rate(value)
            if rate is None:
                return None
        elif name in ("parallelism", "burst") and name not in numbers:
            most = MOST_PARALLEL if name == "parallelism" else MOST_BURST
            if not (value.isascii() and value.isdigit() and len(value) <= 9):
                return None
            numbers[name] = int(value)
            if not 1 <= numbers[name] <= most:
                return None
        else:
            return None
    burst = numbers.get("burst")
    if burst is not None:
        if rate is None:
            return None
        rate = replace(rate, burst=burst)
    return Flow(rate, numbers.get("parallelism"))

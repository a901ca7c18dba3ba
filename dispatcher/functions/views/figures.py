"""What calls have come to since the start of the process, in numbers: for metrics and `/v1/stats`.

Everything is counted as it happens, so nobody has to look at all calls. Names of functions are
callers': the first hundred have numbers of their own, all others share one set of them.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from dispatcher.core.histogram import Histogram
from dispatcher.functions.shown import CallState, Entry, Step

MOST_FUNCTIONS: Final = 100
OTHER: Final = "other"
"""What functions are called that have no numbers of their own."""
_ENDED: Final[dict[str | None, CallState]] = {state.value: state for state in CallState}
_MS: Final = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000)


class FunctionFigures:
    """The runs of one function: `failures` are those with another status than OK. `duration_ms`
    is of all."""

    __slots__ = ("duration_ms", "failures", "runs")

    def __init__(self) -> None:
        self.runs = 0
        self.failures = 0
        self.duration_ms = Histogram(_MS)


class Figures:
    """`ended` by how, as `CallState` has it; `dead` are those of them that become dead letters;
    `runs` by status, in lower case."""

    __slots__ = ("created", "dead", "ended", "functions", "runs")

    def __init__(self) -> None:
        self.created = 0
        self.dead = 0
        self.ended: Counter[CallState] = Counter()
        self.runs: Counter[str] = Counter()
        self.functions: dict[str, FunctionFigures] = {}

    def count(self, function: str, entry: Entry) -> None:
        """Something happened to a call of a function."""
        step = entry.step
        if step is Step.RUN:
            self._run(function, entry)
        elif step is Step.CREATED:
            self.created += 1
        elif step is Step.ENDED:
            self.ended[_ENDED[entry.status]] += 1

    def _run(self, function: str, entry: Entry) -> None:
        self.runs[entry.status or ""] += 1
        found = self.functions.get(function) or self._of(function)
        found.runs += 1
        found.failures += entry.has_failed
        found.duration_ms.observe(entry.duration_ms or 0)

    def _of(self, function: str) -> FunctionFigures:
        if len(self.functions) >= MOST_FUNCTIONS:
            function = OTHER
        return self.functions.setdefault(function, FunctionFigures())

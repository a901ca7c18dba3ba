"""What is set for the runs of a partition."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.functions.rules import Rules


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """`partition` is in the ids of its calls; `timeout_ms` is CALL_TIMEOUT, of one run."""

    partition: int
    rules: Rules
    timeout_ms: int = 60_000

"""What is set for the runs of a partition."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.core.rules.table import RulesInForce
from dispatcher.functions.rules import Rules


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """`partition` is in the ids of its calls; `timeout_ms` is CALL_TIMEOUT, of one run. `in_force`
    are the rules for destinations."""

    partition: int
    rules: Rules
    timeout_ms: int = 60_000
    in_force: RulesInForce = field(default_factory=RulesInForce)

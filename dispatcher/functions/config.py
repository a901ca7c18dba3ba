"""What the function service is given: what is set for it, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dispatcher.core.rules.table import RulesInForce
from dispatcher.functions.intake import IntakeConfig
from dispatcher.functions.results.retention import ResultPolicy
from dispatcher.functions.rules import Rules
from dispatcher.functions.views.telling import Log


@dataclass(frozen=True, slots=True)
class FunctionConfig:
    """`workers` runs are in flight at once; `timeout_ms` is that of one. `results` says how long
    those are kept. `in_force` are the rules for destinations, one for the process."""

    rules: Rules
    intake: IntakeConfig
    results: ResultPolicy
    workers: int = 200
    timeout_ms: int = 60_000
    in_force: RulesInForce = field(default_factory=RulesInForce)


@dataclass(frozen=True, slots=True)
class Events:
    """Whom the service tells: `warned` of what an operator should look at (a function, and a
    sentence); `log` what happens to calls; `lost` and `result_lost` the ids of calls of which a
    repaired log has lost something; `failed` when a log of it can't be used any more and the
    process must end; `results_space_changed` when the disk of the results' log is full (True), or
    has space again."""

    warned: Callable[[str, str], None]
    log: Log
    lost: Callable[[str], None]
    result_lost: Callable[[str], None]
    failed: Callable[[Exception], None]
    results_space_changed: Callable[[bool], None]

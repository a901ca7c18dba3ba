"""The composition root: builds the parts of a server, starts and stops them in order.

`run` is what the command line calls. Everything the parts need to know about each other is said
here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dispatcher.core.rules.table import Rules
    from dispatcher.node.early_stop import EarlyStop
    from dispatcher.settings import Settings

__all__ = ["run"]


def run(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    rules: Rules | None = None,
    made_key: Path | None = None,
    early: EarlyStop | None = None,
) -> int:
    """As `process.run`, for several `PROCESSES` `processes.preparing.run_processes`, or with a
    CLUSTER `clustering.running.run_member`. They are imported here: the parent of several is a part
    of this package too, and stays small; and a node without a cluster needs nothing of one."""
    if settings.cluster:
        from dispatcher.node.clustering.running import run_member

        return run_member(settings, environ, rules=rules, made_key=made_key, early=early)
    if settings.process_count > 1:
        from dispatcher.node.processes.preparing import run_processes

        run_processes(settings, environ, rules=rules, made_key=made_key, early=early)
    from dispatcher.node import process

    return process.run(settings, environ, rules=rules, made_key=made_key, early=early)

"""The first lines of a process: where they go, and what they say of the settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from dispatcher import __version__
from dispatcher.core.rules.table import Rules
from dispatcher.node.reloading import tell_misspelt_roles, tell_unreached
from dispatcher.settings import Settings
from dispatcher.settings.misspelt import misspelt
from dispatcher.settings.sources import Names
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.telemetry.output import LineOutput, Turns


def begin_log(
    settings: Settings, rules: Rules, environ: Mapping[str, str], *, made_key: Path | None
) -> tuple[LineOutput, Events]:
    """Open the log of this process, and write which settings are in force and what is odd about
    them. `environ` is where they were read from, `made_key` a file that was made for them."""
    output = open_output()
    events = Events(open_log_of(settings, output))
    _tell_start(settings, rules, environ, events, made_key=made_key)
    return output, events


def open_output(turns: Turns | None = None) -> LineOutput:
    """Return where lines go: standard output. Nowhere when we were started without one, and not to
    the file that got its number."""
    is_there = sys.stdout is not None
    return LineOutput(sys.stdout.fileno() if is_there else os.open(os.devnull, os.O_WRONLY), turns)


def is_for_people() -> bool:
    """Whether lines go to a terminal, which shows colours."""
    return sys.stdout is not None and sys.stdout.isatty()


def open_log_of(
    settings: Settings, output: LineOutput, *, process: int | None = None
) -> FilteringBoundLogger:
    """Return the log of this process; `process` is its number, if there are several."""
    log = open_log(
        output.write,
        level=settings.log_level.value,
        format=settings.log_format.value,
        colors=is_for_people(),
    )
    return log if process is None else log.bind(process=process)


def _tell_start(
    settings: Settings,
    rules: Rules,
    environ: Mapping[str, str],
    events: Events,
    *,
    made_key: Path | None,
) -> None:
    events.server_starting(
        version=__version__,
        pid=os.getpid(),
        changed=settings.changed(),
        settings=settings.describe(),
    )
    if made_key is not None:
        events.api_key_made(path=str(made_key))
    for given, meant in misspelt(environ, Names.of(Settings)):
        events.setting_misspelt(variable=given, meant=meant)
    tell_misspelt_roles(settings, events)
    tell_unreached(rules, events)

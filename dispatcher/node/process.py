"""The process around the server: its event loop, its log, its signals and its exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from typing import Final

import uvloop

from dispatcher import __version__
from dispatcher.errors import DispatcherError
from dispatcher.node.server import Server
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.telemetry.output import LineOutput
from dispatcher.telemetry.stdlib import ToEvents

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_FAILED: Final = 1


def run(settings: Settings) -> int:
    """Serve until a signal comes or the log fails. Returns the exit code.

    Raises:
        DispatcherError: the server cannot start; it carries the exit code.
    """
    output = LineOutput(_standard_output())
    log = open_log(
        output.write,
        level=settings.log_level.value,
        format=settings.log_format.value,
        colors=sys.stdout is not None and sys.stdout.isatty(),
    )
    events = Events(log)
    logging.getLogger().addHandler(ToEvents(events))
    events.server_starting(version=__version__, pid=os.getpid(), settings=settings.describe())
    # Objects of the start live as long as the process: the collector need not look at them again.
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, events))
    except DispatcherError:
        raise
    except Exception as error:  # the outermost boundary: whatever it is, it is written down once
        events.server_crashed(exc_info=error)
        return _FAILED
    finally:
        output.close()


def _standard_output() -> int:
    """Return where lines go: nowhere when we were started without a standard output, and not to the
    file that got its number."""
    return os.open(os.devnull, os.O_WRONLY) if sys.stdout is None else sys.stdout.fileno()


async def _serve(settings: Settings, events: Events) -> int:
    server = Server(settings, events)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    caught: list[str] = []

    def on_signal(number: signal.Signals) -> None:
        if caught:
            # Nothing is lost: what is durable is durable, and the rest was not promised to anybody.
            events.server_abandoned(in_flight=server.in_flight)
            os._exit(_FAILED)
        caught.append(number.name)
        stopping.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        await server.start()
        await _first(stopping, server.failed)
        if server.failed.is_set():
            await server.abort()
            code = _FAILED
        else:
            events.server_stopping(signal=caught[0], in_flight=server.in_flight)
            code = await server.stop(settings.drain_timeout_ms / 1000)
    except BaseException:
        await server.abort()
        raise
    events.server_stopped(exit_code=code, pending=server.pending)
    return code


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()

"""The process around the server: its event loop, its log, its signals and its exit code.

SIGTERM and SIGINT stop it, a second one at once. SIGHUP reads again what can be read again, SIGUSR1
writes the stack of every thread to standard error.

They are blocked when this begins (`hold_signals`, called first of all by the command line) until
there is somebody to act on them: a process that is number 1 of a container loses a signal that has
no handler, and any other dies of it without a word. One that comes while the log is being read is
acted on at once: nothing was accepted yet, and a start that is killed changes nothing that the next
one could miss.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Final, NoReturn

import uvloop

from dispatcher import __version__
from dispatcher.core.rules.table import Rules
from dispatcher.errors import DispatcherError
from dispatcher.node.collecting import Collecting
from dispatcher.node.places import check_places
from dispatcher.node.pulse import Pulse
from dispatcher.node.reloading import Reloading, tell_misspelt_roles, tell_unreached
from dispatcher.node.server import Server
from dispatcher.node.systemd import Systemd
from dispatcher.node.trimming import give_back_memory
from dispatcher.settings import Settings
from dispatcher.settings.misspelt import misspelt
from dispatcher.settings.sources import Names
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.telemetry.output import LineOutput
from dispatcher.telemetry.stdlib import ToEvents
from dispatcher.telemetry.supervisor import Supervisor

_STOP: Final = (signal.SIGTERM, signal.SIGINT)
_FAILED: Final = 1


def run(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    rules: Rules | None = None,
    made_key: Path | None = None,
) -> int:
    """Serve until a signal comes or the log fails. Returns the exit code.

    `environ` is where the settings and `rules` (None: there are none) were read from; `made_key` is
    a file that was made for them.

    Raises:
        DispatcherError: the server cannot start; it carries the exit code.
    """
    check_places(settings)
    output = LineOutput(_standard_output())
    log = open_log(
        output.write,
        level=settings.log_level.value,
        format=settings.log_format.value,
        colors=sys.stdout is not None and sys.stdout.isatty(),
    )
    events = Events(log)
    logging.getLogger().addHandler(ToEvents(events))
    if sys.stderr is not None:
        faulthandler.register(signal.SIGUSR1, sys.stderr, all_threads=True)
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
    tell_unreached(rules or Rules(), events)
    # Objects of the start live as long as the process: the collector need not look at them again.
    gc.freeze()
    gc.enable()  # the command line has it off until here
    collecting = Collecting()
    gc.callbacks.append(collecting)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, rules or Rules(), environ, events, output))
    except DispatcherError:
        raise
    except Exception as error:  # the outermost boundary: whatever it is, it is written down once
        events.server_crashed(exc_info=error)
        return _FAILED
    finally:
        gc.callbacks.remove(collecting)
        output.close()


def _standard_output() -> int:
    """Return where lines go: nowhere when we were started without a standard output, and not to the
    file that got its number."""
    return os.open(os.devnull, os.O_WRONLY) if sys.stdout is None else sys.stdout.fileno()


async def _serve(
    settings: Settings,
    rules: Rules,
    environ: Mapping[str, str],
    events: Events,
    output: LineOutput,
) -> int:
    return await _Process(settings, rules, environ, events, output).serve()


class _Process:
    """One server, and the signals of its process."""

    def __init__(
        self,
        settings: Settings,
        rules: Rules,
        environ: Mapping[str, str],
        events: Events,
        output: LineOutput,
    ) -> None:
        self._settings = settings
        self._events = events
        self._output = output
        self._systemd = Systemd(environ)
        self._server = Server(settings, events, rules)
        self._reloading = Reloading(
            settings,
            rules,
            environ,
            events,
            self._server.replace_keys,
            self._server.prepare_rules,
            {
                "SIGNING_KEY": self._server.load_signing_keys,
                **self._server.certificates.files(),
            },
        )
        self._tasks = Supervisor(lambda name, error: events.task_died(task=name, exc_info=error))
        self._beating = Supervisor(lambda name, error: events.task_died(task=name, exc_info=error))
        self._stopping = asyncio.Event()
        self._caught = ""

    async def serve(self) -> int:
        """Start, serve, stop. Returns the exit code."""
        server = self._server
        self._handle_signals()
        try:
            starting = asyncio.ensure_future(server.start())
            if not await _first(starting, self._stopping.wait()):
                self._leave_early()
            starting.result()
            # What was read from the logs stays as well, and the first full collection of a server
            # at work would go through what the last one of the start has not set aside.
            gc.freeze()
            await asyncio.to_thread(give_back_memory)
            self._systemd.ready()
            self._begin_pulse()
            await _first(self._stopping.wait(), server.failed.wait())
            if server.failed.is_set():
                await server.abort()
                code = _FAILED
            else:
                code = await self._stop()
        except BaseException:
            await server.abort()
            raise
        await self._beating.stop()
        self._events.server_stopped(exit_code=code, pending=server.pending)
        if server.is_abandoned:
            self._exit(code)  # the interpreter would wait for the threads that hang
        return code

    async def _stop(self) -> int:
        settings, server = self._settings, self._server
        await self._tasks.stop()
        self._systemd.stopping()
        self._events.server_stopping(signal=self._caught, in_flight=server.in_flight)
        if settings.drain_notice_ms:
            await server.give_notice(settings.drain_notice_ms / 1000, server.failed)
        return await server.stop(settings.drain_timeout_ms / 1000)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _STOP:
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_STOP, signal.SIGHUP))

    def _begin_pulse(self) -> None:
        if self._systemd.is_listening:
            pulse = Pulse(self._systemd, self._server)
            self._beating.forever("pulse", pulse.beat, every_s=pulse.every_s)

    def _on_reload(self) -> None:
        self._tasks.spawn("reload", self._reload())

    async def _reload(self) -> None:
        self._systemd.reloading()
        try:
            await self._reloading.reload()
        finally:
            self._systemd.reloaded()

    def _on_stop(self, number: signal.Signals) -> None:
        if self._caught:
            # Nothing is lost: what is durable is durable, and the rest was not promised to anybody.
            self._events.server_abandoned(in_flight=self._server.in_flight)
            self._exit(_FAILED)
        self._caught = number.name
        self._stopping.set()

    def _leave_early(self) -> NoReturn:
        """End before the log was read to its end. Waiting for that could take minutes."""
        self._systemd.stopping()
        self._events.server_stopping(signal=self._caught, in_flight=0)
        self._events.server_stopped(exit_code=0, pending=None)
        self._exit(0)

    def _exit(self, code: int) -> NoReturn:
        self._output.close()
        os._exit(code)


async def _first(*awaitables: Awaitable[object]) -> bool:
    """Wait for the first of some to end; say whether the very first is among those that have. What
    was made into a task here is cancelled, what came as one goes on."""
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, given in zip(tasks, awaitables, strict=True):
            if task is not given:
                task.cancel()
    return tasks[0] in done

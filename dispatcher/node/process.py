"""The process around the server: its event loop, its log, its signals and its exit code.

SIGTERM and SIGINT stop it, a second one at once. SIGHUP reads again what can be read again, SIGUSR1
writes the stack of every thread to standard error.

They are blocked when this begins (`hold_signals`, called first of all by the command line) until
there is somebody to act on them: a process that is number 1 of a container loses a signal that has
no handler, and any other dies of it without a word. One that comes while the log is being read is
acted on at once: nothing was accepted yet, and a start that is killed changes nothing that the next
one could miss. Where a file hangs before that, `early_stop` hears of it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import uvloop

from dispatcher.core.rules.table import Rules
from dispatcher.errors import DispatcherError
from dispatcher.node.collecting import THRESHOLDS, Collecting, set_aside
from dispatcher.node.early_stop import STOP, EarlyStop
from dispatcher.node.opening import begin_log
from dispatcher.node.places import check_places
from dispatcher.node.preparing import prepare
from dispatcher.node.pulse import Pulse
from dispatcher.node.reloading import Reloading
from dispatcher.node.server import Server
from dispatcher.node.systemd import Manager, Systemd
from dispatcher.node.trimming import give_back_memory
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.output import LineOutput
from dispatcher.telemetry.stdlib import ToEvents
from dispatcher.telemetry.supervisor import Supervisor

_FAILED: Final = 1


def run(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    rules: Rules | None = None,
    made_key: Path | None = None,
    early: EarlyStop | None = None,
) -> int:
    """Serve until a signal comes or the log fails. Returns the exit code.

    `environ` is where the settings and `rules` (None: there are none) were read from; `made_key` is
    a file that was made for them. `early` has waited for signals up to now.

    Raises:
        DispatcherError: the server cannot start; it carries the exit code.
    """
    check_places(settings)
    rules = rules or Rules()
    output, events = begin_log(settings, rules, environ, made_key=made_key)

    async def serve() -> int:
        layout, assignment = await prepare(settings, max(0, time.time_ns() // 1000))
        server = Server(settings, events, rules, assignment=assignment, layout=layout)
        return await Process(
            settings,
            rules,
            environ,
            events,
            output,
            server=server,
            manager=Systemd(environ),
            early=early,
        ).serve()

    return run_loop(serve, events, output)


def run_loop(
    serve: Callable[[], Coroutine[Any, Any, int]], events: Events, output: LineOutput
) -> int:
    """Run a server in the event loop of this process, and close the log after it. Returns its exit
    code.

    Raises:
        DispatcherError: as `serve` does.
    """
    logging.getLogger().addHandler(ToEvents(events))
    if sys.stderr is not None:
        faulthandler.register(signal.SIGUSR1, sys.stderr, all_threads=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])  # a parent holds it
    # Objects of the start live as long as the process: the collector need not look at them again.
    gc.freeze()
    gc.enable()  # the command line has it off until here
    gc.set_threshold(*THRESHOLDS)
    collecting = Collecting()
    gc.callbacks.append(collecting)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve())
    except DispatcherError:
        raise
    except Exception as error:  # the outermost boundary: whatever it is, it is written down once
        events.server_crashed(exc_info=error)
        return _FAILED
    finally:
        gc.callbacks.remove(collecting)
        output.close()


class Process:
    """One server, and the signals of its process.

    `manager` is who started it. With `has_parent` that is a parent, which alone says when a stop
    has to be cut short: a signal may come to the parent and to us at once. `taken` is as in
    `Reloading`, and `files` are more of those that it reads, by the setting that names them.
    """

    def __init__(
        self,
        settings: Settings,
        rules: Rules,
        environ: Mapping[str, str],
        events: Events,
        output: LineOutput,
        *,
        server: Server,
        manager: Manager,
        has_parent: bool = False,
        early: EarlyStop | None = None,
        taken: Callable[[Settings, Rules], None] = lambda settings, rules: None,
        files: Mapping[str, Callable[[], Awaitable[bool]]] | None = None,
    ) -> None:
        self._settings = settings
        self._events = events
        self._output = output
        self._manager = manager
        self._has_parent = has_parent
        self._early = early or EarlyStop()
        self._server = server
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
                **(files or {}),
            },
            taken,
        )
        self._tasks = Supervisor(lambda name, error: events.task_died(task=name, exc_info=error))
        self._beating = Supervisor(lambda name, error: events.task_died(task=name, exc_info=error))
        self._stopping = asyncio.Event()
        self._caught = ""

    async def serve(self, *, before: Callable[[], Awaitable[None]] | None = None) -> int:
        """Start, serve, stop. Returns the exit code. `before` is awaited before the start."""
        server = self._server
        self._handle_signals()
        try:
            starting = asyncio.ensure_future(self._start(before))
            if not await _first(starting, self._stopping.wait()):
                self._leave_early()
            starting.result()
            # What was read from the logs stays as well, and the first full collection of a server
            # at work would go through what the last one of the start has not set aside.
            set_aside()
            await asyncio.to_thread(give_back_memory)
            self._manager.ready()
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

    async def _start(self, before: Callable[[], Awaitable[None]] | None) -> None:
        if before is not None:
            await before()
        await self._server.start()

    def begin_stop(self, why: str) -> None:
        """Stop, as a signal would have it; a signal that comes later does not cut that short."""
        self._caught = self._caught or why
        self._stopping.set()

    async def reload(self) -> None:
        """Read the settings again, as SIGHUP would have it."""
        await self._reloading.reload()

    async def _stop(self) -> int:
        settings, server = self._settings, self._server
        await self._tasks.stop()
        self._manager.stopping()
        self._events.server_stopping(signal=self._caught, in_flight=server.in_flight)
        if settings.drain_notice_ms:
            await server.give_notice(settings.drain_notice_ms / 1000, server.failed)
        return await server.stop(settings.drain_timeout_ms / 1000)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP:
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)
        caught = self._early.end()
        if caught is not None:
            self._on_stop(caught)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP, signal.SIGHUP))

    def _begin_pulse(self) -> None:
        if self._manager.is_listening:
            pulse = Pulse(self._manager, self._server)
            self._beating.forever("pulse", pulse.beat, every_s=pulse.every_s)

    def _on_reload(self) -> None:
        self._tasks.spawn("reload", self._reload())

    async def _reload(self) -> None:
        self._manager.reloading()
        try:
            await self._reloading.reload()
        finally:
            self._manager.reloaded()

    def _on_stop(self, number: signal.Signals) -> None:
        if self._caught and self._has_parent:
            return
        if self._caught:
            # Nothing is lost: what is durable is durable, and the rest was not promised to anybody.
            self._events.server_abandoned(in_flight=self._server.in_flight)
            self._exit(_FAILED)
        self._caught = number.name
        self._stopping.set()

    def _leave_early(self) -> NoReturn:
        """End before the log was read to its end. Waiting for that could take minutes."""
        self._manager.stopping()
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

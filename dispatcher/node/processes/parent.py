"""The parent: starts its children, looks after them, and ends when all have ended.

`python -m dispatcher.node.processes.parent PLAN`, where PLAN is the descriptor of the plan. It is
what `preparing` turns into. Nothing here may import the server, its settings or asyncio.

What systemd is told, it tells. Its sign of life says that somebody looks after the children, and
that no log keeps those waiting that are ready: a disk that stands still is not mended by a child
that starts again, but must not be hidden for longer than the watchdog allows.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from dispatcher.node.processes import line, plan
from dispatcher.node.processes.children import Child, close_all, without_manager, write_stacks
from dispatcher.node.processes.fleet import Fleet
from dispatcher.node.processes.life import Act, Event
from dispatcher.node.processes.start import Start
from dispatcher.node.processes.wakeup import Wakeup
from dispatcher.node.systemd import Systemd
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.output import FileTurns, LineOutput

_STOP: Final = (signal.SIGTERM, signal.SIGINT)
_CAUGHT: Final = (*_STOP, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
_FAILED: Final = 1
_LOOK_S: Final = 1.0
"""How often it looks at least: at signs of life that stay away, and at lines that wait."""
_SHOW_S: Final = 0.2
"""A child has written its stacks by then."""
_SLEPT_S: Final = 0.5
"""So much later than it wanted to the parent looks when it was stopped, or the machine was."""


class Parent:
    """A parent at work."""

    def __init__(
        self,
        the_plan: plan.Plan,
        plan_file: int,
        environ: Mapping[str, str],
        events: Events,
        output: LineOutput,
    ) -> None:
        self._plan = the_plan
        self._plan_file = plan_file
        self._environ = without_manager(environ)
        self._events = events
        self._output = output
        self._systemd = Systemd(environ)
        self._fleet = Fleet(the_plan.processes, the_plan.timings, time.monotonic())
        self._children: dict[int, Child] = {}
        self._reloading: set[int] = set()
        """Children that have not said yet that they read their settings again."""
        self._was_reloaded = False
        self._taken: int | None = None
        """The descriptor of what was in force after the last time; None: the plan's is."""
        self._pending: dict[int, int] = {}
        self._selector = selectors.DefaultSelector()
        self._caught = ""
        self._has_closed = False
        self._beat_s: float | None = None
        self._show_s: float | None = None
        self._to_show: list[int] = []

    def run(self) -> int:
        """Look after the children until all have ended. Returns the exit code."""
        self._wakeup = Wakeup(_CAUGHT)
        self._selector.register(self._wakeup.reader, selectors.EVENT_READ)
        self._take_signals()  # those that came while all this was prepared
        while self._fleet.outcome is None:
            self._carry_out(self._fleet.on_time(time.monotonic()))
            self._wait()
            for number in list(self._children):
                self._hear(number)
            self._take_signals()
            self._show_stacks()
            self._reap()
            self._output.flush()
            self._beat()
        for file in self._plan.unix_files:
            file.remove()
        code = self._fleet.outcome
        if self._fleet.was_ready or self._caught:
            self._events.server_stopped(exit_code=code, pending=self._pending_of_all())
        return code

    # What it waits for

    def _wait(self) -> None:
        began_s = time.monotonic()
        deadlines_s = [began_s + _LOOK_S, self._beat_s, self._show_s, self._fleet.deadline_s]
        wait_s = max(min(one for one in deadlines_s if one is not None) - began_s, 0)
        self._selector.select(wait_s)
        late_s = time.monotonic() - began_s - wait_s
        if late_s > _SLEPT_S:
            self._fleet.postpone(late_s)

    def _hear(self, number: int) -> None:
        child = self._children[number]
        for said, fields in child.hear():
            self._fleet.on_sign(number, time.monotonic())
            match said:
                case line.READY:
                    self._pending[number] = fields.get("pending", 0)
                    if self._fleet.on_ready(number, time.monotonic()):
                        self._on_all_ready()
                case line.WELL:
                    self._fleet.on_well(number, time.monotonic())
                case line.RELOADED:
                    self._on_reloaded(number)
                case line.TAKEN:
                    self._on_taken(child)
                case line.REFUSED:
                    child.refused = fields
                case line.STOPPED:
                    self._pending[number] = fields.get("pending") or 0
                case _:
                    pass  # a sign of life, or of another version
        if child.is_silent:
            with suppress(KeyError):
                self._selector.unregister(child.line)

    def _reap(self) -> None:
        for number, child in list(self._children.items()):
            code = child.exit_code()
            if code is None:
                continue
            self._hear(number)  # its last words
            with suppress(KeyError):
                self._selector.unregister(child.line)
            child.close()
            del self._children[number]
            self._on_exit(number, child, code)

    def _on_exit(self, number: int, child: Child, code: int) -> None:
        now_s = time.monotonic()
        is_refused = child.refused is not None
        reason = None
        if child.refused is not None:
            reason = str(child.refused.get("reason"))
            code = int(child.refused.get("code", code))  # a signal may have come after that
        was_stopping = self._fleet.is_stopping
        acts = self._fleet.on_exit(number, code, now_s, is_refused=is_refused)
        if not was_stopping:
            if self._fleet.is_stopping:
                complain(reason or "")
                self._close_sockets()
            else:
                due_s = self._fleet.lives[number].deadline_s or now_s
                self._events.process_ended(
                    process=number,
                    pid=child.pid,
                    exit_code=code,
                    reason=reason,
                    restart_in_ms=round((due_s - now_s) * 1000),
                )
        self._on_reloaded(number)
        self._carry_out(acts)

    def _on_all_ready(self) -> None:
        took_ms = int((time.monotonic() - self._plan.began_s) * 1000)
        fields: dict[str, Any] = {**self._plan.ready, "pending": self._pending_of_all()}
        self._events.server_ready(**fields, took_ms=took_ms)
        self._systemd.ready()
        self._tell_status()

    # Signals

    def _take_signals(self) -> None:
        for number in self._wakeup.caught():
            self._on_signal(number)

    def _on_signal(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self._on_stop(number)
            case signal.SIGHUP:
                self._on_reload()
            case signal.SIGUSR1:
                write_stacks()
                self._show_s = time.monotonic()
                self._to_show = [one for one in self._children if self._takes(one)]
            case _:
                pass  # a child has ended, which is looked at anyway

    def _on_stop(self, number: signal.Signals) -> None:
        now_s = time.monotonic()
        if self._caught:
            self._events.server_abandoned(in_flight=None)
            self._carry_out(self._fleet.abandon(now_s))
            return
        self._caught = number.name
        self._systemd.stopping()
        self._events.server_stopping(signal=number.name, in_flight=None)
        acts = self._fleet.stop(now_s)
        self._close_sockets()
        self._carry_out(acts)

    def _on_reload(self) -> None:
        self._was_reloaded = True
        self._systemd.reloading()
        reached = {one for one in self._children if self._takes(one)}
        for one in reached:
            self._children[one].signal(signal.SIGHUP)
        self._reloading |= reached
        if not self._reloading:
            self._systemd.reloaded()

    def _on_reloaded(self, number: int) -> None:
        if number in self._reloading:
            self._reloading.discard(number)
            if not self._reloading:
                self._systemd.reloaded()

    def _on_taken(self, child: Child) -> None:
        if child.taken is not None:
            close_all([] if self._taken is None else [self._taken])
            self._taken, child.taken = child.taken, None

    def _takes(self, number: int) -> bool:
        """As `Life.takes_signals`."""
        return self._fleet.lives[number].takes_signals

    def _show_stacks(self) -> None:
        """Let one child after the other write its stacks: what several write at once nobody can
        read."""
        if self._show_s is not None and time.monotonic() >= self._show_s:
            if self._to_show and (child := self._children.get(self._to_show.pop(0))) is not None:
                child.signal(signal.SIGUSR1)
            self._show_s = time.monotonic() + _SHOW_S if self._to_show else None

    # What is done

    def _carry_out(self, acts: Sequence[tuple[int, Act]]) -> None:
        for number, act in acts:
            if act is Act.START:
                self._start(number)
            elif (child := self._children.get(number)) is not None:
                sent = child.carry_out(act)
                if not self._fleet.is_stopping:
                    self._events.process_hung(process=number, pid=child.pid, signal=sent.name)

    def _start(self, number: int) -> None:
        start = Start(
            self._plan_file,
            number,
            is_again=self._fleet.starts[number] > 1,
            is_reloaded=self._was_reloaded,
            taken=self._taken,
        )
        inherited = [self._plan_file, *self._plan.descriptors]
        if self._taken is not None:
            inherited.append(self._taken)
        try:
            with self._wakeup.held():
                child = Child([*self._plan.child, *start.written()], inherited, self._environ)
        except OSError as error:  # no descriptors, memory or processes left, for now
            self._fleet.lives[number].on(Event.EXITED, time.monotonic())
            self._events.process_ended(
                process=number, pid=0, exit_code=1, reason=str(error), restart_in_ms=0
            )
            return
        self._children[number] = child
        self._selector.register(child.line, selectors.EVENT_READ)
        self._events.process_started(process=number, pid=child.pid)
        for one in self._children.values():
            one.tell(line.said(line.RESTARTS, count=self._fleet.restarts))

    def _close_sockets(self) -> None:
        """Callers are refused once the children have closed theirs, and do not wait for nobody."""
        if not self._has_closed:
            self._has_closed = True
            close_all(self._plan.descriptors)

    def _beat(self) -> None:
        every_s = self._systemd.watchdog_s
        now_s = time.monotonic()
        if not self._fleet.was_ready:
            return  # until then it has patience, and hears of nothing but the start
        if every_s is not None and (self._beat_s is None or now_s >= self._beat_s):
            self._beat_s = now_s + every_s / 2
            if self._fleet.are_well(now_s - every_s):
                self._systemd.alive()
        if not self._fleet.is_stopping:
            self._tell_status()

    def _tell_status(self) -> None:
        ready, count = self._fleet.ready, self._plan.processes
        self._systemd.status(f"{ready} of {count} processes accept messages.")

    def _pending_of_all(self) -> int | None:
        """None: no child has read its logs."""
        return sum(self._pending.values()) if self._pending else None


def complain(reason: str) -> None:
    """Write the one line that says why it does not run, as the command line does."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in reason)
    with suppress(OSError, ValueError, AttributeError):
        print(f"dispatcher: error: {shown}", file=sys.stderr, flush=True)


def _events_to(output: LineOutput, the_plan: plan.Plan) -> Events:
    if the_plan.log_format == "json":
        from dispatcher.telemetry.plain import PlainLog

        return Events(PlainLog(output.write, level=the_plan.log_level))
    # For people at a terminal, who do not count megabytes.
    from dispatcher.telemetry.log import open_log

    log = open_log(
        output.write,
        level=the_plan.log_level,  # type: ignore[arg-type]  # as the settings have it
        format="console",
        colors=the_plan.colors,
    )
    return Events(log)


def main(arguments: Sequence[str]) -> int:
    """Run the parent of a plan. Returns the exit code."""
    plan_file = int(arguments[0])
    the_plan, _ = plan.read(plan_file)
    # The descriptor with this number, or nothing where it was started without.
    descriptor = os.open(os.devnull, os.O_WRONLY) if sys.stdout is None else sys.stdout.fileno()
    output = LineOutput(descriptor, FileTurns(plan_file))
    events = _events_to(output, the_plan)
    try:
        return Parent(the_plan, plan_file, os.environ, events, output).run()
    except Exception as error:  # the outermost boundary; the children see that we are gone
        events.server_crashed(exc_info=error)
        return _FAILED
    finally:
        output.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

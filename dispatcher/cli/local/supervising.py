"""A run from its start to its end: the one thread that decides and acts (see the package)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty
from typing import Final, assert_never

from dispatcher.cli.local import words
from dispatcher.cli.local.attended import PATIENCE_S, RESTART_S, Attended
from dispatcher.cli.local.backend import Backend
from dispatcher.cli.local.calls import Calls, found_nobody
from dispatcher.cli.local.command import Command
from dispatcher.cli.local.course import Act, Course, Phase
from dispatcher.cli.local.guarding import Guard
from dispatcher.cli.local.happenings import (
    Asked,
    CallMoved,
    CallsMissed,
    Changed,
    CommandEnded,
    Happening,
    Happenings,
    OutputEnded,
    Printed,
    ServerEnded,
    ServerReady,
    ServerSaid,
    Watching,
)
from dispatcher.cli.local.screen import Screen

_TICK_S: Final = 0.1
_AT_ONCE: Final = 1000
"""Happenings between two looks at the clock, at most."""
_LAST_WORDS_S: Final = 0.1
_FAILED: Final = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run. `name` stands before its lines, `endpoint` is where the application is to
    listen; `check` is what the SDK is told to look for in durable functions, as DISPATCH_CHECK."""

    words: Sequence[str]
    name: str
    endpoint: str
    reloads: bool
    check: str


class Supervisor:
    """Runs a command beside its backend, until it has ended or a signal asks for that."""

    def __init__(
        self,
        plan: Plan,
        backend: Backend,
        guard: Guard,
        screen: Screen,
        happenings: Happenings,
    ) -> None:
        self._plan = plan
        self._backend = backend
        self._guard = guard
        self._screen = screen
        self._happenings = happenings
        self._calls = Calls()
        self._course = Course(reloads=plan.reloads)
        self._attended: Attended | None = None
        self._has_failed = False
        self._is_killed = False
        self._is_asked = False
        self._said: set[str] = set()

    def run(self) -> int:
        """Run it. Returns the exit code of the command; 1 if the server failed."""
        try:
            self._backend.start()
            while self._course.phase is not Phase.OVER:
                self._take(_TICK_S)
                self._look_at_the_clock()
                self._screen.look(self._calls)
            self._finish()
        finally:
            self._screen.close(self._calls)
            self._end_command()
            self._backend.stop(at_once=self._is_killed)
        return _FAILED if self._has_failed else self._course.code

    def _finish(self) -> None:
        """The last events may be on their way; those of runs that found nobody any more tell
        nothing."""
        while not self._is_asked and self._take(_LAST_WORDS_S):
            pass
        self._screen.close(self._calls)
        if self._is_killed:
            return
        left = self._backend.goes_on() if self._has_failed else self._backend.farewell()
        if left is not None:
            self._screen.say(left)

    def _take(self, wait_s: float) -> bool:
        """Take in what has happened. Returns whether anything has."""
        try:
            self._handle(self._happenings.get(timeout=wait_s))
            for _ in range(_AT_ONCE):
                if self._course.phase is Phase.OVER:
                    break
                self._handle(self._happenings.get_nowait())
        except Empty:
            return False
        return True

    def _handle(self, happening: Happening) -> None:
        match happening:
            case Printed(group, line, is_error):
                self._screen.printed(line, is_error=is_error)
                if (attended := self._current(group)) is not None:
                    attended.was_shown(time.monotonic())
            case CallMoved("run", fields) if self._is_asked and found_nobody(fields):
                pass  # the application is ending
            case CallMoved(kind, fields):
                call = self._calls.apply(kind, fields)
                self._screen.moved(kind, fields, call)
            case CallsMissed():
                self._backend.learn(self._calls)
            case ServerReady(api):
                for text in self._backend.greeting(api):
                    self._screen.say(text)
            case Watching():
                self._backend.learn(self._calls)
                if self._attended is None and self._course.phase is Phase.RUNNING:
                    self._start()
            case CommandEnded(group, code):
                if (attended := self._current(group)) is not None:
                    attended.has_ended(code, time.monotonic())
            case OutputEnded(group):
                if (attended := self._current(group)) is not None and attended.code is not None:
                    self._group_ended(attended.code)
            case Asked(number):
                self._asked(number)
            case Changed(path):
                self._changed(path)
            case ServerSaid(text):
                self._screen.say(text, style="yellow")
            case ServerEnded(code):
                self._server_ended(code)
            case _:
                assert_never(happening)

    # The command.

    def _start(self) -> None:
        environment = {
            **{k: v for k, v in os.environ.items() if k != "DISPATCH_VERIFICATION_KEY"},
            "PYTHONUNBUFFERED": os.environ.get("PYTHONUNBUFFERED", "1"),  # lines come at once
            **self._backend.environment(),
            "DISPATCH_CHECK": self._plan.check,
        }
        command = Command(self._plan.words, environment, self._happenings)
        self._guard.add(command.group)
        self._attended = Attended(command, time.monotonic())

    def _current(self, group: int) -> Attended | None:
        """What is attended to, unless the group is that of one before."""
        is_it = self._attended is not None and self._attended.group == group
        return self._attended if is_it else None

    def _group_ended(self, code: int) -> None:
        self._end_command()
        before = self._course.phase
        act = self._course.ended(code)
        if before is Phase.RUNNING:
            self._tell_end()
        self._act(act)

    def _end_command(self) -> None:
        """Nothing of it lives on."""
        if self._attended is not None:
            self._attended.command.reap()
            self._guard.forget(self._attended.group)
            self._attended = None

    def _tell_end(self) -> None:
        code = self._course.code
        has_called = bool(self._calls.heard)
        said = words.command_ended(
            self._plan.name, code, has_called=has_called, rests=self._plan.reloads
        )
        if said is not None:
            self._screen.say(said, style="red" if code else "yellow")

    def _act(self, act: Act, number: int = signal.SIGTERM) -> None:
        match act:
            case Act.START:
                self._start()
            case Act.STOP if self._attended is not None:
                self._attended.command.signal(number)
            case Act.KILL if self._attended is not None:
                self._attended.command.signal(signal.SIGKILL)
            case Act.NOTHING | Act.STOP | Act.KILL:
                pass
            case _:
                assert_never(act)

    # What comes from outside.

    def _asked(self, number: int) -> None:
        is_second, self._is_asked = self._is_asked, True
        self._is_killed = self._is_killed or is_second
        act = self._course.asked()
        if self._attended is None:  # nothing was started yet, or it rests
            self._course.over(self._course.code or 128 + number)
            return
        self._act(act, number)
        if act is Act.STOP and self._attended.code is None:
            self._attended.wait(PATIENCE_S, time.monotonic())

    def _changed(self, path: str) -> None:
        act = self._course.changed()
        if act is not Act.NOTHING:
            self._screen.say(f"{path} has changed: {self._plan.name} is started anew.")
        if act is Act.STOP and self._attended is not None and self._attended.code is None:
            self._attended.wait(RESTART_S, time.monotonic())
        self._act(act)

    def _server_ended(self, code: int) -> None:
        self._has_failed = True
        stopped = None if self._attended is None else self._plan.name
        self._screen.say(words.server_ended(code, stopped), style="red")
        self._asked(signal.SIGTERM)

    # What is due.

    def _look_at_the_clock(self) -> None:
        attended, now_s = self._attended, time.monotonic()
        if attended is None:
            return
        if attended.finds_nobody(self._calls.refused, now_s):
            self._say_once(words.nobody_listens(self._plan.name, self._plan.endpoint))
        if attended.is_due(now_s):
            self._force(attended)

    def _force(self, attended: Attended) -> None:
        if attended.code is not None:
            self._group_ended(attended.code)
        elif self._course.phase is Phase.RESTARTING:
            self._act(Act.KILL)
        else:
            self._say_once(words.has_not_ended(self._plan.name))

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._screen.say(text, style="yellow")

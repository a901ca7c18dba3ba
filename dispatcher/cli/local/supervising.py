"""A run from its start to its end: the one thread that decides and acts (see the package)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty
from typing import Final, assert_never

from dispatcher.cli.local.backend import Backend
from dispatcher.cli.local.calls import Calls
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
_REST_S: Final = 2.0
"""How long what a command leaves behind may take to end."""
_RESTART_S: Final = 5.0
"""How long a command may take to end before it is started anew."""
_PATIENCE_S: Final = 2.0
_LAST_WORDS_S: Final = 0.1
_REFUSED: Final = 3
_FAILED: Final = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run. `endpoint` is where the application is expected to listen, None where
    nobody connects to it; `checks` switches the SDK's checks on."""

    words: Sequence[str]
    name: str
    endpoint: str
    reloads: bool
    checks: bool


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
        self._command: Command | None = None
        self._ended: CommandEnded | None = None
        self._has_failed = False
        self._is_killed = False
        self._is_asked = False
        self._started_s = 0.0
        self._due_s: float | None = None
        """When what takes too long is ended by force."""
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
        if self._has_failed or self._is_killed:
            return
        if (left := self._backend.farewell()) is not None:
            self._screen.say(left)

    def _take(self, wait_s: float) -> bool:
        """Take in what has happened. Returns whether anything has."""
        try:
            self._handle(self._happenings.get(timeout=wait_s))
            while self._course.phase is not Phase.OVER:
                self._handle(self._happenings.get_nowait())
        except Empty:
            return False
        return True

    def _handle(self, happening: Happening) -> None:
        match happening:
            case Printed(line, is_error):
                self._screen.printed(line, is_error=is_error)
            case CallMoved(kind, fields):
                call = self._calls.apply(kind, fields)
                self._screen.moved(kind, fields, call)
            case CallsMissed():
                self._learn()
            case ServerReady(api):
                for text in self._backend.greeting(api):
                    self._screen.say(text)
            case Watching():
                self._learn()
                if self._command is None and self._course.phase is Phase.RUNNING:
                    self._start()
            case CommandEnded(group) if self._is_current(group):
                self._leader_ended(happening)
            case OutputEnded(group) if self._is_current(group) and self._ended is not None:
                self._group_ended(self._ended)
            case CommandEnded() | OutputEnded():
                pass
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
            **({"DISPATCH_CHECK": "1"} if self._plan.checks else {}),
        }
        self._command = Command(self._plan.words, environment, self._happenings)
        self._guard.add(self._command.group)
        self._started_s = time.monotonic()
        self._due_s = None

    def _is_current(self, group: int) -> bool:
        return self._command is not None and self._command.group == group

    def _leader_ended(self, ended: CommandEnded) -> None:
        """The rest of its group is to end too."""
        assert self._command is not None
        self._ended = ended
        self._due_s = time.monotonic() + _REST_S
        self._command.signal(signal.SIGTERM)

    def _group_ended(self, ended: CommandEnded) -> None:
        self._end_command()
        before = self._course.phase
        act = self._course.ended(ended.code)
        if before is Phase.RUNNING:
            self._tell_end()
        self._act(act)

    def _end_command(self) -> None:
        """Nothing of it lives on."""
        if self._command is not None:
            self._command.reap()
            self._guard.forget(self._command.group)
            self._command = self._ended = self._due_s = None

    def _tell_end(self) -> None:
        name, code = self._plan.name, self._course.code
        rests = ". It is started anew when a file changes" if self._plan.reloads else ""
        if code:
            how = "was ended by " + _signal_name(code - 128) if code > 128 else f"ended with {code}"
            early = "" if self._calls.heard else ", before it dispatched or ran a function"
            self._screen.say(f"{name} {how}{early}{rests}.", style="red")
        elif not self._calls.heard:
            self._screen.say(
                f"{name} ended without having dispatched or run a function: an application serves "
                f"until it is stopped, as with app.serve(){rests}.",
                style="yellow",
            )
        elif rests:
            self._screen.say(f"{name} has ended{rests}.")

    def _act(self, act: Act, number: int = signal.SIGTERM) -> None:
        match act:
            case Act.START:
                self._start()
            case Act.STOP if self._command is not None:
                self._command.signal(number)
            case Act.KILL if self._command is not None:
                self._command.signal(signal.SIGKILL)
            case Act.NOTHING | Act.STOP | Act.KILL:
                pass
            case _:
                assert_never(act)

    # What comes from outside.

    def _asked(self, number: int) -> None:
        is_second, self._is_asked = self._is_asked, True
        self._is_killed = self._is_killed or is_second
        act = self._course.asked()
        if self._command is None:  # nothing was started yet, or it rests
            self._course.over(self._course.code or 128 + number)
            return
        self._act(act, number)
        if act is Act.STOP:
            self._due_s = time.monotonic() + _PATIENCE_S

    def _changed(self, path: str) -> None:
        act = self._course.changed()
        if act is not Act.NOTHING:
            self._screen.say(f"{path} has changed: {self._plan.name} is started anew.")
        if act is Act.STOP:
            self._due_s = time.monotonic() + _RESTART_S
        self._act(act)

    def _server_ended(self, code: int) -> None:
        self._has_failed = True
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with {code}"
        then = "" if self._command is None else f"; {self._plan.name} is stopped"
        self._screen.say(f"The server {how}{then}.", style="red")
        self._asked(signal.SIGTERM)

    # What is due.

    def _look_at_the_clock(self) -> None:
        now_s = time.monotonic()
        if self._due_s is not None and now_s >= self._due_s:
            self._due_s = None
            self._force()
        is_up = self._command is not None and now_s - self._started_s > _RESTART_S
        if is_up and self._plan.endpoint and self._calls.refused >= _REFUSED:
            self._say_once(
                f"Nobody listens at {self._plan.endpoint}, where runs are sent. Does "
                f"{self._plan.name} listen on DISPATCH_ENDPOINT_ADDR? If it listens elsewhere, say "
                "where: --endpoint host:port.",
            )

    def _force(self) -> None:
        if self._ended is not None:
            self._group_ended(self._ended)
        elif self._course.phase is Phase.RESTARTING:
            self._act(Act.KILL)
        elif self._command is not None:
            self._say_once(f"{self._plan.name} has not ended yet. Ctrl-C again kills it.")

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._screen.say(text, style="yellow")

    def _learn(self) -> None:
        self._backend.learn(self._calls)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

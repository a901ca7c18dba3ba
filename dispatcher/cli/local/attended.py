"""A command that is attended to: how long what belongs to its end may take."""

from __future__ import annotations

import signal
from typing import Final

from dispatcher.cli.local.command import Command

_REST_S: Final = 2.0
"""How long what a command leaves behind may take to end, and to print what comes next."""
_SHOWN_S: Final = 30.0
"""How long it may take to show what was printed: a terminal may be slow."""
RESTART_S: Final = 5.0
"""How long a command may take to end before it is started anew."""
PATIENCE_S: Final = 2.0
"""How long it may take when it is asked to end, before that is told."""
_UP_S: Final = 5.0
"""How long an application may take to listen, before somebody is told that it does not."""
_REFUSED: Final = 3


class Attended:
    """One command. Instants are by the monotonic clock, in seconds. `due_s` is when somebody has to
    act because it takes too long; `code` how it has ended, None as long as it runs."""

    def __init__(self, command: Command, now_s: float) -> None:
        self.command = command
        self.started_s = now_s
        self.due_s: float | None = None
        self.code: int | None = None
        self._ended_s = 0.0
        self._refused_early = 0

    @property
    def group(self) -> int:
        """Its process group."""
        return self.command.group

    def finds_nobody(self, refused: int, now_s: float) -> bool:
        """Say whether runs find nobody though it has had the time to listen. `refused` are the runs
        in a row, up to now, that could not connect; those that came while it began say nothing."""
        if now_s - self.started_s <= _UP_S:
            self._refused_early = refused
            return False
        self._refused_early = min(self._refused_early, refused)
        return refused - self._refused_early >= _REFUSED

    def wait(self, seconds: float, now_s: float) -> None:
        """Give it so long."""
        self.due_s = now_s + seconds

    def has_ended(self, code: int, now_s: float) -> None:
        """The command itself has ended: the rest of its group is to end too."""
        self.code = code
        self._ended_s = now_s
        self.wait(_REST_S, now_s)
        self.command.signal(signal.SIGTERM)

    def was_shown(self, now_s: float) -> None:
        """A line of it was shown; more of them may be on their way."""
        self.command.has_been_shown()
        if self.code is not None:
            self.due_s = min(now_s + _REST_S, self._ended_s + _SHOWN_S)

    def is_due(self, now_s: float) -> bool:
        """Say, once, that it has taken too long. What it has left behind is killed before that, so
        that it prints no more."""
        if self.code is not None and now_s >= self._ended_s + _REST_S:
            self.command.signal(signal.SIGKILL)
        if self.due_s is None or now_s < self.due_s:
            return False
        self.due_s = None
        return True

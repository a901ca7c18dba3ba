"""What a run does next: the phases of its command, and what follows from what happens. Pure.

                ended, --reload ──▶ RESTING ──changed──▶ RUNNING
RUNNING ──┬── ended ──▶ OVER
          ├── changed ──▶ RESTARTING ──ended──▶ RUNNING
          └── asked ──▶ STOPPING ──ended──▶ OVER       (asked again: killed)

While nothing runs, being asked is the end: `over`.
"""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where the command is."""

    RUNNING = "running"
    RESTARTING = "restarting"
    RESTING = "resting"
    STOPPING = "stopping"
    OVER = "over"


class Act(Enum):
    """What is done to the command."""

    NOTHING = "nothing"
    START = "start"
    STOP = "stop"
    KILL = "kill"


class Course:
    """The course of one command. `phase` is where it is, `code` how it ended last: its exit code,
    128 + n for signal n."""

    def __init__(self, *, reloads: bool) -> None:
        self.phase = Phase.RUNNING
        self.code = 0
        self._reloads = reloads

    def ended(self, code: int) -> Act:
        """The command has ended; `code` is negative for a signal."""
        self.code = code if code >= 0 else 128 - code
        match self.phase:
            case Phase.RESTARTING:
                self.phase = Phase.RUNNING
                return Act.START
            case Phase.RUNNING if self._reloads:
                self.phase = Phase.RESTING
            case _:
                self.phase = Phase.OVER
        return Act.NOTHING

    def changed(self) -> Act:
        """Files of the application have changed."""
        match self.phase:
            case Phase.RUNNING:
                self.phase = Phase.RESTARTING
                return Act.STOP
            case Phase.RESTING:
                self.phase = Phase.RUNNING
                return Act.START
            case _:
                return Act.NOTHING

    def asked(self) -> Act:
        """A signal asks for the end: the first stops, the second kills."""
        match self.phase:
            case Phase.RUNNING | Phase.RESTARTING:
                self.phase = Phase.STOPPING
                return Act.STOP
            case Phase.STOPPING:
                return Act.KILL
            case _:
                return Act.NOTHING

    def over(self, code: int) -> None:
        """Nothing runs, and nothing is to be started any more."""
        self.phase, self.code = Phase.OVER, code

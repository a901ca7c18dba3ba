"""All children of a parent, and what becomes of the whole. Pure, as `life`.

    starting ──all were ready──▶ serving ──stop, abandon──▶ stopping ──all have ended──▶ over
        └────── a child was refused ─────────────────────────▲

A child that could not start before all were ready once, for a reason that it named (a wrong
setting, a log that is damaged or in use), ends the whole with its exit code: the next start of it
would end the same way, and who started the server is still there to be told. Later the others go
on, and it is tried again and again.
"""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.node.processes.life import Act, Event, Life, State, Timings

_FAILED = 1


class Fleet:
    """Decides for `count` children, whose numbers begin at 0.

    `starts` counts those of each child, `restarts` all that were not the first. `was_ready`: all
    were, at one time.
    """

    def __init__(self, count: int, timings: Timings, now_s: float) -> None:
        self.lives = [Life(timings, now_s) for _ in range(count)]
        self.restarts = 0
        self.was_ready = False
        self.is_stopping = False
        self.starts = [0] * count
        self._well_s = [0.0] * count
        self._exit_code = 0

    def __repr__(self) -> str:
        states = ", ".join(life.state.value for life in self.lives)
        return f"<Fleet {'stopping: ' if self.is_stopping else ''}{states}>"

    @property
    def ready(self) -> int:
        """Children that accept messages."""
        return sum(life.state is State.READY for life in self.lives)

    @property
    def outcome(self) -> int | None:
        """The exit code of the whole; None while there is a child."""
        if any(life.state is not State.ENDED for life in self.lives):
            return None
        return self._exit_code

    @property
    def deadline_s(self) -> float | None:
        """When `on_time` has something to say; None: never, unless something happens."""
        given = [life.deadline_s for life in self.lives if life.deadline_s is not None]
        return min(given, default=None)

    def on_time(self, now_s: float) -> Sequence[tuple[int, Act]]:
        """Returns what is to be done now to which child."""
        acts = [
            (number, act)
            for number, life in enumerate(self.lives)
            if (act := life.on_time(now_s)) is not None
        ]
        for number, act in acts:
            if act is Act.START:
                self.restarts += self.starts[number] > 0
                self.starts[number] += 1
        return acts

    def postpone(self, by_s: float) -> None:
        """As `Life.postpone`."""
        for life in self.lives:
            life.postpone(by_s)

    def on_sign(self, number: int, now_s: float) -> None:
        """A child lives."""
        self.lives[number].on(Event.SIGN, now_s)

    def on_ready(self, number: int, now_s: float) -> bool:
        """A child accepts messages; say whether it is the last one, for the first time."""
        self.lives[number].on(Event.READY, now_s)
        self.on_well(number, now_s)
        if self.was_ready or self.is_stopping or self.ready < len(self.lives):
            return False
        self.was_ready = True
        return True

    def on_well(self, number: int, now_s: float) -> None:
        """No log keeps a child waiting."""
        self._well_s[number] = now_s

    def are_well(self, since_s: float) -> bool:
        """Whether all that are ready have said so since then. Those that hang are not waited for:
        they are ended before long."""
        both = zip(self.lives, self._well_s, strict=True)
        return all(well_s >= since_s for life, well_s in both if life.state is State.READY)

    def on_exit(
        self, number: int, code: int, now_s: float, *, is_refused: bool = False
    ) -> Sequence[tuple[int, Act]]:
        """A child has ended, with this code (negative for a signal). `is_refused`: it has named a
        reason. Returns what is to be done to others."""
        self.lives[number].on(Event.EXITED, now_s)
        if self.is_stopping:
            self._exit_code = self._exit_code or (_FAILED if code else 0)
            return ()
        if is_refused and not self.was_ready:
            self._exit_code = code
            return self.stop(now_s)
        return ()

    def stop(self, now_s: float) -> Sequence[tuple[int, Act]]:
        """Let all end, in the orderly way."""
        return self._all(Event.STOP, now_s)

    def abandon(self, now_s: float) -> Sequence[tuple[int, Act]]:
        """End all at once."""
        self._exit_code = self._exit_code or _FAILED
        return self._all(Event.ABANDON, now_s)

    def _all(self, event: Event, now_s: float) -> Sequence[tuple[int, Act]]:
        self.is_stopping = True
        acts = [(number, life.on(event, now_s)) for number, life in enumerate(self.lives)]
        return [(number, act) for number, act in acts if act is not None]

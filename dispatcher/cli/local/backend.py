"""Who runs the calls of a session: a server of its own, or another through the bridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from dispatcher.cli.local.calls import Calls


class Backend(Protocol):
    """Used by the thread that supervises. It puts `ServerReady` and `Watching` into the queue once
    the command can be started."""

    def start(self) -> None:
        """Begin. Returns at once."""

    def greeting(self, api: str) -> Sequence[str]:
        """What the person is told when it is ready at `api`."""

    def environment(self) -> Mapping[str, str]:
        """What the application is told, once it is ready; it takes from it what is not there."""

    def learn(self, calls: Calls) -> None:
        """Look up how calls stand, as far as that can be looked up."""

    def farewell(self) -> str | None:
        """What the person is told of calls that have not ended, before it is stopped."""

    def goes_on(self) -> str | None:
        """What the person is told of its calls where it has ended by itself."""

    def stop(self, *, at_once: bool) -> None:
        """End it, and wait for that. Idempotent."""

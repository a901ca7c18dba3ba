"""What an environment is made of: server, application, and a loop on which they meet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from dispatcher.sdk.check import Checked
from dispatcher.sdk.functions.function import Function
from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.testing.application import Application
from dispatcher.sdk.testing.calling import Calling, SyncCalling
from dispatcher.sdk.testing.doubles import Doubles
from dispatcher.sdk.testing.driver import Driver
from dispatcher.sdk.testing.reach import reachable
from dispatcher.sdk.testing.running import Running
from dispatcher.sdk.testing.server import Server
from dispatcher.sdk.testing.world import World

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""What time it is at first where time is simulated."""


class Parts:
    """They are made here, and know each other. Where it `is_warm`, suspended bodies are only
    kept in memory; else they are replayed, too, and checked."""

    def __init__(
        self, functions: Sequence[Function[..., Any]], *, is_simulated: bool, is_warm: bool
    ) -> None:
        self.is_simulated = is_simulated
        self.world = World()
        self.doubles = Doubles()
        self.server = Server(_us(START) if is_simulated else time.time_ns() // 1000)
        self.running = Running(self.doubles, replays=not is_warm)
        self.driver = Driver(self.server, self.running, self._pause)
        self.caller = Calling(self.driver, self.world)
        self.sync_caller = SyncCalling(self.caller, self.world)
        self.application = Application(
            reachable(functions),
            now_us=self.now_us,
            doubles=self.doubles,
            claim=self.server.given.claim,
            caller=self.caller,
            sync_caller=self.sync_caller,
            engine=Run if is_warm else partial(Checked, report=self.running.complaints.append),
        )
        self.running.application = self.application

    def take(self, other: Parts) -> None:
        """Have the same stubs, errors, promises and values in channels as `other`, and the time."""
        self.doubles.take(other.doubles)
        self.server.given.take_all(other.server.given)
        self.server.now_us = other.server.now_us

    def now_us(self) -> int:
        """What time it is, in microseconds since the epoch."""
        return self.server.now_us if self.is_simulated else time.time_ns() // 1000

    def close(self) -> None:
        """Give the functions back, and close the loop."""
        self.application.close()
        self.world.close()

    async def _pause(self, until_us: int) -> None:
        if not self.is_simulated:
            await asyncio.sleep(max(0, until_us - self.now_us()) / 1_000_000)
        self.server.now_us = max(until_us, self.now_us())


def _us(instant: datetime) -> int:
    return round(instant.timestamp()) * 1_000_000

"""What all connections of a listener have in common."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from random import Random as Mersenne
from typing import Final, Protocol

from dispatcher.core.clock import Random
from dispatcher.errors import Refusal
from dispatcher.ingress import answers
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.head import Kinds
from dispatcher.ingress.memory import MAX_HEADS_BYTES, Memory
from dispatcher.ingress.turn import TURN_STEPS
from dispatcher.queue.ports import Acceptor

_SPREAD: Final = 0.2


class HealthAnswer(Protocol):
    """What `/readyz` says: an HTTP status, and a body in JSON without details."""

    @property
    def status(self) -> int:
        """200 when messages are accepted, else 503."""

    @property
    def body(self) -> bytes:
        """JSON."""


class OpenConnection(Protocol):
    """What the listener needs from a caller's connection."""

    def end_soon(self) -> None:
        """End with the next answer after which none is owed, which says so. Idempotent."""

    def retire(self) -> None:
        """Close if nothing is under way."""

    def forget_heads(self) -> None:
        """Decide anew about the next head, even if it is like the last one."""

    def close(self) -> None:
        """Close now, writing what was answered."""

    def abort(self) -> None:
        """Close now, dropping what was not written."""

    def check(self, now_s: float) -> None:
        """End what has taken too long. `now_s` is the loop's clock."""

    def rate_in(self, memory: Memory, now_s: float) -> float | None:
        """Bytes a second at which the request under way arrives, if it takes of this memory and
        waits for its caller."""

    def give_way(self) -> None:
        """Refuse the request under way: its memory is needed."""


class Timer(Protocol):
    """What calls back later."""

    def cancel(self) -> object:
        """Do not."""


def _call_later(after_s: float, callback: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(after_s, callback)


def _call_soon(callback: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(callback)


class Shared:
    """One for the listener and its forward proxy, written by the listener only, but for the
    counters.

    `clock`           the loop's, in seconds.
    `call_soon`       the loop's: calls back in the loop's next round, after a look at the sockets.
    `call_later`      the loop's too: calls back after so many seconds.
    `now_s`           the loop's clock at the last sweep.
    `date`            the `Date` header, with its line end.
    `accepted_start`  what stands before the id in a plain 202.
    `stopping`        connections that are made now end with their first answer; those that are
                      open have been told.
    `refused`         requests refused since the start, by slug.
    `spreads_keys`    see `queue.ports.Acceptor`.
    `memory`          counts the bytes of bodies that are held, `head_memory` those of heads.
    `turn_steps`      what a connection may do at once; see `turn`.
    `kinds`           what header names are to us.
    `max_body`        the configuration's; asked for with every request.
    `connections`     those open now.
    `alone`           set when the last of them is gone; nobody waits for it before the listener
                      closes.
    """

    __slots__ = (
        "_random",
        "accepted_start",
        "acceptor",
        "alone",
        "call_later",
        "call_soon",
        "clock",
        "config",
        "connections",
        "date",
        "head_memory",
        "health",
        "kinds",
        "max_body",
        "memory",
        "now_s",
        "refused",
        "spreads_keys",
        "stopping",
        "turn_steps",
    )

    def __init__(
        self,
        acceptor: Acceptor,
        config: IngressConfig,
        health: Callable[[], HealthAnswer],
        clock: Callable[[], float],
        call_soon: Callable[[Callable[[], None]], object] = _call_soon,
        call_later: Callable[[float, Callable[[], None]], Timer] = _call_later,
        random: Random | None = None,
    ) -> None:
        self.acceptor = acceptor
        self.spreads_keys = acceptor.spreads_keys
        self.config = config
        self.max_body = config.max_body
        self.health = health
        self.clock = clock
        self.call_soon = call_soon
        self.call_later = call_later
        self._random = random or Mersenne()
        self.memory = Memory()
        self.head_memory = Memory(MAX_HEADS_BYTES)
        self.turn_steps = TURN_STEPS
        self.kinds = Kinds()
        self.stopping = False
        self.refused: dict[str, int] = {}
        self.connections: set[OpenConnection] = set()
        self.alone = asyncio.Event()
        self.tick()

    def tick(self) -> None:
        """Read the clocks again."""
        self.now_s = self.clock()
        self.date = answers.date_line(time.time())
        self.accepted_start = answers.accepted_start(self.date)

    def ends_at_s(self) -> float:
        """Until when a connection that is made now may stay. Not all that are made together end
        together: their callers would all connect anew in one moment."""
        if not self.config.lifetime_s:
            return math.inf
        return self.clock() + self.config.lifetime_s * self._random.uniform(
            1 - _SPREAD, 1 + _SPREAD
        )

    def leave(self, connection: OpenConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self.alone.set()

    def count_refusal(self, refusal: Refusal) -> None:
        """One more request was refused for this reason."""
        self.refused[refusal.slug] = self.refused.get(refusal.slug, 0) + 1

"""Tells what the `[[notify]]` tables ask for.

What happens comes in as it happens (`dead_lettered`, …, called by the observer of the queue); what
lasts is looked at every `LOOK_S` seconds, and only where a table asks for it. What is to be told is
a message as any other, with the label `notify`: durable, tried again, under the rules for its
destination and the egress rules. A message with that label is never told of, so a notification that
cannot be delivered makes no other.

While the server takes no messages (a full disk, say) what is to be told waits.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from dispatcher.core.callbacks import place_of
from dispatcher.core.destination import Origin
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.rules.notify import Kind, Notify
from dispatcher.errors import Refused
from dispatcher.node.disks import Space
from dispatcher.node.notifying import moments, wording
from dispatcher.node.notifying.conditions import Conditions, Over
from dispatcher.node.notifying.failing import look_at_lanes
from dispatcher.node.notifying.happening import Happening
from dispatcher.node.notifying.limiter import Limiter, Told
from dispatcher.node.problems import Ailing
from dispatcher.node.whole import Whole
from dispatcher.queue.admin.receipts import AwaitedReceipt
from dispatcher.queue.ports import Acceptor
from dispatcher.telemetry.supervisor import Supervisor

LOOK_S: Final = 2.0


class Elsewhere(Protocol):
    """The other processes."""

    async def failing(self) -> Sequence[Ailing]:
        """Destinations that fail in them, with messages waiting."""

    async def why_over(self, destinations: Sequence[str]) -> Sequence[Over | None]:
        """Why these do not fail in them any more; None: one does."""


@dataclass(slots=True)
class _Teller:
    """One table, and what it has told."""

    notify: Notify
    conditions: Conditions
    among: Callable[[], int]
    limiters: dict[Kind, Limiter] = field(default_factory=dict)

    @staticmethod
    def of(notify: Notify, among: Callable[[], int]) -> _Teller:
        place = place_of(notify.url.value.decode("ascii"))
        return _Teller(notify, Conditions(notify, str(place.destination)), among)

    def limiter(self, kind: Kind) -> Limiter:
        """Kinds have limits of their own: a flood of dead letters hides no full disk."""
        return self.limiters.setdefault(kind, Limiter(self.notify.at_most, self.among))

    def is_about(self, kind: Kind, message: Message) -> bool:
        """Whether something about a message is told."""
        match = self.notify.match
        if kind not in self.notify.on or message.label == wording.LABEL:
            return False
        target = message.head.split(b" ", 2)[1]
        return match is None or (match.is_for(message.destination) and match.covers(target))


class Notifier:
    """Tells people what happens in one process.

    Where there are several, of one node or of a cluster, each tells what happens in it, at its
    share of how often somebody is told; what lasts is told by the one with the desk alone
    (`watch`), which asks the others."""

    def __init__(
        self,
        whole: Whole,
        acceptor: Acceptor,
        supervisor: Supervisor,
        *,
        among: Callable[[], int] = lambda: 1,
    ) -> None:
        """`acceptor` takes what is to be told. So many processes there are now, `among` whom how
        often somebody is told is shared."""
        self._among = among
        self._whole = whole
        self._acceptor = acceptor
        self._supervisor = supervisor
        self._instance = socket.gethostname()
        self._tellers: list[_Teller] = []
        self._outgoing: list[tuple[_Teller, Told]] = []
        self._wake = asyncio.Event()
        self._replaced = asyncio.Event()

    def start(self) -> None:
        """Tell what happens, from now on."""
        self._supervisor.forever("notify", self._turn, every_s=0.01)

    def watch(
        self,
        supervisor: Supervisor,
        *,
        space: Callable[[], Space | None],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Tell what lasts too, as long as `supervisor` runs. `space` says how much the disk of the
        log has, None where nobody knows it; `elsewhere` are the other processes."""
        look = partial(self._look, space, elsewhere)
        supervisor.forever("notify_look", look, every_s=0.01)

    def replace(self, tables: Sequence[Notify]) -> None:
        """Put other tables into force. One that stays as it was remembers what it has told."""
        before = {teller.notify: teller for teller in self._tellers}
        # Each is taken once: two tables that are the same have a limit each.
        self._tellers = [
            before.pop(table) if table in before else _Teller.of(table, self._among)
            for table in tables
        ]
        kept = set(map(id, self._tellers))
        self._outgoing = [one for one in self._outgoing if id(one[0]) in kept]
        self._wake.set()
        self._replaced.set()

    # What happens: called by the queue, and returns at once.

    def dead_lettered(self, message: Message, reason: str, result: AttemptResult) -> None:
        """A message was given up."""
        for teller in self._tellers:
            if teller.is_about(Kind.DEAD_LETTER, message):
                happening = moments.of_letter(message, reason, result, self._now_us())
                self._happened(teller, happening)

    def call_dead_lettered(
        self,
        call_id: bytes,
        endpoint: str,
        function: str,
        *,
        attempts: int,
        reason: str,
        error: str | None,
    ) -> None:
        """A root call was given up."""
        for teller in self._tellers:
            if Kind.CALL_FAILED in teller.notify.on and _is_at(teller.notify, endpoint):
                happening = moments.of_call(
                    call_id,
                    endpoint,
                    function,
                    attempts=attempts,
                    reason=reason,
                    error=error,
                    at_us=self._now_us(),
                )
                self._happened(teller, happening)

    def letters_dropped(self, count: int, why: str) -> None:
        """Dead letters are gone for good."""
        for teller in self._tellers:
            if Kind.LETTERS_DROPPED in teller.notify.on:
                self._happened(teller, moments.of_dropped(count, why, self._now_us()))

    def _happened(self, teller: _Teller, happening: Happening) -> None:
        told = teller.limiter(happening.kind).take(happening, self._whole.clock.now_us())
        if told is not None:
            self._outgoing.append((teller, told))
            self._wake.set()

    def _now_us(self) -> int:
        return self._whole.clock.wall_us()

    # What lasts, and what waits.

    async def _look(
        self, space_of: Callable[[], Space | None], elsewhere: Elsewhere | None
    ) -> None:
        """What lasts. Apart from the turns: among very many lanes it takes its time."""
        tables = [teller.conditions for teller in self._tellers]
        whole = self._whole
        others: Sequence[Ailing] = ()
        if elsewhere is not None and any(table.has_destinations for table in tables):
            others = await elsewhere.failing()
        await look_at_lanes(
            whole.destinations,
            whole.clock,
            whole.pace,
            tables,
            self._lasts,
            others,
            None if elsewhere is None else elsewhere.why_over,
        )
        if (space := space_of()) is not None:
            for table in tables:
                if (happening := table.has(space, self._now_us())) is not None:
                    self._lasts(table, happening)
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S if self._tellers else None):
                await self._replaced.wait()
        self._replaced.clear()

    def _lasts(self, table: Conditions, happening: Happening) -> None:
        for teller in self._tellers:  # its table may be gone since the look began
            if teller.conditions is table:
                self._happened(teller, happening)

    async def _turn(self) -> None:
        self._wake.clear()
        now_us = self._whole.clock.now_us()
        for teller in self._tellers:
            for limiter in teller.limiters.values():
                if (told := limiter.due(now_us)) is not None:
                    self._outgoing.append((teller, told))
        await self._send()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S if self._tellers else None):
                await self._wake.wait()

    async def _send(self) -> None:
        """Store what is to be told. What is refused waits for the next turn."""
        while self._outgoing:  # one by one: tables may be replaced while one is stored
            teller, told = self._outgoing.pop(0)
            message = wording.message_of(teller.notify, told, self._instance, self._now_us())
            try:
                await self._accept(message)
            except Refused:
                teller.limiter(told.happening.kind).give_back(told)

    async def _accept(self, message: Message) -> None:
        if (refusal := self._acceptor.refusal()) is not None:
            raise Refused(refusal)
        receipt = AwaitedReceipt()
        self._acceptor.accept(message, receipt)
        await receipt.answered


def _is_at(notify: Notify, endpoint: str) -> bool:
    if notify.match is None:
        return True
    try:
        return notify.match.is_for(Origin.parse(endpoint.encode("ascii")).destination)
    except ValueError:
        return False

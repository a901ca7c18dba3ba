"""Compaction: calls, facts and kept results that need the beginning of the log, copied to its end.

What becomes of a call follows from its own events and from those of the calls around it: its
parent's poll creates it, its end is a result of its parent. So calls with one root are copied
together, at one moment: what concerns them waits from then until the last copy is durable, and
nothing that concerns them is under way when the first is made. Only when all are copied are they
held there alone (`Copied.count`); if there is no space in between, each has its bytes where they
are and all have the base they had.

A large tree is copied in portions, and waits as long. Others go on, but for events that may concern
every call (`ordering.ALL`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

from dispatcher.functions.endpoints import CHANNEL, PROMISE
from dispatcher.functions.events import Blob, Completed, Copied, Event, Fact, Noted, Sent, Stored
from dispatcher.functions.ids import number_of
from dispatcher.functions.machine import Kept, KnownFact, Machine
from dispatcher.functions.model import Call
from dispatcher.functions.spans import Span, length_of
from dispatcher.functions.store.holds import SPAN_BYTES, Holds
from dispatcher.functions.store.ordering import ALL, Ordering, Thing
from dispatcher.functions.store.pending_copies import PendingCopies
from dispatcher.functions.store.reading import Reading
from dispatcher.functions.store.writing import Writing
from dispatcher.queue.bodies.host import Host
from dispatcher.queue.pending.extents import Extent

COPY_BYTES: Final = 256 * 1024
"""So much is read, and appended again, at once; and"""
COPY_MOST: Final = 64
"""so many calls at most."""
WHOLE_BYTES: Final = 16 * 1024 * 1024
"""What a call has more than this is written before its copy."""
_SLICE: Final = 4000
"""Calls that are looked at before others get their turn."""
_HEADER_BYTES: Final = 320
"""What a copy takes besides its bytes and names, at most, where it has no children or results."""
_EACH_BYTES: Final = 32
"""What each of them takes, at most."""


class Copying:
    """Copies calls. `copied_total` counts them; `stored` are the spans of the last `Stored`."""

    def __init__(
        self,
        host: Host,
        machine: Machine,
        holds: Holds,
        ordering: Ordering,
        writing: Writing,
        reading: Reading,
    ) -> None:
        self.copied_total = 0
        self.stored: tuple[Blob, ...] = ()
        self._committer = host.committer
        self._extents = host.extents
        self._machine = machine
        self._holds = holds
        self._ordering = ordering
        self._writing = writing
        self._reading = reading

    async def growth_bytes(self, extent: Extent) -> int:
        """See `queue.pending.guest.Guest`: all that is copied because of this extent."""
        upto = self._extents.before(extent)
        growth = 0
        for count, call in enumerate(list(self._machine.calls.values()), 1):
            if not count % _SLICE:
                await asyncio.sleep(0)
            if extent.start <= call.base < upto:
                growth += cost_bytes(call)
        for owner in list(extent.owners):
            if isinstance(owner, (KnownFact, Kept)):
                growth += length_of(owner.where) + _HEADER_BYTES + 4 * len(owner.name)
        return growth

    async def copy(self, extents: Sequence[Extent]) -> None:
        """See `queue.pending.guest.Guest`."""
        self._holds.entered = {}
        try:
            await self._copy_calls(self._extents.before(extents[-1]))
        finally:
            self._holds.entered = None
        owners = dict.fromkeys(owner for extent in extents for owner in list(extent.owners))
        facts = [owner for owner in owners if isinstance(owner, KnownFact)]
        for start in range(0, len(facts), COPY_MOST):
            some = facts[start : start + COPY_MOST]
            names = [(fact.space, fact.name) for fact in some]
            await self._alone(names, partial(self._copy_facts, some))
        kept = [owner for owner in owners if isinstance(owner, Kept)]
        for start in range(0, len(kept), COPY_MOST):
            await self._alone([ALL], partial(self._copy_kept, kept[start : start + COPY_MOST]))

    # Calls.

    async def _copy_calls(self, upto: int) -> None:
        trees = await self._trees(upto)
        portion: list[int] = []
        size = count = 0
        for root, calls in trees.items():
            portion.append(root)
            count += len(calls)
            size += sum(map(cost_bytes, calls[:COPY_MOST]))
            if size >= COPY_BYTES or count >= COPY_MOST:
                await self._copy_trees(portion, trees)
                portion, size, count = [], 0, 0
        if portion:
            await self._copy_trees(portion, trees)

    async def _trees(self, upto: int) -> dict[int, list[Call]]:
        """By root, all calls of which one needs the log before `upto`."""
        trees: dict[int, list[Call]] = {}
        for count, call in enumerate(list(self._machine.calls.values()), 1):
            if not count % _SLICE:
                await asyncio.sleep(0)
            if call.base < upto:
                trees[call.root] = []
        if trees:
            for count, call in enumerate(list(self._machine.calls.values()), 1):
                if not count % _SLICE:
                    await asyncio.sleep(0)
                if call.root in trees:
                    trees[call.root].append(call)
        return trees

    async def _copy_trees(self, roots: list[int], trees: dict[int, list[Call]]) -> None:
        await self._alone([*roots, ALL], partial(self._copy_all, roots, trees))

    async def _copy_all(
        self, roots: list[int], trees: dict[int, list[Call]], to: PendingCopies
    ) -> None:
        single: list[Call] = []
        for root in roots:
            self._machine.forget_copies(root)
            calls = self._living(trees[root] + self._entered(root))
            if len(calls) > 1:
                await self._copy_tree(root, calls, to)
            else:
                single += calls
        await self._copy_portions(single, to, count=1)

    def _entered(self, root: int) -> list[Call]:
        assert self._holds.entered is not None
        return self._holds.entered.get(root, [])

    def _living(self, calls: Iterable[Call]) -> list[Call]:
        by_key = self._machine.calls
        living = {call.key: call for call in calls if by_key.get(call.key) is call}
        return sorted(living.values(), key=lambda call: number_of(call.key))

    async def _copy_tree(self, root: int, calls: list[Call], to: PendingCopies) -> None:
        await self._copy_portions(calls[:-1], to, count=0)
        first = self._machine.first_copy(root)
        await self._copy_portions(calls[-1:], to, count=len(calls), first=first)

    async def _copy_portions(
        self, calls: list[Call], to: PendingCopies, *, count: int, first: int = 0
    ) -> None:
        portion: list[Call] = []
        size = 0
        for call in calls:
            cost = cost_bytes(call)
            if portion and (size + cost > COPY_BYTES or len(portion) >= COPY_MOST):
                await self._copy_portion(portion, to, count, first)
                portion, size = [], 0
            portion.append(call)
            size += cost
        if portion:
            await self._copy_portion(portion, to, count, first)

    async def _copy_portion(
        self, calls: list[Call], to: PendingCopies, count: int, first: int
    ) -> None:
        if cost_bytes(calls[0]) > WHOLE_BYTES:  # alone in its portion
            (call,) = calls
            blobs: list[Blob] = await self._spread(call, to)
        else:
            blobs = list(await self._read([where for call in calls for where in call.spans]))
        at = 0
        for call in calls:
            own = tuple(blobs[at : at + len(call.spans)])
            at += len(own)
            made = self._machine.trees.get(call.root, 0) if count else 0
            start = first
            if count and not all(isinstance(blob, bytes) for blob in own):
                spans = [blob for blob in own if not isinstance(blob, bytes)]
                oldest = self._holds.oldest(spans, self._extents.end)
                start = min(first, oldest) if first else oldest
            to.write(Copied(call, own, made, count, start))
            self.copied_total += 1
        await to.all_stored()

    async def _spread(self, call: Call, to: PendingCopies) -> list[Blob]:
        """Write the bytes of a call that has too many for one record; returns their new spans."""
        places: list[Blob] = []
        some: list[Span] = []
        for number, where in enumerate(call.spans, 1):
            some.append(where)
            is_last = number == len(call.spans)
            if is_last or sum(map(length_of, some)) >= WHOLE_BYTES // 2:
                to.write(Stored(tuple(await self._read(some))))
                await to.all_stored()
                places += self.stored
                some = []
        return places

    async def _read(self, spans: list[Span]) -> list[bytes]:
        found = await self._reading.read(lambda: spans)
        assert found is not None, "nothing moves or goes meanwhile"
        return found

    # What is not of calls.

    async def _copy_facts(self, facts: list[KnownFact], to: PendingCopies) -> None:
        known = self._machine.facts
        facts = [fact for fact in facts if known.get((fact.space, fact.name)) is fact]
        for fact in facts:
            (value,) = await self._read([fact.where])
            to.write(Noted((Fact(fact.space, fact.name, value, fact.expires_us),)))
        await to.all_stored()

    async def _copy_kept(self, kept: list[Kept], to: PendingCopies) -> None:
        for one in kept:
            if not self._is_kept(one):
                continue
            (value,) = await self._read([one.where])
            to.write(_copy_of(one, value))
        await to.all_stored()

    def _is_kept(self, kept: Kept) -> bool:
        name = (kept.application, kept.name)
        if kept.name.startswith(PROMISE):
            return self._machine.promises.get(name) is kept
        return any(one is kept for one in self._machine.channels.get(name, ()))

    async def _alone(
        self, things: Sequence[Thing], copy: Callable[[PendingCopies], Awaitable[None]]
    ) -> None:
        """Copy while nothing happens to these things."""
        copies = PendingCopies(
            self._writing, partial(self._ordering.open, things), self._committer.wake
        )
        self._ordering.shut(things)
        try:
            await self._ordering.quiet(things)
            await copy(copies)
        finally:
            copies.close()


def cost_bytes(call: Call) -> int:
    """What the copy of a call takes, at most."""
    spans = call.spans
    return (
        sum(map(length_of, spans))
        + len(spans) * (SPAN_BYTES + _EACH_BYTES)
        + (len(call.children) + len(call.strays)) * _EACH_BYTES
        + 4 * (len(call.endpoint) + len(call.function) + len(call.version) + len(call.application))
        + _HEADER_BYTES
    )


def _copy_of(kept: Kept, value: bytes) -> Event:
    if kept.name.startswith(PROMISE):
        name = kept.name[len(PROMISE) :]
        return Completed(
            kept.application, name, value, kept.is_error, 0, kept.expires_us, is_copy=True
        )
    name = kept.name[len(CHANNEL) :]
    return Sent(kept.application, name, value, kept.is_error, kept.expires_us, kept.number)

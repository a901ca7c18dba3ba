"""A member of a cluster: looks at what the others store, stores what it has, and tells the node.

    start ─▶ (a number is taken, it is heard) ─▶ begin ─▶ (claims, opens, renews) ─▶ leave ─▶ stop

What is decided is decided by `lease.Lease`, `assignment` and `heart.Heart`; here it is done:
one thing at a time for each record, all of them side by side. Whatever the store does, this goes
on: what it has is renewed when the store is back, if nobody else took it meanwhile.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from dispatcher.cluster import shown
from dispatcher.cluster.directory import Directory
from dispatcher.cluster.heart import Heart
from dispatcher.cluster.hints import is_worth_a_look
from dispatcher.cluster.holder import Holder
from dispatcher.cluster.keeping import Keeping
from dispatcher.cluster.lease import Lease, Me
from dispatcher.cluster.looking import PATIENCE_S, Looking
from dispatcher.cluster.numbers import number_for
from dispatcher.cluster.observer import Observer
from dispatcher.cluster.ownership import Do, State
from dispatcher.cluster.records import (
    LeaseRecord,
    MemberRecord,
    MemberState,
    member_key,
    partition_key,
)
from dispatcher.cluster.reporting import Reporting
from dispatcher.cluster.shares import Shares
from dispatcher.cluster.sight import Sight
from dispatcher.cluster.store import Conflict, Entry, LeaseStore, NoVerdict, Stop
from dispatcher.cluster.times import Times
from dispatcher.core.clock import Clock, Random
from dispatcher.errors import LogBusy, LogError
from dispatcher.telemetry.supervisor import Died, Supervisor

TICK_S: Final = 0.1
"""Between turns in which nothing happened: what is due waits for no longer."""
SHOW_S: Final = 0.5
"""Between looks at what only passing time changes: who was not heard of for too long."""
_TURN_S: Final = 0.002
"""Between turns in any case: what happens at once is looked at once."""
_LAST_WORDS_S: Final = 2.0
"""How long a member that leaves waits for the store to take what it has to say."""


class Member:
    """One process of a cluster. `number` and `directory` are there once it has started.

    Life: `await start()`, `begin()`, then `await leave()` and `await stop()`.
    """

    number: int
    directory: Directory

    def __init__(
        self,
        store: LeaseStore,
        holder: Holder,
        observer: Observer,
        died: Died,
        *,
        node: str,
        address: str,
        partitions: int,
        nonce: int,
        clock: Clock,
        random: Random,
        times: Times | None = None,
    ) -> None:
        """`node` is this one's name, `address` where others reach it; `nonce` another number each
        time it starts. `clock` is for what is shown; what is waited for goes by the loop's."""
        self._store = store
        self._holder = holder
        self._observer = observer
        self._node = node
        self._address = address
        self._nonce = nonce
        self._clock = clock
        self._times = times = times or Times()
        self._supervisor = Supervisor(died)
        self._sight = Sight(times.ttl_s)
        self._leases = {number: Lease(nonce, times) for number in range(partitions)}
        self._heart: Heart | None = None
        self._keeping = Keeping(holder, self._leases, observer, self._supervisor, self._wake)
        self._looking = Looking(
            store,
            observer,
            times,
            random,
            keys=self._keys,
            found=self._found,
            stored_s=self._stored_s,
        )
        self._awake, self._progress = asyncio.Event(), asyncio.Event()
        self._reporting = Reporting(observer)
        self._stop_listening: Stop | None = None
        self._n = 0
        self._shown_s = 0.0
        self._claims = self._is_running = self._is_changed = False

    def __repr__(self) -> str:
        held = [number for number, lease in self._leases.items() if lease.state.is_held]
        return f"<Member {self._heart!r}, holds {held}>"

    # Its life.

    async def start(self) -> None:
        """Take a number and be heard, without claiming anything. Waits for a store that does not
        answer: cancel it.

        Raises NodeTaken: another node of this name is alive.
        """
        heart = await self._join()
        self.number = heart.me.number
        self.directory = Directory(self.number, len(self._leases), self._look_again)
        self._is_running = True
        self._show(heart, self._its_shares, asyncio.get_running_loop().time())
        self._supervisor.spawn("hints of the cluster", self._listen())
        self._supervisor.forever("member of the cluster", self._turn, every_s=_TURN_S)

    def begin(self) -> None:
        """Claim what nobody has, from now on."""
        self._claims = True
        self._its_heart.is_now(MemberState.LIVE)
        self._wake()

    async def leave(self) -> None:
        """Claim nothing more; hand everything over, side by side, and release each as soon as it is
        handed over. Takes as long as the node takes for that; whom the store does not answer then
        has its leases run out."""
        self._claims = False
        self._its_heart.is_now(MemberState.LEAVING)
        for partition in self._leases:
            self._tell(partition, partial(Lease.give, is_leaving=True))
        self._wake()
        await self._until(lambda: all(one.state is not State.GIVING for one in self._all))
        await self._until(lambda: all(map(_is_over, self._all)), _LAST_WORDS_S)
        self._its_heart.is_now(MemberState.LEFT)
        self._wake()
        await self._until(lambda: self._its_heart.said is MemberState.LEFT, _LAST_WORDS_S)

    async def stop(self) -> None:
        """Do nothing more. What was not handed over is claimed by others when its leases have run
        out. Idempotent."""
        self._is_running = self._claims = False
        await self._supervisor.stop()
        if self._stop_listening is not None:
            stop, self._stop_listening = self._stop_listening, None
            await stop()

    def lost(self, partition: int, error: LogError) -> None:
        """The node says that a log of an open partition was fenced, or does not say what is stored,
        and that it has let go of it: it is opened anew, if it is still this member's."""
        self._keeping.lost(partition, error)

    @property
    def takeovers_total(self) -> int:
        """How many partitions it has taken over since it started."""
        return self._reporting.takeovers_total

    def late_s(self) -> float:
        """How long ago the renewal was sent that is the eldest of those that count now."""
        now_s = asyncio.get_running_loop().time()
        ends = [one.acts_until_s for one in self._all if one.state.is_held]
        return max((now_s - (end_s - self._times.act_s) for end_s in ends), default=0.0)

    def silent_s(self) -> float:
        """How long ago what it said of itself was sent, as far as it was stored: it may be cut off
        from the store, or all are."""
        return self._its_heart.silent_s(asyncio.get_running_loop().time())

    @property
    def _its_heart(self) -> Heart:
        assert self._heart is not None, "not started"
        return self._heart

    @property
    def _its_shares(self) -> Shares:
        return Shares(self._its_heart, self._leases, self._sight, self._times)

    @property
    def _all(self) -> list[Lease]:
        return list(self._leases.values())

    # Joining.

    async def _join(self) -> Heart:
        loop = asyncio.get_running_loop()
        while True:
            if await self._looking.look():
                if self._looking.is_wanted:
                    continue  # there are more members than were known
                heart = self._heart or self._choose(loop.time())
                if heart is not None and heart.said is None and heart.wants(loop.time()):
                    await self._beat(heart, heart.next_record(self._next_n(), loop.time()))
                if heart is not None and heart.said is not None and not heart.is_taken:
                    return heart
            await asyncio.sleep(self._times.again_s)

    def _choose(self, now_s: float) -> Heart | None:
        take = number_for(self._node, self._sight, now_s, self._times)
        if take is None:
            return None
        me = Me(take.number, self._node, self._nonce)
        self._heart = Heart(me, self._address, take.after, self._times)
        return self._heart

    # Turns.

    async def _turn(self) -> None:
        self._step(asyncio.get_running_loop().time())
        with suppress(TimeoutError):
            async with asyncio.timeout(TICK_S):
                await self._awake.wait()
        self._awake.clear()

    def _step(self, now_s: float) -> None:
        """Begin all that is due."""
        heart, shares = self._its_heart, self._its_shares
        if heart.wants(now_s):
            record = heart.next_record(self._next_n(), now_s)
            self._supervisor.spawn("heartbeat", self._beat(heart, record))
        claims = shares.turns(now_s) if self._claims else {}
        for partition, lease in self._leases.items():
            if lease.wants(now_s, claims.get(partition)):
                self._send(partition, lease, now_s)
        if self._looking.is_due(now_s):
            self._supervisor.spawn("look at the cluster", self._look())
        if self._is_changed or now_s - self._shown_s >= SHOW_S:
            self._is_changed, self._shown_s = False, now_s
            self._show(heart, shares, now_s)

    def _show(self, heart: Heart, shares: Shares, now_s: float) -> None:
        """Tell what may have changed, and move what has to."""
        move = shares.move(now_s) if self._claims else None
        if move is not None and move.giver == self.number:
            self._tell(move.partition, partial(Lease.give, is_leaving=False))
        self.directory.show(
            shown.members(self._sight, heart, now_s, self._times),
            dict(shown.partitions(self._leases, now_s)),
        )

    def _next_n(self) -> int:
        self._n += 1
        return self._n

    def _wake(self) -> None:
        self._is_changed = True
        self._awake.set()
        self._progress.set()

    async def _until(self, is_so: Callable[[], bool], timeout_s: float | None = None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not is_so():
                    self._progress.clear()
                    await self._progress.wait()

    # Storing.

    async def _beat(self, heart: Heart, record: MemberRecord) -> None:
        key = member_key(heart.me.number)
        verdict = await self._put(key, record.encode(), heart.writing.revision)
        match verdict:
            case int():
                heart.stored(record, verdict, asyncio.get_running_loop().time())
            case Conflict():
                heart.writing.refused()
                if heart.said is None:
                    self._heart = None  # somebody else was quicker: another number
            case NoVerdict():
                heart.writing.silent()
        self._wake()

    def _send(self, partition: int, lease: Lease, now_s: float) -> None:
        me, state = self._its_heart.me, lease.state
        if state is State.FOREIGN:
            self._reporting.claims(partition, lease)
        ends = self._holder.ends(partition) if state.is_open else {}
        after = lease.writing.revision
        record = lease.next_record(me, self._next_n(), now_s, self._clock.now_us(), ends)
        self._supervisor.spawn("lease", self._store_lease(partition, record, after))

    async def _store_lease(self, partition: int, record: LeaseRecord, after: int) -> None:
        verdict = await self._put(partition_key(partition), record.encode(), after)
        match verdict:
            case int():
                now_s = asyncio.get_running_loop().time()
                self._tell(partition, lambda lease: lease.stored(record, verdict, now_s))
            case Conflict():
                self._leases[partition].refused()
                self._looking.soon()
            case NoVerdict():
                self._leases[partition].silent()
                self._looking.soon()
        self._wake()

    async def _put(self, key: str, value: bytes, after: int) -> int | Conflict | NoVerdict:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._store.put(key, value, after=after)
        except (Conflict, NoVerdict) as verdict:
            return verdict
        except (LogBusy, TimeoutError) as error:
            return NoVerdict(str(error))

    def _tell(self, partition: int, told: Callable[[Lease], Do]) -> None:
        """Tell a lease something, and do what follows from it."""
        lease = self._leases[partition]
        before, until_s = lease.state, lease.acts_until_s
        do = told(lease)
        self._reporting.changed(partition, before, lease, do)
        self._keeping.do(partition, do)
        if lease.state.is_open and lease.acts_until_s != until_s:
            self._holder.may_act_until(partition, lease.acts_until_s)

    # Looking.

    def _keys(self) -> list[str]:
        return [*map(partition_key, self._leases), *self._sight.keys()]

    async def _look(self) -> None:
        await self._looking.look()
        self._wake()

    def _stored_s(self) -> float:
        heart = self._heart
        return math.inf if heart is None else heart.stored_s

    def _look_again(self) -> bool:
        self._looking.soon()
        self._wake()
        return self._is_running

    def _found(self, entries: Mapping[str, Entry]) -> bool:
        now_s = asyncio.get_running_loop().time()
        is_complete = self._sight.looked(entries, now_s)
        for partition, lease in self._leases.items():
            key, before = partition_key(partition), lease.writing.revision
            self._tell(partition, partial(Lease.looked, entry=entries.get(key), now_s=now_s))
            if lease.writing.revision != before:
                self._looking.came(key)
        heart = self._heart
        if heart is not None:
            was_taken = heart.is_taken
            heart.looked(entries.get(member_key(heart.me.number)), now_s)
            if heart.is_taken and not was_taken:
                self._number_taken(heart)
        return is_complete

    def _number_taken(self, heart: Heart) -> None:
        if heart.said is None:
            self._heart = None
            return
        self._claims = False
        self._observer.number_taken(heart.taken_by)

    async def _listen(self) -> None:
        while self._stop_listening is None:
            try:
                self._stop_listening = await self._store.listen(self._heard)
            except LogBusy:
                await asyncio.sleep(self._times.renew_s)

    def _heard(self, key: str, value: bytes) -> None:
        if is_worth_a_look(key, value, self._leases, self._sight, nonce=self._nonce):
            self._looking.expect(key, asyncio.get_running_loop().time())
            self._wake()


def _is_over(lease: Lease) -> bool:
    return lease.state is State.FOREIGN and not lease.writing.is_under_way

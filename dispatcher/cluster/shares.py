"""Whose turn it is, and what moves, as one member sees the cluster now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dispatcher.cluster.assignment import Move, next_move, turns
from dispatcher.cluster.heart import Heart
from dispatcher.cluster.lease import Lease, Turn
from dispatcher.cluster.ownership import State
from dispatcher.cluster.records import MemberRecord, MemberState, Phase
from dispatcher.cluster.sight import Sight
from dispatcher.cluster.times import Times

_QUIET: Final = (Phase.OPEN, Phase.FAILED)
_RESTING: Final = (State.FOREIGN, State.OWNED, State.FAILED)


class Shares:
    """What one member may claim, and what has to move: decided of its own record (`heart`), its
    leases, and what it has seen of the others (`sight`)."""

    def __init__(
        self, heart: Heart, leases: Mapping[int, Lease], sight: Sight, times: Times
    ) -> None:
        self._heart = heart
        self._leases = leases
        self._sight = sight
        self._times = times

    def turns(self, now_s: float) -> dict[int, Turn]:
        """When this member may claim each partition that has no owner, as far as is known."""
        heard = self._sight.heard(now_s)
        owners = {one: _owner(lease, heard, now_s) for one, lease in self._leases.items()}
        me = self._heart.me.number
        owners = {one: me if owner is _MINE else owner for one, owner in owners.items()}
        if None not in owners.values():
            return {}
        members = {number for number, record in heard.items() if record.state.is_there}
        settles_s, steady_s = self._settles_s(heard), self._heart.steady_s(now_s)
        return {
            one: Turn(who.index(me), settles_s, steady_s)
            for one, who in turns(owners, {*members, me}).items()
        }

    def _settles_s(self, heard: Mapping[int, MemberRecord]) -> float:
        """From when on partitions are claimed that nobody had: a while after the last member came;
        those who come one after the other do not put it off for ever."""
        joined_s = self._heart.joined_s
        last_s = max((self._sight.members[one].since_s for one in heard), default=joined_s)
        last_s = min(max(joined_s, last_s), joined_s + 2 * self._times.settle_s)
        return last_s + self._times.settle_s

    def move(self, now_s: float) -> Move | None:
        """What moves next, wherever it is, while everything is quiet."""
        owners: dict[int, int] = {}
        for partition, lease in self._leases.items():
            record = lease.record
            if record is None or record.phase not in _QUIET or lease.state not in _RESTING:
                return None
            if not lease.is_heard(now_s) or now_s - lease.changed_s < self._times.rest_s:
                return None
            owners[partition] = record.member
        settled = [
            number
            for number, record in self._sight.heard(now_s).items()
            if record.state is MemberState.LIVE
            and now_s - self._sight.members[number].since_s >= self._times.stays_s
        ]
        mine = [one for one, lease in self._leases.items() if lease.state is State.OWNED]
        return next_move(owners, mine, settled)


_MINE: Final = -1


def _owner(lease: Lease, heard: Mapping[int, MemberRecord], now_s: float) -> int | None:
    """The member that has it, if it is heard of; or this one, if it has asked for it."""
    if lease.state is not State.FOREIGN:
        return _MINE
    record = lease.record
    if record is None or not record.is_held or not lease.is_heard(now_s):
        return None
    owner = heard.get(record.member)
    return record.member if owner is not None and owner.nonce == record.nonce else None

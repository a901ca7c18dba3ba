"""What the directory shows, of what a member has seen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from dispatcher.cluster.directory import MemberFacts, PartitionFacts
from dispatcher.cluster.heart import Heart
from dispatcher.cluster.lease import Lease
from dispatcher.cluster.ownership import State
from dispatcher.cluster.records import Phase
from dispatcher.cluster.sight import Sight
from dispatcher.cluster.times import Times

_OWN: Final = {
    State.OPENING: Phase.OPENING,
    State.LOST: Phase.OPENING,
    State.OWNED: Phase.OPEN,
    State.GIVING: Phase.LEAVING,
    State.RELEASING: Phase.LEAVING,
    State.FAILED: Phase.FAILED,
}
"""What this member knows of its own is newer than what is stored."""


def members(sight: Sight, heart: Heart, now_s: float, times: Times) -> dict[int, MemberFacts]:
    """All that ever joined, by number."""
    found: dict[int, MemberFacts] = {}
    for number, seen in sight.members.items():
        if seen.record is None:
            continue
        record = seen.record
        is_me = number == heart.me.number and not heart.is_taken
        is_heard = is_me or now_s - seen.seen_s < times.ttl_s
        state = heart.state if is_me else record.state
        nonce = heart.me.nonce if is_me else record.nonce
        found[number] = MemberFacts(record.node, record.address, nonce, state, is_heard)
    return found


def partitions(leases: Mapping[int, Lease], now_s: float) -> Iterator[tuple[int, PartitionFacts]]:
    """All that were ever owned."""
    for partition, lease in leases.items():
        record = lease.record
        if record is None:
            continue
        phase = _OWN.get(lease.state)
        yield (
            partition,
            PartitionFacts(
                None if record.phase is Phase.RELEASED and phase is None else record.member,
                record.phase if phase is None else phase,
                # Of a claim: its revision, which the owner says with what it stores next.
                lease.epoch if phase is not None else record.epoch or lease.writing.revision,
                record.since_us,
                lease.why if phase is not None else record.why,
                lease.is_heard(now_s),
            ),
        )

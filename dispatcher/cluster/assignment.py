"""Whose turn it is for a partition that nobody has, and what moves so that all have their share.

Pure, and the same for all who see the same; who see something else for a moment get in each other's
way once, no more: the store decides.

Each pair of partition and member has a weight, by a hash (rendezvous hashing). The highest one wins
as long as its member has less than its share: weights alone would leave one of six members without
any of 16 partitions in three of ten clusters. So every member has `partitions // members` of them,
or one more. What somebody has is left where it is, but for what is too much there: that moves, one
partition at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from dispatcher.core.placing import FIRST


@lru_cache(maxsize=1 << 16)
def weight(partition: int, member: int) -> int:
    """How much a partition belongs to a member."""
    return int.from_bytes(blake2b(b"%d/%d" % (partition, member), digest_size=8).digest())


def turns(owners: Mapping[int, int | None], members: Collection[int]) -> dict[int, tuple[int, ...]]:
    """Say for each partition without an owner who may claim it, the first one first.

    `owners` are those of all partitions; who is not among `members` counts as none.
    """
    loads = Counter(dict.fromkeys(members, 0))
    loads.update(owner for owner in owners.values() if owner is not None and owner in loads)
    without = [one for one, owner in owners.items() if owner not in loads]
    if not loads or not without:
        return dict.fromkeys(without, ())
    pairs = sorted(
        ((weight(one, member), one, member) for one in without for member in loads), reverse=True
    )
    share = len(owners) // len(loads)
    first: dict[int, int] = {}
    for most in (share, share + 1, len(owners)):
        for _, one, member in pairs:
            if one not in first and loads[member] < most:
                first[one] = member
                loads[member] += 1
    ranked: dict[int, list[int]] = {one: [first[one]] for one in without}
    for _, one, member in pairs:
        if member != first[one]:
            ranked[one].append(member)
    return {one: tuple(found) for one, found in ranked.items()}


@dataclass(frozen=True, slots=True)
class Move:
    """A partition that `giver` hands over, so that `taker` has its share."""

    partition: int
    giver: int
    taker: int


def next_move(
    owners: Mapping[int, int], movable: Collection[int], settled: Collection[int]
) -> Move | None:
    """Say what moves next, while every partition has an owner; None: all have their share.

    `movable` are the partitions that may move, `settled` the members that may be given something.
    Only the giver acts on it; the taker is who claims it then.
    """
    loads = Counter(dict.fromkeys(settled, 0))
    loads.update(owners.values())
    takers = sorted(settled, key=lambda member: (loads[member], member))
    givers = sorted(loads, key=lambda member: (-loads[member], member))
    if not takers or loads[givers[0]] - loads[takers[0]] < 2:
        return None
    giver, taker = givers[0], takers[0]
    its = [one for one in movable if owners[one] == giver]
    if not its:
        return None
    # Not the first one as long as there is another: all that there is once goes with it.
    chosen = max(its, key=lambda one: (one != FIRST, weight(one, taker), one))
    return Move(chosen, giver, taker)

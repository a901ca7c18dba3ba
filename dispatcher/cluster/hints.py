"""Whether a record that is being stored is worth a look. Pure.

Renewals are not: of sixteen partitions there are as many a second.
"""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.cluster.lease import Lease, is_news
from dispatcher.cluster.records import Unreadable, read_lease, read_member
from dispatcher.cluster.sight import Sight


def is_worth_a_look(
    key: str, value: bytes, leases: Mapping[int, Lease], sight: Sight, *, nonce: int
) -> bool:
    """Say whether somebody else than the member with this `nonce` stores something new."""
    kind, _, number = key.partition(".")
    if not number.isascii() or not number.isdecimal():
        return False
    try:
        if kind == "p":
            lease, record = leases.get(int(number)), read_lease(value)
            return lease is not None and record.nonce != nonce and is_news(lease.record, record)
        if kind == "m":
            return _is_member_news(sight, int(number), value)
    except Unreadable:
        pass
    return False


def _is_member_news(sight: Sight, number: int, value: bytes) -> bool:
    record = read_member(value)
    seen = sight.members.get(number)
    known = seen.record if seen is not None else None
    return known is None or (known.nonce, known.state) != (record.nonce, record.state)

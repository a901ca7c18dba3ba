"""What members of a cluster store, and what they make of what others stored."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cluster.records import (
    ClusterRecord,
    LeaseRecord,
    MemberRecord,
    MemberState,
    Phase,
    Unreadable,
    read_cluster,
    read_lease,
    read_member,
)

COUNTS = st.integers(0, 1 << 63)
MEMBERS = st.builds(
    MemberRecord, st.text(), st.text(), COUNTS, COUNTS, st.sampled_from(MemberState)
)
LEASES = st.builds(
    LeaseRecord,
    COUNTS,
    st.text(),
    COUNTS,
    COUNTS,
    st.sampled_from(Phase),
    COUNTS,
    COUNTS,
    st.dictionaries(st.text(), COUNTS),
    st.text(),
)


@given(MEMBERS)
def test_what_is_stored_of_a_member_is_read_as_it_was(record: MemberRecord) -> None:
    """Whatever its names are."""
    assert read_member(record.encode()) == record


@given(LEASES)
def test_what_is_stored_of_a_partition_is_read_as_it_was(record: LeaseRecord) -> None:
    """Its ends too."""
    assert read_lease(record.encode()) == record


@given(st.integers(1, 1 << 16), st.text())
def test_what_is_stored_of_a_cluster_is_read_as_it_was(partitions: int, key: str) -> None:
    """Once for ever."""
    assert read_cluster(ClusterRecord(partitions, key).encode()) == ClusterRecord(partitions, key)


def test_fields_that_are_not_known_are_passed_over() -> None:
    """A later version may say more."""
    said = json.loads(LeaseRecord(1, "a", 7, 2, Phase.OPEN).encode())
    assert said["state"] == "held"
    assert read_lease(json.dumps({**said, "mood": ["good"]}).encode()).member == 1


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"version": 2, "phase": "open"}',
        b'{"version": true, "phase": "open"}',
        b'{"version": 1, "phase": "asleep"}',
        b'{"version": 1, "phase": ["open"]}',
        b'{"version": 1, "phase": "open", "n": -1}',
        b'{"version": 1, "phase": "open", "node": 5}',
        b'{"version": 1, "phase": "open", "ends": {"transaction": "far"}}',
        b'{"version": 1, "phase": "open", "ends": []}',
        b"[" * 100_000,
    ],
)
def test_what_no_member_stores_is_not_read(value: bytes) -> None:
    """Nor what only a later version understands."""
    with pytest.raises(Unreadable):
        read_lease(value)


@given(st.binary())
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    """And nothing else happens."""
    for read in (read_lease, read_member, read_cluster):
        try:
            read(value)
        except Unreadable:
            continue

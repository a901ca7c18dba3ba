"""What members of a cluster store is read for ever: nodes of two versions are in one cluster while
it is brought to a later one, and what is fixed for a cluster is stored once."""

from __future__ import annotations

from pathlib import Path

from dispatcher.cluster.records import (
    ClusterRecord,
    LeaseRecord,
    MemberRecord,
    MemberState,
    Phase,
    read_cluster,
    read_lease,
    read_member,
)

NONCE = 4611686018427387904
SINCE_US = 1764633600000000
ENDS = {"transaction": 2097152, "dead_letter": 1048576}


def test_records_of_version_1_are_read() -> None:
    """They mean what they meant when they were stored, and are written in the same bytes."""
    content = (Path(__file__).parent / "cluster_v1.txt").read_bytes()
    stored = dict(line.split(b" ", 1) for line in content.splitlines())
    expected: dict[bytes, ClusterRecord | MemberRecord | LeaseRecord] = {
        b"cluster": ClusterRecord(16, "ed25519 7c1f"),
        b"m.0": MemberRecord("node1", "10.0.0.1:8082", NONCE, 17, MemberState.LIVE),
        b"p.3": LeaseRecord(0, "node1", NONCE, 18, Phase.OPEN, 12, SINCE_US, ENDS),
        b"p.4": LeaseRecord(
            0, "node1", NONCE, 19, Phase.FAILED, 13, SINCE_US, {}, "stream dispatcher-4: damaged"
        ),
        b"p.5": LeaseRecord(
            0, "node1", NONCE, 20, Phase.RELEASED, 0, SINCE_US, {"transaction": 3145728}
        ),
    }
    read = {b"c": read_cluster, b"m": read_member, b"p": read_lease}
    assert {key: read[key[:1]](value) for key, value in stored.items()} == expected
    assert {key: record.encode() for key, record in expected.items()} == stored

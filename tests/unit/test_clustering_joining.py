"""What a node looks at before it is a member: its directory, and what all nodes have in common."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from dispatcher.cluster.records import CLUSTER_KEY, ClusterRecord, read_cluster
from dispatcher.errors import ConfigError, LogLocked
from dispatcher.node.clustering import joining
from dispatcher.node.clustering.joining import agree, take_directory
from dispatcher.settings import Settings
from dispatcher.testing.leases import Fate, Leases, LeasesLink
from dispatcher.txlog.files import FileLog


def settings_in(directory: Path) -> Settings:
    """Settings of a node whose directories lie there."""
    places = {"TRANSACTION_LOG": str(directory / "t"), "DEAD_LETTER": str(directory / "d")}
    return Settings.load(places)


def common(leases: Leases) -> ClusterRecord:
    """What is written down."""
    return read_cluster(leases.latest[CLUSTER_KEY].value)


def test_directory_is_made_and_is_one_nodes(tmp_path: Path) -> None:
    """The copies of two nodes would do each other no harm, but their sockets would."""
    settings = settings_in(tmp_path)
    held = take_directory(settings)
    with pytest.raises(LogLocked, match="Give each its own"):
        take_directory(settings)
    os.close(held)
    os.close(take_directory(settings))


@pytest.mark.parametrize("place", ["t", "d", "t/p1", "d/p3"])
async def test_directory_with_a_log_is_refused(tmp_path: Path, place: str) -> None:
    """Nobody would deliver what is in it, and nothing would say so."""
    log = FileLog(tmp_path / place)
    await log.open("test", 0)
    await log.append([b"a message"])
    await log.close()
    with pytest.raises(ConfigError, match="without CLUSTER"):
        take_directory(settings_in(tmp_path))


def test_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """With the setting that names it."""
    (tmp_path / "file").write_text("")
    settings = Settings.load({"TRANSACTION_LOG": str(tmp_path / "file" / "t")})
    with pytest.raises(ConfigError, match="TRANSACTION_LOG="):
        take_directory(settings)


async def test_first_node_writes_down_what_is_common() -> None:
    """And all others find it so."""
    leases = Leases()
    for _ in range(2):
        await agree(LeasesLink(leases), 16, ["a"], print)
    assert common(leases) == ClusterRecord(16, "a")
    assert len(leases.history) == 1


async def test_nodes_that_come_first_together_agree() -> None:
    """One of them writes it down; the other one reads it."""
    leases = Leases()
    with_their_own = (agree(LeasesLink(leases), 16, ["a"], print) for _ in range(5))
    await asyncio.gather(*with_their_own)
    assert len(leases.history) == 1


async def test_other_number_of_partitions_is_refused() -> None:
    """A key would be looked for where it is not."""
    leases = Leases()
    await agree(LeasesLink(leases), 16, ["a"], print)
    with pytest.raises(ConfigError, match="PARTITIONS=8: expected 16"):
        await agree(LeasesLink(leases), 8, ["a"], print)
    assert common(leases) == ClusterRecord(16, "a")


async def test_other_signing_key_is_refused() -> None:
    """Applications know one key, and would refuse every run that this node sends."""
    leases = Leases()
    await agree(LeasesLink(leases), 16, ["a"], print)
    with pytest.raises(ConfigError, match="Copy the file from another node"):
        await agree(LeasesLink(leases), 16, ["b"], print)
    assert common(leases) == ClusterRecord(16, "a")


async def test_signing_key_is_rotated_node_by_node() -> None:
    """A file that has one of the known keys is the same file, a step further or a step behind."""
    leases = Leases()
    for keys in (["a"], ["a", "b"], ["a"], ["a", "b"], ["b"], ["a", "b"], ["b"]):
        await agree(LeasesLink(leases), 16, keys, print)
        assert common(leases).signing_key.split() == keys
    with pytest.raises(ConfigError):
        await agree(LeasesLink(leases), 16, ["a"], print)


async def test_record_of_a_later_version_is_refused() -> None:
    """What it says may be what nobody here keeps to."""
    leases = Leases()
    leases.put(CLUSTER_KEY, b'{"version":2,"partitions":16}', 0, 0.0)
    with pytest.raises(ConfigError, match="version 2"):
        await agree(LeasesLink(leases), 16, ["a"], print)


async def test_store_that_does_not_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a power cut, when all machines start at once. What is waited for is told."""
    monkeypatch.setattr(joining, "_AGAIN_S", 0.001)
    monkeypatch.setattr("dispatcher.testing.leases.TIMEOUT_S", 0.02)
    leases, told = Leases(), list[str]()
    fates = iter([Fate.LOST, Fate.NONE, Fate.LOST, Fate.NONE, Fate.UNANSWERED])
    store = LeasesLink(leases, fate=lambda _: next(fates, Fate.NONE))
    await agree(store, 16, ["a"], told.append)
    assert common(leases) == ClusterRecord(16, "a")
    assert len(leases.history) == 1
    assert len(told) == 3

"""What comes before a node is a member: NATS is reached and fit for logs, and what all nodes of a
cluster have in common is the same here.

Servers that do not answer are waited for: after a power cut all machines start at once. What is
wrong with a setting ends the start.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from dispatcher.cluster.nats_store import NatsStore
from dispatcher.cluster.records import CLUSTER_KEY, ClusterRecord, Unreadable, read_cluster
from dispatcher.cluster.store import Conflict, LeaseStore, NoVerdict
from dispatcher.errors import ConfigError, LogBusy, LogLocked
from dispatcher.node.clustering.config import ClusterConfig
from dispatcher.node.clustering.streams import STREAMS, partition_of
from dispatcher.node.places import has_log, numbers_in, place_of
from dispatcher.settings import Settings
from dispatcher.txlog.nats.asking import Patience
from dispatcher.txlog.nats.epochs import epochs
from dispatcher.txlog.nats.link import Link, Silence
from dispatcher.txlog.nats.servers import FEWEST, check_servers

if TYPE_CHECKING:
    from dispatcher.txlog.nats.client import NatsLink

_AGAIN_S: Final = 1.0
"""Between tries while servers of NATS do not answer."""
_CONNECT_S: Final = 1.5
"""For each server of NATS: one that does not answer at all costs a second."""
_LOCK: Final = "node.lock"
_PATIENCE: Final = Patience()

T = TypeVar("T")

Waits = Callable[[str], object]
"""Is told what is waited for, each time anew."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The connection to NATS, the records of the cluster there, and servers whose configuration
    nobody knows yet, as they did not answer."""

    link: NatsLink
    store: NatsStore
    unheard: Sequence[str]


def take_directory(settings: Settings) -> int:
    """Make TRANSACTION_LOG where it is missing, for what a node keeps there, and take it; returns
    the descriptor that holds it.

    Raises:
        ConfigError: it cannot be used, or a log lies there or in DEAD_LETTER, whose messages nobody
            would deliver.
        LogLocked: another node has it.
    """
    place = settings.transaction_log
    for setting, directory in (("TRANSACTION_LOG", place), ("DEAD_LETTER", settings.dead_letter)):
        for number in numbers_in(directory):
            if has_log(place_of(directory, number)):
                raise ConfigError(
                    f"{setting}={directory}: has messages of a server without CLUSTER, which would "
                    "not be delivered. Start that server again, or `dispatcher export` them there "
                    "and `dispatcher import` them here, with another directory"
                )
    try:
        place.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"TRANSACTION_LOG={place}: {error.strerror}; expected a directory that this process may"
            " write in"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LogLocked(
            f"TRANSACTION_LOG={place}: another node uses this directory. Give each its own."
        ) from error
    return descriptor


async def join(config: ClusterConfig, waits: Waits) -> Joined:
    """Connect to NATS, and make the bucket where there is none. Waits for its servers.

    Raises:
        ConfigError: they cannot keep logs, or do not let us in, or the bucket is something else, or
            it is not there and there are logs of another number of partitions.
        LogError: they have no space for the bucket, or it is not there and a log is damaged.
    """
    try:
        from dispatcher.txlog.nats.client import connect
    except ImportError as error:
        raise ConfigError(
            f"CLUSTER: expected nats-py to be installed ({error}): "
            "pip install '.[cluster]' in the directory of the source"
        ) from error

    name = f"dispatcher {config.node}"
    each_s = len(config.servers) * _CONNECT_S
    link = await patiently(
        lambda: connect(config.servers, name=name, access=config.access, timeout_s=each_s), waits
    )
    try:
        fewest = min(FEWEST, config.replicas)
        unheard = await patiently(lambda: check_servers(config.monitoring, fewest=fewest), waits)
        store = NatsStore(link, replicas=config.replicas)
        await patiently(lambda: store.made(lambda: _first_revision(link, config)), waits)
    except BaseException:
        await link.close()
        raise
    return Joined(link, store, unheard)


async def _first_revision(link: Link, config: ClusterConfig) -> int:
    """Where the revisions of a bucket begin that is made anew: those of its claims are epochs, and
    a log takes no owner whose epoch is lower than one it had. So they go on above all of them, and
    a bucket that was lost keeps nobody from serving.

    Raises:
        ConfigError: there are logs of another number of partitions.
        LogError: what the logs hold cannot be seen, for now where it is a LogBusy.
    """
    found = await epochs(link, STREAMS, _PATIENCE)
    number = 1 + max(map(partition_of, found), default=-1)
    if number not in (0, config.partitions):
        raise ConfigError(
            f"PARTITIONS={config.partitions}: expected {number}: the bucket KV_dispatcher is gone, "
            "and there are streams of so many partitions"
        )
    return 1 + max(found.values(), default=0)


async def agree(
    store: LeaseStore, partitions: int, signing_keys: Sequence[str], waits: Waits
) -> None:
    """Compare what all nodes have in common with what the first one wrote down. `signing_keys`
    are the ids of the keys in this node's file. Where some are known and others new, they are
    what is known from now on: keys are replaced one by one, and not on all nodes at once.

    Raises:
        ConfigError: something is not the same here.
    """
    ours = ClusterRecord(partitions, " ".join(signing_keys))
    await patiently(lambda: _agree(store, ours), waits)


async def _agree(store: LeaseStore, ours: ClusterRecord) -> None:
    """Raises LogBusy: nobody answers."""
    while True:
        entry = (await store.look([CLUSTER_KEY])).get(CLUSTER_KEY)
        wanted = ours if entry is None else _agreed(entry.value, ours)
        if wanted is None:
            return
        after = 0 if entry is None else entry.revision
        try:
            await store.put(CLUSTER_KEY, wanted.encode(), after=after)
        except Conflict:
            continue  # another node was quicker: look what it says
        except NoVerdict as error:
            text = f"what nodes have in common could not be written down: {error}"
            raise LogBusy(text) from error
        return


def _agreed(value: bytes, ours: ClusterRecord) -> ClusterRecord | None:
    """What has to be written down instead; None: nothing."""
    try:
        theirs = read_cluster(value)
    except Unreadable as error:
        raise ConfigError(f"the cluster's record cannot be read: {error}") from error
    if theirs.partitions != ours.partitions:
        raise ConfigError(
            f"PARTITIONS={ours.partitions}: expected {theirs.partitions}, as the cluster was made "
            "with; that number is fixed"
        )
    known = theirs.signing_key.split()
    if known and not set(known) & set(ours.signing_key.split()):
        raise ConfigError(
            f"SIGNING_KEY: expected the key of the other nodes ({' or '.join(known)}), found "
            f"another one ({ours.signing_key}): applications would refuse what this node sends. "
            "Copy the file from another node"
        )
    agreed = replace(theirs, signing_key=ours.signing_key)
    return None if agreed == theirs else agreed


async def patiently(act: Callable[[], Awaitable[T]], waits: Waits) -> T:
    """Do something until the servers answer."""
    while True:
        try:
            return await act()
        except (LogBusy, Silence) as error:
            waits(str(error))
        await asyncio.sleep(_AGAIN_S)

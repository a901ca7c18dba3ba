"""Partitions whose logs are files. Partition 0 lies in the directories that the settings name, as
the only one always did, and another one in a directory of its own in those:

    TRANSACTION_LOG/            partition 0
    TRANSACTION_LOG/p1/         partition 1
    DEAD_LETTER/                the dead letters of partition 0
    DEAD_LETTER/p1/             those of partition 1
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dispatcher.core.clock import Clock
from dispatcher.node.places import place_of
from dispatcher.queue.partition import Partition, PartitionConfig
from dispatcher.queue.ports import LogName, Observer
from dispatcher.settings import Settings
from dispatcher.txlog.files import FileLog


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of a partition's logs."""

    transaction: Path
    dead_letter: Path

    @classmethod
    def of(cls, settings: Settings, number: int) -> Places:
        """Those of one partition."""
        return cls(
            place_of(settings.transaction_log, number), place_of(settings.dead_letter, number)
        )

    def named(self) -> dict[LogName, str]:
        """As they are told."""
        return {
            LogName.TRANSACTION: str(self.transaction),
            LogName.DEAD_LETTER: str(self.dead_letter),
        }


@dataclass(frozen=True, slots=True)
class OnDisk:
    """One partition, and the logs it is in."""

    number: int
    places: Places
    log: FileLog
    dead_log: FileLog
    queue: Partition

    @property
    def logs(self) -> tuple[tuple[FileLog, Path], tuple[FileLog, Path]]:
        """Both, each with where it lies."""
        return (
            (self.log, self.places.transaction),
            (self.dead_log, self.places.dead_letter),
        )


def make(
    settings: Settings,
    numbers: Iterable[int],
    *,
    config_of: Callable[[int], PartitionConfig],
    observer_of: Callable[[Places], Observer],
    clock: Clock,
    incarnation: int,
) -> Sequence[OnDisk]:
    """The partitions with these numbers, not open yet, which share what is the process's."""
    made: list[OnDisk] = []
    for number in numbers:
        places = Places.of(settings, number)
        log = FileLog(places.transaction, keep_everything=settings.event_sourcing)
        dead_log = FileLog(places.dead_letter)
        queue = Partition(
            log,
            dead_log,
            config_of(number),
            observer_of(places),
            clock=clock,
            random=random.Random(),
            incarnation=incarnation,
            traffic=made[0].queue.traffic if made else None,
        )
        made.append(OnDisk(number, places, log, dead_log, queue))
    for one in made:
        others = [other.queue.dead_letters.letters for other in made if other is not one]
        one.queue.retention.share_with(others)
    return made

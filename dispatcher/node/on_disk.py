"""Partitions whose logs are files. Partition 0 lies in the directories that the settings name, as
the only one always did, and another one in a directory of its own in those:

    TRANSACTION_LOG/            partition 0
    TRANSACTION_LOG/p1/         partition 1
    DEAD_LETTER/                the dead letters of partition 0
    DEAD_LETTER/p1/             those of partition 1
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dispatcher.node.places import place_of
from dispatcher.queue.ports import LogName
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
    """The logs of one partition."""

    number: int
    places: Places
    log: FileLog
    dead_log: FileLog

    @classmethod
    def of(cls, settings: Settings, number: int) -> Self:
        """Those of the partition with this number, not open yet."""
        places = Places.of(settings, number)
        return cls(
            number,
            places,
            FileLog(places.transaction, keep_everything=settings.event_sourcing),
            FileLog(places.dead_letter),
        )

    @property
    def logs(self) -> tuple[tuple[FileLog, Path], tuple[FileLog, Path]]:
        """Both, each with where it lies."""
        return (
            (self.log, self.places.transaction),
            (self.dead_log, self.places.dead_letter),
        )

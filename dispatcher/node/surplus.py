"""Removes the logs of partitions that a node has no more use for, before it starts: those above its
number of processes, once nothing at all is in them.

Only a start can tell what is in a log. A large one is not read for it: what is empty becomes small
by itself. The two directories are renamed first, so that what is left of them after a crash is
taken for no log; it is removed at the next start.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dispatcher.core.clock import SystemClock
from dispatcher.core.rules.table import RulesInForce
from dispatcher.errors import ConfigError, LogError
from dispatcher.node import configs, on_disk
from dispatcher.node.descriptors import Share
from dispatcher.node.observer import EventObserver
from dispatcher.queue.partition import Partition
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.txlog.files.cut import sync_directory
from dispatcher.txlog.files.place import LOCK
from dispatcher.txlog.files.segment import MIB
from dispatcher.txlog.files.span import SPAN

_MOST_BYTES: Final = 16 * MIB
"""Of the files of one partition: a quarter of a second to read."""
_EVER_US: Final = 1 << 63
_GONE: Final = "gone-"
_ONE: Final = Share(1, slow=1, calls=1, idle=1, callers=1, operators=1)


async def remove_empty(settings: Settings, numbers: Iterable[int]) -> set[int]:
    """Remove the logs of those of these partitions that are empty; returns which. What cannot be
    read or removed stays, and whoever opens it says what is wrong."""
    directories = (settings.transaction_log, settings.dead_letter)
    _sweep(directories)
    removed: set[int] = set()
    for number in numbers:
        places = on_disk.Places.of(settings, number)
        if settings.event_sourcing or not _is_small(places):
            continue
        if await _is_empty(settings, number) and _remove(directories, places, number):
            removed.add(number)
    return removed


def _is_small(places: on_disk.Places) -> bool:
    """Whether there are only files that a log has, and few bytes."""
    size_bytes = 0
    for directory in (places.dead_letter, places.transaction):
        try:
            found = list(os.scandir(directory))
        except OSError:
            continue
        for file in found:
            if not (file.name.endswith(".seg") or file.name in (LOCK, SPAN)):
                return False  # the copy that a repair has made, say
            size_bytes += file.stat().st_size
    return size_bytes <= _MOST_BYTES


async def _is_empty(settings: Settings, number: int) -> bool:
    try:
        partition = _partition(settings, number)
        try:
            await partition.open("dispatcher", 0)
            return (
                not partition.recovery.lost
                and not partition.pending.index.count
                and not len(partition.dead_letters)
                and not await partition.keys.has_old(_EVER_US)
            )
        finally:
            await partition.stop()
    except (ConfigError, LogError):
        return False


def _partition(settings: Settings, number: int) -> Partition:
    events = Events(open_log(lambda line: None, level="error", format="json"))
    logs = on_disk.OnDisk.of(settings, number)
    return Partition(
        logs.log,
        logs.dead_log,
        configs.of_partition(settings, _ONE, RulesInForce(), number),
        EventObserver(events, paths=logs.places.named(), on_log_failed=lambda: None),
        clock=SystemClock(),
        random=random.Random(),
        incarnation=random.SystemRandom().getrandbits(32),
    )


def _remove(directories: tuple[Path, Path], places: on_disk.Places, number: int) -> bool:
    """The dead letters' log first: what has none is a partition without dead letters."""
    both = ((directories[1], places.dead_letter), (directories[0], places.transaction))
    try:
        for directory, place in both:
            if place.exists():
                place.rename(directory / f"{_GONE}p{number}")
                sync_directory(directory)
    except OSError:
        return False
    _sweep(directories)
    return True


def _sweep(directories: Iterable[Path]) -> None:
    """Remove what was renamed."""
    for directory in directories:
        for place in directory.glob(f"{_GONE}p*"):
            shutil.rmtree(place, ignore_errors=True)

"""Which partitions there are, and what was decided with their number: the file `partitions.json` of
TRANSACTION_LOG (`txlog/FORMAT.md`).

Places are spread over as many partitions as there are processes (`core.placing`). When that number
changes, what has a key stays where it lies, so the former number has to be remembered: until the
longest window has passed since, and nothing is left that lies where it put it. Then it is forgotten
(`node.former`). The file is written before the first message is accepted under the new number.

    process i of n      has the partitions k with k % n == i, of those on disk or below n
    without a key       the process's own partition, i
    with a key          `partition_of(place, spread)`, or one of a former spread (`node.meeting`)
    k >= spread         a surplus: nothing without a key; removed once it is empty (`node.surplus`)

Changing the file: raise `VERSION` and read the old ones; describe the new one in `FORMAT.md`; add a
file to `tests/golden`, and never change an older one. A field that is only told about may be added
without that: readers pass over what they do not know.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from dispatcher.errors import ConfigError, LogCorrupt
from dispatcher.node.assignment import Assignment
from dispatcher.node.places import has_log, numbers_in
from dispatcher.settings import Settings
from dispatcher.txlog.files.cut import sync_directory
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.place import cannot_open, check_free

NAME: Final = "partitions.json"
VERSION: Final = 1
MOST: Final = 1 << 16
"""Ids have 16 bits for the partition."""


@dataclass(frozen=True, slots=True)
class Former:
    """A number that places were spread over before, until an instant in microseconds since the
    epoch."""

    spread: int
    ended_us: int

    def __post_init__(self) -> None:
        if not 1 <= self.spread <= MOST or self.ended_us < 0:
            raise ValueError(f"{self}: expected a spread of 1 to {MOST}, and an instant")


@dataclass(frozen=True, slots=True)
class Layout:
    """The number in force, and former ones, the latest first. A log from before has 1."""

    spread: int = 1
    former: tuple[Former, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.spread <= MOST:
            raise ValueError(f"a spread of {self.spread}: expected 1 to {MOST}")

    def changed(self, spread: int, now_us: int) -> Layout:
        """With another number from now on. The former one, and those before it, are kept."""
        if spread == self.spread:
            return self
        former = [Former(self.spread, now_us), *self.former]
        return Layout(spread, tuple(one for one in former if one.spread != spread))

    def without(self, spread: int) -> Layout:
        """Nothing of a former number is left."""
        return replace(self, former=tuple(one for one in self.former if one.spread != spread))

    def cleared(self, numbers: Iterable[int]) -> Layout:
        """With these partitions and no other: where there is only one, no former number says
        anything."""
        return replace(self, former=()) if self.spread == 1 and {*numbers} <= {0} else self

    def partitions(self, on_disk: Iterable[int]) -> tuple[int, ...]:
        """Those that a node has, of which these are on disk."""
        return tuple(sorted({*on_disk, *range(self.spread)}))

    def assignment(self, number: int, every: Iterable[int]) -> Assignment:
        """What process `number` has, of as many as places are spread over; `every` are all
        partitions of the node."""
        every = tuple(sorted(every))
        own = tuple(one for one in every if one % self.spread == number)
        former = tuple(one.spread for one in self.former)
        return Assignment(number, own, self.spread, self.spread, former, every)

    @property
    def document(self) -> dict[str, object]:
        """What the file says."""
        former = [{"spread": one.spread, "ended_us": one.ended_us} for one in self.former]
        return {"version": VERSION, "spread": self.spread, "former": former}

    def encoded(self) -> bytes:
        """The content of the file."""
        return (json.dumps(self.document) + "\n").encode()


def read_layout(transaction_log: Path) -> Layout:
    """Return what is decided for the logs of a node; `transaction_log` is that of partition 0.

    Where nothing is, there is one partition, or as many as there are logs.

    Raises:
        LogCorrupt: the file is not what was written.
        ConfigError: it cannot be read, or a later version wrote it.
    """
    path = transaction_log / NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Layout(max(numbers_in(transaction_log)) + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    return decoded(path, content)


def decoded(path: Path, content: bytes) -> Layout:
    """Read the content of the file; raises as `read_layout`."""
    try:
        return _layout(path, json.loads(content))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LogCorrupt(str(path), 0, f"not what a server wrote ({error!r})") from error


def _layout(path: Path, found: Any) -> Layout:
    version = found["version"]
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"version {version!r}")
    if version > VERSION:
        raise ConfigError(
            f"{path}: of version {version}, {VERSION} is the newest known: start the version of "
            "Dispatcher that wrote it, or a later one"
        )
    former = tuple(Former(_int(one["spread"]), _int(one["ended_us"])) for one in found["former"])
    return Layout(_int(found["spread"]), former)


def _int(found: object) -> int:
    if type(found) is not int:
        raise ValueError(f"{found!r} is no integer")
    return found


def write_layout(transaction_log: Path, layout: Layout) -> None:
    """Write it, durable, or leave the one before as it was.

    Raises:
        LogError, ConfigError: the disk said no.
    """
    path = transaction_log / NAME
    unfinished = path.with_suffix(".tmp")
    try:
        with unfinished.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(layout.encoded())
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        sync_directory(transaction_log)
    except OSError as error:
        raise cannot_open(transaction_log, error) from error


def lay_out(settings: Settings, processes: int, now_us: int) -> tuple[Layout, tuple[int, ...]]:
    """Decide for a node of so many processes that is about to start, and write it down where it
    differs from before; returns the partitions too that the node has.

    Raises:
        LogLocked: another server has the logs.
        LogError, ConfigError: as `read_layout` and `write_layout`.
    """
    place = settings.transaction_log
    on_disk = {*numbers_in(place), *numbers_in(settings.dead_letter)}
    is_new = on_disk == {0} and not (place / NAME).exists() and not has_log(place)
    before = Layout(processes) if is_new else read_layout(place)
    layout = before.changed(processes, now_us).cleared({*on_disk, *range(processes)})
    if layout != before or (processes > 1 and not (place / NAME).exists()):
        disk = RealDisk()
        check_free(place, disk)
        try:
            disk.make_directory(place)
        except OSError as error:
            raise cannot_open(place, error) from error
        write_layout(place, layout)
    return layout, layout.partitions(on_disk)

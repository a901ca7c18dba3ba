"""The metrics of several processes as those of one server. Pure.

The same names and labels mean the same as of one process: counters and histograms are sums, and a
gauge is a sum too, unless `JOINED` says that the most or the least of all is meant. What belongs to
a process of the operating system (`process_…`) is told for each, with its number as `process`.

A process that starts anew counts from 0, and one that is away says nothing: what it had counted
stays in the sums, so that no counter falls because of that (`Processes`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final

from prometheus_client.utils import floatToGoString


class Joined(Enum):
    """How a gauge of several processes becomes one."""

    SUM = "sum"
    MOST = "most"
    LEAST = "least"


JOINED: Final = MappingProxyType(
    {
        "dispatcher_build_info": Joined.MOST,
        "dispatcher_workers": Joined.SUM,
        "dispatcher_workers_busy": Joined.SUM,
        "dispatcher_messages": Joined.SUM,
        "dispatcher_disk_free_bytes": Joined.LEAST,
        "dispatcher_disk_total_bytes": Joined.MOST,
        "dispatcher_log_full": Joined.MOST,
        "dispatcher_log_waiting_seconds": Joined.MOST,
        "dispatcher_oldest_message_age_seconds": Joined.MOST,
        "dispatcher_log_bytes": Joined.SUM,
        "dispatcher_log_live_bytes": Joined.SUM,
        "dispatcher_connections": Joined.SUM,
        "dispatcher_dead_letter_bytes": Joined.SUM,
        "dispatcher_certificate_expires_timestamp_seconds": Joined.LEAST,
        # Every process has lanes of its own for what may be the same destinations.
        "dispatcher_destinations": Joined.MOST,
        "dispatcher_destinations_shut": Joined.MOST,
        "dispatcher_destinations_failing": Joined.MOST,
        "dispatcher_held_messages": Joined.SUM,
        "dispatcher_lane_shut": Joined.MOST,
        "dispatcher_lane_ready": Joined.SUM,
        "dispatcher_lane_scheduled": Joined.SUM,
        "dispatcher_lane_in_flight": Joined.SUM,
        "dispatcher_lane_failing_seconds": Joined.MOST,
        "dispatcher_lane_limit": Joined.SUM,
        "dispatcher_lane_rate_reached": Joined.MOST,
        "dispatcher_lane_held": Joined.MOST,
        "dispatcher_lane_backing_off": Joined.MOST,
    }
)
"""Gauges; one that is not here, as those of function calls, only one process has."""
_OF_PROCESS: Final = "process_"


@dataclass(slots=True)
class Family:
    """A metric: its lines that begin with `#`, its kind, and its samples by name and labels."""

    name: str
    head: list[str] = field(default_factory=list)
    kind: str = "untyped"
    samples: dict[str, float] = field(default_factory=dict)

    @property
    def only_grows(self) -> bool:
        """Whether it counts from the start of a process."""
        return self.kind in ("counter", "histogram")

    def join(self, samples: Mapping[str, float]) -> None:
        """Add the samples of another process."""
        how = JOINED.get(self.name, Joined.SUM) if not self.only_grows else Joined.SUM
        own = self.samples
        for key, value in samples.items():
            if key not in own:
                own[key] = value
            elif how is Joined.SUM:
                own[key] += value
            elif how is Joined.MOST:
                own[key] = max(own[key], value)
            else:
                own[key] = min(own[key], value)

    def labelled(self, process: int) -> None:
        """Say of which process each sample is."""
        self.samples = {_labelled(key, process): value for key, value in self.samples.items()}

    def text(self) -> str:
        """As it is written."""
        lines = [f"{key} {_written(value)}" for key, value in self.samples.items()]
        return "".join(f"{line}\n" for line in (*self.head, *lines))


def read_families(text: str) -> dict[str, Family]:
    """What a process wrote, in the text format 0.0.4, by name."""
    found: dict[str, Family] = {}
    now = Family("")
    for line in text.splitlines():
        if line.startswith("# "):
            _, word, name, *rest = line.split(" ", 3)
            if name != now.name:
                now = found.setdefault(name, Family(name))
            now.head.append(line)
            if word == "TYPE" and rest:
                now.kind = rest[0]
        elif line:
            key, _, value = line.rpartition(" ")
            now.samples[key] = _number(value)
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _written(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]  # the library has no types
    return text


def _labelled(key: str, process: int) -> str:
    name, brace, labels = key.partition("{")
    return f'{name}{{process="{process}"{"," + labels if brace else "}"}'


class Processes:
    """What the processes of a node tell, one scrape after the other."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[int, dict[str, Family]]] = {}
        self._gone: dict[str, Family] = {}

    def told(self, process: int, incarnation: int, text: str) -> None:
        """A process says how it is; its incarnation is another one after each start."""
        former, families = self._told.get(process, (incarnation, {}))
        if former != incarnation:
            _add(self._gone, families, only_grows=True)
        self._told[process] = (incarnation, read_families(text))

    def pieces(self, away: frozenset[int]) -> Iterator[str]:
        """All of them as one, a piece for each name. Of those that are `away` only what they had
        counted is in it."""
        sums: dict[str, Family] = {}
        for process, (_, families) in sorted(self._told.items()):
            if process in away:
                _add(sums, families, only_grows=True)
            else:
                _add(sums, families, process=process)
        _add(sums, self._gone)
        up = {f'dispatcher_process_up{{process="{one}"}}': 1.0 for one in sorted(self._told)}
        up |= {f'dispatcher_process_up{{process="{one}"}}': 0.0 for one in sorted(away)}
        head = [
            "# HELP dispatcher_process_up 1 for a process of this server that answers.",
            "# TYPE dispatcher_process_up gauge",
        ]
        sums["dispatcher_process_up"] = Family("dispatcher_process_up", head, "gauge", up)
        for family in sums.values():
            yield family.text()


def _add(
    sums: dict[str, Family],
    families: Mapping[str, Family],
    *,
    process: int | None = None,
    only_grows: bool = False,
) -> None:
    """Add what one process tells. With `only_grows` what does not only grow is left out, and so is
    what is told for each process."""
    for name, family in families.items():
        is_of_process = name.startswith(_OF_PROCESS)
        if only_grows and (is_of_process or not family.only_grows):
            continue
        own = sums.get(name)
        if own is None:
            own = sums[name] = Family(name, family.head, family.kind)
        if is_of_process and process is not None:
            labelled = Family(name, samples=dict(family.samples))
            labelled.labelled(process)
            own.samples |= labelled.samples
        else:
            own.join(family.samples)

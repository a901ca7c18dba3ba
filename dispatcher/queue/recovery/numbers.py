"""Numbers of lanes that are made later: a log may be read on another thread than they live on."""

from __future__ import annotations

import asyncio
from typing import Final

from dispatcher.core.destination import Destination, Origin
from dispatcher.queue.lanes.lanes import Lanes
from dispatcher.queue.records.messages import destination_in

_AT_ONCE = 1000
NOWHERE: Final = -1


class LaneNumbers:
    """The number that the lane of a destination will have; `keys` has the destinations by number,
    as `scheme://host[:port]`."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, int] = {}
        self._by_place: dict[bytes, int] = {}
        self._destinations: list[Destination] = []
        self.keys: list[bytes] = []

    def of(self, key: bytes) -> int:
        """By `scheme://host[:port]`."""
        number = self._by_key.get(key)
        if number is None:
            destination = Origin.parse(key).destination
            number = self._by_key.setdefault(destination.key, len(self._destinations))
            if number == len(self._destinations):
                self._destinations.append(destination)
                self.keys.append(destination.key)
            self._by_key[key] = number
        return number

    def at(self, place: bytes) -> int:
        """By the place of a MESSAGE record (see `place_of`); `NOWHERE` when its body is in chunk
        records."""
        number = self._by_place.get(place, NOWHERE)
        if number == NOWHERE:
            destination = destination_in(place)
            if destination is not None:
                number = self._by_place[place] = self.of(destination)
        return number

    async def make(self, lanes: Lanes) -> None:
        """Make the lanes, of which there is none yet. Others get their turn in between."""
        self._by_key.clear()
        self._by_place.clear()
        self.keys.clear()
        for number, destination in enumerate(self._destinations):
            lane = lanes.of(destination)
            assert lane.number == number, "no lane was made before"
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)

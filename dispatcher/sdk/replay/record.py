"""The record as it is replayed: which operation comes next in a task, and which event in all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dispatcher.sdk.replay.journal import BadState, Columns, decode
from dispatcher.sdk.replay.model import Cancelled, Kind, Operation, Result
from dispatcher.sdk.replay.results import Kept, Recorded
from dispatcher.sdk.replay.writing import TIMER, fingerprint

_KINDS = {kind.value for kind in Kind} | {TIMER}


@dataclass(frozen=True, slots=True)
class Entry:
    """An operation on record. `number` is its fingerprint, or the timer's number in its task."""

    id: int
    kind: str
    function: str
    endpoint: str
    site: str
    path: str
    number: int


class Record:
    """What a state holds. `kept` are the values that it names by the ids of the calls they came
    from.

    Raises:
        BadState: an event has no operation, or a value is missing.
    """

    def __init__(self, columns: Columns, kept: Mapping[str, Result]) -> None:
        self.columns = columns
        self.events = len(columns.event_of)
        self._kept = kept
        self._places = [tuple(place.split("\0")) for place in columns.places]
        if any(place[0] not in _KINDS for place in self._places):
            raise BadState("the state has an operation of a kind that nothing is known of")
        if any(isinstance(r, Kept) and r.dispatch_id not in kept for r in columns.results):
            raise BadState("the state names a result that the server keeps and that is not here")
        self._check_events()
        self._tasks: dict[str, list[int]] = {path: [] for path in columns.paths}
        self.patches: set[tuple[str, str, int]] = set()
        self.reached = bytearray(len(columns.place_of))
        """1 for each operation that the body has come by, and for what is none."""
        self._sort()

    def _check_events(self) -> None:
        is_patch = [place[0] == Kind.PATCH.value for place in self._places]
        columns = self.columns
        for id, result in zip(columns.event_of, columns.results, strict=True):
            if not isinstance(result, Cancelled) and is_patch[columns.place_of[id]]:
                raise BadState("the state has a result of a patch")

    def _sort(self) -> None:
        lists = list(self._tasks.values())
        is_counted = [place[0] not in (TIMER, Kind.PATCH.value) for place in self._places]
        columns = self.columns
        for id, (place, path) in enumerate(zip(columns.place_of, columns.path_of, strict=True)):
            if is_counted[place]:
                lists[path].append(id)
                continue
            self.reached[id] = 1
            if self._places[place][0] == Kind.PATCH.value:
                name = self._places[place][1]
                self.patches.add((columns.paths[path], name, columns.inputs[id]))

    def first_unreached(self) -> int | None:
        """Return the first operation that the body has not come by."""
        id = self.reached.find(0)
        return None if id < 0 else id

    def of_task(self, path: str) -> list[int]:
        """Return the operations of a task, in the order in which it comes by them."""
        return self._tasks.get(path, [])

    def entry(self, id: int) -> Entry:
        """Return what is on record of an operation."""
        columns = self.columns
        kind, function, endpoint, site = self._places[columns.place_of[id]]
        path = columns.paths[columns.path_of[id]]
        return Entry(id, kind, function, endpoint, site, path, columns.inputs[id])

    def fits(self, id: int, operation: Operation) -> bool:
        """Whether a body that comes by `operation` does what is on record."""
        kind, function, endpoint, _ = self._places[self.columns.place_of[id]]
        return (
            kind == operation.kind.value
            and function == operation.function
            and endpoint == operation.endpoint
            and (
                not operation.is_input_checked or self.columns.inputs[id] == fingerprint(operation)
            )
        )

    def timer(self, id: int) -> tuple[str, int] | None:
        """Return the name of the timer that this is; None if it is an operation."""
        if self._places[self.columns.place_of[id]][0] != TIMER:
            return None
        return self.columns.paths[self.columns.path_of[id]], self.columns.inputs[id]

    def replay(self) -> Iterator[tuple[int, int, Recorded]]:
        """Each event: its operation, milliseconds since the one before it, and what it brought."""
        columns = self.columns
        for id, ms, result in zip(columns.event_of, columns.event_ms, columns.results, strict=True):
            if isinstance(result, Kept):
                yield id, ms, self._kept[result.dispatch_id]
            else:
                yield id, ms, result


def kept_in(state: bytes) -> list[str]:
    """Return the ids of the kept values that a state names, each once, in the order of its events.

    Raises:
        BadState: it can't be read.
    """
    results = decode(state).results
    return list(dict.fromkeys(each.dispatch_id for each in results if isinstance(each, Kept)))

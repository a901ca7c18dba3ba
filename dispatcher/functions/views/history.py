"""What happened to calls lately, for people: in memory, bounded, and gone with the process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from dispatcher.functions.shown import MOST_ENTRIES, CallView, Entry, Step, Timeline

MOST_KEPT: Final = 20_000
"""Entries of all calls together."""
MOST_ENDED: Final = 5_000
"""Calls that have ended and are shown in trees."""
_FIRST: Final = 50
"""Of a long timeline so many of the first entries are kept."""


class _Entries:
    """The timeline of one call."""

    __slots__ = ("dropped", "kept")

    def __init__(self) -> None:
        self.kept: list[Entry] = []
        self.dropped = 0

    def add(self, entry: Entry) -> bool:
        """Add an entry; True when another one was dropped for it."""
        self.kept.append(entry)
        if len(self.kept) <= MOST_ENTRIES:
            return False
        del self.kept[_FIRST]
        self.dropped += 1
        return True


class History:
    """Timelines by the key of their call, and views of calls that have ended."""

    def __init__(self, most: int = MOST_KEPT, most_ended: int = MOST_ENDED) -> None:
        self._most = most
        self._most_ended = most_ended
        self._count = 0
        self._calls: OrderedDict[int, _Entries] = OrderedDict()
        self._ended: OrderedDict[str, CallView] = OrderedDict()
        self._by_root: dict[str, set[str]] = {}

    def add(self, key: int, entry: Entry) -> None:
        """Something happened to a call. Calls to which nothing happened for long make room."""
        entries = self._calls.get(key)
        if entries is None:
            entries = self._calls[key] = _Entries()
        else:
            self._calls.move_to_end(key)
        if entries.add(entry):
            return
        self._count += 1
        while self._count > self._most and len(self._calls) > 1:
            _, oldest = self._calls.popitem(last=False)
            self._count -= len(oldest.kept)

    def timeline(self, key: int) -> Timeline:
        """What is known of a call."""
        entries = self._calls.get(key)
        if entries is None:
            return Timeline((), 0)
        return Timeline(tuple(entries.kept), entries.dropped)

    def runs(self, key: int) -> list[Entry]:
        """What is known of the runs of a call since it was created, or brought back."""
        runs: list[Entry] = []
        for entry in self.timeline(key).entries:
            if entry.step is Step.CREATED:
                runs.clear()
            elif entry.step is Step.RUN:
                runs.append(entry)
        return runs

    def ended(self, view: CallView) -> None:
        """A call has ended, which is a child of another one."""
        self._ended[view.id] = view
        self._by_root.setdefault(view.root_id, set()).add(view.id)
        if len(self._ended) > self._most_ended:
            _, oldest = self._ended.popitem(last=False)
            under = self._by_root[oldest.root_id]
            under.discard(oldest.id)
            if not under:
                del self._by_root[oldest.root_id]

    def find(self, call_id: str) -> CallView | None:
        """A call that has ended, where it is still known."""
        return self._ended.get(call_id)

    def count_ended_under(self, root_id: str) -> int:
        """How many of them there are."""
        return len(self._by_root.get(root_id, ()))

    def ended_under(self, root_id: str) -> Iterator[CallView]:
        """The calls that have ended under a root, and are still known."""
        ids: Sequence[str] = sorted(self._by_root.get(root_id, ()))
        return (self._ended[one] for one in ids)

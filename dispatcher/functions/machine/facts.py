"""Facts: small named things that outlive calls."""

from __future__ import annotations

from collections.abc import Iterable

from dispatcher.functions.events import Fact
from dispatcher.functions.machine.ports import Holder, KnownFact


class Facts:
    """`known` are those in force, by space and name."""

    def __init__(self, holder: Holder) -> None:
        self.known: dict[tuple[str, str], KnownFact] = {}
        self._holder = holder

    def note(self, facts: Iterable[Fact]) -> None:
        """These were set, or forgotten."""
        for fact in facts:
            known = self.known.pop((fact.space, fact.name), None)
            if fact.value is not None:
                assert not isinstance(fact.value, bytes)
                now = KnownFact(fact.space, fact.name, fact.value, fact.expires_us)
                self._holder.hold(now, now.where)
                self.known[fact.space, fact.name] = now
            if known is not None:
                self._holder.release(known, known.where)

    def forget_expired(self, now_us: int) -> None:
        """Drop what nobody needs any more."""
        for name, known in list(self.known.items()):
            if known.expires_us and known.expires_us <= now_us:
                del self.known[name]
                self._holder.release(known, known.where)

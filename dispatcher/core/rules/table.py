"""Which rule is whose: the first one that matches, in the order in which they were written.

A message costs one look-up: the rules for a destination are found once and kept, and the path is
looked at only where one of them has a prefix. Nobody asks at all where there are no rules:
`RulesInForce.rules` is None then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.core.destination import Destination, Origin
from dispatcher.core.message import Message
from dispatcher.core.rules.notify import Notify
from dispatcher.core.rules.rule import Rule

_MOST_KEPT: Final = 10_000
"""Destinations whose rules are kept; callers choose them, so there must be a bound."""


MOST_MEMBERS: Final = 250
"""Of a group. The ids of so many messages are a header line of 8 KiB, which many clients take."""


@dataclass(frozen=True, slots=True)
class Group:
    """A name for several places: a message to `group:NAME` is one for each of them."""

    name: str
    members: tuple[Origin, ...]


class Rules:
    """All rules, groups and notify tables of one configuration file. Never changed; equal where
    they say the same."""

    __slots__ = ("_by_name", "_kept", "groups", "notify", "rules")

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        groups: Sequence[Group] = (),
        notify: Sequence[Notify] = (),
    ) -> None:
        self.rules = tuple(rules)
        self.groups = tuple(groups)
        self.notify = tuple(notify)
        self._by_name = {group.name: group for group in groups}
        self._kept: dict[bytes, tuple[Rule, ...]] = {}

    def __repr__(self) -> str:
        return f"<Rules {len(self.rules)} destinations, {len(self.groups)} groups>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rules):
            return False
        mine, others = (self.rules, self.groups), (other.rules, other.groups)
        return mine == others and self.notify == other.notify

    def __hash__(self) -> int:
        return hash((self.rules, self.groups, self.notify))

    def of(self, destination: Destination, target: bytes) -> Rule | None:
        """The rule for what goes to a destination with this request target, as it is sent."""
        for rule in self.for_destination(destination):
            if rule.match.covers(target):
                return rule
        return None

    def of_message(self, message: Message) -> Rule | None:
        """The rule for a message."""
        found = self.for_destination(message.destination)
        if not found:
            return None
        if not found[0].match.prefix:
            return found[0]
        return self.of(message.destination, message.head.split(b" ", 2)[1])

    def for_destination(self, destination: Destination) -> tuple[Rule, ...]:
        """The rules that messages to a destination can have, in the order in which they are asked.
        Only the last one may be without a prefix."""
        found = self._kept.get(destination.key)
        return self._find(destination) if found is None else found

    def of_whole(self, destination: Destination) -> Rule | None:
        """The rule whose rate and concurrency a destination has: the first one that matches it
        without a path."""
        found = self.for_destination(destination)
        return found[-1] if found and not found[-1].match.prefix else None

    def group(self, name: str) -> Group | None:
        """The group of this name, or None."""
        return self._by_name.get(name)

    def unreached(self) -> list[tuple[Rule, Rule]]:
        """Rules that no message ever has, each with the one before it that takes all of its."""
        found: list[tuple[Rule, Rule]] = []
        by_host: dict[tuple[str, bool], list[Rule]] = {}
        for rule in self.rules:
            match = rule.match
            before = (one for host in match.wider_hosts() for one in by_host.get(host, ()))
            wider = next((one for one in before if one.match.includes(match)), None)
            if wider is not None:
                found.append((rule, wider))
            else:
                by_host.setdefault((match.host, match.is_wild), []).append(rule)
        return found

    def _find(self, destination: Destination) -> tuple[Rule, ...]:
        found: list[Rule] = []
        for rule in self.rules:
            if rule.match.is_for(destination):
                found.append(rule)
                if not rule.match.prefix:
                    break
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        kept = self._kept[destination.key] = tuple(found)
        return kept


class RulesInForce:
    """What holds now, one for the whole process; everybody who asks for rules has it.

    `rules` is None where there are no rules for destinations, so that a message costs one test
    then; groups are in `all`. `bounds_paths` says whether any of them has a rate or a concurrency
    for a path.
    """

    __slots__ = ("all", "bounds_paths", "rules")

    def __init__(self, rules: Rules | None = None) -> None:
        self.all = Rules()
        self.rules: Rules | None = None
        self.bounds_paths = False
        if rules is not None:
            self.replace(rules)

    def __repr__(self) -> str:
        return f"<RulesInForce {self.all!r}>"

    def bounds(self, destination: Destination) -> bool:
        """Whether one of them has a rate or a concurrency for attempts at a destination, or at some
        of its paths."""
        rules = self.rules
        return rules is not None and any(
            rule.rate is not None or rule.concurrency is not None
            for rule in rules.for_destination(destination)
        )

    def replace(self, rules: Rules) -> None:
        """Put other rules into force, for messages that wait already too."""
        self.all = rules
        self.rules = rules if rules.rules else None
        self.bounds_paths = any(rule.bounds_path for rule in rules.rules)

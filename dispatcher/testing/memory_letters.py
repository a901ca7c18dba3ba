"""Dead letters in memory: which a filter chooses, how they are grouped, and messages they were or
become. For `memory_admin`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from dispatcher.core.verdict import DeadReason
from dispatcher.queue.admin.surface import (
    MOST_GROUPS,
    InMemory,
    LetterDetail,
    LetterFilter,
    LetterGroup,
    LetterGroups,
    LetterView,
    MessageState,
    MessageView,
)

_Cause: TypeAlias = tuple[str, str | None, int | None, str | None, str]


def as_message(letter: LetterView, state: MessageState) -> MessageView:
    """The message of a letter: dead, or with fresh attempts."""
    is_dead = state is MessageState.DEAD
    return MessageView(
        id=letter.id,
        state=state,
        destination=letter.destination,
        method=letter.method,
        target=letter.target,
        accepted_at_us=letter.accepted_at_us,
        attempts=letter.attempts if is_dead else 0,
        next_attempt_at_us=None,
        last_error=letter.last_error if is_dead else None,
        label=letter.label,
        options=letter.options,
        size_bytes=letter.size_bytes,
    )


def given_up(message: MessageView, now_us: int) -> LetterDetail:
    """The letter of a message that an operator gave up."""
    view = LetterView(
        id=message.id,
        destination=message.destination,
        method=message.method,
        target=message.target,
        accepted_at_us=message.accepted_at_us,
        dead_at_us=now_us,
        attempts=message.attempts,
        last_status=None,
        last_error=message.last_error,
        reason=DeadReason.OPERATOR.value,
        size_bytes=0,
        label=message.label,
        options=message.options,
    )
    return LetterDetail(view, [], InMemory(b""), "an operator gave it up", 0, [])


def matches(letter: LetterView, which: LetterFilter) -> bool:
    """Whether a filter chooses a letter."""
    return (
        which.kind in (None, letter.kind)
        and which.destination in (None, letter.destination)
        and which.function in (None, letter.function)
        and which.label in (None, letter.label)
        and which.status in (None, letter.last_status)
        and which.error in (None, letter.last_error)
        and which.reason in (None, letter.reason)
        and which.order_key in (None, letter.options.get("order_key"))
        and which.method in (None, letter.method)
        and (which.target is None or letter.target.startswith(which.target))
        and (which.before_us is None or letter.dead_at_us < which.before_us)
        and (which.after_us is None or letter.dead_at_us > which.after_us)
    )


def groups(letters: Iterable[LetterView]) -> LetterGroups:
    """Letters by what they have in common, the largest groups first."""
    found: dict[_Cause, list[LetterView]] = {}
    for one in letters:
        cause = (one.destination, one.function, one.last_status, one.last_error, one.reason)
        found.setdefault(cause, []).append(one)
    every = sorted(map(_group, found.values()), key=lambda group: -group.count)
    return LetterGroups(every[:MOST_GROUPS], len(every))


def _group(letters: Sequence[LetterView]) -> LetterGroup:
    first = letters[0]
    return LetterGroup(
        destination=first.destination,
        status=first.last_status,
        error=first.last_error,
        reason=first.reason,
        kind=first.kind,
        function=first.function,
        count=len(letters),
        size_bytes=sum(one.size_bytes for one in letters),
        oldest_us=min(one.dead_at_us for one in letters),
        newest_us=max(one.dead_at_us for one in letters),
    )

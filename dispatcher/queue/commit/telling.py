"""Who is told what became of a record, and how: one that fails hurts no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dispatcher.errors import Refusal
from dispatcher.telemetry.supervisor import Died


class Waiter(Protocol):
    """Who is told what became of a record."""

    def stored(self, position: int) -> None:
        """The record is durable at `position`."""

    def refused(self, refusal: Refusal) -> None:
        """The record is not stored (or, after a failed sync, perhaps not)."""


def tell_stored(waiters: list[Waiter | None], positions: Sequence[int], died: Died) -> None:
    """Tell each waiter the position of its record; `died` gets what a waiter raises."""
    for waiter, position in zip(waiters, positions, strict=False):
        if waiter is not None:
            try:
                waiter.stored(position)
            except Exception as error:
                # The others of its batch are durable too, and have to hear of it.
                died("stored", error)


def tell_refused(waiters: list[Waiter | None], refusal: Refusal, died: Died) -> None:
    """Tell all waiters that their records are not stored; `died` gets what a waiter raises."""
    for waiter in waiters:
        if waiter is not None:
            try:
                waiter.refused(refusal)
            except Exception as error:
                died("refused", error)

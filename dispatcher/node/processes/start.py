"""What a parent tells a child as it starts it: the arguments of the child's command.

    PLAN NUMBER IS_AGAIN IS_RELOADED TAKEN LINE

`LINE`, the descriptor of the child's end of their line, is added by who makes that (`children`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

_NOT_TAKEN: Final = -1


@dataclass(frozen=True, slots=True)
class Start:
    """One start of child `number`. `plan_file` is the descriptor of the plan. `is_again`: it was
    started before; `is_reloaded`: settings were read again since the plan was written. `taken` is
    the descriptor of those that were in force after that; None: the plan's still are."""

    plan_file: int
    number: int
    is_again: bool
    is_reloaded: bool
    taken: int | None

    def written(self) -> list[str]:
        """As the command has it."""
        taken = _NOT_TAKEN if self.taken is None else self.taken
        numbers = self.plan_file, self.number, self.is_again, self.is_reloaded, taken
        return [str(int(one)) for one in numbers]

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Self:
        """Read what `written` made."""
        plan_file, number, is_again, is_reloaded, taken = map(int, arguments)
        return cls(
            plan_file,
            number,
            bool(is_again),
            bool(is_reloaded),
            None if taken == _NOT_TAKEN else taken,
        )

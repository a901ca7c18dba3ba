"""How large the messages of a stream are, so that nobody has to ask its servers.

Four bytes a message. What a server keeps with each, headers above all, is an estimate on the safe
side.
"""

from __future__ import annotations

from array import array
from typing import Final

KEPT_WITH_IT: Final = 320
"""Bytes that a server stores beside a message's own: its subject, the headers that it was published
with, a checksum."""


class Sizes:
    """The sizes of the messages from `first` on. `total_bytes` is what all of them take."""

    __slots__ = ("_sizes", "first", "total_bytes")

    def __init__(self, first: int) -> None:
        self.first = first
        self.total_bytes = 0
        self._sizes = array("I")

    def add(self, data_bytes: int) -> None:
        """Note the next message."""
        self._sizes.append(data_bytes + KEPT_WITH_IT)
        self.total_bytes += data_bytes + KEPT_WITH_IT

    def between(self, first: int, before: int) -> int:
        """Return what the messages from `first` on, and before `before`, take."""
        return sum(self._sizes[max(0, first - self.first) : max(0, before - self.first)])

    def drop_before(self, sequence: int) -> None:
        """Forget what is not there any more."""
        if sequence > self.first:
            self.total_bytes -= self.between(self.first, sequence)
            del self._sizes[: sequence - self.first]
            self.first = sequence

    def after(self, data_bytes: int) -> int | None:
        """Return the number of the message behind the first ones that take so many bytes; None:
        all together do not."""
        taken = 0
        for index, size in enumerate(self._sizes):
            taken += size
            if taken >= data_bytes:
                return self.first + index + 1
        return None

    def __len__(self) -> int:
        return len(self._sizes)

"""A number for each destination that dead letters were going to: a row has four bytes for it."""

from __future__ import annotations

from array import array


class Names:
    """Names by number. A number is free again when as many rows have given it back as took it:
    callers choose destinations, and a purge must not leave all their names behind."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._rows = array("I")
        self._numbers: dict[str, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> str:
        return self._names[number]

    def find(self, name: str) -> int:
        """The number of a name, -1 when no row has it."""
        return self._numbers.get(name, -1)

    def take(self, name: str) -> int:
        """The number of a name, for one more row."""
        number = self._numbers.get(name)
        if number is None:
            if self._free:
                number = self._free.pop()
            else:
                number = len(self._names)
                self._names.append("")
                self._rows.append(0)
            self._names[number] = name
            self._numbers[name] = number
        self._rows[number] += 1
        return number

    def give_back(self, number: int) -> None:
        """A row has it no longer."""
        self._rows[number] -= 1
        if not self._rows[number]:
            del self._numbers[self._names[number]]
            self._names[number] = ""
            self._free.append(number)
